"""The command with several processes: what torchrun starts, passes on and ends."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.helpers.training_runs import arguments, list_checkpoints, write_inputs

pytestmark = pytest.mark.slow

# Slurm's srun, on this machine: each task is a node
SRUN = """#!/bin/sh
[ "$1 $2 $3 $4" = "--nodes 2 --ntasks 2" ] || exit 9
shift 8
"$@" & echo $! >> "$PIDS"
"$@" & echo $! >> "$PIDS"
wait
exit 3
"""


@pytest.fixture(scope="module")
def folder(document, tmp_path_factory):
    folder = tmp_path_factory.mktemp("launch")
    write_inputs(folder, document.path)
    return folder


def start(folder, out, *more, **environment):
    words = arguments(folder, out, "--save-minutes", "0", *more, max_steps=100_000)
    with open(out / "stderr", "wb") as stderr:
        return subprocess.Popen(
            [sys.executable, "-m", "orion.stages.train", *words],
            env={**os.environ, **environment},
            stderr=stderr,
            stdout=subprocess.DEVNULL,
        )


def wait_for_checkpoint(process, out):
    give_up = time.monotonic() + 300
    while not list_checkpoints(out) and process.poll() is None and time.monotonic() < give_up:
        time.sleep(0.05)
    assert process.poll() is None, (out / "stderr").read_text()[-3000:]


def children(pid):
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_a_signal_to_torchrun_saves_once_and_is_its_exit_status(folder, tmp_path):
    process = start(folder, tmp_path, "--processes", "2")
    wait_for_checkpoint(process, tmp_path)
    workers = children(process.pid)
    # a scheduler may send it again
    for _ in range(2):
        process.send_signal(signal.SIGUSR1)
    assert process.wait(300) == 138
    said, last = (tmp_path / "stderr").read_text(), list_checkpoints(tmp_path)[-1]
    assert said.count("stopped by SIGUSR1") == 1 and "Traceback" not in said, said
    assert f"stopped by SIGUSR1 after step {last} of 100000, saved in " in said
    assert len(workers) == 2 and not any(Path(f"/proc/{pid}").exists() for pid in workers)


@pytest.mark.skipif("ORION_KILLS" not in os.environ, reason="ORION_KILLS is not set")
def test_nodes_of_a_slurm_job_and_a_torchrun_that_is_killed(folder, tmp_path):
    """Both torchruns meet; where one is killed its process ends with it, then the others."""
    (tmp_path / "srun").write_text(SRUN)
    (tmp_path / "srun").chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_ID": "7"}
    process = start(folder, tmp_path, "--nodes", "2", PIDS=str(tmp_path / "pids"), **environment)
    wait_for_checkpoint(process, tmp_path)
    torchruns = [int(line) for line in (tmp_path / "pids").read_text().split()]
    workers = [pid for each in torchruns for pid in children(each)]
    assert len(torchruns) == len(workers) == 2
    os.kill(torchruns[1], signal.SIGKILL)
    assert process.wait(300) == 3
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)
    assert not (tmp_path / "model").exists()
