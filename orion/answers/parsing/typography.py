"""Normalise the typography of an answer: thousands marks, spacing, signs, escapes, micro units.

Input: a text in ASCII and LaTeX (`normalise.unicode_to_latex`). Output: str. Linear time.
"""

from __future__ import annotations

import re

from orion.answers.parsing.normalise import overline_repeating

# 1{,}234, 1\,234, 1\ 234, 1'234; no group follows a zero
_THOUSANDS_MARK = re.compile(
    r"(?<![\d,.'])[1-9]\d{0,2}(?:(?:\{(?:,|\\,|\\ )\}|\\,|\\ |')\d{3})+(?!\d)"
)
# 3.141\,592\,65: groups behind the point
_FRACTION_GROUPS = re.compile(r"(?<=\.)\d{3}(?:(?:\\,|\\ )\d{3})*(?:\\,|\\ )\d{1,3}(?!\d)")
_MARKS = {ord(c): "" for c in "{},\\ '"}
# 36 400 dollars
_SPACED_GROUPS = re.compile(r"[-+]?(?:\\?\$)?[1-9]\d{0,2}(?: \d{3})+(?=\s*(?:[A-Za-z\\%]|$))")
_OR_EQUIVALENTLY = re.compile(r"\bor,?\s+equivalently,?\s*")
_AND_A_HALF = re.compile(r"(?<![\d.,/])(\d+)\s+and\s+(?:a|one)\s+(half|quarter)\b", re.I)
_GLUED_SPACING = re.compile(r"\\(q?quad)(?=[A-Za-z])")
# a prefix of a unit behind a number: 5 \mu m, 5 μm
_MICRO = re.compile(
    r"(?<=[\d}) ])(?:\\[,; ]|~)?\s*(?:\\mu|[μµ])\s*(?:\\(?:mathrm"
    r"|text)\s*\{\s*)?([mgFsCAVlL])\s*\}?\s*$"
)
_MICRO_UNITS = {
    "m": "micrometre", "g": "microgram", "F": "microfarad", "s": "microsecond",
    "C": "microcoulomb", "A": "microampere", "V": "microvolt", "l": "microlitre", "L": "microlitre",
}  # fmt: skip
# two relations with only a wide space between them
_QUAD = re.compile(r",?\s*\\q?quad\s*(?=[A-Za-z](?:_\{?\w\}?)?\s*=)")
_SPOKEN_SIGN = re.compile(r"(?:negative|minus)\s+(?=[\d\\$(])", re.I)
# 11,\! 111,\! 100: a narrow comma with a blank behind it
_NARROW_THOUSANDS = re.compile(r"(?<![\d,.])[1-9]\d{0,2}(?:\{?,\}?\s*\\!\s*\d{3})+(?!\d)")
_NO_SPACE = {ord(c): "" for c in " \t\n,{}\\!"}
_POINTED_THOUSANDS = re.compile(r"[-+]?\d{1,3}(?:\.\d{3}){2,}")
# 3.5 x 10^6 with the letter for the sign
_LETTER_TIMES = re.compile(r"(?<=\d)\s*[xX]\s*(?=10\s*\^)")
# control characters left by a program that read the backslash of a command as an escape
_ESCAPES = {"\f": "\\f", "\b": "\\b", "\t": "\\t", "\r": "\\r", "\a": "\\a", "\v": "\\v"}
_ESCAPED = re.compile(
    "\f(?=rac|loor)|\b(?=inom|oxed|ar|eta|egin|mod)|\t(?=ext|imes|frac|heta|an|au|o)"
    "|\r(?=ight|ceil|floor|angle)|\a(?=lpha|pprox|rc|ngle)|\v(?=ec|arnothing)"
)
# \text{\$}8 is eight dollars
_TEXT_DOLLAR = re.compile(r"\\(?:text|mathrm|mbox)\s*\{\s*\\?\$\s*\}")
_CLASS = re.compile(r"\\math(?:bin|rel|ord|op|punct|open|close)(?![A-Za-z])\s*")
# the backslash of a command, doubled by a program that printed it
_ESCAPED_TWICE = re.compile(r"\\\\(?=[A-Za-z]{2,})")
_DISPLAY = re.compile(r"\\(?:display|text|script)style(?![A-Za-z])\s*")
_COLON = re.compile(r"\{\s*:\s*\}|\\colon(?![A-Za-z])")


def _spell_words(text: str) -> str:
    """The text with "and a half" as .5, "or equivalently" as "or", "negative 5" as -5."""
    if "equivalently" in text:
        text = _OR_EQUIVALENTLY.sub("or ", text)
    if " half" in text or " quarter" in text:
        text = _AND_A_HALF.sub(lambda m: m[1] + (".5" if m[2].lower() == "half" else ".25"), text)
    if text[:1] in "nmNM" and (sign := _SPOKEN_SIGN.match(text)):
        text = "-" + text[sign.end() :]
    return text


def normalise_typography(text: str) -> str:
    """The text with thousands marks, spacing, colons, periods and times signs normalised."""
    if not text.isprintable():
        text = _ESCAPED.sub(lambda m: _ESCAPES[m.group()], text)
    if "\\!" in text:
        text = _NARROW_THOUSANDS.sub(lambda m: m.group().translate(_NO_SPACE), text).replace(
            "\\!", ""
        )
    if "$" in text:
        text = _TEXT_DOLLAR.sub("", text)
    text = drop_thousands_marks(text)
    if "quad" in text:
        text = _GLUED_SPACING.sub(r"\\\1 ", text)
        if text.count("=") > 1:
            text = _QUAD.sub(", ", text)
    if "mu" in text or not text.isascii():
        text = _MICRO.sub(lambda m: f" {_MICRO_UNITS[m[1]]}", text)
    text = _spell_words(text)
    if _SPACED_GROUPS.match(text):
        text = _SPACED_GROUPS.sub(lambda m: m.group().replace(" ", ""), text, count=1)
    if "\\\\" in text and "\\begin" not in text:
        text = _ESCAPED_TWICE.sub(r"\\", text)
    if "style" in text:
        text = _DISPLAY.sub("", text)
    if "\\math" in text:
        text = _CLASS.sub("", text)
    if ":" in text or "\\colon" in text:
        text = _COLON.sub(":", text)
    if _POINTED_THOUSANDS.fullmatch(text.strip()):
        text = text.replace(".", "")
    if "x" in text or "X" in text:
        text = _LETTER_TIMES.sub(r"\\times ", text)
    return overline_repeating(text)


def drop_thousands_marks(text: str) -> str:
    r"""The text without marks between groups of three digits: 1{,}234, 1\,234, 1'234."""
    text = _THOUSANDS_MARK.sub(lambda m: m.group().translate(_MARKS), text)
    return (
        _FRACTION_GROUPS.sub(lambda m: m.group().translate(_MARKS), text) if "." in text else text
    )
