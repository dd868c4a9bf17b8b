"""The sensible readings of a link between numbers: percent, division signs, units, list marks.

Input: a `Link` whose sides are arithmetic. Output: the values of both sides, reading by reading.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from fractions import Fraction

from orion.answers.steps.arithmetic import Item, NotArithmeticError, Reading, evaluate
from orion.answers.steps.links import Link
from orion.answers.steps.quantities import unit_factors


def readings(link: Link) -> Iterator[tuple[Fraction, Fraction, str]]:
    """The values of both sides under every other sensible reading, and the reading's name."""
    items = link.left.items, link.right.items
    kinds = {kind for side in items for kind, _ in side}
    factors = unit_factors(set(link.left.units) | set(link.right.units))
    heads = (items[0], items[0][1:]) if link.list_mark else (items[0],)
    for table in (None, factors) if factors else (None,):
        right = items[1]
        if table and link.right.after and not any(kind == "u" for kind, _ in right[-1:]):
            right = (("(", "("), *right, (")", ")"), ("u", " ".join(link.right.after)))
        options = list(_options(kinds, items, table))
        lefts = _values(heads, options)
        for (a, first), (b, second) in itertools.product(lefts, _values((right,), options)):
            yield a, b, _reading_name(first, second, link.list_mark)
            if "%" in kinds:
                yield a * 100, b, "percent"
                yield a, b * 100, "percent"
            if table and link.left.has_money != link.right.has_money:
                yield (a * 100, b, "units") if link.left.has_money else (a, b * 100, "units")
    # cents on one side, dollars on the other
    if link.left.has_money != link.right.has_money and not factors:
        for (a, _), (b, _) in itertools.product(
            _values(heads, [Reading()]), _values((items[1],), [Reading()])
        ):
            yield (a * 100, b, "units") if link.left.has_money else (a, b * 100, "units")


def _options(
    kinds: set[str], items: tuple[tuple[Item, ...], ...], table: dict[str, Fraction] | None
) -> Iterator[Reading]:
    percents = ("hundredth", "number", "share") if "%" in kinds else ("hundredth",)
    tights = (False, True) if kinds & {"//", "**", "("} else (False,)
    divisions = max(sum(kind in ("/", "//") for kind, _ in side) for side in items)
    nested = (False, True) if divisions > 1 else (False,)
    mixed = (True, False) if "f" in kinds else (True,)
    for percent, tight, nest, mix in itertools.product(percents, tights, nested, mixed):
        yield Reading(percent, tight, nest, mix, table)


def _values(
    heads: tuple[tuple[Item, ...], ...], options: list[Reading]
) -> list[tuple[Fraction, Reading]]:
    found: dict[Fraction, Reading] = {}
    for items, option in itertools.product(heads, options):
        try:
            found.setdefault(evaluate(items, option), option)
        except NotArithmeticError:
            continue
    return list(found.items())


def _reading_name(first: Reading, second: Reading, list_mark: bool) -> str:
    if first.factors is not None:
        return "units"
    if first.percent != "hundredth" or second.percent != "hundredth":
        return "percent"
    if first.tight or second.tight or first.nested or second.nested:
        return "division"
    return "list_mark" if list_mark else "exact"
