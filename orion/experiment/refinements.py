"""The oracle's training texts: for the student's own errors, the generator's perfect refinements.

Input: the tables problems (meta with the true chain), samples and errors. Output: training texts as
rows, as many per problem and with the same errors behind each as reflections have.
"""

import polars as pl

from orion.demo.oracle import write_refinement
from orion.errors import InputError
from orion.experiment.candidates import KEY, Row, Rows, drop_repeated, make_target


class Refinements:
    """``errors_per_prompt``: errors that one reflection would see, and one refinement corrects.

    Raises InputError where the problems do not record their steps.
    """

    def __init__(
        self,
        problems: pl.DataFrame,
        samples: pl.DataFrame,
        errors: pl.DataFrame,
        *,
        errors_per_prompt: int,
    ):
        self.errors_per_prompt = errors_per_prompt
        steps = {"start", "steps"} <= {f.name for f in problems.schema["meta"].fields}  # type: ignore[attr-defined]
        if not steps:
            raise InputError(
                "an arm trained on oracle needs the true steps of each problem, which only "
                "datasets of the source kind demo record; train it on another text"
            )
        self._meta = Rows(problems.select("problem_id", "meta"), "problem_id")
        attempts = errors.join(samples.select(*KEY, "response"), on=KEY).sort("problem_id", "rank")
        grouped = attempts.group_by("problem_id", maintain_order=True).agg("sample_id", "response")
        self._attempts = Rows(grouped, "problem_id")

    def targets(self, problem_id: str) -> list[Row]:
        """One target per group of errors, in order of rank; equal texts count once."""
        if problem_id not in self._attempts:
            return []
        meta, own = self._meta[problem_id]["meta"], self._attempts[problem_id]
        targets = []
        for start in range(0, len(own["sample_id"]), self.errors_per_prompt):
            group = slice(start, start + self.errors_per_prompt)
            text = write_refinement(meta, own["response"][group])
            targets.append(make_target(text, "oracle", errors=own["sample_id"][group]))
        return drop_repeated(targets, "completion")
