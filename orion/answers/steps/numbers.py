"""Compare the two sides of a link that are rational numbers.

Input: a `Link`, its text, the plain values of its sides. Output: a `Verdict`.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

from orion.answers.steps.claims import TRUE, UNKNOWN
from orion.answers.steps.excuses import find_excuse
from orion.answers.steps.links import Link
from orion.answers.steps.readings import readings
from orion.answers.steps.rounding import Pair, compare_rounded
from orion.answers.steps.verdicts import Verdict, refuse

HOLDS: dict[str, Callable[[Fraction, Fraction], bool]] = {
    "=": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    ">": lambda a, b: a > b,
    "<=": lambda a, b: a <= b,
    ">=": lambda a, b: a >= b,
}


def judge_numbers(link: Link, text: str, values: Pair) -> Verdict:
    """The verdict on a link between two rational numbers."""
    if link.operator not in ("=", "approx"):
        if HOLDS[link.operator](*values):
            return TRUE, "inequality"
        for a, b, rule in readings(link):
            if HOLDS[link.operator](a, b):
                return TRUE, rule
        return judge_different(link, text, values, "inequality")
    if values[0] == values[1]:
        return TRUE, "exact"
    others = list(readings(link))
    for a, b, rule in others:
        if a == b:
            return TRUE, rule
    return compare_rounded(link, text, [values, *((a, b) for a, b, _ in others)]) or (
        judge_different(link, text, values, "exact")
    )


def judge_different(link: Link, text: str, values: Pair, name: str) -> Verdict:
    """The verdict on numbers that differ under every reading and are no roundings."""
    excuse = find_excuse(link, text, values, only_ranges=name == "inequality")
    return (UNKNOWN, excuse) if excuse else refuse(link, text, name)
