"""Shards, batch sizes and the order of problems change no answer; the options of an engine."""

import argparse
import json
import random
from pathlib import Path

import polars as pl
import pytest

from orion import processes, tables
from orion.engines import RuntimeOptions
from orion.errors import InputError
from orion.stages import generation, sample

GENERATION = {
    "engine": "transformers",
    "num_samples": 3,
    "temperature": 1.0,
    "top_p": 0.9,
    "repetition_penalty": 1.0,
}
N = 12


@pytest.fixture
def folder(tmp_path, document):
    tables.write_json(document.as_json(), tmp_path / "model", {})
    return tmp_path


def problems(folder, order):
    names = [f"p{i:02}" for i in range(N)]
    frame = pl.DataFrame(
        {
            "problem_id": names,
            "problem": [f"w{(7 * i) % 90} w{(11 * i) % 90} ?" for i in order],
            "answer": "1",
            "solution": None,
            "teacher_trace": None,
            "meta": [{"level": 1}] * N,
        },
        schema_overrides={"solution": pl.String, "teacher_trace": pl.String},
    )
    tables.write(frame, folder / "problems", tables.PROBLEMS, {})


def run(folder, name, *options):
    config = {"prompts": "demo", "generation": {**GENERATION, "max_tokens": 10, "seed": 3}}
    paths = [x for n in ("problems", "model") for x in (f"--{n}", str(folder / n))]
    output = folder / f"{name}.parquet"
    argv = [
        "--config",
        json.dumps(config),
        *paths,
        "--completions",
        str(folder / f"store-{name}"),
        "--output",
        str(output),
    ]
    sample.main([*argv, *options])
    return output


def test_shards_and_batch_sizes_give_the_same_bytes(folder):
    problems(folder, range(N))
    first = run(folder, "first", "--batch-size", "64").read_bytes()
    assert run(folder, "one", "--batch-size", "1").read_bytes() == first
    assert run(folder, "seven", "--batch-size", "7").read_bytes() == first
    assert run(folder, "shards", "--shards", "3", "--batch-size", "7").read_bytes() == first
    # the shards, run one by one and without an output, leave nothing for the whole to do
    for i in range(2):
        path = run(folder, "by-hand", "--shard", f"{i}/2")
        assert not path.exists()
    parts = sorted((folder / "store-by-hand").rglob("part-*.parquet"))
    assert run(folder, "by-hand").read_bytes() == first
    assert sorted((folder / "store-by-hand").rglob("part-*.parquet")) == parts


def test_another_order_of_the_problems_gives_each_the_same_samples(folder):
    problems(folder, range(N))
    before = tables.read(run(folder, "before"), tables.SAMPLES)
    order = list(range(N))
    random.Random(1).shuffle(order)
    problems(folder, order)
    after = tables.read(run(folder, "after"), tables.SAMPLES)
    names = pl.DataFrame(
        {"problem_id": [f"p{i:02}" for i in range(N)], "was": [f"p{i:02}" for i in order]}
    )
    renamed = after.join(names, on="problem_id").drop("problem_id").rename({"was": "problem_id"})
    assert renamed.select(before.columns).sort("problem_id", "sample_id").equals(before)


def test_a_shard_that_fails_is_named_and_the_completions_of_others_are_kept(
    folder, monkeypatch, capfd
):
    problems(folder, range(N))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    real = processes.subprocess.Popen

    def start(command, **more):
        # the second shard gets a model that does not exist
        if command[-1] == "1/2":
            command = [str(folder / "absent") if x == str(folder / "model") else x for x in command]
        return real(command, **more)

    monkeypatch.setattr(processes.subprocess, "Popen", start)
    with pytest.raises(InputError, match="shard 1 of 2 failed"):
        run(folder, "failing", "--shards", "2")
    assert not (folder / "failing.parquet").exists()
    assert list((folder / "store-failing").rglob("part-*.parquet"))
    assert "absent" in capfd.readouterr().err


def parse_options(*options):
    parser = argparse.ArgumentParser()
    generation.add_options(parser)
    return parser.parse_args(options)


def test_the_command_line_becomes_runtime_options():
    args = parse_options("--batch-size", "8", "--tensor-parallel-size", "2")
    assert generation.read_options(args) == RuntimeOptions(batch_size=8, tensor_parallel_size=2)
    assert generation.read_options(parse_options()) == RuntimeOptions()
    args = parse_options("--gpu-memory-percent", "50", "--batch-invariant", "1")
    assert generation.read_options(args) == RuntimeOptions(
        gpu_memory_utilization=0.5, batch_invariant=True
    )
    args = parse_options("--base-url", "http://h/v1", "--api-key-env", "KEY")
    assert generation.read_options(args) == RuntimeOptions(
        base_url="http://h/v1", api_key_env="KEY"
    )


def test_all_shards_and_tries_of_a_stage_share_one_token_budget():
    def read(output, *options):
        args = parse_options("--token-budget", "900", *options)
        args.completions, args.output = "store", output
        return generation.read_options(args)

    whole = read("a.parquet", "--shards", "3")
    assert whole == read("a.parquet", "--shard", "1/3") and whole.token_budget == 900
    assert whole.budget_folder.parent == Path("store/budgets")
    assert whole.budget_folder != read("b.parquet").budget_folder


def test_headers_and_query_are_json_objects_of_texts(capsys):
    options = generation.read_options(
        parse_options("--headers", '{"api-key": "$KEY"}', "--query", '{"api-version": "1"}')
    )
    assert (options.headers, options.query) == ({"api-key": "$KEY"}, {"api-version": "1"})
    assert generation.read_options(parse_options("--headers", "")).headers == {}
    for text in ("[1]", "x", '{"a": 1}'):
        with pytest.raises(SystemExit):
            parse_options("--headers", text)
        assert "give a JSON object of texts" in capsys.readouterr().err


@pytest.mark.parametrize("options", [("--shards", "0"), ("--batch-size", "-2")])
def test_odd_counts_are_refused(options, capsys):
    with pytest.raises(SystemExit):
        parse_options(*options)
    assert options[0] in capsys.readouterr().err


@pytest.mark.parametrize("shard", ["3/3", "1", "a/b"])
def test_a_shard_out_of_range_is_refused(shard):
    with pytest.raises(InputError, match="--shard"):
        parse_options("--shard", shard)
