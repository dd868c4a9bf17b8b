"""Problems in clusters: the estimators against brute force, and columns that change nothing."""

import itertools

import numpy as np
import polars as pl
import pytest

from orion.experiment import comparisons, statistics, two_way
from orion.experiment.clusters import find_clusters
from tests.helpers import uncertainty

NAMES = ["a", "b", None, "a", "c", "b", "c", "c", None, "d"]


def draw_tables(seed: int = 1, runs: int = 3, problems: int = len(NAMES)):
    rng = np.random.default_rng(seed)
    return rng.random((runs, problems)), rng.random((runs + 1, problems))


def own_names(names) -> list:
    return [name or f"alone {number}" for number, name in enumerate(names)]


def test_clusters_are_numbered_as_they_appear_and_a_null_is_alone():
    found = statistics.number_clusters(NAMES)
    assert found.tolist() == [0, 1, 2, 0, 3, 1, 3, 3, 4, 5]
    assert statistics.number_clusters(["x", None, "y", None]) is None
    assert statistics.sum_clusters(np.arange(10.0), found).tolist() == [3, 6, 2, 17, 8, 9]
    table = np.arange(20.0).reshape(2, 10)
    assert statistics.sum_clusters(table, found)[1].tolist() == [23, 26, 12, 47, 18, 19]


def test_the_field_of_meta_is_read_in_the_order_of_the_problems():
    problems = pl.DataFrame(
        {"problem_id": ["p2", "p1", "p3"], "meta": [{"cluster": c} for c in ("x", "y", "x")]}
    )
    assert find_clusters(problems).tolist() == [0, 1, 1]
    plain = problems.with_columns(meta=pl.struct(source_row=pl.int_range(3)))
    assert find_clusters(plain) is None


def test_the_variance_is_that_of_cluster_sums():
    clusters = statistics.number_clusters(NAMES)
    arm, against = draw_tables()
    found = two_way.estimate_effect(arm, against, clusters=clusters)
    expected = uncertainty.estimate(arm.tolist(), against.tolist(), own_names(NAMES))
    law = (found.degrees, found.weight, found.few)
    assert (found.value, found.standard_error, *law) == pytest.approx(expected)
    differences = arm.mean(axis=0) - against.mean(axis=0)
    parts = two_way.split_variance(differences, [arm, against], clusters)
    assert parts == pytest.approx(
        uncertainty.components(arm.tolist(), against.tolist(), own_names(NAMES))
    )
    # several experiments at once
    many = np.stack([draw_tables(seed)[0] for seed in range(4)])
    run, rest = two_way.mean_squares(many, clusters)
    alone = [two_way.mean_squares(table, clusters) for table in many]
    assert run == pytest.approx([a for a, _ in alone])
    assert rest == pytest.approx([b for _, b in alone])


def test_equal_variants_count_as_one_problem():
    # every problem four times: as if it were there once
    arm, against = draw_tables(problems=30)
    clusters = np.tile(np.arange(30), 4)
    once = two_way.estimate_effect(arm, against)
    found = two_way.estimate_effect(np.tile(arm, 4), np.tile(against, 4), clusters=clusters)
    assert found.standard_error == pytest.approx(once.standard_error)
    assert (found.degrees, found.weight) == pytest.approx((once.degrees, once.weight))
    share = statistics.share_interval(np.tile(arm[0], 4), 1, confidence=0.9, clusters=clusters)
    # four trials a problem that all agree are worth no more than one
    assert share.low == pytest.approx(statistics.share_interval(arm[0] * 4, 4, confidence=0.9).low)


def test_one_cluster_gives_no_estimate():
    arm, against = draw_tables()
    whole = np.zeros(10, dtype=np.int64)
    assert two_way.estimate_effect(arm, against, clusters=whole) is None


def test_whole_clusters_are_resampled_and_flipped():
    values = np.array([0.5, 0.5, -0.25, 0.75])
    clusters = np.array([0, 0, 1, 2])
    # every draw of three clusters, its sum over its number of problems
    sums, sizes = [1.0, -0.25, 0.75], [2, 1, 1]
    means = [
        sum(sums[i] for i in drawn) / sum(sizes[i] for i in drawn)
        for drawn in itertools.product(range(3), repeat=3)
    ]
    found = statistics.bootstrap_interval(
        values, confidence=0.8, resamples=40_000, key=("t",), clusters=clusters
    )
    low, high = np.quantile(means, [0.1, 0.9])
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-9)
    arm, against = draw_tables(problems=9)
    tested = comparisons.compare_arms(
        arm,
        against[:3],
        confidence=0.9,
        resamples=20,
        key=("t",),
        clusters=np.array([0, 0, 0, 1, 1, 2, 2, 2, 3]),
    )
    pairs = arm.mean(axis=0) - against[:3].mean(axis=0)
    of_cluster = [pairs[:3].sum(), pairs[3:5].sum(), pairs[5:8].sum(), pairs[8]]
    flips = [
        abs(np.dot(signs, of_cluster)) >= abs(sum(of_cluster)) - 1e-9
        for signs in itertools.product((-1, 1), repeat=4)
    ]
    assert tested.p_problems == np.mean(flips)
    assert (tested.problems, tested.clusters) == (9, 4)
    assert tested.better + tested.worse + tested.tied == 9


def test_a_column_with_one_row_per_cluster_changes_nothing():
    # names in another order than the problems, and one without a name
    arm, against = draw_tables(problems=12)
    clusters = statistics.number_clusters([*"zyxwvutsrqp", None])
    settings = {"confidence": 0.95, "resamples": 300, "key": ("t",)}
    assert comparisons.compare_arms(arm, against, clusters=clusters, **settings) == (
        comparisons.compare_arms(arm, against, **settings)
    )
