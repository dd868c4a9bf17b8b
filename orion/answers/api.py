"""The public functions: check one response, check many, test a gold.

Inputs: strings. Outputs: `Verdict` records. Never an exception for any string, never code from a string. Usable from any thread.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from orion.answers import replay
from orion.answers.comparison.compare import Result, compare_answers
from orion.answers.extraction.final_answer import Span, content_of_last_box, extract_answer
from orion.answers.parsing.normalise import decimal_literal
from orion.answers.parsing.read_answer import Answer, read_answer
from orion.answers.parsing.tree import print_tree
from orion.answers.policies import Policy, get_policy
from orion.answers.verdict import NO_STRING, Verdict, clean

# wall seconds that one check may take; the first start of a worker process (guard.START_S) comes on top
DEFAULT_TIMEOUT_S = 2.5


def _gold_text(gold: str) -> str:
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
    """None where the gold can be understood under the policy, else the reason why not.

    Raises PolicyError, a ValueError, for an unknown policy or one whose package is not installed.
    """
    rules = get_policy(policy)
    if not isinstance(gold, str):
        return "the gold is not a string"
    if rules.math_verify is not None:
        return replay.gold_problem(gold, rules, DEFAULT_TIMEOUT_S)
    return _gold_problem(read_answer(_gold_text(gold)), rules)


def _print_answer(answer: Answer) -> str | None:
    if answer.plain is not None:
        return answer.plain
    return print_tree(answer.node) if answer.node is not None else None


class _Gold(NamedTuple):
    """A gold that was read: the answer, why it cannot be understood (None: it can), its print, its text."""

    answer: Answer
    problem: str | None
    printed: str | None
    text: str


def _read_gold(gold: str, rules: Policy) -> _Gold:
    text = _gold_text(gold)
    answer = read_answer(text)
    return _Gold(answer, _gold_problem(answer, rules), clean(_print_answer(answer)), text.strip())


def _decide_pair(
    text: str, gold: _Gold, rules: Policy, timeout_s: float
) -> tuple[Result, str | None]:
    """Result of one (extracted, gold) pair, and the print of the extracted side."""
    literal = decimal_literal(text.strip())
    if literal is not None and literal == gold.answer.plain and gold.problem is None:
        return Result("correct", "", "literal"), literal
    if gold.problem is not None and (rules.integers is not None or text.strip() != gold.text):
        return Result("unparseable", f"gold: {gold.problem}", "gold"), None
    answer = read_answer(text)
    try:
        result = compare_answers(answer, gold.answer, rules, timeout_s)
    except Exception as error:
        # the promise of this package: no string raises. A fault of ours costs one row and is named, and the fuzzer looks for it
        result = Result("unparseable", f"internal error: {type(error).__name__}", "compare")
    return result, _print_answer(answer)


def _make_verdict(
    span: Span, result: Result, normal: str | None, gold_normal: str | None
) -> Verdict:
    reason = result.reason or span.reason
    return Verdict(
        result.verdict,
        reason,
        result.rule,
        clean(span.text),
        span.start,
        span.end,
        clean(normal),
        gold_normal,
    )


def _decide_each(decide: Callable, pairs: Iterable[tuple[str, str]], workers: int | None) -> dict:
    """pair → what `decide` makes of it; up to `workers` of them wait for worker processes at a time."""
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

    `finished`: whether the output ended by itself (its finish reason was "stop"); None where that is not known. `timeout_s`:
    wall seconds for all comparisons of the check together; starting a worker process is not in them. Raises PolicyError, a
    ValueError, for an unknown policy or one whose package is not installed, and nothing else for any two strings.
    """
    return check_many([response], [gold], policy, timeout_s=timeout_s, finished=[finished])[0]


def check_many(
    responses: Sequence[str],
    golds: Sequence[str],
    policy: str | Policy = "math",
    timeout_s: float = DEFAULT_TIMEOUT_S,
    workers: int | None = 1,
    *,
    finished: Iterable[bool | None] | None = None,
) -> list[Verdict]:
    """One verdict per (response, gold), in order; equal (gold, extracted) pairs are decided once, each gold is read once.

    `workers`: how many comparisons may wait for a worker process at a time (None: one per core). Memory grows with the call: a
    caller with millions of rows hands them over in slices. Under a policy that replays Math-Verify, equal (gold, response) pairs
    are decided once and `finished` does not count. Raises ValueError where the lengths differ, and PolicyError as `check` does.
    """
    rules = get_policy(policy)
    responses, golds = list(responses), list(golds)
    ends = [None] * len(responses) if finished is None else list(finished)
    if not len(responses) == len(golds) == len(ends):
        raise ValueError(
            f"{len(responses)} responses, {len(golds)} golds, {len(ends)} finish flags: one of each is needed"
        )
    if rules.math_verify is not None:
        return replay.check_many(
            responses,
            golds,
            rules,
            timeout_s,
            lambda decide, pairs: _decide_each(decide, pairs, workers),
        )
    read_golds: dict[str, _Gold] = {}
    pairs: dict[tuple[str, str], None] = {}
    spans: list[Span | None] = []
    for response, gold, ended in zip(responses, golds, ends, strict=True):
        if not isinstance(response, str) or not isinstance(gold, str):
            spans.append(None)
            continue
        if gold not in read_golds:
            read_golds[gold] = _read_gold(gold, rules)
        span = extract_answer(response, rules, ended)
        spans.append(span)
        if span.text is not None:
            pairs[gold, span.text] = None

    def decide(pair: tuple[str, str]) -> tuple[Result, str | None]:
        return _decide_pair(pair[1], read_golds[pair[0]], rules, timeout_s)

    decided = _decide_each(decide, pairs, workers)
    verdicts = []
    for found, gold in zip(spans, golds, strict=True):
        if found is None:
            verdicts.append(Verdict("unparseable", NO_STRING))
        elif found.text is None:
            verdicts.append(
                Verdict("no_answer", found.reason, "extract", gold_normal=read_golds[gold].printed)
            )
        else:
            result, normal = decided[gold, found.text]
            verdicts.append(_make_verdict(found, result, normal, read_golds[gold].printed))
    return verdicts
