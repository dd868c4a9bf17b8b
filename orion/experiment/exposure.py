"""Which wrong attempts of a problem are exposed, in which order, and what is shown of each.

Input: wrong samples, the steps of samples. Output: the samples in their order; the texts that the
reflection prompts show.
"""

from typing import Any

import polars as pl

from orion import prompts, tables
from orion.answers.grouping import find_group
from orion.answers.steps import check_steps, summary
from orion.errors import InputError
from orion.experiment.candidates import KEY
from orion.prompts import PromptSet
from orion.provenance import digest_text

# what is shown of an attempt
WHOLE, TO_FALSE_STEP, ANSWER = "whole", "to_false_step", "answer"
SELECTIONS = (
    "first",
    "distinct",
    "majority_wrong",
    "random",
    "shortest",
    "longest",
    "most_confident",
)


def rank_errors(wrong: pl.DataFrame, selection: str, *, seed: int = 0) -> pl.DataFrame:
    """The wrong samples sorted by problem, in each problem in the order of the selection.

    ``wrong``: problem_id, sample_id, extracted (the answer as it was read) and, for the selections
    by length, characters; for ``most_confident``, surprisal. Ties fall to the lower sample_id.

    ``first``: in order of sample_id. ``distinct``: attempts with a new wrong answer before
    repetitions of one that came before. ``majority_wrong``: all attempts with the most frequent
    wrong answer, then those with the next; an attempt whose answer was not read agrees with none.
    Answers that read the same are one, as 5 and $5.00 (`orion.answers.grouping`). ``random``:
    by a hash of the seed, the problem and the sample. ``shortest``, ``longest``: by the characters
    of the attempt. ``most_confident``: the attempt that surprises the student least per token, and
    at the end those that it cannot read. Raises InputError for another name.
    """
    order: list[Any] = []
    descending: list[bool] = []
    answer = ["problem_id", "group"]
    if selection in ("distinct", "majority_wrong"):
        groups = [None if text is None else find_group(text) for text in wrong["extracted"]]
        wrong = wrong.with_columns(group=pl.Series(groups, dtype=pl.String))
    if selection == "distinct":
        order = [pl.int_range(pl.len()).over(answer, order_by="sample_id")]
        descending = [False]
    elif selection == "majority_wrong":
        is_read = pl.col("extracted").is_not_null()
        votes = pl.when(is_read).then(pl.len().over(answer)).otherwise(1)
        # equally frequent answers stay apart
        first = pl.col("sample_id").min().over(answer)
        order = [votes, pl.when(is_read).then(first).otherwise("sample_id")]
        descending = [True, False]
    elif selection == "random":
        keys = [digest_text(f"expose {seed} {p} {s}") for p, s in wrong.select(KEY).iter_rows()]
        order, descending = [pl.Series("order", keys, dtype=pl.String)], [False]
    elif selection in ("shortest", "longest"):
        order, descending = [pl.col("characters")], [selection == "longest"]
    elif selection == "most_confident":
        order, descending = [pl.col("surprisal")], [False]
    elif selection != "first":
        raise InputError(f"selection: {selection} is none of {', '.join(SELECTIONS)}")
    descending = [False, *descending, False]
    ranked = wrong.sort("problem_id", *order, "sample_id", descending=descending, nulls_last=True)
    return ranked.drop("group", strict=False)


def cut_to_false_steps(errors: pl.DataFrame, steps: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """Attempts up to the end of their first false step, and how many have none and stay whole.

    ``errors``: the table errors, of samples. ``steps``: problem_id, sample_id and first_false of
    all samples. Raises InputError where an attempt has no row there: it was never checked.
    """
    ends = steps.select(
        source_problem_id="problem_id",
        sample_id="sample_id",
        end=pl.col("first_false").struct.field("end"),
    )
    keys = ["source_problem_id", "sample_id"]
    found = errors.join(ends, on=keys, how="left", validate="m:1", maintain_order="left")
    unchecked = errors.join(ends, on=keys, how="anti").height
    if unchecked:
        raise InputError(
            f"--steps: {unchecked} of {errors.height} wrong attempts have no row, so they were "
            "never checked; delete the file and run again"
        )
    cut = pl.when(pl.col("end").is_null()).then("response").otherwise(_slice_to("end"))
    return found.with_columns(response=cut).drop("end"), found["end"].null_count()


def _slice_to(column: str) -> pl.Expr:
    # the offsets of steps count characters, as those of polars do
    return pl.col("response").str.slice(0, pl.col(column))


def cut_falsified(errors: pl.DataFrame, timeout_s: float) -> tuple[pl.DataFrame, int]:
    """The same for attempts that are no samples: their steps are checked here."""
    found = [summary(check_steps(each, timeout_s=timeout_s)) for each in errors["response"]]
    ends = [each.first_false.end if each.first_false is not None else None for each in found]
    texts = [text[:end] for text, end in zip(errors["response"], ends, strict=True)]
    return errors.with_columns(response=pl.Series(texts, dtype=pl.String)), ends.count(None)


def state_answers(errors: pl.DataFrame, prompt_set: PromptSet | str) -> tuple[pl.DataFrame, int]:
    """Attempts that state their wrong answer and nothing else, and how many are left out.

    The words are those of the prompt set's block ``answer``. An attempt of which no answer was read
    is left out.
    """
    known = errors.filter(pl.col("extracted").is_not_null())
    texts = [prompts.answer(prompt_set, each.strip()) for each in known["extracted"]]
    stated = known.with_columns(response=pl.Series(texts, dtype=pl.String))
    return stated.select(list(tables.ERRORS.columns)), errors.height - known.height
