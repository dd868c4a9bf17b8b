"""Where the final answer of a response stands: the last box, else a stated answer, else the last value of a text that ended.

Inputs: the response (any str), a policy, whether the output ended by itself. Outputs: a `Span` with offsets into the response,
or one without text whose reason says why there is no answer. One pass from the end, linear time. Not runnable.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from orion.answers.context import denied, doubted, part_of_more, unsure
from orion.answers.inline import ended, last_value
from orion.answers.policies import Policy
from orion.answers.stated import stated_answer

# what is searched for words and values, counted from the end; boxes are found anywhere
TAIL = 1 << 16
MAX_BOXES = 64
# signs of "less than" that are looked at, counted from the end
MAX_TAGS = 20_000
# a text that goes on for longer behind a stated answer, and then breaks off, has not committed itself to it
MAX_AFTERTHOUGHT = 1_000
MAX_ANSWER = 20_000

_THINK_ENDS = (
    "</think>",
    "</thinking>",
    "</thought>",
    "<End_of_Draft>",
    "<|end_of_thought|>",
    "<|message|>",
)
_THINK_STARTS = ("<think>", "<thinking>", "<thought>", "<Begin_of_Draft>", "<|begin_of_thought|>")
_STOPS = (
    "<|im_end|>",
    "<|im_start|>",
    "<|endoftext|>",
    "<|eot_id|>",
    "<|end|>",
    "<|return|>",
    "<end_of_turn>",
    "</s>",
)
_DIGITS = re.compile(r"[-+\d.,{}\\!$\s]*")
_TAG = re.compile("|".join(map(re.escape, (*_THINK_ENDS, *_THINK_STARTS, *_STOPS))))
# what may stand between the boxes of a row: space, delimiters, emphasis
_BETWEEN_ROW = re.compile(r"\\(?:q?quad|[,;:! ()\[\]])|[\s$&*/|]")
_DENIED_BEHIND = re.compile(r"[\s$]*(?:\\[)\]])?\s*(?:is|was)\s+(?:not|wrong|incorrect)\b")
_BLANK = re.compile(r"\s*")
_BRACES = re.compile(r"\\.|[{}]", re.S)
_BARE_BOX = re.compile(
    r"\s*(\\[dt]?frac\s*(?:\d\s*\d|\{[^{}]*\}\s*\{[^{}]*\})|-?[\w.,/]+|\\[A-Za-z]+)"
)
_BOX_CUT = re.compile(r"\\[)\]]|(?<!\\)\$|\n")
_BETWEEN = re.compile(
    r"(?:[\s$&{}]|[,;]|\\[()\[\]]|\\q?quad|\\text|\\left|\\right|\(\w\)|\b(?:and|or|for|part|the|other|is|are)\b|\b\w{1,4}\s*=)*+"
)
_JOINS = re.compile(r"[,;&]|\band\b|\bor\b")
_NEGATED = re.compile(r"(?:\b(?:not|cannot|never)|n't)(?:\s+(?:be|equal(?: to)?))?[\s$(\\\[]*$")


class Span(NamedTuple):
    """An extracted answer: its text (None: no answer), offsets into the response, how it was found, or why not."""

    text: str | None
    start: int | None
    end: int | None
    method: str
    reason: str


def _nothing(reason: str) -> Span:
    return Span(None, None, None, "", reason)


def region(response: str) -> tuple[int, int, bool]:
    """(start, end, thinking left open): the part of the response that may state an answer."""
    tags = _tags(response)
    low = max((at + len(mark) for at, mark in tags if mark in _THINK_ENDS), default=0)
    still_open = any(at >= low for at, mark in tags if mark in _THINK_STARTS)
    # a chat template may be echoed at the very start; a stop token ends only what has begun
    begun = _BLANK.match(response, low).end()  # type: ignore[union-attr]
    # <s>...</s> strikes a text out and ends nothing
    stops = [
        at
        for at, mark in tags
        if mark in _STOPS and at > begun and not (mark == "</s>" and "<s>" in response)
    ]
    return low, min(stops, default=len(response)), still_open


def _tags(response: str) -> list[tuple[int, str]]:
    """(offset, mark) of the marks that stand in a response, the last ones first."""
    found = []
    at = response.rfind("<")
    for _ in range(MAX_TAGS):
        if at < 0:
            break
        tag = _TAG.match(response, at)
        if tag:
            found.append((at, tag.group()))
        at = response.rfind("<", 0, at)
    return found


class _Box(NamedTuple):
    start: int
    end: int
    stop: int
    closed: bool


def _read_box(text: str, command: int, high: int) -> _Box:
    """The content `text[start:end]` of the box whose command starts at `command`; `stop` is the offset behind the box."""
    at = command + (6 if text.startswith("\\boxed", command) else 5)
    brace = at
    while brace < high and text[brace] in " \t\n":
        brace += 1
    if brace >= high or text[brace] != "{":
        match = _BARE_BOX.match(text, at, high)
        return (
            _Box(match.start(1), match.end(1), match.end(), True)
            if match
            else _Box(at, at, at, True)
        )
    depth = 0
    for match in _BRACES.finditer(text, brace, high):
        token = match.group()
        if token == "{":
            depth += 1
        elif token == "}":
            depth -= 1
            if depth == 0:
                return _Box(brace + 1, match.start(), match.end(), True)
    return _Box(brace + 1, high, high, False)


def _previous(text: str, low: int, high: int) -> int:
    return max(text.rfind("\\boxed", low, high), text.rfind("\\fbox", low, high))


def _unclosed(response: str, box: _Box, finished: bool | None) -> Span:
    """A box whose closing brace is missing: its content counts only where something shows that it is complete."""
    if finished is False:
        return _nothing("cut off inside the box")
    content = response[box.start : min(box.end, box.start + MAX_ANSWER)]
    cut = _BOX_CUT.search(content)
    if cut and content[: cut.start()].strip():
        return Span(
            content[: cut.start()], box.start, box.start + cut.start(), "box", "box left open"
        )
    whole = content.rstrip()
    if (
        box.end - box.start <= MAX_ANSWER
        and whole
        and (finished or (whole.endswith("}") and finished is None))
    ):
        return Span(whole, box.start, box.start + len(whole), "box", "box left open")
    return _nothing("cut off inside the box")


def _row(response: str, low: int, command: int, box: _Box) -> bool:
    """Whether another box with other content stands right before this one, with nothing between them."""
    before = _previous(response, low, command)
    earlier = _read_box(response, before, command) if before >= 0 else None
    if (
        earlier is None
        or not earlier.closed
        or _BETWEEN_ROW.sub("", response[earlier.stop : command])
    ):
        return False
    return response[earlier.start : earlier.end].strip() != response[box.start : box.end].strip()


def _content(response: str, start: int, end: int) -> str:
    """The answer between two offsets; of one that is too long only so much that this shows, but every digit of a number."""
    if end - start <= MAX_ANSWER or _DIGITS.fullmatch(response, start, end):
        return response[start:end]
    return response[start : start + MAX_ANSWER + 1]


def _boxed(response: str, low: int, high: int, finished: bool | None) -> Span | None:
    """The last box, or the list of boxes that it ends; None where there is no box at all."""
    command = _previous(response, low, high)
    if command < 0:
        return None
    box = _read_box(response, command, high)
    if not box.closed:
        return _unclosed(response, box, finished)
    if _NEGATED.search(response[max(low, command - 24) : command]) or doubted(response, command):
        return _nothing("the box is negated")
    if _DENIED_BEHIND.match(response, box.stop):
        return _nothing("the box is negated")
    group = [box]
    while len(group) < MAX_BOXES:
        before = _previous(response, low, command)
        if before < 0 or command - before > MAX_ANSWER:
            break
        earlier = _read_box(response, before, command)
        between = response[earlier.stop : command]
        if (
            not earlier.closed
            or len(between) > 80
            or not _JOINS.search(between)
            or not _BETWEEN.fullmatch(between)
        ):
            break
        group.append(earlier)
        command = before
    if len(group) == 1 and _row(response, low, command, box):
        return _nothing("a row of boxes")
    group.reverse()
    texts = [_content(response, b.start, b.end).strip() for b in group]
    start, end = group[0].start, group[-1].end
    if not all(t.strip("$ \n") for t in texts):
        return _nothing("empty box")
    if len(texts) == 1:
        text = _content(response, start, end)
        return Span(text, start, start + len(text), "box", "")
    return Span(", ".join(texts), start, end, "boxes", "")


def extract(response: str, policy: Policy, finished: bool | None = None) -> Span:
    """The final answer of a response.

    `finished` says whether the output ended by itself (True), was cut off (False), or that this is not known (None). Of a
    cut-off output only a closed box counts, or a stated answer behind which a sentence, a line or a formula ended.
    """
    low, high, still_open = region(response)
    if still_open and not ended(response[max(low, high - TAIL) : high], finished):
        return _nothing("the thinking was never closed")
    found = _boxed(response, low, high, finished)
    if found is not None:
        return found
    if not policy.markers:
        return _nothing("no box")
    if response[low:high].strip() == "":
        return _nothing("empty response" if low == 0 else "nothing behind the thinking")
    tail = max(low, high - TAIL)
    text = response[tail:high]
    stated = stated_answer(text, finished)
    if stated is not None:
        start, end, method = stated
        if start < 0:
            return _nothing("the answer is denied")
        if len(text) - end > MAX_AFTERTHOUGHT and not ended(text, finished):
            return _nothing("cut off long after an answer was named")
        return Span(text[start:end], tail + start, tail + end, method, "")
    if not policy.last_value:
        return _nothing("no stated answer")
    if not ended(text, finished):
        return _nothing("cut off before an answer")
    value = last_value(text)
    if value is None:
        return _nothing("no value in the text")
    if denied(text, value[0]):
        return _nothing("the last value is negated")
    if unsure(text, value[0]):
        return _nothing("the last value is hedged")
    if text[value[0] - 1 : value[0]] not in ("$", "[") and part_of_more(text, *value):
        return _nothing("the last value is part of a formula")
    return Span(text[value[0] : value[1]], tail + value[0], tail + value[1], "last_value", "")


def last_box(text: str) -> str:
    """The content of the last box of a text, or the text itself where it has none that closes."""
    span = _boxed(text, 0, len(text), True)
    return text if span is None or span.text is None else span.text
