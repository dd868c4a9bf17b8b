"""The table of rules: every row's example has its truths, and the rules that decide are rows."""

import pytest

from orion.answers.steps import RULES, TRUTHS, check_steps
from orion.answers.steps.excuses import EXCUSES

DECIDING = [rule for rule in RULES if rule.decides and rule.example]


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule.example], ids=lambda r: r.name)
def test_an_example_has_the_truths_of_its_row(rule):
    claims = check_steps(rule.example)
    assert tuple(claim.truth for claim in claims) == rule.truths, claims


@pytest.mark.parametrize("rule", DECIDING, ids=lambda r: r.name)
def test_the_rule_of_a_row_decides_its_example(rule):
    assert rule.name in {claim.rule for claim in check_steps(rule.example)}


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("2 hours > 90 minutes", "units"),
        ("50% > 30", "percent"),
        ("24 / 2/3 > 30", "division"),
        ("- 8 + 3 > 10", "list_mark"),
    ],
)
def test_an_inequality_that_holds_under_a_reading_has_the_rule_of_the_reading(text, rule):
    assert [(claim.truth, claim.rule) for claim in check_steps(text)] == [("true", rule)]


def test_names_are_unique_and_truths_known():
    names = [rule.name for rule in RULES]
    assert len(set(names)) == len(names)
    assert {truth for rule in RULES for truth in rule.truths} == set(TRUTHS)


def test_every_excuse_is_a_row():
    assert {name for name, _ in EXCUSES} <= {rule.name for rule in RULES if rule.decides}
