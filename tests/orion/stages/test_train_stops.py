"""Trainings that are stopped, killed or without room: the same command ends with the same bytes."""

import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from functools import partial

import pytest

from orion.errors import InputError
from orion.models import training_checkpoints
from orion.stages import train
from orion.training import arguments as training_arguments
from orion.training import callbacks
from tests.helpers.training_processes import run_together
from tests.helpers.training_runs import (
    arguments,
    list_checkpoints,
    read_result,
    run,
    write_inputs,
)

METHODS = {
    "full": {},
    "muon": {"optimizer": "muon"},
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
STEPS = [[1], [3], [5], [8], [1, 2, 3, 4, 7]]
STOPS = [(method, steps) for method in METHODS for steps in STEPS if method != "muon"]


@pytest.mark.parametrize(("method", "steps"), [*STOPS, ("muon", [5])], ids=str)
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


def test_a_ceiling_on_hours_stops_it_and_a_higher_one_goes_on(folder, tmp_path, whole, capsys):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "watch_training", partial(train.watch_training, every_s=0.05))
        with pytest.raises(SystemExit) as end:
            run(folder, tmp_path, "--ceiling", '{"hours": 1e-5}')
    assert end.value.code == 128 + signal.SIGTERM
    said = capsys.readouterr().err
    assert "error: ceiling.hours = 1e-05 is reached" in said and "stopped by SIGTERM" in said
    # its time is spent although it has no result, so the next try is refused before it loads
    with pytest.raises(InputError, match=r"1e-05 is reached: .* this training is left to do"):
        run(folder, tmp_path, "--ceiling", '{"hours": 1e-5}')
    # completions and tokens are none of its business
    assert run(folder, tmp_path, "--ceiling", '{"hours": 1.0, "tokens": 1}') == whole["full"]
    assert len(list((tmp_path / "work/tries").iterdir())) == 1


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
    monkeypatch.setattr(training_arguments, "SAVE_EVERY_STEPS", 4)
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


def test_a_checkpoint_that_is_half_removed_is_not_taken(folder, tmp_path, whole, capsys):
    stop(folder, tmp_path, 3)
    stop(folder, tmp_path, 4)
    # the third is good, the fourth not proven yet
    assert list_checkpoints(tmp_path) == [3, 4]
    [newest] = tmp_path.glob("work/*/checkpoint-4")
    with pytest.MonkeyPatch.context() as patch:
        # the process ends here
        patch.setattr(training_checkpoints.shutil, "rmtree", lambda *_, **__: None)
        training_checkpoints.remove_checkpoint(newest)
    assert newest.is_dir()
    assert run(folder, tmp_path) == whole["full"]
    assert "checkpoint-3: step 3 of 8" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.pt", "rng_state.pth"])
def test_a_checkpoint_with_a_file_that_is_cut_off_is_not_taken(
    folder, tmp_path, whole, capsys, name
):
    """As after a loss of power."""
    stop(folder, tmp_path, 3)
    stop(folder, tmp_path, 4)
    [path] = tmp_path.glob(f"work/*/checkpoint-4/{name}")
    os.truncate(path, path.stat().st_size // 2)
    assert run(folder, tmp_path) == whole["full"]
    said = capsys.readouterr().err
    assert f"checkpoint-4 is not used: its {name} is cut off" in said
    assert "checkpoint-3: step 3 of 8" in said


def test_what_a_killed_process_left_of_the_output_is_removed(folder, tmp_path):
    dead = subprocess.Popen(["true"])
    dead.wait()
    left, other = (tmp_path / f".model.{pid}.partial" for pid in (dead.pid, os.getppid()))
    for part in (left, other):
        part.mkdir()
    run(folder, tmp_path)
    assert not left.exists() and other.is_dir()


# runs the stage, its work folder a file system of its own that is too small for two checkpoints
FULL = """
import json, subprocess, sys
from pathlib import Path
from orion.errors import InputError
from orion.stages import train

work, sizes, argv = Path(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3:]
work.mkdir()
for size in sizes:
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size + 8}k", "tmpfs", str(work)]
    subprocess.run(mount, check=True)
    messages = []
    for _ in range(2):
        try:
            train.main(argv)
            messages.append(None)
        except InputError as error:
            messages.append(str(error))
    found = {p.name: [f.name for f in p.iterdir()] for p in work.glob("*/checkpoint-*")}
    print(json.dumps([messages, found]), flush=True)
    subprocess.run(["mount", "-o", "remount,size=10m", str(work)], check=True)
    train.main(argv)
    print(json.dumps((work.parent / "log.jsonl").read_text()), flush=True)
    subprocess.run(["umount", str(work)], check=True)
"""


def can_mount():
    command = ["unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    is_there = shutil.which("unshare") is not None
    return is_there and subprocess.run(command, capture_output=True).returncode == 0


def test_a_full_disk_is_an_error_with_the_last_checkpoint_intact(folder, tmp_path, whole):
    """A real one: it is full in the weights, the optimiser's state, or the last small file."""
    if not can_mount():
        pytest.skip("this user cannot mount a file system in a namespace of its own")
    # a checkpoint takes 328 KiB: weights 92, optimiser 196, the rest in small files; the packed
    # rows and their index are 8 KiB more
    sizes = [200, 316, 324, 400, 500, 640, 652]
    argv = arguments(folder, tmp_path, "--save-minutes", "0")
    done = subprocess.run(
        ["unshare", "-rm", sys.executable, "-c", FULL, tmp_path / "work", json.dumps(sizes), *argv],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [json.loads(line) for line in done.stdout.splitlines() if line[0] in '["']
    for size, (messages, found), log in zip(sizes, lines[::2], lines[1::2], strict=True):
        if size < 328:
            step, then, kept = 1, "from the first step", []
        else:
            step, then, kept = 2, f"from {tmp_path}/work/", ["checkpoint-1"]
        for message in messages:
            assert f"/checkpoint-{step}: the checkpoint cannot be written (" in message
            assert "Make room on that disk; the same command then goes on " + then in message
            assert str(tmp_path / "work") in message and "packed" not in message
        assert list(found) == kept
        assert all({"trainer_state.json", "optimizer.pt"} <= {*files} for files in found.values())
        # with room, the same command goes on
        assert log.encode() == whole["full"]["log.jsonl"]
    assert read_result(tmp_path) == whole["full"]


@pytest.mark.parametrize("name", ["save_pretrained", "write_card", "write_log"])
def test_a_disk_that_is_full_when_the_result_is_published(folder, tmp_path, whole, name):
    owner = {"save_pretrained": training_checkpoints.checkpoints}.get(name, train)
    function = {"save_pretrained": "eos_ids"}.get(name, name)

    def fill(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, function, fill)
        message = (
            r"/model: the checkpoint cannot be written \(.*No space left on device; .* MB are free"
            r"\)\. Make room on that disk; the same command then goes on from .*checkpoint-8, which"
        )
        with pytest.raises(InputError, match=message):
            run(folder, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "log.jsonl") == ["work"]
    assert list_checkpoints(tmp_path) == [8]
    assert run(folder, tmp_path) == whole["full"]


def start(folder, out, *more, **changes):
    words = arguments(folder, out, *more, **changes)
    with open(out / "stderr", "ab") as stderr:
        return subprocess.Popen(
            [sys.executable, "-m", "orion.stages.train", *words],
            stderr=stderr,
            stdout=subprocess.DEVNULL,
        )


def test_the_command_exits_as_a_process_that_the_signal_ended(folder, tmp_path):
    process = start(folder, tmp_path, max_steps=100_000)
    give_up = time.monotonic() + 300
    while not list_checkpoints(tmp_path) and process.poll() is None and time.monotonic() < give_up:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(300) == 143
    last = list_checkpoints(tmp_path)[-1]
    said = (tmp_path / "stderr").read_text()
    assert f"stopped by SIGTERM after step {last} of 100000" in said and "Traceback" not in said


@pytest.mark.slow
@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_run_that_is_killed_at_random_instants_ends_with_the_same_bytes(folder, tmp_path, method):
    """SIGKILL five times per method, with a checkpoint after every step."""
    steps, instants = 150, random.Random(method)
    keys = {"method": method, "max_steps": steps}
    wanted = run(folder, tmp_path / "whole", "--save-minutes", "1000", **keys)
    out = tmp_path / "killed"
    words = arguments(folder, out, "--save-minutes", "0", **keys)
    job = {"words": words, "work": str(out / "work"), "processes": 1}
    # a step with its checkpoint takes about 30 ms
    killed = [{**job, "kill": instants.uniform(0, 0.3)} for _ in range(5)]
    *ran, last = run_together([*killed, job], tmp_path)
    for each in ran:
        assert each["ends"] == [-signal.SIGKILL], "the run ended before it could be killed"
    assert last["ends"] == [0], last["said"]
    assert read_result(out) == wanted
    print(f"killed after steps {[each['reached'] for each in ran]} of {steps}")
