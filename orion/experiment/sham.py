"""Sham errors: attempts at the same problem whose error is not the student's own.

Input: the student's own errors (table errors), its checked samples, the problems. Output: a table
errors in which each own error is replaced by a right text with one step falsified at random. The
text is the own correct sample whose length is nearest to that of the error, then the next, last the
reference solution; embedded problems have one in the student's style. No teacher trace: it would
be another kind of text, of another length, and stand in the prompt twice.

The step is random, and not one that the student got right: avoiding its own errors would make the
sham tell where they are. An error is replaced only if the checker finds the result wrong, as it did
the student's.
"""

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from orion import tables
from orion.answers import check_many
from orion.demo.oracle import read_chain
from orion.demo.problems import write_solution
from orion.experiment.candidates import Row
from orion.experiment.falsification import falsify

# falsified texts that are checked in place of one error
MAX_TRIES = 24


@dataclass(frozen=True)
class RightText:
    """A right text of a problem; ``sample_id``: None for its reference solution."""

    text: str
    sample_id: int | None


def sham_errors(
    own: pl.DataFrame,
    samples: pl.DataFrame,
    problems: pl.DataFrame,
    *,
    policy: str,
    timeout_s: float,
) -> pl.DataFrame:
    """The own errors replaced, in the same order of problem and rank; some may be missing.

    ``samples``: the table with the columns ``verdict`` and ``false_steps``. An error whose problem
    has no right text that can be falsified is left out. No text is shown twice at one problem.
    """
    known = {row["problem_id"]: row for row in problems.iter_rows(named=True)}
    errors = own.sort("problem_id", "rank").rows(named=True)
    texts = list_right_texts(samples, set(own["problem_id"]))
    pending = [
        (error, _propose(error, texts.get(error["problem_id"], []), known, timeout_s))
        for error in errors
    ]
    made: list[Row] = []
    used: set[tuple[str, str]] = set()
    while pending:
        tried = [(error, rest, next(rest, None)) for error, rest in pending]
        found = [(error, rest, shown) for error, rest, shown in tried if shown is not None]
        verdicts = check_many(
            [shown.text for *_, shown in found],
            [known[error["problem_id"]]["answer"] for error, *_ in found],
            policy,
            timeout_s,
            finished=[True] * len(found),
        )
        pending = []
        for (error, rest, shown), verdict in zip(found, verdicts, strict=True):
            key = (error["problem_id"], shown.text)
            if verdict.verdict != "incorrect" or key in used:
                pending.append((error, rest))
                continue
            used.add(key)
            made.append(
                {
                    **error,
                    "sample_id": shown.sample_id,
                    "response": shown.text,
                    "extracted": verdict.extracted,
                    "source": "sham",
                }
            )
    return tables.from_rows(made, tables.ERRORS).sort("problem_id", "rank")


def list_right_texts(samples: pl.DataFrame, wanted: set[str]) -> dict[str, list[RightText]]:
    """Problem → its own correct samples that ended by themselves and have no false step."""
    right = samples.filter(
        pl.col("problem_id").is_in(sorted(wanted)),
        pl.col("verdict") == "correct",
        pl.col("finish_reason") == "stop",
        pl.col("false_steps") == 0,
    )
    found: dict[str, list[RightText]] = {}
    rows = right.select("problem_id", "response", "sample_id").sort("problem_id", "sample_id")
    for problem_id, text, sample_id in rows.iter_rows():
        found.setdefault(problem_id, []).append(RightText(text, sample_id))
    return found


def find_solution(problem: Row) -> str | None:
    """The reference solution; of an embedded problem the true chain in the student's style."""
    meta = problem["meta"]
    if {"start", "steps"} <= meta.keys():
        return write_solution(read_chain(meta))
    text: str | None = problem["solution"]
    return text


def _propose(
    error: Row, right: list[RightText], problems: dict[str, Row], timeout_s: float
) -> Iterator[RightText]:
    """Falsified texts for one error; the generator depends on the problem and the rank only."""
    problem_id, problem = error["problem_id"], problems[error["problem_id"]]
    rng = random.Random(f"sham|{problem_id}|{error['rank']}")
    length = len(error["response"])
    texts = sorted(right, key=lambda each: (abs(len(each.text) - length), each.sample_id))
    solution = find_solution(problem)
    texts += [RightText(solution, None)] if solution is not None else []
    made = (
        RightText(text, each.sample_id)
        for each in texts
        for text in falsify(each.text, problem["problem"], rng, timeout_s=timeout_s)
    )
    return itertools.islice(made, MAX_TRIES)
