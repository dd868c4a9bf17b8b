"""Find the final answer of a response: the last box, else a stated answer, else the last value.

Input: the response (any str), a policy, whether the output ended by itself. Output: a `Span` with
offsets into the response; a span without text gives the reason why there is no answer. One pass
from the end, linear time.
"""

from __future__ import annotations

import re

from orion.answers.extraction.answer_markers import find_stated_answer
from orion.answers.extraction.boxes import EMPTY_BOX, extract_box, find_last_box
from orion.answers.extraction.math_runs import find_runs, split_relation
from orion.answers.extraction.span import Span, no_answer
from orion.answers.extraction.surrounding_text import (
    is_named,
    refusing_cue_before,
    refusing_cue_behind,
)
from orion.answers.extraction.values_in_text import (
    find_last_value,
    has_ended,
)
from orion.answers.policies import Policy
from orion.answers.wording import phrases

# characters at the end that are searched for markers and values; boxes are found anywhere
TAIL = 1 << 16
# "<" signs that are looked at, counted from the end
MAX_TAGS = 20_000
# a text that is cut off this many characters behind a stated answer is not credited with it
MAX_AFTERTHOUGHT = 1_000

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
_TAG = re.compile("|".join(map(re.escape, (*_THINK_ENDS, *_THINK_STARTS, *_STOPS))))
_BLANK = re.compile(r"\s*")
_ANALYSIS = "<|channel|>analysis<|message|>"


# a bare choice as the last line: "D", "**(B)**", "C. 12"
_CHOICE_LINE = re.compile(
    r"[ \t>*_$\\(]*(?:option"
    r"|choice)?[ \t*]*(?-i:([(\[]?[A-J](?:[)\].:][^\n]{0,80})?))[ \t*_$.]*\s*$",
    re.I,
)
_CHOSEN = re.compile(
    r"\b(?:pick|choose|select|chose)\s+(?:option\s+"
    r"|choice\s+)?[*(\[]*(?-i:([A-J]))[*)\]]*[.!]?\s*$",
    re.I,
)
_PERCENT = re.compile(r"(?:\\?%|(?:percent|per cent|percentage|pct)\b)", re.I)
_GAP = re.compile(r"\$?[ \t]*")
# "5/36 (about 13.9%)."
_REMARK_AT_END = re.compile(
    r"\(\s*(?:or\s+)?(?:about|approximately|approx\.?|roughly|nearly|≈|\\approx|rounded"
    r"|i\.e\.)[^()]{1,60}\)\s*[.!]?\s*$"
)
_FORMULA_START = re.compile(r"(?:\$\$?|\\[(\[])\s*$")
_FORMULA_END = re.compile(r"[.,\s]*(?:\$\$?|\\[)\]])")
# characters of the longest response that is read as a whole
MAX_BARE = 200


def find_answer_region(response: str) -> tuple[int, int, bool]:
    """(start, end, thinking left open): the part of the response that may hold the answer."""
    tags = _find_tags(response)
    if not tags:
        return 0, len(response), False
    low = max((at + len(mark) for at, mark in tags if mark in _THINK_ENDS), default=0)
    still_open = any(at >= low for at, mark in tags if mark in _THINK_STARTS)
    # the channel of gpt-oss that holds thinking, with no final channel behind it
    still_open = still_open or response.endswith(_ANALYSIS, 0, low)
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


def extract_answer(response: str, policy: Policy, finished: bool | None = None) -> Span:
    """The final answer of a response.

    finished: whether the output ended by itself (True), was cut off (False), or is unknown (None).
    In a cut-off output only a closed box counts, or a stated answer whose sentence, line or formula
    is complete.
    """
    low, high, still_open = find_answer_region(response)
    if still_open:
        return no_answer("the thinking was never closed")
    box = extract_box(response, low, high, finished)
    if box is not None and box is not EMPTY_BOX:
        return box
    if box is not None:
        # an empty box only mentions the command if an answer is stated behind it
        low = find_last_box(response, low, high)
        behind = _extract_stated(response, low, high, finished) if policy.markers else None
        return box if behind is None or behind.text is None else behind
    if not policy.markers:
        return no_answer("no box")
    if response[low:high].strip() == "":
        return no_answer("empty response" if low == 0 else "nothing behind the thinking")
    stated = _extract_stated(response, low, high, finished)
    if stated is not None:
        return stated
    if not policy.last_value:
        return no_answer("no stated answer")
    return _extract_last_value(response, low, high, finished)


def _extract_stated(response: str, low: int, high: int, finished: bool | None) -> Span | None:
    """The answer behind a marker, or the reason why it does not count; None without a marker."""
    tail = max(low, high - TAIL)
    text = response[tail:high]
    stated = find_stated_answer(text, finished)
    if stated is None:
        return None
    start, end, cue = stated
    if start == end:
        assert cue is not None
        return no_answer(f"the answer is {cue.effect}", cue.name)
    if len(text) - end > MAX_AFTERTHOUGHT and not has_ended(text, finished):
        return no_answer("cut off long after an answer was named")
    if cue is None:
        end = _end_of_unit(text, end)
    reason = "" if cue is None else f"the value is {cue.effect}"
    return Span(
        text[start:end], tail + start, tail + end, "marker", reason, cue.name if cue else ""
    )


def _extract_last_value(response: str, low: int, high: int, finished: bool | None) -> Span:
    """The last value of a text without box and marker, if the words around it allow it."""
    tail = max(low, high - TAIL)
    text = response[tail:high]
    line = _start_of_last_line(text)
    choice = _CHOICE_LINE.match(text, line) or _CHOSEN.search(text, line)
    if not has_ended(text, finished) and (choice is None or finished is False):
        return no_answer("cut off before an answer")
    if choice is not None:
        start, end = choice.span(1)
        return Span(text[start:end], tail + start, tail + end, "last_line", "")
    whole = text.strip()
    if len(whole) <= MAX_BARE and "\n" not in whole:
        start = text.index(whole)
        runs = find_runs(text, start, start + len(whole))
        if (
            len(runs) == 1
            and not text[start : runs[0][0]].strip("$ *_`")
            and not text[runs[0][1] :].strip("$ *_`.!")
        ):
            start, end = split_relation(text, *runs[0])
            return Span(text[start:end], tail + start, tail + end, "whole", "")
    remark = _REMARK_AT_END.search(text, max(0, len(text) - 120))
    value = find_last_value(text if remark is None else text[: remark.start()])
    if value is None:
        return no_answer("no value in the text")
    start, end = value
    outer = _formula_around(text, start, end)
    cue = refusing_cue_before(text, outer[0]) or refusing_cue_behind(
        text, outer[1], named=is_named(text, outer[0]), last=True
    )
    if cue is not None:
        return no_answer(f"the last value is {cue.effect}", cue.name)
    end = _end_of_unit(text, end)
    return Span(text[start:end], tail + start, tail + end, "last_value", "")


def _start_of_last_line(text: str) -> int:
    """The offset of the last line that is not blank, or of the last 400 characters of it."""
    stop = len(text)
    while stop and text[stop - 1].isspace():
        stop -= 1
    return max(text.rfind("\n", 0, stop) + 1, stop - 400)


def _end_of_unit(text: str, end: int) -> int:
    """The offset behind the unit of a value, so that "50 cents" is not 50 dollars."""
    if not text[end : end + 40].strip(" .!$*\n"):
        return end
    gap = _GAP.match(text, end)
    assert gap is not None
    percent = _PERCENT.match(text, gap.end())
    if percent is not None:
        return percent.end()
    unit = phrases.match_unit(text, gap.end())
    return end if unit is None else unit - (text[unit - 1] == ".")


def _formula_around(text: str, start: int, end: int) -> tuple[int, int]:
    """The offsets of a value with the delimiters of its formula."""
    opened = _FORMULA_START.search(text, max(0, start - 8), start)
    if opened is not None:
        start = opened.start()
    behind = _FORMULA_END.match(text, end)
    return start, behind.end() if behind else end
