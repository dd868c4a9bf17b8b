"""Merging parts: nothing is lost, whoever reads, writes, merges or dies meanwhile."""

import errno
import os
import signal
import time

import pyarrow.parquet as pq
import pytest

from orion import completions
from orion.completions import compaction, parts
from orion.completions.parts import KEY
from orion.engines import Completion
from tests.helpers.fake_engine import (
    DOCUMENT,
    find_leftovers,
    make_completion,
    make_keys,
    make_requests,
    run,
    start_child,
)


def fill_store(root, count, each=5):
    """A store of ``count`` parts of ``each`` completions."""
    store = completions.CompletionStore(root, DOCUMENT.digest)
    for part in range(count):
        store.append([make_completion(n) for n in range(part * each, (part + 1) * each)])
    return store


def read_responses(store, count):
    return store.get(make_keys(range(count))).sort(KEY)["response"].to_list()


def test_many_small_parts_become_one_with_the_same_rows_in_the_order_written(tmp_path):
    store = fill_store(tmp_path, 7)
    before = store.get(make_keys(range(35)))
    assert compaction.compact(store.folder, max_small_parts=7) == 0 and len(store.parts()) == 7
    assert compaction.compact(store.folder, max_small_parts=6) == 6
    (part,) = store.parts()
    assert parts.find_fault(part) is None and find_leftovers(tmp_path) == []
    assert [frame[KEY].to_list() for frame in parts.read_row_groups(part)] == [
        make_keys(range(35))[KEY].to_list()
    ]
    assert store.get(make_keys(range(35))).sort(KEY).equals(before.sort(KEY))


def test_a_lookup_merges_when_there_are_too_many(tmp_path, capsys):
    store = fill_store(tmp_path, compaction.MAX_SMALL_PARTS, each=1)
    assert store.contains(make_keys(range(70))).sum() == len(store.parts()) == 64
    store.append([make_completion(64)])
    assert store.contains(make_keys(range(70))).sum() == 65 and len(store.parts()) == 1
    assert "64 parts fewer, 1 left" in capsys.readouterr().err


def test_duplicates_are_resolved_as_a_lookup_resolves_them(tmp_path):
    contents = [("b", "stop"), ("a", "stop"), ("a", "length"), ("c", "stop")]
    store = completions.CompletionStore(tmp_path, DOCUMENT.digest)
    for text, reason in contents:
        store.append(
            [Completion(f"{7:064x}", text, reason, 1, 1), make_completion(len(store.parts()) + 10)]
        )
    before = store.get(make_keys([7, *range(10, 14)])).sort(KEY)
    compaction.compact(store.folder, max_small_parts=1)
    (part,) = store.parts()
    assert pq.read_metadata(part).num_rows == 5
    after = store.get(make_keys([7, *range(10, 14)])).sort(KEY)
    assert after.equals(before) and after.row(0)[1:3] == ("a", "length")
    # what comes later is compared with the merged one
    store.append([Completion(f"{7:064x}", "Z", "stop", 1, 1)])
    assert store.get(make_keys([7]))["response"].to_list() == ["Z"]


def test_large_parts_stay_and_a_budget_bounds_the_work(tmp_path, monkeypatch):
    store = fill_store(tmp_path, 12)
    size = store.parts()[0].stat().st_size
    monkeypatch.setattr(compaction, "TARGET_BYTES", 3 * size + size // 2)
    plan = compaction.plan_merges(compaction.list_small_parts(store.folder))
    assert [len(group) for group in plan] == [3, 3, 3, 3]
    assert [
        len(group)
        for group in compaction.plan_merges(
            compaction.list_small_parts(store.folder), budget_bytes=5 * size + 1
        )
    ] == [3, 2]
    monkeypatch.setattr(compaction, "SMALL_BYTES", size - 100)
    assert compaction.compact(store.folder, max_small_parts=1) == 0 and len(store.parts()) == 12


def test_row_groups_are_bounded_in_rows_and_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(compaction.tables, "ROW_GROUP", 8)
    store = fill_store(tmp_path, 6)
    compaction.compact(store.folder, max_small_parts=1)
    assert parts.row_group_sizes(store.parts()[0]) == [5] * 6
    monkeypatch.setattr(compaction.tables, "ROW_GROUP", 100)
    monkeypatch.setattr(compaction, "ROW_GROUP_BYTES", 60)
    store.append([make_completion(99)])
    compaction.compact(store.folder, max_small_parts=1)
    assert parts.row_group_sizes(store.parts()[0]) == [10, 10, 10, 1] and read_responses(
        store, 30
    ) == [f"answer {n}" for n in range(30)]


class Killed(BaseException):
    pass


# of the file and of the folder; the rename; eight parts removed
CALLS = ["fsync", "replace", "fsync", *["unlink"] * 8]


@pytest.mark.parametrize("moment", range(len(CALLS) + 1))
def test_killed_at_any_instant_it_loses_nothing(tmp_path, monkeypatch, moment):
    store = fill_store(tmp_path, 8)
    made = []

    def die_at(name, real):
        def call(*args, **options):
            # the dead do not clean up either
            if len(made) >= moment:
                raise Killed
            made.append(name)
            return real(*args, **options)

        return call

    with monkeypatch.context() as patch:
        for name in set(CALLS):
            patch.setattr(os, name, die_at(name, getattr(os, name)))
        if moment < len(CALLS):
            with pytest.raises(Killed):
                compaction.compact(store.folder, max_small_parts=1)
        else:
            compaction.compact(store.folder, max_small_parts=1)
    assert made == CALLS[:moment]
    assert read_responses(store, 40) == [f"answer {n}" for n in range(40)]
    monkeypatch.setattr(compaction, "MERGE_TIMEOUT_S", -1.0)
    compaction.compact(store.folder, max_small_parts=1)
    assert len(store.parts()) == 1 and read_responses(store, 40) == [
        f"answer {n}" for n in range(40)
    ]


def test_a_part_that_another_process_merged_between_listing_and_reading_is_looked_for_again(
    tmp_path, monkeypatch
):
    store = fill_store(tmp_path, 4)
    list_parts, looks = store.parts, []

    def merge_after_listing():
        found = list_parts()
        looks.append(len(found))
        if len(looks) == 1:
            compaction.compact(store.folder, max_small_parts=1)
        return found

    monkeypatch.setattr(store, "parts", merge_after_listing)
    assert read_responses(store, 20) == [f"answer {n}" for n in range(20)] and looks == [4, 1]


def test_a_part_that_goes_between_keys_and_texts_is_looked_for_again(tmp_path, monkeypatch):
    store = fill_store(tmp_path, 4)
    sizes, calls = parts.row_group_sizes, []

    def merge_before_reading(path):
        calls.append(path)
        if len(calls) == 2:
            compaction.compact(store.folder, max_small_parts=1)
        return sizes(path)

    monkeypatch.setattr(parts, "row_group_sizes", merge_before_reading)
    assert read_responses(store, 20) == [f"answer {n}" for n in range(20)] and len(calls) == 3


def test_a_listing_that_misses_a_merge_is_made_again(tmp_path):
    merged = [tmp_path / f"part-{0:032x}.parquet"]
    old = [tmp_path / f"part-{n:032x}.parquet" for n in (1, 2)]

    class Folder:
        # the first listing has passed the new part's place and finds the old ones half gone
        listings = iter([old[:1], merged, merged])

        def glob(self, pattern):
            return next(self.listings)

    assert parts.list_parts(Folder()) == merged


def test_a_full_disk_leaves_the_parts_as_they_are(tmp_path, monkeypatch, capsys):
    store = fill_store(tmp_path, 66, each=1)

    def raise_no_space(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(parts.os, "fsync", raise_no_space)
    assert read_responses(store, 66) == [f"answer {n}" for n in range(66)]
    assert len(store.parts()) == 66 and find_leftovers(tmp_path) == []
    assert "its 66 small parts cannot be merged and stay as they are" in capsys.readouterr().err


def test_a_damaged_part_is_set_aside_and_the_others_merged_by_the_next_lookup(tmp_path):
    store = fill_store(tmp_path, 66, each=1)
    store.parts()[3].write_bytes(b"PAR1")
    assert store.contains(make_keys(range(66))).sum() == 65
    assert store.contains(make_keys(range(66))).sum() == 65 and len(store.parts()) == 1


def test_a_merge_under_way_is_left_to_its_process_until_it_seems_dead(tmp_path):
    store = fill_store(tmp_path, 66, each=1)
    partial = store.folder / ".merge-1-2.partial"
    partial.write_bytes(b"PAR1")
    os.utime(partial, (time.time() + 3600,) * 2)
    assert store.contains(make_keys([1])).sum() == 1 and len(store.parts()) == 66
    os.utime(partial, (time.time() - 120,) * 2)
    assert store.contains(make_keys([1])).sum() == 1 and len(store.parts()) == 1


MERGER = """
import sys
from orion import completions
from orion.completions import compaction

compaction.MERGE_TIMEOUT_S = -1.0
folder = completions.CompletionStore(sys.argv[1], DOCUMENT.digest).folder
print("ready", flush=True)
while True:
    compaction.compact(folder, max_small_parts=1)
"""


@pytest.mark.slow
def test_reading_and_writing_while_two_processes_merge_and_are_killed(tmp_path):
    store = fill_store(tmp_path, 3)
    mergers = [start_child(MERGER, tmp_path) for _ in range(2)]
    for merger in mergers:
        assert merger.stdout.readline() == "ready\n"
    written, merged = 15, False
    while written < 500 or not merged:
        assert written < 50_000, "nothing was merged"
        store.append([make_completion(n) for n in range(written, written + 5)])
        written += 5
        merged |= len(store.parts()) < 3
        assert store.contains(make_keys(range(written))).sum() == written
        assert read_responses(store, written) == [f"answer {n}" for n in range(written)]
        if written == 100:
            mergers[0].send_signal(signal.SIGKILL)
    mergers[1].send_signal(signal.SIGKILL)
    assert [merger.wait() for merger in mergers] == [-signal.SIGKILL] * 2
    assert read_responses(store, written) == [f"answer {n}" for n in range(written)]
    assert all(parts.find_fault(path) is None for path in store.parts())
    assert all(name.endswith(".partial") for name in find_leftovers(tmp_path))


def test_a_run_on_a_merged_store_generates_nothing(tmp_path):
    frame, _ = run(make_requests(70, 1), tmp_path, flush_every=1)
    assert len(completions.CompletionStore(tmp_path, DOCUMENT.digest).parts()) == 70
    again, n = run(make_requests(70, 1), tmp_path)
    assert (
        n == 0
        and again.equals(frame)
        and len(completions.CompletionStore(tmp_path, DOCUMENT.digest).parts()) == 1
    )
