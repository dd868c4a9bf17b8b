"""The sets of `answers.py` for `check_steps`, and their table: whole texts, one core.

Input: a seed and the data folder; from `answers.py` its way of timing and Math-Verify's parse and
verify of the same texts. Output: lines of a table. A set whose labels are missed more often than
SIZES allows is refused, not timed.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.answer_sets import Case, read_rows, synthetic
from orion.answers.steps import check_steps, summary

# set → (texts, texts with --quick, share of labels that may be missed, texts per second wanted)
SIZES = {
    "steps-gsm": (5_000, 600, 0.0, 2_000),
    "steps-gsm8k": (1_300, 300, 0.01, 2_000),
    "steps-math": (4_000, 300, 0.01, 200),
}
WHAT = {
    "steps-gsm": "GSM-like, synthetic, half with one false sum",
    "steps-gsm8k": "GSM8K solutions, all true",
    "steps-math": "MATH solutions, all true",
}
HEAD = (
    "set",
    "n",
    "characters",
    "labels missed",
    "claims per text",
    "decided",
    "check_steps/s",
    "wanted",
    "Math-Verify parse + verify/s",
    "ratio",
    "check_steps ms p50 / p99 / max",
)
_SUM = re.compile(r"(\d{1,6} \+ \d{1,6} = )(\d{1,6})")

Judge = Callable[[str, str], bool]


def is_true(response: str, gold: str) -> bool:
    """Whether no step of the text is false, as a judge of `answers.py`."""
    return summary(check_steps(response)).false == 0


def make_texts(count: int, seed: int) -> Iterator[Case]:
    """The word problems of `synthetic`; in every second text one sum is made false."""
    for number, case in enumerate(synthetic(count, seed)):
        sums = list(_SUM.finditer(case.response))
        place = sums[number // 2 % len(sums)]
        if number % 2:
            wrong = f"{place.group(1)}{int(place.group(2)) + 1 + number % 9}"
            text = case.response[: place.start()] + wrong + case.response[place.end() :]
            yield Case(text, case.gold, False)
        else:
            yield Case(case.response, case.gold, True)


def load(names: list[str], data: Path, quick: bool, seed: int) -> dict[str, list[Case]]:
    """The named sets; a set whose file is absent is left out."""
    files = {"steps-gsm8k": "gsm8k_test.jsonl", "steps-math": "math_test_minus500.jsonl.zst"}
    sets = {}
    for name in names:
        size = SIZES[name][quick]
        if name == "steps-gsm":
            sets[name] = list(make_texts(size, seed))
        else:
            rows = read_rows(data / files[name])[:size]
            texts = [Case(row["solution"], row["answer"], True) for row in rows]
            # a repeated text would be answered from a cache the second time
            sets[name] = list(dict.fromkeys(texts))
    return {name: cases for name, cases in sets.items() if cases}


def write_row(
    name: str,
    cases: list[Case],
    theirs: Judge,
    rounds: int,
    timed: Callable[[Judge, list[Case]], list[float]],
    spread: Callable[[list[list[float]]], str],
) -> tuple[list[str], bool]:
    """One row of the table, and whether the steps are right often enough to be timed."""
    share, wanted = SIZES[name][2:]
    allowed = int(share * len(cases))
    found = [summary(check_steps(case.response)) for case in cases]
    missed = sum((one.false == 0) != case.right for one, case in zip(found, cases, strict=True))
    claims = sum(one.true + one.false + one.unknown for one in found)
    decided = sum(one.true + one.false for one in found)
    head = [
        WHAT[name],
        f"{len(cases):,}",
        f"{sum(len(case.response) for case in cases) / len(cases):,.0f}",
        f"{missed} (≤ {allowed})",
        f"{claims / len(cases):.1f}",
        f"{decided / max(1, claims):.1%}",
    ]
    if missed > allowed:
        return [*head, "REFUSED", *[""] * 4], False
    ours: list[list[float]] = []
    peers: list[list[float]] = []
    for _ in range(rounds):
        ours.append(timed(is_true, cases))
        peers.append(timed(theirs, cases))
    rates = [statistics.median(len(cases) / sum(r) for r in times) for times in (ours, peers)]
    ratio = statistics.median(sum(b) / sum(a) for a, b in zip(ours, peers, strict=True))
    return [
        *head,
        f"{rates[0]:,.0f}",
        f"≥ {wanted:,}{'' if rates[0] >= wanted else ' MISSED'}",
        f"{rates[1]:,.0f}",
        f"{ratio:.1f}×",
        spread(ours),
    ], True
