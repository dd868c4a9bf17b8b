"""Problems that flip between two arms: what one gets right and the other does not.

Input: accuracies by seed and problem. Output: counts of problems, and the largest differences. No
test is made of them: `orion.experiment.comparisons` tests the mean of the same differences.
"""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from orion.experiment.comparisons import TIE
from orion.experiment.statistics import Floats


@dataclass(frozen=True)
class Flips:
    """Counts of problems of a comparison, by the samples of all seeds together.

    ``better``, ``worse`` and ``equal`` compare the two arms' accuracies. ``both``, ``only_arm``,
    ``only_against`` and ``neither`` say which of them has any right sample. ``runs_of_both`` is how
    many problems differ between a run of one arm and a run of the other, on average, and
    ``runs_of_one`` between two runs of the same arm; None with one run of each.
    """

    problems: int
    better: int
    worse: int
    equal: int
    both: int
    only_arm: int
    only_against: int
    neither: int
    runs_of_both: float
    runs_of_one: float | None


def count_flips(arm: Floats, against: Floats) -> Flips:
    """The flips from ``against`` ``(other seeds, problems)`` to ``arm`` ``(seeds, problems)``."""
    difference = _subtract(arm, against)
    solved, other = (values.max(axis=0) > 0 for values in (arm, against))
    within = [_count_differing(itertools.combinations(runs, 2)) for runs in (arm, against)]
    known = [value for value in within if value is not None]
    between = _count_differing(itertools.product(arm, against))
    assert between is not None, "an arm has a run"
    return Flips(
        problems=difference.size,
        better=int((difference > 0).sum()),
        worse=int((difference < 0).sum()),
        equal=int((difference == 0).sum()),
        both=int((solved & other).sum()),
        only_arm=int((solved & ~other).sum()),
        only_against=int((~solved & other).sum()),
        neither=int((~solved & ~other).sum()),
        runs_of_both=between,
        runs_of_one=sum(known) / len(known) if known else None,
    )


def _subtract(arm: Floats, against: Floats) -> Floats:
    """The difference of the mean accuracies, ``(problems,)``; zero where it is rounding."""
    difference: Floats = arm.mean(axis=0) - against.mean(axis=0)
    return np.where(np.abs(difference) <= TIE, 0.0, difference)


def _count_differing(pairs: Iterable[tuple[Floats, Floats]]) -> float | None:
    """The mean over pairs of runs of the number of problems that differ; None without a pair."""
    counts = [int((np.abs(one - other) > TIE).sum()) for one, other in pairs]
    return sum(counts) / len(counts) if counts else None


def find_largest(arm: Floats, against: Floats, count: int) -> list[int]:
    """The problems with the largest differences: up to ``count`` gains, then as many losses.

    Equal differences are in the order of the problems.
    """
    difference = _subtract(arm, against)
    order = np.argsort(-difference, kind="stable")
    gains = [int(n) for n in order[:count] if difference[n] > 0]
    order = np.argsort(difference, kind="stable")
    return gains + [int(n) for n in order[:count] if difference[n] < 0]
