"""Answers that stand in words: behind a marker ("the answer is"), or as the last value of a text that came to its end.

Inputs: the last part of a response. Outputs: offsets of the answer in it. Every pattern is linear; the number of markers looked
at is bounded. Not runnable.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from orion.answers.tokens import words

MAX_MARKERS = 16
MAX_SEGMENT = 2_000
# where the last value is looked for, counted from the end
MAX_VALUE_TAIL = 4_000

_MARKER = re.compile(
    r"####|<answer>|答案(?:[是为：:]|$)|\b(?:final\s+answer|answers?|(?:correct\s+)?(?:choice|option))\b", re.I
)
_MARKER_PARTS = ("nswer", "NSWER", "####", "hoice", "ption", "答案", "HOICE", "PTION")
_CONNECTOR = re.compile(
    r"[\s*_#)`\]\"']*+(?:(?:is|are|was|equals|will be|would be|should be|must be|comes to|=|:|：)(?![a-z']))?"
    r"(?:\s*+(?:therefore|thus|then|hence|indeed|just|simply|exactly|:|\*\*|=|：)(?![a-z]))*+[\s*_`]*+"
)
_NEGATION = re.compile(r"\s*(?:is|are|was|would|should|can)?\s*(?:not\b|n['’]t\b|never\b|cannot\b|no longer\b)", re.I)
_SENTENCE_END = re.compile(
    r"[.!?。](?=[\s*)\"'\]<]|$)|[!?。]|\n|</answer>|<\||\bI hope it is\b|\(?\b(?:because|since|which)\b"
)
_ENVIRONMENT = re.compile(
    r"\\\[(.{1,1500}?)\\\]|\\\((.{1,1500}?)\\\)|\$\$([^$]{1,1500})\$\$|(?<![\\$])\$((?:[^$\\\n]|\\.){1,600})\$(?![\d$])",
    re.S,
)
_PROSE = re.compile(r"(?<![\\A-Za-z{])[A-Za-z]{3,}")
_KNOWN_WORDS = words(
    "and sin cos tan cot sec csc log exp sqrt pi inf infinity percent degrees arcsin arccos arctan sinh cosh tanh"
    " mod cup min max gcd lcm cbrt"
)
NUMBER = re.compile(
    r"(?<![\w.])(?:(?<![)\]}])[-−–]\s?)?[$€£]?\\?\$?"
    r"(?:\d{1,2}:\d{2}(?::\d{2})?(?:\s?[ap]\.?m\b\.?)?|\d+(?::\d+)+"
    r"|(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)?(?:\.\d+|(?<=\d)|\s?[¼-¾⅐-⅞]|(?:√|π))"
    r"(?:(?<=√)\(?\d+\)?)?(?:π|√\d+|_\{?\d+\}?|[₀-₉]+|[⁰¹²³⁴-⁹]+|\^\{?-?\d+\}?)*"
    r"(?:e[-+]?\d+|\s?(?:[x×*·]|\\times|\\cdot)\s?10(?:\^\{?-?\d+\}?|[⁰¹²³⁴-⁹⁻]+))?"
    r"(?:\s?/\s?\d+|\s\d+/\d+)?(?:\s?(?:\\?%|percent\b))?)",
    re.I,
)
_DENIED = re.compile(
    r"(?:\b(?:not|never|cannot|nor)\b|n['’]t\b)(?:\s+(?:be|equal|to|just|simply)){0,3}[\s$(\\\[:*_]*$", re.I
)
_LEADING = re.compile(
    r"-?\s?\\?\$?\s?-?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+(?![\d:]))?(?:\.\d+|(?<=\d))(?:e[-+]?\d+)?(?:\s?/\s?\d+|\s\d+/\d+)?(?:\s?(?:\\?%|percent\b))?",
    re.I,
)
_LETTER = re.compile(r"\(?([A-J])\)?(?=$|[\s.,:)*])")
_HEDGE = re.compile(r"\b(?:either|or|maybe|perhaps|possibly|cannot|unknown)\b", re.I)
_UNIT_TAIL = re.compile(r"\s*[\w%°^/]*")
_CLOSERS = ".!?。)]}$\"'”*`>|％%"
_LINK = re.compile(r"\s*(?:,\s*and\b|,|and\b|or\b)\s*")
_JOINED = re.compile(r"\s*(?:,\s*and\b|,|and\b|or\b)\s*(?=[$\\])")


def _final(matches: Iterator[re.Match]) -> re.Match | None:
    last = None
    for match in matches:
        last = match
    return last


def _last_number(text: str, low: int) -> re.Match | None:
    """The last number of `text[low:]`; a short piece of the end mostly suffices."""
    for size in (160, 1_000):
        start = len(text) - size
        if start <= low:
            break
        found = _final(NUMBER.finditer(text, start))
        # a number at the very start of the piece may be the rest of a longer one
        if found is not None and found.start() > start + 60:
            return found
    return _final(NUMBER.finditer(text, low))


def _markers(text: str) -> Iterator[re.Match]:
    """The last markers of a text, the last one first; pieces are searched from the end."""
    high, size, count = len(text), 1_000, 0
    while high > 0 and count < MAX_MARKERS:
        low = max(0, high - size)
        # a piece begins between two lines, so that it cuts no marker
        low = text.rfind("\n", max(0, low - 400), low) + 1 or low
        # plain searches are many times faster than the pattern, and most pieces have no marker
        if any(text.find(part, low, high) >= 0 for part in _MARKER_PARTS):
            for match in reversed(list(_MARKER.finditer(text, low, high))[-MAX_MARKERS:]):
                count += 1
                yield match
        high, size = low, size * 4


def ended(text: str, finished: bool | None) -> bool:
    """Whether a text came to its end: by the word of the engine, else by its last character or a closing value."""
    if finished is not None:
        return finished
    text = text.rstrip()
    if not text:
        return False
    if text[-1] in _CLOSERS or text.endswith(("\\)", "\\]")):
        return not text.endswith(("...", ".."))
    # a text that stops on a value and its unit, as in "it's 1,000.99 m²"
    line = text[max(text.rfind("\n"), len(text) - 400) + 1 :]
    value = _last_number(line, 0)
    if value is None or line.count("{") != line.count("}"):
        return False
    return len(line) - value.end() <= 12 and _UNIT_TAIL.fullmatch(line, value.end()) is not None


def _prose(content: str) -> bool:
    """Whether the text between two dollar signs is a sentence between two prices, not a formula."""
    prose = [w for w in _PROSE.findall(content) if w.lower() not in _KNOWN_WORDS]
    return len(prose) >= 2


def _environments(text: str, start: int) -> list[tuple[int, int, int, int]]:
    """(start, end, content start, content end) of the formulas in `text[start:]`."""
    found = []
    at = start
    while (match := _ENVIRONMENT.search(text, at)) is not None:
        group = match.lastindex or 0
        if group == 4 and _prose(match.group(4)):
            at = match.start() + 1
            continue
        if match.group(group).strip():
            found.append((match.start(), match.end(), match.start(group), match.end(group)))
        at = match.end()
    return found


def _trim(text: str, start: int, end: int) -> tuple[int, int]:
    while start < end and text[start] in " \t\n*_`:\"'":
        start += 1
    while end > start and text[end - 1] in ' \t\n*_`.,;:"!':
        end -= 1
    return start, end


def _formula_at(text: str, start: int) -> tuple[int, int] | None:
    """The formula that begins at `start`, with those joined to it by a comma or "and"."""
    if not text.startswith(("$", "\\(", "\\["), start):
        return None
    match = _ENVIRONMENT.match(text, start)
    if match is None or (match.lastindex == 4 and _prose(match.group(4))):
        return None
    group = match.lastindex or 0
    low, high, stop = match.start(group), match.end(group), match.end()
    joined = False
    for _ in range(32):
        link = _JOINED.match(text, stop)
        match = _ENVIRONMENT.match(text, link.end()) if link else None
        if match is None:
            break
        joined, stop = True, match.end()
    return (start, stop) if joined else (low, high)


def _value_in(text: str, start: int, stop: int) -> tuple[int, int] | None:
    """The answer inside one sentence `text[start:stop]` behind a marker, None where it states no value."""
    start, stop = _trim(text, start, stop)
    segment = text[start:stop]
    # a code fence or an opening brace behind a marker is the start of a block, not a value
    if not any(c.isalnum() or c in "\\∅∞" for c in segment) or segment == "json":
        return None
    letter = _LETTER.match(segment)
    if letter and (letter.end() == len(segment) or letter.group().startswith("(") or segment[letter.end()] in ".:)"):
        return start, stop
    prose = [w for w in _PROSE.findall(segment) if w.lower() not in _KNOWN_WORDS]
    if not prose:
        return start, stop
    number = _LEADING.match(segment)
    if number and number.end() and any(c.isdigit() for c in number.group()):
        rest = segment[number.end() :].lstrip()
        hedged = re.match(r"(?:or|and)\b|[,/]\s*(?:or\b|\d)", rest)
        return (start, stop) if hedged else (start, start + number.end())
    if _HEDGE.search(segment):
        return start, stop
    verb = _final(re.finditer(r"\b(?:is|are|equals|be)\b|=", segment))
    if verb is not None and verb.end() < len(segment):
        return _value_in(text, start + verb.end(), stop)
    formulas = _environments(text[:stop], start)
    if formulas:
        return formulas[-1][2], formulas[-1][3]
    last = _final(NUMBER.finditer(segment))
    if last is not None:
        return _trim(text, start + last.start(), start + last.end())
    return (start, stop) if len(segment.split()) <= 4 else None


def stated_answer(text: str, finished: bool | None) -> tuple[int, int, str] | None:
    """(start, end, method) of the answer behind the last marker that has one, else None."""
    for marker in _markers(text):
        word = marker.group().lower()
        if _NEGATION.match(text, marker.end()):
            return None
        link = _CONNECTOR.match(text, marker.end())
        # every part of the pattern is optional, so that it always matches
        assert link is not None
        at = link.end()
        strong = word.startswith(("#", "<", "答案"))
        joined = re.search(r"[a-z=:：\n]", link.group(), re.I) is not None
        if not strong and not joined and not text.startswith(("$", "\\(", "\\["), at):
            continue
        if word.endswith(("choice", "option")) and not joined:
            continue
        found = _formula_at(text, at)
        if found is None:
            end = _SENTENCE_END.search(text, at, at + MAX_SEGMENT)
            stop = end.start() if end else min(len(text), at + MAX_SEGMENT)
            found = _value_in(text, at, stop)
        if found is None or found[0] == found[1]:
            continue
        if finished is False and not text[found[1] :].strip():
            return None
        return found[0], found[1], "marker"
    return None


def denied(text: str, start: int) -> bool:
    """Whether the value at `start` is said not to be the answer."""
    return _DENIED.search(text, max(0, start - 40), start) is not None


def last_value(text: str) -> tuple[int, int] | None:
    """The last formula or number of a text."""
    base = max(0, len(text) - MAX_VALUE_TAIL)
    formulas = _environments(text, base)
    number = _last_number(text, base)
    if formulas and (number is None or number.start() < formulas[-1][1]):
        first = len(formulas) - 1
        while first and _LINK.fullmatch(text, formulas[first - 1][1], formulas[first][0]):
            first -= 1
        if first < len(formulas) - 1:
            return formulas[first][0], formulas[-1][1]
        return _trim(text, formulas[-1][2], formulas[-1][3])
    if number is None:
        return None
    return _trim(text, number.start(), number.end())
