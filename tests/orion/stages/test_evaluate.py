"""Scores from samples and verdicts: known answers, nothing silently missing, the same bytes twice."""

import json

import polars as pl
import pytest

from orion import provenance, tables
from orion.errors import InputError
from orion.stages import evaluate

CONFIG = {"benchmark": "b", "confidence": 0.95, "bootstrap": 200}
# problem → (verdict, finish_reason, tokens) of its samples
ANSWERS = {
    "p0": [("correct", "stop", 10), ("correct", "stop", 12)],
    "p1": [("incorrect", "stop", 9), ("correct", "stop", 11)],
    "p2": [("no_answer", "length", 40), ("unparseable", "stop", 8)],
    "p3": [("timeout", "stop", 20), ("no_answer", "error", 0)],
}
LOOP = "again and again the same words come back to fill the page " * 6


def frames():
    """Problems, samples and verdicts of ANSWERS; p2's first sample is a loop."""
    problems = pl.DataFrame(
        [
            {
                "problem_id": p,
                "problem": p,
                "answer": "1",
                "solution": None,
                "teacher_trace": None,
                "meta": {"row": 0},
            }
            for p in ANSWERS
        ],
        schema_overrides={"solution": pl.String, "teacher_trace": pl.String},
    )
    samples, verdicts = [], []
    for problem, answers in ANSWERS.items():
        for i, (verdict, finish, tokens) in enumerate(answers):
            key = {"problem_id": problem, "sample_id": i}
            text = LOOP if finish == "length" else "one two three"
            told = {
                "template": "solve",
                "response": text,
                "finish_reason": finish,
                "completion": "c",
            }
            samples.append({**key, **told, "prompt_tokens": 5, "completion_tokens": tokens})
            verdicts.append(
                {**key, "verdict": verdict, "extracted": None, "reason": "", "rule": ""}
            )
    return (
        problems,
        tables.from_rows(samples, tables.SAMPLES),
        tables.from_rows(verdicts, tables.VERDICT_ROWS),
    )


def written(folder, problems, samples, verdicts):
    """The command line of the stage on these tables."""
    record = provenance.record("orion.stages.sample", {}, {})
    argv = ["--config", json.dumps(CONFIG), "--output", str(folder / "scores.json")]
    for name, frame, table in (
        ("problems", problems, tables.PROBLEMS),
        ("samples", samples, tables.SAMPLES),
        ("verdicts", verdicts, tables.VERDICT_ROWS),
    ):
        path = folder / f"{name}.parquet"
        tables.write(frame, path, table, record)
        argv += [f"--{name}", str(path)]
    return argv


def test_every_sample_counts_in_every_denominator(tmp_path):
    evaluate.main(written(tmp_path, *frames()))
    document = tables.read_json(tmp_path / "scores.json")
    values = {row["metric"]: row["value"] for row in document["rows"]}
    assert document["benchmark"] == "b"
    assert values == pytest.approx(
        {
            "accuracy": 3 / 8,
            "pass_at_k": 2 / 4,
            "unfinished": 1 / 8,
            "no_answer": 2 / 8,
            "unparseable": 1 / 8,
            "timeout": 1 / 8,
            "failed": 1 / 8,
            "loop": 1 / 8,
            "mean_completion_tokens": 110 / 8,
        }
    )
    assert all(row["low"] <= row["value"] <= row["high"] for row in document["rows"])
    assert {(row["n_problems"], row["k"]) for row in document["rows"]} == {(4, 2)}


def test_provenance_fits_its_inputs_and_the_bytes_are_the_same_twice(tmp_path):
    argv = written(tmp_path, *frames())
    evaluate.main(argv)
    first = (tmp_path / "scores.json").read_bytes()
    paths = {name: tmp_path / f"{name}.parquet" for name in ("problems", "samples", "verdicts")}
    record = tables.read_provenance(tmp_path / "scores.json")
    assert provenance.mismatches(record, config=CONFIG, inputs=paths) == []
    evaluate.main(argv)
    assert (tmp_path / "scores.json").read_bytes() == first


@pytest.mark.parametrize("which", ["samples", "verdicts", "problem", "shifted"])
def test_a_missing_sample_or_verdict_stops_the_run(tmp_path, which):
    problems, samples, verdicts = frames()
    if which == "samples":
        samples = samples.filter(~((pl.col("problem_id") == "p1") & (pl.col("sample_id") == 1)))
    elif which == "verdicts":
        verdicts = verdicts.head(-1)
    elif which == "problem":
        problems = problems.filter(pl.col("problem_id") != "p0")
    else:
        # the right number of rows, but one problem has three samples and another one
        moved = pl.when((pl.col("problem_id") == "p1") & (pl.col("sample_id") == 1))
        samples = samples.with_columns(
            sample_id=moved.then(2).otherwise("sample_id"),
            problem_id=moved.then(pl.lit("p0")).otherwise("problem_id"),
        )
    with pytest.raises(InputError, match="run again"):
        evaluate.main(written(tmp_path, problems, samples, verdicts))
    assert not (tmp_path / "scores.json").exists()
