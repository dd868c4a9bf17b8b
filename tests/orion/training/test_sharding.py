"""A training whose weights are shards in two processes against the same one on one process."""

import json
import os
import shutil
import signal

import polars as pl
import pytest
import torch

from orion import tables
from orion.errors import InputError
from orion.models import training_checkpoints
from orion.stages import train
from orion.training import sharding
from tests.helpers.training_processes import run_together
from tests.helpers.training_runs import (
    CONFIG,
    arguments,
    check_same_training,
    list_checkpoints,
    read_result,
    run,
    write_inputs,
)

pytestmark = pytest.mark.slow

LORA = {"method": "lora", "lora": {**CONFIG["lora"], "dropout": 0.0}, "dtype": "bfloat16"}
# a low rate: at 1e-2 these eight steps make 8e-5 of a norm's last bit, which the shards decide
HELD = {"loss_average": "document", "keep_best": True, "gradient_checkpointing": True}
HELD |= {"learning_rate": 2e-3}
# name → inputs, micro-batch, keys. Head and embeddings of `rows` share a weight, those of `held`
# do not. Of the five rows the last step of a pass has one alone, and so has a validation
EQUAL = {
    "full": ("rows", 1, {"weight_decay": 0.1, "max_grad_norm": 0.5}),
    "held": ("held", 1, HELD),
    "lora": ("rows", 2, {**LORA, "batch_sequences": 4}),
}
# the disk takes nothing of the shards of the second process
FULL_DISK = """
from torch.distributed.checkpoint import filesystem
real = filesystem.FileSystemWriter.write_data
def write(self, *args, **kwargs):
    if os.environ["RANK"] == "1":
        raise OSError(28, os.strerror(28))
    return real(self, *args, **kwargs)
filesystem.FileSystemWriter.write_data = write
"""
# what a process holds between two steps, of its weights and of its optimiser's states
COUNT = """
from orion.training.sharded_trainer import ShardedTrainer
from torch.distributed.tensor import DTensor
real = trainer.PackedTrainer.check_result
def count(self):
    whole = sum(each.numel() for each in self.model.parameters())
    here = sum(each.to_local().numel() for each in self.model.parameters())
    states = self.optimizer.optimizer.state.values()
    moments = sum(each["exp_avg"].to_local().numel() for each in states)
    print(f"holds {here / whole:.2f} and {moments / whole:.2f}", flush=True)
    real(self)
    assert all(isinstance(each, DTensor) for each in self.model.parameters())
ShardedTrainer.check_result = count
"""


@pytest.fixture(scope="module")
def folder(document, llama_document, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sharding")
    for name, student in (("rows", document), ("held", llama_document)):
        (folder / name).mkdir()
        write_inputs(folder / name, student.path)
    packed = tables.read(folder / "held/packed", tables.PACKED)
    marked = packed.with_columns(validation=pl.col("row") >= 2)
    tables.write(marked, folder / "held/packed", tables.PACKED, {})
    return folder


@pytest.fixture(scope="module")
def ran(folder):
    """Name → how each of two processes ended; all trainings of this module at once."""

    def job(out, inputs="rows", micro=1, *more, **keys):
        more = ("--sharding", "full", "--micro-batch", str(micro), *more)
        words = arguments(folder / inputs, folder / out, *more, **keys)
        return {"words": words, "work": str(folder / out / "work")}

    jobs = {
        name: job(f"two-{name}", inputs, micro, **keys)
        for name, (inputs, micro, keys) in EQUAL.items()
    }
    jobs["full"]["before"] = COUNT
    # the second step of the second pass; the second process alone gets the signal
    again = EQUAL["full"][2]
    jobs["stopped"] = {**job("resumed", **again), "signal": [1, 5, signal.SIGTERM]}
    jobs["resumed"] = job("resumed", **again)
    jobs["disk"] = {**job("disk", "rows", 1, "--save-minutes", "0"), "before": FULL_DISK}
    return dict(zip(jobs, run_together([*jobs.values()], folder), strict=True))


@pytest.mark.parametrize("name", EQUAL)
def test_two_processes_with_shards_give_what_one_gives(folder, ran, name):
    """The whole log, with its gradient norms and validations, and the greedy answers."""
    inputs, micro, keys = EQUAL[name]
    out, two = folder / f"one-{name}", folder / f"two-{name}"
    run(folder / inputs, out, "--micro-batch", str(micro), **keys)
    assert ran[name]["ends"] == [0, 0], ran[name]["said"]
    tolerance = 2e-2 if keys.get("dtype") == "bfloat16" else 1e-5
    check_same_training(out, two, steps=8, tolerance=tolerance)
    last = json.loads((two / "log.jsonl").read_text().splitlines()[-1])
    assert ("validation_loss" in last) == (name == "held")
    assert {path.name for path in (out / "model").iterdir()} == {
        path.name for path in (two / "model").iterdir()
    }
    assert list_checkpoints(two) == []


def test_each_process_holds_half(ran):
    first, second = ran["full"]["said"]
    assert "holds 0.50 and 0.50" in first and "holds 0.50 and 0.50" in second


def test_a_signal_to_one_process_stops_both_and_they_go_on_to_the_same_bytes(folder, ran):
    assert ran["stopped"]["ends"] == [143, 143], ran["stopped"]["said"]
    assert "stopped by SIGTERM after step 5 of 8, saved in " in ran["stopped"]["said"][0]
    assert "checkpoint-5: step 5 of 8" in ran["resumed"]["said"][0]
    assert ran["resumed"]["ends"] == [0, 0], ran["resumed"]["said"]
    assert read_result(folder / "resumed") == read_result(folder / "two-full")


def test_a_disk_that_is_full_for_one_process_stops_both(folder, ran):
    first, second = ran["disk"]["said"]
    assert ran["disk"]["ends"] == [2, 2] and second == ""
    assert "checkpoint-1: the checkpoint cannot be written (" in first
    assert list_checkpoints(folder / "disk") == []


def test_what_cannot_be_sharded_is_refused_before_anything_is_loaded(folder, tmp_path):
    def start(*more, **keys):
        train.main(arguments(tmp_path / "absent", tmp_path, "--sharding", "full", *more, **keys))

    with pytest.raises(InputError, match=r"sharding = full .* needs several processes"):
        start()
    for optimizer in ("adafactor", "muon"):
        with pytest.raises(InputError, match=rf"with adamw only: train\.optimizer = {optimizer} "):
            start("--processes", "2", optimizer=optimizer)


def test_a_run_that_saved_whole_weights_does_not_go_on_with_shards(tmp_path):
    saved = tmp_path / "checkpoint-3"
    saved.mkdir()
    (saved / "trainer_state.json").write_text('{"global_step": 3}')
    training_checkpoints.check_sharding(tmp_path, is_sharded=False)
    with pytest.raises(InputError, match=r"checkpoint-3 was saved with sharding = none .*set none"):
        training_checkpoints.check_sharding(tmp_path, is_sharded=True)
    (saved / "shards").mkdir()
    training_checkpoints.check_sharding(tmp_path, is_sharded=True)
    with pytest.raises(InputError, match=r"cannot go on with none; set full, or remove"):
        training_checkpoints.check_sharding(tmp_path, is_sharded=False)


@pytest.mark.filterwarnings("ignore:torch.distributed is disabled")
def test_shards_that_are_cut_off_are_not_taken(tmp_path):
    (tmp_path / "checkpoint-3/shards").mkdir(parents=True)
    (tmp_path / "checkpoint-3/trainer_state.json").write_text('{"global_step": 3}')
    model = torch.nn.Linear(2, 2)
    sharding.save(model, torch.optim.AdamW(model.parameters()), tmp_path / "checkpoint-3")
    training_checkpoints.remove_cut_checkpoints(tmp_path)
    assert training_checkpoints.newest_checkpoint(tmp_path) is not None
    for number, name in enumerate(("*.distcp", ".metadata"), start=4):
        later = tmp_path / f"checkpoint-{number}"
        shutil.copytree(tmp_path / "checkpoint-3", later)
        (later / "trainer_state.json").write_text(json.dumps({"global_step": number}))
        [place] = later.glob(f"shards/{name}")
        os.truncate(place, place.stat().st_size - 1)
        training_checkpoints.remove_cut_checkpoints(tmp_path)
        assert not later.exists()
    assert [*training_checkpoints.complete_checkpoints(tmp_path)] == [3]
