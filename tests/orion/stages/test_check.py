"""The check stage: row groups in order from any number of processes, steps, parts, refusals."""

import json

import polars as pl
import pytest

from orion import prompts, tables
from orion.answers import check_many
from orion.answers.steps import check_steps, summary
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
            "response": f"Since {i} * {j} = {i * j + (j % 7 == 0)}, it is {(i * j) % 61}.",
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


def steps_beside(out):
    return out.with_name(f"steps-{out.name}")


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
            "--output-steps",
            str(steps_beside(out)),
            "--workers",
            str(workers),
        ]
    )
    return tables.read(out, tables.VERDICTS)


def test_the_verdicts_are_those_of_check_many_whatever_the_number_of_processes(folder, tmp_path):
    assert tables.size(folder / "samples.parquet", tables.SAMPLES) == (N_PROBLEMS * K, 2)
    one = run(folder, tmp_path / "one.parquet")
    run(folder, tmp_path / "two.parquet", workers=2)
    for name in ("one.parquet", "steps-one.parquet"):
        other = name.replace("one", "two")
        assert (tmp_path / name).read_bytes() == (tmp_path / other).read_bytes()
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
    steps = tables.read(tmp_path / "steps-v.parquet", tables.STEPS)
    false = steps.filter(pl.col("false") > 0).height
    assert false and f"{false:>8}  texts with a false step" in printed


def test_every_checked_text_has_one_row_of_steps_with_its_first_false_one(folder, tmp_path):
    verdicts = run(folder, tmp_path / "v.parquet")
    steps = tables.read(tmp_path / "steps-v.parquet", tables.STEPS)
    keys = ["problem_id", "sample_id"]
    assert steps.select(keys).equals(verdicts.select(keys)) and steps.height == N_PROBLEMS * K
    samples = tables.read(folder / "samples.parquet", tables.SAMPLES)
    for text, row in zip(samples["response"], steps.iter_rows(named=True), strict=True):
        expected = summary(check_steps(text))
        counts = (expected.true, expected.false, expected.unknown)
        assert (row["true"], row["false"], row["unknown"]) == counts and sum(counts) > 0
        assert (row["first_false"] is None) == (row["false"] == 0)
        assert (row["false"] > 0) == (row["sample_id"] % 7 == 0), text
        if found := row["first_false"]:
            assert text[found["start"] : found["end"]] == found["text"]
    record = tables.read_provenance(tmp_path / "v.parquet")
    assert tables.read_provenance(tmp_path / "steps-v.parquet") == record


HOSTILE = [
    "1" * 100_000 + " + 1 = 2",
    "(" * 50_000 + "1 = 2" + ")" * 50_000,
    "9**9**9**9 = 1, 10^(10^(10^10)) = 0, 1/0 = 1",
    "\\frac{" * 5_000 + "2 + 2 = 4",
    "1 + 1 = " * 20_000,
    "\x00\u202e\U0010ffff = \u0661 + \u0661",
    "",
]


def test_a_hostile_text_costs_one_row(folder, tmp_path):
    """It is checked like any other text, and its neighbours keep their counts."""
    texts = [*HOSTILE, "2 + 2 = 5\n2 + 3 = 5"]
    frame = tables.read(folder / "samples.parquet", tables.SAMPLES)[: len(texts)]
    frame = frame.with_columns(pl.Series("response", texts))
    tables.write(frame, tmp_path / "hostile", tables.SAMPLES, {})
    config = {**CONFIG, "timeout_s": 1.0}
    run(folder, tmp_path / "v", config=config, samples=str(tmp_path / "hostile"))
    steps = tables.read(tmp_path / "steps-v", tables.STEPS)
    assert steps.height == len(texts)
    last = steps.row(-1, named=True)
    assert (last["true"], last["false"], last["first_false"]["start"]) == (1, 1, 0)


def test_a_long_claim_is_cut_in_the_table_and_not_its_offsets(monkeypatch):
    claim = check_steps("2 + 2 = 5")[0]
    long = type(claim)(start=3, end=9_003, text="x" * 9_000, truth="false", rule=claim.rule)
    monkeypatch.setattr(check, "check_steps", lambda text, **limits: [long])
    samples = pl.DataFrame({"problem_id": ["p"], "sample_id": [0], "response": ["?"]})
    [found] = check.count_steps(samples, timeout_s=1.0)["first_false"]
    assert (found["start"], found["end"], found["text"]) == (3, 9_003, "x" * check.MAX_CLAIM)


def test_of_a_reflection_only_the_refined_part_is_checked(folder, tmp_path):
    marker = prompts.load("demo").block("marker")
    texts = [f"2 + 2 = 5 {marker} 2 + 3 = 5", f"2 + 2 = 4 {marker} 2 + 3 = 6", "2 + 2 = 5"]
    rows = [
        {
            "problem_id": "p001",
            "sample_id": number,
            "template": "reflect",
            "error_ranks": [0],
            "response": text,
            "finish_reason": "stop",
            "prompt_tokens": 1,
            "completion_tokens": 1,
            "completion": str(number),
        }
        for number, text in enumerate(texts)
    ]
    frame = tables.from_rows(rows, tables.REFLECTIONS)
    tables.write(frame, tmp_path / "reflections", tables.REFLECTIONS, {})
    config = {**CONFIG, "part": "refined", "prompts": "demo"}
    run(folder, tmp_path / "v", config=config, samples=str(tmp_path / "reflections"))
    steps = tables.read(tmp_path / "steps-v", tables.STEPS)
    assert steps["false"].to_list() == [0, 1, 0]
    # offsets are those of the refined part, which begins after the marker
    assert steps["first_false"].to_list()[1] | {"rule": ""} == {
        "start": 0,
        "end": 9,
        "text": "2 + 3 = 6",
        "rule": "",
    }


def test_traces_are_read_from_the_problems(folder, tmp_path):
    config = {**CONFIG, "part": "teacher_trace"}
    table = run(folder, tmp_path / "t.parquet", config=config, samples="problems.parquet")
    assert table["problem_id"].to_list() == [f"p{i:03}" for i in range(0, N_PROBLEMS, 4)]
    right = {f"p{i:03}" for i in range(0, N_PROBLEMS, 4) if i % 3 or i == 0}
    assert set(table.filter(pl.col("verdict") == "correct")["problem_id"]) == right
    steps = tables.read(tmp_path / "steps-t.parquet", tables.STEPS)
    assert steps["problem_id"].equals(table["problem_id"])


def test_traces_are_counted_for_the_progress(folder, tmp_path):
    problems = tables.read(folder / "problems.parquet", tables.PROBLEMS).head(3)
    lists = pl.Series([["a", "b"], None, ["c"]], dtype=pl.List(pl.String))
    tables.write(
        problems.with_columns(further_traces=lists, trace_sources=lists),
        tmp_path / "p.parquet",
        tables.PROBLEMS,
        {},
    )
    assert check.count_traces(str(tmp_path / "p.parquet")) == 3


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
    assert list(tmp_path.iterdir()) == []


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
