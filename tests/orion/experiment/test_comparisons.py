"""The paired test of two arms: its counts, and when it names a side."""

import dataclasses

import numpy as np
import pytest

from orion.experiment import comparisons

PASSING = comparisons.PairedTest(
    problems=40,
    seeds=2,
    difference=0.1,
    low=0.05,
    high=0.2,
    low_seeds=0.01,
    high_seeds=0.3,
    lowest_seed=0.08,
    highest_seed=0.12,
    spread=0.03,
    better=20,
    worse=5,
    tied=15,
    p=0.01,
)
BELOW = {"difference": -0.1, "low": -0.2, "high": -0.05, "low_seeds": -0.3, "high_seeds": -0.01}


@pytest.mark.parametrize(
    ("change", "p_holm", "expected"),
    [
        ({}, 0.04, "above"),
        (BELOW, 0.04, "below"),
        ({"low": -0.01}, 0.04, "unclear"),
        ({"low": 0.0}, 0.04, "unclear"),
        ({"low_seeds": -0.01}, 0.04, "unclear"),
        ({"low_seeds": None, "high_seeds": None}, 0.04, "unclear"),
        ({}, 0.051, "unclear"),
    ],
)
def test_a_side_is_named_only_where_everything_agrees(change, p_holm, expected):
    changed = dataclasses.replace(PASSING, **change)
    assert comparisons.name_side(changed, p_holm, alpha=0.05) == expected


def test_rounding_does_not_turn_a_tie_into_a_win():
    arm = np.array([[0.1 + 0.2, 1.0, 0.0], [0.3, 0.5, 0.0]])
    against = np.array([[0.3, 0.5, 0.5], [0.1 + 0.2, 0.5, 0.0]])
    found = comparisons.compare_arms(arm, against, confidence=0.95, resamples=20, key=("t",))
    assert (found.problems, found.seeds) == (3, 2)
    assert (found.better, found.worse, found.tied) == (1, 1, 1)
    # one problem each way and equal sizes: every pattern of signs is as extreme
    assert found.p == 1.0


def test_the_correction_runs_over_all_tests_and_keeps_their_order():
    tests = [dataclasses.replace(PASSING, p=p) for p in (0.03, 0.01, 0.5)]
    corrected = comparisons.correct_tests(tests, alpha=0.05)
    assert [p for p, _ in corrected] == pytest.approx([0.06, 0.03, 0.5])
    assert [verdict for _, verdict in corrected] == ["unclear", "above", "unclear"]
