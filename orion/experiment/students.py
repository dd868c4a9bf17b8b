"""The comparison of two arms over a group of students, each with one or more draws of its data.

Input: per student the accuracies by draw, seed and problem. Output: one test. Draws and seeds are
averaged within a student first. Then the students are the runs of ``two_way``, paired, because what
a student does to both arms cancels: the statement is about new students and new problems of the
same kind. A group of one student has its draws for that, and the statement is about this student.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orion.experiment import two_way
from orion.experiment.comparisons import PairedTest, Settings, describe_test
from orion.experiment.statistics import Floats, Integers


@dataclass(frozen=True, kw_only=True)
class GroupTest(PairedTest):
    """One comparison over ``students``, of ``draws`` each at least.

    The ``few`` degrees of freedom are those of the students (of the draws, where there is one
    student). ``sd_students`` and ``sd_draws``: of the arms' difference; ``sd_runs``: of an arm's
    accuracy, between training seeds. None where there is nothing to tell them by; the spread is
    then part of the next component above. ``floor``: standard deviation of the difference between
    entries of one student that differ in nothing but the draw.
    """

    students: int
    draws: int
    sd_students: float | None
    sd_draws: float | None
    floor: float | None


def compare_students(
    arm: Sequence[NDArray[Any]], against: Sequence[NDArray[Any]], settings: Settings
) -> GroupTest:
    """Test the arms over students; per student ``(draws, seeds, problems)`` of either arm.

    Numbers of draws may differ between students, those of seeds and problems do not. Raises
    ValueError where there is a single student with a single draw.
    """
    draws = min(table.shape[0] for table in arm)
    if len(arm) == 1 and draws == 1:
        raise ValueError("one student with one draw is no group")
    rows = [_list_rows(tables) for tables in (arm, against)]  # twice (students or draws, problems)
    effect = two_way.estimate_effect(*rows, paired=True, clusters=settings.clusters)
    table, parts = rows[0] - rows[1], None
    if effect is not None:
        parts = two_way.split_variance(table.mean(axis=0), [table], settings.clusters)
    # twice (seeds, problems)
    by_seed = [np.mean([each.mean(axis=0) for each in tables], axis=0) for tables in (arm, against)]
    of_students, of_draws, of_runs = split_students(arm, against, settings.clusters)
    fields = describe_test(by_seed[0], by_seed[1], effect, parts, settings)
    return GroupTest(
        **{**fields, "sd_runs": of_runs},
        students=len(arm),
        draws=draws,
        sd_students=of_students,
        sd_draws=of_draws,
        floor=find_floor(arm, against),
    )


def _list_rows(tables: Sequence[NDArray[Any]]) -> Floats:
    """The students' means, or the draws' means of a single student, ``(rows, problems)``."""
    if len(tables) == 1:
        return np.asarray(tables[0].mean(axis=1), dtype=np.float64)
    return np.stack([table.mean(axis=(0, 1)) for table in tables])


def find_floor(arm: Sequence[NDArray[Any]], against: Sequence[NDArray[Any]]) -> float | None:
    """Standard deviation of the draws' differences about their student's; None without draws."""
    found = [(a - b).mean(axis=(1, 2)) for a, b in zip(arm, against, strict=True)]
    free = sum(draws.size - 1 for draws in found)
    squares = sum(float(((draws - draws.mean()) ** 2).sum()) for draws in found)
    return math.sqrt(squares / free) if free else None


def split_students(
    arm: Sequence[NDArray[Any]],
    against: Sequence[NDArray[Any]],
    clusters: Integers | None = None,
) -> tuple[float | None, float | None, float | None]:
    """Standard deviations of students, draws and seeds by a nested analysis of variance.

    Each level's mean squares hold the levels below, which are subtracted. A component below zero
    is zero.
    """
    problems = arm[0].shape[-1]
    seeds = [table for tables in (arm, against) for student in tables for table in student]
    of_seed = _pool(seeds, clusters, problems)
    # of a difference of two arms, in the mean of an entry's seeds
    below = 0.0 if of_seed is None else 2 * of_seed / arm[0].shape[1]
    pairs = [(a - b).mean(axis=1) for a, b in zip(arm, against, strict=True)]  # (draws, problems)
    of_draw = _pool(pairs, clusters, problems, below)
    inner = below if of_draw is None else below + of_draw
    share = float(np.mean([1 / draws.shape[0] for draws in pairs]))
    of_student = _pool(
        [np.stack([draws.mean(axis=0) for draws in pairs])], clusters, problems, inner * share
    )
    first, second, third = (
        None if each is None else math.sqrt(each) for each in (of_student, of_draw, of_seed)
    )
    return first, second, third


def _pool(
    tables: Sequence[Floats], clusters: Integers | None, problems: int, below: float = 0.0
) -> float | None:
    """The variance between rows, pooled over tables by their degrees of freedom, less ``below``."""
    several = [table for table in tables if table.shape[0] > 1]
    if not several or two_way.count_units(problems, clusters) < 2:
        return None
    found = [two_way.mean_squares(table, clusters) for table in several]
    weights = [table.shape[0] - 1 for table in several]
    between = np.average([float(run - rest) / problems for run, rest in found], weights=weights)
    return max(0.0, float(between) - below)
