"""Decide whether one link holds: exact arithmetic under every sensible reading, then algebra.

Input: a `Link` and the text. Output: truth and the name of the rule, None if the link is no claim.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from fractions import Fraction

from orion.answers.algebra.canonical_form import decide_equality
from orion.answers.algebra.numeric import agree_numerically
from orion.answers.parsing.tree import Node, ParseError
from orion.answers.steps import context
from orion.answers.steps.arithmetic import (
    PLAIN,
    Item,
    NotArithmeticError,
    Reading,
    evaluate,
)
from orion.answers.steps.claims import FALSE, TRUE, UNKNOWN
from orion.answers.steps.floats import approximate
from orion.answers.steps.links import Link
from orion.answers.steps.quantities import hidden_factors, unit_factors
from orion.answers.steps.sides import Side

Verdict = tuple[str, str]
NOT_UNDERSTOOD: Verdict = (UNKNOWN, "not_understood")
_HOLDS: dict[str, Callable[[Fraction, Fraction], bool]] = {
    "=": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    ">": lambda a, b: a > b,
    "<=": lambda a, b: a <= b,
    ">=": lambda a, b: a >= b,
}
_MODULUS = re.compile(r"[\s(\\]*p?(?:b?mod|modulo)\s*\{?\s*(\d{1,9})\s*\}?\)?")


def judge(link: Link, text: str, left_seconds: Callable[[], float]) -> Verdict | None:
    """The truth of a link and the rule that decided; None if it is no claim."""
    if link.operator in ("in", "cong", "equiv"):
        return None
    left, right = link.left, link.right
    if link.trouble or left.trouble or right.trouble:
        return NOT_UNDERSTOOD
    try:
        values = evaluate(left.items), evaluate(right.items)
    except NotArithmeticError:
        return judge_trees(link, text, left_seconds)
    return judge_numbers(link, text, values)


def judge_numbers(link: Link, text: str, values: tuple[Fraction, Fraction]) -> Verdict:
    """A link between two rational numbers."""
    if link.operator not in ("=", "approx"):
        if _HOLDS[link.operator](*values):
            return TRUE, "inequality"
        if any(_HOLDS[link.operator](a, b) for a, b, _ in readings(link)):
            return TRUE, "reading"
        return refuse(link, text, "inequality")
    if values[0] == values[1]:
        return TRUE, "exact"
    for a, b, rule in readings(link):
        if a == b:
            return TRUE, rule
    rounding = compare_rounded(link, text, [values, *((a, b) for a, b, _ in readings(link))])
    if rounding is not None:
        return rounding
    if is_silent_conversion(link, values):
        return UNKNOWN, "silent_conversion"
    if is_run_on(link, values):
        return UNKNOWN, "run_on"
    return refuse(link, text, "exact")


def refuse(link: Link, text: str, rule: str) -> Verdict:
    """The verdict on a link that does not hold: false, unless the text does not mean it."""
    if context.is_incomplete(link, text):
        return UNKNOWN, "incomplete"
    if is_given_rate(link):
        return UNKNOWN, "given_rate"
    why = context.why_not_meant(link, text)
    if why:
        return UNKNOWN, why.replace(" ", "_")
    return FALSE, rule


def is_given_rate(link: Link) -> bool:
    """Two single quantities in different units, as in 1 cup = 8 ounces: a rate that is given."""
    left, right = set(link.left.units), set(link.right.units)
    if link.left.literal is not None and link.right.literal is not None:
        return bool(left or right)
    return link.left.literal is not None and bool(left and right) and left.isdisjoint(right)


def readings(link: Link) -> Iterator[tuple[Fraction, Fraction, str]]:
    """The values of both sides under every other sensible reading, and the reading's name."""
    items = link.left.items, link.right.items
    kinds = {kind for side in items for kind, _ in side}
    percents = ("hundredth", "number", "share") if "%" in kinds else ("hundredth",)
    tights = (False, True) if kinds & {"//", "**", "("} else (False,)
    units = set(link.left.units) | set(link.right.units)
    factors = unit_factors(units)
    tables = (None, factors) if factors else (None,)
    heads = (items[0], items[0][1:]) if link.list_mark else (items[0],)
    for table in tables:
        right = items[1]
        if table and link.right.after and not any(kind == "u" for kind, _ in right[-1:]):
            right = (("(", "("), *right, (")", ")"), ("u", " ".join(link.right.after)))
        options = [Reading(p, t, table) for p in percents for t in tights]
        lefts = _values(heads, options)
        rights = _values((right,), options)
        for (a, first), (b, second) in itertools.product(lefts, rights):
            yield a, b, _reading_name(first, second, link.list_mark)
            if "%" in kinds:
                yield a * 100, b, "percent"
                yield a, b * 100, "percent"
        if table and link.left.has_money != link.right.has_money:
            money = Fraction(100)
            for (a, _), (b, _) in itertools.product(lefts, rights):
                yield (a * money, b, "units") if link.left.has_money else (a, b * money, "units")


def _values(
    heads: tuple[tuple[Item, ...], ...], options: list[Reading]
) -> list[tuple[Fraction, Reading]]:
    found = []
    for items, option in itertools.product(heads, options):
        try:
            found.append((evaluate(items, option), option))
        except NotArithmeticError:
            continue
    return found


def _reading_name(first: Reading, second: Reading, list_mark: bool) -> str:
    if first.factors is not None:
        return "units"
    if "hundredth" != first.percent or "hundredth" != second.percent:
        return "percent"
    if first.tight or second.tight:
        return "division"
    return "list_mark" if list_mark else "exact"


def decimals(literal: str) -> int:
    """The digits behind the point of a literal."""
    return len(literal.partition(".")[2])


def half_unit(literal: str, approximate: bool) -> Fraction:
    """Half a unit in the last digit of a literal; zeros at the end of a whole number may be rounded."""
    places = decimals(literal)
    if places:
        # a calculator's last digits are off
        return Fraction(1, 2 * 10**places) if places < 10 else Fraction(3, 10 ** (places - 1))
    digits = literal.lstrip("-")
    zeros = len(digits) - len(digits.rstrip("0")) if approximate and digits.strip("0") else 0
    return Fraction(10**zeros, 2)


def compare_rounded(
    link: Link, text: str, pairs: list[tuple[Fraction, Fraction]]
) -> Verdict | None:
    """The verdict if one side is a rounded form of the other, None if it is not."""
    said = link.operator == "approx"
    sides = [(0, link.left.literal), (1, link.right.literal)]
    for place, literal in sides:
        if literal is None:
            continue
        unit = half_unit(literal, said)
        close = any(
            abs(a - b) <= unit * (_scale(pair, place, literal)) for pair in pairs for a, b in (pair,)
        )
        if not close:
            continue
        if decimals(literal) or said or context.is_rounding_announced(link, text):
            return TRUE, "rounded"
        return UNKNOWN, "whole_number_rounding"
    if any(abs(a - b) <= slack(link) for a, b in pairs):
        return UNKNOWN, "rounded_inside"
    return None


def _scale(pair: tuple[Fraction, Fraction], place: int, literal: str) -> Fraction:
    """The factor between a literal and its value under a reading, as for 33.3% = 0.333."""
    value = Fraction(literal)
    return abs(pair[place] / value) if value else Fraction(1)


def slack(link: Link) -> Fraction:
    """How much the sides change if every decimal in them is the rounding of another number."""
    total = Fraction(0)
    for side in (link.left, link.right):
        items = side.items
        if side.literal is not None and side is link.right:
            total += half_unit(side.literal, False) if decimals(side.literal) else 0
            continue
        if side is link.left and link.right.literal is not None:
            # the numbers of a calculation are taken as they are written
            continue
        for at, (kind, text) in enumerate(items):
            if kind != "n" or "." not in text:
                continue
            moved = (*items[:at], ("n", _moved(text)), *items[at + 1 :])
            try:
                total += abs(evaluate(moved) - evaluate(items))
            except NotArithmeticError:
                continue
    return total


def _moved(literal: str) -> str:
    """A decimal literal with one more digit, half a unit of its last digit away."""
    return literal + "5"


def is_silent_conversion(link: Link, values: tuple[Fraction, Fraction]) -> bool:
    """Whether the sides differ by a factor between units like those that the text names."""
    if not values[0] or not values[1]:
        return False
    money = link.left.has_money or link.right.has_money
    factors = hidden_factors((*link.left.units, *link.right.units), money)
    return values[0] / values[1] in factors


def is_run_on(link: Link, values: tuple[Fraction, Fraction]) -> bool:
    """Whether the right side begins with the value of the left and goes on: 5 * 3 = 15 + 2."""
    items = link.right.items
    if len(items) < 3 or link.left.literal is not None:
        return False
    for end in range(1, len(items) - 1):
        if items[end][0] in ("+", "-", "*", "/", "//"):
            try:
                if evaluate(items[:end]) == values[0]:
                    return True
            except NotArithmeticError:
                continue
    return False


# what is more than arithmetic


def names_in(node: Node) -> frozenset[str]:
    """The names in a tree."""
    found, stack = set(), [node]
    while stack:
        top = stack.pop()
        if top.kind == "sym":
            found.add(str(top.value))
        stack.extend(top.args)
    return frozenset(found)


def _has_kind(node: Node, kinds: frozenset[str]) -> bool:
    stack = [node]
    while stack:
        top = stack.pop()
        if top.kind in kinds:
            return True
        stack.extend(top.args)
    return False


_EXPRESSIONS = frozenset(
    ("num", "sym", "const", "add", "mul", "pow", "fn", "fact", "binom", "pct", "deg", "sum", "prod")
)


def _is_expression(node: Node) -> bool:
    stack = [node]
    while stack:
        top = stack.pop()
        if top.kind not in _EXPRESSIONS or (top.kind == "const" and top.value not in ("pi", "e", "i")):
            return False
        stack.extend(top.args)
    return True


def judge_trees(link: Link, text: str, left_seconds: Callable[[], float]) -> Verdict | None:
    """A link between expressions that hold more than arithmetic."""
    a, b = link.left.node, link.right.node
    if a is None or b is None or not _is_expression(a) or not _is_expression(b):
        return NOT_UNDERSTOOD
    names = names_in(a) | names_in(b)
    if link.operator not in ("=", "approx"):
        return None if names else judge_inequality(link, text, a, b)
    if left_seconds() <= 0:
        return UNKNOWN, "deadline"
    equal = same(a, b)
    if names:
        if equal:
            return TRUE, "identity"
        return None if link.length == 1 else (UNKNOWN, "letters")
    if equal:
        return TRUE, "algebra"
    return judge_values(link, text, a, b, equal)


def same(a: Node, b: Node) -> bool | None:
    """Whether two trees are equal; None: not decided."""
    try:
        decided = decide_equality(a, b)
    except ParseError:
        decided = None
    return decided if decided is not None else agree_numerically(a, b)


def judge_values(link: Link, text: str, a: Node, b: Node, equal: bool | None) -> Verdict:
    """Two numbers that are not proven equal."""
    values = approximate(a), approximate(b)
    if values[0] is None or values[1] is None:
        return (UNKNOWN, "undecided") if equal is None else refuse(link, text, "algebra")
    gap = abs(values[0] - values[1])
    for literal in (link.right.literal, link.left.literal):
        if literal is None:
            continue
        unit = float(half_unit(literal, link.operator == "approx"))
        if gap <= unit * (1 + 1e-9):
            if decimals(literal) or link.operator == "approx":
                return TRUE, "rounded"
            return UNKNOWN, "whole_number_rounding"
    if equal is None or _is_ambiguous(a) or _is_ambiguous(b):
        return UNKNOWN, "undecided"
    if gap <= float(slack(link)):
        return UNKNOWN, "rounded_inside"
    return refuse(link, text, "algebra")


def _is_ambiguous(node: Node) -> bool:
    """Whether a tree holds a function whose unit or base is not certain: sin 30, log 2."""
    stack = [node]
    while stack:
        top = stack.pop()
        if top.kind == "fn" and top.value in ("log", "sin", "cos", "tan", "cot", "sec", "csc"):
            if top.value != "log" or len(top.args) == 1:
                return True
        if top.kind == "fn" and str(top.value).startswith("arc"):
            return True
        stack.extend(top.args)
    return False


def judge_inequality(link: Link, text: str, a: Node, b: Node) -> Verdict:
    values = approximate(a), approximate(b)
    if values[0] is None or values[1] is None:
        return UNKNOWN, "undecided"
    if abs(values[0] - values[1]) <= 1e-9 * max(abs(values[0]), abs(values[1]), 1e-300):
        return UNKNOWN, "undecided"
    if _HOLDS[link.operator](Fraction(values[0]), Fraction(values[1])):
        return TRUE, "inequality"
    if _is_ambiguous(a) or _is_ambiguous(b):
        return UNKNOWN, "undecided"
    return refuse(link, text, "inequality")
