"""The first candidate that checks is the teacher trace; its rank and the number of candidates."""

import polars as pl
import pytest

from orion.experiment.traces import list_traces, with_correct_traces

PROBLEMS = pl.DataFrame(
    {
        "problem_id": ["a", "b", "c", "d"],
        "teacher_trace": ["a0", "b0", None, "d0"],
        "further_traces": [["a1", "a2"], None, None, ["d1"]],
        "trace_sources": [["x", "y", "z"], ["x"], None, ["x", "y"]],
    }
)


def checks(rows):
    keys = {"problem_id": [r[0] for r in rows], "sample_id": [r[1] for r in rows]}
    verdicts = pl.DataFrame({**keys, "verdict": [r[2] for r in rows]})
    return verdicts, pl.DataFrame({**keys, "false": [r[3] for r in rows]})


ROWS = [
    ("a", 0, "incorrect", 0),
    ("a", 1, "correct", 2),
    ("a", 2, "correct", 0),
    ("b", 0, "incorrect", 0),
    ("d", 0, "correct", 1),
    ("d", 1, "no_answer", 0),
]


def test_every_candidate_is_listed_in_order():
    assert list_traces(PROBLEMS).rows() == [
        ("a", 0, "a0"),
        ("a", 1, "a1"),
        ("a", 2, "a2"),
        ("b", 0, "b0"),
        ("d", 0, "d0"),
        ("d", 1, "d1"),
    ]
    only_first = PROBLEMS.drop("further_traces", "trace_sources")
    assert [row[2] for row in list_traces(only_first).rows()] == ["a0", "b0", "d0"]


@pytest.mark.parametrize(
    ("with_steps", "traces", "ranks"),
    [
        (False, ["a1", None, None, "d0"], [1, None, None, 0]),
        # d has none without a false step: the first correct one stays
        (True, ["a2", None, None, "d0"], [2, None, None, 0]),
    ],
)
def test_the_first_that_checks_is_the_trace(with_steps, traces, ranks):
    verdicts, steps = checks(ROWS)
    found = with_correct_traces(PROBLEMS, verdicts, steps if with_steps else None)
    assert found["teacher_trace"].to_list() == traces
    assert found["trace_rank"].to_list() == ranks
    assert found["trace_candidates"].to_list() == [3, 1, 0, 2]
    assert found["problem_id"].to_list() == PROBLEMS["problem_id"].to_list()
