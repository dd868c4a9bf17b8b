"""Answers of special kinds: labelled values, choices, times, numerals, parts, groups, number sets.

Input: a normalised text, and the function that reads what is inside it. Output: a `Node` or None.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

from orion.answers.parsing.labels import split_label
from orion.answers.parsing.parse_expression import parse_expression
from orion.answers.parsing.tree import Node, ParseError, as_point, num
from orion.answers.wording.matchers import NUMBER_WORDS

Read = Callable[[str], Node | None]

STYLE = re.compile(
    r"\\(?:text(?:bf|it|rm|normal|sf|tt)?|mbox|hbox|math(?:rm|bf|it|sf)|bf|it|rm|operatorname)"
    r"(?![A-Za-z])"
)
_STYLED = r"(?:\\(?:text(?:bf|rm|it)?|math(?:rm|bf)|mbox)\s*\{\s*)?"
_CHOICE = re.compile(
    rf"(?:option\s+|choice\s+)?{_STYLED}(?:option\s+"
    rf"|choice\s+)?[(\[]?\s*([A-Za-z])\s*[)\]]?\s*[.:]?\s*\}}?",
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
    "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9,
    "ten": 10,
    "eleven": 11, "twelve": 12, "sixteen": 16,
}  # fmt: skip
_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen"
)
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_WORDS = re.compile(r"[a-z][a-z ,;.']*")
NUMBER_WORD = re.compile(rf"\b{NUMBER_WORDS}\b")
_BARE = {ord(c): "" for c in " {}$\\~"}
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
_GROUP_LINK = re.compile(r";|\\text\s*\{\s*(?:or|and)\s*\}|\b(?:or|and)\b")


def _read_time(text: str, read: Read) -> Node | None:
    bare = STYLE.sub("", text).replace("\\ ", " ").translate({ord(c): " " for c in "{}~\\"}).strip()
    match = _TIME.fullmatch(" ".join(bare.split()))
    if match is None:
        return Node("time", (), bare) if _CLOCK.fullmatch(bare) and bare[-3:] != ":" else None
    hour, minute, half = match.groups()
    if int(hour) > 12:
        return None
    return Node("time", (), f"{int(hour)}:{minute or '00'} {half.lower()}m")


def _read_parts(text: str, read: Read) -> Node | None:
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
    nodes = [
        read(_PART_EDGES.sub("", text[mark.end() : end]))
        for mark, end in zip(marks, ends, strict=True)
    ]
    return None if None in nodes else Node("parts", tuple(n for n in nodes if n is not None))


def _read_labelled(text: str, read: Read) -> Node | None:
    """The relation "label = value" whose label is no plain name, such as P(X = 2) = 1/5."""
    if "=" not in text:
        return None
    found = split_label(text)
    if found is None:
        return None
    value = read(found[1])
    if value is None or value.kind in ("text", "choice", "list"):
        return None
    return Node("rel", (Node("sym", (), found[0]), value), ("=",))


def _read_groups(text: str, read: Read) -> Node | None:
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


def _read_number_set(text: str, read: Read) -> Node | None:
    """The set named by a text such as "all real numbers except 2" or "all integers"."""
    if _ALL_INTEGERS.fullmatch(STYLE.sub(" ", text).strip(" {}$~.").lower()):
        return Node("const", (), "integers")
    match = _ALL_REALS.fullmatch(
        STYLE.sub(" ", text).translate({ord(c): " " for c in "{}$~"}).strip().lower()
    )
    if match is None:
        return None
    reals = Node("const", (), "reals")
    if match[1] is None:
        return reals
    node = read(match[1])
    if node is None or node.kind == "text":
        return None
    # "except x = 2" excludes a value, "except 2 and 3" several
    items = [
        x.args[-1] if x.kind == "rel" else x
        for x in (node.args if node.kind in ("list", "set") else (node,))
    ]
    return Node("minus", (reals, Node("set", tuple(items))))


def _read_based_numeral(text: str, read: Read) -> Node | None:
    """A numeral with its base: 1101_2, (4A)_{16}, 1101 in base two; letters as the base allows."""
    match = _BASED.fullmatch(STYLE.sub("", text.replace("\\,", "")).translate(_BARE))
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


def _read_choice(text: str, read: Read) -> Node | None:
    match = _CHOICE.fullmatch(text)
    if match and (match[1].upper() <= "J" or (match[1].isupper() and text[0] in "([")):
        # a bare small letter is more likely a name than a choice
        dressed = match[1].isupper() or _CHOICE_DRESS.search(text) is not None
        return Node("choice", (), match[1].upper()) if dressed else None
    match = _CHOICE_VALUE.fullmatch(text)
    if match is None or _OTHER_CHOICE.search(match[3]):
        return None
    value = read(match[3])
    return Node("choice", (value,) if value is not None else (), match[1] or match[2])


def find_behind_letter(text: str) -> int | None:
    """The offset of what stands behind the letter of one choice: "B) 12", "A: 12"; None elsewhere.

    The letter may also be short for answer, as in the last line of a dialogue.
    """
    match = _CHOICE_VALUE.fullmatch(text)
    return None if match is None or _OTHER_CHOICE.search(match[3]) else match.start(3)


def _read_cardinal(text: str, read: Read) -> Node | None:
    """A whole number in words, below a million; a text where other words are beside its words."""
    words = " ".join(STYLE.sub(" ", text).strip(" {}").casefold().replace("-", " ").split())
    if _WORDS.fullmatch(words) is None or NUMBER_WORD.search(words) is None:
        return None
    head, thousands, tail = words.partition(" thousand")
    known = _cardinals()
    if not thousands and words in known:
        return num(known[words])
    rest = tail.strip().removeprefix("and ") or "zero"
    if thousands and head in known and rest in known:
        return num(1000 * known[head] + known[rest])
    # "two to one" is no product of t, w and o
    return Node("text", (), words)


@lru_cache(maxsize=1)
def _cardinals() -> dict[str, int]:
    """The words of the numbers below a thousand, hyphens as blanks; with and without "and"."""
    ones = _ONES.split()
    below = dict(zip(ones, range(20), strict=True))
    for ten, word in enumerate(_TENS.split(), 2):
        below[word] = 10 * ten
        below |= {f"{word} {ones[one]}": 10 * ten + one for one in range(1, 10)}
    found = dict(below)
    for hundred in range(1, 10):
        word = f"{ones[hundred]} hundred"
        found[word] = 100 * hundred
        for rest, value in below.items():
            if value:
                found[f"{word} {rest}"] = found[f"{word} and {rest}"] = 100 * hundred + value
    return found


# the first reader that understands a text decides
_READERS = (
    _read_cardinal,
    _read_labelled,
    _read_choice,
    _read_time,
    _read_based_numeral,
    _read_parts,
    _read_number_set,
    _read_groups,
)


def read_special(text: str, read: Read) -> Node | None:
    """The answer of a special kind that a text states; None if it is of none."""
    for reader in _READERS:
        node = reader(text, read)
        if node is not None:
            return node
    return None
