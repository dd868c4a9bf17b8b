"""The power of a comparison of two arms before it is paid for, from components of the variance.

Input: the components, stated or estimated from a finished run, and a design: samples per problem,
problems, students, runs. Output: how often the test of `two_way` finds a difference, and the
smallest one that it finds so often.

A run is one student, one draw of its samples and reflections, one training seed. With one student
the runs of the two arms are separate, as in the report, and the statement is about that student.
With several, each student gives both arms, and the students are the replicates of the paired test
on their means over runs. `docs/statistics.md` has the formulas and the simulations.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orion.experiment import statistics, student_t, two_way

Floats = NDArray[np.float64]

# mean squares that an experiment might find, over which the power is averaged
DRAWS = 4_000
_BISECTIONS = 24


@dataclass(frozen=True)
class Components:
    """Standard deviations as fractions of problems.

    ``difference``: between problems, of the arms' true difference. ``run``: between runs, of an
    arm's accuracy. ``run_problem``: what a run changes at one problem beyond that. ``sampling``: of
    one sample. ``student``: between students, of the arms' difference; None: not known. Raises
    ValueError for a number below 0.
    """

    difference: float
    run: float
    run_problem: float
    sampling: float
    student: float | None = None

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value is not None and not 0 <= value < math.inf:
                raise ValueError(f"{name}: a standard deviation is at least 0, not {value}")


@dataclass(frozen=True)
class Design:
    """Sizes of an experiment; ``runs``: per student and arm. Raises ValueError below their least.

    One student needs two runs, or there is no spread to learn from; several need one each.
    """

    samples: int
    problems: int
    runs: int
    students: int = 1

    def __post_init__(self) -> None:
        least = {"samples": 1, "problems": 2, "students": 1, "runs": 2 if self.students < 2 else 1}
        for name, bound in least.items():
            if getattr(self, name) < bound:
                raise ValueError(f"{name}: at least {bound}, not {getattr(self, name)}")

    @property
    def trainings(self) -> int:
        """Runs of both arms and all students."""
        return 2 * self.students * self.runs

    @property
    def completions(self) -> int:
        """Completions of all evaluations."""
        return self.trainings * self.problems * self.samples


def find_sampling(
    accuracy: float, problem: float, *, run: float = 0.0, run_problem: float = 0.0
) -> float:
    """Standard deviation of one sample, from the spread of the chances of a right answer.

    ``accuracy``: of both arms, a fraction. ``problem``: standard deviation between problems of the
    chance. A sample's variance is accuracy (1 - accuracy) less that of the chances. Raises
    ValueError where chances between 0 and 1 cannot spread so much.
    """
    if not 0 < accuracy < 1:
        raise ValueError(f"accuracy: between 0 and 1, not {accuracy}")
    whole, of_chances = accuracy * (1 - accuracy), problem**2 + run**2 + run_problem**2
    if of_chances > whole:
        raise ValueError(
            f"problem: chances with a mean of {100 * accuracy:g} % have a standard deviation of at "
            f"most {100 * math.sqrt(whole):.1f} points, runs included, not "
            f"{100 * math.sqrt(of_chances):.1f}"
        )
    return math.sqrt(whole - of_chances)


@dataclass(frozen=True)
class Pilot:
    """Components of a finished run; ``degrees`` and ``low``, ``high``: of the component ``run``.

    ``degrees`` is 0, and the bounds are None, where that component was stated.
    """

    components: Components
    degrees: int = 0
    low: float | None = None
    high: float | None = None


def estimate_components(
    pairs: Sequence[tuple[Floats, Floats]],
    samples: int,
    *,
    run: float | None = None,
    run_problem: float | None = None,
    sampling: float | None = None,
    student: float | None = None,
) -> Pilot:
    """Components from the accuracies ``(runs, problems)`` of two arms, one pair per student.

    Both arms count alike. A component below zero is zero. What is given as a number is taken as it
    is. Raises ValueError, with the name of the component to state, where one cannot be estimated.
    """
    if samples < 2 and sampling is None:
        raise ValueError("sampling: one sample per problem does not show it; state it")
    tables = [table for pair in pairs for table in pair]
    problems = tables[0].shape[1]
    if problems < 2:
        raise ValueError("one problem shows no spread between problems")
    if sampling is None:
        # k / (k - 1) makes the variance within one run and problem unbiased
        within = [(t * (1 - t)).mean() * samples / (samples - 1) for t in tables]
        sampling = math.sqrt(float(np.mean(within)))
    degrees = sum(table.shape[0] - 1 for table in tables)
    if not degrees and (run is None or run_problem is None):
        raise ValueError("run and run_problem: one run of each arm does not show them; state them")
    of_run, rest = _pool_squares(tables) if degrees else (0.0, 0.0)
    noise = sampling**2 / samples
    if run_problem is None:
        run_problem = _root(rest - noise)
    else:
        rest = run_problem**2 + noise
    low = high = None
    if run is not None:
        degrees = 0
    else:
        run = _root((of_run - rest) / problems)
        low, high = (_root((b - rest) / problems) for b in _bound_squares(of_run, degrees))
    means = [arm.mean(axis=0) - against.mean(axis=0) for arm, against in pairs]
    noises = [rest / arm.shape[0] + rest / against.shape[0] for arm, against in pairs]
    spread = [float(m.var(ddof=1)) - noise for m, noise in zip(means, noises, strict=True)]
    if student is None and len(pairs) > 1:
        student = _find_student(np.stack(means), pairs, run)
    components = Components(_root(float(np.mean(spread))), run, run_problem, sampling, student)
    return Pilot(components, degrees, low, high)


def _pool_squares(tables: Sequence[Floats]) -> tuple[float, float]:
    """MS of runs and of the rest over all tables, weighted by their degrees of freedom."""
    several = [table for table in tables if table.shape[0] > 1]
    weights = [table.shape[0] - 1 for table in several]
    squares = [two_way.mean_squares(table) for table in several]
    of_run, rest = (np.average(part, weights=weights) for part in zip(*squares, strict=True))
    return float(of_run), float(rest)


def _bound_squares(value: float, degrees: int) -> tuple[float, float]:
    """The 95 % interval of an expected mean square, by many draws of a chi-square."""
    drawn = statistics.keyed_rng("bounds").chisquare(degrees, 200_000) / degrees
    low, high = np.quantile(drawn, [0.025, 0.975])
    return value / float(high), value / float(low)


def _find_student(differences: Floats, pairs: Sequence[tuple[Floats, Floats]], run: float) -> float:
    """The component of students from their differences ``(students, problems)``."""
    of_students, rest = two_way.mean_squares(differences)
    seeds = [run**2 / a.shape[0] + run**2 / b.shape[0] for a, b in pairs]
    return _root(float(of_students - rest) / differences.shape[1] - float(np.mean(seeds)))


def _root(variance: float) -> float:
    return math.sqrt(max(0.0, variance))


def expect_squares(
    components: Components, design: Design
) -> tuple[float, list[tuple[float, float, int]]]:
    """Expected variance of the problem differences; per table expected MS of runs, rest; its runs.

    Raises ValueError where there are several students and their component is not known.
    """
    c, runs = components, design.runs
    noise = c.run_problem**2 + c.sampling**2 / design.samples
    if design.students == 1:
        square = (design.problems * c.run**2 + noise, noise, runs)
        return c.difference**2 + 2 * noise / runs, [square, square]
    if c.student is None:
        raise ValueError("student: one student does not show it; state it")
    rest = 2 * noise / runs
    between = c.student**2 + 2 * c.run**2 / runs
    square = (design.problems * between + rest, rest, design.students)
    return c.difference**2 + rest / design.students, [square]


class PlannedTest:
    """The test of one design, as experiments would carry it out, at the level ``alpha``.

    The mean squares of an experiment are independent of each other and of the difference, and
    follow chi-square laws. The power given the mean squares is that of a normal difference; it is
    averaged over ``DRAWS`` of them, with the variance and critical value that `two_way` makes of
    each. Where there is no variance at all, every difference is found.
    """

    def __init__(self, components: Components, design: Design, *, alpha: float):
        of_problems, squares = expect_squares(components, design)
        n = design.problems
        runs = sum((run - rest) / (n * count) for run, rest, count in squares)
        self.error = math.sqrt(max(0.0, of_problems / n + runs))
        rng = statistics.keyed_rng("power", design.students, design.runs, n)

        def draw(expected: float, degrees: int) -> Floats:
            drawn: Floats = expected * rng.chisquare(degrees, DRAWS) / degrees
            return drawn

        found = [
            (draw(run, count - 1), draw(rest, (count - 1) * (n - 1)), count)
            for run, rest, count in squares
        ]
        few: Any = design.students - 1
        if design.students == 1:
            variance, weight, few = two_way.combine_squares(draw(of_problems, n - 1), found, n)
        else:
            variance, weight = two_way.combine_paired(draw(of_problems, n - 1), found[0], n)
        critical = student_t.mixed_quantile(alpha, n - 1, few, weight)
        self._bounds = np.sqrt(variance) * critical

    def power(self, difference: float) -> float:
        """Probability that a true ``difference`` is found."""
        if self.error == 0:
            return float(difference != 0)
        outside = student_t.outside(self._bounds / self.error, difference / self.error)
        return float(outside.mean())

    def detectable(self, power: float) -> float:
        """The smallest difference that is found with the probability ``power``."""
        low, high = 0.0, self.error
        while self.error and self.power(high) < power:
            low, high = high, 2 * high
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            low, high = (low, middle) if self.power(middle) >= power else (middle, high)
        return high
