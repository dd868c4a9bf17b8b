"""Student's t against closed forms, printed tables, mpmath and simulation."""

import math

import numpy as np
import pytest

from orion.experiment import student_t
from tests.helpers import uncertainty


def test_tails_are_the_closed_forms_of_one_and_two_degrees():
    t = np.array([0.0, 1e-6, 0.3, 1.0, 12.7, 400.0])
    assert student_t.two_sided_p(t, 1) == pytest.approx(1 - 2 * np.arctan(t) / np.pi, abs=1e-14)
    assert student_t.two_sided_p(t, 2) == pytest.approx(1 - t / np.sqrt(2 + t**2), abs=1e-14)
    assert student_t.two_sided_p(math.inf, 3) == 0
    with pytest.raises(ValueError, match="above 0"):
        student_t.two_sided_p(1.0, 0)


def test_tails_are_those_of_mpmath_also_far_out_and_for_broken_degrees():
    for degrees in (1.3, 4.0, 17.4, 159.0, 1318.0):
        for t in (1e-5, 0.5, 2.0, 8.0, 30.0):
            expected = uncertainty.two_sided_p(t, degrees)
            assert float(student_t.two_sided_p(-t, degrees)) == pytest.approx(expected, rel=1e-11)


def test_quantiles_are_those_of_the_printed_table():
    for degrees, p, t in ((1, 0.05, 12.706), (2, 0.05, 4.303), (4, 0.01, 4.604), (120, 0.1, 1.658)):
        assert student_t.two_sided_quantile(p, degrees) == pytest.approx(t, abs=5e-4)
    with pytest.raises(ValueError, match="not a probability"):
        student_t.two_sided_quantile(1.0, 3)


def test_the_mixed_bound_lies_between_both_and_its_p_is_the_level_that_has_it():
    for degrees, few, weight in ((159.0, 2.0, 0.3), (159.0, 1.0, 0.9), (9.0, 12.0, 0.4)):
        for p in (0.3, 0.05, 1e-4):
            bound = float(student_t.mixed_quantile(p, degrees, few, weight))
            both = [uncertainty.t_quantile(p, each) for each in (degrees, few)]
            assert min(both) < bound < max(both)
            expected = uncertainty.mixed_quantile(p, degrees, few, weight)
            assert bound == pytest.approx(expected, rel=1e-6)
            assert student_t.mixed_p(-bound, degrees, few, weight) == pytest.approx(p, rel=1e-6)
    for weight, degrees in ((0.0, 159.0), (1.0, 2.0)):
        found = student_t.mixed_p(2.5, 159.0, 2.0, weight)
        assert found == pytest.approx(uncertainty.two_sided_p(2.5, degrees))
    assert student_t.mixed_p(0.0, 159.0, 2.0, 0.5) == 1.0


def test_power_is_the_level_without_an_effect_and_what_a_simulation_finds_with_one():
    assert student_t.power(0.0, 3.5, alpha=0.05) == pytest.approx(0.05, abs=1e-6)
    rng = np.random.default_rng(1)
    for degrees, shift in ((2, 4.0), (30, 2.5)):
        t = (rng.normal(shift, 1, 200_000)) / np.sqrt(rng.chisquare(degrees, 200_000) / degrees)
        found = (np.abs(t) > uncertainty.t_quantile(0.05, degrees)).mean()
        assert student_t.power(shift, degrees, alpha=0.05) == pytest.approx(found, abs=0.005)


def test_the_detectable_shift_is_found_four_times_out_of_five():
    # many degrees: the sum of two normal quantiles
    many = student_t.detectable_shift(1e6, alpha=0.05, wanted=0.8)
    assert many == pytest.approx(1.95996 + 0.84162, abs=1e-4)
    for degrees in (1.0, 2.6):
        shift = student_t.detectable_shift(degrees, alpha=0.05, wanted=0.8)
        assert uncertainty.noncentral_power(shift, degrees, 0.05) == pytest.approx(0.8, abs=1e-6)
    with pytest.raises(ValueError, match="not defined"):
        student_t.detectable_shift(5, alpha=0.05, wanted=0.04)
