"""The cell store with several processes at once, and with processes that are killed."""

import re
import signal
import subprocess
import sys
import time

import pytest

from orion import completions
from tests.helpers.fake_engine import MODEL, child, keys, leftovers, run, wanted

FLUSHING = """
import os, signal, sys
from orion import completions
from orion.completions import parts
from orion.engines import Completion

store = completions.CompletionStore(sys.argv[1], MODEL["digest"])
store.append([Completion("a" * 64, "kept", "stop", 1, 1)])
moment = sys.argv[2]
if moment == "opened":
    parts.pq.ParquetWriter = lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL)
elif moment == "written":
    os.fsync = lambda *a: os.kill(os.getpid(), signal.SIGKILL)
elif moment == "named":
    os.replace = lambda *a: os.kill(os.getpid(), signal.SIGKILL)
store.append([Completion("b" * 64, "lost", "stop", 1, 1)])
"""


@pytest.mark.parametrize("moment", ["opened", "written", "named"])
def test_sigkill_in_the_middle_of_a_flush_leaves_what_was_flushed_before(tmp_path, moment):
    process = child(FLUSHING, tmp_path, moment)
    assert process.wait() == -signal.SIGKILL
    store = completions.CompletionStore(tmp_path, MODEL["digest"])
    assert [name.endswith(".partial") for name in leftovers(tmp_path)] == [True]
    assert store.get(keys([int("a" * 64, 16), int("b" * 64, 16)]))["response"].to_list() == ["kept"]


SLOW = """
import sys, time
import polars as pl
from orion import completions
from orion.engines import Completion

class Slow:
    # no process that waits to be killed ends before, however late the signal comes
    hold = int(sys.argv[4])

    def generate(self, requests):
        for n, request in enumerate(requests):
            if n == self.hold:
                sys.stdin.read()
            time.sleep(0.002)
            print(n + 1, flush=True)
            yield Completion(request.key, f"{request.prompt} {request.seed}", "stop", len(request.prompt), 7)

frame = completions.complete(pl.read_parquet(sys.argv[1]), document=MODEL, generation=GENERATION, root=sys.argv[2], flush_every=10,
                       flush_seconds=1e9, open_engine=lambda *args, **speed: Slow())
frame.write_parquet(sys.argv[3])
"""


@pytest.mark.parametrize("moment", [1, 34, 150])
def test_sigkill_loses_at_most_the_unflushed_cells(tmp_path, moment):
    request_table = wanted(200, 1)
    request_table.write_parquet(tmp_path / "requests.parquet")
    process = child(
        SLOW, tmp_path / "requests.parquet", tmp_path / "cells", tmp_path / "table", moment + 40
    )
    generated = 0
    for line in process.stdout:
        generated = int(line)
        if generated == moment:
            # some way into the next cell or flush
            time.sleep(0.001)
            process.send_signal(signal.SIGKILL)
            break
    generated = max([generated, *map(int, process.stdout.read().split())])
    assert process.wait() == -signal.SIGKILL
    frame, n = run(request_table, tmp_path / "cells")
    stored = 200 - n
    assert stored % 10 == 0 and generated - 10 <= stored <= generated < 200
    assert frame.equals(run(request_table, tmp_path / "fresh")[0])


def test_sigterm_stores_everything_that_was_generated(tmp_path):
    request_table = wanted(200, 1)
    request_table.write_parquet(tmp_path / "requests.parquet")
    process = child(
        SLOW.replace("flush_every=10", "flush_every=1000"),
        tmp_path / "requests.parquet",
        tmp_path / "cells",
        "",
        100,
    )
    generated = [process.stdout.readline() for _ in range(23)]
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGTERM)
    generated += process.stdout.readlines()
    assert process.wait() == 128 + signal.SIGTERM
    # the one that was on its way when the signal came is not counted
    assert (
        len(generated) - 1
        <= 200 - run(request_table, tmp_path / "cells")[1]
        <= len(generated)
        < 200
    )


def test_two_runs_of_the_same_cells_at_once_end_alike(tmp_path):
    wanted(150, 1).write_parquet(tmp_path / "requests.parquet")
    tables_of_both = [tmp_path / "one", tmp_path / "two"]
    both = [
        child(SLOW, tmp_path / "requests.parquet", tmp_path / "cells", path, "-1")
        for path in tables_of_both
    ]
    counts = [len(process.stdout.read().split()) for process in both]
    assert [process.wait() for process in both] == [0, 0] and max(counts) == 150
    assert tables_of_both[0].read_bytes() == tables_of_both[1].read_bytes()
    store = completions.CompletionStore(tmp_path / "cells", MODEL["digest"])
    frame, n = run(wanted(150, 1), tmp_path / "cells")
    assert n == 0 and frame["cell"].n_unique() == 150 and store.get(frame).height == 150


WRITER = """
import sys
from orion import completions
from orion.engines import Completion

store = completions.CompletionStore(sys.argv[1], MODEL["digest"])
print("ready", flush=True)
sys.stdin.read(1)
for part in range(int(sys.argv[2]), int(sys.argv[2]) + 20):
    store.append([Completion(f"{n:064x}", f"answer {n}", "stop", 1, 1) for n in range(part * 10, part * 10 + 10)])
"""


def test_processes_append_at_once(tmp_path):
    # the ranges overlap by half: both pay for the parts 10..19
    writers = [child(WRITER, tmp_path, start) for start in (0, 10)]
    assert [writer.stdout.readline() for writer in writers] == ["ready\n"] * 2
    for writer in writers:
        writer.stdin.close()
    assert [writer.wait() for writer in writers] == [0, 0]
    store = completions.CompletionStore(tmp_path, MODEL["digest"])
    found = store.get(keys(range(400))).sort("cell")
    assert found["response"].to_list() == [f"answer {n}" for n in range(300)]
    assert len(store.parts()) == 30
    assert not list(store.folder.glob(".*"))


def test_the_benchmark_runs_and_finds_its_own_answers_right(root):
    command = [
        sys.executable,
        str(root / "bench" / "cells.py"),
        "--quick",
        "--completions",
        "20000",
    ]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stdout.startswith("20,000 cells in 1 parts, ") and "us a cell" in done.stdout
    assert re.search(r"which of +10,000 keys are missing +[0-9.]+ s +[0-9.]+ GiB peak", done.stdout)
