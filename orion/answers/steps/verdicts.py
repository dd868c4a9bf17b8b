"""The verdict on one link, and when a link that does not hold is called false.

Input: a `Link` and its text. Output: `Verdict`: truth and the name of the rule that decided.
"""

from __future__ import annotations

from orion.answers.steps import meaning
from orion.answers.steps.claims import FALSE, UNKNOWN
from orion.answers.steps.links import Link

Verdict = tuple[str, str]
NOT_UNDERSTOOD: Verdict = (UNKNOWN, "not_understood")


def refuse(link: Link, text: str, rule: str) -> Verdict:
    """The verdict on a link that does not hold: false, unless the text does not mean it."""
    if meaning.is_incomplete(link, text):
        return UNKNOWN, "incomplete"
    if is_given_rate(link):
        return UNKNOWN, "given_rate"
    why = meaning.why_not_meant(link, text)
    return (UNKNOWN, why) if why else (FALSE, rule)


def is_given_rate(link: Link) -> bool:
    """A single quantity in other units than the other side, as in 1 cup = 8 ounces."""
    left, right = set(link.left.units), set(link.right.units)
    if link.left.literal is None:
        return False
    if link.right.literal is not None:
        # 10 <= 5 is part of a list such as "B = 0: 10 <= 5"
        return bool(left or right) or link.operator not in ("=", "approx")
    return bool(left) and left != right
