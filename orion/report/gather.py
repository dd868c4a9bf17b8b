"""Read the grid's artifacts into one object a student: tables as frames, documents as dictionaries.

Input: the configuration and the results folder, already verified by ``chain``. Output: ``Street``.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from orion import paths, tables
from orion.config import Config
from orion.errors import InputError
from orion.experiment import statistics


@dataclass(frozen=True)
class Evaluation:
    """One trained model on one benchmark: its scores, and one row a problem (problem_id, accuracy) sorted by problem_id."""

    scores: dict[str, dict]
    per_problem: pl.DataFrame
    tokens: np.ndarray  # (problems * k,) completion tokens


@dataclass
class Arm:
    """What one arm left behind; the tables of reflections and the training files are None where the arm has none."""

    name: str
    evaluations: dict[tuple[str, int], Evaluation] = field(default_factory=dict)
    errors: pl.DataFrame | None = None
    reflections: pl.DataFrame | None = None
    train: pl.DataFrame | None = None
    filters: dict | None = None
    packed: dict | None = None
    logs: dict[int, list[dict]] = field(default_factory=dict)

    def accuracies(self, benchmark: str) -> np.ndarray:
        """Accuracy by seed and problem, ``(seeds, problems)``; problems sorted by problem_id."""
        return np.stack(
            [
                e.per_problem["accuracy"].to_numpy()
                for (b, _), e in self.evaluations.items()
                if b == benchmark
            ]
        )


@dataclass(frozen=True)
class Street:
    """One student on one training set: the whole street from problems to scores."""

    dataset: str
    model: str
    problems: pl.DataFrame
    traces_correct: int
    samples: pl.DataFrame  # joined with their verdicts
    arms: dict[str, Arm]


def street(config: Config, root: str | Path, dataset: str, model: str) -> Street:
    """All artifacts of one student on one training set."""
    trace_verdicts = tables.read(
        paths.dataset(root, dataset, "trace_verdicts.parquet"), tables.VERDICT_ROWS
    )
    samples = judged(
        paths.student(root, dataset, model, "samples.parquet"),
        paths.student(root, dataset, model, "verdicts.parquet"),
        tables.SAMPLES,
    )
    return Street(
        dataset,
        model,
        tables.read(
            paths.problems_with_traces(
                root, dataset, teacher_sampled=config.datasets[dataset].teacher is not None
            ),
            tables.PROBLEMS,
        ),
        trace_verdicts.filter(pl.col("verdict") == "correct").height,
        samples,
        {name: _arm(config, root, dataset, model, name) for name in config.runs.arms},
    )


def judged(responses: Path, verdicts: Path, table: tables.Table) -> pl.DataFrame:
    """Samples or reflections with their verdicts; raises InputError where one of them has no verdict or the reverse."""
    rows = tables.read(responses, table)
    marks = tables.read(verdicts, tables.VERDICT_ROWS)
    joined = rows.join(marks, on=["problem_id", "sample_id"], validate="1:1")
    if not joined.height == rows.height == marks.height:
        raise InputError(
            f"{verdicts}: {marks.height} verdicts for {rows.height} rows of {responses}; delete it and rerun"
        )
    return joined.sort("problem_id", "sample_id")


def _arm(config: Config, root: str | Path, dataset: str, model: str, name: str) -> Arm:
    arm = Arm(name)
    where: dict[str, Any] = {"root": root, "dataset": dataset, "model": model, "arm": name}
    trained_on = config.arms[name].trained_on
    if trained_on == "reflection":
        arm.errors = tables.read(paths.arm(**where, file="errors.parquet"), tables.ERRORS)
        reflections, verdicts = (
            paths.arm(**where, file=f"{stem}.parquet")
            for stem in ("reflections", "reflection_verdicts")
        )
        arm.reflections = judged(reflections, verdicts, tables.REFLECTIONS)
    if trained_on != "nothing":
        arm.train = tables.read(paths.arm(**where, file="train.parquet"), tables.TRAIN)
        arm.filters = tables.read_json(paths.arm(**where, file="filters.json"))
        arm.packed = tables.read_json(paths.arm(**where, file="packed/stats.json"))
        for seed in config.runs.seeds:
            arm.logs[seed] = _log(paths.run(**where, seed=seed, file="train_log.jsonl"))
    for benchmark in config.runs.benchmarks:
        for seed in config.runs.seeds:
            arm.evaluations[benchmark, seed] = _evaluation(
                {**where, "seed": seed, "benchmark": benchmark}
            )
    return arm


def _log(path: Path) -> list[dict]:
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}: not a readable training log ({error}); delete the run's folder and rerun"
        ) from None


def _evaluation(where: dict) -> Evaluation:
    scores = paths.evaluation(**where, file="scores.json")
    samples, verdicts = (
        paths.evaluation(**where, file=f"{stem}.parquet") for stem in ("samples", "verdicts")
    )
    rows = judged(samples, verdicts, tables.SAMPLES)
    ids, means = statistics.problem_means(
        rows["problem_id"].to_list(), (rows["verdict"] == "correct").to_numpy()
    )
    by_metric = {row["metric"]: row for row in tables.read_json(scores)["rows"]}
    told = by_metric["accuracy"]["value"]
    if abs(told - means.mean()) > 1e-9:
        raise InputError(
            f"{scores}: accuracy {told}, but the verdicts give {means.mean()}; delete it and rerun"
        )
    return Evaluation(
        by_metric,
        pl.DataFrame({"problem_id": ids, "accuracy": means}),
        rows["completion_tokens"].to_numpy(),
    )
