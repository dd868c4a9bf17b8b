"""Judge a value by the text around it: part of something larger, denied, or hedged.

Input: a text and the offsets of a value in it. Output: True or False. Every pattern looks at a
bounded piece of the text.
"""

from __future__ import annotations

import re

from orion.answers.parsing.units import UNITS

BEFORE, BEHIND = 60, 80

_SCALES = r"hundred|thousand|million|billion|trillion|dozen"
# before a value that is an operand, an argument, the end of a range or row, or compared
_PART_BEFORE = re.compile(
    r"(?:(?<!\*)[+*/^×÷·<>≤≥√]=?\s*\(*\s*|(?<!\*)\*\s"
    r"|[A-Za-z]\(\s*|[A-Za-z\d]|\d\s*[-–−~]\s*|[\w)]\s+[-–−]\s+"
    r"|\d\w*\s*(?:,\s*)?\b(?:and|or|to|choose|over|out of)\s+"
    r"|\b(?:(?:less|more|fewer|greater|other) than|at (?:least|most)|up to|between|under|below"
    r"|above|negative|minus|twice"
    r"|(?:half|double|square|root|cube|power|opposite|log|thirds?|multiples?|reciprocal|number) of"
    r"|off by|divisible by|equation|step|case|part|example|choice|page|correct to|rounded to"
    r"|except(?: for)?|tried|range|not)\s+)[$(\\]*$",
    re.I,
)
_PART_BEHIND = re.compile(
    r"\s*(?:(?!\*\*)[+*/^×÷·±<>≤≥=]|[-–−~]\s*[\d$]|,\s*or\b|\?|\(?\s*or\b)"
    rf"|\s+(?:{_SCALES}|choose|pi|squared|cubed|remainder|over|out of|plus|minus|divided|multiplied"
    r"|or|and\s+a"
    # "5 times." is a whole value, "5 times 3" and "5 times as many" are not
    r"|times\s+(?:[$\\(]*\d+|[$\\(]*[b-z]\b|as|the|that|more|less|larger|greater|smaller)"
    r"|(?:less|more) than"
    r"|to\s+(?:the\s+power|\$?\d))\b"
    r"|\s+(?:is|are|was|were)(?:\s+(?:not|wrong|incorrect|rejected)|n['’]t)\b"
    r"|\s+[A-Za-z]+\s+(?:and\s+)?\$?\d[\d.]*\s+[A-Za-z]+"
    r"|[^.!?\n]{0,40}\b(?:or|maybe)\s+\$?\\?\(?\d"
    r"|[^.!?\n]{0,40}\bbut\b[^.!?\n]{0,40}(?:n['’]t|\bnot)\b",
    re.I,
)
_WORD = re.compile(r"[A-Za-z]+")
_ORDINALS = frozenset(("st", "nd", "rd", "th", "s"))
_DENIED = re.compile(
    r"(?:\b(?:not|never|cannot|nor)\b|n['’]t\b)(?:\s+(?:be|equal|to|just|simply)){0,3}[\s$(\\\[:*_]*$",
    re.I,
)
# "I don't think the answer is", "it is not true that the answer is"
_DOUBTED = re.compile(
    r"(?:\bdoubt|(?:\b(?:not|never)|n['’]t)\s+(?:think|believe|true|certain|sure|clear|the case))\b"
    r"[^.,;:!?\n]{0,25}$",
    re.I,
)
_UNSURE = re.compile(
    r"\b(?:could|might|may)\s+(?:also\s+|well\s+)?be\b"
    r"|\b(?:perhaps|possibly|maybe|depends|unsure)\b|\bnot (?:sure|certain)\b"
    r"|\d\s+or\s+[$-]?\d|\beither\b",
    re.I,
)
_UNABLE = re.compile(
    r"\b(?:can(?:no|['’])t|could(?: not|n['’]t)|unable to)\s+(?:\w+\s+)?"
    r"(?:solve|determine|find|answer|conclude)"
    r"|\bdon['’]t know\b",
    re.I,
)
_SENTENCE = re.compile(r"[.!?。]\s|\n")


def is_part_of_larger(text: str, start: int, end: int) -> bool:
    """Whether a value is part of something larger: "x < 5", "3x^2", "5 million", "5 to 10"."""
    low = max(0, start - BEFORE)
    breaks = [match.end() for match in _SENTENCE.finditer(text, low, start)]
    # the stars of bold text are no operators
    before = text[breaks[-1] if breaks else low : start].removesuffix("**")
    if _PART_BEFORE.search(before):
        return True
    word = _WORD.match(text, end)
    if word is not None and word[0].lower() not in UNITS and word[0].lower() not in _ORDINALS:
        return True
    return _PART_BEHIND.match(text, end, min(len(text), end + BEHIND)) is not None


def is_denied(text: str, start: int) -> bool:
    """Whether the value at `start` is said not to be the answer."""
    return _DENIED.search(text, max(0, start - 40), start) is not None or is_doubted(text, start)


def is_doubted(text: str, start: int) -> bool:
    """Whether the statement that begins at `start` is doubted or denied."""
    return _DOUBTED.search(text, max(0, start - BEFORE), start) is not None


def is_hedged(text: str, start: int) -> bool:
    """Whether the sentence around `start` leaves the answer open, or the text before gives up."""
    low = max(0, start - 300)
    breaks = [match.end() for match in _SENTENCE.finditer(text, low, start)]
    end = _SENTENCE.search(text, start)
    sentence = _UNSURE.search(
        text, breaks[-1] if breaks else low, end.start() if end else len(text)
    )
    return sentence is not None or _UNABLE.search(text, max(0, start - 200)) is not None
