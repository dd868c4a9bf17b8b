"""Open a training text with the wrong attempt that it takes back, as LEMMA does (arXiv 2503.17439).

Input: the student's samples, the exposed errors, where false steps end; refined chains. Output:
texts of the attempt, the words that take it back, and the chain.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from orion import prompts
from orion.errors import InputError
from orion.experiment.candidates import KEY, Row
from orion.prompts import PromptSet

# what the text shows of the attempt, and what happens where it has no false step
TO_FALSE_STEP, WHOLE, DROP = "to_false_step", "whole", "drop"
# what closes a formula directly behind a step; without it the student would learn open formulas
_CLOSING = re.compile(r"\s*(?P<mark>\$\$|\\\)|\\\])|(?P<single>\$)")


@dataclass(frozen=True)
class SelfCorrection:
    """``attempt``: ``to_false_step``, up to the end of the first false step, or ``whole``.

    ``no_false_step``: of an attempt without one that is to be cut: ``drop`` or ``whole``.
    """

    attempt: str = TO_FALSE_STEP
    no_false_step: str = DROP


class Corrections:
    """Writes the texts of an arm. ``counts``: what became of the chains so far.

    ``samples``: problem_id, sample_id, response. ``errors``: those of them that are exposed.
    ``steps``: problem_id, sample_id and first_false of the samples. Raises InputError for an error
    that is no sample.
    """

    def __init__(
        self,
        form: SelfCorrection,
        samples: pl.DataFrame,
        errors: pl.DataFrame,
        steps: pl.DataFrame,
        prompt_set: PromptSet | str,
    ):
        self.form, self.prompt_set = form, prompt_set
        ends = steps.select(*KEY, end=pl.col("first_false").struct.field("end"))
        exposed = samples.select(*KEY, "response").join(errors.select(KEY).unique(), on=KEY)
        missing = errors.height - errors.join(exposed, on=KEY, how="semi").height
        if missing:
            raise InputError(
                f"--errors: {missing} of {errors.height} wrong attempts are not among the samples; "
                "delete the file and run again"
            )
        rows = exposed.join(ends, on=KEY, how="left", validate="1:1").iter_rows()
        self._attempts: dict[tuple[str, int], tuple[str, int | None]] = {
            (problem_id, sample_id): (text, end) for problem_id, sample_id, text, end in rows
        }
        self.counts: Row = {"cut": 0, "whole": 0, "without_false_step": 0}

    def write(self, problem_id: str, sample_ids: Sequence[int], solution: str) -> str | None:
        """The text that takes back one of these attempts and goes on with the solution.

        It is the first of them with a false step, or of those that are shown whole the first. None
        where the attempts have no false step and are then not to be shown.
        """
        attempts = [self._attempts[problem_id, sample_id] for sample_id in sample_ids]
        if self.form.attempt == TO_FALSE_STEP:
            cut = next((_cut(text, end) for text, end in attempts if end is not None), None)
            if cut is not None:
                return self._write("cut", cut, solution)
            if self.form.no_false_step == DROP:
                self.counts["without_false_step"] += 1
                return None
        return self._write("whole", attempts[0][0], solution)

    def _write(self, kind: str, attempt: str, solution: str) -> str:
        self.counts[kind] += 1
        return prompts.self_correction(self.prompt_set, attempt.strip(), solution)


def _cut(text: str, end: int) -> str:
    """The text up to the end of a step, and of the formula where that ends with it."""
    closing = _CLOSING.match(text, end)
    if closing is None or not _is_open(text[:end], closing["mark"] or closing["single"]):
        return text[:end]
    return text[: closing.end()]


def _is_open(text: str, mark: str) -> bool:
    """Whether a formula that this mark closes is open at the end; dollars open and close alike."""
    if mark == "$$":
        return text.count("$$") % 2 == 1
    return mark != "$" or text.replace("$$", "").count("$") % 2 == 1
