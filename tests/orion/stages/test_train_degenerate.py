"""Trainings that fail: nothing is published, the last good checkpoint is kept and named."""

import json
import math
import shutil

import pytest
import torch
from safetensors.torch import load_file

from orion import tables
from orion.errors import InputError
from orion.models import checkpoints
from orion.models.document import read_document
from orion.stages import train
from orion.training import arguments as training_arguments
from orion.training import trainer

CONFIG = {
    "method": "full",
    "learning_rate": 1e30,
    "betas": [0.9, 0.98],
    "weight_decay": 0.0,
    "epochs": 1.0,
    "max_steps": 6,
    "batch_sequences": 1,
    # the first step's learning rate is 0
    "warmup_fraction": 0.1,
    "schedule": "linear",
    "max_grad_norm": 1.0,
    "dtype": "float32",
    "gradient_checkpointing": False,
    "seed": 1,
}


@pytest.fixture
def folder(tmp_path, document):
    """A copy of the random student with its model.json, and four packed sequences."""
    shutil.copytree(document.path, tmp_path / "student")
    write_document(tmp_path)
    ids = [[(7 * row + 3 * place) % 100 + 4 for place in range(16)] for row in range(4)]
    rows = [
        {
            "row": number,
            "input_ids": row,
            "labels": [-100] * 8 + row[8:],
            "position_ids": [*range(16)],
            "seq_lengths": [16],
        }
        for number, row in enumerate(ids)
    ]
    tables.write(tables.from_rows(rows, tables.PACKED), tmp_path / "packed", tables.PACKED, {})
    return tmp_path


def write_document(folder):
    found = checkpoints.checkpoint_document(folder / "student", name="tiny", dtype="float32")
    tables.write_json(found.as_json(), folder / "model.json", {})


def run(folder, **changes):
    paths = {"packed": "packed", "model": "model.json", "work": "work", "output-dir": "out/model"}
    paths |= {"output-model": "out/model.json", "log": "out/log.jsonl"}
    (folder / "out").mkdir(exist_ok=True)
    words = [word for name, path in paths.items() for word in (f"--{name}", str(folder / path))]
    train.main(["--config", json.dumps({**CONFIG, **changes}), "--name", "t", *words])


def find_checkpoints(folder):
    return sorted(path.name for path in folder.glob("work/*/checkpoint-*"))


LORA = {"r": 4, "alpha": 8, "dropout": 0.0, "target_modules": "all-linear"}


def spoil_loss(monkeypatch, steps, value=math.nan):
    """The losses of these optimiser steps become ``value``; each is computed as before."""
    real, seen = trainer.causal_lm_loss, []

    def compute(*args, **kwargs):
        seen.append(1)
        loss, metrics = real(*args, **kwargs)
        return (loss * value if len(seen) in steps else loss), metrics

    monkeypatch.setattr(trainer, "causal_lm_loss", compute)


def spoil_gradient(monkeypatch):
    """Every loss is finite, and no gradient is."""
    real = trainer.causal_lm_loss

    def compute(*args, **kwargs):
        loss, metrics = real(*args, **kwargs)
        loss.register_hook(lambda gradient: gradient * math.inf)
        return loss, metrics

    monkeypatch.setattr(trainer, "causal_lm_loss", compute)


def assert_nothing_is_published(folder):
    assert [path for path in folder.glob("out/*")] == []


def test_a_learning_rate_that_ruins_the_weights_stops_the_run(folder, monkeypatch):
    """Step 2 applies the rate of 1e30, step 3 shows it; checkpoint 2 was written between them."""
    monkeypatch.setattr(training_arguments, "SAVE_EVERY_STEPS", 1)
    message = (
        r"packed: the training stopped at step 3 of 6: loss is nan, grad_norm is nan, .*Nothing is "
        r"published; the last good checkpoint is .*checkpoint-1\. Lower train\.learning_rate "
        r"\(1e\+30\)"
    )
    with pytest.raises(InputError, match=message):
        run(folder)
    assert_nothing_is_published(folder)
    assert find_checkpoints(folder) == ["checkpoint-1"]
    kept = next(folder.glob("work/*/checkpoint-1/model.safetensors"))
    # at step 1 the learning rate was 0
    before = load_file(folder / "student/model.safetensors")
    assert all(torch.equal(value, before[name]) for name, value in load_file(kept).items())
    # the same command again ends the same way, from the checkpoint that was kept
    with pytest.raises(InputError, match=message):
        run(folder)


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_last_step_that_ruins_the_weights_publishes_nothing(folder, monkeypatch, method):
    monkeypatch.setattr(training_arguments, "SAVE_EVERY_STEPS", 1)
    with pytest.raises(
        InputError,
        match=r"ended with step 2, but spoiled the model: the loss is nan.*is .*checkpoint-1\. ",
    ):
        run(folder, max_steps=2, warmup_fraction=0.5, method=method, lora=LORA)
    assert_nothing_is_published(folder)
    assert find_checkpoints(folder) == ["checkpoint-1"]


def test_a_gradient_that_is_not_finite_stops_the_run(folder, monkeypatch):
    spoil_gradient(monkeypatch)
    with pytest.raises(
        InputError, match=r"step 1 of 6: grad_norm is (nan|inf)\. .*no good checkpoint yet"
    ):
        run(folder, learning_rate=1e-3)
    assert_nothing_is_published(folder)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_run_goes_on_from_the_last_good_checkpoint(folder, monkeypatch, value):
    """A fault of the machine at step 6: the same command ends as if it had not been."""
    monkeypatch.setattr(training_arguments, "SAVE_EVERY_STEPS", 2)
    run(folder, learning_rate=1e-3, max_steps=8)
    whole = {path.name: path.read_bytes() for path in folder.glob("out/model/*")}
    log = (folder / "out/log.jsonl").read_bytes()
    shutil.rmtree(folder / "out")
    with monkeypatch.context() as fault:
        spoil_loss(fault, steps={6}, value=value)
        with pytest.raises(InputError, match=f"step 6 of 8: loss is {value}.*checkpoint-4"):
            run(folder, learning_rate=1e-3, max_steps=8)
    assert_nothing_is_published(folder)
    # checkpoint 2 went when step 5 had shown that checkpoint 4 is good
    assert find_checkpoints(folder) == ["checkpoint-4"]
    run(folder, learning_rate=1e-3, max_steps=8)
    assert {path.name: path.read_bytes() for path in folder.glob("out/model/*")} == whole
    assert (folder / "out/log.jsonl").read_bytes() == log
    assert find_checkpoints(folder) == []


def test_a_run_that_ended_before_it_was_published_gets_no_further_step(folder, monkeypatch):
    """Seven steps are not whole passes over four sequences: the library would train an eighth."""
    run(folder, learning_rate=1e-3, max_steps=7)
    whole = {path.name: path.read_bytes() for path in folder.glob("out/model/*")}
    log = (folder / "out/log.jsonl").read_bytes()
    shutil.rmtree(folder / "out")
    with monkeypatch.context() as fault:
        fault.setattr(train.training_checkpoints, "publish", None)
        with pytest.raises(TypeError):
            run(folder, learning_rate=1e-3, max_steps=7)
    assert find_checkpoints(folder) == ["checkpoint-7"]
    run(folder, learning_rate=1e-3, max_steps=7)
    assert {path.name: path.read_bytes() for path in folder.glob("out/model/*")} == whole
    assert (folder / "out/log.jsonl").read_bytes() == log


def test_the_log_has_no_number_that_is_not_finite(folder):
    run(folder, learning_rate=1e-3)
    lines = (folder / "out/log.jsonl").read_text().splitlines()
    assert len(lines) == 6
    assert all(math.isfinite(value) for line in lines for value in json.loads(line).values())


SAMPLED = {"temperature": 0.6, "top_p": 0.95, "eos_token_id": [1, 0]}


@pytest.mark.parametrize(
    ("written", "saved"),
    [
        (SAMPLED, {**SAMPLED, "do_sample": True}),
        ({**SAMPLED, "do_sample": False}, {"do_sample": False, "eos_token_id": [1, 0]}),
        ({**SAMPLED, "do_sample": True}, {**SAMPLED, "do_sample": True}),
    ],
    ids=["unsaid", "greedy", "sampling"],
)
def test_a_generation_config_with_a_temperature_is_saved(folder, monkeypatch, written, saved):
    monkeypatch.setattr(training_arguments, "SAVE_EVERY_STEPS", 1)
    (folder / "student/generation_config.json").write_text(json.dumps(written))
    write_document(folder)
    run(folder, learning_rate=1e-3, max_steps=2)
    found = json.loads((folder / "out/model/generation_config.json").read_text())
    assert {key: value for key, value in found.items() if key in {*SAMPLED, "do_sample"}} == saved
    assert read_document(folder / "out/model.json").parameters


def test_a_generation_config_that_cannot_be_saved_is_refused_before_training(folder, monkeypatch):
    path = folder / "student/generation_config.json"
    path.write_text(json.dumps({"early_stopping": True, "eos_token_id": 1}))
    write_document(folder)
    monkeypatch.setattr(train, "run_training", None)
    with pytest.raises(
        InputError,
        match=r"student/generation_config\.json: a trained checkpoint could not be saved with it "
        r"\(GenerationConfig is invalid.*early_stopping.*correct the file",
    ):
        run(folder)
