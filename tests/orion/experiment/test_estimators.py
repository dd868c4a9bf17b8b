"""Estimators beside implementations by other formulas: enumeration, inversion, closed testing."""

import itertools
import math
from statistics import NormalDist

import numpy as np
import pytest

from orion.experiment import statistics, two_way
from tests.helpers import uncertainty


def test_the_bootstrap_is_that_of_all_resamples_of_a_few_problems():
    # 6 ** 6 = 46,656 equally likely resamples; the quantiles fall between two steps of their means
    values = np.array([0.0, 0.11, 0.23, 0.41, 0.76, 1.0])
    means = np.array([np.mean(r) for r in itertools.product(values, repeat=6)])
    found = statistics.bootstrap_interval(values, confidence=0.9, resamples=40_000, key=("all",))
    for bound, tail in ((found.low, 0.05), (found.high, 0.95)):
        # ranks of the drawn quantile among all resamples, within four standard errors
        below = (means < bound - 1e-12).mean(), (means <= bound + 1e-12).mean()
        slack = 4 * math.sqrt(0.05 * 0.95 / 40_000)
        assert below[0] - slack <= tail <= below[1] + slack


def test_wilson_bounds_are_where_the_score_test_stops_rejecting():
    for successes, trials in ((3, 17), (1, 400), (88.4, 90.25), (250, 500)):
        for confidence in (0.8, 0.95):
            found = statistics.wilson_interval(successes, trials, confidence=confidence)
            z = NormalDist().inv_cdf(1 - (1 - confidence) / 2)
            for bound, sign in ((found.low, 1), (found.high, -1)):
                score = (successes / trials - bound) / math.sqrt(bound * (1 - bound) / trials)
                assert score == pytest.approx(sign * z, abs=1e-9)


def test_holm_is_the_closed_test_of_bonferroni():
    # a hypothesis is rejected if every set of hypotheses that holds it is (Marcus et al. 1976)
    rng = np.random.default_rng(1)
    for _ in range(20):
        p_values = [*rng.uniform(0, 0.3, 4).tolist(), 0.04, 0.04]
        numbers = range(len(p_values))
        sets = [s for size in numbers for s in itertools.combinations(numbers, size + 1)]
        closed = [
            max(min(1.0, len(s) * min(p_values[j] for j in s)) for s in sets if i in s)
            for i in numbers
        ]
        assert statistics.holm_p_values(p_values) == pytest.approx(closed)


def test_pass_at_k_by_drawing_one_sample_after_another():
    # the chance that the first k are all wrong, as a product instead of binomial coefficients
    for n, c, k in ((64, 3, 8), (200, 17, 50), (16, 16, 1), (8, 0, 8), (10, 4, 7)):
        wrong = math.prod((n - c - i) / (n - i) for i in range(k))
        assert statistics.pass_at_k(n, c, k) == pytest.approx(1 - max(0.0, wrong))


def test_sign_flips_by_adding_one_problem_after_another():
    # all sums of signed differences in steps of one eighth: a convolution instead of an enumeration
    eighths = [3, -1, 4, 1, 5, -2, 6, 2]
    counts = {0: 1}
    for size in map(abs, eighths):
        moved: dict[int, int] = {}
        for total, number in counts.items():
            for step in (-size, size):
                moved[total + step] = moved.get(total + step, 0) + number
        counts = moved
    extreme = sum(n for total, n in counts.items() if abs(total) >= abs(sum(eighths)))
    found = statistics.sign_flip_p_value(np.array(eighths) / 8, key=("t",))
    assert found == pytest.approx(extreme / 2 ** len(eighths))


def test_the_bound_of_paired_runs_lies_between_those_of_problems_and_of_runs():
    rng = np.random.default_rng(2)
    arm, against = (rng.normal(0, 0.1, (4, 30)) + rng.normal(0, 0.05, (4, 1)) for _ in range(2))
    found = two_way.estimate_effect(arm, against, paired=True)
    table = (arm - against).tolist()
    run, rest = uncertainty.anova(table)
    pairs = [uncertainty.mean(column) for column in zip(*table, strict=True)]
    part = uncertainty.sum_of_squares(pairs) / 29 / 30
    variance = part + max(0.0, run - rest) / 120
    weight = run / (run + 120 * part - rest)
    assert (found.value, found.standard_error) == pytest.approx(
        (uncertainty.mean(pairs), math.sqrt(variance))
    )
    assert (found.degrees, found.few) == (29, 3) and found.weight == pytest.approx(weight)
    # the squares of the quantiles of the printed table, 2.0452 and 3.1824, in that proportion
    bound = math.sqrt((1 - weight) * 2.0452**2 + weight * 3.1824**2)
    low, high = found.interval(0.95)
    assert (high - low) / 2 == pytest.approx(bound * math.sqrt(variance), rel=1e-4)
    # p is the level at which the bound is the difference
    at = two_way.Effect(bound * 0.01, 0.01, 29, weight, 3)
    assert at.p_value() == pytest.approx(0.05, rel=1e-3)
    for value in (0.03, -0.002, 0.0):
        p = two_way.Effect(value, 0.01, 29, weight, 3).p_value()
        tails = [uncertainty.two_sided_p(value / 0.01, degrees) for degrees in (29, 3)]
        assert tails[0] <= p <= tails[1]


def test_equivalence_by_two_one_sided_tails_of_an_integral():
    # Schuirmann's two tests with the tail of t as a plain sum over its density
    effect = two_way.Effect(0.012, 0.011, 5.5)

    def tail(t):
        x = np.linspace(t, t + 4_000, 4_000_001)
        scale = math.exp(math.lgamma(3.25) - math.lgamma(2.75)) / math.sqrt(5.5 * math.pi)
        return float(np.trapezoid(scale * (1 + x**2 / 5.5) ** -3.25, x))

    lower, upper = tail((0.012 + 0.03) / 0.011), tail((0.03 - 0.012) / 0.011)
    assert effect.equivalence_p(0.03) == pytest.approx(max(lower, upper), rel=1e-6)
    assert effect.non_inferiority_p(0.03) == pytest.approx(lower, rel=1e-6)
