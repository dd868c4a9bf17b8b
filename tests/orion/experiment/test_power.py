"""Planned power against closed forms, known components and a simulation of sampled answers."""

import math
from statistics import NormalDist

import numpy as np
import pytest

from bench import power as bench
from orion.experiment import power, student_t
from orion.experiment.power import Components, Design, PlannedTest
from tests.helpers import uncertainty

KNOWN = Components(difference=0.15, run=0.02, run_problem=0.06, sampling=0.35, student=0.02)


def draw_pilot(rng, truth, *, students, runs, problems, samples):
    """Accuracies of two arms, one pair of tables ``(runs, problems)`` per student."""
    level = rng.uniform(0.4, 0.6, problems)
    # half of the difference at either arm; the sampling variance is p (1 - p) by construction
    at_problem = rng.normal(0, truth.difference / 2, problems)
    pairs = []
    for _ in range(students):
        of_student = rng.normal(0, truth.student / 2)
        tables = []
        for sign in (1, -1):
            chances = level + sign * (at_problem + of_student)
            chances = chances + rng.normal(0, truth.run, (runs, 1))
            chances = chances + rng.normal(0, truth.run_problem, (runs, problems))
            tables.append(rng.binomial(samples, np.clip(chances, 0, 1)) / samples)
        pairs.append(tuple(tables))
    return pairs


def test_components_of_a_large_pilot_are_those_it_was_drawn_from():
    truth = Components(difference=0.1, run=0.02, run_problem=0.06, sampling=0.0, student=0.04)
    rng = np.random.default_rng(1)
    pairs = draw_pilot(rng, truth, students=60, runs=8, problems=400, samples=8)
    found = power.estimate_components(pairs, 8)
    for name in ("difference", "run", "run_problem", "student"):
        assert getattr(found.components, name) == pytest.approx(getattr(truth, name), rel=0.12)
    # p (1 - p) of chances around one half
    assert found.components.sampling == pytest.approx(0.486, abs=0.005)
    assert found.degrees == 60 * 2 * 7 and found.low < truth.run < found.high


def test_components_of_a_small_pilot_by_plain_sums_of_squares():
    rng = np.random.default_rng(2)
    [(arm, against)] = draw_pilot(rng, KNOWN, students=1, runs=3, problems=40, samples=5)
    against = against[:2]
    found = power.estimate_components([(arm, against)], 5)
    # three runs have two degrees of freedom, two have one
    (run, rest), (other_run, other_rest) = map(uncertainty.anova, (arm.tolist(), against.tolist()))
    run, rest = (2 * run + other_run) / 3, (2 * rest + other_rest) / 3
    cells = (
        [c * (5 - c) / 20 for c in 5 * arm.ravel()],
        [c * (5 - c) / 20 for c in 5 * against.ravel()],
    )
    noise = (uncertainty.mean(cells[0]) + uncertainty.mean(cells[1])) / 2
    pairs = [a - b for a, b in zip(arm.mean(axis=0), against.mean(axis=0), strict=True)]
    spread = uncertainty.sum_of_squares(pairs) / 39 - rest * (1 / 3 + 1 / 2)
    c = found.components
    assert c.sampling**2 == pytest.approx(noise)
    assert c.run_problem**2 == pytest.approx(max(0.0, rest - noise / 5))
    assert c.run**2 == pytest.approx(max(0.0, (run - rest) / 40))
    assert c.difference**2 == pytest.approx(max(0.0, spread))
    assert (c.student, found.degrees) == (None, 3)


def test_what_a_pilot_cannot_show_must_be_stated():
    rng = np.random.default_rng(3)
    [(arm, against)] = draw_pilot(rng, KNOWN, students=1, runs=2, problems=200, samples=64)
    with pytest.raises(ValueError, match=r"^run and run_problem: one run of each arm does not"):
        power.estimate_components([(arm[:1], against[:1])], 64)
    with pytest.raises(ValueError, match=r"^run and run_problem: "):
        power.estimate_components([(arm[:1], against[:1])], 64, run=0.02)
    with pytest.raises(ValueError, match=r"^sampling: one sample per problem does not show it"):
        power.estimate_components([(arm, against)], 1)
    found = power.estimate_components([(arm[:1], against[:1])], 64, run=0.02, run_problem=0.06)
    assert (found.components.run, found.components.run_problem) == (0.02, 0.06)
    assert (found.degrees, found.low, found.high) == (0, None, None)
    pairs = arm[0] - against[0]
    noise = 2 * (0.06**2 + found.components.sampling**2 / 64)
    assert found.components.difference == pytest.approx(math.sqrt(pairs.var(ddof=1) - noise))
    with pytest.raises(ValueError, match=r"^student: one student does not show it; state it"):
        PlannedTest(found.components, Design(4, 50, 2, students=3), alpha=0.05)


def test_the_variance_of_a_sample_is_what_the_chances_leave():
    chances = np.random.default_rng(4).beta(0.8, 0.4, 100_000)
    found = power.find_sampling(float(chances.mean()), float(chances.std()))
    assert found**2 == pytest.approx((chances * (1 - chances)).mean())
    # a problem is either always right or never
    assert power.find_sampling(0.5, 0.5) == 0
    with pytest.raises(ValueError, match=r"^problem: .* at most 21\.8 points, .*not 30\.0"):
        power.find_sampling(0.05, 0.3)


@pytest.mark.parametrize(("alpha", "students"), [(0.05, 1), (0.01, 1), (0.05, 300)])
def test_many_runs_and_problems_give_the_power_of_a_known_variance(alpha, students):
    design = Design(samples=4, problems=3000, runs=1 if students > 1 else 300, students=students)
    cell = KNOWN.run_problem**2 + KNOWN.sampling**2 / 4
    between = 2 * KNOWN.run**2 + (KNOWN.student**2 if students > 1 else 0)
    variance = KNOWN.difference**2 / 3000 + between / 300 + 2 * cell / 3000 / 300
    normal = NormalDist()
    z = normal.inv_cdf(1 - alpha / 2)
    for difference in (0.002, 0.006, 0.01):
        shift = difference / math.sqrt(variance)
        expected = normal.cdf(shift - z) + normal.cdf(-shift - z)
        found = PlannedTest(KNOWN, design, alpha=alpha).power(difference)
        assert found == pytest.approx(expected, abs=0.01)


def test_what_is_detectable_is_found_as_often_as_wanted_and_each_size_helps():
    test = PlannedTest(KNOWN, Design(4, 160, 3), alpha=0.05)
    assert test.power(test.detectable(0.8)) == pytest.approx(0.8, abs=1e-4)
    assert test.power(0.0) <= 0.05 and test.power(0.5) > 0.99
    bases = {"samples": 4, "problems": 160, "runs": 3, "students": 5}
    base = PlannedTest(KNOWN, Design(**bases), alpha=0.05).detectable(0.8)
    for name, value in bases.items():
        more = PlannedTest(KNOWN, Design(**{**bases, name: 2 * value}), alpha=0.05)
        assert more.detectable(0.8) < base
    nothing = PlannedTest(Components(0.0, 0.0, 0.0, 0.0), Design(1, 10, 2), alpha=0.05)
    # two students hardly show their spread, and yet more problems help
    few, many = (
        PlannedTest(KNOWN, Design(4, n, 3, students=2), alpha=0.05).detectable(0.8)
        for n in (160, 1600)
    )
    assert many < few
    assert (nothing.power(0.01), nothing.detectable(0.8)) == (1.0, 0.0)


def test_impossible_designs_and_components_are_refused():
    for sizes, name in (((0, 9, 2), "samples"), ((1, 1, 2), "problems"), ((1, 9, 1), "runs")):
        with pytest.raises(ValueError, match=rf"^{name}: at least"):
            Design(*sizes)
    assert Design(3, 9, 1, students=4).completions == 2 * 4 * 9 * 3
    with pytest.raises(ValueError, match=r"^run: a standard deviation is at least 0, not -0\.1"):
        Components(0.1, -0.1, 0.0, 0.1)


def test_critical_values_are_the_quantiles():
    degrees = np.array([1.0, 1.3, 2.0, 7.7, 40.0, 900.0])
    for alpha in (0.05, 0.003):
        expected = [uncertainty.t_quantile(alpha, d) for d in degrees]
        assert student_t.critical_values(alpha, degrees) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("setting", [bench.SETTINGS[i] for i in (0, 3, 12)])
def test_the_power_is_that_of_simulated_experiments(setting):
    for difference, predicted, found in bench.compare(setting, 500):
        assert 0.005 < difference < 0.3 and 0.1 < predicted < 0.9
        # two standard errors of the simulation beyond the five points
        assert abs(predicted - found) < 0.05 + 2 * math.sqrt(0.25 / 500) / 2
