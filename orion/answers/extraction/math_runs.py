r"""Find runs of undelimited mathematics in running text: `12\sqrt{5}`, `(3, 4)`, `x \ge 2`.

Input: a text. Output: offsets. A number is never cut out of the run that it is part of. One linear
pass over the tokens of a bounded piece.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from orion.answers.parsing.vocabulary import word_set

NAMED_FUNCTIONS = word_set(
    "sqrt pi arcsin arccos arctan sin cos tan cot sec csc ln log exp gcd lcm mod inf infinity oo "
    "choose"
)
_TOKEN = re.compile(
    # a word of prose: no alternative below may begin or match inside it but a function's name
    r"(?P<prose>[A-Za-z]{4,})"
    r"|(?P<number>\d{1,3}(?:,\d{3})+(?!\d)(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)"
    r"|(?P<edge>\\(?:begin|end)\{(?:align|aligned|equation|gather|gathered|eqnarray|multline"
    r"|split)\*?\})"
    r"|(?P<group>\\(?:text|mathrm|textbf|textit|mbox|operatorname|mathbf|mathbb|mathcal|begin"
    r"|end)\*?\s*\{[^{}\n]{0,200}\})"
    r"|(?P<command>\\(?:[A-Za-z]+|.))"
    rf"|(?P<word>(?<![A-Za-z])(?:{'|'.join(sorted(NAMED_FUNCTIONS))})(?![A-Za-z]))"
    r"|(?P<abbreviation>(?<![A-Za-z])(?:i\.\s?e|e\.\s?g)\b)"
    r"|(?P<letters>(?<=[\d)}\]^_])[A-Za-zπθ]{1,3}(?![A-Za-z'’])"
    r"|(?<![A-Za-z'’])[A-Za-zπθαβγλφω]{1,2}(?=[\d(^_²³]|\s?[=<>≤≥])"
    r"|(?<![A-Za-z'’])[B-HJ-Zb-zπθαβγλφω](?![A-Za-z'’])"
    # "a", "A" and "I" are words unless an operator or a bracket is beside them
    r"|(?<=[(+*/^=\-])[aAI](?![A-Za-z'’])|(?<![A-Za-z'’])[aAI](?=\s?[)+*/^=<>²³]|\s[-−]\s))"
    r"|(?P<open>[(\[{])|(?P<close>[)\]}])"
    r"|(?P<operator>[-−–－+*/^_=<>≤≥≠≈±∓×÷·⋅√∞°′|!%&∪∩∈∅²³⁰¹⁴-⁹⁻ⁿ₀-₉½¼¾⅐-⅞⌊⌋⌈⌉\u0304\u0305\u0307])"
    r"|(?P<ratio>(?<=[\w}]):(?=[\w\\{])|(?<= ): )"
    r"|(?P<money>[$€£¥₹])"
    r"|(?P<comma>,)"
    r"|(?P<space>[ \t\u00a0\u2009\u202f]+)",
)
_OPENING = {"(": ")", "[": "]", "{": "}"}
# what may be cut from the ends of a run: punctuation, emphasis, operators without their operand
_TRIM_BEFORE = " \t\u00a0=:,*·%/!&^_|)]}≈°"
_TRIM_BEHIND = " \t\u00a0=:,;*+-−–/<>(|[{_^&$"
_BULLET = re.compile(r"(?:^|(?<=\n))[ \t>]*(?:[-*•+]|\d{1,2}[.)])[ \t]+")
_WORD_BEHIND = re.compile(
    r"\s+and\s+(?:a|one)\s+(?:half|quarter)\b"
    r"|\s?(?:(?:hundred|thousand|million|billion|trillion|dozen|lakh|crore)\b(?!-)"
    r"|(?:percent|per cent|percentage|pct)\b|[ap]\.?m\b\.?)",
    re.I,
)
_NEGATIVE = re.compile(r"\b(?:negative|minus)\s+$", re.I)
_DASH = re.compile(r"[-–−—]+[ \t]+")
_LABEL = re.compile(r"\s*[A-Za-zπθαβγλφω](?:_?\{?\w{0,2}\}?)'?(?:\([^()=]{1,40}\))?\s*")
_UNIT_AT_END = re.compile(r"(?<=\d)\s*[A-Za-z]+(?:\^\d)?\s*$")
_TIMES = re.compile(r"(?<=[\d)\s])[xX](?=[\d(\s])")
_COMMAND = re.compile(r"\\(?:text|mathrm|textbf|mbox)\s*\{[^{}]*\}|\\[A-Za-z]+")


def _untrimmed_runs(text: str, low: int, high: int) -> Iterator[tuple[int, int]]:
    """(start, end) of the maximal runs of tokens in `text[low:high]`, in order."""
    first, last, depth = -1, -1, 0
    for token in _TOKEN.finditer(text, low, high):
        kind = token.lastgroup
        if kind == "prose" and token.group() not in NAMED_FUNCTIONS:
            continue
        edge = kind in ("edge", "abbreviation")
        touches = last >= 0 and (
            token.start() == last or (depth > 0 and not text[last : token.start()].strip())
        )
        if (edge or not touches) and first >= 0:
            yield first, last
        if edge:
            # the edge of an aligned display belongs to no run
            first, last, depth = -1, -1, 0
            continue
        if not touches:
            first, depth = token.start(), 0
        if kind == "open":
            depth += 1
        elif kind == "close":
            depth = max(depth - 1, 0)
        elif kind == "group":
            name = token.group()
            depth = max(depth + name.startswith("\\begin") - name.startswith("\\end"), 0)
        last = token.end()
    if first >= 0:
        yield first, last


def iterate_runs(text: str, low: int, high: int) -> Iterator[tuple[int, int]]:
    """(start, end) of the runs of mathematics in `text[low:high]`, trimmed, in order."""
    for first, last in _untrimmed_runs(text, low, high):
        span = None if text[first:last].isspace() else _trim(text, first, last)
        if span is not None:
            yield span


def iterate_runs_from_end(text: str, low: int, high: int) -> Iterator[tuple[int, int]]:
    """The runs of `iterate_runs`, the last one first; only those asked for are trimmed."""
    for first, last in reversed(list(_untrimmed_runs(text, low, high))):
        span = None if text[first:last].isspace() else _trim(text, first, last)
        if span is not None:
            yield span


def find_runs(text: str, low: int, high: int) -> list[tuple[int, int]]:
    """The runs of `iterate_runs` as a list."""
    return list(iterate_runs(text, low, high))


def _trim(text: str, start: int, end: int) -> tuple[int, int] | None:
    """The run without loose punctuation at its ends; None if no mathematics is left."""
    bullet = _BULLET.match(text, start, end)
    if bullet is not None and (start == 0 or text[start - 1] == "\n"):
        start = bullet.end()
    for _ in range(8):
        before = start, end
        while start < end and text[start] in _TRIM_BEFORE:
            start += 1
        while (
            end > start
            and text[end - 1] in _TRIM_BEHIND
            and text[end - 2 : end] not in ("\\%", "\\}")
        ):
            end -= 1
        # a bracket that the run closes and does not open, or the other way round
        opened = _find_unmatched(text, start, end)
        if opened is not None:
            if opened == end - 1 or (
                text[opened] in ")]}" and not text[opened + 1 : end].strip(" .,!")
            ):
                end = opened
            elif opened == start:
                start += 1
            else:
                break
        if (start, end) == before:
            break
    if (
        text[end - 1 : end] == "!"
        and text[start : end - 1].isdigit()
        and text[end : end + 1] in ("", " ", "\n")
    ):
        end -= 1
    if text[start : start + 1] == "$" and text[end : end + 1] == "$":
        # the delimiters of a formula, and no price
        while start < end and text[start] == "$":
            start += 1
    dash = _DASH.match(text, start, end)
    if dash is not None:
        start = dash.end()
    piece = text[start:end]
    if not any(c.isalnum() or c in "∅∞π" for c in piece):
        return None
    return _widen(text, start, end)


def _find_unmatched(text: str, start: int, end: int) -> int | None:
    """The offset of a bracket without its partner; an interval may mix round and square ones."""
    stack: list[int] = []
    at = start
    while at < end:
        c = text[at]
        if c == "\\":
            at += 2
            continue
        if c in _OPENING:
            stack.append(at)
        elif c in ")]}":
            if not stack:
                return at
            stack.pop()
        at += 1
    return stack[-1] if stack else None


def _widen(text: str, start: int, end: int) -> tuple[int, int]:
    """The run with the words that belong to its number: "million", "percent", "negative"."""
    if text[end - 1].isdigit():
        found = _WORD_BEHIND.match(text, end)
        end = end if found is None else found.end()
    sign = _NEGATIVE.search(text, max(0, start - 12), start)
    return (sign.start() if sign else start), end


def split_relation(text: str, start: int, end: int) -> tuple[int, int]:
    """The value of a run: of `72/24 = 3` and `N = 42` the right side, of `x^2 = 9` the whole."""
    depth, marks, commas = 0, [], 0
    for at in range(start, end):
        c = text[at]
        depth += (c in _OPENING) - (c in ")]}")
        if depth == 0 and c == "=" and text[at - 1] not in "<>!≤≥":
            marks.append(at)
        if (depth == 0 and c in "<>≤≥≠") or text.startswith(("\\le", "\\ge", "\\ne"), at):
            return start, end
        commas += depth == 0 and c == "," and text[at + 1 : at + 2] == " "
    if not marks or (commas and len(marks) > 1):
        return start, end
    sides = [text[a:b] for a, b in zip([start, *(m + 1 for m in marks)], marks, strict=False)]
    for side in sides:
        bare = _TIMES.sub("*", _COMMAND.sub(" ", side))
        if any(c.isalpha() for c in bare) and not _LABEL.fullmatch(side):
            return start, end
    value = _UNIT_AT_END.sub("", _COMMAND.sub(" ", text[marks[-1] + 1 : end]))
    if any(c.isalpha() for c in value):
        # "0 = 2x - 4" is an equation to solve, and "y = 2x" may be one of a line
        return start, end
    low = marks[-1] + 1
    while low < end and text[low] in " \t&*":
        low += 1
    return (low, end) if low < end else (start, end)
