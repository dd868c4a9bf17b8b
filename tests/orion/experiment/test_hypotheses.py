"""Kinds of tests, margins with their unit, and what an expectation comes to."""

import pytest

from orion.experiment import hypotheses


@pytest.mark.parametrize(
    ("text", "margin"),
    [("2 points", 0.02), ("1 point", 0.01), ("2.5 points", 0.025), ("0.5 points", 0.005)],
)
def test_a_margin_has_a_unit(text, margin):
    assert hypotheses.parse_margin(text) == pytest.approx(margin)


@pytest.mark.parametrize(
    "value",
    [2, 0.02, "2", "2 %", "2 percent", "points", "-2 points", "0 points", "100 points", "2points"],
)
def test_a_number_without_its_unit_is_no_margin(value):
    with pytest.raises(ValueError, match=r"a margin has a unit .*'2 points'"):
        hypotheses.parse_margin(value)


def test_the_verdicts_and_expectations_of_each_kind_go_together():
    judged = {
        (kind, expect, verdict): hypotheses.judge_expectation(kind, expect, verdict)
        for kind, allowed in hypotheses.EXPECTATIONS.items()
        for expect in allowed
        for verdict in (*hypotheses.VERDICTS[kind], "unclear", "not run")
    }
    confirmed = {key for key, outcome in judged.items() if outcome == "confirmed"}
    refuted = {key for key, outcome in judged.items() if outcome == "refuted"}
    assert confirmed == {
        ("superiority", "above", "above"),
        ("superiority", "below", "below"),
        ("equivalence", "equal", "equivalent"),
    }
    assert refuted == {
        ("superiority", "above", "below"),
        ("superiority", "below", "above"),
        ("equivalence", "equal", "different"),
    }
    assert {*judged.values()} == {"confirmed", "refuted", "open"}
    assert hypotheses.judge_expectation("superiority", None, "above") is None
