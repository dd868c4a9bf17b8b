"""Prompts: the sets of texts that ask a model for a solution or for a refined chain of thought.

A prompt set is a jinja file with one block per text (docs/prompts.md). Two are built in: ``chat``
for instruction-tuned models, ``demo`` for the embedded student. Stages are given the blocks that
they read, as texts, so that a change reruns exactly what it reaches.
"""

from orion.prompts.marker import split_response
from orion.prompts.render import (
    REFINE,
    REVIEW,
    SHORTEN,
    Message,
    answer,
    find_leak,
    judge,
    opening,
    prefill,
    reflect,
    reflect_messages,
    self_correction,
    solve,
    solve_messages,
)
from orion.prompts.sets import BLOCKS, BUILT_IN, PromptSet, load, resolve
from orion.prompts.validation import validate

__all__ = [
    "BLOCKS",
    "BUILT_IN",
    "REFINE",
    "REVIEW",
    "SHORTEN",
    "Message",
    "PromptSet",
    "answer",
    "extract_refined",
    "find_leak",
    "judge",
    "load",
    "opening",
    "prefill",
    "reflect",
    "reflect_messages",
    "resolve",
    "self_correction",
    "solve",
    "solve_messages",
    "split_refined",
    "validate",
]


def split_refined(prompt_set: PromptSet | str, response: str) -> tuple[str, str | None]:
    """A reflection's text before its marker, and its refined part behind it.

    Without a marker they are empty and None; the part is None too where no text follows the marker.
    """
    found = split_response(resolve(prompt_set).block("marker"), response)
    if found is None:
        return "", None
    return found[0], found[1].strip() or None


def extract_refined(prompt_set: PromptSet | str, response: str) -> str | None:
    """The refined part of a reflection: the text behind the last marker, None without one."""
    return split_refined(prompt_set, response)[1]
