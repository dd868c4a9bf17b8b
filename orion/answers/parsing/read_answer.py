"""Read a short text as an answer: a literal, a choice, a time, a text, or mathematics.

Input: an extracted answer or a gold. Output: an `Answer`, never an exception.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache

from orion.answers.parsing.normalise import decimal_literal, unicode_to_latex
from orion.answers.parsing.parse_expression import parse_expression
from orion.answers.parsing.special_answers import STYLE, read_special
from orion.answers.parsing.tree import (
    MAX_DIGITS,
    Node,
    NotMathematicsError,
    ParseError,
    literal_to_fraction,
    num,
)
from orion.answers.parsing.typography import drop_thousands_marks, normalise_typography
from orion.answers.parsing.units import CURRENCIES
from orion.answers.wording.phrases import is_harmless

MAX_LENGTH = 20_000
MAX_GOLD_WITH_UNIT = 200

_THIN = re.compile(r"\\[,!;:> ]|(?<!\\)\$|\\\$|[\s~]+|\\(?:left|right)(?![A-Za-z])")
_THOUSANDS = re.compile(r"(?<![\d,.])[1-9]\d{0,2}(?:,\d{3})+(?![\d,])")
# "1, 2" and "3 4" are no single number; "12 000" is
_SPACED = re.compile(r"\d(?:\s|\\[,;:! ]|~)+\d|(?<!\\),(?:\s|\\[,;:! ]|~)+\d")
_SPACED_THOUSANDS = re.compile(r"[-+]?\d{1,3}(?:\s\d{3})+(?:\.\d+)?")
_TEXT_ONLY = re.compile(
    r"\s*\\(?:text(?:bf|it|rm|normal)?|mbox|hbox|mathrm|mathbf)\s*\{([^{}]*)\}\s*"
)
_NOISE = re.compile(r"[\s{}$\\~*_\"]+")
_WORD = re.compile(r"[A-Za-z]{2,}")
_ARTICLE = re.compile(r"^(?:an?|the)\s+(?!and\b|or\b)(?=\w)")
# "yes" and "red" are words, "xy" and "abc" are products
_SHORT_WORD = re.compile(r"(?=[A-Za-z]*[aeiouyAEIOUY])[A-Za-z]{2,3}")
_ESCAPED_SIGN = re.compile(r"\\.", re.S)
_OPERATOR_AT_END = re.compile(r"[-+*/^_=<>(\[{,][\s$]*$")
_CURRENCY_BEHIND = re.compile(r"\d\s*([€£¥₹¢])\s*$")
# a currency sign before a number; a dollar sign may also open a formula
_CURRENCY = re.compile(r"\s*[-+]?(?:\\?\$|([€£¥₹¢]))\s*\d")
_TEXT_BEHIND = re.compile(
    r"\s*([^A-Za-z]*\d[^A-Za-z]*?)\s*\\(?:text|mathrm|mbox)\s*\{([^{}\d]+)\}\s*"
)
# most answers: no step of the normalisation below changes them
_NUMBER = re.compile(r"-?[0-9]{1,15}(?:\.[0-9]{1,15})?")
_BARE_EXPONENT = re.compile(r"(?<![\w.])(\d)e(?=[-+]\d{1,2}(?!\d))")


@dataclass(frozen=True, slots=True)
class Answer:
    """One side of a comparison.

    raw: the text. key: the form in which equal texts are the same (`text_key`).
    node: the tree, None if the text cannot be parsed; `problem` says why.
    plain: the canonical decimal literal, if the whole answer is one.
    second: a second tree, with commas read as separators instead of thousands marks.
    currency: the unit of a currency sign before the number, such as "dollar".
    """

    raw: str
    key: str
    node: Node | None
    problem: str = ""
    plain: str | None = None
    second: Node | None = None
    currency: str | None = None


def text_key(text: str) -> str:
    """The text without case, styling, spacing and final punctuation; equal for equal texts."""
    text = STYLE.sub(" ", text).replace("\\ ", " ").replace("\\,", " ").replace("\\!", "")
    text = _NOISE.sub(" ", text).strip().strip(".,;:!").strip().casefold()
    return _ARTICLE.sub("", text)


def is_well_formed(text: str) -> bool:
    """Whether a text that cannot be read is an answer at all: its brackets have their partners.

    The brackets of an interval may differ; an operator at the end waits for its operand.
    """
    stack: list[str] = []
    for c in _ESCAPED_SIGN.sub("", text):
        if c in "([{":
            stack.append(c)
        elif c in ")]}" and (not stack or (stack.pop() == "{") != (c == "}")):
            return False
    return not stack and _OPERATOR_AT_END.search(text) is None


def is_word(text: str) -> bool:
    """Whether a short text is a word such as "yes" and not a product of names."""
    word = STYLE.sub("", text).strip(" {}$.*_\n")
    cased = word.islower() or word.istitle() or word.isupper()
    return word.lower() in ("yes", "no") or (
        len(word) == 3 and cased and _SHORT_WORD.fullmatch(word) is not None
    )


def _strip_delimiters(text: str) -> str:
    """The text without outer math delimiters, emphasis and final punctuation."""
    for _ in range(4):
        before = text
        text = text.strip().strip("*`").strip()
        for left, right in (("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]")):
            if (
                text.startswith(left)
                and text.endswith(right)
                and len(text) > len(left) + len(right) - 1
            ):
                inner = text[len(left) : -len(right)]
                if left not in inner:
                    text = inner
        if not text.endswith(".."):
            text = text.rstrip(" \n\t.;,:") if not text.endswith("\\,") else text[:-2]
        # the backslash of a thin space whose comma went with the punctuation
        if text.endswith("\\") and not text.endswith("\\\\"):
            text = text[:-1]
        if text == before:
            break
    return text


def _read_mathematics(text: str) -> tuple[Node | None, Node | None, ParseError | None]:
    """(tree, second tree, problem) of a text that is no choice, time, numeral or list of parts."""
    merged = (
        _THOUSANDS.sub(lambda m: m.group().replace(",", ""), text)
        if not set("([") & set(text) and "\\{" not in text
        else text
    )
    try:
        node = parse_expression(merged)
    except ParseError as error:
        return None, None, error
    if _BARE_EXPONENT.search(text):
        # 2e-1 is a fifth or, in a book, 2e less one
        try:
            return node, parse_expression(_BARE_EXPONENT.sub(r"\1 e ", text)), None
        except ParseError:
            return node, None, None
    if merged == text:
        return node, None, None
    try:
        second = parse_expression(text)
    except ParseError:
        return node, None, None
    return node, None if _has_list_inside(second) else second, None


def _has_list_inside(node: Node) -> bool:
    """Whether a list is where only a value can be, as in 1/5,525 read as 1/(5, 525)."""
    inside = node.kind in ("add", "mul", "pow", "fn", "pct", "deg", "unit")
    return any((inside and a.kind == "list") or _has_list_inside(a) for a in node.args)


def _is_plain_text(text: str) -> bool:
    """Whether an answer that cannot be parsed is plain words; then it is understood as a text."""
    bare = STYLE.sub(" ", text)
    return (
        len(bare) <= 200
        and bool(_WORD.search(bare))
        and not re.search(r"[\\^=<>]", bare.replace("\\ ", " "))
    )


def _read_uncached(raw: str) -> Answer:
    if _NUMBER.fullmatch(raw):
        plain = decimal_literal(raw)
        assert plain is not None
        return Answer(raw, plain, num(literal_to_fraction(plain)), "", plain)
    answer = _read_without_currency(raw)
    if "~~" in raw:
        return Answer(raw, text_key(raw), None, "struck out")
    if not any(sign in raw for sign in CURRENCIES):
        return answer
    behind = _CURRENCY_BEHIND.search(raw)
    sign = _CURRENCY.match(raw)
    if behind is not None:
        return replace(answer, currency=CURRENCIES[behind[1]])
    if sign is None or not (sign[1] or raw.count("$") % 2):
        return answer
    return replace(answer, currency=CURRENCIES[sign[1] or "$"])


def _read_without_currency(raw: str) -> Answer:
    if len(raw) > MAX_LENGTH:
        plain = decimal_literal(_strip_delimiters(drop_thousands_marks(raw)))
        if plain is None:
            return Answer(raw, "", None, "answer too long")
        node = num(literal_to_fraction(plain)) if len(plain) < MAX_DIGITS else None
        return Answer(raw, plain, node, "" if node else "number too long", plain)
    text = _strip_delimiters(normalise_typography(unicode_to_latex(raw)))
    plain = decimal_literal(_THIN.sub("", text))
    if plain is not None and (not _SPACED.search(text) or _SPACED_THOUSANDS.fullmatch(text)):
        second = None
        if "," in text:
            second = Node(
                "list",
                tuple(
                    num(literal_to_fraction(decimal_literal(p) or "0"))
                    for p in _THIN.sub("", text).split(",")
                ),
            )
        try:
            return Answer(raw, plain, num(literal_to_fraction(plain)), "", plain, second)
        except ParseError as error:
            return Answer(raw, plain, None, str(error), plain)
    if not text:
        return Answer(raw, "", None, "empty")
    key = text_key(text)
    special = read_special(text, lambda inner: read_answer(inner).node)
    if special is not None:
        return Answer(raw, key, Node("text", (), key) if special.kind == "text" else special)
    only = _TEXT_ONLY.fullmatch(text)
    node, second, problem = _read_mathematics(
        only[1] if only and any(c.isdigit() for c in only[1]) else text
    )
    if node is None and isinstance(problem, NotMathematicsError) and _is_plain_text(text):
        return Answer(raw, key, Node("text", (), key))
    if node is not None and node.kind == "text":
        node = Node("text", (), key)
    return Answer(raw, key, node, "" if problem is None else str(problem), None, second)


def read_trusted(gold: str) -> Answer | None:
    r"""The answer of a gold such as 17\text{ foo}, whose unit no table knows.

    None if words behind the value may change it.
    """
    match = _TEXT_BEHIND.fullmatch(gold) if len(gold) <= MAX_GOLD_WITH_UNIT else None
    if match is None or not is_harmless(match[2]):
        return None
    value = read_answer(match[1])
    if value.node is None:
        return None
    return Answer(gold, text_key(gold), Node("unit", (value.node,), match[2].strip()))


_read_cached = lru_cache(maxsize=4096)(_read_uncached)


def read_answer(text: str) -> Answer:
    """The answer that a text states; texts of up to 256 characters are cached."""
    return _read_cached(text) if len(text) <= 256 else _read_uncached(text)
