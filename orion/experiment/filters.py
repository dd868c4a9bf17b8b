"""Named filters on reflections: which refined chains of thought may be trained on, and why the others may not.

A filter looks at one reflection and says whether it objects. "The answer checks" is a weak filter, because the teacher's
trace in the prompt contains the answer (LOG.md); the others catch what the answer cannot show.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from orion.ngrams import word_ngrams

# words of the reflection prompt that mean nothing to someone who has seen only the problem
LEAKS = {
    "chat": re.compile(
        r"\b(?:reference (?:solution|answer)"
        r"|(?:the|my|your|an?) (?:\w+ )?(?:earlier|previous|prior) (?:attempts?|solutions?|answers?)"
        r"|(?:earlier|previous|prior|wrong|incorrect|my|your|these|those) attempts?"
        r"|my (?:first|second|third) attempt|attempt \d"
        r"|solution (?:given |provided )?above|(?:as )?(?:given|provided|shown) above"
        r"|the (?:given|provided) (?:solution|answer)|refined solution)\b",
        re.IGNORECASE,
    ),
    "demo": re.compile(r"\b(?:Teacher|Attempt|Refine|New|Question) ?:|\bcheck\b|\bvs\b|\bwrong\b"),
}
# defaults of the thresholds, in words and occurrences; ``select`` in config.yaml may change them
COPY_NGRAM, COPY_FRACTION = 12, 0.5
LOOP_NGRAM, LOOP_REPEATS = 12, 4
_BOX = re.compile(r"\\boxed\s*\{([^{}]{0,200})")


@dataclass(frozen=True)
class Reflection:
    """What the filters look at: the refined part (None if absent), its verdict and how the generation ended."""

    refined: str | None
    verdict: str
    finish_reason: str
    completion_tokens: int
    teacher_trace: str | None


@dataclass(frozen=True)
class Limits:
    """Thresholds of the filters; see config/README.md."""

    prompt_set: str
    max_tokens: int | None = None
    copy_ngram: int = COPY_NGRAM
    copy_fraction: float = COPY_FRACTION
    loop_ngram: int = LOOP_NGRAM
    loop_repeats: int = LOOP_REPEATS


def copied_fraction(text: str, source: str | None, n: int) -> float:
    """Share of the text's word n-grams that also stand in the source; 0 for texts shorter than n words."""
    grams = word_ngrams(text, n)
    if not grams or source is None:
        return 0.0
    known = set(word_ngrams(source, n))
    return sum(gram in known for gram in grams) / len(grams)


def has_loop(text: str, n: int, repeats: int) -> bool:
    """Whether some run of n words occurs at least ``repeats`` times."""
    return max(Counter(word_ngrams(text, n)).values(), default=0) >= repeats


def find_boxes(text: str) -> list[tuple[int, str]]:
    """Offset and inner text (white space dropped, up to the first brace) of every box."""
    return [(match.start(), "".join(match.group(1).split())) for match in _BOX.finditer(text)]


def _answer_first(text: str) -> bool:
    # the answer stands in the first third of the words: what follows it cannot have led to it
    boxes = find_boxes(text)
    return bool(boxes) and len(text[: boxes[0][0]].split()) * 3 < len(text.split())


FILTERS: Mapping[str, Callable[[Reflection, Limits], bool]] = {
    "no_refined_part": lambda r, _: r.refined is None,
    "wrong_answer": lambda r, _: r.verdict != "correct",
    "truncated": lambda r, _: r.finish_reason != "stop",
    "too_long": lambda r, limits: (
        limits.max_tokens is not None and r.completion_tokens > limits.max_tokens
    ),
    "loop": lambda r, limits: has_loop(r.refined or "", limits.loop_ngram, limits.loop_repeats),
    "several_answers": lambda r, _: len({inner for _, inner in find_boxes(r.refined or "")}) > 1,
    "answer_first": lambda r, _: _answer_first(r.refined or ""),
    "leak": lambda r, limits: LEAKS[limits.prompt_set].search(r.refined or "") is not None,
    "copy": lambda r, limits: (
        copied_fraction(r.refined or "", r.teacher_trace, limits.copy_ngram) > limits.copy_fraction
    ),
}


# filters that judge a text by itself; the others need the reflection prompt or its teacher's trace
PROMPT_FREE_FILTERS = ("too_long", "loop", "several_answers", "answer_first")


def find_objections(reflection: Reflection, names: list[str], limits: Limits) -> list[str]:
    """The filters, of those named and in their order, that object to a reflection."""
    return [name for name in names if FILTERS[name](reflection, limits)]
