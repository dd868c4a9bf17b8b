"""The texts that an arm may train on, by problem, with the filters that object to each.

Input: the tables problems, samples, verdicts and steps. Output: training texts as rows, without
their prompts; `orion.stages.select` chooses among them.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import polars as pl

from orion import prompts
from orion.errors import InputError
from orion.experiment import filters
from orion.experiment.filters import Limits
from orion.prompts import PromptSet

Row = dict[str, Any]
KEY = ["problem_id", "sample_id"]
# what every own sample must pass, whatever the configuration says
_ALWAYS = ("wrong_answer", "truncated")


def join_checks(
    texts: pl.DataFrame, verdicts: pl.DataFrame, steps: pl.DataFrame, *, files: Sequence[str]
) -> pl.DataFrame:
    """Samples, reflections or traces with ``verdict`` and ``false_steps``, sorted by key.

    ``files``: where the verdicts and the steps were read, for the message. Raises InputError where
    a text has no verdict or no steps: it was never checked.
    """
    checks = (verdicts.select(*KEY, "verdict"), steps.select(*KEY, false_steps="false"))
    joined = texts
    for file, found in zip(files, checks, strict=True):
        joined = joined.join(found, on=KEY, validate="1:1")
        if joined.height != texts.height:
            raise InputError(
                f"{file}: {texts.height - joined.height} of {texts.height} texts have no row, so "
                "they were never checked; delete the file and run again"
            )
    return joined.sort(KEY)


class Candidates:
    """The texts an arm may train on, by problem; each method gives up to ``max_per_problem`` rows.

    The student's own samples pass the same filters as its reflections, as far as a filter applies
    to a text without a refined part; otherwise ``orion`` against ``sft_own`` would compare filtered
    texts with unfiltered ones. ``false_traces``: problems whose teacher trace is not to be used;
    ``long_golds``: problems whose gold is a whole text and no answer.
    """

    def __init__(
        self,
        problems: pl.DataFrame,
        samples: pl.DataFrame,
        *,
        names: Sequence[str],
        limits: Limits,
        max_per_problem: int,
        false_traces: Iterable[str] = (),
        long_golds: Iterable[str] = (),
    ):
        self.problems = {row["problem_id"]: row for row in problems.iter_rows(named=True)}
        self.max_per_problem = max_per_problem
        self.false_traces, self.long_golds = frozenset(false_traces), frozenset(long_golds)
        wanted = {*_ALWAYS, *filters.PROMPT_FREE_FILTERS}
        self.names = [name for name in names if name in wanted]
        self.names += [name for name in _ALWAYS if name not in names]
        self.samples = [
            {**row, "objections": self._find_objections(row, limits)}
            for row in samples.iter_rows(named=True)
        ]
        self.correct: dict[str, list[Row]] = {}
        for row in self.samples:
            if not row["objections"]:
                self.correct.setdefault(row["problem_id"], []).append(row)

    def _find_objections(self, row: Row, limits: Limits) -> list[str]:
        sample = filters.Candidate(
            text=row["response"],
            verdict=row["verdict"],
            finish_reason=row["finish_reason"],
            completion_tokens=row["completion_tokens"],
            teacher_trace=None,
            false_steps=row["false_steps"],
        )
        return filters.find_objections(sample, self.names, limits)

    def solution(self, problem_id: str, prompt_set: PromptSet | str) -> list[Row]:
        """The reference solution with its answer; without a solution the answer alone.

        None where the answer would have to be stated and the gold is no answer but a whole text.
        """
        row = self.problems[problem_id]
        text = row["solution"]
        if text is None or "\\boxed" not in text:
            if problem_id in self.long_golds:
                return []
            stated = prompts.answer(prompt_set, row["answer"])
            text = stated if text is None else f"{text}\n{stated}"
        return [make_target(text, "solution")]

    def teacher(self, problem_id: str) -> list[Row]:
        """The teacher's trace, if one checks and it may be used; its rank is the ``sample_id``."""
        problem = self.problems[problem_id]
        trace = problem["teacher_trace"]
        if trace is None or problem_id in self.false_traces:
            return []
        return [make_target(trace, "teacher_trace", sample_id=problem.get("trace_rank"))]

    def own_correct(self, problem_id: str) -> list[Row]:
        """The student's own correct samples, in order of sample_id, equal texts once."""
        rows = drop_repeated(self.correct.get(problem_id, []), "response")[: self.max_per_problem]
        return [
            make_target(
                row["response"], "own_correct", sample_id=row["sample_id"], passed=self.names
            )
            for row in rows
        ]


def make_target(
    text: str,
    kind: str,
    *,
    sample_id: int | None = None,
    errors: list[int] | None = None,
    passed: Sequence[str] = (),
) -> Row:
    """A training text as a row, without its problem and prompt."""
    return {
        "completion": text,
        "target_kind": kind,
        "sample_id": sample_id,
        "error_sample_ids": errors or [],
        "filters_passed": list(passed),
    }


def drop_repeated(rows: list[Row], column: str) -> list[Row]:
    """The rows in their order; of those with the same text in the column, the first."""
    seen: dict[str, Row] = {}
    for row in rows:
        seen.setdefault(row[column], row)
    return list(seen.values())
