"""The two-way t: mean squares, variance against a known truth, and the tests built on it."""

import numpy as np
import pytest

from orion.experiment import student_t, two_way
from tests.helpers import uncertainty


def draw_arms(rng, *, trials, runs, problems, of_run, of_pair=0.1, of_rest=0.2):
    """Two arms ``(trials, runs, problems)`` of equal level."""
    shared = rng.normal(0, 0.3, (trials, 1, problems))
    return [
        shared
        + rng.normal(0, of_pair, (trials, 1, problems))
        + rng.normal(0, of_run, (trials, runs, 1))
        + rng.normal(0, of_rest, (trials, runs, problems))
        for _ in range(2)
    ]


def test_the_estimate_is_that_of_plain_sums_of_squares():
    rng = np.random.default_rng(2)
    for runs, others, of_run in ((2, 2, 0.0), (2, 2, 0.3), (3, 5, 0.05), (4, 2, 0.2)):
        arm, against = (
            draw_arms(rng, trials=1, runs=r, problems=30, of_run=of_run)[0][0]
            for r in (runs, others)
        )
        found = two_way.estimate_effect(arm, against)
        value, error, *law = uncertainty.estimate(arm.tolist(), against.tolist())
        assert (found.value, found.standard_error) == pytest.approx((value, error))
        assert (found.degrees, found.weight, found.few) == pytest.approx(tuple(law))
        low, high = found.interval(0.9)
        half = error * uncertainty.bound(0.1, *law)
        assert (low, high) == pytest.approx((value - half, value + half))
        # p is the level at which the bound is the difference
        at = uncertainty.bound(found.p_value(), *law)
        assert at == pytest.approx(abs(value) / error, rel=1e-6)


def test_the_degrees_of_the_runs_by_hand():
    # (a + b)² (R + 1) / (a² + b²) - 2, between R - 1 and 2R - 1
    for runs, a, b, few in (
        (2, 1.0, 0.0, 1.0),
        (2, 1.0, 3.0, 2.8),
        (2, 1.0, 1.0, 3.0),
        (3, 2.0, 4.0, 5.0),
        (3, 1.0, 7.0, 3.12),
        (5, 0.0, 0.0, 4.0),
    ):
        found = two_way.find_degrees([np.array([a]), np.array([b])], runs)
        assert found == pytest.approx([few])


def test_mean_squares_by_least_squares():
    # projections on run and problem indicators, by a solver that knows no formula of means
    table = np.random.default_rng(3).normal(size=(4, 9)) + np.arange(4)[:, None]
    runs, problems = np.divmod(np.arange(36), 9)
    indicators = np.hstack([np.eye(4)[runs], np.eye(9)[problems]])

    def residual(design):
        fitted = design @ np.linalg.lstsq(design, table.ravel(), rcond=None)[0]
        return ((table.ravel() - fitted) ** 2).sum()

    both, without_runs = residual(indicators), residual(indicators[:, 4:])
    run, rest = two_way.mean_squares(table)
    assert run == pytest.approx((without_runs - both) / 3)
    assert rest == pytest.approx(both / 24)


def test_the_variance_is_the_true_one_on_average_and_the_problems_alone_are_too_small():
    arms = draw_arms(np.random.default_rng(4), trials=4000, runs=3, problems=40, of_run=0.1)
    differences = arms[0].mean(axis=1) - arms[1].mean(axis=1)
    variance, weight, few = two_way.estimate_variance(differences, arms)
    truth = 2 * (0.1**2 + 0.2**2) / (3 * 40) + 2 * 0.1**2 / 40 + 2 * 0.1**2 / 3 - 2 * 0.1**2 / 120
    assert variance.mean() == pytest.approx(truth, rel=0.03)
    assert differences.mean(axis=1).var() == pytest.approx(truth, rel=0.06)
    assert (differences.var(axis=1, ddof=1) / 40).mean() < truth / 5
    assert few.min() >= 2 and few.max() <= 5
    # the same numbers one experiment at a time
    alone = two_way.estimate_effect(arms[0][7], arms[1][7])
    found = (alone.standard_error**2, alone.weight, alone.few)
    assert found == pytest.approx((variance[7], weight[7], few[7]))


@pytest.mark.parametrize("runs", [2, 3, 5])
def test_intervals_over_runs_cover_where_intervals_over_problems_do_not(runs):
    # the truth is zero: the expectation over new runs and new problems
    trials = 3000
    arms = draw_arms(
        np.random.default_rng(5), trials=trials, runs=runs, problems=50, of_run=0.06, of_rest=0.1
    )
    differences = arms[0].mean(axis=1) - arms[1].mean(axis=1)
    variance, weight, few = two_way.estimate_variance(differences, arms)
    value = differences.mean(axis=1)
    critical = student_t.mixed_quantile(0.05, 49, few, weight)
    outside = (np.abs(value) > critical * np.sqrt(variance)).mean()
    assert 0.02 <= outside <= 0.06
    error = differences.std(axis=1, ddof=1) / np.sqrt(50)
    assert (np.abs(value) > 1.96 * error).mean() > 0.15


def test_runs_that_are_the_same_in_both_arms_are_analysed_as_differences():
    rng = np.random.default_rng(6)
    students = rng.normal(0, 0.2, (5, 1))
    arm, against = (students + rng.normal(0, 0.05, (5, 60)) for _ in range(2))
    unpaired, paired = (two_way.estimate_effect(arm, against, paired=p) for p in (False, True))
    assert paired.value == unpaired.value
    assert paired.standard_error < unpaired.standard_error / 5
    run, rest = uncertainty.anova((arm - against).tolist())
    of_problems = (arm - against).mean(axis=0).var(ddof=1) / 60
    assert paired.standard_error**2 == pytest.approx(of_problems + max(0, run - rest) / 300)
    with pytest.raises(ValueError, match="not paired"):
        two_way.estimate_effect(arm, against[:3], paired=True)


@pytest.mark.parametrize("of_run", [0.0, 0.05, 0.3])
def test_families_over_two_runs_err_in_less_than_twelve_per_cent(of_run):
    # eight separate pairs, with Holm's correction; no error is worse than a spread of 0.05 here
    trials = 8 * 1500
    arms = draw_arms(
        np.random.default_rng(8), trials=trials, runs=2, problems=100, of_run=of_run, of_rest=0.3
    )
    differences = arms[0].mean(axis=1) - arms[1].mean(axis=1)
    variance, weight, few = two_way.estimate_variance(differences, arms)
    critical = student_t.mixed_quantile(0.05 / 8, 99, few, weight)
    named = np.abs(differences.mean(axis=1)) > critical * np.sqrt(variance)
    assert named.reshape(-1, 8).any(axis=1).mean() < 0.09


def test_without_a_second_run_a_second_problem_or_a_spread_there_is_no_estimate():
    values = np.random.default_rng(7).random((2, 20))
    assert two_way.estimate_effect(values[:1], values) is None
    assert two_way.estimate_effect(values, values[:1]) is None
    assert two_way.estimate_effect(values[:, :1], values[:, :1]) is None
    assert two_way.estimate_effect(np.ones((2, 20)), np.full((2, 20), 0.3)) is None
    # the runs of each arm agree to the last digit, and the problems differ by the rest alone
    agreeing = np.tile([[1.0, 0.0], [0.0, 1.0]], (1, 10))
    assert two_way.estimate_effect(agreeing, 0.5 * agreeing) is None
    with pytest.raises(ValueError, match="do not match"):
        two_way.estimate_effect(values, values[:, :4])


def test_equivalence_is_claimed_exactly_where_the_shorter_interval_lies_within_the_margins():
    effect = two_way.Effect(0.004, 0.01, 7.3)
    low, high = effect.interval(0.9)
    for margin in (0.01, high - 1e-6, high + 1e-6, 0.05):
        assert (effect.equivalence_p(margin) <= 0.05) == (-margin < low and high < margin)
    below = two_way.Effect(-0.004, 0.01, 7.3)
    assert below.equivalence_p(0.03) == pytest.approx(effect.equivalence_p(0.03))
    assert below.non_inferiority_p(0.03) > effect.non_inferiority_p(0.03)
    # t = 2.6 / 1: one side of the printed two-sided tail
    tail = uncertainty.two_sided_p(2.6, 7.3) / 2
    assert below.non_inferiority_p(0.03) == pytest.approx(tail) == below.equivalence_p(0.03)
    with pytest.raises(ValueError, match="margin must be above 0"):
        effect.equivalence_p(0.0)


def test_what_is_called_detectable_is_found_with_the_power_promised():
    effect = two_way.Effect(0.0, 0.02, 3.0)
    shift = effect.detectable(0.05) / 0.02
    assert uncertainty.noncentral_power(shift, 3.0, 0.05) == pytest.approx(0.8, abs=1e-6)
    assert effect.detectable(0.05, power=0.5) < effect.detectable(0.05) < effect.detectable(0.01)
