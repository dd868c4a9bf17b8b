"""All tables that decide a verdict, as rows to print: `orion answers rules`.

Input: none. Output: `TableRow` records, in the order in which the rows are tried.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from orion.answers.audit import one_line
from orion.answers.comparison.compare import WHOLE_RULES
from orion.answers.comparison.rules import RULES
from orion.answers.comparison.values import VALUE_RULES
from orion.answers.parsing.units import UNITS
from orion.answers.steps.rules import RULES as STEP_RULES
from orion.answers.wording.cues import BEFORE, BEHIND, LEADING, NEXT

# characters of an example of several lines
SHOWN = 100


class TableRow(NamedTuple):
    """One row: the table, the name that a verdict reports, what it does, an example."""

    table: str
    name: str
    effect: str
    example: str


def all_rules() -> Iterator[TableRow]:
    """Every rule of comparison, every cue and every unit, in order."""
    for table, rules in (
        ("comparison of whole answers", WHOLE_RULES),
        ("comparison by kind", RULES),
        ("comparison of values", VALUE_RULES),
    ):
        for rule in rules:
            answer, gold, equal = rule.example
            yield TableRow(table, rule.name, "", f"{answer}  {'=' if equal else '≠'}  {gold}")
    for table, cues in (
        ('cues before "the answer is"', LEADING),
        ("cues before a value", BEFORE),
        ("cues behind a value", BEHIND),
        ("cues in the next sentence", NEXT),
    ):
        for cue in cues:
            yield TableRow(table, cue.name, cue.effect, cue.example)
    for step in STEP_RULES:
        truths = ", ".join(step.truths) or "no claim"
        yield TableRow(
            "steps", step.name, step.what, f"{one_line(step.example, SHOWN)}  ->  {truths}"
        )
    for unit in UNITS:
        name = unit.spellings[0]
        yield TableRow("units", name, f"{unit.factor} {unit.canonical}", ", ".join(unit.spellings))
