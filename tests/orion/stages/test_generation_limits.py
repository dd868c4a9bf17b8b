"""Tables of completions that are no results: refused with their counts, or before any work."""

import json

import polars as pl
import pytest

from orion import completions, tables
from orion.errors import InputError
from orion.stages import generation, model, sample

GENERATION = {
    "engine": "transformers",
    "num_samples": 2,
    "temperature": 1.0,
    "top_p": 1.0,
    "repetition_penalty": 1.0,
    "seed": 3,
}


@pytest.fixture
def folder(tmp_path, document):
    """Five short problems and one that is too long beside 30 new tokens (96 tokens of context)."""
    tables.write_json(document.as_json(), tmp_path / "model", {})
    frame = pl.DataFrame(
        {
            "problem_id": [f"p{i}" for i in range(6)],
            "problem": ["w1 w2 ?"] * 5 + ["w1 " * 70],
            "answer": "1",
            "solution": None,
            "teacher_trace": None,
            "meta": [{"level": 1}] * 6,
        },
        schema_overrides={"solution": pl.String, "teacher_trace": pl.String},
    )
    tables.write(frame, tmp_path / "problems", tables.PROBLEMS, {})
    return tmp_path


def run(folder, *options, max_tokens=30, **keys):
    block = {**GENERATION, "max_tokens": max_tokens}
    words = ["--config", json.dumps({"prompts": "demo", "generation": block, **keys})]
    for name in ("problems", "model"):
        words += [f"--{name}", str(folder / name)]
    words += ["--completions", str(folder / "store"), "--output", str(folder / "samples")]
    sample.main([*words, *options])


def read(folder):
    return tables.read(folder / "samples", tables.SAMPLES)


def test_too_many_prompts_that_are_too_long_stop_the_run(folder):
    with pytest.raises(
        InputError,
        match=r"samples: 2 of 12 rows failed \(2 prompt_too_long\), more than max_failed_fraction "
        r"= 0\.1\. Cures: lower max_tokens, since the longest prompt has 7\d tokens, and with "
        r"max_tokens = 30 it must fit into the 96 tokens of context that tiny has; or raise",
    ):
        run(folder)
    assert not (folder / "samples").exists()
    # a shard has a part of the rows only, and no table
    run(folder, "--shard", "0/1")
    run(folder, max_failed_fraction=0.2)
    assert read(folder)["finish_reason"].to_list()[10:] == ["prompt_too_long"] * 2


def test_what_was_generated_for_a_table_that_is_refused_is_kept(folder, capsys):
    with pytest.raises(InputError):
        run(folder)
    capsys.readouterr()
    run(folder, max_failed_fraction=0.2)
    assert "10 reused" in capsys.readouterr().err


def test_empty_responses_and_failed_requests_stop_the_run(folder, monkeypatch):
    real = completions.complete

    def complete(*args, **kwargs):
        rows = pl.int_range(pl.len())
        finish = pl.when(rows < 3).then(pl.lit("error")).otherwise("finish_reason")
        response = pl.when(rows < 5).then(pl.lit(" ")).otherwise("response")
        return real(*args, **kwargs).with_columns(finish_reason=finish, response=response)

    monkeypatch.setattr(generation.completions, "complete", complete)
    with pytest.raises(
        InputError,
        match=r"7 of 12 rows failed \(2 prompt_too_long, 3 error, 2 empty\), more than max_failed_"
        r"fraction = 0\.5\. Cures: .*; run again.*; see whether the chat template",
    ):
        run(folder, max_failed_fraction=0.5)


@pytest.mark.parametrize("options", [(), ("--shards", "2"), ("--shard", "0/2")])
def test_a_completion_as_long_as_the_context_is_refused_before_any_work(
    folder, monkeypatch, options
):
    def refuse(*args, **kwargs):
        raise AssertionError("work was done")

    monkeypatch.setattr(generation.processes, "run_shards", refuse)
    monkeypatch.setattr(generation.completions, "complete", refuse)
    monkeypatch.setattr(generation.completions, "complete_shard", refuse)
    with pytest.raises(
        InputError,
        match=r"models\.tiny has a context of 96 tokens: max_tokens = 96 leaves no room for a "
        r"prompt; lower it",
    ):
        run(folder, *options, max_tokens=96)


def register(folder, *limits, context_length=4096):
    block = {
        "source": {"kind": "server", "model": "org/teacher"},
        "context_length": context_length,
        "dtype": "bfloat16",
        "trust_remote_code": False,
    }
    output = folder / "model.json"
    words = ["--config", json.dumps(block), "--name", "big", "--output", str(output)]
    model.main([*words, "--token-limits", *limits])
    return output


def test_a_model_whose_context_does_not_allow_the_limits_is_not_registered(folder):
    with pytest.raises(
        InputError,
        match=r"models\.big has a context of 4096 tokens: evaluate\.max_tokens = 4096 leaves no "
        r"room for a prompt, pack\.max_length = 8192 is longer; lower",
    ):
        register(
            folder, "sample.max_tokens=2048", "evaluate.max_tokens=4096", "pack.max_length=8192"
        )
    assert not (folder / "model.json").exists()
    with_limits = register(folder, "evaluate.max_tokens=4095", "pack.max_length=4096").read_bytes()
    assert register(folder).read_bytes() == with_limits


@pytest.mark.parametrize("word", ["4096", "=4096", "evaluate.max_tokens=", "a=-1"])
def test_a_limit_without_a_key_or_a_number_is_refused(folder, word):
    with pytest.raises(InputError, match=r"--token-limits .*give KEY=N"):
        register(folder, word)
