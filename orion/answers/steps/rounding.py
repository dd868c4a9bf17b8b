"""Whether one side of a link is a rounded form of the other.

Input: a `Link`, the values of its sides under each reading. Output: a `Verdict`, or None.
"""

from __future__ import annotations

from fractions import Fraction

from orion.answers.steps import meaning
from orion.answers.steps.arithmetic import NotArithmeticError, evaluate
from orion.answers.steps.claims import TRUE, UNKNOWN
from orion.answers.steps.links import Link
from orion.answers.steps.verdicts import Verdict

Pair = tuple[Fraction, Fraction]


def decimals(literal: str) -> int:
    """The digits behind the point of a literal."""
    return len(literal.partition(".")[2])


def half_unit(literal: str, approximate: bool) -> Fraction:
    """Half a unit in the last digit; zeros at the end of a whole number may be rounded ones."""
    places = decimals(literal)
    if places:
        # a calculator's last digits are off
        return Fraction(1, 2 * 10**places) if places < 10 else Fraction(3, 10 ** (places - 1))
    digits = literal.lstrip("-")
    zeros = len(digits) - len(digits.rstrip("0")) if approximate and digits.strip("0") else 0
    return Fraction(10**zeros, 2)


def compare_rounded(link: Link, text: str, pairs: list[Pair]) -> Verdict | None:
    """The verdict if one side is a rounded form of the other, None if it is not."""
    said = link.operator == "approx"
    for place, literal in enumerate((link.left.literal, link.right.literal)):
        if literal is None:
            continue
        unit = half_unit(literal, said)
        if any(abs(a - b) <= unit * _scale((a, b)[place], literal) for a, b in pairs):
            if decimals(literal) or said or meaning.is_rounding_announced(link, text):
                return TRUE, "rounded"
            return UNKNOWN, "whole_number_rounding"
    if any(abs(a - b) <= slack(link) for a, b in pairs) or is_rounded_from_earlier(link):
        return UNKNOWN, "rounded_inside"
    if said and is_cut_down(link.right.literal, pairs):
        return UNKNOWN, "cut_down"
    bare = link.left.literal is None and link.right.literal is None
    if said and bare and any(abs(a - b) * 20 <= abs(a) for a, b in pairs):
        return UNKNOWN, "rough"
    return None


def is_cut_down(literal: str | None, pairs: list[Pair]) -> bool:
    """Whether a literal has the right digits, cut off instead of rounded."""
    if literal is None or not decimals(literal):
        return False
    return any(0 <= abs(a) - abs(b) < 2 * half_unit(literal, False) for a, b in pairs)


def _scale(value: Fraction, literal: str) -> Fraction:
    """The factor between a literal and its value under a reading, as for 33.3% = 0.333."""
    return abs(value / Fraction(literal)) if Fraction(literal) else Fraction(1)


def slack(link: Link) -> Fraction:
    """How much the sides change if every decimal in them is the rounding of another number."""
    total = Fraction(0)
    if link.right.literal is not None or link.left.literal is not None:
        # the numbers of a calculation with one result are taken as they are written
        return total
    for side in (link.left, link.right):
        for at, (kind, literal) in enumerate(side.items):
            if kind != "n" or "." not in literal:
                continue
            moved = (*side.items[:at], ("n", literal + "5"), *side.items[at + 1 :])
            try:
                total += abs(evaluate(moved) - evaluate(side.items))
            except NotArithmeticError:
                continue
    return total


def is_rounded_from_earlier(link: Link) -> bool:
    """Whether the right side is right for an earlier, unrounded side of its chain."""
    literal = link.right.literal
    if literal is None:
        return False
    for side in link.earlier[-4:]:
        try:
            gap = abs(evaluate(side.items) - Fraction(literal))
        except NotArithmeticError:
            continue
        if gap <= half_unit(literal, link.operator == "approx"):
            return True
    return False
