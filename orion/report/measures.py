"""The report's tables: accuracy, the base student, lengths, filters, selection, training curves.

Input: ``Results``. Output: rows as dicts, all rows of a table with the same keys, for the CSV files
and the page. Shares are fractions, lengths are tokens.
"""

from collections.abc import Iterable

import numpy as np
import polars as pl

from orion.experiment import statistics
from orion.experiment.clusters import count_clusters
from orion.experiment.selected import KINDS, KINDS_OF_ARMS
from orion.report.gather import Arm, Results

HEALTH = ("unfinished", "no_answer", "unparseable", "timeout", "failed", "loop")
SCORE = ("metric", "value", "low", "high", "n_problems", "k")
CURVE = (
    "loss",
    "validation_loss",
    "learning_rate",
    "grad_norm",
    "tokens",
    "trained_tokens",
    "accuracy",
    "entropy",
)
# the kinds of matching, as filters.json names what each removed
MATCHING = ("other_problem", "more_rows", "over_budget")


def accuracy_rows(results: Results, benchmarks: list[str], *, confidence: float) -> list[dict]:
    """One row per arm and benchmark.

    The accuracy averages the seeds within a problem; its interval is over problems, or over
    clusters of them where the benchmark has any.
    """
    rows = []
    for arm in results.arms.values():
        for benchmark in benchmarks:
            runs = {seed: e for (b, seed), e in arm.evaluations.items() if b == benchmark}
            values = arm.accuracies(benchmark)  # (seeds, problems)
            first = next(iter(runs.values())).scores["accuracy"]
            interval = statistics.share_interval(
                values.sum(axis=0) * first["k"],
                len(runs) * first["k"],
                confidence=confidence,
                clusters=results.clusters[benchmark],
            )
            by_seed = values.mean(axis=1)
            rows.append(
                {
                    "arm": arm.name,
                    "benchmark": benchmark,
                    "seeds": len(runs),
                    "problems": first["n_problems"],
                    "clusters": count_clusters(results.clusters[benchmark]),
                    "k": first["k"],
                    "accuracy": interval.value,
                    "low": interval.low,
                    "high": interval.high,
                    "lowest_seed": float(by_seed.min()),
                    "highest_seed": float(by_seed.max()),
                    "spread": float(by_seed.std(ddof=1)) if len(runs) > 1 else None,
                    **{
                        m: _mean(runs.values(), m)
                        for m in ("pass_at_k", "mean_completion_tokens", *HEALTH)
                    },
                    **summarise_training(arm),
                }
            )
    return rows


def _mean(evaluations: Iterable, metric: str) -> float:
    return float(np.mean([e.scores[metric]["value"] for e in evaluations]))


def summarise_training(arm: Arm) -> dict:
    """What an arm was trained on; nulls for an untrained arm.

    ``steps`` and ``seen_trained_tokens`` are the largest over the seeds.
    """
    if arm.train is None or arm.packed is None:
        names = (
            "train_rows",
            "train_problems",
            "dropped_too_long",
            "rejected",
            "packed_tokens",
            "trained_tokens",
        )
        return dict.fromkeys(
            (*names, "trained_tokens_per_row", "steps", "seen_trained_tokens", "passes")
        )
    last = [log[-1] for log in arm.logs.values() if log]
    seen = max(
        (entry["trained_tokens"] for entry in last if "trained_tokens" in entry), default=None
    )
    return {
        "train_rows": arm.train.height,
        "train_problems": arm.train["problem_id"].n_unique(),
        "dropped_too_long": arm.packed["dropped_too_long"],
        "rejected": sum(arm.packed["rejected"].values()),
        "packed_tokens": arm.packed["tokens"],
        "trained_tokens": arm.packed["trained_tokens"],
        "trained_tokens_per_row": arm.packed["trained_tokens"] / max(1, arm.packed["documents"]),
        "steps": max((entry["step"] for entry in last), default=None),
        "seen_trained_tokens": seen,
        "passes": seen and seen / arm.packed["trained_tokens"],
    }


def seed_rows(results: Results) -> list[dict]:
    """One row per arm, benchmark, seed and metric, as in scores.json."""
    return [
        {
            "arm": arm.name,
            "benchmark": benchmark,
            "seed": seed,
            **{column: row[column] for column in SCORE},
        }
        for arm in results.arms.values()
        for (benchmark, seed), evaluation in arm.evaluations.items()
        for row in evaluation.scores.values()
    ]


def base_row(results: Results, *, confidence: float) -> dict:
    """The untrained student on the training problems.

    ``both``, ``all_right`` and ``all_wrong`` are shares of the problems, by their samples.
    ``with_trace`` and ``traces_correct`` count problems: those with a teacher trace, and those with
    a correct one, ``traces_not_first`` of which is a later candidate of the ``trace_candidates``.
    What is said of traces is null where no arm is trained: none of them was checked.
    """
    traces, correct = results.traces, results.correct_traces
    right = pl.col("verdict") == "correct"
    grouped = (
        results.samples.group_by("problem_id")
        .agg(accuracy=right.mean(), k=pl.len())
        .sort("problem_id")
    )
    values = grouped["accuracy"].to_numpy()  # (problems,)
    samples = grouped["k"].to_numpy()  # (problems,)
    interval = statistics.share_interval(values * samples, samples, confidence=confidence)
    verdicts = results.samples["verdict"]
    return {
        "problems": grouped.height,
        "k": int(grouped["k"].max()),  # type: ignore[arg-type]
        "accuracy": interval.value,
        "low": interval.low,
        "high": interval.high,
        "both": float(((values > 0) & (values < 1)).mean()),
        "all_right": float((values == 1).mean()),
        "all_wrong": float((values == 0).mean()),
        "incorrect": float((verdicts == "incorrect").to_numpy().mean()),
        "no_answer": float((verdicts == "no_answer").to_numpy().mean()),
        "unfinished": float((results.samples["finish_reason"] == "length").to_numpy().mean()),
        "mean_completion_tokens": float(results.samples["completion_tokens"].to_numpy().mean()),
        "with_trace": None if traces is None else results.problems["teacher_trace"].count(),
        "traces_correct": None if correct is None else correct.height,
        "trace_candidates": None if traces is None else traces.height,
        "traces_not_first": None
        if correct is None
        else correct.filter(pl.col("sample_id") > 0).height,
    }


def length_rows(results: Results, benchmarks: list[str]) -> list[dict]:
    """One row per arm and benchmark: completion tokens, over all samples of all seeds."""
    rows = []
    for arm in results.arms.values():
        for benchmark in benchmarks:
            tokens = np.concatenate(
                [e.tokens for (b, _), e in arm.evaluations.items() if b == benchmark]
            )
            median, p90 = np.quantile(tokens, [0.5, 0.9])
            rows.append(
                {
                    "arm": arm.name,
                    "benchmark": benchmark,
                    "samples": tokens.size,
                    "mean": float(tokens.mean()),
                    "median": float(median),
                    "p90": float(p90),
                    "longest": int(tokens.max()),
                }
            )
    return rows


def waterfall_rows(results: Results) -> list[dict]:
    """One row per arm and filter, in the order applied.

    ``removed`` counts the reflections that no earlier filter had removed; ``objects`` all
    reflections that the filter objects to.
    """
    return [
        {
            "arm": arm.name,
            "reflections": arm.filters["reflections"],
            "order": order,
            "filter": step["filter"],
            "removed": step["removed"],
            "left": step["left"],
            "objects": arm.filters["coverage"].get(step["filter"], 0),
        }
        for arm in results.arms.values()
        if arm.filters is not None and arm.reflections is not None
        for order, step in enumerate(arm.filters["waterfall"])
    ]


def selection_rows(results: Results) -> list[dict]:
    """One row per arm: its training rows by kind, fallbacks, and what matching removed.

    ``own_sample`` and ``own_wrong`` are among the kinds only where an arm is trained on them.
    ``without_exposed_error``: problems with a wrong sample for which no error could be shown.
    ``removed_by_matching``: training rows, by its kinds; None for an arm that is not matched.
    """
    rows = []
    present = {arm.trained_on for arm in results.arms.values()}
    listed = [kind for kind in KINDS if KINDS_OF_ARMS.get(kind) in {None, *present}]
    for arm in results.arms.values():
        if arm.filters is None or arm.train is None:
            continue
        kinds = arm.filters["rows_by_kind"]
        fallbacks = arm.filters["fallbacks"]
        row = {
            "arm": arm.name,
            "problems": arm.filters["problems"],
            "trained": arm.train["problem_id"].n_unique(),
        }
        for case in ("no_error", "all_filtered"):
            used = fallbacks.get(f"fallback_{case}") or {"policy": None, "problems": None}
            row |= {f"problems_{case}": used["problems"], f"fallback_{case}": used["policy"]}
        rows.append(
            {
                **row,
                "without_exposed_error": arm.filters["without_exposed_error"],
                **count_removed(arm.filters),
                "rows": arm.filters["rows"],
                **{kind: kinds.get(kind, 0) for kind in listed},
            }
        )
    return rows


def count_removed(filters: dict) -> dict[str, int | None]:
    """The training rows that matching removed, all and by kind; None where there was none."""
    steps = filters["matching"]["waterfall"] if "matching" in filters else []
    removed = {step["filter"]: step["removed"] for step in steps}
    return {
        "removed_by_matching": sum(removed.values()) if steps else None,
        **{f"removed_{name}": removed.get(name) for name in MATCHING},
    }


def curve_rows(results: Results) -> list[dict]:
    """One row per arm, seed and logged step."""
    return [
        {
            "arm": arm.name,
            "seed": seed,
            "step": entry["step"],
            **{name: entry.get(name) for name in CURVE},
        }
        for arm in results.arms.values()
        for seed, log in arm.logs.items()
        for entry in log
    ]
