"""Which of a problem's texts the stage takes: the shortest, unchecked ones, traces among others."""

import polars as pl
import pytest

from orion import tables
from orion.errors import InputError
from tests.orion.stages.test_select import (  # noqa: F401
    NAMES,
    completions,
    folder,
    pairs,
    run,
    verdicts,
    write_steps,
)


def put_reflections(place, texts):
    """texts: (prompt's error, refined part) at problem a, all of them right"""
    rows = [("a", n, "reflect", [rank], f"New: {t}", "stop") for n, (rank, t) in enumerate(texts)]
    tables.write(
        completions(rows, tables.REFLECTIONS), place / "reflections", tables.REFLECTIONS, {}
    )
    keys = [("a", n) for n in range(len(texts))]
    right = verdicts([(*key, "correct") for key in keys])
    tables.write(right, place / "reflection-verdicts", tables.VERDICTS, {})
    write_steps(place, "reflection-steps", keys)


TEXTS = [(0, "long long"), (0, "short"), (0, "short"), (1, "middle 1"), (1, "x y"), (1, "w z")]


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        # of all that pass, the shortest, of equal ones the first
        (1, [(4, [7])]),
        # one of each prompt before a second one
        (2, [(4, [7]), (1, [0])]),
        (9, [(4, [7]), (1, [0]), (5, [7]), (0, [0]), (3, [7])]),
    ],
)
def test_the_shortest_reflection_of_each_prompt_comes_first(folder, limit, expected):  # noqa: F811
    put_reflections(folder, TEXTS)
    rows, _ = run(folder, limit=limit, prefer="shortest")
    assert rows.select("sample_id", "error_sample_ids").rows() == expected
    first, _ = run(folder, limit=limit, prefer="first")
    assert first.equals(run(folder, limit=limit)[0])
    assert first["sample_id"].to_list() == [0, 3, 1, 4, 5][:limit]


def put_samples(place, texts):
    """texts: (verdict, finish reason, text) at problem a"""
    rows = [("a", n, "solve", [], text, reason) for n, (_, reason, text) in enumerate(texts)]
    tables.write(completions(rows, tables.SAMPLES), place / "samples", tables.SAMPLES, {})
    judged = verdicts([("a", n, verdict) for n, (verdict, *_) in enumerate(texts)])
    tables.write(judged, place / "verdicts", tables.VERDICTS, {})
    write_steps(place, "steps", [("a", n) for n in range(len(texts))], false={("a", 2)})


SAMPLES = [
    ("incorrect", "stop", "wrong one"),
    ("incorrect", "length", "cut"),
    ("correct", "stop", "right and long"),
    ("no_answer", "stop", "wrong one"),
    ("correct", "stop", "right"),
]


def test_own_samples_come_by_length_too_and_pass_their_filters_first(folder):  # noqa: F811
    put_samples(folder, SAMPLES)
    found = [run(folder, "own_correct", prefer=each, limit=1)[0] for each in ("first", "shortest")]
    assert [rows["completion"].to_list() for rows in found] == [["right and long"], ["right"]]
    # a false step is one, however the texts are ordered
    names = [*NAMES, "false_step"]
    assert pairs(run(folder, "own_correct", names=names)[0]) == [("a", "right", "own_correct")]


def test_unchecked_samples_are_those_that_ended_whatever_they_answer(folder):  # noqa: F811
    put_samples(folder, SAMPLES)
    rows, summary = run(folder, "own_sample", names=[*NAMES, "false_step"], limit=9)
    assert rows["sample_id"].to_list() == [0, 2, 4]
    assert set(rows["target_kind"]) == {"own_sample"}
    assert rows["filters_passed"].to_list() == [["truncated"]] * 3
    assert summary["own_samples"]["waterfall"] == [{"filter": "truncated", "removed": 1, "left": 4}]
    assert summary["fallbacks"] == {} and summary["rows_by_kind"] == {"own_sample": 3}
    assert run(folder, "own_sample", limit=1)[0]["sample_id"].to_list() == [0]
    with pytest.raises(
        InputError, match=r"1 of the 4 problems have a usable own_sample\. Raise sa"
    ):
        run(folder, "own_sample", limit=1, min_rows=2)


def test_a_text_that_is_not_shorter_than_the_trace_was_not_shortened(folder):  # noqa: F811
    put_reflections(folder, [(0, "as long"), (0, "long a"), (1, "brief")])
    names = [*NAMES, "not_shorter"]
    rows, summary = run(folder, names=names)
    # the trace is "long a"
    assert rows["completion"].to_list() == ["brief"]
    assert summary["waterfall"][-1] == {"filter": "not_shorter", "removed": 2, "left": 1}
    # without a trace that checks there is nothing to compare with
    wrong = verdicts([(p, 0, "incorrect") for p in "abc"])
    tables.write(wrong, folder / "trace-verdicts", tables.VERDICTS, {})
    assert run(folder, names=names, limit=9)[0].height == 3


def test_traces_are_mixed_into_the_rows_of_other_problems(folder):  # noqa: F811
    mix = {"teacher_share": 0.5}
    rows, summary = run(folder, "own_correct", mix=mix)
    kinds = dict(rows.select("problem_id", "target_kind").iter_rows())
    # a and c have both a trace that checks and a right sample, and each gives one of them
    assert set(kinds) == {"a", "c"} and set(kinds.values()) == {"own_correct", "teacher_trace"}
    assert rows["prompt"].to_list() == ["Question: problem a", "Question: problem c"]
    assert summary["mix"] == {
        "teacher_share": 0.5,
        "teacher_rows": 1,
        "other_rows": 1,
        "traces_left_out": 1,
        "other_rows_left_out": 1,
    }
    assert summary["rows_by_kind"] == {"own_correct": 1, "teacher_trace": 1}
    assert "mix" not in run(folder, "own_correct")[1]
    with pytest.raises(InputError, match=r"arm x: mix\.teacher_share = 0\.1: 2 traces and 2 other"):
        run(folder, "own_correct", mix={"teacher_share": 0.1})


def test_traces_that_are_not_to_be_used_are_not_mixed_in(folder):  # noqa: F811
    write_steps(folder, "trace-steps", [("a", 0), ("b", 0), ("c", 0)], false={("a", 0)})
    mix = {"teacher_share": 0.5}
    rows, _ = run(folder, "own_correct", mix=mix, drop_false_traces=True)
    traces = rows.filter(pl.col("target_kind") == "teacher_trace")
    assert pairs(traces) == [("c", "long c", "teacher_trace")]
