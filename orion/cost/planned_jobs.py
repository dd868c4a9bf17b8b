"""The jobs that a run would start, from Snakemake's own dry run of the workflow.

Inputs: the YAML files of the configuration, the workflow of the checkout, the results folder of the
working directory. Outputs: the planned jobs. Nothing is run or written but Snakemake's own folder
``.snakemake``.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orion.errors import InputError

SNAKEFILE = Path("workflow/Snakefile")
# relative to the Snakefile: the folder of the log handler, and the rules
PLUGINS, RULES = "plugins", "rules/*.smk"
TARGETS = ("data", "samples", "packed", "trained", "all")
# lines of Snakemake's message that an error repeats
MAX_LINES = 12
# what Snakemake prints before it looks at the workflow
PREAMBLE = re.compile(
    r"Using .*profile|Assuming unrestricted|Building DAG|host: |No config/config.yaml|[= ]*$"
)


@dataclass(frozen=True)
class PlannedJob:
    """One job of a dry run: its rule, wildcards and files; ``gpus`` by its resource ``gpu``."""

    rule: str
    wildcards: dict[str, str]
    outputs: tuple[str, ...]
    threads: int = 1
    gpus: int = 0


def find_snakefile() -> Path:
    """The workflow of the working directory, else that of the checkout.

    Raises InputError where neither has one, as where the package was installed without its sources.
    """
    for folder in (Path.cwd(), Path(__file__).parents[2]):
        if (folder / SNAKEFILE).is_file():
            return folder / SNAKEFILE
    raise InputError(
        f"{SNAKEFILE}: not in this folder, and the package was installed without it; run in a "
        "checkout of ORION"
    )


def list_jobs(
    files: Sequence[str], *, target: str = "all", workflow_profile: str | None = None
) -> list[PlannedJob]:
    """The jobs that ``snakemake --configfile FILES`` would start now in the working directory.

    Raises InputError with Snakemake's message where the dry run fails.
    """
    snakefile = find_snakefile()
    with tempfile.TemporaryDirectory() as folder:
        listing = Path(folder) / "jobs.jsonl"
        command = [sys.executable, "-m", "snakemake", "--snakefile", str(snakefile), "--dry-run"]
        command += ["--nocolor", "--logger", "planned-jobs"]
        command += ["--logger-planned-jobs-file", str(listing)]
        command += ["--workflow-profile", workflow_profile] if workflow_profile else []
        # the target stands before the option that takes several values
        command += ["--cores", "all"] if not workflow_profile else []
        command += [target, "--configfile", *files]
        path = os.pathsep.join(
            filter(None, [str(snakefile.parent / PLUGINS), os.environ.get("PYTHONPATH")])
        )
        done = subprocess.run(
            command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True
        )
        if done.returncode != 0 or not listing.is_file():
            raise InputError(f"snakemake --dry-run failed: {_find_message(done)}")
        lines = [json.loads(line) for line in listing.read_text(encoding="utf-8").splitlines()]
    return _read_lines(lines)


def _find_message(done: subprocess.CompletedProcess[str]) -> str:
    """The end of what Snakemake printed, without its opening lines."""
    text = f"{done.stdout}\n{done.stderr}".splitlines()
    said = [line for line in text if line.strip() and not PREAMBLE.match(line)]
    return "\n".join(said[-MAX_LINES:]) or f"it ended with status {done.returncode}"


def _read_lines(lines: list[dict[str, Any]]) -> list[PlannedJob]:
    """The jobs of the log handler's lines; they must be as many as Snakemake counts."""
    jobs, counted = [], {}
    for line in lines:
        if "stats" in line:
            counted = {rule: n for rule, n in line["stats"].items() if rule != "total"}
            continue
        jobs.append(
            PlannedJob(
                line["rule"],
                {name: str(value) for name, value in line["wildcards"].items()},
                tuple(_strip_flags(path) for path in line["outputs"]),
                line["threads"] if isinstance(line["threads"], int) else 1,
                line["gpus"] if isinstance(line["gpus"], int) else 0,
            )
        )
    listed = Counter(job.rule for job in jobs)
    if listed != counted:
        raise RuntimeError(f"Snakemake counts {counted} jobs and names {dict(listed)}")
    return jobs


def _strip_flags(path: str) -> str:
    """A path without what Snakemake prints behind it, such as ``(update)``."""
    return re.sub(r" \([a-z, ]+\)$", "", path)


def find_local_rules(snakefile: Path) -> frozenset[str] | None:
    """The rules that run in the head process and are not submitted to a cluster.

    Read from the texts of the workflow: a rule is local by ``localrule: True``, its own or that of
    the rule that it uses. None where a rule has a group, since grouped jobs are submitted together.
    """
    text = "".join(
        path.read_text(encoding="utf-8")
        for path in (snakefile, *sorted(snakefile.parent.glob(RULES)))
    )
    if re.search(r"^    group:", text, re.M):
        return None
    head = r"^(?:use rule (?P<used>\w+) as (?P<name>\w+)(?: with)?|rule (?P<own>\w+)):"
    heads = list(re.finditer(head, text, re.M))
    parents: dict[str, str | None] = {}
    local = set()
    for found, after in zip(heads, [*heads[1:], None], strict=True):
        name = found["own"] or found["name"]
        parents[name] = found["used"]
        body = text[found.end() : after.start() if after else len(text)]
        if re.search(r"^    localrule: True$", body, re.M):
            local.add(name)
    for name in parents:
        above = name
        while above not in local and parents.get(above) is not None:
            above = str(parents[above])
        if above in local:
            local.add(name)
    return frozenset(local)
