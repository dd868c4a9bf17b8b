"""Estimators and tests against known answers; intervals against simulated coverage."""

import itertools
import math

import numpy as np
import pytest

from orion.experiment import statistics


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


def test_bootstrap_of_constant_values_is_a_point_unless_they_are_a_proportion_at_its_end():
    settings = {"confidence": 0.95, "resamples": 100, "key": ("t",)}
    assert statistics.bootstrap_interval(np.full(8, 0.5), **settings) == statistics.Interval(
        0.5, 0.5, 0.5
    )
    edge = statistics.bootstrap_interval(np.zeros(20), proportion=True, **settings)
    assert (edge.value, edge.low) == (0.0, 0.0)
    assert edge.high == pytest.approx(0.1611, abs=5e-5)
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


def test_a_share_of_uneven_trials_is_the_ratio_of_the_sums_with_whole_problems_resampled():
    settings = {"confidence": 0.95, "resamples": 2000, "key": ("t",)}
    successes, trials = np.array([3, 0, 1, 0]), np.array([3, 1, 2, 4])
    found = statistics.bootstrap_share(successes, trials, **settings)
    assert found.value == 0.4 and 0.0 <= found.low < 0.4 < found.high <= 1.0
    assert found == statistics.bootstrap_share(successes, trials, **settings)
    # one trial per problem and eight that always agree give the same interval
    draw = np.random.default_rng(3).random(50) < 0.3
    ones = np.ones(50)
    once = statistics.bootstrap_share(draw, ones, **settings)
    assert statistics.bootstrap_share(8 * draw, 8 * ones, **settings) == once
    assert once.low < 0.3 < once.high and once.high - once.low > 0.15
    none = statistics.bootstrap_share(np.zeros(20), np.full(20, 4), **settings)
    assert (none.value, none.low) == (0.0, 0.0) and none.high == pytest.approx(0.1611, abs=5e-5)
    for wrong in ((np.array([0]), np.array([0])), (np.array([2]), np.array([1]))):
        with pytest.raises(ValueError, match="every problem needs a trial"):
            statistics.bootstrap_share(*wrong, **settings)


def test_paired_difference_averages_seeds_within_a_problem():
    arm = np.array([[1.0, 0.5, 0.0], [0.5, 0.5, 1.0]])
    against = np.array([[0.0, 0.5, 0.5], [0.5, 0.0, 0.5]])
    found = statistics.paired_difference(arm, against, confidence=0.95, resamples=50, key=("t",))
    assert found.value == pytest.approx((3.5 - 2.0) / 6)
    assert found.by_seed == pytest.approx(((1.5 - 1.0) / 3, (2.0 - 1.0) / 3))
    assert found.spread == pytest.approx(math.sqrt(2) / 12)
    with pytest.raises(ValueError, match="do not match"):
        statistics.paired_difference(arm, against[:, :2], confidence=0.95, resamples=50, key=("t",))


def test_one_seed_has_no_interval_over_seeds_and_unequal_numbers_no_pairs_of_seeds():
    values = np.random.default_rng(8).random((3, 40))
    alone = statistics.paired_difference(
        values[0], values[1], confidence=0.95, resamples=50, key=("t",)
    )
    assert (alone.low_seeds, alone.high_seeds, alone.spread) == (None, None, None)
    assert len(alone.by_seed) == 1
    mixed = statistics.paired_difference(
        values[:2], values[2], confidence=0.95, resamples=50, key=("t",)
    )
    assert mixed.by_seed is None and mixed.low_seeds is not None


def test_pairing_narrows_the_interval_and_seeds_widen_it():
    rng = np.random.default_rng(9)
    difficulty = rng.random(200)
    against = np.stack([difficulty + rng.normal(0, 0.02, 200) for _ in range(3)])
    shifts = np.array([[0.0], [0.2], [-0.2]])
    arm = np.stack([difficulty + rng.normal(0, 0.02, 200) for _ in range(3)]) + shifts
    found = statistics.paired_difference(arm, against, confidence=0.95, resamples=2000, key=("t",))
    alone = statistics.bootstrap_interval(
        arm.mean(axis=0), confidence=0.95, resamples=2000, key=("t",)
    )
    assert found.high - found.low < (alone.high - alone.low) / 5
    # the standard error of the mean of three seeds, which drawing one seed fewer keeps unbiased
    error = shifts.std(ddof=1) / math.sqrt(3)
    assert (found.high_seeds - found.low_seeds) / 2 == pytest.approx(1.96 * error, rel=0.2)


def test_intervals_over_seeds_cover_where_intervals_over_problems_do_not():
    # the truth is the expectation over training runs, of which each arm has five
    rng = np.random.default_rng(10)
    hits = narrow = 0
    for trial in range(300):
        level = rng.random(50)
        arms = [level + rng.normal(0, 0.06, (5, 1)) + rng.normal(0, 0.1, (5, 50)) for _ in range(2)]
        found = statistics.paired_difference(
            *arms, confidence=0.95, resamples=300, key=("seeds", trial)
        )
        hits += found.low_seeds <= 0 <= found.high_seeds
        narrow += found.low <= 0 <= found.high
    assert hits / 300 >= 0.90
    assert narrow / 300 < 0.80
