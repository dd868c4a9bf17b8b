"""Whether two files of results have equal content, read in slices.

Input: two tables, or two JSON documents. Output: the names of the columns or keys that differ.
The content of a table is its rows, all columns, in their order. The content of a document is all
but its provenance; of a model's document also without ``path``, which is a place and no property of
the model, and of plan.json without the dates of its versions.
"""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from orion import paths, tables
from orion.errors import InputError
from orion.experiment.plan import read_history
from orion.report.folders import Folder

# rows that are in memory at a time, of each file
SLICE_ROWS = 256
# what a difference is called that no column has
ROWS, COLUMNS = "number of rows", "columns"


def find_differences(a: Folder, b: Folder, name: str) -> list[str] | None:
    """The columns or keys in which both folders' file of this name differs; empty: equal content.

    None where one of the two cannot be read; its folder's ``faults`` then say why.
    """
    readable = [folder.is_readable(name) for folder in (a, b)]
    if not all(readable):
        return None
    if a.artifacts[name].digest == b.artifacts[name].digest:
        return []
    if name.endswith(".json"):
        documents = [_read_document(folder, name) for folder in (a, b)]
        if documents[0] is None or documents[1] is None:
            return None
        return list_changed(documents[0], documents[1])
    return _compare_tables(a, b, name)


def list_changed(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """The keys whose values differ, sorted."""
    absent = object()
    return sorted(
        key for key in old.keys() | new.keys() if old.get(key, absent) != new.get(key, absent)
    )


def _read_document(folder: Folder, name: str) -> dict[str, Any] | None:
    path = folder.path(name)
    try:
        if name == paths.PLAN:
            return {
                f"version {number}": {k: v for k, v in asdict(version).items() if k != "date"}
                for number, version in enumerate(read_history(path), 1)
            }
        document = tables.read_json(path)
    except InputError as error:
        folder.blame(name, error)
        return None
    document.pop("provenance", None)
    if Path(name).name == "model.json":
        document.pop("path", None)
        if isinstance(document.get("adapter"), dict):
            document["adapter"].pop("path", None)
    return document


def _compare_tables(a: Folder, b: Folder, name: str) -> list[str] | None:
    sizes = []
    for folder in (a, b):
        try:
            with pq.ParquetFile(folder.path(name)) as file:
                sizes.append((file.metadata.num_rows, file.schema_arrow.names))
        except (pa.ArrowException, OSError) as error:
            reason = " ".join(str(error).split())  # it may have several lines
            folder.blame(name, InputError(f"not a readable parquet file ({reason})"))
            return None
    (rows_a, columns_a), (rows_b, columns_b) = sizes
    if columns_a != columns_b:
        return [COLUMNS]
    differing = set() if rows_a == rows_b else {ROWS}
    slices_a, slices_b = (_read_slices(folder, name) for folder in (a, b))
    for left, right in _align(slices_a, slices_b):
        for column in set(columns_a) - differing:
            if not _is_equal(left[column], right[column]):
                differing.add(column)
    if not (a.is_readable(name) and b.is_readable(name)):
        return None
    return [column for column in (ROWS, *columns_a) if column in differing]


def _is_equal(left: pl.Series, right: pl.Series) -> bool:
    return left.dtype == right.dtype and left.equals(right, null_equal=True)


def _read_slices(folder: Folder, name: str) -> Iterator[pl.DataFrame]:
    """All columns of a table in slices; a damaged one ends early and is blamed."""
    try:
        with pq.ParquetFile(folder.path(name), pre_buffer=False, buffer_size=1 << 20) as file:
            for batch in file.iter_batches(SLICE_ROWS):
                frame = pl.from_arrow(batch)
                assert isinstance(frame, pl.DataFrame)
                yield frame
    except (pa.ArrowException, OSError) as error:
        folder.blame(name, InputError(f"damaged below its header ({error})"))


def _align(
    first: Iterator[pl.DataFrame], second: Iterator[pl.DataFrame]
) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
    """Slices of the same rows of both; row groups of two writers need not have the same sizes."""
    left, right = next(first, None), next(second, None)
    while left is not None and right is not None:
        height = min(left.height, right.height)
        yield left.head(height), right.head(height)
        left, right = left.slice(height), right.slice(height)
        left = left if left.height else next(first, None)
        right = right if right.height else next(second, None)
    # the longer one is read to its end, so that damage there is found
    for rest in (first, second):
        for _ in rest:
            pass
