"""Trainings that are stopped, killed or without room: the same command ends with the same bytes."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest

from orion.errors import InputError
from orion.models import training_checkpoints
from orion.stages import train
from orion.training import callbacks, trainer
from tests.helpers.training_runs import (
    arguments,
    list_checkpoints,
    read_result,
    run,
    write_inputs,
)

METHODS = {
    "full": {},
    "lora": {"method": "lora"},
    "adapter": {
        "method": "lora",
        "lora": {
            "r": 4,
            "alpha": 8,
            "dropout": 0.2,
            "target_modules": "all-linear",
            "merge_adapter": False,
        },
    },
}


@pytest.fixture(scope="module")
def folder(document, tmp_path_factory):
    folder = tmp_path_factory.mktemp("stops")
    write_inputs(folder, document.path)
    return folder


@pytest.fixture(scope="module")
def whole(folder):
    """What uninterrupted runs write."""
    return {
        name: run(folder, folder / f"whole-{name}", **changes) for name, changes in METHODS.items()
    }


def signal_in_step(monkeypatch, step, number=signal.SIGTERM):
    """The process gets a signal in the first micro-batch of an optimiser step."""
    real, sent = train.PackedTrainer.training_step, []

    def training_step(self, *args, **kwargs):
        if self.state.global_step == step - 1 and not sent:
            sent.append(step)
            os.kill(os.getpid(), number)
        return real(self, *args, **kwargs)

    monkeypatch.setattr(train.PackedTrainer, "training_step", training_step)


def stop(folder, out, step, number=signal.SIGTERM, more=(), **changes):
    with pytest.MonkeyPatch.context() as patch:
        signal_in_step(patch, step, number)
        with pytest.raises(SystemExit) as end:
            run(folder, out, *more, **changes)
    assert end.value.code == 128 + number
    assert not (out / "model").exists() and not (out / "model.json").exists()


# three steps are a pass; 8 is the last step; a list is a run that is stopped again and again
@pytest.mark.parametrize("steps", [[1], [3], [5], [8], [1, 2, 3, 4, 7]], ids=str)
@pytest.mark.parametrize("method", METHODS)
def test_a_stopped_run_resumes_to_the_same_bytes(folder, tmp_path, whole, capsys, method, steps):
    changes = METHODS[method]
    for step in steps:
        stop(folder, tmp_path, step, **changes)
        assert list_checkpoints(tmp_path)[-1] == step
        said = capsys.readouterr().err
        assert f"stopped by SIGTERM after step {step} of 8, saved in {tmp_path}" in said
        assert "the same command goes on" in said
    assert run(folder, tmp_path, **changes) == whole[method]
    said = capsys.readouterr().err
    assert f"checkpoint-{steps[-1]}: step {steps[-1]} of 8" in said
    assert list_checkpoints(tmp_path) == []


def test_sigusr1_stops_too_and_the_handlers_are_put_back(folder, tmp_path, whole):
    before = {number: signal.getsignal(number) for number in callbacks.STOPPING}
    stop(folder, tmp_path, 2, signal.SIGUSR1)
    assert run(folder, tmp_path) == whole["full"]
    assert {number: signal.getsignal(number) for number in callbacks.STOPPING} == before


def send_from(monkeypatch, owner, name):
    """The process gets SIGTERM each time before a function of the stage is called."""
    real = getattr(owner, name)

    def call(*args, **kwargs):
        os.kill(os.getpid(), signal.SIGTERM)
        return real(*args, **kwargs)

    monkeypatch.setattr(owner, name, call)


def test_a_signal_during_a_save_costs_no_further_step(folder, tmp_path, whole):
    with pytest.MonkeyPatch.context() as patch:
        # a second signal comes with the next save, and does not interrupt it
        send_from(patch, train.PackedTrainer, "_save_optimizer_and_scheduler")
        send_from(patch, train.PackedTrainer, "_save_rng_state")
        with pytest.raises(SystemExit):
            run(folder, tmp_path, "--save-minutes", "0")
    assert list_checkpoints(tmp_path) == [1]
    assert run(folder, tmp_path) == whole["full"]


@pytest.mark.parametrize(
    ("owner", "name", "kept"),
    [
        (train, "check_kernels", []),
        (train.PackedTrainer, "check_result", [8]),
        (training_checkpoints, "_reset_attention", [8]),
        (train, "write_card", [8]),
    ],
    ids=["loading", "check", "publishing", "card"],
)
def test_a_signal_outside_the_steps_ends_at_once(
    folder, tmp_path, whole, capsys, owner, name, kept
):
    with pytest.MonkeyPatch.context() as patch:
        send_from(patch, owner, name)
        with pytest.raises(SystemExit) as end:
            run(folder, tmp_path)
    assert end.value.code == 143
    assert "SIGTERM outside the steps of the training" in capsys.readouterr().err
    assert list_checkpoints(tmp_path) == kept and not (tmp_path / "model.json").exists()
    assert not list(tmp_path.glob(".*"))
    with pytest.MonkeyPatch.context() as patch:
        if kept:
            # nothing is trained again
            patch.setattr(train.PackedTrainer, "training_step", None)
        assert run(folder, tmp_path) == whole["full"]


def test_checkpoints_by_minutes(folder, tmp_path, whole, monkeypatch):
    """With a step a minute, every two minutes; those by steps are counted in."""
    clock, saved = [0.0], []
    real_step, real_save = train.PackedTrainer.training_step, train.PackedTrainer._save_checkpoint

    def training_step(self, *args, **kwargs):
        clock[0] += 30.0
        return real_step(self, *args, **kwargs)

    def save(self, *args):
        saved.append(self.state.global_step)
        real_save(self, *args)

    monkeypatch.setattr(callbacks.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(train.PackedTrainer, "training_step", training_step)
    monkeypatch.setattr(train.PackedTrainer, "_save_checkpoint", save)
    # the last sequence of a pass is a step of one micro-batch: steps 3 and 6 take 30 s
    assert run(folder, tmp_path / "two", "--save-minutes", "2") == whole["full"]
    assert saved == [2, 5, 8]
    saved.clear()
    assert run(folder, tmp_path / "never", "--save-minutes", "1000") == whole["full"]
    assert saved == [8]
    saved.clear()
    monkeypatch.setattr(trainer, "SAVE_EVERY_STEPS", 4)
    assert run(folder, tmp_path / "both", "--save-minutes", "3") == whole["full"]
    assert saved == [4, 8]


@pytest.mark.parametrize("text", ["-1", "nan", "inf", "ten"])
def test_minutes_are_a_number(folder, tmp_path, text):
    with pytest.raises(SystemExit) as end:
        run(folder, tmp_path, "--save-minutes", text)
    assert end.value.code == 2


def test_the_log_says_steps_loss_speed_and_time(folder, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(callbacks, "LINE_EVERY_S", 0.0)
    stop(folder, tmp_path, 2)
    capfd.readouterr()
    run(folder, tmp_path)
    out, err = capfd.readouterr()
    lines = [line for line in err.splitlines() if line.startswith("steps: ")]
    assert [line.split(",")[0] for line in lines] == [f"steps: {n} of 8" for n in range(3, 9)]
    for part in ("per second", "tokens/s", "loss ", " s left"):
        assert all(part in line for line in lines), (part, lines)
    # 32 tokens per step; those of the first two steps were read in another process
    rate = float(lines[0].split(" tokens/s")[0].split(", ")[-1].replace(",", ""))
    speed = float(lines[0].split(" per second")[0].split(", ")[-1].replace(",", ""))
    assert rate == pytest.approx(16 * speed, rel=0.2)
    assert f"resuming from {tmp_path}" in err and "loss" not in out


def test_a_checkpoint_of_another_configuration_is_not_taken(folder, tmp_path, whole, capsys):
    stop(folder, tmp_path, 4, learning_rate=5e-3)
    assert run(folder, tmp_path) == whole["full"]
    assert "resuming" not in capsys.readouterr().err
    # and is still there for its own
    assert list_checkpoints(tmp_path) == [4]
    shutil.rmtree(tmp_path / "model")
    assert run(folder, tmp_path, learning_rate=5e-3) != whole["full"]
    assert "checkpoint-4: step 4 of 8" in capsys.readouterr().err


def test_a_checkpoint_that_is_half_removed_is_not_taken(folder, tmp_path, whole):
    stop(folder, tmp_path, 3)
    stop(folder, tmp_path, 4)
    assert list_checkpoints(tmp_path) == [4]
    [newest] = tmp_path.glob("work/*/checkpoint-4")
    with pytest.MonkeyPatch.context() as patch:
        # the process ends here
        patch.setattr(training_checkpoints.shutil, "rmtree", lambda *_, **__: None)
        training_checkpoints.remove_checkpoint(newest)
    assert newest.is_dir()
    assert run(folder, tmp_path) == whole["full"]


# a folder of each size in a file system of its own: the second checkpoint does not fit
FULL = """
import json, subprocess, sys
from pathlib import Path
from orion.errors import InputError
from orion.stages import train

work, sizes, argv = Path(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3:]
work.mkdir(exist_ok=True)
for size in sizes:
    place = str(work)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place], check=True)
    try:
        train.main(argv)
        message = None
    except InputError as error:
        message = str(error)
    found = {p.name: sorted(f.name for f in p.iterdir()) for p in work.glob("*/checkpoint-*")}
    print(json.dumps([message, found]))
    subprocess.run(["umount", place], check=True)
"""


def can_mount():
    return (
        shutil.which("unshare") is not None
        and subprocess.run(
            ["unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True
        ).returncode
        == 0
    )


@pytest.mark.slow
def test_a_full_disk_is_an_error_with_the_last_checkpoint_intact(folder, tmp_path, whole):
    if not can_mount():
        pytest.skip("no file system can be mounted here without rights")
    raise NotImplementedError
