"""Compare two answers: literals and texts here, trees in `equality`.

Input: two `Answer` records and a policy. Output: a `Result`.
"""

from __future__ import annotations

import re
import time
from typing import NamedTuple

from orion.answers.algebra.canonical_form import CanonicalForm
from orion.answers.comparison.equality import AnswerComparison
from orion.answers.comparison.values import UndecidedError
from orion.answers.parsing.read_answer import Answer, is_word
from orion.answers.parsing.tree import ParseError
from orion.answers.policies import Policy
from orion.answers.wording.phrases import is_phrase_word
from orion.answers.verdict import CORRECT, INCORRECT, UNPARSEABLE


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


def compare_answers(answer: Answer, gold: Answer, policy: Policy, timeout_s: float) -> Result:
    """Compares an extracted answer with a gold; the steps are in order of cost."""
    if answer.plain is not None and gold.plain is not None and answer.plain == gold.plain:
        return Result(CORRECT, "", "literal")
    if answer.key and answer.key == gold.key and answer.raw.strip() == gold.raw.strip():
        return Result(CORRECT, "", "string")
    if (
        answer.plain is not None
        and gold.plain is not None
        and answer.second is None
        and gold.second is None
    ):
        if policy.printed_floats and _is_printed_float(answer, gold):
            return Result(CORRECT, "", "printed_float")
        return Result(INCORRECT, "the numbers differ", "literal")
    if gold.node is not None and gold.node.kind == "text" and answer.key:
        equal = answer.key == gold.key or _same_items(answer.key, gold.key)
        if (
            not equal
            and len(gold.key.split()) > 3
            and (answer.node is None or answer.node.kind != "text")
        ):
            return Result(UNPARSEABLE, "a sentence was asked for", "text")
        if not equal and answer.node is None:
            return Result(UNPARSEABLE, answer.problem, "parse")
        return Result(CORRECT if equal else INCORRECT, "" if equal else "the texts differ", "text")
    if answer.node is not None and answer.node.kind == "text" and _same_items(answer.key, gold.key):
        return Result(CORRECT, "", "text")
    words = is_word(answer.raw) and is_word(gold.raw) and answer.key != gold.key
    if words and (is_phrase_word(answer.key) or is_phrase_word(gold.key)):
        # "cat" is no product of c, a and t
        return Result(INCORRECT, "the texts differ", "text")
    if (
        answer.node is not None
        and answer.key == gold.key
        and (answer.node.kind == "text" or (is_word(answer.raw) and is_word(gold.raw)))
    ):
        return Result(CORRECT, "", "text")
    if answer.node is None:
        if answer.key and answer.key == gold.key and gold.node is None:
            return Result(CORRECT, "", "text")
        return Result(UNPARSEABLE, answer.problem, "parse")
    if gold.node is None:
        return Result(UNPARSEABLE, f"gold: {gold.problem}", "gold")
    if policy.printed_floats and _is_printed_float(answer, gold):
        return Result(CORRECT, "", "printed_float")
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
                    return Result(CORRECT, "", run.rule)
            except UndecidedError as error:
                doubt = error
            except ParseError as error:
                doubt = UndecidedError(str(error))
            except RecursionError:
                doubt = UndecidedError("nested too deeply")
    if doubt is not None:
        return Result(doubt.verdict, str(doubt), "compare")
    return Result(INCORRECT, "the answers differ", run.rule)
