"""Compute the report's numbers on false steps again, for ``recompute_report.py``.

Input: one student on one training set as ``Recomputed``. Disagreements are added to its list.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from tests.helpers import uncertainty

if TYPE_CHECKING:
    from tests.helpers.recompute_report import Recomputed


# kinds of training rows whose steps are not checked
UNCHECKED = ("solution", "oracle")


def compare(again: Recomputed) -> None:
    """Both tables: the answers on the benchmarks, and what the arms train on."""
    _compare_answers(again)
    _compare_training(again)


def _compare_answers(again: Recomputed) -> None:
    for reported in again.item["false_steps"]:
        arm, benchmark, scope = (reported[name] for name in ("arm", "benchmark", "scope"))
        rows = []
        for seed in again.doc["grid"]["seeds"]:
            folder = again.folder / arm / f"seed-{seed}" / benchmark
            rows += _with_steps(folder / "verdicts.parquet", folder / "steps.parquet")
        rows = [row for row in rows if scope == "all" or row["verdict"] == "correct"]
        by_problem: dict[str, list[bool]] = {}
        for row in rows:
            by_problem.setdefault(row["problem_id"], []).append(row["false"] > 0)
        share = None
        if rows:
            of_problem = again.clusters(benchmark)
            by_cluster: dict[object, list[bool]] = {}
            for name in sorted(by_problem):
                by_cluster.setdefault(of_problem[name], []).extend(by_problem[name])
            grouped = [*by_cluster.values()]
            share = uncertainty.clustered_wilson(
                list(map(sum, grouped)), list(map(len, grouped)), again.doc["confidence"]
            )
        false = sum(row["false"] > 0 for row in rows)
        recomputed = {
            "texts": len(rows),
            "with_step": sum(row["true"] + row["false"] + row["unknown"] > 0 for row in rows),
            "with_false_step": false,
            "share": false / len(rows) if rows else None,
            "low": share[0] if share else None,
            "high": share[1] if share else None,
            **{name: sum(row[name] for row in rows) for name in ("true", "false", "unknown")},
        }
        again.row(f"false steps {arm} {benchmark} {scope}", reported, recomputed)


def _compare_training(again: Recomputed) -> None:
    samples = _with_steps(again.folder / "verdicts.parquet", again.folder / "steps.parquet")
    traces = _with_steps(
        again.dataset / "trace_verdicts.parquet", again.dataset / "trace_steps.parquet"
    )
    for reported in again.item["false_steps_training"]:
        folder = again.folder / reported["arm"]
        checked = dict.fromkeys(("own_correct", "own_sample", "own_wrong"), samples)
        checked["teacher_trace"] = traces
        if (folder / "reflection_steps.parquet").exists():
            checked["reflection"] = _with_steps(
                folder / "reflection_verdicts.parquet", folder / "reflection_steps.parquet"
            )
        false = {
            (kind, row["problem_id"], row["sample_id"]): row["false"] > 0
            for kind, rows in checked.items()
            for row in rows
        }
        train = pl.read_parquet(folder / "train.parquet").rows(named=True)
        after = [
            false[row["target_kind"], row["problem_id"], row["sample_id"] or 0]
            for row in train
            if row["target_kind"] not in UNCHECKED
        ]
        kind = again.config["arms"][reported["arm"]]["trained_on"]
        before = [
            row["false"] > 0
            for row in checked.get(kind, [])
            if row["verdict"] == "correct" or kind == "own_sample"
        ]
        # pairs are of two kinds of text
        unchecked = kind in UNCHECKED or kind == "error_pairs"
        if any(
            key.startswith("prefix")
            for key in again.config["arms"][reported["arm"]].get("pack", {})
        ):
            after = []
        recomputed = {
            "trained_on": kind,
            "texts": None if unchecked else len(before),
            "texts_false": None if unchecked else sum(before),
            "share_texts": sum(before) / len(before) if before else None,
            "rows": len(train),
            "rows_checked": len(after),
            "rows_false": sum(after),
            "share_rows": sum(after) / len(after) if after else None,
        }
        again.row(f"false steps in training {reported['arm']}", reported, recomputed)


def _with_steps(verdicts: Path, steps: Path) -> list[dict]:
    """problem_id, sample_id, verdict and the counts of steps of every text."""
    left, right = pl.read_parquet(verdicts), pl.read_parquet(steps)
    counts = right.select("problem_id", "sample_id", "true", "false", "unknown")
    joined = left.join(counts, on=["problem_id", "sample_id"])
    assert left.height == right.height == joined.height, verdicts
    return joined.rows(named=True)
