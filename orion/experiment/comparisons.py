"""The paired comparison of two arms on one benchmark, and what may be read from it.

Input: accuracies by seed and problem. Output: the difference with its intervals, its p value, and a
verdict that names a side only if all of them agree.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orion.experiment import statistics

# the verdicts that name a side; the other verdict is UNCLEAR
SIDES = ABOVE, BELOW = ("above", "below")
UNCLEAR = "unclear"
# per-problem means over seeds that are closer than this are a tie: the rest is rounding
TIE = 1e-9


@dataclass(frozen=True)
class PairedTest:
    """One tested comparison.

    ``difference`` is a fraction of problems. ``low``/``high`` resample problems,
    ``low_seeds``/``high_seeds`` resample seeds as well (None with a single seed).
    ``lowest_seed``, ``highest_seed`` and ``spread`` describe the differences of equally numbered
    seeds. ``better``, ``worse`` and ``tied`` count problems. ``p`` is not yet corrected.
    """

    problems: int
    seeds: int
    difference: float
    low: float
    high: float
    low_seeds: float | None
    high_seeds: float | None
    lowest_seed: float | None
    highest_seed: float | None
    spread: float | None
    better: int
    worse: int
    tied: int
    p: float


def compare_arms(
    arm: NDArray[Any],
    against: NDArray[Any],
    *,
    confidence: float,
    resamples: int,
    key: Sequence[object],
) -> PairedTest:
    """Test ``arm`` ``(seeds, problems)`` against ``against`` ``(other seeds, problems)``.

    Both hold per-problem accuracies, columns in the same order. ``key`` seeds the resampling.
    """
    difference = statistics.paired_difference(
        arm, against, confidence=confidence, resamples=resamples, key=("difference", *key)
    )
    pairs = arm.mean(axis=0) - against.mean(axis=0)  # (problems,)
    is_tied = np.abs(pairs) <= TIE
    by_seed = difference.by_seed or ()
    return PairedTest(
        problems=pairs.size,
        seeds=arm.shape[0],
        difference=difference.value,
        low=difference.low,
        high=difference.high,
        low_seeds=difference.low_seeds,
        high_seeds=difference.high_seeds,
        lowest_seed=min(by_seed, default=None),
        highest_seed=max(by_seed, default=None),
        spread=difference.spread,
        better=int((pairs > TIE).sum()),
        worse=int((pairs < -TIE).sum()),
        tied=int(is_tied.sum()),
        p=statistics.sign_flip_p_value(np.where(is_tied, 0.0, pairs), key=("p", *key)),
    )


def excludes_zero(low: float | None, high: float | None) -> bool:
    """Whether there is an interval and zero is outside it."""
    return low is not None and high is not None and (low > 0 or high < 0)


def name_side(test: PairedTest, p_holm: float, *, alpha: float) -> str:
    """``above``, ``below`` or ``unclear``.

    A side is named only if both intervals exclude zero and Holm's p value is at most ``alpha``.
    With one seed there is no interval over seeds, so no side is named.
    """
    agreed = (
        excludes_zero(test.low, test.high)
        and excludes_zero(test.low_seeds, test.high_seeds)
        and p_holm <= alpha
    )
    if not agreed:
        return UNCLEAR
    return ABOVE if test.difference > 0 else BELOW


def correct_tests(tests: Sequence[PairedTest], *, alpha: float) -> list[tuple[float, str]]:
    """Holm's p value over all these tests, and the verdict, of each test in the order given."""
    adjusted = statistics.holm_p_values([test.p for test in tests])
    return [
        (p_holm, name_side(test, p_holm, alpha=alpha))
        for test, p_holm in zip(tests, adjusted, strict=True)
    ]
