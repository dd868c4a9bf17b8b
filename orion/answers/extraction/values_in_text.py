"""Find numbers and formulas in running text, and tell whether the text came to its end.

Input: the last part of a response. Output: offsets in it. Every pattern is linear.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from orion.answers.extraction.math_runs import iterate_runs_from_end, split_relation
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
    rf"(?<![A-Za-z0-9_.])(?:(?<![)\]}}])[-−–](?=[$€£]?\\?\$?[\d.√π]))?{_SIGN}{_VALUE}", re.I
)
# Unicode categories of emoji and their modifiers
_ORNAMENTS = ("So", "Sk", "Mn", "Cf")
_UNIT_TAIL = re.compile(r"\s*[\w%°^/€£¥₹₽]*")
_CLOSERS = ".!?。)]}$\"'”*`>|％%"
_ROW_LINK = re.compile(r"[$*_]*(?:,?\s+(?:and|or)\s+|,\s*)[$*_]*")
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


def _is_value(piece: str) -> bool:
    """Whether a run of mathematics can be an answer: a number, a constant or a formula of names."""
    if any(c.isnumeric() or c in "π∞∅" for c in piece) or "\\" in piece:
        return True
    return any(c in "=+*/^<>≤≥" for c in piece) and any(c.isalpha() for c in piece)


def _find_last_run(text: str, low: int) -> tuple[int, int] | None:
    """The last run of undelimited mathematics of `text[low:]` that can be an answer."""
    for size in (400, 1_500, MAX_VALUE_TAIL):
        start = max(low, len(text) - size)
        # a piece begins at a line, so that it cuts no run in two
        line = text.rfind("\n", low, start)
        start = line + 1 if line >= 0 and start > low else max(low, min(start, line + 1 or low))
        if "\\end{" in text[start:] and "\\begin{" not in text[start:] and start > low:
            continue
        runs = iterate_runs_from_end(text, start, len(text))
        for first, last in runs:
            if not _is_value(text[first:last]):
                continue
            joined = _first_of_row(text, first, runs)
            return (joined, last) if joined < first else split_relation(text, first, last)
        if start == low:
            break
    return None


def _first_of_row(text: str, first: int, earlier: Iterator[tuple[int, int]]) -> int:
    """The start of the row "2, 3 and 5" whose last run begins at `first`; `first` if it is alone.

    earlier: the runs before it, the last one first.
    """
    for start, end in earlier:
        if not _ROW_LINK.fullmatch(text, end, first):
            break
        first = start
    return first


def find_last_value(text: str) -> tuple[int, int] | None:
    """The last formula, or the last run of undelimited mathematics, of a text."""
    base = max(0, len(text) - MAX_VALUE_TAIL)
    formulas = find_formulas(text, base)
    run = _find_last_run(text, max(base, formulas[-1][1] if formulas else base))
    if run is not None or not formulas:
        return run
    first = len(formulas) - 1
    while first and _LINK.fullmatch(text, formulas[first - 1][1], formulas[first][0]):
        first -= 1
    if first < len(formulas) - 1:
        return formulas[first][0], formulas[-1][1]
    return trim_span(text, formulas[-1][2], formulas[-1][3])
