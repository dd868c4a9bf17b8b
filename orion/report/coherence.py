"""Coherence of what the arms are trained on, and of what they answer, without a model's judgement.

Input: ``Results``. Output: rows. `orion.answers.steps` counts a text's steps and decides which are
false, `orion.experiment.coherence` has the other two measures.
"""

from collections.abc import Collection
from typing import Any

import polars as pl

from orion.demo.exact_check import records_steps
from orion.experiment.coherence import SCHEMA, measure_texts
from orion.report.false_steps import KEY, list_checked
from orion.report.gather import STEP_COUNTS, Arm, Results

TRAINING, ANSWERS = "training", "answers"


def coherence_rows(
    results: Results, benchmarks: list[str], prefixes: Collection[str], openings: Collection[str]
) -> list[dict]:
    """One row per trained arm for its training rows, and one per arm and benchmark for its answers.

    ``texts``: ``training`` or ``answers``. ``checked`` of the ``count`` texts have their steps
    checked; the shares and numbers of steps are of these. ``readable`` are those of which the exact
    check of embedded problems reads a step, ``wholly_true`` those that it finds true throughout;
    both null on other problems. ``repeated_ngrams`` is the mean over the texts with an n-gram.
    ``prefixes``: the arms whose rows are cut; of theirs nothing is said, since what they are
    trained on is not the text. ``openings``: the arms whose texts begin with a wrong attempt, which
    the exact check would read as their chain; steps are those behind it.
    """
    rows = []
    for arm in results.arms.values():
        if arm.train is not None:
            exact = records_steps(results.problems) and arm.name not in openings
            measured = _measure_training(results, arm, exact=exact, is_cut=arm.name in prefixes)
            rows.append(_describe(arm, TRAINING, None, measured))
        rows += [
            _describe(arm, ANSWERS, benchmark, arm.collect_checked(benchmark))
            for benchmark in benchmarks
        ]
    return rows


def _measure_training(results: Results, arm: Arm, *, exact: bool, is_cut: bool) -> pl.DataFrame:
    """The counts of steps and the measures of each training row; null where it was not checked."""
    assert arm.train is not None, "the arm is trained"
    if is_cut:
        types: dict[str, Any] = {**dict.fromkeys(STEP_COUNTS, pl.Int64), **SCHEMA}
        empty = [pl.lit(None, dtype).alias(name) for name, dtype in types.items()]
        return arm.train.select("problem_id", *empty)
    checked = pl.concat(
        texts.select(*KEY, *STEP_COUNTS, target_kind=pl.lit(kind))
        for kind, texts in list_checked(results, arm).items()
    )
    # a teacher trace has no sample_id in the training rows, and 0 where it was checked
    rows = arm.train.with_columns(pl.col("sample_id").fill_null(0))
    counts = rows.join(
        checked, on=[*KEY, "target_kind"], how="left", maintain_order="left", validate="m:1"
    )
    measured = measure_texts(arm.train["completion"], exact=exact)
    return pl.concat([counts.select("problem_id", *STEP_COUNTS), measured], how="horizontal")


def _describe(arm: Arm, texts: str, benchmark: str | None, measured: pl.DataFrame) -> dict:
    steps = measured.select(STEP_COUNTS).drop_nulls()
    number = steps.sum_horizontal()
    false = steps.filter(pl.col("false") > 0).height
    is_read = measured["readable"].count() > 0
    readable = measured.filter(pl.col("readable"))
    true = int(readable["wholly_true"].sum())
    repeated = measured["repeated"].drop_nulls()
    return {
        "arm": arm.name,
        "texts": texts,
        "benchmark": benchmark,
        "count": measured.height,
        "checked": steps.height,
        "with_false_step": false,
        "share_false_step": false / steps.height if steps.height else None,
        "mean_steps": number.mean(),
        "median_steps": number.median(),
        "readable": readable.height if is_read else None,
        "wholly_true": true if is_read else None,
        "share_wholly_true": true / readable.height if readable.height else None,
        "with_ngram": repeated.len(),
        "repeated_ngrams": repeated.mean(),
    }
