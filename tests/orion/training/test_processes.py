"""A training on two processes against the same one on one process."""

import json
import os
import random
import signal

import polars as pl
import pytest

from orion import tables
from orion.errors import InputError
from orion.stages import train
from orion.training.packed_rows import PADDING, PaddedOrder, collate_packed
from orion.training.settings import split_batch
from tests.helpers.packing import pack_documents, stored_rows
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

# minutes of work, so that they run where they are asked for
KILLS = int(os.environ.get("ORION_KILLS", "0"))
LORA = {"method": "lora", "lora": {**CONFIG["lora"], "dropout": 0.0}}
DROPOUT = {"method": "lora", "neftune_noise_alpha": 1.0}
HELD = {"loss_average": "document", "keep_best": True, "gradient_checkpointing": True}
# name → inputs, micro-batch, keys. Of the five rows the last step of a pass has one alone
EQUAL = {
    "full": ("rows", 1, {}),
    "muon": ("rows", 1, {"optimizer": "muon"}),
    "lora": ("rows", 1, LORA),
    "held": ("held", 1, HELD),
    "wide": ("rows", 2, {"batch_sequences": 4, "dtype": "bfloat16"}),
}
# the disk takes nothing more of the second process
FULL_DISK = """
real = trainer.Trainer._save_rng_state
def save(self, folder):
    if self.args.process_index == 1:
        raise OSError(28, os.strerror(28))
    real(self, folder)
trainer.Trainer._save_rng_state = save
"""


@pytest.fixture(scope="module")
def folder(document, tmp_path_factory):
    folder = tmp_path_factory.mktemp("processes")
    for name in ("rows", "held"):
        (folder / name).mkdir()
        write_inputs(folder / name, document.path)
    packed = tables.read(folder / "held/packed", tables.PACKED)
    marked = packed.with_columns(validation=pl.col("row") >= 3)
    tables.write(marked, folder / "held/packed", tables.PACKED, {})
    return folder


@pytest.fixture(scope="module")
def ran(folder):
    """Name → how each of two processes ended; all trainings of this module at once."""

    def job(out, *more, inputs="rows", **keys):
        words = arguments(folder / inputs, folder / out, *more, **keys)
        return {"words": words, "work": str(folder / out / "work")}

    jobs = {
        name: job(f"two-{name}", "--micro-batch", str(micro), inputs=inputs, **keys)
        for name, (inputs, micro, keys) in EQUAL.items()
    }
    jobs["dropout"] = job("dropout", **DROPOUT)
    # the second step of the second pass; the second process alone gets the signal
    jobs["stopped"] = {**job("resumed", **DROPOUT), "signal": [1, 5, signal.SIGTERM]}
    jobs["resumed"] = job("resumed", **DROPOUT)
    jobs["killed"] = {**job("again", "--save-minutes", "0", max_steps=60), "kill": 0.05}
    jobs["again"] = job("again", max_steps=60)
    jobs["whole"] = job("whole", max_steps=60)
    jobs["spoiled"] = job("spoiled", learning_rate=1e30)
    jobs["disk"] = {**job("disk", "--save-minutes", "0"), "before": FULL_DISK}
    jobs["odd"] = job("odd", batch_sequences=3)
    return dict(zip(jobs, run_together([*jobs.values()], folder), strict=True))


@pytest.mark.parametrize("name", EQUAL)
def test_two_processes_give_what_one_gives(folder, ran, name):
    """The whole log, numbers of the last short step of a pass too, and the greedy answers."""
    inputs, micro, keys = EQUAL[name]
    out = folder / f"one-{name}"
    run(folder / inputs, out, "--micro-batch", str(micro), **keys)
    assert ran[name]["ends"] == [0, 0], ran[name]["said"]
    two = folder / f"two-{name}"
    tolerance = 2e-2 if keys.get("dtype") == "bfloat16" else 1e-5
    check_same_training(out, two, steps=8, tolerance=tolerance)
    last = json.loads((two / "log.jsonl").read_text().splitlines()[-1])
    assert ("validation_loss" in last) == (name == "held")
    assert list_checkpoints(two) == []


def test_one_process_speaks_for_both(ran):
    first, second = ran["full"]["said"]
    assert first.count("kernels: ") == 1 and "Traceback" not in first + second
    assert second == ""


def test_a_signal_to_one_process_stops_both_and_they_go_on_to_the_same_bytes(folder, ran):
    """With dropout and noise, which each process draws for itself."""
    assert ran["stopped"]["ends"] == [143, 143]
    first, second = ran["stopped"]["said"]
    assert "stopped by SIGTERM after step 5 of 8, saved in " in first and second == ""
    assert "checkpoint-5: step 5 of 8" in ran["resumed"]["said"][0]
    assert ran["resumed"]["ends"] == ran["dropout"]["ends"] == [0, 0]
    assert read_result(folder / "resumed") == read_result(folder / "dropout")


def test_killed_processes_go_on_to_the_same_bytes(folder, ran):
    assert ran["killed"]["ends"] == [-9, -9] and 0 < ran["killed"]["reached"] < 60
    assert "resuming from " in ran["again"]["said"][0]
    assert read_result(folder / "again") == read_result(folder / "whole")


def test_a_loss_that_is_not_finite_stops_both_with_one_message(folder, ran):
    first, second = ran["spoiled"]["said"]
    assert ran["spoiled"]["ends"] == [2, 2] and second == ""
    assert first.count("error: ") == 1 and "the training stopped at step " in first
    assert not (folder / "spoiled/model.json").exists()


def test_a_disk_that_is_full_for_one_process_stops_both(folder, ran):
    first, second = ran["disk"]["said"]
    assert ran["disk"]["ends"] == [2, 2] and second == ""
    assert "checkpoint-1: the checkpoint cannot be written (" in first
    assert list_checkpoints(folder / "disk") == []


def test_processes_that_do_not_divide_the_batch_are_refused(folder, ran):
    assert ran["odd"]["ends"] == [2, 2] and not (folder / "odd/work").exists()
    message = "3 processes .* do not divide train.batch_sequences = 8, .*choose a divisor of 8"
    with pytest.raises(InputError, match=message):
        train.main(arguments(folder / "rows", folder / "3", "--processes", "3", batch_sequences=8))
    with pytest.raises(InputError, match=r"micro_batch = 2 on each of 2 processes .*divisor of 3"):
        split_batch(6, 2, 2)
    with pytest.raises(InputError, match="at least 1 of each"):
        train.main(arguments(folder / "rows", folder / "3", "--processes", "0"))
    with pytest.raises(InputError, match=r"nodes = 2 .* needs a Slurm job"):
        train.main(arguments(folder / "rows", folder / "3", "--nodes", "2"))
    assert split_batch(8, 4, 4) == (2, 1) and split_batch(8, 1, 2) == (1, 4)


def test_each_row_of_a_pass_is_taken_once():
    """However many processes there are; padding is in the end."""
    orders = []
    for multiple in (1, 2, 3, 8):
        order = PaddedOrder(5, multiple, seed=3)
        order.set_epoch(1)
        places = list(order)
        assert len(places) == len(order) and len(places) % multiple == 0
        orders.append(places[:5])
        assert set(places[5:]) <= {None}
    assert sorted(orders[0]) == [0, 1, 2, 3, 4] and all(each == orders[0] for each in orders)


def test_padding_has_no_target(tmp_path):
    rows = stored_rows(pack_documents([([5, 6], [-100, 6])], 4, tmp_path), tmp_path)
    row = rows[0]
    assert rows[None] is PADDING
    both = collate_packed([row, PADDING])
    assert both["input_ids"].tolist() == [[5, 6]] and "padding" not in both
    alone = collate_packed([PADDING, PADDING], loss_average="document")
    assert alone["padding"] and alone["valid_index"].numel() == 0
    assert alone["trained_documents"].eq(-100).all()


@pytest.mark.skipif(KILLS == 0, reason="ORION_KILLS, the number of kills, is not set")
@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("method", ["full", "lora"])
def test_random_kills(folder, tmp_path, method, processes):
    """SIGKILL to all processes at random instants, with a checkpoint after every step."""
    kills, steps = KILLS, 150
    instants = random.Random(f"{method} {processes}")
    keys = {"method": method, "max_steps": steps}

    def job(out, *more):
        words = arguments(folder / "rows", tmp_path / out, *more, **keys)
        return {"words": words, "work": str(tmp_path / out / "work"), "processes": processes}

    killed = job("killed", "--save-minutes", "0")
    jobs = [{**killed, "kill": instants.uniform(0, 0.3)} for _ in range(kills)]
    ran = run_together([*jobs, killed, job("whole", "--save-minutes", "1000")], tmp_path)
    assert [each["ends"] for each in ran[:kills]] == [[-9] * processes] * kills
    assert ran[kills]["ends"] == ran[-1]["ends"] == [0] * processes
    assert read_result(tmp_path / "killed") == read_result(tmp_path / "whole")
    print(f"killed after steps {[each['reached'] for each in ran[:kills]]} of {steps}")
