"""Every row of every table: its example, its name, and the magnitude of its spellings."""

from itertools import combinations

import pytest

from orion.answers import check
from orion.answers.comparison.compare import WHOLE_RULES
from orion.answers.comparison.rules import RULES
from orion.answers.comparison.values import VALUE_RULES
from orion.answers.extraction.surrounding_text import (
    refusing_cue_before,
    refusing_cue_behind,
    refusing_cue_of_statement,
)
from orion.answers.parsing.units import UNITS, read_unit
from orion.answers.rule_tables import all_rules
from orion.answers.wording import cues, statements
from orion.answers.wording.cues import ALLOW, END
from orion.answers.wording.nouns import MODIFIERS, NOUNS
from orion.answers.wording.phrases import is_unit_phrase


def by_name(rows):
    return [pytest.param(row, id=row.name) for row in rows]


@pytest.mark.parametrize("rule", by_name((*WHOLE_RULES, *RULES, *VALUE_RULES)))
def test_a_comparison_rule_decides_its_example(rule):
    answer, gold, equal = rule.example
    verdict = check(f"\\boxed{{{answer}}}", gold)
    assert verdict.correct is equal
    # a rule that refuses what it does not understand is the reason why nothing was compared
    assert rule.name in verdict.rule.split("/") or verdict.verdict == "unparseable"


def value_of(example):
    before, _, rest = example.partition("«")
    value, _, behind = rest.partition("»")
    assert value, example
    return before + value + behind, len(before), len(before) + len(value)


@pytest.mark.parametrize("cue", by_name(cues.BEFORE))
def test_a_cue_before_a_value_judges_its_example(cue):
    text, start, _ = value_of(cue.example)
    assert cue.match(text[:start], 0) is not None
    found = refusing_cue_before(text, start)
    assert found is (None if cue.effect in (ALLOW, END) else cue)


@pytest.mark.parametrize("cue", by_name((*cues.BEHIND, *statements.NEXT, *statements.CLOSING)))
def test_a_cue_behind_a_value_judges_its_example(cue):
    text, _, end = value_of(cue.example)
    assert any(cue.match(text[end:], at) is not None for at in range(len(text) - end + 1))
    found = refusing_cue_behind(text, end)
    assert found is (None if cue.effect in (ALLOW, END) else cue)


@pytest.mark.parametrize("cue", by_name(statements.LEADING))
def test_a_cue_before_a_marker_judges_its_example(cue):
    text, _, _ = value_of(cue.example)
    assert refusing_cue_of_statement(text, text.index("answer")) is cue


@pytest.mark.parametrize(
    "cue",
    by_name(
        (*cues.BEFORE, *cues.BEHIND, *statements.NEXT, *statements.CLOSING, *statements.LEADING)
    ),
)
def test_a_value_is_credited_as_its_cue_says(cue):
    text, start, end = value_of(cue.example)
    verdict = check(text, text[start:end], finished=True)
    if cue.effect in (ALLOW, END):
        assert verdict.correct, verdict
    else:
        assert not verdict.correct, verdict


@pytest.mark.parametrize(
    "text", ["She has 7 apples. Which is more than Bob?", "It is 7. The rest is clear."]
)
def test_a_sentence_that_no_row_knows_behind_the_last_value_refuses_it(text):
    verdict = check(text, "7", finished=True)
    assert (verdict.correct, verdict.rule) == (False, "words_behind")


def test_a_letter_of_a_unit_glued_to_a_number_is_that_unit():
    for response, gold, right in (
        ("9\\,\\Omega", "9\\text{ V}", False),
        ("9V", "9\\text{ V}", True),
        ("9s", "9\\text{ cm}", False),
        ("9m^2", "9\\text{ m}^2", True),
        ("9m^2", "9\\text{ m}", False),
        ("9\\,\\Omega", "9\\text{ ohms}", True),
        ("9\\,\\Omega", "9", True),
    ):
        assert check(f"\\boxed{{{response}}}", gold).correct is right, (response, gold)


def test_words_that_no_row_knows_refuse_a_value():
    for text in ("The answer is 5 zorbs.", "It takes zorb 5.", "The answer is 5 zorb zorb zorb."):
        assert not check(text, "5", finished=True).correct


def test_names_are_unique_within_a_table():
    rows = list(all_rules())
    assert len({(row.table, row.name) for row in rows}) == len(rows)
    assert all(row.example for row in rows)


@pytest.mark.parametrize("unit", [pytest.param(unit, id=unit.spellings[0]) for unit in UNITS])
def test_spellings_of_one_unit_have_one_magnitude(unit):
    assert len({read_unit(spelling) for spelling in unit.spellings}) == 1
    assert read_unit(unit.spellings[0]) is not None


def test_no_two_units_have_one_magnitude():
    measures = {unit.spellings[0]: read_unit(unit.spellings[0]) for unit in UNITS}
    same = [(a, b) for a, b in combinations(measures, 2) if measures[a] == measures[b]]
    assert same == []
    assert read_unit("kW") != read_unit("kWh")


def test_no_spelling_belongs_to_two_units():
    spellings = [s for unit in UNITS for s in unit.spellings]
    assert len(set(spellings)) == len(spellings)


def test_no_noun_changes_the_value_before_it():
    changing = (
        "half halves third thirds quarter quarters fourths tenths ten tens dozen dozens score gross"
        " hundred hundreds million lakh crore fold percent times squared cubed not or wrong too"
    )
    for word in changing.split():
        assert word not in NOUNS | MODIFIERS, word
        assert not is_unit_phrase(word), word
