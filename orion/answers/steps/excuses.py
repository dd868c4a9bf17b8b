"""What may stand behind two numbers that differ, so that the claim is not called false.

Input: a `Link`, its text, the values of its sides. Output: the name of the first excuse that
applies, or an empty text. Each excuse is a row of `EXCUSES`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache

from orion.answers.steps import cues
from orion.answers.steps.arithmetic import Item, NotArithmeticError, evaluate
from orion.answers.steps.links import Link
from orion.answers.steps.quantities import hidden_factors
from orion.answers.steps.readings import readings
from orion.answers.steps.rounding import Pair, half_unit

_SCALE = re.compile(r"\b(?:hundred|thousand|million|billion|[Kk])s?\b|\d[kKmM]\b")
_DOWN = re.compile(r"round\w* (?:it )?down|truncat|cut off|first \w+ digits", re.I)
_TIGHT_X = re.compile(r"\dx\d")
_NAME_X = re.compile(r"\bx\d?\s*[=+<>^²³-]|[=+]\s*x\b|\d+x\b")
_MODULO = re.compile(r"mod", re.I)
_BASE = re.compile(r"\bbases?\b|\bbinary|\bternary|\boctal|\bhexadecimal", re.I)
_REMAINDER = re.compile(
    r"remain|left|remainder|extra|full|whole|complete|at most|maximum|\band\s*\(?\d|R\s*\d", re.I
)


def find_excuse(link: Link, text: str, values: Pair, only_ranges: bool = False) -> str:
    """The name of the first excuse for a difference; empty if there is none.

    `only_ranges`: an inequality, for which only a range may be misread.
    """
    if only_ranges:
        return "range" if _is_range(link, text, values) else ""
    return next((name for name, applies in EXCUSES if applies(link, text, values)), "")


@lru_cache(maxsize=32)
def _mentions(pattern: re.Pattern[str], text: str) -> bool:
    """Whether a whole text holds a pattern; asked once for a text and not once for a link."""
    return pattern.search(text) is not None


def _is_silent_conversion(link: Link, text: str, values: Pair) -> bool:
    """Whether the sides differ by a factor between units like those that the text names."""
    if not values[0] or not values[1]:
        return False
    money = link.left.has_money or link.right.has_money
    factors = hidden_factors((*link.left.units, *link.right.units), money)
    return values[0] / values[1] in factors


def _is_scaled(link: Link, text: str, values: Pair) -> bool:
    """Whether a power of a thousand that the text says in words lies between the sides."""
    if not values[0] or not values[1]:
        return False
    ratio = values[0] / values[1]
    scales = [Fraction(10**n) for n in (2, 3, 6, 9)]
    return (ratio in scales or 1 / ratio in scales) and _mentions(_SCALE, text)


def _is_run_on(link: Link, text: str, values: Pair) -> bool:
    """Whether the right side begins with the value of the left and goes on: 5 * 3 = 15 + 2."""
    items = link.right.items
    if len(items) < 3 or link.left.literal is not None:
        return False
    numbers = [
        [text for kind, text in side.items if kind == "n"] for side in (link.left, link.right)
    ]
    part = len(numbers[1]) < len(numbers[0]) and not Counter(numbers[1]) - Counter(numbers[0])
    if part and len(numbers[1]) > 1 and link.place < link.length - 1:
        # 1 * 2 * 3 = 1 * 2 = 2: the writer begins again with a part
        return True
    for end in range(1, len(items) - 1):
        if items[end][0] in ("+", "-", "*", "/", "//"):
            try:
                if evaluate(items[:end]) == values[0]:
                    return True
            except NotArithmeticError:
                continue
    return False


def _is_with_remainder(link: Link, text: str, values: Pair) -> bool:
    """A division with a remainder: 17 / 3 = 5, with 2 left, or 500 / 13 = 13 * 38 + 6."""
    kinds = [kind for kind, _ in link.left.items if kind not in ("u", "(", ")")]
    if not any(kind in ("/", "//", "f") for kind in kinds):
        return False
    if values[1] == values[0].numerator // values[0].denominator:
        return _REMAINDER.search(text[max(0, link.start - 60) : link.end + 100]) is not None
    top = [Fraction(literal) for kind, literal in link.left.items if kind == "n"]
    if not top or not values[0] or link.right.literal is not None:
        return False
    # 46 / 15 = 3 * 15 = 45: the largest multiple
    multiple = top[0] / values[0] * (values[0].numerator // values[0].denominator)
    return values[1] in (top[0], multiple)


def _is_own_operation(link: Link, text: str, values: Pair) -> bool:
    """A star in a formula may be an operation that the problem defines: 2 * 6 = 2^6 + 6^2."""
    star = any("*" in text[side.start : side.end] for side in (link.left, link.right))
    return link.in_formula and star and link.right.literal is None


def _is_other_base(link: Link, text: str, values: Pair) -> bool:
    """Whether whole numbers agree in another base of which the text speaks."""
    for place, side in enumerate((link.left, link.right)):
        literal = side.literal or ""
        binary = len(literal) > 3 and set(literal) == {"0", "1"}
        for base in (2,) if binary else range(2, 17) if literal and _mentions(_BASE, text) else ():
            if _read_in_base(literal, base) == values[1 - place]:
                return True
    if not _mentions(_BASE, text):
        return False
    for base in (*range(2, 10), *range(11, 17)):
        try:
            sides = [
                evaluate(tuple((k, _in_base(t, base) if k == "n" else t) for k, t in side.items))
                for side in (link.left, link.right)
            ]
        except (NotArithmeticError, ValueError):
            continue
        if sides[0] == sides[1]:
            return True
    return False


def _read_in_base(literal: str, base: int) -> int | None:
    try:
        return int(_in_base(literal, base))
    except ValueError:
        return None


def _in_base(literal: str, base: int) -> str:
    if len(literal) > 40:
        raise ValueError
    return str(int(literal, base))


def _is_inverse_modulo(link: Link, text: str, values: Pair) -> bool:
    """An inverse modulo a number: 50^{-1} = 24."""
    inverse = any(
        "^{-1}" in side.source or "^-1" in side.source for side in (link.left, link.right)
    )
    return inverse and _mentions(_MODULO, text)


def _is_in_words(link: Link, text: str, values: Pair) -> bool:
    """A sign between words: 18,000 minus 90 * 6 = 540."""
    inside = text[link.left.start : link.left.end]
    sign = "=" in text[link.left.end : link.right.start]
    return sign and re.search(r"(?<!\\)\b(?:minus|plus|times|divided)\b", inside) is not None


def _is_lost_superscript(link: Link, text: str, values: Pair) -> bool:
    """Whether the sides agree if a number such as 32 is 3^2, or 1.12 is 1.1^2."""
    sides = link.left.items, link.right.items
    numbers = [(s, i) for s in (0, 1) for i, (kind, _) in enumerate(sides[s]) if kind == "n"]
    groups = (
        [
            place
            for place in numbers[:20]
            if (side is None or place[0] == side)
            and (digit is None or sides[place[0]][place[1]][1].endswith(digit))
        ]
        for side in (None, 0, 1)
        for digit in (None, "2", "3")
    )
    chosen = [[place] for place in numbers[:20]] + [group for group in groups if group]
    for places in chosen:
        try:
            left, right = (
                evaluate(_undo_raised_digits(sides[side], {i for s, i in places if s == side}))
                for side in (0, 1)
            )
        except NotArithmeticError:
            continue
        if left == right:
            return True
    return False


def _undo_raised_digits(items: tuple[Item, ...], places: set[int]) -> tuple[Item, ...]:
    found: list[Item] = []
    for at, (kind, literal) in enumerate(items):
        head, last = literal[:-1], literal[-1:]
        if at in places and last in ("2", "3", "4") and head.strip(".") and head[-1] != ".":
            found += [("(", "("), ("n", head), ("^", "^"), ("n", last), (")", ")")]
        else:
            found.append((kind, literal))
    return tuple(found)


def _is_modulo(link: Link, text: str, values: Pair) -> bool:
    """A remainder sign that stands for the whole line: 5! = 120 mod 100."""
    if "mod" in text[link.end : link.chain_end + 12]:
        return True
    return any(
        kind == "mod" for side in (link.left, link.right) for kind, _ in side.items[1:]
    ) and (link.right.literal is None)


def _is_rounded_down(link: Link, text: str, values: Pair) -> bool:
    """Digits cut off where the text says that it rounds down."""
    literal = link.right.literal
    if literal is None or not _DOWN.search(text[max(0, link.start - 80) : link.end + 80]):
        return False
    gaps = [abs(a) - abs(b) for a, b in (values, *((a, b) for a, b, _ in readings(link)))]
    return any(0 <= gap < 2 * half_unit(literal, False) for gap in gaps)


def _is_range(link: Link, text: str, values: Pair) -> bool:
    """A range and no subtraction, 100-499, or a dash that separates: 2321 – 2*3*2*1 = 12."""
    inside = text[link.left.start : link.left.end]
    kinds = [kind for kind, _ in link.left.items]
    if not link.in_formula and kinds == ["n", "-", "n"] and values[0] < 0 and " " not in inside:
        return True
    if "–" not in inside and "—" not in inside:
        return False
    tail = link.left.items[len(kinds) - kinds[::-1].index("-") :] if "-" in kinds else ()
    try:
        return evaluate(tail) == values[1]
    except NotArithmeticError:
        return False


def _is_letter_x(link: Link, text: str, values: Pair) -> bool:
    """An x between two digits that may be the name of a number, 36x2 for 36x^2."""
    inside = text[link.left.start : link.right.end]
    return _TIGHT_X.search(inside) is not None and _mentions(_NAME_X, text)


def _is_rate(link: Link, text: str, values: Pair) -> bool:
    """A rate written with a number in its unit: 2 snowballs/15 minutes."""
    kinds = [kind for kind, _ in link.left.items]
    return any(kinds[i : i + 4] == ["u", "//", "n", "u"] for i in range(len(kinds)))


def _is_share(link: Link, text: str, values: Pair) -> bool:
    """A quantity as percentages of something: 48 = 100% + 20% of the actual number."""
    kinds = {kind for kind, _ in link.right.items}
    return link.left.literal is not None and "%" in kinds and link.right.literal is None


def _has_mixed_units(link: Link, text: str, values: Pair) -> bool:
    """Units that do not cancel in a formula, as in 1 = (1 mile) / (8 furlongs)."""
    units = {*link.left.units, *link.right.units}
    return link.in_formula and len(units) > 1 and set(link.left.units) != set(link.right.units)


def _is_clock(link: Link, text: str, values: Pair) -> bool:
    """Hours of a day that differ by half a day or more: 11 + 3 = 2 pm."""
    if values[0] == values[1] or (values[0] - values[1]) % 12:
        return False
    near = text[max(0, link.start - 120) : link.end + 120]
    return cues.TIME_OF_DAY.search(near) is not None


EXCUSES: tuple[tuple[str, Callable[[Link, str, Pair], bool]], ...] = (
    ("silent_conversion", _is_silent_conversion),
    ("scale_in_words", _is_scaled),
    ("run_on", _is_run_on),
    ("remainder", _is_with_remainder),
    ("clock", _is_clock),
    ("own_operation", _is_own_operation),
    ("other_base", _is_other_base),
    ("inverse_modulo", _is_inverse_modulo),
    ("share", _is_share),
    ("rate", _is_rate),
    ("range", _is_range),
    ("letter_x", _is_letter_x),
    ("rounded_down", _is_rounded_down),
    ("modulo", _is_modulo),
    ("in_words", _is_in_words),
    ("lost_superscript", _is_lost_superscript),
    ("mixed_units", _has_mixed_units),
)
