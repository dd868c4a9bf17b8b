"""The cohorts of wrong answers on a table that is counted by hand."""

import polars as pl
import pytest

from orion.experiment.cohorts import COHORTS, find_cohorts

LOOP = "so we add one and then we add one and so on " * 6
STEP = {"start": 0, "end": 9, "text": "2 + 2 = 5", "rule": "exact"}


def at(start: int, rule: str = "exact") -> dict:
    return {**STEP, "start": start, "rule": rule}


# verdict, finish_reason, false steps, the first of them, text → cohort, rule, third
ROWS = [
    ("correct", "stop", 0, None, "7", (None, None, None)),
    # a correct answer over a false step, and in a loop, is no failure
    ("correct", "stop", 1, at(0), LOOP, (None, None, None)),
    ("incorrect", "stop", 1, at(0), "x" * 30, ("false_step", "exact", "first")),
    ("incorrect", "stop", 2, at(9), "x" * 30, ("false_step", "exact", "first")),
    ("incorrect", "unknown", 2, at(10, "units"), "x" * 30, ("false_step", "units", "middle")),
    ("incorrect", "stop", 1, at(29), "x" * 30, ("false_step", "exact", "last")),
    # offsets count characters, not bytes
    ("incorrect", "stop", 1, at(20), "€" * 30, ("false_step", "exact", "last")),
    ("incorrect", "stop", 0, None, "7", ("no_false_step", None, None)),
    ("no_answer", "stop", 1, at(0), "x", ("no_answer", None, None)),
    ("unparseable", "stop", 1, at(0), "x", ("not_understood", None, None)),
    ("timeout", "stop", 0, None, "x", ("not_understood", None, None)),
    ("no_answer", "length", 1, at(0), "x", ("unfinished", None, None)),
    ("incorrect", "length", 1, at(0), "x", ("unfinished", None, None)),
    ("no_answer", "length", 1, at(0), LOOP, ("loop", None, None)),
    ("incorrect", "stop", 0, None, LOOP, ("loop", None, None)),
    ("no_answer", "error", 0, None, "", ("failed", None, None)),
    ("no_answer", "prompt_too_long", 0, None, "", ("failed", None, None)),
    ("incorrect", "content_filter", 0, None, "7", ("failed", None, None)),
]


@pytest.fixture
def frame() -> pl.DataFrame:
    columns = ("verdict", "finish_reason", "false", "first_false", "response")
    rows = [dict(zip(columns, row[:5], strict=True)) for row in ROWS]
    step = pl.Struct({"start": pl.Int64, "end": pl.Int64, "text": pl.String, "rule": pl.String})
    return pl.DataFrame(rows, schema_overrides={"first_false": step})


def test_every_answer_is_where_it_belongs(frame):
    assert find_cohorts(frame).rows() == [row[5] for row in ROWS]


def test_the_cohorts_sum_to_the_wrong_answers(frame):
    found = find_cohorts(frame)["cohort"].drop_nulls().value_counts()
    counts = dict(found.iter_rows())
    assert counts == {
        "loop": 2,
        "unfinished": 2,
        "failed": 3,
        "no_answer": 1,
        "not_understood": 2,
        "false_step": 5,
        "no_false_step": 1,
    }
    assert set(counts) == set(COHORTS)
    assert sum(counts.values()) == 16 == (frame["verdict"] != "correct").sum()


def test_no_answers_at_all(frame):
    assert find_cohorts(frame.clear()).is_empty()
