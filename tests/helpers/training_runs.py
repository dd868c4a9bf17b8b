"""The stage train on a random student of 40,000 parameters and five packed sequences."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from orion import tables
from orion.models import checkpoints
from orion.stages import train

# three steps are a pass over the sequences, and a step is two micro-batches
CONFIG = {
    "method": "full",
    # dropout makes the result depend on the state of the random generator
    "lora": {"r": 4, "alpha": 8, "dropout": 0.2, "target_modules": "all-linear"},
    "learning_rate": 1e-2,
    "betas": [0.9, 0.98],
    "weight_decay": 0.01,
    "epochs": 1.0,
    "max_steps": 8,
    "batch_sequences": 2,
    "warmup_fraction": 0.1,
    "schedule": "linear",
    "max_grad_norm": 1.0,
    "dtype": "float32",
    "gradient_checkpointing": False,
    "seed": 1,
}


def write_inputs(folder: Path, student: str) -> None:
    """model.json of a copy of the student, and the packed sequences."""
    shutil.copytree(student, folder / "student")
    found = checkpoints.checkpoint_document(folder / "student", name="tiny", dtype="float32")
    tables.write_json(found.as_json(), folder / "model.json", {})
    ids = [[(7 * row + 3 * place) % 100 + 4 for place in range(16)] for row in range(5)]
    rows = [
        {
            "row": number,
            "input_ids": row,
            "labels": [-100] * 4 + row[4:8] + [-100] * 4 + row[12:],
            "position_ids": [*range(8), *range(8)],
            "seq_lengths": [8, 8],
        }
        for number, row in enumerate(ids)
    ]
    tables.write(tables.from_rows(rows, tables.PACKED), folder / "packed", tables.PACKED, {})


def arguments(folder: Path, out: Path, *more: str, **changes) -> list[str]:
    """The command line of the stage; ``out`` gets the output and the work folder."""
    out.mkdir(exist_ok=True)
    places = {"packed": folder / "packed", "model": folder / "model.json", "work": out / "work"}
    places |= {"output-dir": out / "model", "output-model": out / "model.json"}
    places |= {"log": out / "log.jsonl"}
    words = [word for name, path in places.items() for word in (f"--{name}", str(path))]
    return ["--config", json.dumps({**CONFIG, **changes}), "--name", "tiny/orion/1", *words, *more]


def run(folder: Path, out: Path, *more: str, **changes) -> dict[str, bytes]:
    train.main(arguments(folder, out, *more, **changes))
    return read_result(out)


def read_result(out: Path) -> dict[str, bytes]:
    """The bytes of the published folder and of the log; model.json names the folder's place."""
    files = [*(out / "model").iterdir(), out / "log.jsonl"]
    return {path.name: path.read_bytes() for path in files}


def list_checkpoints(out: Path) -> list[int]:
    return sorted(int(path.name.split("-")[1]) for path in out.glob("work/*/checkpoint-*"))


def check_same_training(one: Path, other: Path, steps: int, tolerance: float) -> None:
    """Two outputs have the same log within the tolerance, and the same greedy answers.

    Gradient norms are compared on the scale of the largest one: what rounding does to the weights
    changes a gradient by as much when it has become small, and by more of it.
    """
    logs = [
        [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
        for out in (one, other)
    ]
    assert len(logs[0]) == len(logs[1]) == steps
    largest = max(row["grad_norm"] for row in logs[0])
    for expected, found in zip(*logs, strict=True):
        assert found.pop("grad_norm") == pytest.approx(
            expected.pop("grad_norm"), rel=tolerance, abs=tolerance * largest
        )
        assert found == pytest.approx(expected, rel=tolerance, abs=tolerance)
        assert found["tokens"] == expected["tokens"]
        assert found["trained_tokens"] == expected["trained_tokens"]
    assert torch.equal(greedy_answers(one), greedy_answers(other))


def greedy_answers(out: Path) -> torch.Tensor:
    """Of the published checkpoint, as plain transformers reads it."""
    model = AutoModelForCausalLM.from_pretrained(out / "model")
    prompts = torch.tensor([[5, 9, 11, 40], [7, 30, 62, 18], [21, 4, 90, 33]])
    mask = torch.ones_like(prompts)
    return model.generate(prompts, attention_mask=mask, max_new_tokens=16, do_sample=False)
