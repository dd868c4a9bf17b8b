import polars as pl
import pytest

from orion import tables
from orion.stages import expose


def table(rows):
    """rows: (problem, sample, verdict, extracted)"""
    samples = tables.from_rows(
        (
            {"problem_id": p, "sample_id": s, "template": "solve", "response": f"{p}/{s}", "finish_reason": "stop",
             "prompt_tokens": 1, "completion_tokens": 1, "completion": f"{p}{s}"}
            for p, s, _, _ in rows
        ),
        tables.SAMPLES,
    )  # fmt: skip
    verdicts = tables.from_rows(
        (
            {
                "problem_id": p,
                "sample_id": s,
                "verdict": v,
                "extracted": x,
                "reason": "",
                "rule": "",
            }
            for p, s, v, x in rows
        ),
        tables.VERDICT_ROWS,
    )
    return samples, verdicts


ROWS = [
    ("a", 0, "incorrect", "1"),
    ("a", 1, "incorrect", "1"),
    ("a", 2, "incorrect", "2"),
    ("a", 3, "unparseable", None),
    ("b", 0, "correct", "5"),
    ("b", 1, "incorrect", "6"),
    ("c", 0, "correct", "5"),
    ("d", 0, "incorrect", "7"),
    ("d", 1, "timeout", None),
]


@pytest.mark.parametrize(("selection", "second"), [("distinct", 2), ("first", 1)])
def test_selection_prefers_new_wrong_answers(selection, second):
    own = expose.own_errors(*table(ROWS), max_errors=2, selection=selection)
    assert own.select("problem_id", "rank", "sample_id").rows() == [
        ("a", 0, 0),
        ("a", 1, second),
        ("b", 0, 1),
        ("d", 0, 0),
    ]


def test_only_what_is_known_to_be_wrong_is_an_error():
    own = expose.own_errors(*table(ROWS), max_errors=9, selection="distinct")
    assert set(own["problem_id"]) == {"a", "b", "d"}
    assert own.filter(pl.col("problem_id") == "a")["sample_id"].to_list() == [0, 2, 1]


def test_the_placebo_shows_as_many_attempts_of_other_problems():
    many = [(f"p{i}", s, "incorrect", str(s)) for i in range(30) for s in range(1 + i % 3)]
    own = expose.own_errors(*table(many), max_errors=2, selection="distinct")
    foreign = expose.other_problem_errors(own)
    assert (
        foreign.select("problem_id", "rank", "own_sample_id")
        .sort(pl.all())
        .equals(own.select("problem_id", "rank", "own_sample_id").sort(pl.all()))
    )
    assert (foreign["problem_id"] != foreign["source_problem_id"]).all()
    assert sorted(foreign["response"]) == sorted(own["response"])
    assert (
        foreign["response"]
        == foreign["source_problem_id"] + "/" + foreign["sample_id"].cast(pl.String)
    ).all()
    assert set(foreign["source"]) == {"other_problem"}


def test_the_placebo_does_not_depend_on_row_order():
    own = expose.own_errors(*table(ROWS), max_errors=2, selection="distinct")
    again = expose.other_problem_errors(own.sample(fraction=1, shuffle=True, seed=3))
    assert again.sort("problem_id", "rank").equals(
        expose.other_problem_errors(own).sort("problem_id", "rank")
    )


def test_one_problem_has_no_foreign_attempt():
    own = expose.own_errors(*table(ROWS[:3]), max_errors=2, selection="distinct")
    assert expose.other_problem_errors(own).is_empty()
