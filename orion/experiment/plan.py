"""The registered plan: ``plan.json``, to which versions are only added, and its digests.

A version is what was to be tested, the number of evaluations that existed when it was registered,
and a digest over both and over the version before. Jobs that train or evaluate record the digest
of the last version. So a version that was edited later does not have its digest any more, and one
that was sealed again is not the one that the jobs have seen.

``orion.stages.plan`` adds versions; this module reads them. It is kept small, because an edit here
reruns the jobs that record a digest.
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orion import tables
from orion.errors import InputError
from orion.experiment.hypotheses import parse_margin
from orion.provenance import canonical_json, digest_text

# seconds that a job waits for the rule `plan`, which starts with the first jobs and takes about two
WAIT_S = 60.0
# what every plan lists
GRID = ("comparisons", "benchmarks", "datasets", "models")


@dataclass(frozen=True)
class Version:
    """One registered version.

    ``date``: of the registration, for readers; the digest leaves it out, so that a fresh run writes
    the same bytes everywhere. ``evaluations``: evaluations that existed then, by
    ``dataset/model``. ``recorded``: how many of them carried which digest of a plan, "none" for no
    digest. ``previous``: the digest of the version before.
    """

    date: str
    plan: dict[str, Any]
    evaluations: dict[str, int]
    recorded: dict[str, int]
    previous: str | None
    digest: str

    @property
    def is_sealed(self) -> bool:
        """Whether the digest is that of the content."""
        return self.digest == seal(self.plan, self.evaluations, self.recorded, self.previous)


def seal(
    plan: dict[str, Any],
    evaluations: dict[str, int],
    recorded: dict[str, int],
    previous: str | None,
) -> str:
    """The digest of a version."""
    return digest_text(canonical_json([plan, evaluations, recorded, previous or ""]))


def read_history(path: str | Path) -> list[Version]:
    """All versions, the first one first; none where there is no file.

    Raises InputError for a file that holds something else.
    """
    if not Path(path).exists():
        return []
    try:
        history = [Version(**row) for row in tables.read_json(path)["versions"]]
        for version in history:
            _check_content(version)
        return history
    except (AttributeError, InputError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path}: holds no history of plans ({error}). Put back the file as the workflow wrote "
            "it; or move it away, and the plan is registered anew, after the results"
        ) from None


def _check_content(version: Version) -> None:
    """Raises KeyError, TypeError or ValueError for what is no plan, such as after an edit."""
    lists = [version.plan[key] for key in GRID]
    if not all(isinstance(found, list) for found in lists):
        raise TypeError(f"one of {', '.join(GRID)} is no list")
    for comparison in version.plan["comparisons"]:
        if "margin" in comparison:
            parse_margin(comparison["margin"])
        if not isinstance(comparison["arm"], str) or not isinstance(comparison["against"], str):
            raise TypeError("an arm is no text")
    numbers = [*version.evaluations.values(), *version.recorded.values()]
    if not all(isinstance(number, int) for number in numbers):
        raise TypeError("a number of evaluations is no number")


def find_edits(history: Sequence[Version]) -> list[int]:
    """Numbers, from 1, of the versions that are not as they were registered."""
    before = [None, *(version.digest for version in history)]
    return [
        number
        for number, (version, previous) in enumerate(zip(history, before, strict=False), 1)
        if not version.is_sealed or version.previous != previous
    ]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--plan`` and ``--plan-digest``, which the rules give to jobs that train or evaluate."""
    parser.add_argument("--plan", metavar="PATH", help="the registered plan, plan.json")
    parser.add_argument(
        "--plan-digest", default="", help="digest of the configuration's plan; empty: no plan"
    )


def require_registered(args: argparse.Namespace, wait_s: float = WAIT_S) -> dict[str, str]:
    """``{"plan": digest of its version}`` for the provenance, once the last version is this plan.

    Empty without ``--plan-digest``. The job waits for the rule `plan`, which runs beside it. An
    edge between them would rerun the job with every edit of a comparison, and an order-only edge
    would hide other changes of the job (LOG.md, 2026-11-23). Raises InputError where the plan does
    not come.
    """
    if not args.plan_digest:
        return {}
    end = time.monotonic() + wait_s
    while True:
        history = read_history(args.plan)
        if history and digest_text(canonical_json(history[-1].plan)) == args.plan_digest:
            return {"plan": history[-1].digest}
        if time.monotonic() >= end:
            raise InputError(
                f"{args.plan}: its last version is not the plan of this configuration. Register it "
                f"first, with `snakemake {args.plan}` and the same --configfile"
            )
        time.sleep(0.2)
