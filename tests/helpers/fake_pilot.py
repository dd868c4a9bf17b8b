"""An invented earlier run: tables with records, usage files and logs, written one job at a time."""

import json
from pathlib import Path

import polars as pl

from orion import paths, tables
from orion.config import Config
from orion.cost.planned_jobs import PlannedJob
from orion.cost.rates import find_keys
from orion.cost.rule_files import RULES
from orion.provenance import canonical_json

HEAD = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time"


def write_usage(path: Path, seconds: float, cpu_seconds: float) -> None:
    """A usage file as Snakemake writes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    line = f"{seconds:.2f}\t0:00:01\t1\t1\t1\t1\t0.00\t0.00\t0.00\t{cpu_seconds:.2f}"
    path.write_text(f"{HEAD}\n{line}\n")


def problem_frame(count: int) -> pl.DataFrame:
    """Problems with a trace each."""
    rows = [
        {
            "problem_id": f"p{i:03d}",
            "problem": "1 + 1 ?",
            "answer": "2",
            "solution": None,
            "teacher_trace": "it is 2",
            "meta": {"level": 1},
        }
        for i in range(count)
    ]
    return pl.DataFrame(rows).with_columns(pl.col("solution").cast(pl.String))


class FakePilot:
    """Writes the jobs of a run with these settings below ``root``."""

    def __init__(self, root: Path, settings: Config):
        self.root, self.settings = root, settings
        self.results, self.logs = root / "results", root / "logs"
        self.results.mkdir()

    def record(self, rule: str, wildcards: dict) -> dict:
        """The provenance of a job, as far as a pilot is read."""
        keys = find_keys(self.settings, PlannedJob(rule, wildcards, ()))
        module = "sample" if rule == "evaluate_sample" else RULES[rule].stage
        return {"module": f"orion.stages.{module}", "config": json.loads(canonical_json(keys))}

    def add(self, rule: str, seconds: float, *, cpu: float = 0.0, **wildcards: str) -> Path:
        """The usage file of a job, with a record of its keys where it has a JSON artifact."""
        files = RULES[rule]
        usage = self.logs / files.usage.format(**wildcards)
        write_usage(usage, seconds, cpu)
        if files.artifact is not None and files.artifact.endswith(".json"):
            path = paths.artifact(self.results, files.artifact, **wildcards)
            path.parent.mkdir(parents=True, exist_ok=True)
            tables.write_json({}, path, self.record(rule, wildcards))
        return usage

    def add_table(self, rule: str, table: tables.Table, rows: list[dict], **wildcards: str) -> None:
        """The table of a job with its record."""
        template = RULES[rule].artifact
        assert template is not None
        path = paths.artifact(self.results, template, **wildcards)
        path.parent.mkdir(parents=True, exist_ok=True)
        record = self.record(rule, wildcards)
        frame = rows if isinstance(rows, pl.DataFrame) else tables.from_rows(rows, table)
        tables.write(frame, path, table, record)

    def add_problems(self, rule: str, count: int, seconds: float, **wildcards: str) -> None:
        """A dataset or benchmark."""
        self.add(rule, seconds, **wildcards)
        self.add_table(rule, tables.PROBLEMS, problem_frame(count), **wildcards)

    def add_completions(
        self,
        rule: str,
        seconds: float,
        tokens: list[int],
        *,
        per_problem: int,
        generated: int | None = None,
        cpu: float = 0.0,
        **wildcards: str,
    ) -> None:
        """A generating job: one completion per number of ``tokens``, prompts of 40 tokens."""
        usage = self.add(rule, seconds, cpu=cpu, **wildcards)
        count = len(tokens) if generated is None else generated
        usage.with_name(usage.name.replace(".usage.tsv", ".log")).write_text(
            f"completions: {len(tokens) - count:,} of {len(tokens):,} are stored, {count:,} to "
            "generate\n"
        )
        rows = [
            {
                "problem_id": f"p{i // per_problem:03d}",
                "sample_id": i % per_problem,
                "template": "reflect" if rule == "reflect" else "solve",
                "error_ranks": [0],
                "response": "2",
                "finish_reason": "stop",
                "prompt_tokens": 40,
                "completion_tokens": number,
                "completion": f"{rule}{wildcards}{i}",
            }
            for i, number in enumerate(tokens)
        ]
        table = tables.REFLECTIONS if rule == "reflect" else tables.SAMPLES
        if rule != "reflect":
            rows = [{k: v for k, v in row.items() if k != "error_ranks"} for row in rows]
        self.add_table(rule, table, rows, **wildcards)

    def add_verdicts(self, rule: str, seconds: float, count: int, **wildcards: str) -> None:
        """A checking job."""
        self.add(rule, seconds, **wildcards)
        self.add_table(
            rule, tables.VERDICTS, verdict_rows([f"p{i:03d}" for i in range(count)]), **wildcards
        )


def verdict_rows(problems: list[str]) -> list[dict]:
    """A correct verdict for the first text of each problem."""
    empty = {"extracted": None, "reason": "", "rule": ""}
    return [
        {"problem_id": problem, "sample_id": 0, "verdict": "correct", **empty}
        for problem in problems
    ]
