"""The cell store: what is paid for once is kept, whatever happens to the process."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from orion import cells, tables
from orion.engines import Completion

MODEL = {"digest": "ab" * 32, "context_length": 512}
GENERATION = {
    "k": 2,
    "temperature": 0.8,
    "top_p": 1.0,
    "repetition_penalty": 1.0,
    "max_tokens": 64,
    "seed": 0,
    "engine": "transformers",
}


class Fake:
    """An engine whose answers follow from the seed; it remembers what it was asked."""

    def __init__(self, finish=lambda request: "stop"):
        self.finish = finish
        self.asked: list[str] = []
        self.opened = 0

    def open(self, kind, model_doc, sampling, **speed) -> "Fake":
        self.opened += 1
        self.max_tokens = sampling.max_tokens
        return self

    def generate(self, requests) -> Iterator[Completion]:
        for request in sorted(requests, key=lambda r: r.seed):
            self.asked.append(request.key)
            reason = self.finish(request)
            text = f"{request.prompt} {request.seed}" if reason in ("stop", "length") else ""
            yield Completion(request.key, text, reason, len(request.prompt), 7 if text else 0)


def wanted(problems: int, k: int, prompt: str = "solve {}") -> pl.DataFrame:
    rows = [(f"p{i:03}", j, "solve", prompt.format(i)) for i in range(problems) for j in range(k)]
    schema = {"problem_id": pl.String, "sample_id": pl.Int64, "prompt_id": pl.String, "prompt": pl.String}
    return pl.DataFrame(rows, schema=schema, orient="row")


def run(
    requests: pl.DataFrame, root: Path, engine: Fake | None = None, model=MODEL, **changes
) -> tuple[pl.DataFrame, int]:
    """The completed table and the number of cells generated for it."""
    engine = engine or Fake()
    generation = {**GENERATION, **{k: v for k, v in changes.items() if k in GENERATION}}
    speed = {k: v for k, v in changes.items() if k not in GENERATION}
    frame = cells.complete(
        requests, model_doc=model, generation=generation, root=root, open_engine=engine.open, **speed
    )
    return frame, len(engine.asked)


def test_a_key_is_what_decides_a_completion_and_nothing_else():
    base = {"model_digest": "m", "prompt": "p", "sampling": {"seed": 0, "top_p": 1.0}, "engine": "e", "sample_index": 0}
    changes = {
        "model_digest": "n",
        "prompt": "q",
        "sampling": {"seed": 1, "top_p": 1.0},
        "engine": "f",
        "sample_index": 1,
    }
    keys = {cells.cell_key(**base), *(cells.cell_key(**{**base, name: value}) for name, value in changes.items())}
    assert len(keys) == 6 and all(len(key) == 64 for key in keys)
    assert cells.cell_key(**base) == cells.cell_key(**{**base, "sampling": {"top_p": 1.0, "seed": 0}})
    seeds = {cells.cell_seed(key) for key in keys}
    assert len(seeds) == 6 and all(0 <= seed < 2**63 for seed in seeds)
    assert cells.cell_seed("f" * 64) == 2**63 - 1


def test_the_second_run_generates_nothing_and_opens_no_engine(tmp_path):
    first, n = run(wanted(10, 2), tmp_path)
    assert n == 20
    engine = Fake()
    second, n = run(wanted(10, 2), tmp_path, engine)
    assert (n, engine.opened) == (0, 0)
    assert second.equals(first)
    assert tables.check(first, tables.SAMPLES, rows=20).equals(first)


@pytest.mark.parametrize(
    ("request_table", "changes", "new"),
    [
        (wanted(10, 4), {"k": 4}, 20),
        (wanted(13, 2), {}, 6),
        (wanted(5, 1), {}, 0),
        (wanted(10, 2, "Solve {}"), {}, 20),
        (wanted(10, 2), {"temperature": 0.7}, 20),
        (wanted(10, 2), {"top_p": 0.9}, 20),
        (wanted(10, 2), {"max_tokens": 65}, 20),
        (wanted(10, 2), {"repetition_penalty": 1.1}, 20),
        (wanted(10, 2), {"seed": 1}, 20),
        (wanted(10, 2), {"temperature": 0.8, "k": 99, "flush_every": 3}, 0),
        (wanted(10, 2), {"model": {**MODEL, "digest": "ab" * 31 + "00"}}, 20),
    ],
    ids=["k", "problems", "fewer", "template", "temperature", "top_p", "length", "penalty", "seed", "speed", "model"],
)
def test_a_change_costs_exactly_the_cells_it_touches(tmp_path, request_table, changes, new):
    run(wanted(10, 2), tmp_path)
    frame, n = run(request_table, tmp_path, **changes)
    assert n == new
    assert frame.equals(run(request_table, tmp_path / "fresh", **changes)[0])


def test_equal_prompts_are_different_samples_and_more_of_them_keep_the_first(tmp_path):
    def asked(k):
        # two prompts a problem, sample_id = prompt index * k + i, as reflections number them
        rows = [("p", prompt * k + i, "x", f"prompt {prompt}") for prompt in range(2) for i in range(k)]
        return pl.DataFrame(rows, schema=wanted(1, 1).schema, orient="row")

    frame, n = run(asked(2), tmp_path)
    assert n == 4 and frame["cell"].n_unique() == 4
    _, n = run(asked(3), tmp_path)
    assert n == 2
    same = wanted(3, 2, "one text")
    frame, n = run(same, tmp_path)
    assert n == 6 and frame["response"].n_unique() == 6


def test_errors_and_long_prompts_are_rows_but_not_stored(tmp_path):
    request_table = wanted(4, 1)
    reasons = {"solve 1": "error", "solve 2": "prompt_too_long", "solve 3": "length"}
    engine = Fake(lambda request: reasons.get(request.prompt, "stop"))
    frame, _ = run(request_table, tmp_path, engine)
    assert frame["finish_reason"].to_list() == ["stop", "error", "prompt_too_long", "length"]
    frame, n = run(request_table, tmp_path)
    assert n == 2
    assert frame["finish_reason"].to_list() == ["stop", "stop", "stop", "length"]


def test_a_shorter_context_does_not_reuse_cells_it_has_no_room_for(tmp_path):
    # the fake engine counts a letter as a token: 'solve 0' is 7 of them
    run(wanted(3, 1), tmp_path)
    assert run(wanted(3, 1), tmp_path, model={**MODEL, "context_length": 71})[1] == 0
    assert run(wanted(3, 1), tmp_path, model={**MODEL, "context_length": 70})[1] == 3


def test_no_requests(tmp_path):
    engine = Fake()
    frame, _ = run(pl.DataFrame([]), tmp_path, engine)
    assert frame.schema == pl.Schema(tables.SAMPLES.columns) and engine.opened == 0


def test_flushes_by_number_and_by_time(tmp_path):
    run(wanted(25, 1), tmp_path / "number", flush_every=10)
    assert len(cells.CellStore(tmp_path / "number", MODEL["digest"]).parts()) == 3
    run(wanted(25, 1), tmp_path / "time", flush_every=10**6, flush_seconds=0.0)
    assert len(cells.CellStore(tmp_path / "time", MODEL["digest"]).parts()) == 25


class Breaking(Fake):
    def generate(self, requests):
        for n, completion in enumerate(super().generate(requests)):
            if n == 6:
                raise KeyboardInterrupt
            yield completion


def test_what_was_generated_before_an_exception_is_kept(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(wanted(10, 1), tmp_path, Breaking(), flush_every=100)
    assert run(wanted(10, 1), tmp_path)[1] == 4


def test_an_engine_that_answers_something_else_is_found_out(tmp_path):
    class Silent(Fake):
        def generate(self, requests):
            yield from list(super().generate(requests))[1:]

    class Chatty(Fake):
        def generate(self, requests):
            first = next(super().generate(requests))
            yield from (first, first)

    with pytest.raises(RuntimeError, match="left 1 of 5 requests without an answer"):
        run(wanted(5, 1), tmp_path, Silent())
    assert run(wanted(5, 1), tmp_path)[1] == 1
    with pytest.raises(RuntimeError, match="not asked or is answered already"):
        run(wanted(2, 1, "again {}"), tmp_path, Chatty())


@pytest.mark.parametrize("damage", ["truncated", "empty", "overwritten", "footer"])
def test_a_damaged_part_is_set_aside_and_only_its_cells_generated_again(tmp_path, capsys, damage):
    frame, _ = run(wanted(20, 1), tmp_path, flush_every=5)
    store = cells.CellStore(tmp_path, MODEL["digest"])
    victim = store.parts()[1]
    content = victim.read_bytes()
    half = len(content) // 2
    broken = {
        "truncated": content[:half],
        "empty": b"",
        "overwritten": content[:4] + b"\0" * half + content[4 + half :],
        "footer": content[:-8],
    }
    victim.write_bytes(broken[damage])
    capsys.readouterr()
    again, n = run(wanted(20, 1), tmp_path)
    assert n == 5 and again.equals(frame)
    message = capsys.readouterr().err
    assert f"{victim} is damaged" in message and "set aside as" in message and "generated again" in message
    assert victim.with_name(victim.name + ".damaged").exists()
    assert run(wanted(20, 1), tmp_path)[1] == 0


def test_two_answers_to_one_cell_resolve_alike_whoever_wrote_first(tmp_path):
    one, two = (Completion("c" * 64, text, "stop", 1, 1) for text in ("one", "two"))
    found = []
    for name, order in (("a", (one, two)), ("b", (two, one))):
        store = cells.CellStore(tmp_path / name, MODEL["digest"])
        for completion in order:
            store.append([completion])
        found.append(store.lookup(pl.DataFrame({"cell": ["c" * 64, "d" * 64]})))
    assert found[0].equals(found[1]) and found[0]["response"].to_list() == ["one"]


def test_a_part_that_is_being_written_is_not_read(tmp_path):
    store = cells.CellStore(tmp_path, MODEL["digest"])
    part = store.append([Completion("c" * 64, "text", "stop", 1, 1)])
    assert store.append([Completion("d" * 64, "", "error", 1, 0)]) is None
    (store.folder / f".{part.name}.123.partial").write_bytes(b"PAR1")
    assert store.parts() == [part]
    assert store.lookup(pl.DataFrame({"cell": ["c" * 64]})).height == 1


CHILD = """
import sys, time
import polars as pl
from orion import cells
from orion.engines import Completion

class Slow:
    def generate(self, requests):
        for n, request in enumerate(requests):
            time.sleep(0.002)
            print(n + 1, flush=True)
            yield Completion(request.key, f"{request.prompt} {request.seed}", "stop", len(request.prompt), 7)

cells.complete(pl.read_parquet(sys.argv[1]), model_doc=MODEL, generation=GENERATION, root=sys.argv[2], flush_every=10,
               open_engine=lambda *args, **speed: Slow())
"""


def child(code: str, *args) -> subprocess.Popen:
    head = f"MODEL = {MODEL!r}\nGENERATION = {GENERATION!r}\n"
    environment = {**os.environ, "POLARS_MAX_THREADS": "1"}
    command = [sys.executable, "-c", head + code, *map(str, args)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    return subprocess.Popen(command, **pipes, text=True, env=environment)


@pytest.mark.parametrize("moment", [1, 34, 150])
def test_sigkill_loses_at_most_the_unflushed_cells(tmp_path, moment):
    request_table = wanted(200, 1)
    request_table.write_parquet(tmp_path / "requests.parquet")
    process = child(CHILD, tmp_path / "requests.parquet", tmp_path / "cells")
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


WRITER = """
import sys
from orion import cells
from orion.engines import Completion

store = cells.CellStore(sys.argv[1], MODEL["digest"])
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
    store = cells.CellStore(tmp_path, MODEL["digest"])
    found = store.lookup(pl.DataFrame({"cell": [f"{n:064x}" for n in range(400)]})).sort("cell")
    assert found["response"].to_list() == [f"answer {n}" for n in range(300)]
    assert len(store.parts()) == 30
    assert not list(store.folder.glob(".*"))


def test_progress_is_lines_in_a_log_and_one_line_at_the_end(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(cells._Progress, "EVERY", 0.0)
    run(wanted(2, 1), tmp_path)
    capsys.readouterr()
    run(wanted(4, 1), tmp_path, Fake(lambda request: "length" if request.prompt == "solve 3" else "stop"))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("cells: 1 of 2 new, 7 tokens, ") and lines[0].endswith("s left")
    assert lines[2].startswith("cells: 2 reused, 2 new, 14 tokens in ")
    assert lines[2].endswith("new cells not ended by the model: length 1")
