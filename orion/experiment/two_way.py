"""The uncertainty of a difference of two arms that were run several times on the same problems.

Input: accuracies by run and problem. Output: the difference with a standard error and its degrees
of freedom, and from these an interval, tests and the detectable effect. Problems and runs are both
random: the statements are about new problems and new runs, not about the models at hand.

A run is whatever is done anew: a training seed, a draw of data, a student. The model, for arm a,
run r, problem p:

    accuracy = level_a + problem_p + (arm, problem)_ap + run_ar + rest_arp

With n problems and R_a runs the variance of the difference of the arms' means is

    Var(problem differences) / n + sum over arms of Var(run_a) / R_a

where a problem difference is the difference of the two means over runs; it contains the rest. The
mean squares of the two-way layout estimate Var(run_a) as (MS_run - MS_rest) / n (Searle, Casella &
McCulloch 1992, chapter 4). The three kinds of mean squares are independent, because they belong to
orthogonal contrasts. `docs/statistics.md` has the simulations.

Where problems are variants of one another, ``clusters`` ``(problems,)`` has the number of each
one's cluster. Both variances of problems, of the differences and of the rest, are then those of
cluster sums, with the correction C / (C - 1) and C - 1 degrees of freedom for C clusters
(cluster-robust, CR1: Cameron & Miller 2015, section II).

The critical value of the difference, in standard errors, lies between those of C - 1 degrees of
freedom (without clusters n - 1) and of the few that the runs have: its square is the mean of
theirs, weighted by the parts of the variance that problems and runs have in it (Banerjee 1961,
Sankhyā A 23). Satterthwaite's approximation to the whole variance errs in the tails, where
Holm's correction looks. The few degrees of separate runs follow Welch (1947), see `find_degrees`.

Runs that both arms have in common, such as students, are paired: the table of differences is
analysed, and the few degrees are R - 1. There the component of the runs counts as zero where it is
below, on the careful side where students do not differ.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orion.experiment import statistics, student_t
from orion.experiment.statistics import Integers

Floats = NDArray[np.float64]

# a variance of accuracies below this is rounding
NO_VARIANCE = 1e-18
POWER = 0.8


@dataclass(frozen=True)
class Effect:
    """A difference as a fraction of problems, its standard error, and the degrees of freedom.

    ``weight`` is the part of the variance that has only the ``few`` degrees of freedom of the runs;
    the rest has ``degrees``, those of the problems.
    """

    value: float
    standard_error: float
    degrees: float
    weight: float = 0.0
    few: float = 1.0

    def critical(self, alpha: float) -> float:
        """What the difference in standard errors exceeds with probability ``alpha``."""
        if not self.weight:
            return student_t.two_sided_quantile(alpha, self.degrees)
        return float(student_t.mixed_quantile(alpha, self.degrees, self.few, self.weight))

    def interval(self, confidence: float) -> tuple[float, float]:
        """The two-sided t interval."""
        half = self.standard_error * self.critical(1 - confidence)
        return self.value - half, self.value + half

    def p_value(self) -> float:
        """Two-sided p value of no difference."""
        t = self.value / self.standard_error
        return student_t.mixed_p(t, self.degrees, self.few, self.weight)

    def non_inferiority_p(self, margin: float) -> float:
        """One-sided p value of "lower by ``margin`` or more"; small: not inferior by that much.

        Raises ValueError unless the margin, a fraction such as 0.03 for three points, is above 0.
        """
        if not margin > 0:
            raise ValueError(f"a margin must be above 0, not {margin}")
        distance = replace(self, value=self.value + margin)
        half = distance.p_value() / 2
        return half if distance.value >= 0 else 1 - half

    def equivalence_p(self, margin: float) -> float:
        """p value of "differs by ``margin`` or more" either way; small: equivalent.

        Two one-sided tests, of which the larger p counts (Schuirmann 1987). It is at most alpha
        exactly where the interval with confidence 1 - 2 alpha lies within the margins. Raises
        ValueError unless the margin is above 0.
        """
        mirrored = replace(self, value=-self.value)
        return max(self.non_inferiority_p(margin), mirrored.non_inferiority_p(margin))

    def detectable(self, alpha: float, power: float = POWER) -> float:
        """The smallest true difference that the two-sided test at ``alpha`` finds so often.

        It takes the standard error for the true one, so it is an estimate too.
        """
        # those of the estimated variance, after Satterthwaite
        degrees = 1 / ((1 - self.weight) ** 2 / self.degrees + self.weight**2 / self.few)
        shift = student_t.detectable_shift(
            degrees, alpha=alpha, wanted=power, critical=self.critical(alpha)
        )
        return self.standard_error * shift


def estimate_effect(
    arm: NDArray[Any],
    against: NDArray[Any],
    *,
    paired: bool = False,
    clusters: Integers | None = None,
) -> Effect | None:
    """The effect of ``arm`` ``(runs, problems)`` against ``against`` ``(other runs, problems)``.

    Columns are the same problems. ``paired``: row r of both arms is the same run, such as the same
    student and data draw, so that what it does to both cancels; the analysis is then that of the
    run by problem table of differences. Training seeds are not paired: equally numbered ones share
    little more than the initial adapters. Where they do share something, the unpaired analysis is
    on the safe side.

    None where there is no standard error: an arm with one run, one problem or cluster, or no spread
    (the runs of each arm agree exactly, and the differences spread no more than the rest says).
    Raises ValueError where the shapes do not match.
    """
    arm, against = (np.asarray(a, dtype=np.float64) for a in (arm, against))
    if arm.ndim != 2 or against.ndim != 2 or arm.shape[1] != against.shape[1]:
        raise ValueError(f"shapes {arm.shape} and {against.shape}: the problems do not match")
    if paired and arm.shape != against.shape:
        raise ValueError(f"{arm.shape[0]} runs against {against.shape[0]}: they are not paired")
    units = count_units(arm.shape[1], clusters)
    if units < 2 or min(arm.shape[0], against.shape[0]) < 2:
        return None
    differences = arm.mean(axis=0) - against.mean(axis=0)  # (problems,)
    if paired:
        variance, weight = estimate_paired(arm - against, clusters)
        few: Any = arm.shape[0] - 1
    else:
        variance, weight, few = estimate_variance(differences, [arm, against], clusters)
    if variance <= NO_VARIANCE:
        return None
    error = math.sqrt(variance)
    return Effect(float(differences.mean()), error, float(units - 1), float(weight), float(few))


def count_units(problems: int, clusters: Integers | None) -> int:
    """The number of clusters; without them that of the problems."""
    return problems if clusters is None else int(clusters.max()) + 1


def estimate_variance(
    differences: Floats, tables: Sequence[Floats], clusters: Integers | None = None
) -> tuple[Floats, Floats, Floats]:
    """Variance of the mean of ``differences`` ``(..., problems)``; weight and degrees of the runs.

    ``tables``: one run by problem table ``(..., runs, problems)`` per independent set of runs, each
    with two runs or more. Leading axes are separate experiments.
    """
    squares = [(*mean_squares(table, clusters), table.shape[-2]) for table in tables]
    of_problems = problem_variance(differences, clusters)
    return combine_squares(of_problems, squares, differences.shape[-1])


def estimate_paired(table: Floats, clusters: Integers | None = None) -> tuple[Floats, Floats]:
    """Variance of the mean of paired differences ``(..., runs, problems)``; weight of the runs."""
    of_problems = problem_variance(table.mean(axis=-2), clusters)
    square = (*mean_squares(table, clusters), table.shape[-2])
    return combine_paired(of_problems, square, table.shape[-1])


def combine_paired(
    of_problems: Floats, square: tuple[Floats, Floats, int], problems: int
) -> tuple[Floats, Floats]:
    """The same from the variance of the mean differences, and MS of runs, of the rest, runs.

    ``weight``: MS of runs over it and what the problems add. It counts whole, not after the
    subtraction, so that a small estimate out of few runs does not pass for knowledge.
    """
    run, residual, runs = square
    part, whole, rest = (
        of_problems / problems,
        run / (problems * runs),
        residual / (problems * runs),
    )
    known = np.maximum(0.0, part - rest)
    weight = np.divide(whole, known + whole, out=np.ones_like(part), where=known + whole > 0)
    return part + np.maximum(0.0, whole - rest), weight


def combine_squares(
    of_problems: Floats, squares: Sequence[tuple[Floats, Floats, int]], problems: int
) -> tuple[Floats, Floats, Floats]:
    """The same from the variance of the differences, and per table MS of runs, of the rest, runs.

    The variance is what the problems add to the rest, at least zero, and the variance of the mean
    over runs, which contains the rest. But for that bound it has the true expectation: a component
    of the runs below zero is not cut off, which would make intervals too long where runs do not
    differ.
    """
    parts = [run / (problems * runs) for run, _, runs in squares]
    rest: Any = sum(residual / (problems * runs) for _, residual, runs in squares)
    known = np.maximum(0.0, of_problems / problems - rest)
    whole: Any = sum(parts)
    variance = known + whole
    weight = np.divide(whole, variance, out=np.ones_like(variance), where=variance > 0)
    return variance, weight, find_degrees(parts, min(runs for _, _, runs in squares))


def find_degrees(parts: Sequence[Floats], runs: int) -> Floats:
    """Degrees of freedom of the sum of the arms' ``parts``, each of at least so many ``runs``.

    Welch (1947, Biometrika 34, 28): the square of the sum over the sum of the squares, each divided
    by its degrees and 2, less 2. Satterthwaite's own formula takes the square of an estimate for
    that of the variance, and is too low where degrees are few. The bounds: R - 1, as if one arm had
    all the spread, and 2R - 1. Welch's formula reaches 2R where both parts happen to be equal, more
    than the 2R - 2 of two equal variances (`docs/statistics.md` compares them).
    """
    free = runs - 1
    squares: Any = sum(part**2 for part in parts)
    whole: Any = sum(parts)
    share = np.divide(whole**2, squares, out=np.ones_like(whole), where=squares > 0)
    found: Floats = np.clip(share * (free + 2) - 2, free, 2 * free + 1)
    return found


def problem_variance(differences: Floats, clusters: Integers | None = None) -> Floats:
    """The variance between problems of ``differences`` ``(..., problems)``.

    With clusters it is the number of problems times the variance of the mean, so that it takes the
    same place.
    """
    if clusters is None:
        variance: Floats = differences.var(axis=-1, ddof=1)
        return variance
    return _cluster_variance(differences - differences.mean(axis=-1, keepdims=True), clusters)


def mean_squares(table: Floats, clusters: Integers | None = None) -> tuple[Floats, Floats]:
    """MS of runs and of the rest, of a run by problem table ``(..., runs, problems)``.

    Expected: n Var(run) + Var(rest), and Var(rest); degrees of freedom R - 1 and (R - 1)(n - 1).
    With clusters Var(rest) is n times the variance of a run's mean that comes of the rest.
    """
    runs, problems = table.shape[-2:]
    by_run = table.mean(axis=-1, keepdims=True)
    rest = table - by_run - table.mean(axis=-2, keepdims=True) + table.mean((-2, -1), keepdims=True)
    of_runs: Floats = problems * by_run[..., 0].var(axis=-1, ddof=1)
    if clusters is not None:
        return of_runs, _cluster_variance(rest, clusters).sum(axis=-1) / (runs - 1)
    return of_runs, (rest**2).sum(axis=(-2, -1)) / ((runs - 1) * (problems - 1))


def split_variance(
    differences: Floats, tables: Sequence[Floats], clusters: Integers | None = None
) -> tuple[float, float, float]:
    """Standard deviations of problems, runs and the rest, of one experiment as `estimate_variance`.

    That of problems is of the arms' true difference, those of runs and of the rest are of one
    table, the mean of both where there are two. A component below zero is zero.
    """
    squares = [mean_squares(table, clusters) for table in tables]
    problems = differences.shape[-1]
    noise = sum(rest / table.shape[-2] for (_, rest), table in zip(squares, tables, strict=True))
    of_runs = [max(0.0, float(run - rest)) / problems for run, rest in squares]
    of_problems = max(0.0, float(problem_variance(differences, clusters) - noise))
    of_rest = float(np.mean([rest for _, rest in squares]))
    return math.sqrt(of_problems), math.sqrt(float(np.mean(of_runs))), math.sqrt(of_rest)


def _cluster_variance(residuals: Floats, clusters: Integers) -> Floats:
    """C / (C - 1) times the mean over problems of the squared cluster sums ``(..., problems)``."""
    sums = statistics.sum_clusters(residuals, clusters)
    count = sums.shape[-1]
    variance: Floats = count / (count - 1) * (sums**2).sum(axis=-1) / residuals.shape[-1]
    return variance
