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
from orion.answers.wording.cues import BEFORE, BEHIND
from orion.answers.wording.statements import CLOSING, LEADING, NEXT

# characters of an example of several lines
SHOWN = 100


# names of what decides before or instead of a row
OTHER = (
    ("words_before", "the words before a value are not understood"),
    ("words_behind", "the words behind a value are not understood"),
    ("extract", "the response has no answer: empty, cut off, no value, no box where one is needed"),
    ("empty_box", "the last box is empty"),
    ("part_of_box", "the last box is an operand or an argument"),
    ("parse", "the answer cannot be read"),
    ("gold", "the gold cannot be read"),
    ("compare", "neither equality nor difference could be shown"),
    ("identical", "both sides are the same when read"),
    ("math-verify", "Math-Verify decided, under a policy that replays it"),
)


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
        ("sentences that may follow the last value", CLOSING),
    ):
        for cue in cues:
            yield TableRow(table, cue.name, cue.effect, cue.example)
    for step in STEP_RULES:
        truths = ", ".join(step.truths) or "no claim"
        yield TableRow(
            "steps", step.name, step.what, f"{one_line(step.example, SHOWN)}  ->  {truths}"
        )
    for name, effect in OTHER:
        yield TableRow("where no row decides", name, "", effect)
    for unit in UNITS:
        name = unit.spellings[0]
        yield TableRow("units", name, f"{unit.factor} {unit.canonical}", ", ".join(unit.spellings))
