"""Reflections as candidates: which pass the filters, and the training rows of those that do.

Input: the table reflections with verdicts and false steps, the table errors. Output: training texts
as rows, by problem and template, without their prompts.
"""

from collections import Counter
from collections.abc import Iterator, Sequence

import polars as pl

from orion import prompts
from orion.experiment import filters
from orion.experiment.candidates import (
    FIRST,
    Row,
    Rows,
    drop_repeated,
    group_passing,
    make_target,
    object_to_all,
    order_by_preference,
)
from orion.experiment.filters import Limits
from orion.experiment.self_correction import Corrections
from orion.experiment.surprise import PREFERENCES


class Reflections:
    """``objections``: for each reflection the filters that object to it.

    ``problems``: rows with ``teacher_trace``. A reflection without any refined part has nothing to
    be trained on, whatever the filters are. ``prefer``: which come first, see
    ``orion.experiment.candidates.order_by_preference``. ``corrections``: what opens each text with
    the wrong attempt behind it, for an arm of that form; the filters look at the refined part.
    """

    def __init__(
        self,
        reflections: pl.DataFrame,
        errors: pl.DataFrame,
        problems: Rows,
        *,
        names: Sequence[str],
        limits: Limits,
        prefer: str = FIRST,
        corrections: Corrections | None = None,
    ):
        self.corrections = corrections
        self.names, self.limits, self.prefer = list(names), limits, prefer
        columns = ["problem_id", "sample_id", "error_ranks", "response"]
        columns += ["surprisal"] if prefer in PREFERENCES else []
        self.objections = object_to_all(
            _candidates(reflections, problems, limits), self.names, limits
        )
        keys = reflections.select("problem_id", "template").iter_rows()
        self._passing = group_passing(keys, self.objections)
        self._frame = reflections.select(columns).rechunk()
        shown = errors.group_by("problem_id").agg("rank", "sample_id")
        self._errors = Rows(shown, "problem_id")

    def targets(self, problem_id: str, template: str) -> list[Row]:
        """The targets of the reflections without objection; equal texts count once.

        The first targets are one of each prompt: the one that is preferred.
        """
        targets = []
        for place in self._passing.get((problem_id, template), []):
            row = self._frame.row(place, named=True)
            refined = prompts.extract_refined(self.limits.prompt_set, row["response"])
            if refined is None:
                continue
            errors = self._sample_ids(problem_id, row["error_ranks"])
            text: str | None = refined
            if self.corrections is not None and errors:
                text = self.corrections.write(problem_id, errors, refined)
            if text is None:
                continue
            target = make_target(
                text,
                "reflection",
                sample_id=row["sample_id"],
                errors=errors,
                passed=self.names,
            )
            target["error_ranks"] = row["error_ranks"]
            if "surprisal" in row:
                target["surprisal"] = row["surprisal"]
            targets.append(target)
        distinct = drop_repeated(targets, "completion")
        return _one_per_prompt_first(order_by_preference(distinct, "completion", self.prefer))

    def _sample_ids(self, problem_id: str, ranks: list[int]) -> list[int]:
        if not ranks:
            return []
        errors = self._errors[problem_id]
        known = dict(zip(errors["rank"], errors["sample_id"], strict=True))
        # a falsified solution is no sample
        return [known[rank] for rank in ranks if known[rank] is not None]


def _candidates(
    reflections: pl.DataFrame, problems: Rows, limits: Limits
) -> Iterator[filters.Candidate]:
    last, trace = None, None
    for row in reflections.iter_rows(named=True):
        if row["problem_id"] != last:
            last = row["problem_id"]
            trace = problems[last]["teacher_trace"] if last in problems else None
        yield filters.Candidate(
            text=prompts.extract_refined(limits.prompt_set, row["response"]),
            verdict=row["verdict"],
            finish_reason=row["finish_reason"],
            completion_tokens=row["completion_tokens"],
            teacher_trace=trace,
            true_steps=row["true_steps"],
            false_steps=row["false_steps"],
        )


def _one_per_prompt_first(targets: list[Row]) -> list[Row]:
    """The targets by their turn among those of the same prompt, without what orders them."""
    turns: Counter[tuple[int, ...]] = Counter()
    keyed = []
    for target in targets:
        prompt = tuple(target["error_ranks"])
        keyed.append((turns[prompt], target))
        turns[prompt] += 1
    ordered = [target for _, target in sorted(keyed, key=lambda pair: pair[0])]
    hidden = ("error_ranks", "surprisal")
    return [{k: v for k, v in target.items() if k not in hidden} for target in ordered]
