"""Child processes: the GPUs of shards, how shards end, and SIGTERM."""

import os
import signal
import subprocess
import sys
import time

import pytest

from orion import processes


def test_gpus_are_divided_whole(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6,7,2")
    assert processes.split_devices(2) == ["4,5", "6,7"]
    assert processes.split_devices(5) == ["4", "5", "6", "7", "2"]
    assert processes.split_devices(6) == []
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert processes.split_devices(2) == []


SHARD = """
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


def start_shards(folder):
    """A process that runs two shards, once both have begun."""
    (folder / "shard.py").write_text(SHARD)
    code = "from orion import processes; processes.run_shards('shard', [], 2)"
    path = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
    parent = subprocess.Popen(
        [sys.executable, "-c", code], cwd=folder, env={**os.environ, "PYTHONPATH": path}
    )
    wait_for(folder, "begun-*")
    return parent


def wait_for(folder, pattern):
    """Wait for two files of this pattern and return their names."""
    deadline = time.monotonic() + 600
    while len(found := sorted(path.name for path in folder.glob(pattern))) < 2:
        assert time.monotonic() < deadline, found
        time.sleep(0.02)
    return found


def test_shards_are_told_to_end_and_waited_for(tmp_path):
    """Shards store what they have, and their GPUs are free, when the parent is gone."""
    parent = start_shards(tmp_path)
    parent.send_signal(signal.SIGTERM)
    assert parent.wait(600) == 128 + signal.SIGTERM
    assert sorted(p.name for p in tmp_path.glob("stored-*")) == ["stored-0-of-2", "stored-1-of-2"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="prctl is a call of Linux")
def test_shards_end_when_their_parent_is_killed(tmp_path):
    parent = start_shards(tmp_path)
    parent.kill()
    parent.wait(600)
    assert wait_for(tmp_path, "stored-*") == ["stored-0-of-2", "stored-1-of-2"]


def test_sigterm_becomes_system_exit_and_the_handler_is_restored():
    def terminate():
        with processes.sigterm_raises_system_exit():
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(60)

    with pytest.raises(SystemExit) as end:
        terminate()
    assert end.value.code == 128 + signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_handler_of_sigterm_that_is_already_set_stays():
    def handle(number, frame):
        pass

    before = signal.signal(signal.SIGTERM, handle)
    try:
        with processes.sigterm_raises_system_exit():
            assert signal.getsignal(signal.SIGTERM) is handle
    finally:
        signal.signal(signal.SIGTERM, before)


FAULTS = """
import resource, sys, torch
from orion.processes import keep_freed_memory

print(keep_freed_memory() if sys.argv[1] == "keep" else None)
for turn in range(5):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [torch.ones(size << 20, dtype=torch.uint8) for size in (96, 64, 40)]
    del blocks
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def count_faults(how, **more):
    done = subprocess.run(
        [sys.executable, "-c", FAULTS, how],
        env={**os.environ, **more},
        capture_output=True,
        text=True,
        check=True,
    )
    kept, *faults = done.stdout.split()
    return kept, [int(each) for each in faults]


@pytest.mark.skipif(sys.platform != "linux", reason="glibc only")
def test_freed_memory_is_kept_for_the_next_allocation():
    kept, faults = count_faults("keep")
    if kept == "False":
        pytest.skip("the environment chooses the allocator's settings, or it is not glibc's")
    _, plain = count_faults("")
    # at first the pages are new, later the plain process alone pays for them again
    assert faults[0] > 10 * faults[-1] and plain[-1] > 10 * faults[-1]
    assert count_faults("keep", MALLOC_ARENA_MAX="2")[0] == "False"
