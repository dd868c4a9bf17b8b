"""Let Math-Verify decide, inside a killable worker, and turn its answer into a `Verdict`.

Input: responses, golds, a policy whose `math_verify` is set. Output: `Verdict` records, or why a
gold cannot be parsed. The package is optional; only the worker process imports it. Its own timeouts
(5 seconds per parse and per comparison) work there, because the worker calls it on its main thread.
The deadline of the check, enforced with SIGKILL from outside, decides if it is shorter.

Math-Verify compares texts if it cannot parse. Equal texts are `correct`, as it says. Otherwise a
side that stayed a text was not understood and the verdict is `unparseable`. That is no credit
either, so the accuracy is exactly Math-Verify's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from orion.answers.policies import Policy
from orion.answers.verdict import (
    CORRECT,
    INCORRECT,
    NO_ANSWER,
    NO_STRING,
    TIMEOUT,
    UNPARSEABLE,
    Verdict,
    drop_surrogates,
)
from orion.answers.workers import pool

RULE = "math-verify"


def _ask_worker(response: str | None, gold: str, rules: Policy, timeout_s: float) -> dict:
    assert rules.math_verify is not None
    before, after = rules.math_verify
    return pool.ask(
        "math_verify", {"response": response, "gold": f"{before}{gold}{after}"}, timeout_s
    )


def gold_problem(gold: str, rules: Policy, timeout_s: float) -> str | None:
    """None if Math-Verify parses the gold, else why it does not."""
    try:
        answer = _ask_worker(None, gold, rules, timeout_s)
    except pool.WorkerLostError as error:
        return str(error)
    return answer.get("why") or answer["limit"] or _side_problem(answer["gold"]) or None


def _side_problem(side: dict) -> str:
    if not side["found"]:
        return "nothing to parse"
    return "" if side["form"] is not None else "not parsed, kept as a text"


def _make_verdict(response: str, gold: str, rules: Policy, timeout_s: float) -> Verdict:
    try:
        answer = _ask_worker(response, gold, rules, timeout_s)
    except pool.WorkerLostError as error:
        return Verdict(TIMEOUT, str(error), RULE)
    if "why" in answer:
        return Verdict(UNPARSEABLE, f"math-verify: {answer['why']}", RULE)
    ours, theirs = answer["response"], answer["gold"]
    if answer["correct"]:
        name, reason = CORRECT, ""
    elif answer["limit"]:
        name, reason = TIMEOUT, answer["limit"]
    elif not ours["found"]:
        name, reason = NO_ANSWER, _side_problem(ours)
    elif _side_problem(theirs):
        name, reason = UNPARSEABLE, f"gold: {_side_problem(theirs)}"
    elif _side_problem(ours):
        name, reason = UNPARSEABLE, _side_problem(ours)
    else:
        name, reason = INCORRECT, "the answers differ"
    return Verdict(
        name,
        reason,
        RULE,
        drop_surrogates(ours["text"]),
        None,
        None,
        drop_surrogates(ours["form"]),
        drop_surrogates(theirs["form"]),
    )


def check_many(
    responses: Sequence[str],
    golds: Sequence[str],
    rules: Policy,
    timeout_s: float,
    decide_each: Callable[..., dict],
) -> list[Verdict]:
    """One verdict per (response, gold); `decide_each` maps a function over the distinct pairs."""
    pairs = [
        (response, gold) if isinstance(response, str) and isinstance(gold, str) else None
        for response, gold in zip(responses, golds, strict=True)
    ]
    distinct = dict.fromkeys(pair for pair in pairs if pair is not None)
    decided = decide_each(lambda pair: _make_verdict(pair[0], pair[1], rules, timeout_s), distinct)
    return [Verdict(UNPARSEABLE, NO_STRING) if pair is None else decided[pair] for pair in pairs]
