"""Find answers behind a marker such as "the answer is", in seven languages.

Input: the last part of a response. Output: offsets of the answer in it. Every pattern is linear,
and the number of markers that are looked at is bounded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from orion.answers.extraction.numbers_in_text import (
    FORMULA,
    LEADING,
    NUMBER,
    find_formulas,
    is_prose,
    last_match,
    prose_words,
    trim_span,
)
from orion.answers.extraction.surrounding_text import is_doubted, is_part_of_larger

MAX_MARKERS = 16
MAX_SEGMENT = 2_000
# characters before and behind its part that a marker may reach
MARKER_REACH = 32
_MARKER = re.compile(
    r"####|<answer>|答案(?:[是为：:]|$)|故选|答えは|答え(?=[：:])|(?:정답|답)(?:은|:|：)|\bответ\b"
    r"|\b(?:la\s+)?réponse(?:\s+finale)?\b|\b(?:la\s+)?respuesta(?:\s+final)?\b|\bantwort\b"
    r"|(?<![A-Za-z])(?:final[\s_]+answer|answers?|(?:correct\s+)?(?:choice|option))(?![A-Za-z])",
    re.I,
)
# every marker contains one of these
_MARKER_PARTS = (
    "nswer", "NSWER", "####", "hoice", "ption", "HOICE", "PTION", "答", "故选", "답", "твет",
    "ТВЕТ", "éponse", "espuesta", "ntwort",
)  # fmt: skip
_CONNECTOR = re.compile(
    r"[\s*_#)`\]\"']*+"
    r"(?:(?:is|are|was|equals|will be|would be|should be|must be|comes to|est|es|ist|lautet"
    r"|=|:|：|—)(?![a-z']))?"
    r"(?:\s*+(?:therefore|thus|then|hence|indeed|just|simply|exactly|donc|also|:|\*\*|=|：)(?![a-z]))*+"
    r"[\s*_`]*+"
)
_NEGATION = re.compile(
    r"\s*(?:is|are|was|would|should|can)?\s*(?:not\b|n['’]t\b|never\b|cannot\b|no longer\b)", re.I
)
_SENTENCE_END = re.compile(
    r"[.?。](?=[\s*)\"'\]<]|$)|!(?!\s*[-+*/·⋅∙×÷−=^)\\\\\d!,&}])|[?。]|\n"
    r"|</answer>|<\||\bI hope it is\b|\(?\b(?:because|since|which)\b"
    r"|,?\s*(?:\b(?:i\.e\.|and not|but not|not|but|rather than|instead of|that is|namely)(?![\w-])"
    r"|\((?=\w*\s*(?:not|i\.e)))"
)
_LETTER = re.compile(r"\(?([A-J])\)?(?=$|[\s.,:)*])")
# ends of a sentence, line or formula: a cut-off text that has one behind the answer completed it
_PASSED = re.compile(r"[.!?。]\s|\n|[$}]|\\[)\]]|</")
_HEDGE = re.compile(r"\b(?:either|or|maybe|perhaps|possibly|cannot|unknown)\b", re.I)
_QUESTIONED = re.compile(r"[\s$*)]*\?")
_CLOSING_QUOTE = re.compile(r'(?:[^"\\\n]|\\.)*"')
_JOINED = re.compile(r"\s*(?:,\s*and\b|,|and\b|or\b)\s*(?=[$\\])")


def _find_markers(text: str) -> Iterator[re.Match]:
    """The markers of a text, the last one first; the text is searched in pieces from its end."""
    high, size, count = len(text), 1_000, 0
    while high > 0 and count < MAX_MARKERS:
        low = max(0, high - size)
        # a piece begins at a line, so that it cuts no marker in two
        low = text.rfind("\n", max(0, low - 400), low) + 1 or low
        for place in sorted(_find_marker_parts(text, low, high), reverse=True):
            near = _MARKER.finditer(text, max(low, place - MARKER_REACH), place + MARKER_REACH)
            match = next((m for m in near if m.start() <= place < m.end()), None)
            if match is not None:
                count += 1
                yield match
                if count == MAX_MARKERS:
                    break
        high, size = low, size * 4


def _find_marker_parts(text: str, low: int, high: int) -> Iterator[int]:
    """Offsets that may belong to a marker; a plain search is many times faster than the pattern."""
    for part in _MARKER_PARTS:
        at = text.find(part, low, high)
        while at >= 0:
            yield at
            at = text.find(part, at + len(part), high)


def _formula_at(text: str, start: int) -> tuple[int, int] | None:
    """The formula at `start`, with the formulas joined to it by a comma or "and"."""
    if not text.startswith(("$", "\\(", "\\["), start):
        return None
    match = FORMULA.match(text, start)
    if match is None or (match.lastindex == 4 and is_prose(match.group(4))):
        return None
    group = match.lastindex or 0
    low, high, stop = match.start(group), match.end(group), match.end()
    joined = False
    for _ in range(32):
        link = _JOINED.match(text, stop)
        match = FORMULA.match(text, link.end()) if link else None
        if match is None:
            break
        joined, stop = True, match.end()
    if joined:
        return start, stop
    # "$3$ or 5", "$5$ + $3$", "$3$ million": the rules for sentences handle these
    return None if is_part_of_larger(text, start, stop) else (low, high)


def _value_in(text: str, start: int, stop: int) -> tuple[int, int] | None:
    """The answer in one sentence `text[start:stop]` behind a marker, None if it has no value."""
    start, stop = trim_span(text, start, stop)
    segment = text[start:stop]
    # a code fence or an opening brace behind a marker starts a block, not a value
    if not any(c.isalnum() or c in "\\∅∞" for c in segment) or segment == "json":
        return None
    formula = FORMULA.match(text, start)
    if formula is not None and is_part_of_larger(text, *formula.span()):
        return start, stop
    letter = _LETTER.match(segment)
    if letter and (
        letter.end() == len(segment)
        or letter.group().startswith("(")
        or segment[letter.end()] in ".:)"
    ):
        return start, stop
    prose = prose_words(segment)
    if not prose:
        return start, stop
    sides = segment.rsplit("=", 1)
    if len(sides) == 2 and sides[1].strip() and "$" not in sides[0] and "\\" not in segment:
        return _value_in(text, stop - len(sides[1]), stop)
    number = LEADING.match(segment)
    if number and number.end() and any(c.isdigit() for c in number.group()):
        end = start + number.end()
        return (start, stop) if is_part_of_larger(text, start, end) else (start, end)
    if _HEDGE.search(segment):
        return start, stop
    verb = last_match(re.finditer(r"\b(?:is|are|equals|be)\b|=", segment))
    if verb is not None and verb.end() < len(segment):
        return _value_in(text, start + verb.end(), stop)
    formulas = find_formulas(text[:stop], start)
    if formulas:
        return formulas[-1][2], formulas[-1][3]
    last = last_match(NUMBER.finditer(segment))
    if last is not None and is_part_of_larger(text, start + last.start(), start + last.end()):
        return start, stop
    if last is not None:
        return trim_span(text, start + last.start(), start + last.end())
    return (start, stop) if len(segment.split()) <= 4 else None


def _quoted_string_at(text: str, at: int) -> tuple[int, int] | None:
    """The text between the quotes of a JSON answer, {"answer": "4 2/5"}."""
    if not text.startswith('"', at):
        return None
    at += 1
    close = _CLOSING_QUOTE.match(text, at, at + MAX_SEGMENT)
    return (at, close.end() - 1) if close and close.end() - 1 > at else None


def find_stated_answer(text: str, finished: bool | None) -> tuple[int, int, str] | None:
    """(start, end, found by) of the answer behind the last marker that has one, else None.

    (-1, -1, ...) if the answer is denied or questioned.
    """
    for marker in _find_markers(text):
        word = marker.group().lower()
        if _NEGATION.match(text, marker.end()):
            return None
        if word[0] not in "#<" and is_doubted(text, marker.start()):
            return -1, -1, "denied"
        link = _CONNECTOR.match(text, marker.end())
        # every part of the pattern is optional, so it always matches
        assert link is not None
        at = link.end()
        strong = not word[0].isascii() or word[0] in "#<"
        joined = re.search(r"[a-z=:：\n]", link.group(), re.I) is not None
        if not strong and not joined and not text.startswith(("$", "\\(", "\\["), at):
            continue
        if word.endswith(("choice", "option")) and not joined:
            continue
        found = _formula_at(text, at) or _quoted_string_at(text, at)
        if found is None:
            end = _SENTENCE_END.search(text, at, at + MAX_SEGMENT)
            stop = end.start() if end else min(len(text), at + MAX_SEGMENT)
            found = _value_in(text, at, stop)
        if found is None or found[0] == found[1]:
            continue
        if _QUESTIONED.match(text, found[1]):
            return -1, -1, "questioned"
        if finished is False and not _PASSED.search(text, found[1]):
            return None
        return found[0], found[1], "marker"
    return None
