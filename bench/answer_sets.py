"""The sets of `answers.py`: synthetic word problems, and real outputs if the data folder exists.

Input: a seed and a folder of data files. Output: lists of cases, all distinct within a set.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"

# set → (rows, rows with --quick, verdicts that differ from the labels); each of these differences
# was read by eye, and the label is wrong but for ten: an output whose draft is never closed
# (palign), eight of gpt-oss that break off in the analysis, without a final channel, and a trace
# that counts "treeks", a word that the lexicon does not have (traces)
SIZES = {
    "gsm": (5_000, 600, 0),
    "math500": (1_000, 300, 1),
    "qwen": (600, 200, 1),
    "palign": (60, 60, 1),
    "traces": (1_200, 150, 19),
}
WHAT = {
    "gsm": "GSM-like, synthetic",
    "math500": "MATH-500 solutions, own and another answer",
    "qwen": "Qwen2.5-Math rollouts",
    "palign": "P-ALIGN outputs, whole",
    "traces": "long traces of teachers, whole",
}


class Case(NamedTuple):
    """One check: a response, its gold, and whether it is right (None: unknown)."""

    response: str
    gold: str
    right: bool | None


NAMES = (
    "Ana",
    "Ben",
    "Chidi",
    "Dora",
    "Emil",
    "Fatma",
    "Goran",
    "Hana",
    "Ivo",
    "Jun",
    "Kofi",
    "Lena",
    "Mira",
    "Nils",
)
THINGS = (
    "apples",
    "bricks",
    "coins",
    "dishes",
    "eggs",
    "flyers",
    "hats",
    "jars",
    "kites",
    "lamps",
    "marbles",
    "stamps",
)
ENDINGS = (
    "#### {}",
    "The answer is {}.",
    "So the final answer is $\\boxed{{{}}}$.",
    "**Final answer: {}**",
    "\\boxed{{{}}}",
)


def synthetic(count: int, seed: int) -> Iterator[Case]:
    """Word problems like GSM8K, solutions of about 500 characters; every second one is wrong."""
    for number in range(count):
        # one generator per case, so that a longer set begins with the shorter one
        draw = random.Random(f"{seed}-{number}")
        name, thing = draw.choice(NAMES), draw.choice(THINGS)
        have = draw.randint(12, 400)
        lines = [
            f"{name} starts with {have} {thing}, as the problem says. "
            "Let me go through it one step at a time."
        ]
        for day in ("Monday", "Tuesday", "Wednesday", "Thursday"):
            change = draw.randint(2, 90)
            times = draw.randint(2, 6)
            total = have + change * times
            lines.append(
                f"On {day} there are {times} boxes with {change} {thing} each: "
                f"{times} * {change} = {times * change}."
                f" That makes {have} + {times * change} = {total} {thing}."
            )
            have = total
        wrong = number % 2 == 1
        stated = have + draw.choice((-10, -1, 1, 2, 9)) if wrong else have
        text = f"{stated:,}" if draw.random() < 0.2 else str(stated)
        lines.append(draw.choice(ENDINGS).format(text))
        yield Case("\n".join(lines), str(have), not wrong)


def _math500(rows: list[dict]) -> Iterator[Case]:
    """Every solution with its own answer and with that of the next problem."""
    for row, other in zip(rows, rows[1:] + rows[:1], strict=True):
        yield Case(row["solution"], row["answer"], True)
        if row["answer"] != other["answer"]:
            yield Case(row["solution"], other["answer"], False)


def _labelled(rows: Iterable[dict], prefix: str = "") -> Iterator[Case]:
    for row in rows:
        if row["id"].startswith(prefix):
            yield Case(row["response"], row["answer"], row["correct"])


def read_rows(path: Path) -> list[dict]:
    """The rows of a jsonl file, zst or not; none if it does not exist."""
    from orion.data import sources

    return list(sources.read_source({"kind": "jsonl", "path": str(path)})) if path.is_file() else []


def load(names: list[str], data: Path, quick: bool, seed: int) -> dict[str, list[Case]]:
    """The named sets; a set whose file is absent is left out."""

    def rows(file: str) -> list[dict]:
        return read_rows(data / file)

    rollouts = rows("student_rollouts.jsonl.zst") if {"qwen", "palign"} & set(names) else []
    made = {
        "gsm": lambda: synthetic(SIZES["gsm"][0], seed),
        "math500": lambda: _math500(rows("math500.jsonl")),
        "qwen": lambda: _labelled(rollouts, "qwenmath-"),
        "palign": lambda: _labelled(rollouts, "palign-"),
        "traces": lambda: _labelled(rows("teacher_traces.jsonl.zst")),
    }
    # a repeated case would be answered from a cache the second time
    sets = {name: list(dict.fromkeys(made[name]())) for name in names}
    return {name: cases[: SIZES[name][quick]] for name, cases in sets.items() if cases}
