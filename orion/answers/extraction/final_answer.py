"""Find the final answer of a response: the last box, else a stated answer, else the last value.

Input: the response (any str), a policy, whether the output ended by itself. Output: a `Span` with
offsets into the response; a span without text gives the reason why there is no answer. One pass
from the end, linear time.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from orion.answers.extraction.answer_markers import find_stated_answer
from orion.answers.extraction.numbers_in_text import find_last_value, has_ended
from orion.answers.extraction.surrounding_text import (
    is_denied,
    is_doubted,
    is_hedged,
    is_part_of_larger,
)
from orion.answers.policies import Policy

# characters at the end that are searched for markers and values; boxes are found anywhere
TAIL = 1 << 16
MAX_BOXES = 64
# "<" signs that are looked at, counted from the end
MAX_TAGS = 20_000
# a text that is cut off this many characters behind a stated answer is not credited with it
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
# text allowed between the boxes of a row: space, delimiters, emphasis
_BETWEEN_ROW = re.compile(r"\\(?:q?quad|[,;:! ()\[\]])|[\s$&*/|]")
_DENIED_BEHIND = re.compile(r"[\s$]*(?:\\[)\]])?\s*(?:is|was)\s+(?:not|wrong|incorrect)\b")
_BLANK = re.compile(r"\s*")
_BRACES = re.compile(r"\\.|[{}]", re.S)
_BARE_BOX = re.compile(
    r"\s*(\\[dt]?frac\s*(?:\d\s*\d|\{[^{}]*\}\s*\{[^{}]*\})|-?[\w.,/]+|\\[A-Za-z]+)"
)
_BOX_CUT = re.compile(r"\\[)\]]|(?<!\\)\$|\n")
_BETWEEN = re.compile(
    r"(?:[\s$&{}]|[,;]|\\[()\[\]]|\\q?quad|\\text|\\left|\\right|\(\w\)"
    r"|\b(?:and|or|for|part|the|other|is|are)\b|\b\w{1,4}\s*=)*+"
)
_JOINS = re.compile(r"[,;&]|\band\b|\bor\b")
_NEGATED = re.compile(r"(?:\b(?:not|cannot|never)|n't)(?:\s+(?:be|equal(?: to)?))?[\s$(\\\[]*$")


class Span(NamedTuple):
    """An extracted answer: text (None: no answer), offsets in the response, how found, why not."""

    text: str | None
    start: int | None
    end: int | None
    found_by: str
    reason: str


def _no_answer(reason: str) -> Span:
    return Span(None, None, None, "", reason)


def find_answer_region(response: str) -> tuple[int, int, bool]:
    """(start, end, thinking left open): the part of the response that may hold the answer."""
    tags = _find_tags(response)
    low = max((at + len(mark) for at, mark in tags if mark in _THINK_ENDS), default=0)
    still_open = any(at >= low for at, mark in tags if mark in _THINK_STARTS)
    # a chat template may be echoed at the very start, so a stop token counts only behind some text
    begun = _BLANK.match(response, low).end()  # type: ignore[union-attr]
    # <s>...</s> is strike-through, not the end of the output
    stops = [
        at
        for at, mark in tags
        if mark in _STOPS and at > begun and not (mark == "</s>" and "<s>" in response)
    ]
    return low, min(stops, default=len(response)), still_open


def _find_tags(response: str) -> list[tuple[int, str]]:
    """(offset, mark) of the thinking marks and stop tokens in a response, the last ones first."""
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
    """The box whose command is at `command`: content `text[start:end]`, `stop` behind the box."""
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


def _find_last_box(text: str, low: int, high: int) -> int:
    return max(text.rfind("\\boxed", low, high), text.rfind("\\fbox", low, high))


def _extract_unclosed_box(response: str, box: _Box, finished: bool | None) -> Span:
    """A box whose closing brace is missing; it counts only if its content is evidently complete."""
    if finished is False:
        return _no_answer("cut off inside the box")
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
    return _no_answer("cut off inside the box")


def _follows_another_box(response: str, low: int, command: int, box: _Box) -> bool:
    """Whether a box with other content comes directly before this one."""
    before = _find_last_box(response, low, command)
    earlier = _read_box(response, before, command) if before >= 0 else None
    if (
        earlier is None
        or not earlier.closed
        or _BETWEEN_ROW.sub("", response[earlier.stop : command])
    ):
        return False
    return response[earlier.start : earlier.end].strip() != response[box.start : box.end].strip()


def _bounded_content(response: str, start: int, end: int) -> str:
    """The text between two offsets, cut just beyond MAX_ANSWER unless it is one long number."""
    if end - start <= MAX_ANSWER or _DIGITS.fullmatch(response, start, end):
        return response[start:end]
    return response[start : start + MAX_ANSWER + 1]


def _extract_box(response: str, low: int, high: int, finished: bool | None) -> Span | None:
    """The last box, or the list of boxes that it ends; None if there is no box."""
    command = _find_last_box(response, low, high)
    if command < 0:
        return None
    box = _read_box(response, command, high)
    if not box.closed:
        return _extract_unclosed_box(response, box, finished)
    if _NEGATED.search(response[max(low, command - 24) : command]) or is_doubted(response, command):
        return _no_answer("the box is negated")
    if _DENIED_BEHIND.match(response, box.stop):
        return _no_answer("the box is negated")
    group = [box]
    while len(group) < MAX_BOXES:
        before = _find_last_box(response, low, command)
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
    if len(group) == 1 and _follows_another_box(response, low, command, box):
        return _no_answer("a row of boxes")
    group.reverse()
    texts = [_bounded_content(response, b.start, b.end).strip() for b in group]
    start, end = group[0].start, group[-1].end
    if not all(t.strip("$ \n") for t in texts):
        return _no_answer("empty box")
    if len(texts) == 1:
        text = _bounded_content(response, start, end)
        return Span(text, start, start + len(text), "box", "")
    return Span(", ".join(texts), start, end, "boxes", "")


def extract_answer(response: str, policy: Policy, finished: bool | None = None) -> Span:
    """The final answer of a response.

    finished: whether the output ended by itself (True), was cut off (False), or is unknown (None).
    In a cut-off output only a closed box counts, or a stated answer whose sentence, line or formula
    is complete.
    """
    low, high, still_open = find_answer_region(response)
    if still_open and not has_ended(response[max(low, high - TAIL) : high], finished):
        return _no_answer("the thinking was never closed")
    found = _extract_box(response, low, high, finished)
    if found is not None:
        return found
    if not policy.markers:
        return _no_answer("no box")
    if response[low:high].strip() == "":
        return _no_answer("empty response" if low == 0 else "nothing behind the thinking")
    tail = max(low, high - TAIL)
    text = response[tail:high]
    stated = find_stated_answer(text, finished)
    if stated is not None:
        start, end, found_by = stated
        if start < 0:
            return _no_answer("the answer is denied")
        if len(text) - end > MAX_AFTERTHOUGHT and not has_ended(text, finished):
            return _no_answer("cut off long after an answer was named")
        return Span(text[start:end], tail + start, tail + end, found_by, "")
    if not policy.last_value:
        return _no_answer("no stated answer")
    if not has_ended(text, finished):
        return _no_answer("cut off before an answer")
    value = find_last_value(text)
    if value is None:
        return _no_answer("no value in the text")
    if is_denied(text, value[0]):
        return _no_answer("the last value is negated")
    if is_hedged(text, value[0]):
        return _no_answer("the last value is hedged")
    if text[value[0] - 1 : value[0]] not in ("$", "[") and is_part_of_larger(text, *value):
        return _no_answer("the last value is part of a formula")
    return Span(text[value[0] : value[1]], tail + value[0], tail + value[1], "last_value", "")


def content_of_last_box(text: str) -> str:
    """The content of the last box of a text, or the text itself if it has no closed box."""
    span = _extract_box(text, 0, len(text), True)
    return text if span is None or span.text is None else span.text
