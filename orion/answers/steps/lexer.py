"""Split a text into blocks of prose and formulas, and a block into tokens with their offsets.

Input: any str. Output: `Block` and `Token`. Linear time: every pattern is a plain alternation, and
the end of a formula is looked for within `MAX_FORMULA` characters.
"""

from __future__ import annotations

import re
from typing import NamedTuple

MAX_FORMULA = 6_000
MAX_DRAWING = 24_000


class Token(NamedTuple):
    """One token: its kind, its text, and its offsets in the whole text."""

    kind: str
    text: str
    start: int
    end: int


class Block(NamedTuple):
    """A formula or a piece of prose: its content is text[start:end]."""

    is_formula: bool
    start: int
    end: int


# a letter: neither a digit nor a raised, lowered or vulgar one
_LETTER = r"[^\W\d_²³¹¼-¾⁰-ₜ]"
_TOKEN = re.compile(
    r"(?P<space>[^\S\n]+)"
    r"|(?P<mark><<[^<>\n]{0,300}>>)"
    r"|(?P<num>\d{1,3}(?:(?:,|\{,\}|,\\!|\\,|\{\\,\})\d{3})+(?!\d)(?:\.\d+)?"
    r"|\d+(?:\.\d+|\.(?=\\(?:overline|bar|dot)\b))?|\.\d+)"
    r"|(?P<sup>[⁰¹²³⁴-⁹⁻]+)|(?P<sub>[₀-₉]+)"
    rf"|(?P<word>{_LETTER}{{2,}}(?:['’-]{_LETTER}{{2,}}|['’]s)*|{_LETTER})"
    r"|(?P<cmd>\\(?:[A-Za-z]+|.))"
    r"|(?P<arrow>=>|->|→|⇒|⟹|<-)"
    r"|(?P<rel>==|<=|>=|(?<![\w)\]}])!=|=|≈|≠|≤|≥|≡|<|>|≃|≅)"
    r"|(?P<op>\*\*|[+\-−–—*/×·∙⋅÷^!⁄])"
    r"|(?P<open>[(\[{])|(?P<close>[)\]}])"
    r"|(?P<cur>[$€£¥₹])|(?P<pct>%)"
    r"|(?P<nl>\n)|(?P<dots>\.{2,}|…)|(?P<punct>[,;:.?&|_'’\"`~])|(?P<other>.)",
    re.S,
)
_ALIGNED = "align|aligned|equation|gather|gathered|split|multline|eqnarray|alignat|flalign"
_OPENING = re.compile(
    r"\\\$|\$\$|\$|\\\[|\\\(|\\begin\{(?:" + _ALIGNED + r")\*?\}|\[asy\]|```(?:python|py|asy)\b"
)
_CLOSING = {
    "\\[": "\\]",
    "\\(": "\\)",
    "$$": "$$",
    "[asy]": "[/asy]",
    "```": "```",
}
_DOLLAR = re.compile(r"(?<!\\)(?:\\\\)*\$|\n\s*\n")
_WORDS = re.compile(r"(?<![\\A-Za-z\d^_{}])[A-Za-z]{3,}(?![A-Za-z\d^_{}])")
_TEXT_GROUP = re.compile(
    r"\\(?:text|mbox|mathrm|textbf|operatorname|textrm|begin|end)\*?\{[^{}]*\}"
)
_MONEY = re.compile(r"\s*[-(]?\s*(?:\d|\.\d|<<|[A-Z]0\b)")
_FUNCTIONS = frozenset(("sin", "cos", "tan", "log", "gcd", "lcm", "max", "min", "mod", "sqrt"))


def _is_formula(text: str, start: int, end: int) -> bool:
    """Whether what stands between two dollar signs is a formula, and not two sums of money."""
    inside = text[start:end]
    if not inside.strip() or "<<" in inside:
        return False
    if not _MONEY.match(inside):
        words = _WORDS.findall(_TEXT_GROUP.sub("", inside))
        return inside[0] != " " or len(words) < 2
    if inside[-1].isspace() or inside[-1] in "+-*/=([{<>×÷−–:":
        return False
    if inside[-1] in ",.;" and not ("\\" in inside or "=" in inside or "^" in inside):
        return False
    if text[end + 1 : end + 2].isdigit():
        return False
    words = _WORDS.findall(_TEXT_GROUP.sub("", inside))
    return all(word in _FUNCTIONS for word in words)


def _closing(text: str, opening: str, at: int) -> tuple[int, int] | None:
    """Where the content that begins at `at` ends, and where its closing sign ends."""
    limit = min(len(text), at + MAX_FORMULA)
    if opening == "$":
        end = _DOLLAR.search(text, at, limit)
        if end is None or end.group()[-1] != "$" or not _is_formula(text, at, end.end() - 1):
            return None
        return end.end() - 1, end.end()
    if opening in ("[asy]", "```"):
        limit = min(len(text), at + MAX_DRAWING)
    sign = _CLOSING.get(opening) or "\\end" + opening[6:]
    start = text.find(sign, at, limit)
    return (start, start + len(sign)) if start >= 0 else None


def split_blocks(text: str) -> list[Block]:
    """The blocks of a text in order. Code and drawings are in none of them."""
    blocks: list[Block] = []
    # opening → up to where its closing sign was looked for and not found
    missing: dict[str, int] = {}
    at = prose = 0
    while match := _OPENING.search(text, at):
        opening = "```" if match.group().startswith("```") else match.group()
        at = match.end()
        if opening == "\\$" or at < missing.get(opening, 0):
            continue
        found = _closing(text, opening, at)
        if found is None:
            if opening != "$":
                missing[opening] = at + MAX_FORMULA // 2
            continue
        if match.start() > prose:
            blocks.append(Block(False, prose, match.start()))
        if opening not in ("[asy]", "```"):
            blocks.append(Block(True, at, found[0]))
        at = prose = found[1]
    if len(text) > prose:
        blocks.append(Block(False, prose, len(text)))
    return blocks


def tokenize(text: str, start: int, end: int) -> list[Token]:
    """The tokens of text[start:end] without blanks."""
    return [
        Token(match.lastgroup or "other", match.group(), match.start(), match.end())
        for match in _TOKEN.finditer(text, start, end)
        if match.lastgroup != "space"
    ]
