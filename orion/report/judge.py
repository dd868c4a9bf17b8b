"""What a judge model prefers of the answers of each two arms that are compared.

Input: ``Results`` of a run with ``report.judge``. Output: rows. It is a model's opinion: no
test and no reading of a comparison goes by it.
"""

import dataclasses
from collections.abc import Iterable

import numpy as np

from orion.experiment import statistics
from orion.experiment.judgements import judge_pairs, measure_agreement, score_pairs
from orion.report.gather import Results

# a win is two halves, a tie one, so that halves are counted whole
HALVES = 2


def judge_rows(results: Results, *, confidence: float) -> list[dict]:
    """One row per comparison and benchmark; no rows without a judge.

    ``win_rate``: of the readable pairs, a tie or an inconsistent one counting half, with Wilson's
    interval over the pairs or the clusters of their problems; null without a readable pair.
    """
    rows = []
    for (arm, against, benchmark), judged in results.judged.items():
        measured = dataclasses.asdict(measure_agreement(judged.judgements, judged.false_steps))
        points = score_pairs(judge_pairs(judged.judgements))
        found: dict[str, float | None] = dict.fromkeys(("win_rate", "low", "high"))
        if points:
            interval = statistics.share_interval(
                np.array([*points.values()]),
                HALVES,
                confidence=confidence,
                clusters=_number_clusters(points, judged.clusters),
            )
            found = {"win_rate": interval.value, "low": interval.low, "high": interval.high}
        place = {"arm": arm, "against": against, "benchmark": benchmark}
        rows.append({**place, **found, **measured})
    return rows


def _number_clusters(
    problem_ids: Iterable[str], clusters: dict[str, int] | None
) -> statistics.Integers | None:
    """The cluster of each of these problems, ``(problems,)``, numbered from 0."""
    if clusters is None:
        return None
    return statistics.number_clusters([clusters[problem_id] for problem_id in problem_ids])
