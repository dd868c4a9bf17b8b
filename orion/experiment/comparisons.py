"""The paired comparison of two arms on one benchmark, and what may be read from it.

Input: accuracies by seed and problem. Output: the difference with its intervals and p values, and a
verdict that names a side only where the test over problems and runs does, after the correction.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orion.experiment import statistics
from orion.experiment.two_way import Effect, estimate_effect

# the verdicts that name a side; the other verdict is UNCLEAR
SIDES = ABOVE, BELOW = ("above", "below")
UNCLEAR = "unclear"
# per-problem means over seeds that are closer than this are a tie: the rest is rounding
TIE = 1e-9


@dataclass(frozen=True)
class PairedTest:
    """One tested comparison.

    ``difference`` is a fraction of problems. ``low``/``high`` and ``p_problems`` resample problems:
    they hold for these very models. ``low_runs``/``high_runs``, ``p``, ``standard_error``,
    ``degrees`` of freedom and ``detectable`` (with a power of 80 % at the level of the interval)
    come from `two_way.estimate_effect`: they hold for new runs on new problems, and are None with
    one run of an arm. ``lowest_seed``, ``highest_seed`` and ``spread`` (standard deviation)
    describe the differences of equally numbered seeds, None where the numbers of seeds differ.
    ``better``, ``worse`` and ``tied`` count problems. Neither p is corrected yet.
    """

    problems: int
    seeds: int
    difference: float
    low: float
    high: float
    low_runs: float | None
    high_runs: float | None
    p: float | None
    standard_error: float | None
    degrees: float | None
    detectable: float | None
    lowest_seed: float | None
    highest_seed: float | None
    spread: float | None
    better: int
    worse: int
    tied: int
    p_problems: float

    @property
    def effect(self) -> Effect | None:
        """The difference for new runs, e.g. to test equivalence within a margin."""
        if self.standard_error is None or self.degrees is None:
            return None
        return Effect(self.difference, self.standard_error, self.degrees)


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
    Raises ValueError if the numbers of problems differ.
    """
    arm, against = (np.atleast_2d(np.asarray(a, dtype=np.float64)) for a in (arm, against))
    effect = estimate_effect(arm, against)
    low_runs, high_runs = effect.interval(confidence) if effect else (None, None)
    pairs = arm.mean(axis=0) - against.mean(axis=0)  # (problems,)
    over_problems = statistics.bootstrap_interval(
        pairs, confidence=confidence, resamples=resamples, key=("difference", *key)
    )
    paired_seeds = arm.shape[0] == against.shape[0]
    by_seed = arm.mean(axis=1) - against.mean(axis=1) if paired_seeds else np.empty(0)
    is_tied = np.abs(pairs) <= TIE
    return PairedTest(
        problems=pairs.size,
        seeds=arm.shape[0],
        difference=over_problems.value,
        low=over_problems.low,
        high=over_problems.high,
        low_runs=low_runs,
        high_runs=high_runs,
        p=effect.p_value() if effect else None,
        standard_error=effect.standard_error if effect else None,
        degrees=effect.degrees if effect else None,
        detectable=effect.detectable(1 - confidence) if effect else None,
        lowest_seed=float(by_seed.min()) if by_seed.size else None,
        highest_seed=float(by_seed.max()) if by_seed.size else None,
        spread=float(by_seed.std(ddof=1)) if by_seed.size > 1 else None,
        better=int((pairs > TIE).sum()),
        worse=int((pairs < -TIE).sum()),
        tied=int(is_tied.sum()),
        p_problems=statistics.sign_flip_p_value(np.where(is_tied, 0.0, pairs), key=("p", *key)),
    )


def excludes_zero(low: float | None, high: float | None) -> bool:
    """Whether there is an interval and zero is outside it."""
    return low is not None and high is not None and (low > 0 or high < 0)


def name_side(test: PairedTest, p_holm: float | None, *, alpha: float) -> str:
    """``above``, ``below`` or ``unclear``.

    A side is named only if Holm's p value of the test over problems and runs is at most ``alpha``.
    Without it, as with one run of an arm, no side is named.
    """
    if p_holm is None or p_holm > alpha:
        return UNCLEAR
    return ABOVE if test.difference > 0 else BELOW


def correct_tests(tests: Sequence[PairedTest], *, alpha: float) -> list[tuple[float | None, str]]:
    """Holm's p value over all tests that have one, and the verdict, in the order given."""
    found = iter(statistics.holm_p_values([test.p for test in tests if test.p is not None]))
    adjusted = [None if test.p is None else next(found) for test in tests]
    return [
        (p_holm, name_side(test, p_holm, alpha=alpha))
        for test, p_holm in zip(tests, adjusted, strict=True)
    ]
