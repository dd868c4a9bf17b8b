"""The uncertainty of a difference of two arms that were run several times on the same problems.

Input: accuracies by run and problem. Output: the difference with a standard error and its degrees
of freedom, and from these an interval, tests and the detectable effect. Problems and runs are both
random: the statements are about new problems and new runs, not about the models at hand.

A run is whatever is done anew: today one training seed. The model, for arm a, run r, problem p:

    accuracy = level_a + problem_p + (arm, problem)_ap + run_ar + rest_arp

With n problems and R_a runs the variance of the difference of the arms' means is

    Var(problem differences) / n + sum over arms of Var(run_a) / R_a

where a problem difference is the difference of the two means over runs; it contains the rest. The
mean squares of the two-way layout estimate Var(run_a) as (MS_run - MS_rest) / n (Searle, Casella &
McCulloch 1992, chapter 4); below zero it counts as zero. The three kinds of mean squares are
independent, because they belong to orthogonal contrasts. `docs/statistics.md` has the simulations.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orion.experiment import student_t

Floats = NDArray[np.float64]

# a variance of accuracies below this is rounding
NO_VARIANCE = 1e-18
POWER = 0.8


@dataclass(frozen=True)
class Effect:
    """A difference as a fraction of problems, its standard error, and the degrees of freedom."""

    value: float
    standard_error: float
    degrees: float

    def interval(self, confidence: float) -> tuple[float, float]:
        """The two-sided t interval."""
        half = self.standard_error * student_t.two_sided_quantile(1 - confidence, self.degrees)
        return self.value - half, self.value + half

    def p_value(self) -> float:
        """Two-sided p value of no difference."""
        return float(student_t.two_sided_p(self.value / self.standard_error, self.degrees))

    def non_inferiority_p(self, margin: float) -> float:
        """One-sided p value of "lower by ``margin`` or more"; small: not inferior by that much.

        Raises ValueError unless the margin, a fraction such as 0.03 for three points, is above 0.
        """
        if not margin > 0:
            raise ValueError(f"a margin must be above 0, not {margin}")
        t = (self.value + margin) / self.standard_error
        return float(student_t.upper_p(t, self.degrees))

    def equivalence_p(self, margin: float) -> float:
        """p value of "differs by ``margin`` or more" either way; small: equivalent.

        Two one-sided tests, of which the larger p counts (Schuirmann 1987). It is at most alpha
        exactly where the interval with confidence 1 - 2 alpha lies within the margins. Raises
        ValueError unless the margin is above 0.
        """
        mirrored = Effect(-self.value, self.standard_error, self.degrees)
        return max(self.non_inferiority_p(margin), mirrored.non_inferiority_p(margin))

    def detectable(self, alpha: float, power: float = POWER) -> float:
        """The smallest true difference that the two-sided test at ``alpha`` finds so often.

        It takes the standard error for the true one, so it is an estimate too.
        """
        shift = student_t.detectable_shift(self.degrees, alpha=alpha, wanted=power)
        return self.standard_error * shift


def estimate_effect(
    arm: NDArray[Any], against: NDArray[Any], *, paired: bool = False
) -> Effect | None:
    """The effect of ``arm`` ``(runs, problems)`` against ``against`` ``(other runs, problems)``.

    Columns are the same problems. ``paired``: row r of both arms is the same run, such as the same
    student and data draw, so that what it does to both cancels; the analysis is then that of the
    run by problem table of differences. Training seeds are not paired: equally numbered ones share
    little more than the initial adapters. Where they do share something, the unpaired analysis is
    on the safe side.

    None where there is no standard error: an arm with one run, one problem, or differences without
    any spread. Raises ValueError where the shapes do not match.
    """
    arm, against = (np.asarray(a, dtype=np.float64) for a in (arm, against))
    if arm.ndim != 2 or against.ndim != 2 or arm.shape[1] != against.shape[1]:
        raise ValueError(f"shapes {arm.shape} and {against.shape}: the problems do not match")
    if paired and arm.shape != against.shape:
        raise ValueError(f"{arm.shape[0]} runs against {against.shape[0]}: they are not paired")
    if arm.shape[1] < 2 or min(arm.shape[0], against.shape[0]) < 2:
        return None
    differences = arm.mean(axis=0) - against.mean(axis=0)  # (problems,)
    tables = [arm - against] if paired else [arm, against]
    variance, degrees = estimate_variance(differences, tables)
    if variance <= NO_VARIANCE:
        return None
    return Effect(float(differences.mean()), math.sqrt(variance), float(degrees))


def estimate_variance(differences: Floats, tables: Sequence[Floats]) -> tuple[Floats, Floats]:
    """Variance of the mean of ``differences`` ``(..., problems)``, and its degrees of freedom.

    ``tables``: one run by problem table ``(..., runs, problems)`` per independent set of runs, each
    with two runs or more. Leading axes are separate experiments.
    """
    squares = [(*mean_squares(table), table.shape[-2]) for table in tables]
    return combine_squares(differences.var(axis=-1, ddof=1), squares, differences.shape[-1])


def combine_squares(
    of_problems: Floats, squares: Sequence[tuple[Floats, Floats, int]], problems: int
) -> tuple[Floats, Floats]:
    """The same from the variance of the differences, and per table MS of runs, of the rest, runs.

    The degrees of freedom follow Satterthwaite (1946): V squared over the sum of the squares of
    its mean squares' parts, each over its own degrees of freedom. Two choices keep the tails from
    being too light where runs are few. The parts of the runs' mean squares count whole, not after
    the subtraction, so that a small estimate out of two runs does not pass for knowledge. And the
    parts of both arms are added before they are squared and counted with the smaller number of
    runs less one, as in the conservative form of Welch's test (Scheffé 1970).
    """
    part = of_problems / problems
    of_runs = whole = rest = np.zeros_like(part)
    for run, residual, runs in squares:
        of_runs = of_runs + np.maximum(0.0, run - residual) / (problems * runs)
        whole = whole + run / (problems * runs)
        rest = rest + (residual / (problems * runs)) ** 2 / ((runs - 1) * (problems - 1))
    fewest = min(runs for _, _, runs in squares) - 1
    variance = part + of_runs
    spread = part**2 / (problems - 1) + whole**2 / fewest + rest
    degrees = np.divide(
        variance**2, spread, out=np.full_like(spread, float(fewest)), where=spread > 0
    )
    return variance, np.maximum(degrees, fewest)


def mean_squares(table: Floats) -> tuple[Floats, Floats]:
    """MS of runs and of the rest, of a run by problem table ``(..., runs, problems)``.

    Expected: n Var(run) + Var(rest), and Var(rest); degrees of freedom R - 1 and (R - 1)(n - 1).
    """
    runs, problems = table.shape[-2:]
    by_run = table.mean(axis=-1, keepdims=True)
    rest = table - by_run - table.mean(axis=-2, keepdims=True) + table.mean((-2, -1), keepdims=True)
    of_runs: Floats = problems * by_run[..., 0].var(axis=-1, ddof=1)
    return of_runs, (rest**2).sum(axis=(-2, -1)) / ((runs - 1) * (problems - 1))
