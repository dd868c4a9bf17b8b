"""Merging parts: nothing is lost, whoever reads, writes, merges or dies meanwhile."""

import errno
import os
import signal
import time

import pyarrow.parquet as pq
import pytest

from orion import completions
from orion.completions import compaction, parts
from orion.engines import Completion
from tests.helpers.fake_engine import MODEL, cell, child, keys, leftovers, run, wanted


def filled(root, count, each=5):
    """A store of ``count`` parts of ``each`` cells."""
    store = completions.CompletionStore(root, MODEL["digest"])
    for part in range(count):
        store.append([cell(n) for n in range(part * each, (part + 1) * each)])
    return store


def answers(store, count):
    return store.get(keys(range(count))).sort("cell")["response"].to_list()


def test_many_small_parts_become_one_with_the_same_rows_in_the_order_written(tmp_path):
    store = filled(tmp_path, 7)
    before = store.get(keys(range(35)))
    assert compaction.compact(store.folder, many=7) == 0 and len(store.parts()) == 7
    assert compaction.compact(store.folder, many=6) == 6
    (part,) = store.parts()
    assert parts.fault(part) is None and leftovers(tmp_path) == []
    assert [frame["cell"].to_list() for frame in parts.groups(part)] == [
        keys(range(35))["cell"].to_list()
    ]
    assert store.get(keys(range(35))).sort("cell").equals(before.sort("cell"))


def test_a_lookup_merges_when_there_are_too_many(tmp_path, capsys):
    store = filled(tmp_path, compaction.MANY, each=1)
    assert store.contains(keys(range(70))).sum() == len(store.parts()) == 64
    store.append([cell(64)])
    assert store.contains(keys(range(70))).sum() == 65 and len(store.parts()) == 1
    assert "64 parts fewer, 1 left" in capsys.readouterr().err


def test_duplicates_are_resolved_as_a_lookup_resolves_them(tmp_path):
    contents = [("b", "stop"), ("a", "stop"), ("a", "length"), ("c", "stop")]
    store = completions.CompletionStore(tmp_path, MODEL["digest"])
    for text, reason in contents:
        store.append([Completion(f"{7:064x}", text, reason, 1, 1), cell(len(store.parts()) + 10)])
    before = store.get(keys([7, *range(10, 14)])).sort("cell")
    compaction.compact(store.folder, many=1)
    (part,) = store.parts()
    assert pq.read_metadata(part).num_rows == 5
    after = store.get(keys([7, *range(10, 14)])).sort("cell")
    assert after.equals(before) and after.row(0)[1:3] == ("a", "length")
    # what comes later is compared with the merged one
    store.append([Completion(f"{7:064x}", "Z", "stop", 1, 1)])
    assert store.get(keys([7]))["response"].to_list() == ["Z"]


def test_large_parts_stay_and_a_budget_bounds_the_work(tmp_path, monkeypatch):
    store = filled(tmp_path, 12)
    size = store.parts()[0].stat().st_size
    monkeypatch.setattr(compaction, "TARGET_BYTES", 3 * size + size // 2)
    plan = compaction.planned(compaction.small(store.folder))
    assert [len(group) for group in plan] == [3, 3, 3, 3]
    assert [
        len(group)
        for group in compaction.planned(compaction.small(store.folder), budget=5 * size + 1)
    ] == [3, 2]
    monkeypatch.setattr(compaction, "SMALL_BYTES", size - 100)
    assert compaction.compact(store.folder, many=1) == 0 and len(store.parts()) == 12


def test_row_groups_are_bounded_in_rows_and_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(compaction.tables, "ROW_GROUP", 8)
    store = filled(tmp_path, 6)
    compaction.compact(store.folder, many=1)
    assert parts.sizes(store.parts()[0]) == [5] * 6
    monkeypatch.setattr(compaction.tables, "ROW_GROUP", 100)
    monkeypatch.setattr(compaction, "GROUP_BYTES", 60)
    store.append([cell(99)])
    compaction.compact(store.folder, many=1)
    assert parts.sizes(store.parts()[0]) == [10, 10, 10, 1] and answers(store, 30) == [
        f"answer {n}" for n in range(30)
    ]


class Killed(BaseException):
    pass


# of the file and of the folder; the rename; eight parts removed
CALLS = ["fsync", "replace", "fsync", *["unlink"] * 8]


@pytest.mark.parametrize("moment", range(len(CALLS) + 1))
def test_killed_at_any_instant_it_loses_nothing(tmp_path, monkeypatch, moment):
    store = filled(tmp_path, 8)
    made = []

    def dying(name, real):
        def call(*args, **options):
            # the dead do not clean up either
            if len(made) >= moment:
                raise Killed
            made.append(name)
            return real(*args, **options)

        return call

    with monkeypatch.context() as patch:
        for name in set(CALLS):
            patch.setattr(os, name, dying(name, getattr(os, name)))
        if moment < len(CALLS):
            with pytest.raises(Killed):
                compaction.compact(store.folder, many=1)
        else:
            compaction.compact(store.folder, many=1)
    assert made == CALLS[:moment]
    assert answers(store, 40) == [f"answer {n}" for n in range(40)]
    monkeypatch.setattr(compaction, "UNDER_WAY_S", -1.0)
    compaction.compact(store.folder, many=1)
    assert len(store.parts()) == 1 and answers(store, 40) == [f"answer {n}" for n in range(40)]


def test_a_part_that_another_process_merged_between_listing_and_reading_is_looked_for_again(
    tmp_path, monkeypatch
):
    store = filled(tmp_path, 4)
    listed, looks = store.parts, []

    def stale():
        found = listed()
        looks.append(len(found))
        if len(looks) == 1:
            compaction.compact(store.folder, many=1)
        return found

    monkeypatch.setattr(store, "parts", stale)
    assert answers(store, 20) == [f"answer {n}" for n in range(20)] and looks == [4, 1]


def test_a_part_that_goes_between_keys_and_texts_is_looked_for_again(tmp_path, monkeypatch):
    store = filled(tmp_path, 4)
    sizes, calls = parts.sizes, []

    def late(path):
        calls.append(path)
        if len(calls) == 2:
            compaction.compact(store.folder, many=1)
        return sizes(path)

    monkeypatch.setattr(parts, "sizes", late)
    assert answers(store, 20) == [f"answer {n}" for n in range(20)] and len(calls) == 3


def test_a_listing_that_misses_a_merge_is_made_again(tmp_path):
    merged = [tmp_path / f"part-{0:032x}.parquet"]
    old = [tmp_path / f"part-{n:032x}.parquet" for n in (1, 2)]

    class Folder:
        # the first listing has passed the new part's place and finds the old ones half gone
        listings = iter([old[:1], merged, merged])

        def glob(self, pattern):
            return next(self.listings)

    assert parts.listed(Folder()) == merged


def test_a_full_disk_leaves_the_parts_as_they_are(tmp_path, monkeypatch, capsys):
    store = filled(tmp_path, 66, each=1)

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(parts.os, "fsync", full)
    assert answers(store, 66) == [f"answer {n}" for n in range(66)]
    assert len(store.parts()) == 66 and leftovers(tmp_path) == []
    assert "its 66 small parts cannot be merged and stay as they are" in capsys.readouterr().err


def test_a_damaged_part_is_set_aside_and_the_others_merged_by_the_next_lookup(tmp_path):
    store = filled(tmp_path, 66, each=1)
    store.parts()[3].write_bytes(b"PAR1")
    assert store.contains(keys(range(66))).sum() == 65
    assert store.contains(keys(range(66))).sum() == 65 and len(store.parts()) == 1


def test_a_merge_under_way_is_left_to_its_process_until_it_seems_dead(tmp_path):
    store = filled(tmp_path, 66, each=1)
    partial = store.folder / ".merge-1-2.partial"
    partial.write_bytes(b"PAR1")
    assert store.contains(keys([1])).sum() == 1 and len(store.parts()) == 66
    os.utime(partial, (time.time() - 120,) * 2)
    assert store.contains(keys([1])).sum() == 1 and len(store.parts()) == 1


MERGER = """
import sys
from orion import completions
from orion.completions import compaction

compaction.UNDER_WAY_S = -1.0
folder = completions.CompletionStore(sys.argv[1], MODEL["digest"]).folder
print("ready", flush=True)
while True:
    compaction.compact(folder, many=1)
"""


@pytest.mark.slow
def test_reading_and_writing_while_two_processes_merge_and_are_killed(tmp_path):
    store = filled(tmp_path, 3)
    mergers = [child(MERGER, tmp_path) for _ in range(2)]
    for merger in mergers:
        assert merger.stdout.readline() == "ready\n"
    written, merged = 15, False
    while written < 500 or not merged:
        assert written < 50_000, "nothing was merged"
        store.append([cell(n) for n in range(written, written + 5)])
        written += 5
        merged |= len(store.parts()) < 3
        assert store.contains(keys(range(written))).sum() == written
        assert answers(store, written) == [f"answer {n}" for n in range(written)]
        if written == 100:
            mergers[0].send_signal(signal.SIGKILL)
    mergers[1].send_signal(signal.SIGKILL)
    assert [merger.wait() for merger in mergers] == [-signal.SIGKILL] * 2
    assert answers(store, written) == [f"answer {n}" for n in range(written)]
    assert all(parts.fault(path) is None for path in store.parts())
    assert all(name.endswith(".partial") for name in leftovers(tmp_path))


def test_a_run_on_a_merged_store_generates_nothing(tmp_path):
    frame, _ = run(wanted(70, 1), tmp_path, flush_every=1)
    assert len(completions.CompletionStore(tmp_path, MODEL["digest"]).parts()) == 70
    again, n = run(wanted(70, 1), tmp_path)
    assert (
        n == 0
        and again.equals(frame)
        and len(completions.CompletionStore(tmp_path, MODEL["digest"]).parts()) == 1
    )
