"""Why wrong answers are wrong: each belongs to exactly one cohort.

Input: samples with their verdicts and steps. Output: the cohort of each wrong one, and for a false
step its rule and its place in the text. A cohort says what was seen in a text, not its cause.
"""

import polars as pl

from orion.experiment import filters

# the first that fits, in this order
COHORTS = (
    "loop",
    "unfinished",
    "failed",
    "no_answer",
    "not_understood",
    "false_step",
    "no_false_step",
)
THIRDS = ("first", "middle", "last")
# a server that does not say how a completion ended has not said that it was cut off
FINISHED = ("stop", "unknown")


def find_cohorts(rows: pl.DataFrame) -> pl.DataFrame:
    """``cohort``, ``rule`` and ``third`` of every row, in its order.

    All three are null for a correct answer, and the last two wherever the cohort is not
    ``false_step``. ``third`` is where in the text the first false step begins. ``rows`` has the
    columns verdict, false, first_false, response and finish_reason.
    """
    finish, verdict = pl.col("finish_reason"), pl.col("verdict")
    is_wrong = rows["verdict"] != "correct"
    loops = [
        wrong and filters.has_loop(text, filters.LOOP_NGRAM, filters.LOOP_REPEATS)
        for wrong, text in zip(is_wrong, rows["response"], strict=True)
    ]
    found = rows.with_columns(loop=pl.Series(loops, dtype=pl.Boolean)).select(
        "response",
        "first_false",
        cohort=pl.when(verdict == "correct")
        .then(None)
        .when(pl.col("loop"))
        .then(pl.lit("loop"))
        .when(finish == "length")
        .then(pl.lit("unfinished"))
        .when(~finish.is_in(FINISHED))
        .then(pl.lit("failed"))
        .when(verdict == "no_answer")
        .then(pl.lit("no_answer"))
        .when(verdict != "incorrect")
        .then(pl.lit("not_understood"))
        .when(pl.col("false") > 0)
        .then(pl.lit("false_step"))
        .otherwise(pl.lit("no_false_step"))
        .cast(pl.Enum(COHORTS)),
    )
    step, is_false = pl.col("first_false").struct, pl.col("cohort") == "false_step"
    length = pl.col("response").str.len_chars().cast(pl.Int64)
    # a step begins before its text ends
    third = (step.field("start") * len(THIRDS) // length).replace_strict(
        dict(enumerate(THIRDS)), default=None, return_dtype=pl.Enum(THIRDS)
    )
    return found.select(
        "cohort",
        # few rules, many rows
        rule=pl.when(is_false).then(step.field("rule")).cast(pl.Categorical),
        third=pl.when(is_false).then(third),
    )


def is_finished() -> pl.Expr:
    """Whether a sample came to its end, by its finish_reason."""
    return pl.col("finish_reason").is_in(FINISHED)
