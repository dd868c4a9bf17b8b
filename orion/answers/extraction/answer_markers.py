"""Find answers behind a marker such as "the answer is", in seven languages.

Input: the last part of a response. Output: offsets of the answer in it. Every pattern is linear,
and the number of markers that are looked at is bounded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from orion.answers.extraction.math_runs import NAMED_FUNCTIONS, iterate_runs, split_relation
from orion.answers.extraction.surrounding_text import (
    doubting_cue,
    is_named,
    refusing_cue_before,
    refusing_cue_behind,
    refusing_cue_of_statement,
)
from orion.answers.extraction.values_in_text import (
    FORMULA,
    find_last_value,
    is_prose,
    prose_words,
    trim_span,
)
from orion.answers.wording.cues import DENIED, HEDGED, QUESTIONED, Cue
from orion.answers.wording.matchers import nothing_matches

MAX_MARKERS = 16
MAX_SEGMENT = 2_000
# characters before and behind its part that a marker may reach
MARKER_REACH = 32
_ENGLISH = (
    r"<answer>|(?<![A-Za-z])(?:final[\s_]+answer|answers?|(?:correct\s+)?(?:choice|option))"
    r"(?![A-Za-z])"
)
_ENGLISH_MARKER = re.compile(_ENGLISH, re.I)
_MARKER = re.compile(
    r"####|答案(?:[是为：:]|$)|故选|答えは|答え(?=[：:])|(?:정답|답)(?:은|:|：)|\bответ\b"
    r"|\b(?:la\s+)?réponse(?:\s+finale)?\b|\b(?:la\s+)?respuesta(?:\s+final)?\b|\bantwort\b|"
    + _ENGLISH,
    re.I,
)
# every marker contains one of these; only English ones contain the letters of `_ENGLISH_PARTS`
_MARKER_PARTS = (
    "nswer", "NSWER", "####", "hoice", "ption", "HOICE", "PTION", "答", "故选", "답", "твет",
    "ТВЕТ", "éponse", "espuesta", "ntwort",
)  # fmt: skip
_ENGLISH_PARTS = ("nswer", "NSWER", "hoice", "ption", "HOICE", "PTION")
_CONNECTOR = re.compile(
    r"[\s*_#)`\]\"']*+"
    r"(?:(?:is|are|was|equals|will be|would be|should be|must be|comes to|est|es|ist|lautet"
    r"|=|:|：|—)(?![a-z']))?"
    r"(?:\s*+(?:therefore|thus|then|hence|indeed|just|simply|exactly|donc|also|:|\*\*|="
    r"|：)(?![a-z]))*+"
    r"[\s*_`]*+"
)
_NEGATION = re.compile(
    r"\s*(?:is|are|was|would|should|can)?\s*(?:not\b|n['’]t\b|never\b|cannot\b|no longer\b)", re.I
)
_SENTENCE_END = re.compile(
    r"[.?。](?=[\s*)\"'\]<]|$)|!(?!\s*[-+*/·⋅∙×÷−=^)\\\\\d!,&}])|[?。]|\n|</answer>|<\|"
)
_LETTER = re.compile(r"[(\[]?(?-i:([A-J]))(?:[)\].:]|(?![A-Za-z\d=^_:(]))[.)]?")
_YES_NO = re.compile(r"(?:yes|no|true|false)(?=\s*(?:[,.;!]|$))", re.I)
_OPEN = re.compile(r"\b(?:or|wrong|not|maybe)\b|\([A-J]\)", re.I)
# words that may stand between a marker and its value
_FILLER = re.compile(
    r"(?:(?:about|approximately|approx\.?|around|roughly|exactly|only|just|simply|precisely"
    r"|equal\s+to"
    r"|the\s+(?:number|value|integer|set|interval|point|pair|fraction)|a\s+total\s+of|clearly"
    r"|negative|minus"
    r"|option|choice|boxed|given\s+by|found\s+to\s+be)(?![a-z]):?[\s*]*)*",
    re.I,
)
# ends of a sentence, line or formula: a cut-off text that has one behind the answer completed it
_PASSED = re.compile(r"[.!?。]\s|\n|[$}]|\\[)\]]|</")
_PLAIN = re.compile(r"[-+]?\$?\d[\d,]*(?:\.\d+)?")
_RESTATED = re.compile(
    r"[$*]*,?\s+(?:which|and\s+(?:this|that))\s+(?:is|equals|gives|comes\s+to)\s+"
)
_CLOSING_QUOTE = re.compile(r'(?:[^"\\\n]|\\.)*"')
_JOINED = re.compile(r"\s*(?:,\s*and\b|,|and\b|or\b)\s*(?=[$\\])")


_FOREIGN_MARKER = re.compile(r"ответ|réponse|respuesta|antwort|答|답")
_FOREIGN_THING = re.compile(
    r"[ \t]+(?!(?:oder|ou|o|или|nicht|pas|no|dutzend|douzaines?|docenas?|mille?|mil|tausend"
    r"|millionen|millions?"
    r"|millones|halbe|тысяч|миллион\w*|mal|fois|veces|раз)\b)[^\W\d_]{3,20}[.!]?\s*",
    re.I,
)


class Found(NamedTuple):
    """A stated answer `text[start:end]`; `cue`: why the value in it is not committed, or None."""

    start: int
    end: int
    cue: Cue | None = None


def _find_markers(text: str) -> Iterator[re.Match]:
    """The markers of a text, the last one first; the text is searched in pieces from its end."""
    high, size, count = len(text), 1_000, 0
    while high > 0 and count < MAX_MARKERS:
        low = max(0, high - size)
        # a piece begins at a line, so that it cuts no marker in two
        low = text.rfind("\n", max(0, low - 400), low) + 1 or low
        for place in sorted(_find_marker_parts(text, low, high), reverse=True):
            pattern = _ENGLISH_MARKER if text.startswith(_ENGLISH_PARTS, place) else _MARKER
            near = pattern.finditer(text, max(low, place - MARKER_REACH), place + MARKER_REACH)
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


def _formula_at(text: str, start: int) -> tuple[int, int, int] | None:
    """(start, end, end of the formula) at `start`, with formulas joined by a comma or "and"."""
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
    return (start, stop, stop) if joined else (low, high, stop)


_LONG_WORD = re.compile(r"[A-Za-z]{4,}")


def _run_at(text: str, at: int, stop: int) -> tuple[int, int, int] | None:
    """(start, end, end of the run) of the undelimited mathematics with which a segment begins."""
    filler = _FILLER.match(text, at, stop)
    # the pattern may be empty, so it always matches
    assert filler is not None
    word = _LONG_WORD.match(text, filler.end(), stop)
    if word is not None and word.group() not in NAMED_FUNCTIONS:
        # no run begins with it, and this is far cheaper than to look for the first run
        return None
    first = next(iterate_runs(text, at, stop), None)
    if first is None or first[0] > filler.end() + 1 or text[filler.end() : first[0]].strip("*$ "):
        return None
    start, end = split_relation(text, *first)
    return start, end, end


def _choice_at(text: str, at: int, stop: int) -> tuple[int, int] | None:
    """The choice, such as "(C)", "B." or "D) 12 apples", that is a whole segment or begins it."""
    letter = _LETTER.match(text, at, stop)
    if letter is None:
        return None
    rest = text[letter.end() : stop]
    if not rest.strip(" .*)") or (
        letter[0][-1] in ".:)" and rest[:1] in " \t" and not _OPEN.search(rest)
    ):
        return letter.start(), stop if rest.strip(" .*)") else letter.end(1)
    if refusing_cue_behind(text, letter.end()) is None:
        return letter.start(), letter.end(1) if letter[0][0] != "(" else letter.end()
    return None


def _value_in(text: str, at: int, stop: int, foreign: bool) -> Found | None:
    """The answer in one sentence `text[at:stop]` behind a marker, None if it has no content.

    foreign: the marker is in another language, so one unknown word is taken for the thing counted.
    """
    start, stop = trim_span(text, at, stop)
    segment = text[start:stop]
    if _PLAIN.fullmatch(segment):
        cue = refusing_cue_behind(text, stop)
        # a number whose surroundings are not understood is no text that could equal the gold
        return Found(
            start, start if cue is not None and cue.match is nothing_matches else stop, cue
        )
    # a code fence or an opening brace behind a marker starts a block, not a value
    if not any(c.isalnum() or c in "\\∅∞" or ord(c) > 0x2000 for c in segment) or segment == "json":
        return None
    choice = _choice_at(text, start, stop)
    if choice is not None:
        return Found(*choice)
    word = _YES_NO.match(text, start, stop)
    if word is not None:
        return Found(word.start(), word.end())
    refusal = None
    value = _run_at(text, start, stop)
    named = value is not None and not text[value[1] - 1].isdigit()
    restated = _RESTATED.match(text, value[2], stop) if value is not None and named else None
    if restated is not None:
        # "g(2), which is 11"
        value = _run_at(text, restated.end(), stop) or value
    if value is not None:
        refusal = refusing_cue_behind(text, value[2], named=True)
        if foreign and refusal is not None and _FOREIGN_THING.fullmatch(text, value[2], stop):
            refusal = None
    elif (last := find_last_value(segment)) is not None and prose_words(segment):
        value = (start + last[0], start + last[1], start + last[1])
        begin = text[value[0] - 1 : value[0]]
        if begin == "$":
            value = (value[0], value[1], value[1] + 1)
        refusal = refusing_cue_before(text, value[0]) or refusing_cue_behind(
            text, value[2], named=is_named(text, value[0])
        )
    if value is not None and refusal is None:
        return Found(value[0], value[1])
    # what is not understood is taken whole, so that it can equal a gold of words and no number
    return Found(start, stop, refusal)


def _quoted_string_at(text: str, at: int) -> tuple[int, int] | None:
    """The text between the quotes of a JSON answer, {"answer": "4 2/5"}."""
    if not text.startswith('"', at):
        return None
    at += 1
    close = _CLOSING_QUOTE.match(text, at, at + MAX_SEGMENT)
    return (at, close.end() - 1) if close and close.end() - 1 > at else None


def find_stated_answer(text: str, finished: bool | None) -> Found | None:
    """The answer behind the last marker that has one, else None.

    The span is empty if the answer is denied, hedged or questioned; `cue` says by what.
    """
    for marker in _find_markers(text):
        word = marker.group().lower()
        if _NEGATION.match(text, marker.end()):
            return None
        if word[0] not in "#<":
            # "Rejected answer", "Some think the answer is": who says it matters in English alone
            english = word.endswith(("answer", "answers"))
            judge = refusing_cue_of_statement if english else doubting_cue
            cue = judge(text, marker.start())
            if cue is not None:
                return Found(0, 0, cue)
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
        found = _find_behind(text, at, _FOREIGN_MARKER.search(word) is not None)
        if found is None:
            continue
        # alternatives are read as a whole: "1/2, or 50 %" is one value twice
        if found.cue is not None and (
            found.start == found.end or found.cue.effect in (DENIED, HEDGED, QUESTIONED)
        ):
            return Found(0, 0, found.cue)
        if finished is False and not _PASSED.search(text, found.end):
            return None
        return found
    return None


def _find_behind(text: str, at: int, foreign: bool) -> Found | None:
    """The answer that begins at or soon behind `at`."""
    quoted = _quoted_string_at(text, at)
    if quoted is not None:
        return Found(*quoted)
    formula = _formula_at(text, at)
    if formula is not None:
        refusal = refusing_cue_behind(text, formula[2], named=True)
        if refusal is None:
            return Found(formula[0], formula[1])
    end = _SENTENCE_END.search(text, at, at + MAX_SEGMENT)
    stop = end.start() if end else min(len(text), at + MAX_SEGMENT)
    if formula is not None:
        return Found(*trim_span(text, at, max(stop, formula[2])), refusal)
    return _value_in(text, at, stop, foreign)
