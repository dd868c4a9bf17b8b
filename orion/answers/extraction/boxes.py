r"""Find the box that holds the final answer, or the list of boxes that it ends.

Input: a response and the region in which to look. Output: a `Span`, None where there is no box.
One pass from the end, linear time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from orion.answers.extraction.span import MAX_ANSWER, Span, no_answer
from orion.answers.extraction.surrounding_text import (
    doubting_cue,
    rejecting_cue_behind,
)
from orion.answers.wording import phrases

MAX_BOXES = 64
EMPTY_BOX = no_answer("empty box", "empty_box")

_BOX = re.compile(r"\\boxed|\\fbox")
_DIGITS = re.compile(r"[-+\d.,{}\\!$\s]*")
# text allowed between the boxes of a row: space, delimiters, emphasis
_BETWEEN_ROW = re.compile(r"\\(?:q?quad|[,;:! ()\[\]])|[\s$&*/|]")
_BRACES = re.compile(r"\\.|[{}]", re.S)
_BARE_BOX = re.compile(
    r"\s*(\\[dt]?frac\s*(?:\d\s*\d|\{[^{}]*\}\s*\{[^{}]*\})|-?\.?\d[\d.,/]*(?<![.,])"
    r"|[A-Za-z](?![A-Za-z])|\\(?:pi|infty|emptyset|varnothing)\b)"
)
_PLACEHOLDER = re.compile(
    r"(?:\.{3,}|…+|\\l?dots)[.\s]*|(?:(?:your|the|final)\s+){0,3}answer(?:\s+here)?", re.I
)
# a box to be filled in, as a problem draws it: \boxed{\phantom{2}}, \boxed{?}
_BLANK = re.compile(
    r"(?:\\[hv]?phantom\s*\{[^{}]*\}|\\(?:text|mbox|mathrm)\s*\{[\s_?~]*\}|\\q?quad(?![A-Za-z])"
    r"|\\(?:square|Box|underline\s*\{\s*\})(?![A-Za-z])|\\[,;:! ]|[\s~$_?])*"
)
# characters of the longest placeholder in a box that is only mentioned
MAX_PLACEHOLDER = 60
# characters behind the command in which a listed box ends; texts of many open boxes stay quick
MAX_LISTED = 1_000
# a box that is an operand or an argument: -\boxed{7}, \sqrt{\boxed{7}}, \boxed{7}^2, x > \boxed{7}
_PART_BEFORE = re.compile(
    r"(?:\\sqrt(?:\[\w\])?\s*\{\s*|\\[dt]?frac\s*\{\s*|\\(?:neq?|lt|gt|leq?|geq?)\s*|[-+*/^\d]"
    r"|[<>≤≥≠]\s*)\Z"
)
_PART_BEHIND = re.compile(r"\^(?!\s*\{?\s*\\circ)|[!_]|\s*[+*/·×÷]\s*\d|\s*-\s*\d")
_LABEL = re.compile(r"([A-Za-z](?:_\{?\w\}?)?)\s*=\s*(?:\\[(\[]|\$)?\s*$")
_BOX_CUT = re.compile(r"\\[)\]]|(?<!\\)\$|\n")
_BETWEEN = re.compile(
    r"(?:[\s$&{}]|[,;]|\\[()\[\]]|\\q?quad|\\text|\\left|\\right|\(\w\)"
    r"|\b(?:and|or|for|part|the|other|is|are)\b|\b\w{1,4}\s*=)*+"
)
# "... and her aunt is" before the next box
_NEXT_CLAUSE = re.compile(
    r"\s*(?:,|;)?\s*(?:and|while)\s+(?!not\b)[A-Za-z'’ ]{1,40}\s(?:is|are|has|have|=)\s*[$(\\]*",
    re.I,
)
_JOINS = re.compile(r"[,;&]|\band\b|\bor\b")


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


def find_last_box(text: str, low: int, high: int) -> int:
    """The offset of the last command of a box in `text[low:high]`, -1 if there is none."""
    at = text.rfind("\\boxed", low, high)
    return max(at, text.rfind("\\fbox", max(at, low), high))


def _extract_unclosed_box(response: str, box: _Box, finished: bool | None) -> Span:
    """A box whose closing brace is missing; it counts only if its content is evidently complete."""
    if finished is False:
        return no_answer("cut off inside the box")
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
    return no_answer("cut off inside the box")


def _follows_another_box(response: str, before: int, command: int, box: _Box) -> bool:
    """Whether the box with its command at `before` has other content and is just before `box`."""
    earlier = _read_box(response, before, command)
    if not earlier.closed or _BETWEEN_ROW.sub("", response[earlier.stop : command]):
        return False
    return response[earlier.start : earlier.end].strip() != response[box.start : box.end].strip()


def _bounded_content(response: str, start: int, end: int) -> str:
    """The text between two offsets, cut just beyond MAX_ANSWER unless it is one long number."""
    if end - start <= MAX_ANSWER or _DIGITS.fullmatch(response, start, end):
        return response[start:end]
    return response[start : start + MAX_ANSWER + 1]


def _group_of_boxes(
    response: str, low: int, command: int, box: _Box
) -> tuple[list[_Box], list[int]]:
    """The boxes of the list that ends with `box`, the last first, and where their commands are."""
    group, commands = [box], [command]
    while len(group) < MAX_BOXES:
        before = find_last_box(response, low, command)
        if before < 0 or command - before > MAX_ANSWER:
            break
        earlier = _read_box(response, before, command)
        between = response[earlier.stop : command]
        if not earlier.closed or len(between) > 120:
            break
        # "\boxed{1} papers and \boxed{2} bins"
        things = phrases.match_phrase(between)
        if things is not None:
            between = between[things:]
            while (words := phrases.match_words_behind(between)) is not None:
                between = between[words:]
            if _NEXT_CLAUSE.fullmatch(between):
                between = ","
        if not _JOINS.search(between) or not _BETWEEN.fullmatch(between):
            break
        group.append(earlier)
        commands.append(before)
        command = before
    return group, commands


def _is_placeholder(response: str, box: _Box) -> bool:
    """Whether a box holds what an instruction puts there: "...", "your answer"."""
    if box.end - box.start > MAX_PLACEHOLDER:
        return False
    return _PLACEHOLDER.fullmatch(response[box.start : box.end].strip()) is not None


def list_answers(text: str) -> Iterator[tuple[int, str]]:
    """Offset and content of every box that holds something, in order.

    A box to be filled in, and one that only mentions the command, hold nothing. Of a box that does
    not end within MAX_LISTED characters it is the beginning.
    """
    for command in _BOX.finditer(text):
        at = command.start()
        box = _read_box(text, at, min(len(text), at + MAX_LISTED))
        content = text[box.start : box.end].strip()
        is_short = len(content) <= MAX_PLACEHOLDER
        if not (is_short and _BLANK.fullmatch(content)) and not _is_placeholder(text, box):
            yield at, content


def extract_box(response: str, low: int, high: int, finished: bool | None) -> Span | None:
    """The last box, or the list of boxes that it ends; None if there is no box with content."""
    command = find_last_box(response, low, high)
    while command >= 0:
        box = _read_box(response, command, high)
        mentioned = box.stop == box.start or _is_placeholder(response, box)
        if not box.closed or not mentioned or (box.end == box.start and box.stop > box.end):
            break
        # "\boxed" without braces only mentions the command
        command = find_last_box(response, low, command)
    if command < 0:
        return None
    if not box.closed:
        return _extract_unclosed_box(response, box, finished)
    if _PART_BEFORE.search(response, max(low, command - 16), command) or _PART_BEHIND.match(
        response, box.stop
    ):
        return no_answer("the box is part of more", "part_of_box")
    cue = doubting_cue(response, command) or rejecting_cue_behind(response, box.stop)
    if cue is not None:
        return no_answer("the box is negated", cue.name)
    before = find_last_box(response, low, command)
    if before < 0:
        return _span_of_box(response, box)
    group, commands = _group_of_boxes(response, low, command, box)
    if len(group) == 1:
        if _follows_another_box(response, before, command, box):
            return no_answer("a row of boxes")
        return _span_of_box(response, box)
    group.reverse()
    texts = [_bounded_content(response, b.start, b.end).strip() for b in group]
    if not all(t.strip("$ \n") for t in texts):
        return EMPTY_BOX
    labels = [_LABEL.search(response, max(low, at - 16), at) for at in reversed(commands)]
    if all(labels):
        texts = [f"{label[1]} = {text}" for label, text in zip(labels, texts, strict=True) if label]
    return Span(", ".join(texts), group[0].start, group[-1].end, "boxes", "")


def _span_of_box(response: str, box: _Box) -> Span:
    text = _bounded_content(response, box.start, box.end)
    if not text.strip("$ \n"):
        return EMPTY_BOX
    return Span(text, box.start, box.start + len(text), "box", "")


def content_of_last_box(text: str) -> str:
    """The content of the last box of a text, or the text itself if it has no closed box."""
    span = extract_box(text, 0, len(text), True)
    return text if span is None or span.text is None else span.text
