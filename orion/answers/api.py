"""The public functions: check one response, check many, test whether a gold can be parsed.

Input: strings. Output: `Verdict` records. No string raises an exception and no string is run as
code. Usable from any thread.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from orion.answers import replay
from orion.answers.comparison.compare import Result, compare_answers
from orion.answers.extraction.boxes import content_of_last_box
from orion.answers.extraction.final_answer import extract_answer
from orion.answers.extraction.sentence import value_of_sentence
from orion.answers.extraction.span import MAX_ANSWER, Span
from orion.answers.parsing.normalise import decimal_literal
from orion.answers.parsing.read_answer import Answer, read_answer, read_trusted
from orion.answers.parsing.special_answers import find_behind_letter
from orion.answers.parsing.tree import print_tree
from orion.answers.policies import Policy, get_policy
from orion.answers.verdict import (
    CORRECT,
    NO_ANSWER,
    NO_STRING,
    UNPARSEABLE,
    Verdict,
    drop_surrogates,
)

# wall seconds per check; the first start of a worker process (START_S of workers.pool) is extra
DEFAULT_TIMEOUT_S = 2.5
# kinds of a gold that a letter alone may answer, and of words, where A may be a word
_LETTERS = ("choice", "sym", "const", "text")


def _strip_box(gold: str) -> str:
    """The gold without the box that some files keep around it."""
    return content_of_last_box(gold) if "\\boxed" in gold or "\\fbox" in gold else gold


def _gold_problem(answer: Answer, policy: Policy) -> str | None:
    if answer.node is None and answer.plain is None:
        return answer.problem
    if policy.integers is not None:
        low, high = policy.integers
        value = answer.node.value if answer.node is not None and answer.node.kind == "num" else None
        if value is None or value.denominator != 1 or not low <= value <= high:
            return f"not an integer from {low} to {high}"
    return None


def parse_gold(gold: str, policy: str | Policy = "math") -> str | None:
    """None if the gold can be parsed under the policy, else the reason why it cannot.

    Raises PolicyError, a ValueError, for an unknown policy or one whose package is not installed.
    """
    rules = get_policy(policy)
    if not isinstance(gold, str):
        return "the gold is not a string"
    if rules.math_verify is not None:
        return replay.gold_problem(gold, rules, DEFAULT_TIMEOUT_S)
    return _gold_problem(read_answer(_strip_box(gold)), rules)


def _print_answer(answer: Answer) -> str | None:
    if answer.plain is not None:
        return answer.plain
    return print_tree(answer.node) if answer.node is not None else None


class _Gold(NamedTuple):
    """A parsed gold: the answer, why it cannot be used (or None), its printed form, its text."""

    answer: Answer
    problem: str | None
    printed: str | None
    text: str


def _read_gold(gold: str, rules: Policy) -> _Gold:
    text = _strip_box(gold)
    answer = read_answer(text)
    if answer.node is None or answer.node.kind == "text":
        # a gold is trusted: words behind its value that no table knows are a unit
        answer = read_trusted(text) or answer
    printed = drop_surrogates(_print_answer(answer))
    return _Gold(answer, _gold_problem(answer, rules), printed, text.strip())


def _whole_response(response: str, gold: _Gold, rules: Policy) -> Span | None:
    """The span of a response that equals the gold character for character, None for any other."""
    # blanks around it do not count, but a long response is not stripped for every gold
    long = len(response) > min(MAX_ANSWER, len(gold.text) + 100)
    if long or not rules.last_value or response.strip() != gold.text:
        return None
    start = len(response) - len(response.lstrip())
    return Span(gold.text, start, start + len(gold.text), "whole", "")


def _decide_pair(
    text: str, gold: _Gold, rules: Policy, timeout_s: float, boxed: bool
) -> tuple[Result, str | None]:
    """The result for one (extracted, gold) pair, and the printed form of the extracted side."""
    literal = decimal_literal(text.strip())
    same = literal is not None and literal == gold.answer.plain
    if same and gold.problem is None and gold.answer.currency is None:
        return Result(CORRECT, "", "number"), literal
    if gold.problem is not None and (rules.integers is not None or text.strip() != gold.text):
        return Result(UNPARSEABLE, f"gold: {gold.problem}", "gold"), None
    answer = read_answer(text)
    try:
        result = compare_answers(answer, gold.answer, rules, timeout_s)
        if (
            boxed
            and result.verdict == UNPARSEABLE
            and (inner := value_of_sentence(text)) is not None
        ):
            answer = read_answer(inner)
            result = compare_answers(answer, gold.answer, rules, timeout_s)
    except Exception as error:
        # this package promises that no string raises: a bug here costs one row, its reason names
        # the exception, and the fuzzer searches for that reason
        result = Result(UNPARSEABLE, f"internal error: {type(error).__name__}", "compare")
    return result, _print_answer(answer)


def _find_span(response: str, gold: _Gold, rules: Policy, finished: bool | None) -> Span:
    return _whole_response(response, gold, rules) or extract_answer(response, rules, finished)


def _without_letter(span: Span, gold: _Gold) -> Span:
    """The span without the letter of a choice where the gold is no letter: 70 of "A: 70"."""
    node = gold.answer.node
    # boxes of a list are joined, so that no offset is one of the response
    if span.text is None or span.start is None or span.found_by == "boxes":
        return span
    if node is not None and node.kind in _LETTERS:
        return span
    at = find_behind_letter(span.text)
    if at is None:
        return span
    value = span.text[at:].rstrip("*_ ")
    start = span.start + at
    return span._replace(text=value, start=start, end=start + len(value))


def _make_verdict(span: Span, decided: tuple[Result, str | None] | None, gold: _Gold) -> Verdict:
    """The verdict on a span; decided: what `_decide_pair` says of it, None if it has no text."""
    if decided is None:
        return Verdict(NO_ANSWER, span.reason, span.rule, gold_normal=gold.printed)
    result, normal = decided
    shown = _without_letter(span, gold)
    return Verdict(
        result.verdict,
        result.reason or span.reason,
        result.rule,
        drop_surrogates(shown.text),
        shown.start,
        shown.end,
        drop_surrogates(normal),
        gold.printed,
    )


def _decide_each(decide: Callable, pairs: Iterable[tuple], workers: int | None) -> dict:
    """Pair → `decide(pair)`; up to `workers` of them wait for worker processes at a time."""
    pairs = list(pairs)
    threads = workers if workers is not None else os.cpu_count() or 1
    if threads > 1 and len(pairs) > 1:
        with ThreadPoolExecutor(threads) as pool:
            return dict(zip(pairs, pool.map(decide, pairs), strict=True))
    return {pair: decide(pair) for pair in pairs}


def check(
    response: str,
    gold: str,
    policy: str | Policy = "math",
    *,
    finished: bool | None = None,
    timeout_s: float = DEFAULT_TIMEOUT_S,
) -> Verdict:
    """The verdict on one response.

    finished: whether the output ended by itself (its finish reason was "stop"); None if unknown.
    timeout_s: wall seconds for all comparisons of this check together, without the start of a
    worker process. Raises PolicyError, a ValueError, for an unknown policy or one whose package is
    not installed; no two strings raise anything else.
    """
    rules = get_policy(policy)
    if rules.math_verify is not None:
        return check_many([response], [gold], rules, timeout_s)[0]
    if not isinstance(response, str) or not isinstance(gold, str):
        return Verdict(UNPARSEABLE, NO_STRING)
    known = _read_gold(gold, rules)
    span = _find_span(response, known, rules, finished)
    if span.text is None:
        return _make_verdict(span, None, known)
    decided = _decide_pair(span.text, known, rules, timeout_s, span.found_by == "box")
    return _make_verdict(span, decided, known)


def check_many(
    responses: Sequence[str],
    golds: Sequence[str],
    policy: str | Policy = "math",
    timeout_s: float = DEFAULT_TIMEOUT_S,
    workers: int | None = 1,
    *,
    finished: Iterable[bool | None] | None = None,
) -> list[Verdict]:
    """One verdict per (response, gold), in order.

    Equal (gold, extracted) pairs are decided once and each gold is read once.
    workers: how many comparisons may wait for a worker process at a time (None: one per core).
    Memory grows with the call, so a caller with millions of rows passes them in slices.
    Under a policy that replays Math-Verify, equal (gold, response) pairs are decided once and
    `finished` is ignored. Raises ValueError if the lengths differ, and PolicyError as `check` does.
    """
    rules = get_policy(policy)
    responses, golds = list(responses), list(golds)
    ends = [None] * len(responses) if finished is None else list(finished)
    if not len(responses) == len(golds) == len(ends):
        raise ValueError(
            f"{len(responses)} responses, {len(golds)} golds, {len(ends)} finish flags: "
            "one of each is needed"
        )
    if rules.math_verify is not None:

        def decide_each(decide: Callable, pairs: Iterable[tuple[str, str]]) -> dict:
            return _decide_each(decide, pairs, workers)

        return replay.check_many(responses, golds, rules, timeout_s, decide_each)
    read_golds: dict[str, _Gold] = {}
    # (gold, extracted, whether it was boxed: the value of a sentence is looked for in boxes only)
    pairs: dict[tuple[str, str, bool], None] = {}
    spans: list[Span | None] = []
    for response, gold, ended in zip(responses, golds, ends, strict=True):
        if not isinstance(response, str) or not isinstance(gold, str):
            spans.append(None)
            continue
        if gold not in read_golds:
            read_golds[gold] = _read_gold(gold, rules)
        span = _find_span(response, read_golds[gold], rules, ended)
        spans.append(span)
        if span.text is not None:
            pairs[gold, span.text, span.found_by == "box"] = None

    def decide(pair: tuple[str, str, bool]) -> tuple[Result, str | None]:
        gold, text, boxed = pair
        return _decide_pair(text, read_golds[gold], rules, timeout_s, boxed)

    decided = _decide_each(decide, pairs, workers)
    verdicts = []
    for found, gold in zip(spans, golds, strict=True):
        if found is None:
            verdicts.append(Verdict(UNPARSEABLE, NO_STRING))
        elif found.text is None:
            verdicts.append(_make_verdict(found, None, read_golds[gold]))
        else:
            pair = gold, found.text, found.found_by == "box"
            verdicts.append(_make_verdict(found, decided[pair], read_golds[gold]))
    return verdicts
