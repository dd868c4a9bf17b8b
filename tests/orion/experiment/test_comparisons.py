"""The paired test of two arms: its counts, and when it names a side."""

import dataclasses

import numpy as np
import pytest

from orion.experiment import comparisons

PASSING = comparisons.PairedTest(
    problems=40,
    clusters=None,
    seeds=2,
    difference=0.1,
    low=0.05,
    high=0.2,
    low_runs=0.01,
    high_runs=0.3,
    p=0.01,
    standard_error=0.03,
    degrees=39.0,
    weight=0.4,
    few=1.5,
    detectable=0.1,
    lowest_seed=0.08,
    highest_seed=0.12,
    spread=0.03,
    better=20,
    worse=5,
    tied=15,
    p_problems=0.01,
    sd_problems=0.2,
    sd_runs=0.01,
    sd_rest=0.1,
)


@pytest.mark.parametrize(
    ("change", "p_holm", "expected"),
    [
        ({}, 0.04, "above"),
        ({"difference": -0.1}, 0.04, "below"),
        ({}, 0.051, "unclear"),
        ({}, None, "unclear"),
        # what holds for these very models decides nothing
        ({"low": -0.01, "p_problems": 0.5}, 0.04, "above"),
        ({"p_problems": 1e-9}, 0.06, "unclear"),
    ],
)
def test_a_side_is_named_by_the_corrected_test_over_runs_alone(change, p_holm, expected):
    changed = dataclasses.replace(PASSING, **change)
    assert comparisons.name_verdict(changed, p_holm, alpha=0.05) == expected


def test_a_difference_that_holds_for_the_models_alone_is_not_named():
    # two runs of each arm, one of them far off: the problems agree, the runs do not
    rng = np.random.default_rng(1)
    level = rng.random((1, 200))
    arm = level + np.array([[0.30], [0.02]]) + rng.normal(0, 0.05, (2, 200))
    against = level + rng.normal(0, 0.05, (2, 200))
    found = comparisons.compare_arms(arm, against, confidence=0.95, resamples=200, key=("t",))
    assert found.low > 0.1 and found.p_problems < 0.001
    assert found.low_runs < 0 < found.high_runs and found.p > 0.05
    assert found.lowest_seed == pytest.approx(0.02, abs=0.02)
    assert found.spread == pytest.approx(0.28 / np.sqrt(2), abs=0.02)
    assert comparisons.correct_tests([found], alpha=0.05) == [(found.p, "unclear")]
    assert found.effect.p_value() == found.p
    # nor does anything follow about equivalence
    assert found.effect.equivalence_p(0.05) > 0.5


def test_one_seed_gives_numbers_for_these_models_only():
    values = np.random.default_rng(8).random((3, 40))
    alone = comparisons.compare_arms(
        values[0] + 1, values[1], confidence=0.95, resamples=50, key=("t",)
    )
    assert (alone.low_runs, alone.p, alone.standard_error, alone.effect) == (None,) * 4
    assert alone.detectable is alone.spread is None and alone.lowest_seed == alone.highest_seed
    assert alone.low > 0 and alone.p_problems < 0.001
    # it counts in the family all the same
    assert comparisons.correct_tests([alone, PASSING], alpha=0.05) == [
        (None, "unclear"),
        (0.02, "above"),
    ]
    mixed = comparisons.compare_arms(
        values[:2], values[2], confidence=0.95, resamples=50, key=("t",)
    )
    assert mixed.p is mixed.lowest_seed is mixed.spread is None and mixed.seeds == 2
    with pytest.raises(ValueError, match="do not match"):
        comparisons.compare_arms(values, values[:, :4], confidence=0.95, resamples=50, key=("t",))


def test_rounding_does_not_turn_a_tie_into_a_win():
    arm = np.array([[0.1 + 0.2, 1.0, 0.0], [0.3, 0.5, 0.0]])
    against = np.array([[0.3, 0.5, 0.5], [0.1 + 0.2, 0.5, 0.0]])
    found = comparisons.compare_arms(arm, against, confidence=0.95, resamples=20, key=("t",))
    assert (found.problems, found.seeds) == (3, 2)
    assert (found.better, found.worse, found.tied) == (1, 1, 1)
    # one problem each way and equal sizes: every pattern of signs is as extreme
    assert found.p_problems == 1.0


def test_the_correction_runs_over_all_tests_and_keeps_their_order():
    tests = [dataclasses.replace(PASSING, p=p) for p in (0.03, 0.01, 0.5)]
    corrected = comparisons.correct_tests(tests, alpha=0.05)
    assert [p for p, _ in corrected] == pytest.approx([0.06, 0.03, 0.5])
    assert [verdict for _, verdict in corrected] == ["unclear", "above", "unclear"]


def noisy_pair(shift: float):
    """Three runs of two arms on 300 problems, the first one higher by ``shift``."""
    rng = np.random.default_rng(5)
    level = rng.random((1, 300))
    arm, against = (level + rng.normal(0, 0.05, (3, 300)) for _ in range(2))
    return arm - arm.mean() + against.mean() + shift, against


@pytest.mark.parametrize(
    ("kind", "margin", "shift", "verdict"),
    [
        ("superiority", 0.0, 0.05, "above"),
        ("superiority", 0.0, -0.05, "below"),
        ("superiority", 0.0, 0.001, "unclear"),
        ("non-inferiority", 0.02, 0.001, "not inferior"),
        # better, which is more than not inferior, and no more is said
        ("non-inferiority", 0.02, 0.05, "not inferior"),
        ("non-inferiority", 0.02, -0.05, "inferior"),
        # worse than nothing, but by less than the margin
        ("non-inferiority", 0.05, -0.03, "not inferior"),
        ("non-inferiority", 0.02, -0.02, "unclear"),
        ("equivalence", 0.02, 0.001, "equivalent"),
        ("equivalence", 0.02, 0.05, "different"),
        ("equivalence", 0.02, -0.05, "different"),
        ("equivalence", 0.02, 0.019, "unclear"),
    ],
)
def test_the_verdict_follows_from_where_the_interval_lies(kind, margin, shift, verdict):
    arm, against = noisy_pair(shift)
    found = comparisons.compare_arms(
        arm,
        against,
        confidence=0.95,
        resamples=20,
        key=("t",),
        hypothesis=comparisons.Hypothesis(kind, margin),
    )
    [(p, reading)] = comparisons.correct_tests([found], alpha=0.05)
    assert reading == verdict and found.difference == pytest.approx(shift)
    low, high = found.low_runs, found.high_runs
    clear = {
        "above": low > 0,
        "below": high < 0,
        "not inferior": low > -margin,
        "inferior": high < -margin,
        "equivalent": -margin < low and high < margin,
        "different": low > margin or high < -margin,
    }
    assert [name for name in comparisons.VERDICTS[kind] if clear[name]] == (
        [] if verdict == "unclear" else [verdict]
    )
    # the same as the one-sided tests that are made for this, at half the level
    effect = found.effect
    if verdict == "not inferior":
        assert p == pytest.approx(2 * effect.non_inferiority_p(margin))
    if verdict == "equivalent":
        assert p == pytest.approx(2 * effect.equivalence_p(margin))


def test_a_family_does_not_shrink_by_what_is_left_out():
    corrected = comparisons.correct_tests([PASSING, None, None, None], alpha=0.05)
    assert corrected == [(0.04, "above"), *[(None, "unclear")] * 3]
