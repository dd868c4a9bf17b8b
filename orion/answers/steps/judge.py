"""Decide whether one link holds: by arithmetic, as a congruence, or by algebra.

Input: a `Link` and the text. Output: truth and the name of the rule, None if the link is no claim.
"""

from __future__ import annotations

from orion.answers.steps.arithmetic import NotArithmeticError, evaluate
from orion.answers.steps.budget import Budget
from orion.answers.steps.congruences import judge_congruence
from orion.answers.steps.links import Link
from orion.answers.steps.numbers import judge_numbers
from orion.answers.steps.trees import judge_trees
from orion.answers.steps.verdicts import NOT_UNDERSTOOD, Verdict


def judge(link: Link, text: str, budget: Budget) -> Verdict | None:
    """The truth of a link and the rule that decided; None if it is no claim."""
    if link.operator in ("in", "cong"):
        return None
    if link.operator == "equiv":
        return judge_congruence(link, text)
    if link.trouble or link.left.trouble or link.right.trouble:
        return NOT_UNDERSTOOD
    try:
        values = evaluate(link.left.items), evaluate(link.right.items)
    except NotArithmeticError:
        return judge_trees(link, text, budget)
    return judge_numbers(link, text, values)
