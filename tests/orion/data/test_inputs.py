"""The files of public reports: every one is read, or its bad rows are named."""

import json

import pytest

from orion import tables
from orion.experiment.traces import with_correct_traces
from orion.stages import check, dataset

pytestmark = pytest.mark.data

PLAIN = {"problem": "problem", "answer": "answer"}
TRACED = {**PLAIN, "teacher_trace": "trace"}
GSM8K = {"problem": "question", "answer": {"from": "answer", "extract": "hashes"}}


@pytest.fixture(scope="module")
def inputs(data):
    return data.parent / "cases" / "inputs"


def run(tmp_path, path, fields, **changes):
    settings = {
        "source": {"kind": "file", "path": str(path)},
        "fields": fields,
        "where": {},
        "policy": "math",
        "max_rejected_fraction": 1.0,
        **changes,
    }
    out = [str(tmp_path / name) for name in ("problems", "rejected")]
    dataset.main(["--config", json.dumps(settings), "--output", out[0], "--rejected", out[1]])
    return tables.read(out[0], tables.PROBLEMS), tables.read(out[1], tables.REJECTED)


@pytest.mark.parametrize(
    ("name", "fields", "answers", "reasons"),
    [
        ("answer_lists.jsonl", PLAIN, list("01234"), []),
        ("array.json", PLAIN, ["1", "2"], []),
        ("array1.json", PLAIN, ["1"], []),
        ("bin.parquet", PLAIN, ["1", "2"], []),
        ("bom.jsonl", PLAIN, ["1", "2"], []),
        ("crlf.jsonl", PLAIN, ["1", "2"], []),
        ("data[v2].parquet", PLAIN, ["1"], []),
        ("dec.parquet", PLAIN, ["1.5", "2"], []),
        ("dict.parquet", PLAIN, ["1", "2"], []),
        ("gsm8k_raw.jsonl", GSM8K, ["72", "10"], []),
        ("gz.jsonl.gz", PLAIN, ["1"], []),
        ("hugeint.jsonl", PLAIN, ["2"], ["not_json"]),
        ("ids_mixed.jsonl", {**PLAIN, "problem_id": "id"}, ["1"], ["duplicate_problem_id"]),
        (
            "nan.jsonl",
            PLAIN,
            ["12345678901234567890123", "1" + "0" * 22, "0.1", "1e-07", "42", "42"],
            ["wrong_type"] * 4,
        ),
        ("nullint.parquet", PLAIN, ["1"], ["missing_answer"]),
        ("shards", PLAIN, ["1", "1"], []),
        ("shards/train-*.parquet", PLAIN, ["1", "1"], []),
        ("surrogate.jsonl", TRACED, ["2"], ["bad_text"]),
        ("surrogate2.jsonl", PLAIN, ["2"], ["bad_text"]),
        ("utf16.jsonl", PLAIN, ["1"], []),
    ],
)
def test_a_file_of_a_public_report(tmp_path, inputs, name, fields, answers, reasons):
    problems, rejected = run(tmp_path, inputs / name, {"problem_id": None, **fields})
    assert problems["answer"].to_list() == answers
    assert rejected["reason"].to_list() == reasons


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        (
            "messages.jsonl",
            {"problem": "messages[0].content", "teacher_trace": "messages[1].content"},
        ),
        ("openr1.jsonl", {"problem": "problem", "teacher_trace": "generations"}),
        ("row_per_trace.jsonl", {"problem": "problem", "teacher_trace": "trace"}),
    ],
)
def test_the_right_one_of_several_traces_is_found(tmp_path, inputs, name, fields):
    run(tmp_path, inputs / name, {"answer": "answer", **fields})
    settings = {"policy": "math", "timeout_s": 20.0, "part": "teacher_trace"}
    given = [str(tmp_path / each) for each in ("problems", "problems", "verdicts", "steps")]
    flags = ("--problems", "--samples", "--output", "--output-steps")
    check.main(["--config", json.dumps(settings), *sum(zip(flags, given, strict=True), ())])
    problems = tables.read(tmp_path / "problems", tables.PROBLEMS)
    verdicts = tables.read(tmp_path / "verdicts", tables.VERDICTS)
    found = with_correct_traces(problems, verdicts)
    for row in found.iter_rows(named=True):
        assert f"\\boxed{{{row['answer']}}}" in row["teacher_trace"]
    several = name != "messages.jsonl"
    assert found["trace_rank"].to_list() == [int(several)] * 5
    assert found["trace_candidates"].to_list() == [1 + several] * 5


def test_a_trace_file_with_line_ends_and_double_spaces_joins(tmp_path, inputs, capsys):
    traces = {
        "source": {"kind": "file", "path": str(inputs / "traces_crlf.jsonl")},
        "join_on": "problem",
        "key": "q",
        "teacher_trace": "trace",
        "where": {},
    }
    problems, _ = run(tmp_path, inputs / "problems5.jsonl", PLAIN, traces=traces)
    assert problems["teacher_trace"].null_count() == 0
    assert "5 traces joined 5 of 5 problems on problem" in capsys.readouterr().err
