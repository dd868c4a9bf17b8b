"""Units in claims: factors within a dimension, from the table of units.

Input: the words behind a number. Output: dimension and factor, None for a unit without a table row.
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from functools import lru_cache

from orion.answers.parsing.units import UNITS

# the canonical units of the table whose conversions claims may use in silence, and further units
_DIMENSIONS = frozenset(("second", "metre", "gram", "litre", "gallon", "dollar", "bit"))
_MORE: dict[str, dict[int | Fraction, str]] = {
    # a month as 30 days and a year as 365
    "second": {
        2592000: "month months", 31536000: "year years", 315360000: "decade decades",
        3153600000: "century centuries", 1209600: "fortnight fortnights",
    },
    "gram": {907184: "ton tons"},
    "dollar": {
        Fraction(1, 100): "penny pennies", Fraction(1, 20): "nickel nickels",
        Fraction(1, 10): "dime dimes", Fraction(1, 4): "quarter quarters",
    },
    "count": {1: "unit units piece pieces", 12: "dozen dozens", 2: "pair pairs", 144: "gross"},
    "bit": {8 * 10**12: "tb terabyte terabytes"},
}  # fmt: skip


def _collect_rows() -> dict[str, dict[Fraction, set[str]]]:
    """Dimension → factor → words, in lower case."""
    rows: dict[str, dict[Fraction, set[str]]] = {}
    for row in UNITS:
        if row.canonical in _DIMENSIONS:
            words = rows.setdefault(row.canonical, {}).setdefault(row.factor, set())
            words.update(word.lower() for word in row.spellings)
    for dimension, more in _MORE.items():
        for factor, spelled in more.items():
            rows.setdefault(dimension, {}).setdefault(Fraction(factor), set()).update(
                spelled.split()
            )
    return rows


_ROWS = _collect_rows()
_UNITS = {
    word: (dimension, factor)
    for dimension, row in _ROWS.items()
    for factor, words in row.items()
    for word in words
}
# months have 28 to 31 days and 4 weeks, years 12 months, 52 weeks or 365 days
_EXTRA = {
    "second": (4, 12, 52, 7, 24, 28, 30, 31, 60, 365, 366, 1440, 3600),
    "dollar": (100,),
    "metre": (9, 27, 144, 1728, 10000, 1000000),
}


@lru_cache(maxsize=4096)
def unit(words: str) -> tuple[str, Fraction] | None:
    """The dimension of a unit and its factor within it; None if no word is in the table."""
    found = None
    for word in words.lower().replace("/", " / ").replace(".", " ").split():
        if word in ("/", "per"):
            break
        if word in _UNITS and found is None:
            found = _UNITS[word]
    return found


def unit_factors(units: Iterable[str]) -> dict[str, Fraction]:
    """The factor of every unit that the table knows."""
    return {words: known[1] for words in units if (known := unit(words))}


def hidden_factors(units: Iterable[str], money: bool) -> set[Fraction]:
    """Factors by which a silent conversion between units like these may change a number."""
    named = {"dollar"} if money else set()
    for words in units:
        named.update(word for word in words.lower().replace("/", " ").split() if word in _UNITS)
    found: set[Fraction] = set()
    for dimension, factor in {_UNITS[word] for word in named}:
        others: Iterable[Fraction] = _ROWS[dimension]
        if dimension == "dollar" and factor == 1:
            others = (Fraction(1, 100),)
        factors = [Fraction(other) / factor for other in others if other != factor]
        for extra in (*factors, *map(Fraction, _EXTRA.get(dimension, ()))):
            found.update((extra, 1 / extra))
    return found
