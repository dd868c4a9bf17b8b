"""An earlier run as a pilot: what each of its jobs has cost, and what it was made with.

Inputs: a results folder, and beside it ``logs/`` with the usage files that Snakemake writes by the
directive ``benchmark``. Outputs: one record per job. Nothing is written.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from orion import paths, tables
from orion.cost.rule_files import CHECKED, OF_ONE_MODEL, RULES, RuleFiles
from orion.errors import InputError
from orion.experiment.judgements import JUDGEMENTS
from orion.spending.usage import find_logs, read_usage

GENERATING = frozenset(rule for rule, files in RULES.items() if files.work == "tokens")
# the line of a generating job's log; one per shard where it had several
STARTED = re.compile(rb"^completions: [\d,]+ of [\d,]+ are stored, ([\d,]+) to generate$", re.M)
RESUMED = re.compile(rb"^resuming from ", re.M)


@dataclass(frozen=True)
class Texts:
    """Completions of a generating job: rows of its table, their tokens, what was generated anew.

    ``prompt_tokens``, ``completion_tokens``: of all rows. ``distinct``: completions, of which
    several rows may show one; ``distinct_prompt_tokens``, ``new_tokens``: theirs. ``generated``:
    how many of them the job generated, the others were stored before; None where its log does not
    say it.
    """

    rows: int
    prompt_tokens: int
    completion_tokens: int
    distinct: int
    distinct_prompt_tokens: int
    new_tokens: int
    generated: int | None


@dataclass(frozen=True)
class PilotJob:
    """One job of the pilot.

    ``name``: its usage file below ``logs/``. ``seconds``: by the clock; ``cpu_seconds``: of all its
    processes, as Snakemake sampled them. ``keys``: the configuration that its artifact records,
    None without one. ``model_keys``: that of its model's document. ``texts``: rows that it checked.
    ``writer_keys``: that of the document of another model that wrote its reflections or judged.
    """

    name: str
    wildcards: dict[str, str]
    seconds: float
    cpu_seconds: float | None
    module: str | None
    keys: dict[str, Any] | None
    model_keys: dict[str, Any] | None
    is_resumed: bool = False
    texts: int | None = None
    writer_keys: dict[str, Any] | None = None


class Pilot:
    """The jobs of an earlier run. Raises InputError where it has no usage files.

    ``place``: what a message calls it by.
    """

    def __init__(self, results: str | Path, place: str = "--from "):
        self.results = Path(results)
        if not self.results.is_dir():
            raise InputError(f"{place}{results}: no such folder; give the results of a run")
        self.logs = find_logs(self.results)
        if next(self.logs.glob("**/*.usage.tsv"), None) is None:
            raise InputError(
                f"{place}{results}: no *.usage.tsv below {self.logs}, so what its jobs cost is not "
                "known; keep logs/ beside the results of a run"
            )
        self._jobs: dict[str, list[PilotJob]] = {}
        self._texts: dict[str, Texts | None] = {}

    def list_jobs(self, rule: str) -> list[PilotJob]:
        """The jobs that wrote the usage files of a rule; another rule may write the same ones."""
        template = RULES[rule].usage
        if template not in self._jobs:
            self._jobs[template] = list(self._read_jobs(rule, RULES[rule]))
        return self._jobs[template]

    def _read_jobs(self, rule: str, files: RuleFiles) -> Iterator[PilotJob]:
        names = paths.wildcard_names(files.usage)
        pattern = re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(files.usage))
        for path in sorted(self.logs.glob(files.usage.format(**dict.fromkeys(names, "*")))):
            name = path.relative_to(self.logs).as_posix()
            found = re.fullmatch(pattern, name)
            assert found, "the glob follows the same template"
            wildcards = found.groupdict()
            seconds, cpu_seconds = read_usage(path)
            record = self._read_record(files.artifact, wildcards)
            writer = (record.get("config") or {}).get("writer")
            yield PilotJob(
                name,
                wildcards,
                seconds,
                cpu_seconds,
                record.get("module"),
                record.get("config"),
                self._read_record(paths.MODEL, wildcards).get("config")
                if rule in OF_ONE_MODEL
                else None,
                rule == "train" and RESUMED.search(self._read_log(name)) is not None,
                self._count_rows(files.artifact, wildcards) if rule in CHECKED else None,
                self._read_record(paths.MODEL, {**wildcards, "model": writer}).get("config")
                if writer is not None
                else None,
            )

    def _read_record(self, template: str | None, wildcards: dict[str, str]) -> dict[str, Any]:
        """The provenance of an artifact; empty where there is none."""
        path = None if template is None else paths.artifact(self.results, template, **wildcards)
        if path is None or not path.is_file():
            return {}
        try:
            return tables.read_provenance(path)
        except (KeyError, ValueError, OSError, pl.exceptions.PolarsError):
            raise InputError(
                f"{path}: no record of what it was made with; delete it, or give another pilot"
            ) from None

    def _count_rows(self, template: str | None, wildcards: dict[str, str]) -> int | None:
        path = paths.artifact(self.results, template or "", **wildcards)
        return tables.size(path, tables.VERDICTS)[0] if path.is_file() else None

    def _read_log(self, name: str) -> bytes:
        log = self.logs / name.replace(".usage.tsv", ".log")
        return log.read_bytes() if log.is_file() else b""

    def read_texts(self, rule: str, job: PilotJob) -> Texts | None:
        """The completions of a generating job; None where its table is not there."""
        if job.name not in self._texts:
            self._texts[job.name] = self._count_texts(rule, job)
        return self._texts[job.name]

    def _count_texts(self, rule: str, job: PilotJob) -> Texts | None:
        path = paths.artifact(self.results, RULES[rule].artifact or "", **job.wildcards)
        if not path.is_file():
            return None
        table = {"reflect": tables.REFLECTIONS, "judge": JUDGEMENTS}.get(rule, tables.SAMPLES)
        columns = ["prompt_tokens", "completion_tokens", "completion"]
        rows = tables.read(path, table, columns)
        own = rows.unique("completion")
        started = STARTED.findall(self._read_log(job.name))
        # several shards have a line each, and the line behind them generates nothing
        generated = sum(int(count.replace(b",", b"")) for count in started) if started else None
        return Texts(
            rows.height,
            int(rows["prompt_tokens"].sum()),
            int(rows["completion_tokens"].sum()),
            own.height,
            int(own["prompt_tokens"].sum()),
            int(own["completion_tokens"].sum()),
            generated,
        )

    @cached_property
    def problem_counts(self) -> dict[tuple[str, str], tuple[int, dict[str, Any]]]:
        """(dataset or benchmark, name) → its problems, and the keys that they were made with."""
        found = {}
        for block, template in (
            ("dataset", paths.PROBLEMS),
            ("benchmark", paths.BENCHMARK_PROBLEMS),
        ):
            pattern = template.format(**{block: "*"})
            for path in sorted(self.results.glob(pattern)):
                keys = self._read_record(template, {block: path.parent.name}).get("config") or {}
                rows, _ = tables.size(path, tables.PROBLEMS)
                found[block, path.parent.name] = (rows, keys)
        return found
