"""Compaction merges many small parts into a few of 128 MiB while others read and write.

Input: a model's folder in the completion store. Output: the same completions in fewer files. The
merged part is published first, then the parts that it replaces are removed. A process killed at
any instant leaves every completion in at least one part, and some in two. Nothing is locked; two
processes that merge the same parts write the same file.
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
MAX_SMALL_PARTS = 64
TARGET_BYTES = 128 * 2**20
# a part of half the target stays as it is, so that a completion is rewritten a few times only
SMALL_BYTES = TARGET_BYTES // 2
# the most that one lookup merges, some ten seconds of work; the next lookup continues
LOOKUP_BUDGET_BYTES = 2**29
ROW_GROUP_BYTES = 32 * 2**20
# another process counts as merging while its partial file is younger than this
MERGE_TIMEOUT_S = 60.0
PREFIX = "merge"


def list_small_parts(folder: Path) -> list[tuple[Path, int]]:
    """The parts below half the target and their sizes in bytes, in the order of writing."""
    found = []
    for path in parts.list_parts(folder):
        try:
            stat = path.stat()
        except FileNotFoundError:
            continue
        if stat.st_size < SMALL_BYTES:
            found.append((stat.st_mtime_ns, path.name, path, stat.st_size))
    return [(path, size) for _, _, path, size in sorted(found)]


def compact(
    folder: Path,
    *,
    max_small_parts: int = MAX_SMALL_PARTS,
    budget_bytes: int | None = LOOKUP_BUDGET_BYTES,
) -> int:
    """Merge the small parts if there are more than ``max_small_parts``.

    Returns by how many files the folder shrank. An error (a full or read-only disk) is logged and
    leaves the parts as they are.
    """
    small = list_small_parts(folder)
    if len(small) <= max_small_parts or _is_merging(folder):
        return 0
    shrunk = 0
    for group in plan_merges(small, budget_bytes):
        try:
            shrunk += _merge(folder, group)
        except parts.READ_ERRORS as error:
            # the parts are gone: another process merges the same ones
            if parts.is_gone(error):
                break
            if not parts.set_damaged_aside(group):
                log(
                    f"completions: {folder}: its {len(small)} small parts cannot be merged "
                    f"and stay as they are ({error})"
                )
                break
    if shrunk:
        left = len(parts.list_parts(folder))
        log(f"completions: {folder}: {shrunk} parts fewer, {left} left")
    return shrunk


def plan_merges(small: list[tuple[Path, int]], budget_bytes: int | None = None) -> list[list[Path]]:
    """Groups of neighbouring parts, each group of about the target's size.

    A part that would be merged with no other is left out.
    """
    groups: list[list[Path]] = [[]]
    total = planned = 0
    for path, size in small:
        if groups[-1] and total + size > TARGET_BYTES:
            groups.append([])
            total = 0
        if budget_bytes is not None and planned + size > budget_bytes:
            break
        groups[-1].append(path)
        total += size
        planned += size
    return [group for group in groups if len(group) > 1]


def _merge(folder: Path, group: list[Path]) -> int:
    """Publish the group's completions as one part and remove the group.

    Returns by how many files the folder shrank.
    """
    frames = _resize_row_groups(_drop_duplicates(group))
    merged = parts.write_part(folder, frames, prefix=PREFIX)
    # the merged part's name must be on the disk before the names of the old parts go
    _sync_folder(folder)
    for path in group:
        if path != merged:
            path.unlink(missing_ok=True)
    return len(group) - 1


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # some network file systems cannot sync a folder
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def _drop_duplicates(group: list[Path]) -> Iterator[pl.DataFrame]:
    """All rows in order, one row per completion.

    Of a completion that is stored more than once, the row that a lookup would choose comes at the
    end.
    """
    hashed = [frame.select(pl.col(KEY).hash()).to_series() for frame in _read_keys(group)]
    hashes = pl.concat(hashed) if hashed else pl.Series(dtype=pl.UInt64)
    repeated = hashes.filter(hashes.is_duplicated()).unique().implode()
    kept = []
    for path in group:
        for frame in parts.read_row_groups(path):
            is_repeated = frame[KEY].hash().is_in(repeated)
            kept.append(frame.filter(is_repeated))
            yield frame.filter(~is_repeated)
    rows = pl.concat([pl.DataFrame(schema=STORED_COLUMNS), *kept])
    yield parts.resolve_duplicates(rows)


def _read_keys(group: list[Path]) -> Iterator[pl.DataFrame]:
    for path in group:
        yield pl.read_parquet(path, columns=[KEY])


def _resize_row_groups(frames: Iterator[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """The same rows in frames of a row group's size, bounded in rows and in bytes."""
    waiting: list[pl.DataFrame] = []
    rows = size = 0
    for frame in frames:
        for piece in frame.iter_slices(tables.ROW_GROUP):
            if waiting and (rows + piece.height > tables.ROW_GROUP or size > ROW_GROUP_BYTES):
                yield pl.concat(waiting)
                waiting, rows, size = [], 0, 0
            if piece.height:
                waiting.append(piece)
                rows += piece.height
                size += int(piece["response"].str.len_bytes().sum())
    if waiting:
        yield pl.concat(waiting)


def _is_merging(folder: Path) -> bool:
    """Whether another process seems to merge parts of this folder now."""
    for path in folder.glob(f".{PREFIX}-*.partial"):
        try:
            if time.time() - path.stat().st_mtime < MERGE_TIMEOUT_S:
                return True
        except FileNotFoundError:
            continue
    return False
