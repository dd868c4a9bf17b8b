"""Chat templates: from messages to the text that a model reads, and from that text to token ids.

Two rules hold wherever a prompt is made, for sampling and for training alike:

- Control tokens inside data are text. ``render`` puts ``MARK`` behind the first character of every
  control token that a message happens to contain, so that neither the template nor the tokenizer
  recognises it; ``encode`` removes the marks and tokenises the pieces between them apart. A text
  without marks is tokenised as it is.
- A date is pinned. Templates that print today's date get the document's ``prompt_date`` instead,
  which ``checkpoints.load_tokenizer`` sets on the tokenizer as an attribute of that name.
"""

import re
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

from orion.errors import InputError

# a noncharacter of Unicode, which no text contains; one in data is removed
MARK = "\ufdd0"
THINK, END_THINK = "<think>", "</think>"
# made-up words, which show where a template prints a turn's words
WORDS = "AssistantWords"
# the function by which a template asks for today's date
DATE_FUNCTION = "strftime_now"


class TemplateRefusedError(InputError):
    """The chat template raises an error for these messages."""


def render(
    tokenizer: Any,
    messages: list[dict[str, str]],
    *,
    enable_thinking: bool | None = None,
    add_generation_prompt: bool = True,
) -> str:
    """Messages as the text that the model reads, for ``encode``.

    Control tokens are marked in all messages but the assistant's last, whose words may hold the
    marks of thinking: the caller marks those. Raises TemplateRefusedError if the template refuses
    the messages, InputError if it prints a date and the tokenizer has no ``prompt_date``.
    """
    switch = {} if enable_thinking is None else {"enable_thinking": enable_thinking}
    # imported here, so that a process without a tokenizer does not load jinja2
    from jinja2 import TemplateError

    last = len(messages) - 1
    marked = [
        message
        if message["role"] == "assistant" and number == last
        else {**message, "content": mark_control_tokens(tokenizer, message["content"])}
        for number, message in enumerate(messages)
    ]
    try:
        text: str = tokenizer.apply_chat_template(
            marked,
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
            **switch,
            **{DATE_FUNCTION: _date_formatter(tokenizer)},
        )
    except (TemplateError, TypeError) as error:
        roles = ", ".join(message["role"] for message in messages)
        raise TemplateRefusedError(
            f"the chat template refuses messages of the roles {roles}: {error}"
        ) from None
    return text


def render_opened(
    tokenizer: Any,
    messages: list[dict[str, str]],
    prefill: str,
    *,
    enable_thinking: bool | None = None,
) -> str:
    """``render`` with the first words of the assistant's turn behind it, as if it had begun them.

    They stand where the template prints a turn's words, behind a channel header or an empty block
    of thinking, and are tokenised apart from the prompt. Raises InputError where the template gives
    them no such place.
    """
    text = render(tokenizer, messages, enable_thinking=enable_thinking)
    if not prefill:
        return text
    if getattr(tokenizer, "chat_template", None) is None:
        raise InputError(
            "prompts: a prefill opens the assistant's turn, which a served model's server begins "
            "itself; remove the block prefill, or reflect with a checkpoint"
        )
    turn = {"role": "assistant", "content": WORDS}
    whole = render(
        tokenizer,
        [*messages, turn],
        enable_thinking=enable_thinking,
        add_generation_prompt=False,
    )
    head, found, _ = whole.removeprefix(text).partition(WORDS)
    if not found or not whole.startswith(text) or text.rstrip().endswith(THINK):
        raise InputError(
            "prompts: the chat template begins the turn with the model's thinking, or otherwise "
            "than it prints the turn, so the block prefill has no place; set the model's "
            "`enable_thinking: false` or remove the block"
        )
    return f"{text}{head}{MARK}{mark_control_tokens(tokenizer, prefill)}"


def end_of_turn(tokenizer: Any) -> set[int]:
    """The id of the control token that the template prints behind an assistant's words, if any.

    Base models are published with a chat template whose turns end with a token that their
    generation_config.json does not name (open-r1#604); without it an answer runs on.
    """
    turns = [{"role": "user", "content": "1 + 1"}, {"role": "assistant", "content": WORDS}]
    try:
        text = render(tokenizer, turns, add_generation_prompt=False)
    except InputError:
        # a template that needs other messages says so where they are rendered
        return set()
    behind = text.rpartition(WORDS)[2]
    places = {
        behind.find(token): number
        for token, number in control_tokens(tokenizer).items()
        if number is not None and token in behind
    }
    return {places[min(places)]} if places else set()


def encode(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """The token ids of rendered texts, which hold the template's special tokens: none is added."""
    pieces = [text.split(MARK) for text in texts]
    flat = [piece for parts in pieces for piece in parts]
    if not flat:
        return []
    ids = iter(tokenizer(flat, add_special_tokens=False)["input_ids"])
    return [[token for _ in parts for token in next(ids)] for parts in pieces]


def mark_control_tokens(tokenizer: Any, text: str) -> str:
    """The text with ``MARK`` inside every control token, so that ``encode`` reads it as text."""
    text = text.replace(MARK, "")
    pattern = _control_pattern(tokenizer, getattr(tokenizer, "chat_template", None))
    return pattern.sub(rf"\g<0>{MARK}", text) if pattern else text


def control_tokens(tokenizer: Any) -> dict[str, int | None]:
    """The control tokens of a tokenizer and its template, with their ids where they have one.

    They are the special tokens; the other added tokens in angle or square brackets that the
    template contains; and the marks of thinking if the template contains them, since templates cut
    or move what stands between them. A served model has none here.
    """
    added = getattr(tokenizer, "added_tokens_decoder", {})
    template = getattr(tokenizer, "chat_template", None) or ""
    found: dict[str, int | None] = {}
    for number, token in added.items():
        is_tag = re.fullmatch(r"<.*>|\[.*\]", token.content) and token.content in template
        # white space is text
        if (token.special or is_tag) and token.content.strip():
            found[token.content] = number
    for tag in (THINK, END_THINK):
        if tag in template:
            found.setdefault(tag, None)
    return found


@lru_cache(maxsize=8)
def _control_pattern(tokenizer: Any, template: str | None) -> re.Pattern[str] | None:
    """Matches the first character of a control token; ``template`` is part of the cache's key."""
    rests: dict[str, list[str]] = {}
    for token in sorted(control_tokens(tokenizer)):
        # a single character cannot be taken apart
        if len(token) > 1:
            rests.setdefault(token[0], []).append(re.escape(token[1:]))
    parts = [f"{re.escape(first)}(?={'|'.join(rest)})" for first, rest in rests.items()]
    return re.compile("|".join(parts)) if parts else None


def _date_formatter(tokenizer: Any) -> Any:
    date = getattr(tokenizer, "prompt_date", None)

    def strftime_now(form: str) -> str:
        if date is None:
            raise InputError(
                "the chat template prints today's date; set the model's `prompt_date:`, so that "
                "its prompts stay the same"
            )
        return datetime.fromisoformat(date).strftime(form)

    return strftime_now
