r"""Read "label = value" where the label is no plain name: P(X = 2), f^{-1}(3), \|v\|, \lim f.

Input: a normalised text. Output: the label and the text of its value, None if the left side is an
expression, so that the equation is one to be solved.
"""

from __future__ import annotations

import re

MAX_LABEL = 200
_SPACING = re.compile(r"\\(?:left|right|[bB]igg?[lr]?)(?![A-Za-z])|\\[,;:! ]|[\s~]+")
# names that are functions and no factors
_FUNCTION = (
    r"(?:\\(?:Pr|mathbb\{[A-Z]\}|mathbf\{[A-Z]\}|mathrm\{[A-Za-z]+\}|operatorname\{[A-Za-z]+\}|text\{[A-Za-z]+\}"
    r"|det|deg|dim|gcd|varphi|phi|psi|Phi)|Pr|Prob|Var|Cov|E|P|[fghFGH])"
)
_LABEL = re.compile(
    rf"{_FUNCTION}'{{0,3}}(?:_\{{?\w+\}}?)?(?:\^\{{?\(?-?\w+\)?\}}?)?(?:\(.*\)|\[.*\]|\{{.*\}})"
    r"|\(\w+(?:\\circ\w+)+\)\(.*\)"
    r"|(?:\\\||\\lVert|\\Vert|\|\|).*(?:\\\||\\rVert|\\Vert|\|\|)"
    r"|\\(?:lim|max|min|sup|inf|int|iint|oint|limsup|liminf)(?![A-Za-z]).*"
    r"|\\[dt]?frac\{(?:d|\\partial)(?:\^\{?\d\}?)?\w*\}\{(?:d|\\partial)\w(?:\^\{?\d\}?)?\}.*"
    r"|(?:m)?\\(?:angle|measuredangle|overarc|overline\{\w+\}).*"
)
# a function of any name if what it is applied to is an event or a set
_OF_SETS = re.compile(
    r"[A-Za-z]{1,3}\(.*(?:\\cup|\\cap|\\mid|\\vert|\||\\in|[=<>]|\\[lg]e|\\setminus).*\)"
)
# an operation that the problem defines: 11 \# 5, 3 \star 4, 2 @ 7
_OPERATION = re.compile(
    r"\(?-?[\w.]+\)?(?:\\#|#|@|\\star|\\ast|\\diamond|\\Diamond|\\oplus|\\otimes|\\odot|\\heartsuit|\\spadesuit"
    r"|\\clubsuit|\\circ|\\bigstar|\\nabla|\\Delta|\\triangle|\\square|\\boxplus|\\blacksquare|&|\\&|\\bullet)"
    r"\(?-?[\w.]+\)?"
)


def _equals_sign(text: str) -> int | None:
    """The offset of the only "=" outside brackets; None if there is none, or a comma or another."""
    depth, found, at = 0, None, 0
    while at < len(text):
        c = text[at]
        if c == "\\" and at + 1 < len(text):
            opening = text[at + 1]
            depth += (opening == "{") - (opening == "}")
            at += 2
            continue
        depth += (c in "([{") - (c in ")]}")
        if depth == 0 and c == "=":
            if found is not None or text[at - 1 : at] in ("<", ">", "!"):
                return None
            found = at
        if depth == 0 and c in ",;":
            return None
        at += 1
    return found


def split_label(text: str) -> tuple[str, str] | None:
    """(label without spacing, text of the value), or None."""
    at = _equals_sign(text)
    if at is None or at > MAX_LABEL:
        return None
    label, value = _SPACING.sub("", text[:at]), text[at + 1 :].strip()
    if not value or not label:
        return None
    known = _LABEL.fullmatch(label) or _OF_SETS.fullmatch(label) or _OPERATION.fullmatch(label)
    return (label, value) if known else None
