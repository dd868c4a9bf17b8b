"""Tables read in slices, so that memory does not grow with their rows."""

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from orion import tables


def read_slices(
    path: str | Path, table: tables.Table, columns: list[str], *, rows: int
) -> Iterator[pl.DataFrame]:
    """These columns of a table on disk, at most so many rows at a time, in the order of the file.

    A writer has sorted the file by the table's key. Raises InputError as ``tables.read`` does.
    """
    tables.size(path, table)  # refuses what is no such table
    try:
        # pages are read when they are needed, not all those of a row group at once
        with pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20) as file:
            for batch in file.iter_batches(rows, columns=columns):
                frame = pl.from_arrow(batch)
                assert isinstance(frame, pl.DataFrame)
                yield frame.select(columns)
    except (pa.ArrowException, OSError) as error:
        raise tables.explain_unreadable(path, error) from None
