"""Training documents: the prompt as it is served, the words, the end of the turn, as token ids.

A document is the serving prompt, token for token, and behind it what the template prints for the
assistant's turn, up to the token at which generation stops. How a template prints a turn is found
by asking it, once for an answer and once for thinking with an answer:

1. Render the serving prompt of a made-up question, and the conversation with made-up words.
2. What the conversation has behind the prompt and before the words is the ``head`` (a channel
   header, an empty block of thinking), then come ``between`` and ``ending``.
3. Where the template drops thinking from the turn, or prints the turn otherwise than the prompt
   begins it, the prompt decides: thinking that it has opened is continued and closed, thinking that
   it has closed cannot be trained.

Every row is then rendered itself and compared with the text put together from these parts, and its
control tokens with those of the made-up conversation. A row that differs is rejected with a reason
of ``REASONS``: what a template does to it is not understood, so it is not trained on.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from orion.errors import InputError
from orion.models import templates
from orion.models.templates import END_THINK, THINK
from orion.models.thinking import (
    BrokenThinkingError,
    OtherChannelsError,
    Words,
    split_words,
)

IGNORED = -100
REASONS = {
    "no_answer": "no words, or thinking without an answer behind it",
    "broken_thinking": "the thinking is not closed, or words stand before it; a model's own sample "
    "must close the thinking that its prompt opens",
    "other_channels": "the text has its thinking in the channels of gpt-oss, and the template "
    "knows no thinking; write it as `<think>` with the rule `replace` of the field, or take "
    "another trace",
    "thinking_off": "the text holds thinking, which the serving prompt has closed; set the model's "
    "`enable_thinking: true`, or train on texts without thinking",
    "template_refuses": "the chat template raises an error for this row",
    "template_changes_words": "the chat template does not print the words as they are",
    "prompt_differs": "the chat template begins the turn otherwise than the serving prompt does",
    "ends_early": "an end token of the model stands before the answer",
    "control_tokens": "the row would have other control tokens than its template gives it",
}
# made-up words in mixed case, so that a template that changes case is noticed
QUESTION, THINKING, ANSWER = "QuestionWords", "ThinkingWords", "AnswerWords"
# the keys of a message by which templates take its thinking
THINKING_KEYS = ("reasoning_content", "thinking")
# how thinking is closed where the template does not say
CLOSING = f"\n{END_THINK}\n\n"
OPENED = re.compile(rf"{THINK}\s*\Z")
CLOSED = re.compile(rf"{END_THINK}\s*\Z")
THINKING_MARKS = re.compile(rf"(?:\s|{THINK}|{END_THINK})*")


class RejectedRowError(ValueError):
    """A row that its template cannot carry; ``reason`` is a key of REASONS."""

    def __init__(self, reason: str):
        super().__init__(REASONS[reason])
        self.reason = reason


@dataclass(frozen=True)
class Layout:
    """What a template prints around the words of a turn.

    ``key``: the message's key for the thinking, None where the template is given the answer alone.
    ``is_exact``: whether the whole conversation is the prompt and these parts.
    """

    key: str | None
    head: str
    between: str
    ending: str
    is_exact: bool


class DocumentEncoder:
    """Makes the documents of one tokenizer, its end tokens and a thinking switch.

    ``opening``: the messages before the question, such as a system message, in every prompt.
    """

    def __init__(
        self,
        tokenizer: Any,
        *,
        eos: set[int],
        enable_thinking: bool | None,
        opening: Sequence[dict[str, str]] = (),
    ):
        """Ask the template; raises InputError for a model without an end token."""
        self.tokenizer = tokenizer
        self.opening = list(opening)
        self.enable_thinking = enable_thinking
        if not eos:
            raise InputError("the model has no end token, so it cannot learn to end its turn")
        self.eos = eos
        self.template: str = tokenizer.chat_template or ""
        # any unknown word gives the unknown token
        others = {None, tokenizer.unk_token_id}
        self.control_ids = set(templates.control_tokens(tokenizer).values()) - others
        self.prompt = self._render(QUESTION)
        # whether the words have thinking → how they are printed, or the reason against it
        self.layouts: dict[bool, Layout | str] = {}
        # the same → the ids of the control tokens that a document has
        self.control: dict[bool, list[int]] = {}
        # what ends the turn where the template prints no end token behind the words
        self.end = self._find_end()
        for words in (Words(ANSWER), Words(ANSWER, THINKING, f"{THINK}\n", CLOSING)):
            self._prepare(words)

    def encode(
        self, prompt: str, completion: str, *, is_own_sample: bool = False
    ) -> tuple[list[int], list[int]]:
        """Token ids and labels of one document; labels are -100 outside the trained words.

        Prompt and words are tokenised separately, as they are when a completion is generated.
        ``is_own_sample``: the completion is the model's own answer to this prompt, so it closes the
        thinking that the prompt opens. Raises RejectedRowError.
        """
        words = self._split(completion, is_own_sample)
        text, body = self.write(prompt, words)
        head, tail = templates.encode(self.tokenizer, [text, body])
        tail = self._cut(tail)
        if self._list_control(head + tail) != self.control[words.thinking is not None]:
            raise RejectedRowError("control_tokens")
        return head + tail, [IGNORED] * len(head) + tail

    def write(self, prompt: str, words: Words) -> tuple[str, str]:
        """The serving prompt and the text of the turn behind it, both for ``templates.encode``.

        Raises RejectedRowError where the template prints anything else.
        """
        layout = self._layout(words)
        answer = templates.mark_control_tokens(self.tokenizer, words.answer)
        thinking = templates.mark_control_tokens(self.tokenizer, words.thinking or "")
        message = {"role": "assistant", "content": answer}
        if layout.key is not None:
            message[layout.key] = thinking
        try:
            text = self._render(prompt)
            whole = self._render(prompt, message)
        except templates.TemplateRefusedError:
            raise RejectedRowError("template_refuses") from None
        tail = answer + layout.ending
        if layout.key is not None:
            tail = thinking + layout.between + tail
        if not (whole == text + layout.head + tail if layout.is_exact else whole.endswith(tail)):
            raise RejectedRowError("template_changes_words")
        if words.thinking is None or layout.key is not None:
            return text, layout.head + tail
        if OPENED.search(text):
            return text, thinking + layout.between + tail
        if THINK not in words.opening:
            raise RejectedRowError("broken_thinking")
        # as the model itself writes it
        return text, words.opening + thinking + words.closing + tail

    def _split(self, completion: str, is_own_sample: bool) -> Words:
        try:
            words = split_words(completion, self.template)
        except BrokenThinkingError:
            raise RejectedRowError("broken_thinking") from None
        except OtherChannelsError:
            raise RejectedRowError("other_channels") from None
        if is_own_sample and OPENED.search(self.prompt) and END_THINK not in completion:
            raise RejectedRowError("broken_thinking")
        if not words.answer:
            raise RejectedRowError("no_answer")
        return words

    def _layout(self, words: Words) -> Layout:
        layout = self.layouts[words.thinking is not None]
        if isinstance(layout, str):
            raise RejectedRowError(layout)
        return layout

    def _prepare(self, words: Words) -> None:
        """Fill ``layouts`` and ``control`` for words like these made-up ones."""
        thinks = words.thinking is not None
        try:
            self.layouts[thinks] = self._find_thinking() if thinks else self._find_answer()
            prompt, body = self.write(QUESTION, words)
            before = body.rpartition(ANSWER)[0]
            ids, early, tail = templates.encode(self.tokenizer, [prompt, before, body])
            if self.eos & set(early):
                raise RejectedRowError("ends_early")
            self.control[thinks] = self._list_control(ids + self._cut(tail))
        except RejectedRowError as error:
            self.layouts[thinks] = error.reason

    def _find_answer(self) -> Layout:
        before, ending = self._print(ANSWER)
        head, is_exact = self._find_head(before)
        if OPENED.search(self.prompt) and END_THINK not in head:
            # the answer's turn has no thinking, but the prompt has opened one
            shown = self._print_thinking()
            head, is_exact = shown[2] if shown else CLOSING, False
        return Layout(None, head, "", ending, is_exact)

    def _find_thinking(self) -> Layout:
        if CLOSED.search(self.prompt):
            raise RejectedRowError("thinking_off")
        shown = self._print_thinking()
        if shown is None:
            before, ending = self._print(ANSWER)
            self._find_head(before)
            return Layout(None, "", CLOSING, ending, is_exact=False)
        key, before, between, ending = shown
        head, is_exact = self._find_head(before)
        if not (is_exact or OPENED.search(self.prompt)):
            raise RejectedRowError("prompt_differs")
        return Layout(key, head, between, ending, is_exact)

    def _find_head(self, before: str) -> tuple[str, bool]:
        """What stands between the prompt and the words, and whether the prompt comes before it.

        Where the prompt does not, the two may differ in white space and marks of thinking.
        """
        if before.startswith(self.prompt):
            return before[len(self.prompt) :], True
        pairs = enumerate(zip(before, self.prompt, strict=False))
        same = next((i for i, (a, b) in pairs if a != b), len(before))
        common = before[:same]
        # not in the middle of a mark
        start = common.rfind("<")
        if start >= 0 and ">" not in common[start:]:
            common = common[:start]
        rests = (text[len(common) :] for text in (before, self.prompt))
        if not all(THINKING_MARKS.fullmatch(rest) for rest in rests):
            raise RejectedRowError("prompt_differs")
        return "", False

    def _print(self, *words: str, **message: str) -> tuple[str, ...]:
        """What the template prints around made-up words; ``message``: further keys of the turn."""
        try:
            text = self._render(QUESTION, {"role": "assistant", "content": ANSWER, **message})
        except templates.TemplateRefusedError:
            raise RejectedRowError("template_refuses") from None
        parts = []
        for word in words:
            part, found, text = text.partition(word)
            if not found or word in text:
                raise RejectedRowError("template_changes_words")
            parts.append(part)
        return (*parts, text)

    def _print_thinking(self) -> tuple[str, str, str, str] | None:
        """The key that carries thinking, and what stands before, between and behind the words."""
        for key in THINKING_KEYS:
            try:
                before, between, ending = self._print(THINKING, ANSWER, **{key: THINKING})
            except RejectedRowError:
                continue
            return key, before, between, ending
        return None

    def _find_end(self) -> list[int]:
        """The ids up to the end token that a further turn brings, or the tokenizer's end token."""
        turn = {"role": "assistant", "content": ANSWER}
        try:
            text = self._render(QUESTION, turn, {"role": "user", "content": QUESTION})
            ending = self._print(ANSWER)[1]
        except (templates.TemplateRefusedError, RejectedRowError):
            text, ending = "", ""
        gap = text.partition(ANSWER)[2].partition(QUESTION)[0].removeprefix(ending)
        ids = templates.encode(self.tokenizer, [gap])[0] if gap else []
        first = next((i for i, token in enumerate(ids) if token in self.eos), None)
        if first is not None:
            return ids[: first + 1]
        own = self.tokenizer.eos_token_id
        return [own if own in self.eos else min(self.eos)]

    def _cut(self, ids: list[int]) -> list[int]:
        """The ids up to the first end token, where generation stops."""
        first = next((i for i, token in enumerate(ids) if token in self.eos), None)
        return [*ids, *self.end] if first is None else ids[: first + 1]

    def _list_control(self, ids: list[int]) -> list[int]:
        return [token for token in ids if token in self.control_ids]

    def _render(self, question: str, *turn: dict[str, str]) -> str:
        """The conversation; without a ``turn`` the serving prompt."""
        return templates.render(
            self.tokenizer,
            [*self.opening, {"role": "user", "content": question}, *turn],
            enable_thinking=self.enable_thinking,
            add_generation_prompt=not turn,
        )
