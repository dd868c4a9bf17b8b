"""The texts that an arm may train on, by problem, with the filters that object to each.

Input: the tables problems, samples, verdicts and steps. Output: training texts as rows, without
their prompts; `orion.stages.select` chooses among them.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import polars as pl

from orion import prompts
from orion.errors import InputError
from orion.experiment import filters
from orion.experiment.filters import Limits
from orion.experiment.surprise import PREFERENCES
from orion.prompts import PromptSet

Row = dict[str, Any]
KEY = ["problem_id", "sample_id"]
# what every own sample must pass, whatever the configuration says
TRUNCATED = "truncated"
_ALWAYS = ("wrong_answer", TRUNCATED)
# which of a problem's texts is taken first
FIRST, SHORTEST = "first", "shortest"


def join_checks(
    texts: pl.DataFrame, verdicts: pl.DataFrame, steps: pl.DataFrame, *, files: Sequence[str]
) -> pl.DataFrame:
    """Samples, reflections or traces, in their order, with their verdict and numbers of steps.

    The columns are ``verdict``, ``true_steps`` and ``false_steps``.

    ``files``: where the verdicts and the steps were read, for the message. Raises InputError where
    a text has no verdict or no steps: it was never checked.
    """
    checks = (
        verdicts.select(*KEY, "verdict"),
        steps.select(*KEY, true_steps="true", false_steps="false"),
    )
    joined = texts.select(KEY)  # the texts stay out of the joins, which copy
    for file, found in zip(files, checks, strict=True):
        joined = joined.join(found, on=KEY, validate="1:1", maintain_order="left")
        if joined.height != texts.height:
            raise InputError(
                f"{file}: {texts.height - joined.height} of {texts.height} texts have no row, so "
                "they were never checked; delete the file and run again"
            )
    return texts.hstack(joined.select("verdict", "true_steps", "false_steps"))


class Rows(Mapping[str, Row]):
    """The rows of a frame by the unique values of a column, each made when it is asked for.

    A dictionary for each row of a large table would need many times the table's memory.
    """

    def __init__(self, frame: pl.DataFrame, key: str):
        self.frame = frame.rechunk()
        self._place = {value: i for i, value in enumerate(frame[key])}

    def __getitem__(self, key: str) -> Row:
        return self.frame.row(self._place[key], named=True)

    def __iter__(self) -> Iterator[str]:
        return iter(self._place)

    def __len__(self) -> int:
        return len(self._place)


Objections = list[tuple[str, ...]]


def object_to_all(
    candidates: Iterable[filters.Candidate], names: list[str], limits: Limits
) -> Objections:
    """For each candidate the filters that object to it; equal results are one object."""
    known: dict[tuple[str, ...], tuple[str, ...]] = {}
    found = (tuple(filters.find_objections(each, names, limits)) for each in candidates)
    return [known.setdefault(objections, objections) for objections in found]


def group_passing(keys: Iterable[Any], objections: Objections) -> dict[Any, list[int]]:
    """key → the numbers of its rows without an objection, in order."""
    groups: dict[Any, list[int]] = {}
    for i, (key, found) in enumerate(zip(keys, objections, strict=True)):
        if not found:
            groups.setdefault(key, []).append(i)
    return groups


class Candidates:
    """The texts an arm may train on, by problem; each method gives up to ``max_per_problem`` rows.

    The student's own samples pass the same filters as its reflections, as far as a filter applies
    to a text without a refined part; otherwise ``orion`` against ``sft_own`` would compare filtered
    texts with unfiltered ones. ``false_traces``: problems whose teacher trace is not to be used;
    ``long_golds``: problems whose gold is a whole text and no answer. ``prefer``: which of the own
    samples come first, see ``order_by_preference``. ``unchecked``: own samples need to have ended
    by themselves and nothing else, for an arm that is trained on them whatever they answer.
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
        prefer: str = FIRST,
        unchecked: bool = False,
    ):
        self.problems = Rows(problems.drop("meta", strict=False), "problem_id")
        self.max_per_problem, self.prefer, self.unchecked = max_per_problem, prefer, unchecked
        self.false_traces, self.long_golds = frozenset(false_traces), frozenset(long_golds)
        wanted = {*_ALWAYS, *filters.PROMPT_FREE_FILTERS}
        self.names = [name for name in names if name in wanted]
        self.names += [name for name in _ALWAYS if name not in names]
        if unchecked:
            self.names = [TRUNCATED]
        columns = ["response", "verdict", "finish_reason", "completion_tokens"]
        columns += ["true_steps", "false_steps"]
        self.objections = object_to_all(
            (
                filters.Candidate(
                    text=text,
                    verdict=verdict,
                    finish_reason=reason,
                    completion_tokens=tokens,
                    teacher_trace=None,
                    true_steps=true_steps,
                    false_steps=false_steps,
                )
                for text, verdict, reason, tokens, true_steps, false_steps in samples.select(
                    columns
                ).iter_rows()
            ),
            self.names,
            limits,
        )
        by_surprisal = ["surprisal"] if prefer in PREFERENCES else []
        self._samples = samples.select(*KEY, "response", *by_surprisal).rechunk()
        self._passing = group_passing(samples["problem_id"], self.objections)

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
        """The student's own correct samples in order of preference, equal texts once."""
        assert not self.unchecked, "the samples were not filtered"
        return self._make_own(problem_id, "own_correct")

    def own_sample(self, problem_id: str) -> list[Row]:
        """The student's own samples that ended by themselves, whatever their answers and steps."""
        assert self.unchecked, "the samples were filtered"
        return self._make_own(problem_id, "own_sample")

    def _make_own(self, problem_id: str, kind: str) -> list[Row]:
        places = self._passing.get(problem_id, [])
        rows = drop_repeated([self._samples.row(i, named=True) for i in places], "response")
        rows = order_by_preference(rows, "response", self.prefer)[: self.max_per_problem]
        return [
            make_target(row["response"], kind, sample_id=row["sample_id"], passed=self.names)
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


def order_by_preference(rows: list[Row], column: str, prefer: str) -> list[Row]:
    """The rows in the order in which they are taken, by ``prefer``.

    ``first`` leaves them as they are. ``shortest`` counts the characters of the text in the column,
    since nothing here has a tokenizer. The preferences of `orion.experiment.surprise` go by the
    column ``surprisal``; a text without one comes last. Of equals the first comes first.
    """
    if prefer == SHORTEST:
        return sorted(rows, key=lambda row: len(row[column]))
    if prefer in PREFERENCES:
        last = float("inf")
        return sorted(rows, key=lambda row: last if (n := row["surprisal"]) is None else n)
    return rows


def drop_repeated(rows: list[Row], column: str) -> list[Row]:
    """The rows in their order; of those with the same text in the column, the first."""
    seen: dict[str, Row] = {}
    for row in rows:
        seen.setdefault(row[column], row)
    return list(seen.values())
