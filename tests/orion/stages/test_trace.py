"""Traces from a sampled teacher: each problem's first correct sample, or a clear error."""

import json

import polars as pl
import pytest

from orion import tables
from orion.errors import InputError
from orion.stages import trace

VERDICTS = {
    ("p0", 0): "incorrect",
    ("p0", 1): "correct",
    ("p0", 2): "correct",
    ("p1", 0): "timeout",
    ("p1", 1): "no_answer",
}


@pytest.fixture
def files(tmp_path):
    problems = [
        {"problem_id": p, "problem": "?", "answer": "1", "solution": None, "teacher_trace": None}
        for p in ("p0", "p1")
    ]
    frame = tables.from_rows(problems, tables.PROBLEMS).with_columns(
        meta=pl.struct(level=pl.lit(1))
    )
    tables.write(frame, tmp_path / "problems", tables.PROBLEMS, {})
    head = {
        "template": "solve",
        "finish_reason": "stop",
        "prompt_tokens": 1,
        "completion_tokens": 1,
    }
    samples = [
        {
            "problem_id": p,
            "sample_id": i,
            "response": f"{p} thinks {i}",
            "completion": f"{p}{i}",
            **head,
        }
        for p, i in VERDICTS
    ]
    tables.write(
        tables.from_rows(samples, tables.SAMPLES), tmp_path / "samples", tables.SAMPLES, {}
    )
    return tmp_path


def run(files, verdicts):
    rows = [
        {
            "problem_id": p,
            "sample_id": i,
            "verdict": v,
            "extracted": None,
            "reason": "",
            "rule": "",
        }
        for (p, i), v in verdicts.items()
    ]
    tables.write(tables.from_rows(rows, tables.VERDICTS), files / "verdicts", tables.VERDICTS, {})
    paths = [
        text
        for name in ("problems", "samples", "verdicts", "output")
        for text in (f"--{name}", str(files / name))
    ]
    trace.main(["--config", json.dumps({"teacher": "big"}), *paths])
    return tables.read(files / "output", tables.PROBLEMS)


def test_the_first_correct_sample_is_the_trace(files):
    table = run(files, VERDICTS)
    assert dict(table.select("problem_id", "teacher_trace").iter_rows()) == {
        "p0": "p0 thinks 1",
        "p1": None,
    }
    assert table["trace_sources"].to_list() == [["sample 1"], None]
    made = ("teacher_trace", "trace_sources")
    assert table.drop(made).equals(tables.read(files / "problems", tables.PROBLEMS).drop(made))


def test_a_teacher_without_any_correct_sample_is_named(files):
    with pytest.raises(InputError, match="no sample of the teacher big is correct"):
        run(files, dict.fromkeys(VERDICTS, "incorrect"))
    assert not (files / "output").exists()
