"""The check stage: row groups in order from any number of processes, its parts, its refusals."""

import json

import polars as pl
import pytest

from orion import tables
from orion.answers import check_many
from orion.errors import InputError
from orion.stages import check

# a deadline that no busy machine reaches
CONFIG = {"policy": "math", "timeout_s": 120.0}
N_PROBLEMS, K = 60, 100


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A problems table and a samples table of more than one row group."""
    path = tmp_path_factory.mktemp("check")
    problems = [
        {
            "problem_id": f"p{i:03}",
            "problem": "?",
            "answer": str(i) if i % 3 else f"\\frac{{{i}}}{{7}}",
            "solution": None,
            "teacher_trace": None if i % 4 else f"<think> hm </think> so \\boxed{{{i}}}",
        }
        for i in range(N_PROBLEMS)
    ]
    frame = tables.from_rows(problems, tables.PROBLEMS).with_columns(
        meta=pl.struct(level=pl.lit(1))
    )
    tables.write(frame, path / "problems.parquet", tables.PROBLEMS, {})
    samples = [
        {
            "problem_id": f"p{i:03}",
            "sample_id": j,
            "template": "solve",
            "response": f"I guess it is {(i * j) % 61}.",
            "finish_reason": "length" if j % 5 == 0 else "stop",
            "prompt_tokens": 1,
            "completion_tokens": 1,
            "completion": f"{i}-{j}",
        }
        for i in range(N_PROBLEMS)
        for j in range(K)
    ]
    tables.write(
        tables.from_rows(samples, tables.SAMPLES), path / "samples.parquet", tables.SAMPLES, {}
    )
    return path


def run(folder, out, *, config=CONFIG, samples="samples.parquet", workers=1):
    check.main(
        [
            "--config",
            json.dumps(config),
            "--problems",
            str(folder / "problems.parquet"),
            "--samples",
            str(folder / samples),
            "--output",
            str(out),
            "--workers",
            str(workers),
        ]
    )
    return tables.read(out, tables.VERDICTS)


def test_the_verdicts_are_those_of_check_many_whatever_the_number_of_processes(folder, tmp_path):
    assert tables.size(folder / "samples.parquet", tables.SAMPLES) == (N_PROBLEMS * K, 2)
    one = run(folder, tmp_path / "one.parquet")
    run(folder, tmp_path / "two.parquet", workers=2)
    assert (tmp_path / "one.parquet").read_bytes() == (tmp_path / "two.parquet").read_bytes()
    samples = tables.read(folder / "samples.parquet", tables.SAMPLES)
    golds = dict(
        tables.read(
            folder / "problems.parquet", tables.PROBLEMS, ["problem_id", "answer"]
        ).iter_rows()
    )
    expected = check_many(
        samples["response"].to_list(),
        [golds[p] for p in samples["problem_id"]],
        finished=[reason == "stop" for reason in samples["finish_reason"]],
    )
    assert one["verdict"].to_list() == [v.verdict for v in expected]
    assert one["extracted"].to_list() == [v.extracted for v in expected]
    assert {"correct", "incorrect", "no_answer"} == set(one["verdict"])


def test_the_tally_and_the_count_stand_in_the_log(folder, tmp_path, capsys):
    table = run(folder, tmp_path / "v.parquet")
    printed = capsys.readouterr().err
    cut = table.filter(pl.col("verdict") == "no_answer").height
    assert f"{cut:>8}  no_answer: cut off before an answer" in printed
    assert f"{N_PROBLEMS * K:>8}  responses in" in printed


def test_traces_are_read_from_the_problems(folder, tmp_path):
    config = {**CONFIG, "part": "teacher_trace"}
    table = run(folder, tmp_path / "t.parquet", config=config, samples="problems.parquet")
    assert table["problem_id"].to_list() == [f"p{i:03}" for i in range(0, N_PROBLEMS, 4)]
    right = {f"p{i:03}" for i in range(0, N_PROBLEMS, 4) if i % 3 or i == 0}
    assert set(table.filter(pl.col("verdict") == "correct")["problem_id"]) == right


def test_another_table_and_an_unknown_policy_are_refused_before_any_work(folder, tmp_path):
    out = tmp_path / "v.parquet"
    with pytest.raises(InputError, match=r"problems.parquet: holds problems, not samples"):
        run(folder, out, samples="problems.parquet")
    with pytest.raises(InputError, match="unknown answer policy 'maths'"):
        run(folder, out, config={**CONFIG, "policy": "maths"})
    (tmp_path / "torn.parquet").write_bytes((folder / "samples.parquet").read_bytes()[:-100])
    with pytest.raises(InputError, match=r"torn.parquet: not a readable parquet file"):
        run(folder, out, samples=str(tmp_path / "torn.parquet"))
    assert not out.exists()


def test_a_killed_process_is_named_and_leaves_no_output(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(check, "_check_row_group", _die)
    with pytest.raises(InputError, match="killed from outside"):
        run(folder, tmp_path / "v.parquet", workers=2)
    assert not (tmp_path / "v.parquet").exists()


def _die(index: int) -> pl.DataFrame:
    import os
    import signal

    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def test_a_verdict_without_a_name_is_not_written(tmp_path):
    row = {"problem_id": "a", "sample_id": 0, "verdict": "perhaps", "reason": "", "rule": ""}
    frame = tables.from_rows([{**row, "extracted": None}], tables.VERDICTS)
    with pytest.raises(AssertionError, match="perhaps"):
        tables.write(frame, tmp_path / "verdicts", check.VERDICT_TABLE, {})
