"""Compare two answers: literals and texts here, trees in `rules`.

Input: two `Answer` records and a policy. Output: a `Result`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import NamedTuple

from orion.answers.algebra.canonical_form import CanonicalForm
from orion.answers.comparison.rules import AnswerComparison
from orion.answers.comparison.values import UndecidedError
from orion.answers.parsing.read_answer import Answer, is_well_formed, is_word
from orion.answers.parsing.special_answers import NUMBER_WORD
from orion.answers.parsing.tree import ParseError
from orion.answers.parsing.units import read_unit, unit_key
from orion.answers.policies import Policy
from orion.answers.verdict import CORRECT, INCORRECT, UNPARSEABLE
from orion.answers.wording.phrases import is_harmless, is_phrase_word


class Result(NamedTuple):
    """One of the five verdicts, the reason for it, and the rule that decided."""

    verdict: str
    reason: str
    rule: str


def _is_printed_float(answer: Answer, gold: Answer) -> bool:
    """Whether the gold is a double as programs print it, and the answer rounds to it."""
    if (
        gold.plain is None
        or "." not in gold.plain
        or sum(c.isdigit() for c in gold.plain.lstrip("-0.")) < 15
    ):
        return False
    if (
        gold.node is None
        or answer.node is None
        or answer.node.kind not in ("num", "mul", "pow", "add")
    ):
        return False
    canon = CanonicalForm()
    try:
        value = canon.as_rational(canon.to_ratio(answer.node))
        return value is not None and float(value) == float(gold.node.value)
    except (OverflowError, ParseError):
        return False


def _same_items(left: str, right: str) -> bool:
    """Whether two texts list the same things in another order; only short items make a list."""
    items = [sorted(filter(None, re.split(r"\s*(?:,|;|\band\b)\s*", key))) for key in (left, right)]
    return (
        len(items[0]) > 1
        and items[0] == items[1]
        and all(len(item.split()) <= 3 for item in items[0])
    )


def _compare_numbers(answer: Answer, gold: Answer, policy: Policy) -> Result | None:
    if answer.plain is None or gold.plain is None:
        return None
    if answer.plain == gold.plain:
        return Result(CORRECT, "", "number")
    if answer.second is not None or gold.second is not None or _is_printed_float(answer, gold):
        return None
    return Result(INCORRECT, "the numbers differ", "number")


def _compare_spelling(answer: Answer, gold: Answer, policy: Policy) -> Result | None:
    if not answer.key or answer.raw.strip() != gold.raw.strip():
        return None
    if answer.node is None and not is_well_formed(answer.raw):
        return Result(UNPARSEABLE, answer.problem, "spelling")
    return Result(CORRECT, "", "spelling")


def _compare_sentences(answer: Answer, gold: Answer, policy: Policy) -> Result | None:
    """A gold of words: the same words, or the same few things in another order."""
    if gold.node is None or gold.node.kind != "text" or not answer.key:
        return None
    if answer.key == gold.key or _same_items(answer.key, gold.key):
        return Result(CORRECT, "", "sentence")
    # "the fastest student is Evelyn"
    subject, verb, name = answer.key.rpartition(" is ")
    if verb and name == gold.key and is_harmless(subject):
        return Result(CORRECT, "", "sentence")
    long = len(gold.key.split()) > 3
    if long and (answer.node is None or answer.node.kind != "text"):
        return Result(UNPARSEABLE, "a sentence was asked for", "sentence")
    if answer.node is None:
        return Result(UNPARSEABLE, answer.problem, "parse")
    return Result(INCORRECT, "the texts differ", "sentence")


def _compare_items(answer: Answer, gold: Answer, policy: Policy) -> Result | None:
    listed = answer.node is not None and answer.node.kind == "text"
    return Result(CORRECT, "", "items") if listed and _same_items(answer.key, gold.key) else None


def _refuse_number_words(answer: Answer, gold: Answer, policy: Policy) -> Result | None:
    """Words with a number among them, "three red boxes", for a gold that is no text: undecided."""
    if answer.node is None or answer.node.kind != "text":
        return None
    if gold.node is None or gold.node.kind == "text" or not NUMBER_WORD.search(answer.key):
        return None
    return Result(UNPARSEABLE, "words around a value", "number_words")


def _compare_words(answer: Answer, gold: Answer, policy: Policy) -> Result | None:
    """Two words: "cat" is no product of c, a and t."""
    if answer.node is None:
        return None
    words = is_word(answer.raw) and is_word(gold.raw)
    if answer.key == gold.key and (answer.node.kind == "text" or words):
        return Result(CORRECT, "", "word")
    if words and (is_phrase_word(answer.key) or is_phrase_word(gold.key)):
        return Result(INCORRECT, "the texts differ", "word")
    return None


def _refuse_unread(answer: Answer, gold: Answer, policy: Policy) -> Result | None:
    """What could not be read: equal words are equal, anything else is undecided."""
    if answer.node is None:
        if (
            answer.key
            and answer.key == gold.key
            and gold.node is None
            and is_well_formed(answer.raw)
        ):
            return Result(CORRECT, "", "unread")
        return Result(UNPARSEABLE, answer.problem, "parse")
    return Result(UNPARSEABLE, f"gold: {gold.problem}", "gold") if gold.node is None else None


def _compare_currency(answer: Answer, gold: Answer, policy: Policy) -> Result | None:
    """A currency sign, and another unit on the other side: $85 is neither 85 cents nor 85 %."""
    if answer.currency is None and gold.currency is None:
        return None
    if not policy.ignore_units and None in (answer.currency, gold.currency):
        return Result(INCORRECT, "the units differ", "currency")
    sizes = [_size(side) for side in (answer, gold)]
    if None not in sizes and sizes[0] != sizes[1]:
        return Result(INCORRECT, "the units differ", "currency")
    return None


def _size(side: Answer) -> object | None:
    """What the unit of one side measures; None without a unit."""
    if side.currency is not None:
        return read_unit(side.currency)
    if side.node is None or side.node.kind not in ("unit", "pct", "deg"):
        return None
    return unit_key(side.node.value) if side.node.kind == "unit" else side.node.kind


def _compare_printed_float(answer: Answer, gold: Answer, policy: Policy) -> Result | None:
    equal = policy.printed_floats and _is_printed_float(answer, gold)
    return Result(CORRECT, "", "printed_float") if equal else None


class WholeRule(NamedTuple):
    """One row; `decide` returns None where the rule has nothing to say.

    example: an answer, a gold, and whether they are the same.
    """

    name: str
    decide: Callable[[Answer, Answer, Policy], Result | None]
    example: tuple[str, str, bool]


# rules on whole answers, in their order; what none decides is compared as trees, by `rules.RULES`
WHOLE_RULES = (
    WholeRule("currency", _compare_currency, ("\\$85", "85\\text{ cents}", False)),
    WholeRule("number", _compare_numbers, ("1,250", "1250.0", True)),
    WholeRule("spelling", _compare_spelling, ("f \\circ g", "f \\circ g", True)),
    WholeRule("sentence", _compare_sentences,
              ("\\text{The sequence is convergent.}", "The sequence is convergent", True)),
    WholeRule("items", _compare_items, ("\\text{a and b}", "b, a", True)),
    WholeRule("number_words", _refuse_number_words, ("three red boxes", "3", False)),
    WholeRule("word", _compare_words, ("cat", "act", False)),
    WholeRule("unread", _refuse_unread, ("\\mathcal L + ?", "5", False)),
    WholeRule("printed_float", _compare_printed_float, ("\\frac13", "0.3333333333333333", True)),
)  # fmt: skip


def compare_answers(answer: Answer, gold: Answer, policy: Policy, timeout_s: float) -> Result:
    """Compares an extracted answer with a gold, by the first row of WHOLE_RULES that decides."""
    for rule in WHOLE_RULES:
        result = rule.decide(answer, gold, policy)
        if result is not None:
            return result
    return _compare_readings(answer, gold, policy, timeout_s)


def _compare_readings(answer: Answer, gold: Answer, policy: Policy, timeout_s: float) -> Result:
    """Compares all readings of both sides: one equal pair is enough for `correct`."""
    doubt: UndecidedError | None = None
    deadline = time.monotonic() + timeout_s
    for left in filter(None, (answer.node, answer.second)):
        for right in filter(None, (gold.node, gold.second)):
            if left is answer.second and left.kind == "list" and right.kind != "list":
                continue
            run = AnswerComparison(policy, deadline)
            try:
                # the list reading of "2,345" is ordered: 345, 2 is another list
                listed = right is gold.second and right.kind == left.kind == "list"
                if (
                    run.same_in_order(left.args, right.args, run.same)
                    if listed
                    else run.same(left, right)
                ):
                    return Result(CORRECT, "", "/".join(run.rules) or "identical")
            except UndecidedError as error:
                doubt = error
            except ParseError as error:
                doubt = UndecidedError(str(error))
            except RecursionError:
                doubt = UndecidedError("nested too deeply")
    if doubt is not None:
        return Result(doubt.verdict, str(doubt), "compare")
    return Result(INCORRECT, "the answers differ", "/".join(run.rules) or "identical")
