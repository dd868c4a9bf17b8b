"""Units in claims: factors within a dimension. The one place that knows them.

Input: the words behind a number. Output: dimension and factor, None for a unit without a table row.
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from functools import lru_cache

_ROWS = {
    "time": {
        1: "s sec secs second seconds", 60: "min mins minute minutes",
        3600: "h hr hrs hour hours", 86400: "day days", 604800: "week weeks wk wks",
        2592000: "month months", 31536000: "year years yr yrs", 315360000: "decade decades",
        3153600000: "century centuries", 1209600: "fortnight fortnights",
    },
    "length": {
        12: "in inch inches", 144: "ft foot feet", 432: "yd yard yards",
        760320: "mi mile miles",
    },
    "metric length": {
        1: "mm millimeter millimeters millimetre millimetres",
        10: "cm centimeter centimeters centimetre centimetres",
        1000: "m meter meters metre metres",
        1000000: "km kilometer kilometers kilometre kilometres",
    },
    "mass": {
        1: "mg milligram milligrams", 1000: "g gram grams", 1000000: "kg kilogram kilograms kgs",
        1000000000: "tonne tonnes",
    },
    "weight": {1: "oz ounce ounces", 16: "lb lbs pound pounds", 32000: "ton tons"},
    "volume": {
        1: "teaspoon teaspoons tsp", 3: "tablespoon tablespoons tbsp", 48: "cup cups",
        96: "pint pints", 192: "quart quarts", 768: "gallon gallons gal",
    },
    "metric volume": {
        1: "ml milliliter milliliters millilitre millilitres",
        1000: "l liter liters litre litres",
    },
    "money": {
        1: "cent cents penny pennies", 5: "nickel nickels", 10: "dime dimes",
        25: "quarter quarters", 100: "dollar dollars usd bucks buck",
    },
    "count": {1: "unit units piece pieces", 12: "dozen dozens", 2: "pair pairs", 144: "gross"},
    "data": {1: "kb", 1000: "mb", 1000000: "gb", 1000000000: "tb"},
}  # fmt: skip
_UNITS = {
    word: (dimension, Fraction(factor))
    for dimension, row in _ROWS.items()
    for factor, words in row.items()
    for word in words.split()
}
# months have 28 to 31 days and 4 weeks, years 12 months, 52 weeks or 365 days
_EXTRA = {
    "time": (4, 12, 52, 7, 24, 28, 30, 31, 60, 365, 366, 1440, 3600),
    "money": (100,),
    "length": (9, 27, 144, 1728),
    "metric length": (10000, 1000000),
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
        others = _ROWS[dimension] if dimension != "money" or factor != 100 else (1,)
        factors = [Fraction(other) / factor for other in others if other != factor]
        for extra in (*factors, *map(Fraction, _EXTRA.get(dimension, ()))):
            found.update((extra, 1 / extra))
    return found
