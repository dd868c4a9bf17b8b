"""Compaction: many small parts become a few of a hundred megabytes, while others read and write.

Input: a model's folder in the cell store. Output: the same cells in fewer files. The merged part is published first, then what
it was made from is removed: killed at any instant, it leaves every cell in at least one part, and some in two. Nothing is
locked; two processes that merge the same parts write the same file.
"""

import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from orion import tables
from orion.completions import parts
from orion.completions.parts import KEY, STORED_COLUMNS
from orion.progress import log

# a lookup merges as soon as there are more small parts than this
MANY = 64
TARGET_BYTES = 128 * 2**20
# a part of half the target stays as it is, so that a cell is rewritten a few times only
SMALL_BYTES = TARGET_BYTES // 2
# what one lookup merges at most takes some ten seconds; the next one goes on
BUDGET_BYTES = 2**29
GROUP_BYTES = 32 * 2**20
# another process's merge counts as under way while its file is younger than this
UNDER_WAY_S = 60.0
PREFIX = "merge"


def small(folder: Path) -> list[tuple[Path, int]]:
    """The parts below half the target and their sizes, in the order in which they were written."""
    found = []
    for path in parts.listed(folder):
        try:
            stat = path.stat()
        except FileNotFoundError:
            continue
        if stat.st_size < SMALL_BYTES:
            found.append((stat.st_mtime_ns, path.name, path, stat.st_size))
    return [(path, size) for _, _, path, size in sorted(found)]


def compact(folder: Path, *, many: int = MANY, budget: int | None = BUDGET_BYTES) -> int:
    """Merge the small parts if there are more than ``many``; returns by how many files the folder shrank.

    Trouble (a full or read-only disk) is logged and leaves the parts as they are.
    """
    found = small(folder)
    if len(found) <= many or _under_way(folder):
        return 0
    shrunk = 0
    for group in planned(found, budget):
        try:
            shrunk += _merge(folder, group)
        except parts.UNREADABLE as error:
            # gone: another process merges the same ones
            if parts.is_gone(error):
                break
            if not parts.set_aside(group):
                log(
                    f"cells: {folder}: its {len(found)} small parts cannot be merged and stay as they are ({error})"
                )
                break
    if shrunk:
        log(f"cells: {folder}: {shrunk} parts fewer, {len(parts.listed(folder))} left")
    return shrunk


def planned(found: list[tuple[Path, int]], budget: int | None = None) -> list[list[Path]]:
    """Neighbours that together have about the target's size; a part that would stay alone is left out."""
    groups: list[list[Path]] = [[]]
    total = spent = 0
    for path, size in found:
        if groups[-1] and total + size > TARGET_BYTES:
            groups.append([])
            total = 0
        if budget is not None and spent + size > budget:
            break
        groups[-1].append(path)
        total += size
        spent += size
    return [group for group in groups if len(group) > 1]


def _merge(folder: Path, group: list[Path]) -> int:
    """Publish the group's cells as one part, then remove the group; returns the number of files saved."""
    merged = parts.write(folder, _regrouped(_without_duplicates(group)), prefix=PREFIX)
    # the merged part's name must be on the disk before the others' names go
    _sync(folder)
    gone = [path for path in group if path != merged]
    for path in gone:
        path.unlink(missing_ok=True)
    return len(group) - 1


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # some network file systems have no such thing
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def _without_duplicates(group: list[Path]) -> Iterator[pl.DataFrame]:
    """All rows in order; of a cell that is there more than once the row that a lookup would choose, at the end."""
    hashed = [frame.select(pl.col(KEY).hash()).to_series() for frame in _key_frames(group)]
    hashes = pl.concat(hashed) if hashed else pl.Series(dtype=pl.UInt64)
    twice = hashes.filter(hashes.is_duplicated()).unique().implode()
    kept = []
    for path in group:
        for frame in parts.groups(path):
            again = frame[KEY].hash().is_in(twice)
            kept.append(frame.filter(again))
            yield frame.filter(~again)
    rows = pl.concat([pl.DataFrame(schema=STORED_COLUMNS), *kept])
    yield rows.sort(list(STORED_COLUMNS)).unique(KEY, keep="first", maintain_order=True)


def _key_frames(group: list[Path]) -> Iterator[pl.DataFrame]:
    for path in group:
        yield pl.read_parquet(path, columns=[KEY])


def _regrouped(frames: Iterator[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """The same rows in frames of a row group's size, bounded in rows and in bytes."""
    waiting: list[pl.DataFrame] = []
    rows = size = 0
    for frame in frames:
        for piece in frame.iter_slices(tables.ROW_GROUP):
            if waiting and (rows + piece.height > tables.ROW_GROUP or size > GROUP_BYTES):
                yield pl.concat(waiting)
                waiting, rows, size = [], 0, 0
            if piece.height:
                waiting.append(piece)
                rows += piece.height
                size += int(piece["response"].str.len_bytes().sum())
    if waiting:
        yield pl.concat(waiting)


def _under_way(folder: Path) -> bool:
    for path in folder.glob(f".{PREFIX}-*.partial"):
        try:
            if time.time() - path.stat().st_mtime < UNDER_WAY_S:
                return True
        except FileNotFoundError:
            continue
    return False
