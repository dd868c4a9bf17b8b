"""Generating stages with a real engine, killed with SIGKILL at random moments."""

import json
import random
import signal
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from orion import completions, tables
from orion.completions import maintenance
from orion.completions.parts import KEY
from orion.models import checkpoints
from tests.helpers.killed_stages import FLUSH_EVERY
from tests.helpers.tiny_models import save

HELPERS = Path(__file__).parents[2] / "helpers"

PROBLEMS, K, KILLS = 40, 4, 10
GENERATION = {
    "engine": "transformers",
    "temperature": 1.0,
    "top_p": 1.0,
    "repetition_penalty": 1.0,
    "max_tokens": 12,
    "seed": 0,
}


@pytest.fixture(scope="module")
def run_stage():
    """Runs a stage in its own process: arguments, time to kill → exit status, completions."""
    command = [sys.executable, str(HELPERS / "killed_stages.py")]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )

    def run(stage, argv, kill=None):
        process.stdin.write(json.dumps({"stage": stage, "argv": argv, "kill": kill}) + "\n")
        process.stdin.flush()
        answer = json.loads(process.stdout.readline())
        return answer["status"], answer["generated"]

    yield run
    process.stdin.close()
    process.wait()


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """Problems with traces, errors, and a random student of 40,000 parameters: option → path."""
    folder = tmp_path_factory.mktemp("inputs")
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "vocab_size": 110}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    # large weights, so that logits differ between tokens as a trained model's do
    config = Qwen2Config(
        **sizes,
        **heads,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        initializer_range=0.3,
    )
    save(folder / "student", Qwen2ForCausalLM(config))
    names = [f"p{i:02}" for i in range(PROBLEMS)]
    problems = pl.DataFrame(
        {
            "problem_id": names,
            "problem": [f"w{i} and w{i + 1} ?" for i in range(PROBLEMS)],
            "answer": "1",
            "solution": None,
            "teacher_trace": [f"w{i} w3 w4 so 1" for i in range(PROBLEMS)],
            "meta": [{"level": 1}] * PROBLEMS,
        },
        schema_overrides={"solution": pl.String},
    )
    verdicts = {
        "sample_id": 0,
        "verdict": "correct",
        "extracted": "1",
        "reason": "equal",
        "rule": "text",
    }
    errors = {"source": "own", "extracted": "2", "response": "w9 w8 so 2"}
    pairs = pl.DataFrame({"problem_id": names}).join(pl.DataFrame({"rank": [0, 1]}), how="cross")
    errors_table = pairs.with_columns(
        sample_id="rank",
        own_sample_id="rank",
        source_problem_id="problem_id",
        **{name: pl.lit(value) for name, value in errors.items()},
    )
    tables.write(problems, folder / "problems", tables.PROBLEMS, {})
    verdict_rows = pl.DataFrame({"problem_id": names}).with_columns(
        **{
            name: pl.lit(value, dtype=tables.VERDICTS.columns[name])
            for name, value in verdicts.items()
        }
    )
    tables.write(verdict_rows, folder / "trace-verdicts", tables.VERDICTS, {})
    tables.write(tables.empty(tables.STEPS), folder / "trace-steps", tables.STEPS, {})
    tables.write(errors_table, folder / "errors", tables.ERRORS, {})
    tables.write_json(
        checkpoints.checkpoint_document(folder / "student", name="x", dtype="float32").as_json(),
        folder / "model",
        {},
    )
    return folder


def arguments(stage, inputs, folder):
    generation = {**GENERATION, "num_samples": K if stage == "sample" else 2}
    config = {"prompts": "demo", "generation": generation}
    names = ["problems", "model"]
    if stage == "reflect":
        config |= {
            "prompt_includes": ["teacher", "errors"],
            "rewrite": "none",
            "errors_per_prompt": 1,
        }
        names += ["trace-verdicts", "trace-steps", "errors"]
    given = [part for name in names for part in (f"--{name}", str(inputs / name))]
    places = [
        "--completions",
        str(folder / "store"),
        "--output",
        str(folder / "table.parquet"),
        "--batch-size",
        "16",
    ]
    return ["--config", json.dumps(config), *given, *places]


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["sample", "reflect"])
def test_a_stage_killed_ten_times_loses_only_what_was_not_flushed(
    tmp_path, run_stage, inputs, stage
):
    total = PROBLEMS * 4
    whole = tmp_path / "whole"
    assert run_stage(stage, arguments(stage, inputs, whole)) == (0, total)

    killed = tmp_path / "killed"
    digest = tables.read_json(inputs / "model")["digest"]
    table = tables.SAMPLES if stage == "sample" else tables.REFLECTIONS
    keys = tables.read(whole / "table.parquet", table).rename({"completion": KEY})
    store, seed = completions.CompletionStore(killed / "store", digest), random.Random(stage)
    stored = generated_in_all = 0
    for _ in range(KILLS):
        # some way into the next completion, the next flush, the next ones after that
        moment = (seed.randint(1, 12), seed.uniform(0, 0.015))
        status, generated = run_stage(stage, arguments(stage, inputs, killed), moment)
        assert status == -signal.SIGKILL and not (killed / "table.parquet").exists()
        assert all(maintenance.find_fault(part) is None for part in store.parts())
        now = store.contains(keys).sum()
        assert generated - FLUSH_EVERY <= now - stored <= generated
        stored, generated_in_all = now, generated_in_all + generated
    assert 0 < stored < total, "the moments are spread over the run"
    assert run_stage(stage, arguments(stage, inputs, killed)) == (0, total - stored)
    assert (killed / "table.parquet").read_bytes() == (whole / "table.parquet").read_bytes()
    assert generated_in_all - stored <= KILLS * FLUSH_EVERY
    assert run_stage(stage, arguments(stage, inputs, killed)) == (0, 0)
