"""Shares of answers, with intervals over problems or over clusters of them.

Input: rows of answers with their problem_id. Output: a share with its interval, as columns.
"""

import polars as pl

from orion.experiment import statistics
from orion.report.gather import Results


def find_clusters(results: Results, benchmark: str, checked: pl.DataFrame) -> dict[str, int] | None:
    """The cluster of each problem of a benchmark; None where it has none above the problem."""
    clusters = results.clusters[benchmark]
    if clusters is None:
        return None
    ids = checked["problem_id"].unique().sort().to_list()
    return dict(zip(ids, clusters.tolist(), strict=True))


def estimate_share(
    texts: pl.DataFrame, hit: pl.Expr, confidence: float, of_problem: dict[str, int] | None
) -> dict:
    """``share`` of the texts for which ``hit`` holds, ``low`` and ``high``; null without texts.

    ``of_problem``: the cluster of each problem, as `find_clusters` gives it.
    """
    if texts.is_empty():
        return {"share": None, "low": None, "high": None}
    grouped = texts.group_by("problem_id").agg(hits=hit.sum(), of=pl.len()).sort("problem_id")
    clusters = None
    if of_problem is not None:
        # those of the problems that are left
        clusters = statistics.number_clusters([of_problem[name] for name in grouped["problem_id"]])
    interval = statistics.share_interval(
        grouped["hits"].to_numpy(),
        grouped["of"].to_numpy(),
        confidence=confidence,
        clusters=clusters,
    )
    return {"share": interval.value, "low": interval.low, "high": interval.high}
