"""An extracted answer: its text, its place in the response, and the reason where there is none."""

from __future__ import annotations

from typing import NamedTuple

# characters of the longest text that is read as an answer
MAX_ANSWER = 20_000


class Span(NamedTuple):
    """An extracted answer: text (None: no answer), offsets in the response, how found, why not.

    rule: the cue that refused the value, if one did.
    """

    text: str | None
    start: int | None
    end: int | None
    found_by: str
    reason: str
    rule: str = "extract"


def no_answer(reason: str, rule: str = "extract") -> Span:
    """The span of a response without an answer."""
    return Span(None, None, None, "", reason, rule)
