"""Plan: what is to be tested → plan.json, with the number of evaluations that exist already.

The comparisons with their margins and expectations, the measure, the level, the family, the grid.
A plan that differs from the last version is added as a new version; none is ever removed.
Run: ``python -m orion.stages.plan --config JSON --results DIR --output plan.json``.
"""

import datetime
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl

from orion import paths, tables
from orion.errors import InputError
from orion.experiment.plan import Version, read_history, seal
from orion.paths import AtomicFile
from orion.progress import log
from orion.stages import command

# the tables of one evaluation, the one that is made first and holds the digest of its plan first;
# Snakemake removes some of them before the job that makes them again
EVALUATION_TABLES = (paths.EVALUATION_SAMPLES, paths.SCORES, paths.EVALUATION_VERDICTS)
NO_DIGEST = "none"


@dataclass(frozen=True)
class PlanConfig:
    """The configuration keys of the stage, which are the plan."""

    comparisons: list[dict[str, Any]]
    benchmarks: list[str]
    datasets: list[str]
    models: list[str]
    seeds: list[int]
    num_samples: dict[str, int]
    measure: str
    alpha: float
    family: str
    students: dict[str, Any] | None = None


def list_evaluations(results: str | Path, dataset: str, model: str) -> Iterator[list[Path]]:
    """The tables of each evaluation of a student that has any, of whatever arm and seed."""
    found: dict[Path, list[Path]] = {}
    for template in EVALUATION_TABLES:
        pattern = template.format(dataset=dataset, model=model, arm="*", seed="*", benchmark="*")
        for path in sorted(Path(results).glob(pattern)):
            found.setdefault(path.parent, []).append(path)
    yield from found.values()


def read_digest(files: list[Path]) -> str:
    """The digest of the plan that an evaluation carries; damaged tables carry none."""
    for path in files:
        try:
            return str(tables.read_provenance(path)["plan"])
        except (InputError, KeyError, OSError, ValueError, pl.exceptions.PolarsError):
            continue
    return NO_DIGEST


def count_evaluations(
    results: str | Path, config: PlanConfig
) -> tuple[dict[str, int], dict[str, int]]:
    """Evaluations that exist by ``dataset/model`` of the grid, and by the digest they carry."""
    evaluations, recorded = {}, Counter[str]()
    for dataset in config.datasets:
        for model in config.models:
            found = list(list_evaluations(results, dataset, model))
            evaluations[f"{dataset}/{model}"] = len(found)
            recorded.update(map(read_digest, found))
    return evaluations, dict(recorded)


def add_version(
    history: list[Version],
    plan: dict[str, Any],
    evaluations: dict[str, int],
    recorded: dict[str, int],
    *,
    date: str,
) -> list[Version]:
    """The history with the plan as its last version; unchanged where that is the last one already.

    Raises InputError where evaluations carry a digest that the history does not know.
    """
    known = {NO_DIGEST, *(version.digest for version in history)}
    known |= {digest for version in history for digest in version.recorded}
    foreign = {digest: n for digest, n in recorded.items() if digest not in known}
    if history and foreign:
        digest, number = next(iter(foreign.items()))
        raise InputError(
            f"the history of plans does not hold the plan {digest[:12]}, under which {number} "
            "evaluations were made: it belongs to other results, or was written anew. Put back "
            "their plan.json; or move this one away, and the plan is registered anew, after these "
            "evaluations"
        )
    if history and history[-1].plan == plan:
        return history
    previous = history[-1].digest if history else None
    digest = seal(plan, evaluations, recorded, previous)
    return [*history, Version(date, plan, evaluations, recorded, previous, digest)]


def write_history(history: list[Version], path: str | Path) -> None:
    """Publish plan.json by rename."""
    text = json.dumps({"versions": [asdict(v) for v in history]}, indent=1, ensure_ascii=False)
    with AtomicFile(path) as partial:
        partial.write_text(text + "\n", encoding="utf-8")


def main(argv: list[str] | None = None) -> None:
    args = command.make_parser(__doc__, "results", "output").parse_args(argv)
    config = command.read_config(PlanConfig, args.config)
    history = read_history(args.output)
    evaluations, recorded = count_evaluations(args.results, config)
    today = datetime.date.today().isoformat()
    try:
        longer = add_version(history, args.config, evaluations, recorded, date=today)
    except InputError as error:
        raise InputError(f"{args.output}: {error}") from None
    if longer == history:
        log(f"registered already, as version {len(history)}: {history[-1].digest[:12]}")
        return
    write_history(longer, args.output)
    log(
        f"version {len(longer)} registered, {sum(evaluations.values())} evaluations existed: "
        f"{longer[-1].digest[:12]}"
    )


if __name__ == "__main__":
    command.run(main)
