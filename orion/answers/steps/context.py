"""What stands around a claim: whether the text means it, takes it back, or asks.

Input: the text and a link. Output: the reason why a claim that does not hold is no false claim, or
an empty string. Only looked at when a claim does not hold.
"""

from __future__ import annotations

import re

from orion.answers.steps.lexer import Token
from orion.answers.steps.links import Link

BEFORE, AFTER = 240, 260
_WORDS_BEFORE = frozenset(
    [
        "times",
        "twice",
        "plus",
        "minus",
        "by",
        "of",
        "than",
        "half",
        "double",
        "triple",
        "squared",
        "cubed",
        "over",
        "less",
        "sum",
        "product",
        "difference",
        "quotient",
        "thrice",
        "quarter",
        "third",
        "fourth",
        "fifth",
        "tenth",
        "percent",
        "point",
        "factor",
        "negative",
        "sqrt",
        "root",
        "mod",
        "modulo",
        "weeks",
        "days",
        "months",
        "years",
        "steps",
        "pages",
        "chapters",
        "questions",
        "parts",
        "numbers",
        "problems",
        "cases",
        "equations",
        "grade",
        "grades",
        "level",
        "levels",
        "x",
        "thirds",
        "quarters",
        "fourths",
        "fifths",
        "multiplied",
        "divided",
        "added",
        "multiply",
        "divide",
        "subtract",
        "add",
        "log",
        "ln",
        "sin",
        "cos",
        "tan",
        "step",
        "day",
        "week",
        "month",
        "year",
        "page",
        "chapter",
        "question",
        "part",
        "number",
        "problem",
        "case",
        "equation",
        "line",
        "until",
        "choose",
        "base",
        "and",
        "or",
        "to",
        "between",
        "through",
        "versus",
        "vs",
        "not",
        "isn't",
    ]
)
_WORDS_AFTER = frozenset(
    [
        "times",
        "plus",
        "minus",
        "dozen",
        "dozens",
        "hundred",
        "thousand",
        "million",
        "billion",
        "trillion",
        "remainder",
        "r",
        "mod",
        "modulo",
        "squared",
        "cubed",
        "half",
        "halves",
        "third",
        "thirds",
        "quarter",
        "quarters",
        "fourths",
        "fifths",
        "tenths",
        "hundredths",
        "choose",
        "multiplied",
        "divided",
        "sin",
        "cos",
        "tan",
        "log",
        "ln",
        "sqrt",
        "something",
        "base",
        "hundreds",
        "thousands",
        "r.",
        "rem",
        "leftover",
        "score",
    ]
)
# only directly behind a value
_NEXT_WORDS = frozenset(
    ["of", "to", "k", "m", "with", "and", "or", "through", "percent", "more-than", "out", "in"]
)
_GOES_ON = frozenset(["is", "are", "plus", "times", "minus", "equals", "gives"])
_GETS = frozenset(["get", "gets", "got", "obtain", "obtains", "gives", "yields", "have", "becomes"])
_RETRACTED = re.compile(
    r"\bwait\b|\bhmm|\bno,|\boops|\bwrong\b|\bincorrect|\bmistake|\berror\b|not possible|impossible"
    r"|contradict|doesn't make sense|does not make sense|not make sense|can't be|cannot be"
    r"|\bnot true|isn't true|not equal|\bis false|\bnot correct|not right|isn't right|not satisf"
    r"|doesn't work|does not work|not valid|invalid|inconsistent|doesn't hold|does not hold"
    r"|no solution|not work|not match|doesn't match|does not match|doesn't equal|does not equal"
    r"|\bactually\b|should be|should have|correction|correct this|re-?evaluate|re-?check"
    r"|re-?examine|re-?calculate|let me redo|try again|misunderst|misread|discrepan|\bunless\b"
    r"|too (?:small|big|large|high|low|much)|\bnot an integer|not a valid|not the same|absurd"
    r"|nonsens|extraneous|which is not|not feasible|\bapolog|\bsorry|not enough|≠|\\ne\b|\\neq\b",
    re.I,
)
_HYPOTHESIS = re.compile(
    r"\b(?:if|suppose|supposing|assume|assuming|let|whether|unless|imagine|does|would it|could"
    r"|check that|verify that|guess|test|trying|solve|solving|is it|instead of|rather than|not"
    r"|cannot|can't|doesn't|never|isn't|mistakenly|satisf(?:y|ies)|such that|must have"
    r"|must equal)\b[^.;\n]*$",
    re.I,
)
_CLAUSE = re.compile(r",|\bthen\b|\bso\b|\bwe get\b|\bwe have\b", re.I)
_ROUNDED = re.compile(
    r"round|approx|about|nearest|whole number|estimat|roughly|\bat (?:least|most)\b|ceil|floor|integer"
    r"|full\b|complete\b|around|almost|nearly|decimal|significant",
    re.I,
)
_MODULO_AFTER = re.compile(r"[\s$)]{0,3}\(?\\?(?:p?mod|modulo)\b")
_MORE_AFTER = re.compile(r"\$?[^\S\n]*(?:and|&)[^\S\n]*[($]?\d")
_INTRODUCED = re.compile(r"\b(?:get|write|have|obtain|gives|yields|becomes):\s*$")
_QUESTION = re.compile(r"[^.\n;!]{0,80}\?")


def is_incomplete(link: Link, text: str) -> str:
    """Why the sides may go on beyond what was read; empty if they do not."""
    return _incomplete_before(link, text) or _incomplete_after(link, text)


def _incomplete_before(link: Link, text: str) -> str:
    if link.place:
        both = link.left.literal is not None and link.right.literal is not None
        return "two numbers in a chain" if both and link.place == 1 else ""
    if text[link.start : link.start + 1] == "+":
        return "a running sum"
    token = link.before
    lone = link.left.literal is not None
    if link.in_formula:
        head = text[max(0, link.start - 40) : link.start].rstrip().rstrip("$\\([{").rstrip()
        if head[-2:] == " .":
            return "a sign before"
        words = re.findall(r"[^\W\d_]+", head[-24:]) if head[-1:].isalpha() else []
        if words and words[-1].lower() in _WORDS_BEFORE:
            return "a word before"
        return ""
    if token is None:
        if lone and link.list_mark:
            return "a list mark"
        previous = text[max(0, link.start - 3) : link.start]
        return "beside a formula" if previous.rstrip(" ")[-1:] in ("$", ")", "]") else ""
    if token.end == link.start and token.kind not in ("open", "punct", "other", "nl", "arrow"):
        return "a sign before"
    if lone and token.kind == "punct" and link.words_before == ("num",):
        return "a list before"
    if token.kind == "word":
        if token.text.lower() in _WORDS_BEFORE:
            return "a word before"
        if link.words_before[-2:] in (("to", "the"), ("from", "the"), ("with", "the")):
            return "a word before"
        if lone and token.text.lower() not in _GETS:
            return "a name before"
        return ""
    if lone and link.right.literal is not None and token.kind == "punct" and token.text in ",:":
        said = _INTRODUCED.search(text[max(0, link.start - 24) : link.start])
        return "" if said else "a list before"
    if token.kind in (
        "op",
        "num",
        "close",
        "pct",
        "cmd",
        "sup",
        "dots",
        "sub",
        "cur",
        "mark",
        "rel",
    ):
        return "a sign before"
    if lone and link.right.literal is not None and token.kind == "open":
        return "a remark"
    if text[link.start] in "-−–" and token.kind == "punct":
        return "a running sum"
    if token.kind == "punct" and token.text in ":._',’" and token.end == link.start:
        return "a sign before"
    if token.kind == "other" and token.text in "°√":
        return "a sign before"
    return ""


def _incomplete_after(link: Link, text: str) -> str:
    words = [word.lower() for word in link.right.after]
    if any(word in _WORDS_AFTER for word in words[:3]) or (words and words[0] in _NEXT_WORDS):
        return "a word after"
    if _MODULO_AFTER.match(text, link.end):
        return "modulo"
    if _MORE_AFTER.match(text, link.end):
        return "more after"
    token: Token | None = link.after
    if link.in_formula:
        tail = text[link.end : link.end + 24].lstrip("$ \\)]}\n")
        word = re.match(r"[A-Za-z]+", tail)
        if word and word.group().lower() in _WORDS_AFTER:
            return "a word after"
        if text[link.end : link.end + 3].lstrip("$ ").startswith("%"):
            return "a sign after"
        return ""
    if token is None:
        return (
            "beside a formula"
            if text[link.end : link.end + 2].strip(" ")[:1] in ("$", "\\")
            else ""
        )
    if token.text == "**" and not text[token.end : token.end + 1].isalnum():
        return ""
    if token.kind == "cur" and link.right.after:
        return ""
    if token.kind in ("op", "num", "cmd", "sup", "dots", "sub", "cur", "pct"):
        return "a sign after"
    if token.kind == "word" and token.text in _GOES_ON and link.right.literal is None:
        return "a word after"
    if token.kind == "open" and token.text != "{":
        return "" if token.start > link.end else "a sign after"
    if token.kind == "punct" and token.text in ":_'" and token.start == link.end:
        return "a sign after"
    if token.kind == "other" and token.text in "°√":
        return "a sign after"
    return ""


def is_rounding_announced(link: Link, text: str) -> bool:
    """Whether words near the claim speak of rounding."""
    around = text[max(0, link.start - 120) : link.end + 160]
    return _ROUNDED.search(around) is not None


def why_not_meant(link: Link, text: str) -> str:
    """Why the text does not assert a relation that does not hold; empty if it does."""
    tail = text[link.end : link.end + AFTER]
    if _RETRACTED.search(tail):
        return "retracted"
    if _QUESTION.match(tail):
        return "question"
    head = text[max(0, link.start - BEFORE) : link.start]
    line = head.rpartition("\n")[2]
    hypothesis = _HYPOTHESIS.search(line)
    if hypothesis:
        single = link.left.literal is not None and link.right.literal is not None
        if single or not _CLAUSE.search(hypothesis.group()):
            return "hypothesis"
    return ""
