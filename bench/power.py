"""The power that `orion power` prints, against the power found by simulation with known truth.

Sampled answers of arms that do differ, of problems of uneven difficulty: standard deviations in log
odds as in ``bench.coverage``. The components of the variance in points are measured once, on many
runs and problems; from these the power is predicted for the difference that should be found in 80 %
and for half of it. Output: a Markdown table for LOG.md. Run: ``python -m bench.power``; ``--quick``
for a tenth of the experiments.
"""

import argparse
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.coverage import (
    ALPHA,
    OF_PAIR,
    OF_PROBLEM,
    OF_REST,
    judge,
    percent,
    print_head,
    print_row,
)
from orion.experiment import statistics, student_t, two_way
from orion.experiment.power import Components, Design, PlannedTest

Array = NDArray[Any]

EXPERIMENTS = 2_000
WANTED = 0.8
# sizes of the experiment in which the components are measured
MANY_RUNS, MANY_STUDENTS, MANY_PROBLEMS = 500, 400, 4_000


@dataclass(frozen=True)
class Setting:
    """A design and its truth; ``level``: log odds of the middle problem.

    ``tau`` and ``student``: standard deviations, in log odds, of a run and of what a student does
    to one arm alone.
    """

    design: Design
    tau: float
    level: float = 0.0
    student: float = 0.0


# Design: samples, problems, runs, students
SETTINGS = (
    Setting(Design(4, 160, 2), 0.0),
    Setting(Design(4, 160, 2), 0.06),
    Setting(Design(4, 160, 3), 0.0),
    Setting(Design(4, 160, 3), 0.12),
    Setting(Design(1, 500, 3), 0.06),
    Setting(Design(8, 500, 3), 0.06),
    Setting(Design(8, 500, 5), 0.12),
    Setting(Design(4, 1319, 2), 0.06),
    Setting(Design(4, 1319, 3), 0.06),
    Setting(Design(64, 30, 3), 0.06),
    Setting(Design(64, 30, 3), 0.06, level=-3.0),
    Setting(Design(64, 40, 5), 0.0),
    Setting(Design(4, 160, 1, 3), 0.06, student=0.06),
    Setting(Design(4, 160, 2, 5), 0.06, student=0.12),
    Setting(Design(8, 500, 3, 3), 0.06, student=0.0),
)


def draw_chances(
    rng: np.random.Generator, setting: Setting, size: tuple[int, ...], shift: float
) -> Array:
    """Chances ``(experiments, arms, students, runs, problems)``; ``size`` is that without arms.

    ``shift``: log odds by which the first arm is better than the second.
    """
    experiments, students, runs, problems = size
    shape = (experiments, 2, students, runs, problems)

    def normal(*axes: int) -> Array:
        lengths = [length if axis in axes else 1 for axis, length in enumerate(shape)]
        return rng.standard_normal(lengths, dtype=np.float32)

    log_odds = OF_PROBLEM * normal(0, 4) + OF_PAIR * normal(0, 1, 4) + OF_REST * normal(*range(5))
    log_odds += np.float32(setting.tau) * normal(0, 1, 2, 3)
    log_odds += np.float32(setting.student) * normal(0, 1, 2) + np.float32(setting.level)
    log_odds[:, 0] += np.float32(shift / 2)
    log_odds[:, 1] -= np.float32(shift / 2)
    found: Array = 1 / (1 + np.exp(-log_odds))
    return found


def find_accuracy(setting: Setting, shift: float = 0.0) -> float:
    """The expected accuracy of an arm whose log odds are moved by ``shift``: an integral."""
    parts = (OF_PROBLEM, OF_PAIR, OF_REST, setting.tau, setting.student)
    z = np.linspace(-9, 9, 20_001)
    weights = np.exp(-z * z / 2)
    log_odds = setting.level + shift + np.sqrt(sum(part**2 for part in parts)) * z
    return float((weights / (1 + np.exp(-log_odds))).sum() / weights.sum())


def measure(setting: Setting, shift: float) -> Components:
    """The components, from many students, runs and problems."""
    rng = statistics.keyed_rng("measure", setting, shift)
    several = setting.design.students > 1
    students = MANY_STUDENTS if several else 1
    size = (1, students, max(2, MANY_RUNS // students), MANY_PROBLEMS)
    chances = draw_chances(rng, setting, size, shift)[0].astype(np.float64)
    squares = [two_way.mean_squares(table) for arm in chances for table in arm]
    run, rest = np.mean(squares, axis=0)
    pairs = chances[0].mean(axis=1) - chances[1].mean(axis=1)  # (students, problems)
    between = max(0.0, (run - rest) / MANY_PROBLEMS)
    student = None
    if several:
        student = np.sqrt(max(0.0, pairs.mean(axis=1).var(ddof=1) - 2 * between / size[2]))
    noise = 2 * rest / size[2] / students
    components = Components(
        difference=float(np.sqrt(pairs.mean(axis=0).var(ddof=1) - noise)),
        run=float(np.sqrt(between)),
        run_problem=float(np.sqrt(rest)),
        sampling=float(np.sqrt((chances * (1 - chances)).mean())),
        student=student,
    )
    return components


def find_power(setting: Setting, shift: float, experiments: int) -> float:
    """Share of the experiments in which the test finds a difference."""
    design = setting.design
    rng = statistics.keyed_rng("experiments", setting, shift)
    size = 2 * design.students * design.runs * design.problems
    chunk, found = max(1, 4_000_000 // size), 0
    few: Any
    for start in range(0, experiments, chunk):
        number = min(chunk, experiments - start)
        shape = (number, design.students, design.runs, design.problems)
        right = rng.binomial(design.samples, draw_chances(rng, setting, shape, shift))
        accuracies = right / design.samples
        if design.students == 1:
            tables = [accuracies[:, arm, 0] for arm in range(2)]
            differences = tables[0].mean(axis=1) - tables[1].mean(axis=1)
            variance, weight, few = two_way.estimate_variance(differences, tables)
        else:
            by_student = accuracies.mean(axis=3)  # (experiments, arms, students, problems)
            table = by_student[:, 0] - by_student[:, 1]
            differences = table.mean(axis=1)
            variance, weight = two_way.estimate_paired(table)
            few = design.students - 1
        critical = student_t.mixed_quantile(ALPHA, design.problems - 1, few, weight)
        found += int((np.abs(differences.mean(axis=1)) >= critical * np.sqrt(variance)).sum())
    return found / experiments


def compare(setting: Setting, experiments: int) -> list[tuple[float, float, float]]:
    """True difference, predicted and found power: about where it should be 80 %, and at half."""
    components = measure(setting, 0.0)
    wanted = PlannedTest(components, setting.design, alpha=ALPHA).detectable(WANTED)
    # a small shift moves the accuracy by the mean of p (1 - p), which is the variance of a sample
    shift = wanted / components.sampling**2
    rows = []
    for part in (shift, shift / 2):
        truth = find_accuracy(setting, part / 2) - find_accuracy(setting, -part / 2)
        test = PlannedTest(measure(setting, part), setting.design, alpha=ALPHA)
        predicted = test.power(truth)
        rows.append((truth, predicted, find_power(setting, part, experiments)))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="a tenth of the experiments")
    experiments = EXPERIMENTS // 10 if parser.parse_args().quick else EXPERIMENTS
    head = ["k", "problems", "students", "runs", "accuracy, %", "run, points", "student, points"]
    head += ["difference, points", "power predicted, %", "found, %"]
    print_head(f"{experiments:,} experiments a row:", head)
    gaps = []
    for setting in SETTINGS:
        design, components = setting.design, measure(setting, 0.0)
        sizes = (design.samples, design.problems, design.students, design.runs)
        spread = (find_accuracy(setting), components.run, components.student or 0.0)
        for row in compare(setting, experiments):
            gaps.append(abs(row[1] - row[2]))
            print_row([*map(str, sizes), *map(percent, (*spread, *row))])
    print("\n" + judge("power predicted and found differ by at most 5 points", gaps, 0.0, 0.05))


if __name__ == "__main__":
    main()
