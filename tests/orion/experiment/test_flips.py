"""Flips between two arms on a table that is counted by hand."""

import numpy as np
import pytest

from orion.experiment.flips import count_flips, find_largest

# two runs of each, by problem; means 1, 0.5, 0, 0.5, 0 and 0, 0.5, 0.5, 0.25, 0
ARM = np.array([[1.0, 0.5, 0.0, 1.0, 0.0], [1.0, 0.5, 0.0, 0.0, 0.0]])
AGAINST = np.array([[0.0, 1.0, 0.5, 0.5, 0.0], [0.0, 0.0, 0.5, 0.0, 0.0]])


def test_counts():
    found = count_flips(ARM, AGAINST)
    assert (found.problems, found.better, found.worse, found.equal) == (5, 2, 1, 2)
    assert (found.both, found.only_arm, found.only_against, found.neither) == (2, 1, 1, 1)
    # pairs of runs that differ: problems 0 1 2 3, then 0 1 2 3, 0 1 2 3, 0 1 2
    assert found.runs_of_both == pytest.approx((4 + 4 + 4 + 3) / 4)
    # the two runs of the arm differ on problem 3, those of the other on 1 and 3
    assert found.runs_of_one == pytest.approx((1 + 2) / 2)


def test_one_run_of_each_says_nothing_about_runs_of_one_arm():
    found = count_flips(ARM[:1], AGAINST[:1])
    assert found.runs_of_one is None and found.runs_of_both == 4


def test_the_other_way_round():
    one, other = count_flips(ARM, AGAINST), count_flips(AGAINST, ARM)
    assert (one.better, one.worse, one.equal) == (other.worse, other.better, other.equal)
    assert (one.only_arm, one.only_against) == (other.only_against, other.only_arm)


def test_rounding_is_no_flip():
    thirds = np.array([[0.1 + 0.2], [0.0]]), np.array([[0.3], [0.0]])
    assert count_flips(*thirds).equal == 1
    assert find_largest(*thirds, 3) == []


def test_the_largest_are_gains_and_losses():
    assert find_largest(ARM, AGAINST, 3) == [0, 3, 2]
    assert find_largest(ARM, AGAINST, 1) == [0, 2]
    assert find_largest(ARM, ARM, 3) == []
