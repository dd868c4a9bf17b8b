"""Problems that flip between the two arms of each comparison, and the largest of them.

Input: ``Results`` and the planned tests. Output: rows. They describe these very models.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from orion.experiment.flips import Flips, count_flips, find_largest
from orion.experiment.levels import write_line
from orion.report.gather import Arm, Results
from orion.report.registration import PlannedTest

# gains, and as many losses, that are listed per comparison and benchmark
LISTED = 3
# characters of a problem's name; it may be any text
MAX_NAME = 80


def flip_rows(results: Results, tests: Sequence[PlannedTest]) -> list[dict]:
    """One row per comparison and benchmark; numbers are null where one of the arms was not run."""
    columns = [field.name for field in dataclasses.fields(Flips)]
    rows = []
    for row in _list_pairs(tests):
        pair = _find_arms(results, row)
        found: dict[str, Any] = dict.fromkeys(columns)
        if pair is not None:
            found = dataclasses.asdict(count_flips(*(a.accuracies(row["benchmark"]) for a in pair)))
        rows.append({**row, **found})
    return rows


def largest_flip_rows(results: Results, tests: Sequence[PlannedTest]) -> list[dict]:
    """Up to LISTED gains and as many losses per comparison and benchmark, largest first.

    ``right`` of ``samples`` are the arm's correct ones over all seeds, ``against_right`` of
    ``against_samples`` the other's.
    """
    rows = []
    for row in _list_pairs(tests):
        pair = _find_arms(results, row)
        if pair is None:
            continue
        benchmark = row["benchmark"]
        first, second = (arm.accuracies(benchmark) for arm in pair)
        names = pair[0].list_runs(benchmark)[0].per_problem["problem_id"]
        counts = [_count_right(arm, benchmark) for arm in pair]
        for number in find_largest(first, second, LISTED):
            (right, samples), (other_right, other_samples) = (
                (int(found[number]), total) for found, total in counts
            )
            rows.append(
                {
                    **row,
                    "problem_id": write_line(names[number], MAX_NAME),
                    "difference": right / samples - other_right / other_samples,
                    "right": right,
                    "samples": samples,
                    "against_right": other_right,
                    "against_samples": other_samples,
                }
            )
    return rows


def _list_pairs(tests: Sequence[PlannedTest]) -> Iterator[dict]:
    """Each pair of arms and benchmark once, whatever is tested of it."""
    seen: dict[tuple[str, str, str], None] = {}
    for test in tests:
        seen.setdefault((test.arm, test.against, test.benchmark))
    for arm, against, benchmark in seen:
        yield {"arm": arm, "against": against, "benchmark": benchmark}


def _find_arms(results: Results, row: dict) -> tuple[Arm, Arm] | None:
    """The two arms of a comparison; None where the grid does not have both on the benchmark."""
    arm, against = (results.arms.get(row[name]) for name in ("arm", "against"))
    if arm is None or against is None:
        return None
    if row["benchmark"] not in {benchmark for benchmark, _ in arm.evaluations}:
        return None
    return arm, against


def _count_right(arm: Arm, benchmark: str) -> tuple[np.ndarray, int]:
    """The right samples of each problem over all seeds, ``(problems,)``, and of how many."""
    values, samples = arm.accuracies(benchmark), arm.count_samples(benchmark)
    right = np.rint(values.sum(axis=0) * samples).astype(np.int64)
    return right, values.shape[0] * samples
