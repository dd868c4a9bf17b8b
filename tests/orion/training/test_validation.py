"""Rows held out of a training: which they are, their loss, and the weights with the lowest one."""

import errno
import json
import math
import os
from pathlib import Path

import polars as pl
import pytest
import safetensors.torch
import torch
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM

from orion import tables
from orion.errors import InputError
from orion.models import training_checkpoints
from orion.stages import pack, train
from orion.training import trainer
from orion.training.sharding import gather_trained

CONFIG = {
    "method": "full",
    "learning_rate": 1e-2,
    "betas": [0.9, 0.95],
    "weight_decay": 0.0,
    "epochs": 3.0,
    "batch_sequences": 1,
    "warmup_fraction": 0.0,
    "schedule": "constant_with_warmup",
    "max_grad_norm": 1.0,
    "dtype": "float32",
    "gradient_checkpointing": False,
    "seed": 1,
}


@pytest.fixture(scope="module")
def folder(student, tmp_path_factory):
    """The student's model.json; its packed rows, the last two of them held out."""
    folder = tmp_path_factory.mktemp("validation")
    document, packed = student
    tables.write_json(document.as_json(), folder / "model.json", {})
    marked = packed.with_columns(validation=pl.col("row") >= packed.height - 2)
    tables.write(marked, folder / "packed", tables.PACKED, {})
    rest = packed.head(packed.height - 2)
    tables.write(rest, folder / "training-only", tables.PACKED, {})
    return folder


def run(folder, out, packed="packed", micro_batch=1, **changes):
    """The lines of the log, and the published model."""
    paths = {"packed": folder / packed, "model": folder / "model.json", "work": out / "work"}
    paths |= {"output-dir": out / "model", "output-model": out / "m.json", "log": out / "log"}
    words = [word for name, path in paths.items() for word in (f"--{name}", str(path))]
    words += ["--name", "t", "--micro-batch", str(micro_batch)]
    train.main(["--config", json.dumps({**CONFIG, **changes}), *words])
    log = [json.loads(line) for line in (out / "log").read_text().splitlines()]
    return log, AutoModelForCausalLM.from_pretrained(out / "model")


@torch.no_grad()
def validation_loss(folder, model, average):
    held = tables.read(folder / "packed", tables.PACKED).filter("validation")
    losses = []
    for row in held.iter_rows(named=True):
        start = 0
        for length in row["seq_lengths"]:
            ids = torch.tensor(row["input_ids"][start : start + length])
            labels = torch.tensor(row["labels"][start + 1 : start + length])
            each = cross_entropy(model(ids[None]).logits[0, :-1], labels, reduction="none")
            losses.append(each[labels != -100])
            start += length
    means = torch.cat(losses) if average == "token" else torch.stack([x.mean() for x in losses])
    return means.mean().item()


@pytest.mark.parametrize("average", ["token", "document"])
def test_the_loss_of_the_held_out_rows_is_logged(folder, tmp_path, average):
    """Once per pass, of the same kind as the training loss, which it leaves as it was."""
    keys = {"loss_average": average, "neftune_noise_alpha": 1.0}
    log, model = run(folder, tmp_path / "1", **keys)
    rows = tables.read(folder / "training-only", tables.PACKED).height
    steps = [entry["step"] for entry in log if "validation_loss" in entry]
    assert steps == [rows, 2 * rows, 3 * rows] and len(log) == 3 * rows
    want = validation_loss(folder, model, average)
    assert log[-1]["validation_loss"] == pytest.approx(want, rel=1e-5)
    without, other = run(folder, tmp_path / "2", packed="training-only", **keys)
    assert not any("validation_loss" in entry for entry in without)
    for entry in log:
        entry.pop("validation_loss", None)
    assert log == without
    assert all(map(torch.equal, model.parameters(), other.parameters()))


def test_validation_steps_and_the_last_step(folder, tmp_path):
    keys = {"max_steps": 5, "validation_steps": 2}
    one, _ = run(folder, tmp_path / "1", **keys)
    assert [entry["step"] for entry in one if "validation_loss" in entry] == [2, 4, 5]
    two, _ = run(folder, tmp_path / "2", micro_batch=2, **{**keys, "batch_sequences": 2})
    assert len([entry for entry in two if "validation_loss" in entry]) == 3


@pytest.mark.parametrize("method", ["full", "lora"])
def test_the_weights_with_the_lowest_loss_are_published(folder, tmp_path, monkeypatch, method):
    """The middle one of three validations is made the best."""
    values = iter([3.0, 1.0, 2.0])
    real = trainer.PackedTrainer._validation_loss
    seen = []

    def pretend(self):
        seen.append(real(self))
        return next(values)

    monkeypatch.setattr(trainer.PackedTrainer, "_validation_loss", pretend)
    lora = {"r": 4, "alpha": 8, "dropout": 0.0, "target_modules": "all-linear"}
    keys = {"method": method, "max_steps": 6, "validation_steps": 2}
    keys |= {"lora": lora} if method == "lora" else {}
    _, model = run(folder, tmp_path / "1", keep_best=True, **keys)
    got = validation_loss(folder, model, "token")
    assert got == pytest.approx(seen[1], rel=1e-5)
    assert abs(got - seen[2]) > 1e-3 < abs(got - seen[0])
    assert len(seen) == 3
    values = iter([3.0, 1.0, 2.0])
    _, last = run(folder, tmp_path / "2", **keys)
    assert validation_loss(folder, last, "token") == pytest.approx(seen[2], rel=1e-5)


def test_a_resumed_run_compares_with_the_kept_weights(tmp_path):
    model = torch.nn.Linear(2, 1)
    assert training_checkpoints.read_best(tmp_path) is None
    assert training_checkpoints.is_best(tmp_path, 9.0)
    training_checkpoints.keep_best(gather_trained(model), tmp_path, 10, 0.1 + 0.2)
    kept = model.weight.detach().clone()
    model.weight.data += 1
    assert not training_checkpoints.is_best(tmp_path, 0.1 + 0.2)
    assert training_checkpoints.read_best(tmp_path) == (10, 0.1 + 0.2)
    training_checkpoints.load_best(model, tmp_path)
    assert torch.equal(model.weight, kept) and model.weight.requires_grad
    assert training_checkpoints.is_best(tmp_path, 0.3)


def test_a_disk_that_is_full_when_the_best_weights_are_kept(folder, tmp_path, monkeypatch):
    """The second time: what was kept before is still there, and the same command goes on."""
    keys = {"keep_best": True, "max_steps": 4, "validation_steps": 2}
    want, _ = run(folder, tmp_path / "whole", **keys)
    real = safetensors.torch.save_file

    def fill(tensors, path, metadata=None):
        if metadata is not None and metadata.get("step") == "4":
            Path(path).write_bytes(b"half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(tensors, path, metadata=metadata)

    with monkeypatch.context() as patch:
        patch.setattr(safetensors.torch, "save_file", fill)
        message = (
            r"/best\.safetensors: the checkpoint cannot be written \(.*No space left on device"
        )
        with pytest.raises(training_checkpoints.FailedWriteError, match=message):
            run(folder, tmp_path, **keys)
    [work] = (tmp_path / "work").iterdir()
    assert [path.name for path in work.glob("*best*")] == ["best.safetensors"]
    assert training_checkpoints.read_best(work)[0] == 2
    assert run(folder, tmp_path, **keys)[0] == want


def test_a_validation_loss_that_is_not_finite_stops_the_run(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(trainer.PackedTrainer, "_validation_loss", lambda _: math.nan)
    with pytest.raises(InputError, match=r"stopped at step 2: the validation loss is nan\."):
        run(folder, tmp_path, max_steps=4, validation_steps=2)
    assert not (tmp_path / "m.json").exists()


def test_the_rows_of_a_problem_stay_together():
    ids = [f"p{i}" for i in range(2000) for _ in range(2)]
    rows, held = pack.split_rows(pl.DataFrame({"problem_id": ids}), 0.1)
    assert rows.height + held.height == 4000 and 300 < held.height < 500
    assert not set(rows["problem_id"]) & set(held["problem_id"])
    # a larger part keeps what the smaller one holds
    _, more = pack.split_rows(pl.DataFrame({"problem_id": ids}), 0.2)
    assert set(held["problem_id"]) < set(more["problem_id"])
    assert pack.split_rows(pl.DataFrame({"problem_id": ids}), None)[1].is_empty()
