"""How often a text writes out a false step, also where its final answer is correct.

A correct answer does not make a true chain. The stage check decides each step that a text writes
out; one that it does not understand is unknown, not false. Input: ``Results``. Output: rows.
"""

from collections.abc import Collection

import polars as pl

from orion.experiment.pairs import OWN_WRONG
from orion.experiment.selected import UNCHECKED
from orion.report import shares
from orion.report.gather import STEP_COUNTS, Arm, Results

KEY = ["problem_id", "sample_id"]
SCOPES = ("all", "correct")
IS_FALSE = pl.col("false") > 0


def false_step_rows(results: Results, benchmarks: list[str], *, confidence: float) -> list[dict]:
    """One row per arm, benchmark and scope (all answers, or the correct ones), over all seeds.

    ``share`` is the part of the answers with a false step, null where there is no answer. Its
    interval is over problems. ``true``, ``false`` and ``unknown`` count steps.
    """
    rows = []
    for arm in results.arms.values():
        for benchmark in benchmarks:
            checked = arm.collect_checked(benchmark)
            of_problem = shares.find_clusters(results, benchmark, checked)
            for scope in SCOPES:
                texts = (
                    checked if scope == "all" else checked.filter(pl.col("verdict") == "correct")
                )
                rows.append(
                    {
                        "arm": arm.name,
                        "benchmark": benchmark,
                        "scope": scope,
                        **_count_texts(texts),
                        **shares.estimate_share(texts, IS_FALSE, confidence, of_problem),
                        **{name: int(texts[name].sum()) for name in STEP_COUNTS},
                    }
                )
    return rows


def _count_texts(texts: pl.DataFrame) -> dict:
    return {
        "texts": texts.height,
        "with_step": texts.filter(pl.sum_horizontal(STEP_COUNTS) > 0).height,
        "with_false_step": _count_false(texts),
    }


def training_rows(results: Results, prefixes: Collection[str]) -> list[dict]:
    """One row per trained arm: false steps in the texts it draws on, and in its training rows.

    ``texts`` are the arm's own kind of text with a correct answer, or all of them for an arm on own
    samples whatever they answer (null for solutions and the oracle's texts, whose steps are not
    checked, and for pairs, which are of two kinds), so the two shares are those before and after
    the filters. ``rows_checked`` are the training rows of the other kinds; those of fallbacks are
    among them. ``prefixes``: the arms whose rows are cut; none of theirs counts as checked: a false
    step may stand behind the cut.
    """
    rows = []
    for arm in results.arms.values():
        if arm.train is None:
            continue
        checked = list_checked(results, arm)
        source = checked.get(arm.trained_on)
        correct = source
        if source is not None and arm.trained_on != UNCHECKED:
            correct = source.filter(pl.col("verdict") == "correct")
        trained = _find_checked_rows(arm.train, {} if arm.name in prefixes else checked)
        rows.append(
            {
                "arm": arm.name,
                "trained_on": arm.trained_on,
                "texts": None if correct is None else correct.height,
                "texts_false": None if correct is None else _count_false(correct),
                "share_texts": None if correct is None else _find_share(correct),
                "rows": arm.train.height,
                "rows_checked": trained.height,
                "rows_false": _count_false(trained),
                "share_rows": _find_share(trained),
            }
        )
    return rows


def list_checked(results: Results, arm: Arm) -> dict[str, pl.DataFrame]:
    """The checked texts by the kind of training row that they may become."""
    assert results.traces is not None, "an arm is trained"
    samples = dict.fromkeys(("own_correct", UNCHECKED, OWN_WRONG), results.samples)
    found = {"teacher_trace": results.traces, **samples}
    return found if arm.reflections is None else {**found, "reflection": arm.reflections}


def _find_checked_rows(train: pl.DataFrame, checked: dict[str, pl.DataFrame]) -> pl.DataFrame:
    """``false`` of each training row whose text was checked."""
    parts = [
        # a teacher trace has no sample_id in the training rows, and 0 where it was checked
        train.filter(pl.col("target_kind") == kind)
        .select("problem_id", pl.col("sample_id").fill_null(0))
        .join(texts.select(*KEY, "false"), on=KEY)
        .select("false")
        for kind, texts in checked.items()
    ]
    return pl.concat([pl.DataFrame(schema={"false": pl.Int64}), *parts], how="vertical_relaxed")


def _count_false(texts: pl.DataFrame) -> int:
    return texts.filter(pl.col("false") > 0).height


def _find_share(texts: pl.DataFrame) -> float | None:
    return _count_false(texts) / texts.height if texts.height else None
