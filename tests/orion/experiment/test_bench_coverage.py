"""The simulation behind docs/statistics.md: its truth is what it says, and its counts are right."""

import numpy as np
import pytest

from bench import coverage, students
from orion.experiment.comparisons import Settings
from orion.experiment.hypotheses import NO_DIFFERENCE
from orion.experiment.students import compare_students


def test_the_invented_runs_spread_as_stated_and_the_arms_do_not_differ():
    setting = coverage.Setting(problems=60, samples=4, runs=3, tau=4.0)
    arms = coverage.draw_accuracies(np.random.default_rng(1), setting, 4000, 2)
    assert arms.shape == (4000, 2, 3, 60)
    assert arms.mean(axis=(0, 2, 3)) == pytest.approx([0.5, 0.5], abs=0.01)
    # between runs of one arm: tau, and what the samples and the rest of 60 problems add
    squared = arms.mean(axis=3).var(axis=2, ddof=1).mean()
    mean = arms.mean(axis=2, keepdims=True)
    within = ((arms - mean) ** 2).sum(axis=2).mean() / 2 - squared
    assert np.sqrt(squared - within / 60) == pytest.approx(0.04, abs=0.002)


def test_a_shift_moves_the_first_arm_by_the_points_asked_for():
    setting = coverage.Setting(problems=200, samples=4, runs=2, tau=1.0)
    shift = 0.05 / coverage.slope()
    arms = coverage.draw_accuracies(np.random.default_rng(2), setting, 500, 2, shift)
    assert (arms[:, 0] - arms[:, 1]).mean() == pytest.approx(0.05, abs=0.004)


def test_the_bootstrap_of_the_bench_covers_as_that_of_the_report():
    rng = np.random.default_rng(3)
    values = rng.normal(np.linspace(-0.3, 0.3, 40)[:, None], 1.0, (40, 50))
    found = coverage.covers(values, rng)
    expected = [
        low <= 0 <= high
        for low, high in (
            (i.low, i.high)
            for i in (
                coverage.statistics.bootstrap_interval(
                    row, confidence=0.95, resamples=1000, key=("t", n)
                )
                for n, row in enumerate(values)
            )
        )
    ]
    assert (found == expected).mean() >= 0.95 and not found.all()


def test_goals_are_judged_by_their_bounds():
    assert coverage.judge("x", [0.93, 0.98], 0.93, 0.98) == "- x: 93.0 to 98.0 %. met."
    found = coverage.judge("x", [0.93, 0.981], 0.93, 0.98)
    assert found == "- x: 93.0 to 98.1 %. missed in 1 of 2 settings, 0 below and 1 above."


def test_the_students_of_the_bench_spread_as_stated_and_clusters_resemble_each_other():
    setting = students.Setting(40, 4, 3, 2, 2, (6.0, 0.0, 0.0), 0.9)
    clusters = students.make_clusters(40)
    assert np.bincount(clusters).tolist() == [1, 2, 3, 4] * 4
    arms = students.draw_accuracies(np.random.default_rng(4), setting, 3000, 2, clusters)
    assert arms.shape == (3000, 2, 3, 2, 2, 40)
    difference = (arms[:, 0] - arms[:, 1]).mean(axis=(2, 3))  # (experiments, students, problems)
    by_student = difference.mean(axis=2)
    assert by_student.mean() == pytest.approx(0.0, abs=0.004)
    spread = by_student - by_student.mean(axis=1, keepdims=True)
    # what the problems and samples add to the spread of 6 points is small
    assert np.sqrt((spread**2).sum(axis=1).mean() / 2) == pytest.approx(0.06, abs=0.006)
    pairs = difference.mean(axis=1)
    # problems 1 and 2 are of one cluster, 0 and 1 of two
    assert np.mean(pairs[:, 1] * pairs[:, 2]) > 3 * np.mean(pairs[:, 0] * pairs[:, 1]) > 0


def test_the_tests_of_the_bench_are_those_of_the_report():
    setting = students.Setting(40, 4, 3, 1, 2, (4.0, 0.0, 1.0))
    arms = students.draw_accuracies(np.random.default_rng(5), setting, 50, 2)
    found = students.reject_group(arms[:, 0], arms[:, 1])(0.3)
    settings = Settings(0.95, 5, ("t",), NO_DIFFERENCE, None)
    expected = [compare_students([*arm], [*against], settings).p <= 0.3 for arm, against in arms]
    assert found.tolist() == expected and any(expected)
