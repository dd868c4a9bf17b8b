r"""Congruences between whole numbers: 2401 \equiv 9 \pmod{13}.

Input: a `Link` and its text. Output: truth and the name of the rule, None if it is no claim.
"""

from __future__ import annotations

import re
from fractions import Fraction
from math import gcd

from orion.answers.steps.arithmetic import Item, NotArithmeticError, evaluate
from orion.answers.steps.claims import TRUE, UNKNOWN
from orion.answers.steps.links import Link
from orion.answers.steps.verdicts import Verdict, refuse

_MODULUS = re.compile(r"\\?(?:p?mod|modulo|bmod)\b\s*\{?\s*\$?(\d{1,12})\s*\}?(?![\d^])")
_REACH = 40


def judge_congruence(link: Link, text: str) -> Verdict | None:
    """The verdict on a congruence of numbers; None if a letter is in it or no modulus is given."""
    end = link.chain_end or link.end
    found = _MODULUS.search(text, link.right.start, end + _REACH)
    if found is None or "\n\n" in text[link.right.start : found.start()]:
        return None
    if re.search(r"[.;=]", text[end : found.start()]):
        return None
    modulus = int(found[1])
    values = []
    for side in (link.left, link.right):
        try:
            values.append(_residue(evaluate(_without_modulus(side.items)), modulus))
        except NotArithmeticError:
            return None
    if None in values:
        inverse = any(
            "^{-1}" in side.source or "^-1" in side.source for side in (link.left, link.right)
        )
        return refuse(link, text, "congruence") if inverse and modulus > 1 else None
    if values[0] == values[1]:
        return TRUE, "congruence"
    literal = link.left.literal or ""
    if len(literal) > 1 and literal[-1] in "23456789" and _is_power(literal, values[1], modulus):
        # 24 for 2^4
        return UNKNOWN, "lost_superscript"
    return refuse(link, text, "congruence")


def _is_power(literal: str, residue: int | None, modulus: int) -> bool:
    head = literal[:-1]
    return head.isdigit() and len(head) < 9 and pow(int(head), int(literal[-1]), modulus) == residue


def _without_modulus(items: tuple[Item, ...]) -> tuple[Item, ...]:
    """The items before the modulus, which may stand in brackets."""
    for at, (kind, text) in enumerate(items):
        if kind == "mod" or (kind == "v" and text in ("\\pmod", "\\pod")):
            head = items[:at]
            return head[:-1] if head and head[-1][0] == "(" else head
    return items


def _residue(value: Fraction, modulus: int) -> int | None:
    """The residue of a rational number, None if its denominator has no inverse."""
    if modulus < 2 or gcd(value.denominator, modulus) != 1:
        return None
    return value.numerator * pow(value.denominator, -1, modulus) % modulus
