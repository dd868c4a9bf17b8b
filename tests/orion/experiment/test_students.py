"""Tests over students: what is averaged, what the spread between students does, the components."""

import dataclasses

import numpy as np
import pytest

from orion.experiment import two_way
from orion.experiment.comparisons import Settings, correct_tests
from orion.experiment.hypotheses import NO_DIFFERENCE
from orion.experiment.students import compare_students, find_floor, split_students

SETTINGS = Settings(0.95, 200, ("t",), NO_DIFFERENCE, None)


def draw_group(rng, students, *, draws=2, seeds=2, problems=80, spreads=(0.0, 0.0, 0.0), rest=0.1):
    """Two arms, per student ``(draws, seeds, problems)``; spreads of students, draws, seeds."""
    of_student, of_draw, of_seed = spreads
    arms: list[list] = [[], []]
    level = rng.random((1, 1, problems))
    for _ in range(students):
        own = rng.normal(0, 0.2, (1, 1, 1))
        for arm in arms:
            # half of the variance of a difference in either arm
            table = level + own + rng.normal(0, of_student / 2**0.5, (1, 1, 1))
            table = table + rng.normal(0, of_draw / 2**0.5, (draws, 1, 1))
            table = table + rng.normal(0, of_seed, (draws, seeds, 1))
            arm.append(table + rng.normal(0, rest, (draws, seeds, problems)))
    return arms


def test_the_rows_are_the_means_of_the_students():
    arm, against = draw_group(np.random.default_rng(1), 3, spreads=(0.05, 0.02, 0.01))
    found = compare_students(arm, against, SETTINGS)
    rows = [np.stack([s.mean(axis=0).mean(axis=0) for s in tables]) for tables in (arm, against)]
    effect = two_way.estimate_effect(*rows, paired=True)
    # the difference is another sum of the same numbers
    assert found.difference == pytest.approx(effect.value)
    assert dataclasses.replace(found.effect, value=effect.value) == effect
    assert (found.students, found.draws, found.seeds, found.few) == (3, 2, 2, 2)
    low, high = effect.interval(0.95)
    assert (found.low_runs, found.high_runs) == (low, high)
    # what a student does to both arms cancels
    moved = [[s + 0.3 * i for i, s in enumerate(tables)] for tables in (arm, against)]
    assert compare_students(*moved, SETTINGS).standard_error == pytest.approx(found.standard_error)


def test_students_that_disagree_are_not_decided_however_many_runs_they_have():
    arm, against = draw_group(np.random.default_rng(2), 3, draws=4, seeds=3, rest=0.02)
    # two students gain and one loses
    arm = [table + shift for table, shift in zip(arm, (0.12, 0.10, -0.05), strict=True)]
    found = compare_students(arm, against, SETTINGS)
    assert found.p_problems < 0.001 and found.low > 0
    assert found.low_runs < 0 < found.high_runs
    assert correct_tests([found], alpha=0.05)[0][1] == "unclear"
    # the one that loses is decided for itself
    alone = compare_students(arm[2:], against[2:], SETTINGS)
    assert correct_tests([alone], alpha=0.05)[0][1] == "below"
    assert (alone.students, alone.draws, alone.few, alone.sd_students) == (1, 4, 3, None)


def test_students_that_agree_are_decided():
    arm, against = draw_group(np.random.default_rng(3), 4, rest=0.05)
    arm = [table + 0.06 for table in arm]
    found = compare_students(arm, against, SETTINGS)
    assert correct_tests([found], alpha=0.05)[0][1] == "above"


def test_the_components_are_the_true_ones_on_average():
    rng, truth = np.random.default_rng(4), (0.08, 0.05, 0.03)
    found = [
        split_students(*draw_group(rng, 6, draws=3, seeds=3, spreads=truth)) for _ in range(300)
    ]
    means = np.sqrt((np.array(found) ** 2).mean(axis=0))
    assert means == pytest.approx(truth, rel=0.08)


def test_a_component_that_nothing_tells_of_is_none_and_part_of_the_one_above():
    rng, truth = np.random.default_rng(5), (0.06, 0.04, 0.03)
    found = [
        split_students(*draw_group(rng, 8, draws=1, seeds=1, spreads=truth)) for _ in range(200)
    ]
    assert {each[1:] for each in found} == {(None, None)}
    whole = np.mean([each[0] ** 2 for each in found])
    assert whole == pytest.approx(0.06**2 + 0.04**2 + 2 * 0.03**2, rel=0.1)


def test_the_floor_is_the_spread_between_the_draws_of_one_student():
    arm, against = draw_group(np.random.default_rng(6), 3, spreads=(0.5, 0.03, 0.0))
    differences = [(a - b).mean(axis=(1, 2)) for a, b in zip(arm, against, strict=True)]
    expected = np.sqrt(np.mean([each.var(ddof=1) for each in differences]))
    assert find_floor(arm, against) == pytest.approx(expected)
    assert find_floor(*[[s[:1] for s in tables] for tables in (arm, against)]) is None


def test_students_may_have_different_numbers_of_draws():
    arm, against = draw_group(np.random.default_rng(7), 3)
    fewer = [[tables[0][:1], *tables[1:]] for tables in (arm, against)]
    found = compare_students(*fewer, SETTINGS)
    assert (found.draws, found.few) == (1, 2) and found.floor is not None
    with pytest.raises(ValueError, match="one student with one draw is no group"):
        compare_students(fewer[0][:1], fewer[1][:1], SETTINGS)


def test_in_a_null_group_a_side_is_named_as_seldom_as_said():
    rng, named = np.random.default_rng(8), 0
    for _ in range(300):
        arm, against = draw_group(rng, 3, draws=1, seeds=2, problems=40, spreads=(0.06, 0.0, 0.02))
        rows = [np.stack([s.mean(axis=(0, 1)) for s in tables]) for tables in (arm, against)]
        effect = two_way.estimate_effect(*rows, paired=True)
        named += abs(effect.value) > effect.critical(0.05) * effect.standard_error
    assert named / 300 <= 0.08
