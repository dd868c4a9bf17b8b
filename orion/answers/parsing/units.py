"""Units: the words that may follow a value, and one name for all spellings of a unit.

Input: none. Output: the tables, and `unit_name`.
"""

from __future__ import annotations

_SPELLINGS = {
    "hour": "h hr hrs hours", "minute": "min mins minutes", "second": "s sec secs seconds",
    "day": "days", "week": "weeks", "month": "months", "year": "yr yrs years",
    "mm": "millimeter millimeters millimetre millimetres",
    "cm": "centimeter centimeters centimetre centimetres",
    "m": "meter meters metre metres", "km": "kilometer kilometers kilometre kilometres",
    "foot": "ft feet", "inch": "in inches", "mile": "mi miles", "yard": "yd yards",
    "mg": "milligram milligrams", "g": "gram grams", "kg": "kilogram kilograms",
    "pound": "lb lbs pounds", "ounce": "oz ounces",
    "ml": "milliliter milliliters", "liter": "l liters litre litres", "gallon": "gal gallons",
    "cup": "cups", "cent": "cents", "dollar": "dollars usd", "euro": "euros eur", "unit": "units",
    "mile/hour": "mph", "km/hour": "kph kmh",
    "hertz": "hz", "joule": "j joules", "newton": "n newtons", "watt": "w watts kw kwh",
    "volt": "v volts", "ohm": "ohms", "mole": "mol moles",
    "square": "sq", "cubic": "cu", "people": "persons", "student": "students", "apple": "apples",
}  # fmt: skip
NAMES = {
    spelling: name
    for name, spellings in _SPELLINGS.items()
    for spelling in (name, *spellings.split())
}
UNITS = frozenset(NAMES)
SCALES = {"hundred": 2, "thousand": 3, "million": 6, "billion": 9, "trillion": 12}
_POWERS = {"square": "2", "sq": "2", "squared": "2", "cubic": "3", "cu": "3", "cubed": "3"}


def unit_name(spelling: str) -> str:
    """One name for all spellings of a unit: square centimetres and cm^2, miles per hour and mph."""
    parts = []
    for part in spelling.lower().strip(" .").replace(" per ", "/").split("/"):
        words = part.replace("^", " ^").split()
        power = "".join(_POWERS[w] for w in words if w in _POWERS) or "".join(
            w[1:] for w in words if w[0] == "^"
        )
        named = " ".join(NAMES.get(w, w) for w in words if w not in _POWERS and w[0] != "^")
        parts.append(f"{named}^{power}" if power else named)
    return "/".join(parts)
