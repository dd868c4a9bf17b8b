"""Find numbers and formulas in running text, and tell whether the text came to its end.

Input: the last part of a response. Output: offsets in it. Every pattern is linear.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from orion.answers.parsing.vocabulary import FUNCTIONS, GREEK, word_set

# characters at the end that are searched for the last value
MAX_VALUE_TAIL = 4_000

FORMULA = re.compile(
    r"\\\[(.{1,1500}?)\\\]|\\\((.{1,1500}?)\\\)|\$\$([^$]{1,1500})\$\$"
    r"|(?<![\\$])\$((?:[^$\\\n]|\\.){1,600})\$(?![\d$])",
    re.S,
)
_PROSE = re.compile(r"(?<![\\A-Za-z{\d])[A-Za-z]{3,}(?![A-Za-z^_·⋅×])")
_KNOWN_WORDS = word_set("and pi inf infinity percent degrees mod cup") | FUNCTIONS | GREEK
_VOWEL = re.compile(r"[aeiouAEIOU]")
_DIGITS = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)"
_SCRIPTS = r"(?:_\{?\d+\}?|[₀-₉]+|[⁰¹²³⁴-⁹]+|\^\{?-?\d+\}?)"
_SIGN = r"[$€£]?\\?\$?"
# forms of a number: a time or a ratio; digits with a vulgar fraction, a root, pi, a base or a
# power; scientific notation; a percentage
_VALUE = (
    r"(?:\d{1,2}:\d{2}(?::\d{2})?(?:\s?[ap]\.?m\b\.?)?|\d+(?::\d+)+"
    rf"|{_DIGITS}?(?:\.\d+(?:[\u0304\u0305\u0307]\d*)*|(?<=\d)|√\(?\d+\)?|π)"
    rf"(?:\s?[¼-¾⅐-⅞]|π|√\d+|{_SCRIPTS})*"
    r"(?:e[-+]?\d+|\s?(?:[x×*·]|\\times|\\cdot)\s?10(?:\^\{?-?\d+\}?|[⁰¹²³⁴-⁹⁻]+))?"
    r"(?:\s?/\s?\d+|\s\d+/\d+)?(?:\s?(?:\\?%|percent\b))?|[¼-¾⅐-⅞])"
)
# a sign touches its number; a dash before a space is a bullet or an operator
NUMBER = re.compile(
    rf"(?<![\w.])(?:(?<![)\]}}])[-−–](?=[$€£]?\\?\$?[\d.√π]))?{_SIGN}{_VALUE}", re.I
)
LEADING = re.compile(rf"[-−–]?\s?{_SIGN}\s?-?{_VALUE}", re.I)
# "the solution set is (-oo, 2] U [5, oo)": mathematics behind the verb of the last sentence
_CLOSING = re.compile(r"\b(?:is|are|equals)\s+([^\s\w][^\n]*?|[^\n]*?[∪∩∞≤≥√±∅][^\n]*?)[.。]?\s*$")
_ROW = re.compile(r"\b(?:are|be)\s+((?:-?\d[\d.]*,\s+)*-?\d[\d.]*,?\s+(?:and\s+)?)$")
# Unicode categories of emoji and their modifiers
_ORNAMENTS = ("So", "Sk", "Mn", "Cf")
_UNIT_TAIL = re.compile(r"\s*[\w%°^/]*")
_CLOSERS = ".!?。)]}$\"'”*`>|％%"
_LINK = re.compile(r"\s*(?:,\s*and\b|,|and\b|or\b)\s*")


def last_match(matches: Iterator[re.Match]) -> re.Match | None:
    last = None
    for match in matches:
        last = match
    return last


def _find_last_number(text: str, low: int) -> re.Match | None:
    """The last number of `text[low:]`; usually it is found in a short piece of the end."""
    for size in (160, 1_000):
        start = len(text) - size
        if start <= low:
            break
        found = last_match(NUMBER.finditer(text, start))
        # a number at the start of the piece may be the end of a longer one
        if found is not None and found.start() > start + 60:
            return found
    return last_match(NUMBER.finditer(text, low))


def has_ended(text: str, finished: bool | None) -> bool:
    """Whether a text came to its end: `finished` if known, else by its last character or value."""
    if finished is not None:
        return finished
    text = text.rstrip()
    while text and not text[-1].isascii() and unicodedata.category(text[-1]) in _ORNAMENTS:
        text = text[:-1].rstrip()
    if not text:
        return False
    if text[-1] in _CLOSERS or text.endswith(("\\)", "\\]")):
        return not text.endswith(("...", ".."))
    # a text that ends with a value and its unit, as in "it's 1,000.99 m²"
    line = text[max(text.rfind("\n"), len(text) - 400) + 1 :]
    value = _find_last_number(line, 0)
    if value is None or line.count("{") != line.count("}"):
        return False
    return len(line) - value.end() <= 12 and _UNIT_TAIL.fullmatch(line, value.end()) is not None


def prose_words(text: str) -> list[str]:
    """The words of a text that do not belong to its mathematics."""
    return [w for w in _PROSE.findall(text) if w.lower() not in _KNOWN_WORDS and _VOWEL.search(w)]


def is_prose(content: str) -> bool:
    """Whether the text between two dollar signs is prose between two prices, not a formula."""
    return len(prose_words(content)) >= 2


def find_formulas(text: str, start: int) -> list[tuple[int, int, int, int]]:
    """(start, end, content start, content end) of the formulas in `text[start:]`."""
    found = []
    at = start
    while (match := FORMULA.search(text, at)) is not None:
        group = match.lastindex or 0
        if group == 4 and is_prose(match.group(4)):
            at = match.start() + 1
            continue
        if match.group(group).strip():
            found.append((match.start(), match.end(), match.start(group), match.end(group)))
        at = match.end()
    return found


def trim_span(text: str, start: int, end: int) -> tuple[int, int]:
    while start < end and text[start] in " \t\n*_`:\"'":
        start += 1
    while end > start and text[end - 1] in ' \t\n*_`.,;:"!':
        end -= 1
    return start, end


def find_last_value(text: str) -> tuple[int, int] | None:
    """The last formula or number of a text."""
    base = max(0, len(text) - MAX_VALUE_TAIL)
    closing = _CLOSING.search(text, max(base, len(text) - 300))
    if (
        closing is not None
        and not _PROSE.search(closing[1])
        and "$" not in closing[1]
        and "\\" not in closing[1]
    ):
        return trim_span(text, closing.start(1), closing.end(1))
    formulas = find_formulas(text, base)
    number = _find_last_number(text, base)
    if formulas and (number is None or number.start() < formulas[-1][1]):
        first = len(formulas) - 1
        while first and _LINK.fullmatch(text, formulas[first - 1][1], formulas[first][0]):
            first -= 1
        if first < len(formulas) - 1:
            return formulas[first][0], formulas[-1][1]
        return trim_span(text, formulas[-1][2], formulas[-1][3])
    if number is None:
        return None
    row = _ROW.search(text, max(base, number.start() - 80), number.start())
    return trim_span(text, row.start(1) if row else number.start(), number.end())
