"""Estimators and tests against known answers; intervals against simulated coverage."""

import itertools
import math

import numpy as np
import pytest

from orion.experiment import statistics
from tests.helpers import uncertainty


def test_problem_means_average_within_a_problem_whatever_the_order():
    ids, means = statistics.problem_means(["b", "a", "b", "a", "a"], [1, 0, 0, 1, 1])
    assert ids == ["a", "b"]
    assert means.tolist() == pytest.approx([2 / 3, 1 / 2])


def test_pass_at_k_is_the_share_of_k_subsets_with_a_right_sample():
    for n, c, k in ((5, 2, 1), (5, 2, 3), (6, 1, 4), (4, 0, 2), (4, 4, 1), (5, 3, 5)):
        samples = [True] * c + [False] * (n - c)
        subsets = list(itertools.combinations(samples, k))
        assert statistics.pass_at_k(n, c, k) == pytest.approx(sum(map(any, subsets)) / len(subsets))
    with pytest.raises(ValueError, match="not defined"):
        statistics.pass_at_k(3, 1, 4)


def test_wilson_against_published_values():
    # Newcombe 1998, table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29
    for successes, trials, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
    ):
        found = statistics.wilson_interval(successes, trials, confidence=0.95)
        assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)
    assert statistics.wilson_interval(1, 29, confidence=0.95).high == pytest.approx(
        0.1718, abs=5e-5
    )
    assert statistics.wilson_interval(7, 7, confidence=0.95).high == 1.0


def test_holm_against_a_worked_example_and_keeps_the_order():
    assert statistics.holm_p_values([0.01, 0.04, 0.03, 0.005]) == pytest.approx(
        [0.03, 0.06, 0.06, 0.02]
    )
    assert statistics.holm_p_values([0.9, 0.8]) == [1.0, 1.0]
    assert statistics.holm_p_values([]) == []


def test_sign_flip_is_exact_for_few_problems():
    differences = np.array([0.5, 0.25, 0.0, 0.75, -0.25])
    moved = differences[differences != 0]
    patterns = [abs(np.dot(signs, moved)) for signs in itertools.product((-1, 1), repeat=4)]
    expected = np.mean(np.array(patterns) >= abs(moved.sum()))
    assert statistics.sign_flip_p_value(differences, key=("t",)) == pytest.approx(expected)
    assert statistics.sign_flip_p_value(np.zeros(9), key=("t",)) == 1.0


def test_sign_flip_with_random_patterns_agrees_with_the_binomial_tail_and_is_never_zero():
    # equal sizes make the statistic a count of signs, whose distribution is known
    differences = np.array([1.0] * 20 + [-1.0] * 10)
    exact = 2 * sum(math.comb(30, i) for i in range(20, 31)) / 2**30
    found = statistics.sign_flip_p_value(differences, key=("t",))
    assert abs(found - exact) < 4 * math.sqrt(exact * (1 - exact) / statistics.PERMUTATIONS)
    assert statistics.sign_flip_p_value(np.ones(40), key=("t",)) == pytest.approx(
        1 / (statistics.PERMUTATIONS + 1)
    )
    assert found == statistics.sign_flip_p_value(differences, key=("t",))


def test_bootstrap_of_constant_values_is_a_point():
    settings = {"confidence": 0.95, "resamples": 100, "key": ("t",)}
    assert statistics.bootstrap_interval(np.full(8, 0.5), **settings) == statistics.Interval(
        0.5, 0.5, 0.5
    )
    with pytest.raises(ValueError, match="one value per problem"):
        statistics.bootstrap_interval(np.zeros((2, 3)), **settings)


def test_bootstrap_width_is_the_normal_one_for_many_problems():
    values = np.random.default_rng(5).random(2000)
    found = statistics.bootstrap_interval(values, confidence=0.9, resamples=4000, key=("t",))
    half = 1.6449 * values.std() / math.sqrt(values.size)
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.05)
    assert found == statistics.bootstrap_interval(
        values, confidence=0.9, resamples=4000, key=("t",)
    )
    assert found != statistics.bootstrap_interval(
        values, confidence=0.9, resamples=4000, key=("u",)
    )


def test_chunks_do_not_change_the_draws(monkeypatch):
    values = np.random.default_rng(6).random((2, 50))
    settings = {"confidence": 0.95, "resamples": 200, "key": ("t",)}
    whole = statistics.bootstrap_interval(values[0], **settings)
    monkeypatch.setattr(statistics, "CHUNK_ELEMENTS", 50 * 7)
    assert statistics.bootstrap_interval(values[0], **settings) == whole


def test_the_interval_of_clustered_samples_covers_as_often_as_it_says():
    # samples of one problem share its difficulty: resampling samples instead of problems covers
    # far less
    rng = np.random.default_rng(7)
    hits = naive = 0
    for trial in range(400):
        difficulty = rng.beta(0.5, 0.5, size=60)
        samples = rng.random((60, 8)) < difficulty[:, None]
        found = statistics.bootstrap_interval(
            samples.mean(axis=1), confidence=0.95, resamples=400, key=("cover", trial)
        )
        hits += found.low <= 0.5 <= found.high
        loose = statistics.bootstrap_interval(
            samples.ravel() * 1.0, confidence=0.95, resamples=200, key=("naive", trial)
        )
        naive += loose.low <= 0.5 <= loose.high
    # three binomial standard errors around 95 %, and some slack below for the percentile method at
    # 60 problems
    assert 0.91 <= hits / 400 <= 0.985
    assert naive / 400 < 0.75


def test_clustered_shares_against_their_definition():
    rng = np.random.default_rng(8)
    for successes, trials in (
        (rng.binomial(4, rng.beta(0.3, 2, 160)), np.full(160, 4)),
        (rng.binomial(16, 0.3, 30), np.full(30, 16)),
        (np.array([3, 0, 1, 0]), np.array([3, 1, 2, 4])),
        (8 * (rng.random(50) < 0.3), np.full(50, 8)),
        (np.eye(1, 90)[0], np.full(90, 4)),
    ):
        found = statistics.share_interval(successes, trials, confidence=0.9)
        assert found.value == successes.sum() / trials.sum()
        expected = uncertainty.clustered_wilson(successes.tolist(), trials.tolist(), 0.9)
        assert (found.low, found.high) == pytest.approx(expected, abs=1e-9)
    # one number of trials for all problems, and successes as means times that number
    means = np.array([0.1 + 0.2, 1.0, 0.0])
    assert statistics.share_interval(means * 10, 10, confidence=0.95).value == pytest.approx(
        13 / 30
    )


def test_samples_that_always_agree_are_one_trial_per_problem_and_independent_ones_are_many():
    agreeing = 8.0 * (np.arange(100) < 30)
    trials = np.full(100, 8.0)
    assert statistics.effective_trials(agreeing, trials) == pytest.approx(100)
    assert statistics.share_interval(agreeing, trials, confidence=0.95) == pytest.approx(
        statistics.wilson_interval(30, 100, confidence=0.95)
    )
    independent = np.random.default_rng(9).binomial(8, 0.3, 100)
    assert 500 < statistics.effective_trials(independent, trials) <= 800
    none = statistics.share_interval(np.zeros(20), 4, confidence=0.95)
    assert (none.value, none.low) == (0.0, 0.0) and none.high == pytest.approx(0.1611, abs=5e-5)
    every = statistics.share_interval(np.full(20, 4), 4, confidence=0.95)
    assert (every.value, every.high) == (1.0, 1.0) and every.low == pytest.approx(1 - none.high)
    for wrong in ((np.array([0]), np.array([0])), (np.array([2]), np.array([1])), ([], [])):
        with pytest.raises(ValueError, match="every problem needs a trial"):
            statistics.share_interval(*wrong, confidence=0.95)


def test_low_rates_are_covered_where_the_bootstrap_covers_too_seldom():
    rng = np.random.default_rng(10)
    hits = loose = 0
    for trial in range(400):
        right = rng.binomial(8, rng.beta(0.01, 0.99, 160))
        found = statistics.share_interval(right, 8, confidence=0.95)
        hits += found.low <= 0.01 <= found.high
        resampled = statistics.bootstrap_interval(
            right / 8, confidence=0.95, resamples=200, key=("low", trial)
        )
        loose += resampled.low <= 0.01 <= resampled.high
    assert hits / 400 >= 0.93 and loose / 400 < 0.9
