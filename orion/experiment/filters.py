"""Named filters on candidates: which chains of thought may be trained on.

A candidate is the refined part of a reflection or one of the student's own samples. A filter looks
at one candidate and either objects to it or not. A correct final answer alone is a weak filter: the
teacher's trace in the prompt of a reflection contains the answer (LOG.md). The other filters catch
faults that a correct answer does not exclude; `false_step` and `no_step` look at the chain itself.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from orion import prompts
from orion.answers.extraction.boxes import list_answers
from orion.answers.grouping import find_group
from orion.ngrams import word_ngrams
from orion.prompts import PromptSet

# defaults of the thresholds (n-gram lengths in words); ``select`` in config.yaml may change them
COPY_NGRAM, COPY_FRACTION = 12, 0.5
LOOP_NGRAM, LOOP_REPEATS = 12, 4
# further answers in boxes, each another text, that are compared with the first
MAX_COMPARED = 64
# the filter that every arm has whose task is to shorten
NOT_SHORTER = "not_shorter"
NO_REFINED_PART = "no_refined_part"
# filters that look at the whole completion, and not at the text that would be trained on
_OF_COMPLETION = (NO_REFINED_PART, "truncated", "too_long")


@dataclass(frozen=True)
class Candidate:
    """What the filters look at.

    ``text``: what would be trained on: a whole sample, or the refined part of a reflection, None if
    it has none. ``verdict`` and ``finish_reason``: as in the tables. ``teacher_trace``: the one in
    the prompt, None if there is none. ``true_steps`` and ``false_steps``: its claims of either kind
    (table steps).
    """

    text: str | None
    verdict: str
    finish_reason: str
    completion_tokens: int
    teacher_trace: str | None
    true_steps: int
    false_steps: int


@dataclass(frozen=True)
class Limits:
    """Thresholds of the filters; config/README.md explains each."""

    prompt_set: PromptSet | str
    max_tokens: int | None = None
    copy_ngram: int = COPY_NGRAM
    copy_fraction: float = COPY_FRACTION
    loop_ngram: int = LOOP_NGRAM
    loop_repeats: int = LOOP_REPEATS


def copied_fraction(text: str, source: str | None, n: int) -> float:
    """Share of the text's word n-grams that also occur in the source.

    0 for texts shorter than n words, and without a source.
    """
    ngrams = word_ngrams(text, n)
    if not ngrams or source is None:
        return 0.0
    source_ngrams = set(word_ngrams(source, n))
    return sum(ngram in source_ngrams for ngram in ngrams) / len(ngrams)


def has_loop(text: str, n: int, repeats: int) -> bool:
    """Whether some sequence of n words occurs at least ``repeats`` times."""
    return max(Counter(word_ngrams(text, n)).values(), default=0) >= repeats


def has_answer_first(text: str) -> bool:
    """Whether a box with an answer is within the first third of the words.

    The text behind it cannot have led to the answer.
    """
    first = next(list_answers(text), None)
    return first is not None and len(text[: first[0]].split()) * 3 < len(text.split())


def has_several_answers(text: str) -> bool:
    """Whether the boxes of a text hold different answers; the same value may be written twice."""
    # equal texts are compared once, so that a long text of boxes stays quick
    texts = dict.fromkeys(answer for _, answer in list_answers(text))
    keys = map(find_group, texts)
    first = next(keys, None)
    return any(key != first for key in islice(keys, MAX_COMPARED))


# name → whether the filter objects; a step whose truth is unknown is no objection
FILTERS: Mapping[str, Callable[[Candidate, Limits], bool]] = {
    NO_REFINED_PART: lambda c, _: c.text is None,
    "wrong_answer": lambda c, _: c.verdict != "correct",
    "false_step": lambda c, _: c.false_steps > 0,
    # a right answer with no step behind it may have been taken from the trace in the prompt
    "no_step": lambda c, _: c.true_steps == 0,
    "leak": lambda c, limits: prompts.find_leak(limits.prompt_set, c.text or ""),
    "copy": lambda c, limits: (
        copied_fraction(c.text or "", c.teacher_trace, limits.copy_ngram) > limits.copy_fraction
    ),
    "answer_first": lambda c, _: has_answer_first(c.text or ""),
    "loop": lambda c, limits: has_loop(c.text or "", limits.loop_ngram, limits.loop_repeats),
    "truncated": lambda c, _: c.finish_reason != "stop",
    "several_answers": lambda c, _: has_several_answers(c.text or ""),
    "too_long": lambda c, limits: (
        limits.max_tokens is not None and c.completion_tokens > limits.max_tokens
    ),
    # in characters, as nothing here has a tokenizer
    NOT_SHORTER: lambda c, _: (
        c.teacher_trace is not None and len(c.text or "") >= len(c.teacher_trace)
    ),
}


# filters that need only the text: they also apply to the student's own samples. The other filters
# need the reflection prompt or its teacher's trace.
PROMPT_FREE_FILTERS = (
    *("false_step", "no_step"),
    *("answer_first", "loop", "several_answers", "too_long"),
)


def check_names(names: Sequence[str]) -> None:
    """Raises ValueError for an unknown filter; the message lists the filters."""
    for name in names:
        if name not in FILTERS:
            raise ValueError(f"unknown filter {name!r}; the filters are: {', '.join(FILTERS)}")


def find_objections(candidate: Candidate, names: list[str], limits: Limits) -> list[str]:
    """Those of the named filters that object to the candidate, in the order of ``names``.

    Nothing is said of a text that is not there, but that it is not.
    """
    if candidate.text is None and NO_REFINED_PART in names:
        names = [name for name in names if name in _OF_COMPLETION]
    return [name for name in names if FILTERS[name](candidate, limits)]
