"""Words of a model taken apart: its thinking and its answer, as chat templates take them.

Input: the text of a completion, a trace or a solution. Output: ``Words``. Two notations are known:
``<think>`` … ``</think>``, and the channels of gpt-oss, whose control tokens are missing where an
engine decoded the text.
"""

import re
from dataclasses import dataclass, replace

from orion.models.templates import END_THINK, THINK

CHANNELS = "<|channel|>analysis"
CHANNEL_ANALYSIS = re.compile(r"(?:<\|channel\|>)?analysis(?:<\|message\|>)?")
CHANNEL_FINAL = re.compile(
    r"(?:<\|end\|>)?(?:<\|start\|>)?assistant(?:<\|channel\|>)?final(?:<\|message\|>)?"
)
# without its control tokens the header runs into the answer; "final answer" and "finally" do not
CHANNEL_FINAL_ONLY = re.compile(r"<\|channel\|>final<\|message\|>|final(?=[^\sa-z.,:;])")
CHANNEL_END = "<|return|>"
CHANNEL_START = "<|channel|>"


class BrokenThinkingError(ValueError):
    """Thinking that is never closed, or that has words before it."""


class OtherChannelsError(ValueError):
    """Thinking in channels, for a template that knows no thinking."""


@dataclass(frozen=True)
class Words:
    """An assistant's turn; ``opening`` and ``closing`` are the marks around ``thinking``.

    ``thinking`` is None for words without any. Thinking and answer have no white space around them.
    """

    answer: str
    thinking: str | None = None
    opening: str = ""
    closing: str = ""


def split_words(text: str, template: str) -> Words:
    """Thinking and answer of a text for a model of this chat template.

    For a template that knows no thinking the text is an answer, whatever it contains but for the
    control tokens of channels. Thinking in channels gets the marks ``<think>`` for a template of
    those. Raises BrokenThinkingError and OtherChannelsError.
    """
    text = text.strip()
    knows_channels, knows_think = CHANNELS in template, THINK in template or END_THINK in template
    if knows_channels or text.startswith(CHANNEL_START):
        found = _split_channels(text)
        if found is None and text.startswith(CHANNELS):
            raise BrokenThinkingError("the final channel is missing")
        if found is not None and (knows_channels or found.thinking is None):
            return found
        if found is not None and not knows_think:
            raise OtherChannelsError("thinking in channels")
        if found is not None:
            return replace(found, opening=f"{THINK}\n", closing=f"\n{END_THINK}\n\n")
    if not (knows_channels or knows_think):
        return Words(text)
    before, closed, after = text.partition(END_THINK)
    if not closed:
        if text.startswith(THINK):
            raise BrokenThinkingError("the thinking is not closed")
        return Words(text)
    thinking = before.removeprefix(THINK)
    if THINK in thinking:
        raise BrokenThinkingError("words stand before the thinking")
    inner, answer = thinking.strip(), after.strip()
    if not inner:
        return Words(answer)
    start = before.index(inner, len(before) - len(thinking))
    space = after[: len(after) - len(after.lstrip())]
    closing = before[start + len(inner) :] + END_THINK + space
    return Words(answer, inner, opening=before[:start], closing=closing)


def _split_channels(text: str) -> Words | None:
    analysis = CHANNEL_ANALYSIS.match(text)
    final = CHANNEL_FINAL.search(text, analysis.end()) if analysis else None
    if analysis and final:
        thinking = text[analysis.end() : final.start()].strip()
        answer = text[final.end() :].removesuffix(CHANNEL_END).strip()
        return Words(answer, thinking or None, analysis[0], final[0])
    only = CHANNEL_FINAL_ONLY.match(text)
    return Words(text[only.end() :].removesuffix(CHANNEL_END).strip()) if only else None
