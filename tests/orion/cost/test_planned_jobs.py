"""Jobs from the lines of the log handler, and the message of a dry run that fails."""

import subprocess

import pytest

from orion.cost import planned_jobs
from orion.cost.planned_jobs import PlannedJob
from orion.errors import InputError

LINE = {
    "rule": "plan",
    "wildcards": {"seed": 1},
    "outputs": ["results/plan.json (update)", "results/a (1).txt"],
    "threads": 2,
    "gpus": 1,
}


def test_a_line_is_a_job():
    [job] = planned_jobs._read_lines([LINE, {"stats": {"plan": 1, "total": 1}}])
    files = ("results/plan.json", "results/a (1).txt")
    assert job == PlannedJob("plan", {"seed": "1"}, files, 2, 1)


def test_nothing_to_be_done_is_no_job():
    assert planned_jobs._read_lines([]) == []


def test_jobs_that_snakemake_counts_otherwise_are_no_plan():
    with pytest.raises(RuntimeError, match="counts"):
        planned_jobs._read_lines([LINE, {"stats": {"plan": 2, "total": 2}}])


def test_the_message_of_a_failed_dry_run_is_told(monkeypatch):
    said = "Building DAG of jobs...\nMissing input files for rule dequantise:\n    a.gguf\n"
    monkeypatch.setattr(
        planned_jobs.subprocess,
        "run",
        lambda command, **_: subprocess.CompletedProcess(command, 1, said, ""),
    )
    with pytest.raises(InputError, match=r"(?s)^snakemake --dry-run failed: Missing.*a\.gguf$"):
        planned_jobs.list_jobs(["mine.yaml"])
