"""Read a short text as an answer: a literal, a choice, a time, a text, or mathematics.

Input: an extracted answer or a gold. Output: an `Answer`, never an exception.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from orion.answers.parsing.labels import split_label
from orion.answers.parsing.normalise import decimal_literal, overline_repeating, unicode_to_latex
from orion.answers.parsing.parse_expression import parse_expression
from orion.answers.parsing.tree import (
    MAX_DIGITS,
    Node,
    NotMathematicsError,
    ParseError,
    as_point,
    literal_to_fraction,
    num,
)
from orion.answers.wording.phrases import is_harmless

MAX_LENGTH = 20_000

_THIN = re.compile(r"\\[,!;:> ]|(?<!\\)\$|\\\$|[\s~]+|\\(?:left|right)(?![A-Za-z])")
# 1{,}234, 1\,234, 1\ 234, 1'234; no group follows a zero
_THOUSANDS_MARK = re.compile(
    r"(?<![\d,.'])[1-9]\d{0,2}(?:(?:\{(?:,|\\,|\\ )\}|\\,|\\ |')\d{3})+(?!\d)"
)
_MARKS = {ord(c): "" for c in "{},\\ '"}
_MICRO_UNITS = {
    "m": "micrometre", "g": "microgram", "F": "microfarad", "s": "microsecond",
    "C": "microcoulomb", "A": "microampere", "V": "microvolt", "l": "microlitre", "L": "microlitre",
}  # fmt: skip
# two relations with only a wide space between them
_QUAD = re.compile(r",?\s*\\q?quad\s*(?=[A-Za-z](?:_\{?\w\}?)?\s*=)")
_SPOKEN_SIGN = re.compile(r"(?:negative|minus)\s+(?=[\d\\$(])", re.I)
_GLUED_SPACING = re.compile(r"\\(q?quad)(?=[A-Za-z])")
# a prefix of a unit behind a number: 5 \mu m, 5 μm
_MICRO = re.compile(
    r"(?<=[\d}) ])(?:\\[,; ]|~)?\s*(?:\\mu|[μµ])\s*(?:\\(?:mathrm|text)\s*\{\s*)?([mgFsCAVlL])\s*\}?\s*$"
)
# 11,\! 111,\! 100: a narrow comma with a blank behind it
_NARROW_THOUSANDS = re.compile(r"(?<![\d,.])\d{1,3}(?:\{?,\}?\\!\s*\d{3})+(?!\d)")
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
_THOUSANDS = re.compile(r"(?<![\d,.])[1-9]\d{0,2}(?:,\d{3})+(?![\d,])")
# "1, 2" and "3 4" are no single number; "12 000" is
_SPACED = re.compile(r"\d\s+\d|,\s+\d")
_SPACED_THOUSANDS = re.compile(r"[-+]?\d{1,3}(?:\s\d{3})+(?:\.\d+)?")
_STYLED = r"(?:\\(?:text(?:bf|rm|it)?|math(?:rm|bf)|mbox)\s*\{\s*)?"
_CHOICE = re.compile(
    rf"(?:option\s+|choice\s+)?{_STYLED}(?:option\s+|choice\s+)?[(\[]?\s*([A-Za-z])\s*[)\]]?\s*[.:]?\s*\}}?",
    re.I,
)
_OTHER_CHOICE = re.compile(r"\([A-J]\)|(?<![A-Za-z\\])[A-J][).:]|\bor\b|\bwrong\b|\bnot\b")
_CHOICE_DRESS = re.compile(r"[().:\[\]]|option|choice", re.I)
_CHOICE_VALUE = re.compile(
    rf"{_STYLED}(?:\(([A-J])\)|([A-J])[).:])(?:\\ |\s)*\}}?"
    r"(?!(?<=:)(?:[A-Za-z]|\\[A-Za-z]))(?:\\[ ,;]|\\q?quad|[\s:.~])*(?![,;&]|and\b|or\b)(\S.*)",
    re.S,
)
_TIME = re.compile(r"(\d{1,2})(?::(\d{2}))?\s*([ap])\.?\s*m\.?", re.I)
_CLOCK = re.compile(r"\d{1,2}:\d{2}(?::\d{2})?")
_BASED = re.compile(
    r"\(?(-?)([0-9A-Za-z]+?)(?:\.([0-9A-Za-z]+?))?\)?"
    r"(?:_\(?(?:base)?|\(?(?:in)?base-?)(\d{1,2}|[a-z]{3,})\)?"
)
_BASE_NAMES = {
    name: base
    for base, name in enumerate(
        [
            "two",
            "three",
            "four",
            "five",
            "six",
            "seven",
            "eight",
            "nine",
            "ten",
            "eleven",
            "twelve",
        ],
        2,
    )
} | {"sixteen": 16}
_BARE = {ord(c): "" for c in " {}$\\~"}
_STYLE = re.compile(
    r"\\(?:text(?:bf|it|rm|normal|sf|tt)?|mbox|hbox|math(?:rm|bf|it|sf)|bf|it|rm|operatorname)"
    r"(?![A-Za-z])"
)
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
_TEXT_BEHIND = re.compile(
    r"\s*([^A-Za-z]*\d[^A-Za-z]*?)\s*\\(?:text|mathrm|mbox)\s*\{([^{}\d]+)\}\s*"
)
_BARE_EXPONENT = re.compile(r"(?<![\w.])(\d)e(?=[-+]\d{1,2}(?!\d))")
_LABELLED = re.compile(
    r"(?:^|(?<=[\s,;.}]))(?:\\text(?:bf|it|rm)?\s*\{)?\s*\(([a-e]|i{1,3}|iv|v|[1-5])\)\s*\}?[:\s]?",
    re.I,
)
_PART_EDGES = re.compile(r"^(?:\\[ ,;]|\\quad|\s)+|(?:[\s,;$]|\\(?:quad|[ ,;])?)+$")
_LABELS = (("a", "b", "c", "d", "e"), ("i", "ii", "iii", "iv", "v"), ("1", "2", "3", "4", "5"))
_ALL_INTEGERS = re.compile(
    r"(?:[a-z]\s+(?:is|can be)\s+)?(?:all|any)\s+(?:the\s+)?integers?(?:\s+[a-z])?"
)
_ALL_REALS = re.compile(
    r"(?:x\s+(?:is|can be)\s+)?(?:all|any)\s+reals?(?:\s+(?:numbers?|values?))?"
    r"(?:\s+of\s+[a-z]|\s+[a-z])?"
    r"(?:[\s,]+(?:except|excluding|other than|but(?: not)?|not equal to)(?:\s+for)?\s+(.+))?"
)


@dataclass(frozen=True, slots=True)
class Answer:
    """One side of a comparison.

    raw: the text. key: the form in which equal texts are the same (`text_key`).
    node: the tree, None if the text cannot be parsed; `problem` says why.
    plain: the canonical decimal literal, if the whole answer is one.
    second: a second tree, with commas read as separators instead of thousands marks.
    """

    raw: str
    key: str
    node: Node | None
    problem: str = ""
    plain: str | None = None
    second: Node | None = None


def text_key(text: str) -> str:
    """The text without case, styling, spacing and final punctuation; equal for equal texts."""
    text = _STYLE.sub(" ", text).replace("\\ ", " ").replace("\\,", " ").replace("\\!", "")
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
    word = _STYLE.sub("", text).strip(" {}$.*_\n")
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


def _read_time(text: str) -> Node | None:
    bare = (
        _STYLE.sub("", text).replace("\\ ", " ").translate({ord(c): " " for c in "{}~\\"}).strip()
    )
    match = _TIME.fullmatch(" ".join(bare.split()))
    if match is None:
        return Node("time", (), bare) if _CLOCK.fullmatch(bare) and bare[-3:] != ":" else None
    hour, minute, half = match.groups()
    if int(hour) > 12:
        return None
    return Node("time", (), f"{int(hour)}:{minute or '00'} {half.lower()}m")


def _read_parts(text: str) -> Node | None:
    """The answers to (a), (b), ... of a problem in several parts."""
    marks = list(_LABELLED.finditer(text))
    names = tuple(mark[1].lower() for mark in marks)
    if (
        len(marks) < 2
        or names not in [labels[: len(names)] for labels in _LABELS]
        or text[: marks[0].start()].strip(" {}\\$")
    ):
        return None
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    answers = [
        read_answer(_PART_EDGES.sub("", text[mark.end() : end]))
        for mark, end in zip(marks, ends, strict=True)
    ]
    nodes = [answer.node for answer in answers]
    return None if None in nodes else Node("parts", tuple(n for n in nodes if n is not None))


def _read_labelled(text: str) -> Node | None:
    """The relation "label = value" whose label is no plain name, such as P(X = 2) = 1/5."""
    if "=" not in text:
        return None
    found = split_label(text)
    if found is None:
        return None
    value = read_answer(found[1]).node
    if value is None or value.kind in ("text", "choice", "list"):
        return None
    return Node("rel", (Node("sym", (), found[0]), value), ("=",))


_GROUP_LINK = re.compile(r";|\\text\s*\{\s*(?:or|and)\s*\}|\b(?:or|and)\b")


def _read_groups(text: str) -> Node | None:
    """Groups of labelled values: p = 5, q = 2; p = 7, q = 2 as (5, 2) and (7, 2)."""
    if "=" not in text or "," not in text:
        return None
    groups = _GROUP_LINK.split(text)
    if not 2 <= len(groups) <= 16 or any(c in group for c in "([" for group in groups):
        return None
    points = []
    for group in groups:
        try:
            point = as_point(parse_expression(group))
        except ParseError:
            return None
        if point.kind != "tuple":
            return None
        points.append(point)
    return Node("list", tuple(points))


def _read_number_set(text: str) -> Node | None:
    """The set named by a text such as "all real numbers except 2" or "all integers"."""
    if _ALL_INTEGERS.fullmatch(_STYLE.sub(" ", text).strip(" {}$~.").lower()):
        return Node("const", (), "integers")
    match = _ALL_REALS.fullmatch(
        _STYLE.sub(" ", text).translate({ord(c): " " for c in "{}$~"}).strip().lower()
    )
    if match is None:
        return None
    reals = Node("const", (), "reals")
    if match[1] is None:
        return reals
    node = read_answer(match[1]).node
    if node is None or node.kind == "text":
        return None
    # "except x = 2" excludes a value, "except 2 and 3" several
    items = [
        x.args[-1] if x.kind == "rel" else x
        for x in (node.args if node.kind in ("list", "set") else (node,))
    ]
    return Node("minus", (reals, Node("set", tuple(items))))


def _read_based_numeral(text: str) -> Node | None:
    """A numeral with its base: 1101_2, (4A)_{16}, 1101 in base two; letters as the base allows."""
    match = _BASED.fullmatch(_STYLE.sub("", text.replace("\\,", "")).translate(_BARE))
    if match is None:
        return None
    sign, whole, part, named = match.groups()
    base = int(named) if named.isdecimal() else _BASE_NAMES.get(named, 0)
    letters = [c for c in whole + (part or "") if c.isalpha()]
    # x_{12} and ab_{16} are names with a subscript
    # small letters alone are digits only in base 16: ff_{16}
    digits_alone = whole.isupper() or any(c.isdecimal() for c in whole) or base == 16
    if letters and (len(whole) < 2 or not digits_alone):
        return None
    if not 2 <= base <= 36 or any(int(c, 36) >= base for c in letters):
        return None
    digits = (whole.lstrip("0") or "0") + (
        f".{part.rstrip('0')}" if part and part.rstrip("0") else ""
    )
    return Node("based", (), f"{sign}{digits.upper()}_{base}")


def _read_choice(text: str) -> Node | None:
    match = _CHOICE.fullmatch(text)
    if match and (match[1].upper() <= "J" or (match[1].isupper() and text[0] in "([")):
        # a bare small letter is more likely a name than a choice
        dressed = match[1].isupper() or _CHOICE_DRESS.search(text) is not None
        return Node("choice", (), match[1].upper()) if dressed else None
    match = _CHOICE_VALUE.fullmatch(text)
    if match is None or _OTHER_CHOICE.search(match[3]):
        return None
    value = read_answer(match[3]).node
    return Node("choice", (value,) if value is not None else (), match[1] or match[2])


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
    bare = _STYLE.sub(" ", text)
    return (
        len(bare) <= 200
        and bool(_WORD.search(bare))
        and not re.search(r"[\\^=<>]", bare.replace("\\ ", " "))
    )


def _normalise_typography(text: str) -> str:
    """The text with thousands marks, spacing, colons, periods and times signs normalised."""
    if not text.isprintable():
        text = _ESCAPED.sub(lambda m: _ESCAPES[m.group()], text)
    if "\\!" in text:
        text = _NARROW_THOUSANDS.sub(lambda m: m.group().translate(_NO_SPACE), text).replace(
            "\\!", ""
        )
    if "$" in text:
        text = _TEXT_DOLLAR.sub("", text)
    text = _THOUSANDS_MARK.sub(lambda m: m.group().translate(_MARKS), text)
    if "quad" in text:
        text = _GLUED_SPACING.sub(r"\\\1 ", text)
        if text.count("=") > 1:
            text = _QUAD.sub(", ", text)
    if "mu" in text or not text.isascii():
        text = _MICRO.sub(lambda m: f" {_MICRO_UNITS[m[1]]}", text)
    if text[:1] in "nmNM" and (sign := _SPOKEN_SIGN.match(text)):
        text = "-" + text[sign.end() :]
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


def _read_uncached(raw: str) -> Answer:
    if len(raw) > MAX_LENGTH:
        plain = decimal_literal(
            _strip_delimiters(_THOUSANDS_MARK.sub(lambda m: m.group().translate(_MARKS), raw))
        )
        if plain is None:
            return Answer(raw, "", None, "answer too long")
        node = num(literal_to_fraction(plain)) if len(plain) < MAX_DIGITS else None
        return Answer(raw, plain, node, "" if node else "number too long", plain)
    text = _strip_delimiters(_normalise_typography(unicode_to_latex(raw)))
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
    special = (
        _read_labelled(text)
        or _read_choice(text)
        or _read_time(text)
        or _read_based_numeral(text)
        or _read_parts(text)
        or _read_number_set(text)
        or _read_groups(text)
    )
    if special is not None:
        return Answer(raw, key, special)
    only = _TEXT_ONLY.fullmatch(text)
    node, second, problem = _read_mathematics(
        only[1] if only and any(c.isdigit() for c in only[1]) else text
    )
    if node is None and isinstance(problem, NotMathematicsError) and _is_plain_text(text):
        return Answer(raw, key, Node("text", (), key))
    if node is not None and node.kind == "text":
        node = Node("text", (), key)
    return Answer(raw, key, node, "" if problem is None else str(problem), None, second)


def without_unknown_unit(gold: str) -> str | None:
    """The value of a gold such as 17\\text{ foo}, None if words behind it may change it."""
    match = _TEXT_BEHIND.fullmatch(gold)
    return match[1] if match and is_harmless(match[2]) else None


_read_cached = lru_cache(maxsize=4096)(_read_uncached)


def read_answer(text: str) -> Answer:
    """The answer that a text states; texts of up to 256 characters are cached."""
    return _read_cached(text) if len(text) <= 256 else _read_uncached(text)
