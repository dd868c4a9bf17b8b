"""Shards, batch sizes and the order of the problems change nothing; what a stage hands to its engine."""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time

import polars as pl
import pytest

from orion import tables
from orion.errors import InputError
from orion.stages import generation, sample
from tests.helpers.tiny_models import document

__all__ = ["document"]
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
    tables.write_json(document, tmp_path / "model", {})
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
        str(folder / f"cells-{name}"),
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
    # the shares, one after the other and without an output, leave nothing for the whole to do
    for i in range(2):
        path = run(folder, "by-hand", "--shard", f"{i}/2")
        assert not path.exists()
    parts = sorted((folder / "cells-by-hand").rglob("part-*.parquet"))
    assert run(folder, "by-hand").read_bytes() == first
    assert sorted((folder / "cells-by-hand").rglob("part-*.parquet")) == parts


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


def test_a_share_that_fails_is_named_and_what_the_others_stored_is_kept(folder, monkeypatch, capfd):
    problems(folder, range(N))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    real = generation.subprocess.Popen

    def start(command, **more):
        # the second share gets a model that is not there
        if command[-1] == "1/2":
            command = [str(folder / "absent") if x == str(folder / "model") else x for x in command]
        return real(command, **more)

    monkeypatch.setattr(generation.subprocess, "Popen", start)
    with pytest.raises(InputError, match="shard 1 of 2 failed"):
        run(folder, "failing", "--shards", "2")
    assert not (folder / "failing.parquet").exists()
    assert list((folder / "cells-failing").rglob("part-*.parquet"))
    assert "absent" in capfd.readouterr().err


def parsed(*options):
    parser = argparse.ArgumentParser()
    generation.add_options(parser)
    return parser.parse_args(options)


def test_an_engine_gets_the_options_it_has():
    args = parsed(
        "--batch-size",
        "8",
        "--token-budget",
        "900",
        "--shard",
        "1/3",
        "--tensor-parallel-size",
        "2",
    )
    assert generation.speed("transformers", args) == {"batch_size": 8}
    assert generation.speed("openai", args) == {"batch_size": 8, "token_budget": 300}
    vllm = {
        "batch_size": 8,
        "tensor_parallel_size": 2,
        "gpu_memory_utilization": 0.9,
        "batch_invariant": False,
    }
    assert generation.speed("vllm", args) == vllm
    assert generation.speed("openai", parsed()) == {}
    assert generation.speed("openai", parsed("--token-budget", "900", "--shards", "3")) == {
        "token_budget": 900
    }


def test_gpus_are_dealt_out_whole(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6,7,2")
    assert generation.visible_devices(2) == ["4,5", "6,7"]
    assert generation.visible_devices(5) == ["4", "5", "6", "7", "2"]
    assert generation.visible_devices(6) == []
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert generation.visible_devices(2) == []


SHARE = """
import signal, sys, time
from pathlib import Path

name = sys.argv[-1].replace("/", "-of-")

def store(*_):
    time.sleep(0.5)
    Path(f"stored-{name}").touch()
    sys.exit(1)

signal.signal(signal.SIGTERM, store)
Path(f"begun-{name}").touch()
time.sleep(3600)
"""


def test_shards_are_told_to_end_and_waited_for(tmp_path):
    """A scheduler ends the parent; what the shards have is stored, and their GPUs are free, when it is gone."""
    (tmp_path / "share.py").write_text(SHARE)
    code = "from orion import generating; generation._run_shards('share', [], 2)"
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    parent = subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, env={**os.environ, "PYTHONPATH": path}
    )
    give_up = time.monotonic() + 600
    while len(list(tmp_path.glob("begun-*"))) < 2 and parent.poll() is None:
        assert time.monotonic() < give_up
        time.sleep(0.02)
    parent.send_signal(signal.SIGTERM)
    assert parent.wait(600) == 128 + signal.SIGTERM
    assert sorted(p.name for p in tmp_path.glob("stored-*")) == ["stored-0-of-2", "stored-1-of-2"]


@pytest.mark.parametrize("options", [("--shards", "0"), ("--batch-size", "-2")])
def test_odd_counts_are_refused(options, capsys):
    with pytest.raises(SystemExit):
        parsed(*options)
    assert options[0] in capsys.readouterr().err


@pytest.mark.parametrize("share", ["3/3", "1", "a/b"])
def test_a_share_out_of_range_is_refused(share):
    with pytest.raises(InputError, match="--shard"):
        parsed("--shard", share)
