"""Units: one table of (canonical, factor, spellings), and what a unit phrase measures.

Input: the spelling of a unit, such as "cm", "square feet", "miles per hour" or "m s^{-1}". Output:
a `Measure`, None where the spelling is no unit.
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from orion.answers.parsing.vocabulary import word_set


class Unit(NamedTuple):
    """One row: one `factor` of the `canonical` unit, and every way to write it.

    Spellings of one letter keep their case; longer ones do so only where two rows would share one.
    """

    canonical: str
    factor: Fraction
    spellings: tuple[str, ...]


def _unit(canonical: str, factor: str | int | Fraction, spellings: str) -> Unit:
    return Unit(canonical, Fraction(factor), tuple(spellings.split()))


UNITS = (
    _unit("second", 1, "second seconds s sec secs"),
    _unit("second", "1/1000", "millisecond milliseconds ms msec"),
    _unit("second", 60, "minute minutes min mins"),
    _unit("second", 3600, "hour hours h hr hrs"),
    _unit("second", 86400, "day days"),
    _unit("second", 604800, "week weeks wk wks"),
    # months and years are no fixed number of days
    _unit("month", 1, "month months"),
    _unit("month", 12, "year years yr yrs"),
    _unit("metre", 1, "metre meter meters metres m"),
    _unit("metre", "1e-9", "nanometre nanometer nanometers nanometres nm"),
    _unit("metre", "1e-6", "micrometre micrometer micrometers micrometres micron microns μm um"),
    _unit("metre", "1/1000", "millimetre mm millimeter millimeters millimetres"),
    _unit("metre", "1/100", "centimetre cm centimeter centimeters centimetres cms"),
    _unit("metre", "1/10", "decimetre dm decimeter decimeters decimetres"),
    _unit("metre", 1000, "kilometre km kilometer kilometers kilometres kms"),
    _unit("metre", "0.3048", "foot feet ft"),
    _unit("metre", "0.0254", "inch inches in"),
    _unit("metre", "0.9144", "yard yards yd yds"),
    _unit("metre", "1609.344", "mile miles mi"),
    _unit("square metre", 10000, "hectare hectares ha"),
    _unit("acre", 1, "acre acres"),
    _unit("gram", 1, "gram grams g gm gms"),
    _unit("gram", "1/1000", "milligram milligrams mg"),
    _unit("gram", "1e-6", "microgram micrograms μg mcg"),
    _unit("second", "1e-6", "microsecond microseconds μs"),
    _unit("farad", "1e-6", "microfarad microfarads μF"),
    _unit("coulomb", "1e-6", "microcoulomb microcoulombs μC"),
    _unit("ampere", "1e-6", "microampere microamperes μA"),
    _unit("volt", "1e-6", "microvolt microvolts μV"),
    _unit("litre", "1e-6", "microlitre microliter microliters microlitres μl μL"),
    _unit("gram", 1000, "kilogram kilograms kg kgs kilo kilos"),
    _unit("gram", 1000000, "tonne tonnes"),
    _unit("gram", "453.59237", "pound pounds lb lbs"),
    _unit("gram", "28.349523125", "ounce ounces oz"),
    _unit("ton", 1, "ton tons"),
    _unit("litre", 1, "litre liter liters litres l L"),
    _unit("litre", "1/1000", "millilitre ml milliliter milliliters millilitres mL"),
    _unit("gallon", 1, "gallon gallons gal gals"),
    _unit("gallon", "1/4", "quart quarts qt qts"),
    _unit("gallon", "1/8", "pint pints pt pts"),
    _unit("gallon", "1/16", "cup cups"),
    _unit("gallon", "1/256", "tablespoon tablespoons tbsp tbs"),
    _unit("gallon", "1/768", "teaspoon teaspoons tsp"),
    _unit("dollar", 1, "dollar dollars usd buck bucks"),
    _unit("dollar", "1/100", "cent cents"),
    _unit("euro", 1, "euro euros eur"),
    _unit("pound sterling", 1, "gbp"),
    _unit("rupee", 1, "rupee rupees inr"),
    _unit("yen", 1, "yen jpy"),
    _unit("yuan", 1, "yuan rmb cny"),
    _unit("peso", 1, "peso pesos"),
    _unit("metre/second", "0.44704", "mph"),
    _unit("metre/second", "5/18", "kph kmh"),
    _unit("mile/gallon", 1, "mpg"),
    _unit("hertz", 1, "hertz Hz hz"),
    _unit("hertz", 1000, "kilohertz kHz khz"),
    _unit("hertz", "1/1000", "millihertz mHz"),
    _unit("hertz", 1000000, "megahertz MHz"),
    _unit("hertz", 1000000000, "gigahertz GHz ghz"),
    _unit("joule", 1, "joule joules J"),
    _unit("joule", "1/1000", "millijoule millijoules mJ"),
    _unit("joule", 1000000, "megajoule megajoules MJ"),
    _unit("joule", 1000, "kilojoule kilojoules kJ kj"),
    _unit("calorie", 1, "calorie calories cal"),
    _unit("calorie", 1000, "kilocalorie kilocalories kcal"),
    _unit("newton", 1, "newton newtons N"),
    _unit("newton", 1000, "kilonewton kilonewtons kN"),
    _unit("watt", 1, "watt watts W"),
    _unit("watt", 1000, "kilowatt kilowatts kW kw"),
    _unit("watt", "1/1000", "milliwatt milliwatts mW"),
    _unit("watt", 1000000, "megawatt megawatts MW"),
    _unit("joule", 3600, "Wh wh"),
    _unit("joule", 3600000, "kilowatthour kWh kwh kilowatt-hour kilowatt-hours"),
    _unit("volt", 1, "volt volts V"),
    _unit("volt", 1000, "kilovolt kilovolts kV kv"),
    _unit("ampere", 1, "ampere amperes amp amps A"),
    _unit("ampere", "1/1000", "milliampere milliamperes milliamp milliamps mA"),
    _unit("ohm", 1, "ohm ohms Ω"),
    _unit("ohm", 1000, "kiloohm kiloohms kΩ"),
    _unit("coulomb", 1, "coulomb coulombs C"),
    _unit("coulomb", 3600, "Ah amperehour ampere-hour ampere-hours"),
    _unit("coulomb", "3.6", "mAh milliampere-hour milliampere-hours"),
    _unit("farad", 1, "farad farads F"),
    _unit("tesla", 1, "tesla teslas T"),
    _unit("pascal", 1, "pascal pascals Pa"),
    _unit("pascal", 1000, "kilopascal kilopascals kPa"),
    # a pound is a mass here, as in "pounds per square inch"
    _unit("gram/square metre", Fraction("453.59237") / Fraction("0.0254") ** 2, "psi"),
    _unit("bar", 1, "bar"),
    _unit("atmosphere", 1, "atm atmospheres"),
    _unit("mole", 1, "mole moles mol mols"),
    _unit("kelvin", 1, "kelvin kelvins K"),
    _unit("degree Celsius", 1, "celsius"),
    _unit("degree Fahrenheit", 1, "fahrenheit"),
    _unit("turn", 1, "turn turns revolution revolutions"),
    _unit("turn/second", "1/60", "rpm"),
    _unit("beat/second", "1/60", "bpm"),
    _unit("decibel", 1, "decibel decibels dB"),
    _unit("lumen", 1, "lumen lumens lm"),
    _unit("lux", 1, "lux"),
    _unit("candela", 1, "candela cd"),
    _unit("electronvolt", 1, "electronvolt electronvolts eV"),
    _unit("metre", "9460730472580800", "light-year light-years"),
    _unit("knot", 1, "knot knots"),
    _unit("carat", 1, "carat carats"),
    _unit("stone", 1, "stone"),
    _unit("radian", 1, "radian radians rad rads"),
    _unit("bit", 1, "bit bits"),
    _unit("bit", 1000, "kilobit kilobits kb kbit"),
    _unit("bit", 1000000, "megabit megabits Mb Mbit"),
    _unit("bit", 1000000000, "gigabit gigabits Gb Gbit"),
    _unit("bit", 8, "byte bytes"),
    _unit("bit", 8000, "kilobyte kilobytes KB kB"),
    _unit("bit", 8000000, "megabyte megabytes MB"),
    _unit("bit", 8000000000, "gigabyte gigabytes GB"),
    _unit("unit", 1, "unit units"),
)
# the unit that a currency sign stands for
CURRENCIES = {"$": "dollar", "€": "euro", "£": "gbp", "¥": "yen", "₹": "rupee", "¢": "cent"}
# words that multiply the number before them: "5 dozen" is 60, "5 halves" is 5/2
SCALES = {
    "hundred": Fraction(100), "thousand": Fraction(1000), "million": Fraction(10**6),
    "billion": Fraction(10**9), "trillion": Fraction(10**12), "lakh": Fraction(10**5),
    "crore": Fraction(10**7), "dozen": Fraction(12), "halves": Fraction(1, 2),
    "thirds": Fraction(1, 3), "fourths": Fraction(1, 4), "fifths": Fraction(1, 5),
    "sixths": Fraction(1, 6), "sevenths": Fraction(1, 7), "eighths": Fraction(1, 8),
    "ninths": Fraction(1, 9), "tenths": Fraction(1, 10), "hundredths": Fraction(1, 100),
    "thousandths": Fraction(1, 1000),
}  # fmt: skip
_EXACT = {spelling: unit for unit in UNITS for spelling in unit.spellings}
# symbols whose case carries nothing; of the others it does: mg and Mg, Mb and MB
_LOOSE = word_set(
    "cm km kg kgs ml ft lb lbs oz mph kph kmh usd eur hr hrs min mins sec secs kwh kw khz ghz mpg"
)
_FOLDED = {s.lower(): u for s, u in _EXACT.items() if len(s) > 3 or s.lower() in _LOOSE}
_POWER_BEFORE = {"square": 2, "sq": 2, "cubic": 3, "cu": 3}
_POWER_BEHIND = {"squared": 2, "cubed": 3}
_PART = re.compile(r"\s*(?:(per|a|an|each)\b|([/*·])|([A-Za-zμΩω]+(?:-[a-z]+)?)\.?|\^\{?(-?\d)\}?)")
_DENOMINATOR = re.compile(r"/\s*\(([^()]*)\)")
# units whose powers are areas, volumes and accelerations
_POWERED = frozenset(("metre", "second", "litre", "unit"))


class Measure(NamedTuple):
    """What a unit phrase measures: a factor, and the power of each canonical unit, sorted."""

    factor: Fraction
    dimensions: tuple[tuple[str, int], ...]


def find_unit(spelling: str) -> Unit | None:
    """The row of a spelling: exact, else with its case ignored if it has several letters."""
    return _EXACT.get(spelling) or (_FOLDED.get(spelling.lower()) if len(spelling) > 1 else None)


def _dimensions(canonical: str) -> tuple[tuple[str, int], ...]:
    top, _, bottom = canonical.partition("/")
    return (_power_of(top, 1), _power_of(bottom, -1)) if bottom else (_power_of(top, 1),)


def _power_of(name: str, sign: int) -> tuple[str, int]:
    squared = name.startswith("square ")
    return name.removeprefix("square "), sign * (2 if squared else 1)


def read_unit(phrase: str) -> Measure | None:
    """What a phrase of units measures, None if any part of it is no unit."""
    return None if len(phrase) > 80 else _read_phrase(phrase)


@lru_cache(maxsize=4096)
def _read_phrase(phrase: str) -> Measure | None:
    factor, powers = Fraction(1), dict[str, int]()
    at, sign, ahead, last = 0, 1, 1, None
    # J/(g K) is J/g/K
    phrase = _DENOMINATOR.sub(lambda m: "/" + "/".join(re.split(r"[·*\s]+", m[1].strip())), phrase)
    phrase = phrase.strip().rstrip(".")
    while at < len(phrase):
        match = _PART.match(phrase, at)
        if match is None:
            return None
        at = match.end()
        slash, operator, word, exponent = match.groups()
        if slash or operator:
            if last is None or ahead != 1:
                return None
            sign = -1 if slash or operator == "/" else 1
            last = None
            continue
        if word and word.lower() in _POWER_BEFORE:
            ahead = _POWER_BEFORE[word.lower()]
            continue
        if exponent or word.lower() in _POWER_BEHIND:
            change = int(exponent) if exponent else _POWER_BEHIND[word.lower()]
            if last is None or change == 0 or last[0].canonical not in _POWERED:
                return None
            unit, used = last
            # there are m/s^2 and s^-1, and no square seconds
            if unit.canonical == "second" and used * change > 0:
                return None
            factor *= unit.factor ** (used * change - used)
            powers[unit.canonical] += used * change - used
            continue
        found = find_unit(word)
        if found is None:
            return None
        if ahead != 1 and found.canonical not in _POWERED:
            return None
        used, ahead = sign * ahead, 1
        last = (found, used)
        factor *= found.factor**used
        for name, power in _dimensions(found.canonical):
            powers[name] = powers.get(name, 0) + power * used
    if ahead != 1 or not powers:
        return None
    return Measure(factor, tuple(sorted((n, p) for n, p in powers.items() if p)))


def unit_key(phrase: str) -> Measure | str:
    """The same value for all spellings of a unit, or for the same counted things."""
    measure = read_unit(phrase)
    if measure is not None:
        return measure
    words = re.findall(r"[a-z]+", phrase.lower())
    return " ".join(word.removesuffix("s") for word in words)
