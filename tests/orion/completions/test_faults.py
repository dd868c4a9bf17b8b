"""The completion store under faults: a full disk, damaged files, engines that fail."""

import errno
import os
import random
import resource
import signal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orion import completions, tables
from orion.completions import parts, writer
from orion.engines import Completion
from orion.errors import InputError
from tests.helpers.fake_engine import (
    DOCUMENT,
    FakeEngine,
    find_leftovers,
    make_completion,
    make_keys,
    make_requests,
    run,
)


def raise_no_space(*args):
    raise OSError(errno.ENOSPC, "No space left on device")


class FullDisk:
    """Replaces ``fsync``: there is no space from the ``first`` flush to the ``last``."""

    def __init__(self, monkeypatch, first, last=10**9):
        self.calls, self.first, self.last = 0, first, last
        self.fsync = os.fsync
        monkeypatch.setattr(parts.os, "fsync", self)

    def __call__(self, descriptor):
        self.calls += 1
        return raise_no_space() if self.first <= self.calls <= self.last else self.fsync(descriptor)


def test_a_full_disk_costs_nothing_if_there_is_space_again_before_the_end(
    tmp_path, monkeypatch, capsys
):
    expected = run(make_requests(30, 1), tmp_path / "fresh")[0]
    FullDisk(monkeypatch, 2, 4)
    frame, n = run(make_requests(30, 1), tmp_path / "store", flush_every=10, flush_seconds=0.0)
    assert n == 30 and frame.equals(expected)
    said = capsys.readouterr().err
    assert said.count("No space left on device); new completions stay in memory") == 1
    assert "can be written again; 4 waiting completions are stored" in said
    assert (
        run(make_requests(30, 1), tmp_path / "store")[1] == 0
        and find_leftovers(tmp_path / "store") == []
    )


def test_a_disk_that_stays_full_ends_in_an_error_that_names_the_folder(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(writer, "FINAL_RETRY_WAITS_S", (0.0, 0.0))
    disk = FullDisk(monkeypatch, 2)
    folder = completions.CompletionStore(tmp_path, DOCUMENT.digest).folder
    with pytest.raises(
        InputError,
        match=r"No space left.*; 20 new completions are lost, 10 are stored; free space and run",
    ) as e:
        run(make_requests(30, 1), tmp_path, flush_every=10)
    # the second flush, the one at the engine's end, and three at last; not one per completion
    assert str(folder) in str(e.value) and disk.calls == 6
    monkeypatch.undo()
    assert find_leftovers(tmp_path) == [] and run(make_requests(30, 1), tmp_path)[1] == 20


def test_an_exception_is_not_hidden_by_a_full_disk(tmp_path, monkeypatch, capsys):
    FullDisk(monkeypatch, 1)
    with pytest.raises(KeyboardInterrupt):
        run(make_requests(10, 1), tmp_path, InterruptedEngine())
    assert "6 new completions are lost" in capsys.readouterr().err


def test_a_store_that_cannot_be_written_is_found_before_the_engine_is_opened(tmp_path):
    (tmp_path / "store").write_text("a file, not a folder")
    engine = FakeEngine()
    with pytest.raises(InputError, match=f"{tmp_path / 'store'}.*cannot be written"):
        run(make_requests(3, 1), tmp_path / "store", engine)
    assert engine.times_opened == 0


def test_a_write_that_stops_halfway_leaves_no_part(tmp_path):
    store = completions.CompletionStore(tmp_path, DOCUMENT.digest)
    store.append([make_completion(1)])
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        # the kernel refuses what goes beyond, after it has taken the rest
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))
        with pytest.raises(OSError, match="File too large"):
            store.append([Completion("c" * 64, os.urandom(4000).hex(), "stop", 1, 1)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert find_leftovers(tmp_path) == [] and len(store.parts()) == 1


class InterruptedEngine(FakeEngine):
    """Is interrupted after six completions."""

    error: type[BaseException] = KeyboardInterrupt

    def generate(self, requests):
        for n, completion in enumerate(super().generate(requests)):
            if n == 6:
                raise self.error
            yield completion


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, SystemExit, MemoryError])
def test_what_was_generated_before_an_exception_is_kept(tmp_path, error):
    engine = InterruptedEngine()
    engine.error = error
    with pytest.raises(error):
        run(make_requests(10, 1), tmp_path, engine, flush_every=100)
    assert run(make_requests(10, 1), tmp_path)[1] == 4


def test_the_engine_is_told_to_stop_after_what_it_gave_is_stored(tmp_path):
    stored = []

    class UnaskedEngine(FakeEngine):
        def generate(self, requests):
            try:
                yield from super().generate(requests[:3])
                yield Completion("e" * 64, "", "stop", 1, 1)
            finally:
                asked = make_keys(int(key, 16) for key in self.asked)
                stored.append(
                    completions.CompletionStore(tmp_path, DOCUMENT.digest).contains(asked).sum()
                )

    with pytest.raises(RuntimeError, match="not asked"):
        run(make_requests(5, 1), tmp_path, UnaskedEngine())
    assert stored == [3]


def test_an_engine_that_answers_something_else_is_found_out(tmp_path):
    class SilentEngine(FakeEngine):
        def generate(self, requests):
            yield from list(super().generate(requests))[1:]

    class RepeatingEngine(FakeEngine):
        def generate(self, requests):
            first = next(super().generate(requests))
            yield from (first, first)

    with pytest.raises(RuntimeError, match="left 1 of 5 requests without an answer"):
        run(make_requests(5, 1), tmp_path, SilentEngine())
    assert run(make_requests(5, 1), tmp_path)[1] == 1
    with pytest.raises(RuntimeError, match="not asked or is answered already"):
        run(make_requests(2, 1, "again {}"), tmp_path, RepeatingEngine())
    with pytest.raises(RuntimeError, match="with 'Tired out'"):
        run(make_requests(2, 1, "and {}"), tmp_path, FakeEngine(lambda request: "Tired out"))


class FlakyEngine(FakeEngine):
    """Fails the odd prompts the first ``times`` that they are asked."""

    def __init__(self, times):
        super().__init__(
            lambda r: (
                "error" if int(r.prompt[-1]) % 2 and self.asked.count(r.key) <= times else "stop"
            )
        )


def test_a_failed_request_is_asked_once_more_in_the_same_run(tmp_path, capsys):
    engine = FlakyEngine(1)
    frame, n = run(make_requests(6, 1), tmp_path, engine)
    assert (
        n == 9
        and set(frame["finish_reason"]) == {"stop"}
        and frame.equals(run(make_requests(6, 1), tmp_path / "fresh")[0])
    )
    assert "failed twice" not in capsys.readouterr().err
    assert run(make_requests(6, 1), tmp_path)[1] == 0


def test_what_fails_twice_is_a_row_a_line_in_the_log_and_asked_by_the_next_run(tmp_path, capsys):
    frame, n = run(make_requests(6, 1), tmp_path, FlakyEngine(2))
    assert n == 9 and frame["finish_reason"].to_list() == ["stop", "error"] * 3
    assert tables.check(frame, tables.SAMPLES, rows=6).equals(frame)
    said = capsys.readouterr().err
    assert (
        "failed twice: 3 (p001/0, p003/0, p005/0)" in said
        and "delete the table and run again" in said
    )
    frame, n = run(make_requests(6, 1), tmp_path)
    assert n == 3 and set(frame["finish_reason"]) == {"stop"}


@pytest.mark.parametrize("damage", ["truncated", "empty", "overwritten", "footer"])
def test_a_damaged_part_is_set_aside_and_only_its_completions_generated_again(
    tmp_path, capsys, damage
):
    frame, _ = run(make_requests(20, 1), tmp_path, flush_every=5)
    store = completions.CompletionStore(tmp_path, DOCUMENT.digest)
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
    again, n = run(make_requests(20, 1), tmp_path)
    assert n == 5 and again.equals(frame)
    message = capsys.readouterr().err
    assert (
        f"{victim} is damaged" in message
        and "set aside as" in message
        and "generated again" in message
    )
    assert victim.with_name(victim.name + ".damaged").exists()
    assert run(make_requests(20, 1), tmp_path)[1] == 0


def test_a_bit_that_decompresses_to_another_text_is_found_by_the_checksums(tmp_path):
    store = completions.CompletionStore(tmp_path, DOCUMENT.digest)
    text = "".join(random.Random(0).choices("abcdefghijklmnop", k=2000))
    part = store.append([Completion("c" * 64, text, "stop", 1, 1)])
    content = part.read_bytes()
    chunk = pq.read_metadata(part).row_group(0).column(1)
    for place in range(chunk.data_page_offset + chunk.total_compressed_size - 200, len(content)):
        flipped = content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
        try:
            other = pq.read_table(pa.BufferReader(flipped))["response"][0].as_py()
        except (OSError, pa.ArrowException):
            continue
        if other != text:
            break
    assert other != text, "nothing else would have noticed"
    part.write_bytes(flipped)
    assert store.get(make_keys([int("c" * 64, 16)])).height == 0 and find_leftovers(tmp_path) == [
        part.name + ".damaged"
    ]


def test_an_intact_part_of_another_format_stops_the_run_and_stays_where_it_is(tmp_path):
    run(make_requests(3, 1), tmp_path)
    store = completions.CompletionStore(tmp_path, DOCUMENT.digest)
    completions.store.as_frame([make_completion(1)]).with_columns(more=1).write_parquet(
        store.folder / "x"
    )
    foreign = store.folder / f"part-{parts.digest_file(store.folder / 'x')[:32]}.parquet"
    (store.folder / "x").rename(foreign)
    with pytest.raises(
        InputError, match=f"{foreign}: intact, but not a part that this version reads"
    ):
        run(make_requests(4, 1), tmp_path)
    assert foreign.exists()


def test_trouble_of_the_system_is_not_taken_for_damage(tmp_path, monkeypatch):
    run(make_requests(3, 1), tmp_path)

    def refuse(*args, **options):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(parts.pq, "ParquetFile", refuse)
    with pytest.raises(PermissionError):
        run(make_requests(3, 1), tmp_path)
    monkeypatch.undo()
    assert run(make_requests(3, 1), tmp_path)[1] == 0 and find_leftovers(tmp_path) == []


def test_a_part_that_is_being_written_is_not_read(tmp_path):
    store = completions.CompletionStore(tmp_path, DOCUMENT.digest)
    part = store.append([make_completion(1)])
    assert store.append([Completion("d" * 64, "", "error", 1, 0)]) is None
    (store.folder / f".{part.name}.123.partial").write_bytes(b"PAR1")
    assert store.parts() == [part]
    assert store.get(make_keys([1])).height == 1
