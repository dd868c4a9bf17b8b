"""Sorting more rows than memory holds: sorted runs on disk, merged as they are read.

Rows are tuples that begin with a text and an integer, by which they are sorted.
"""

import heapq
import shutil
from collections.abc import Iterator
from operator import itemgetter
from pathlib import Path
from typing import Any, Self

import polars as pl
import pyarrow as pa

# characters of the rows that are held before a run is written, and of a batch that is read back
RUN_CHARACTERS = 64_000_000
BATCH_CHARACTERS = 500_000
RUN_ROWS = 200_000

Record = tuple[Any, ...]


class Spool:
    """Context manager that takes rows in any order and gives them back sorted.

    ``schema``: the columns with their types. ``folder`` holds the runs and is removed at the end;
    one that a killed process left is removed at the start.
    """

    def __init__(self, folder: str | Path, schema: pa.Schema):
        self.folder, self.schema = Path(folder), schema
        self.runs: list[Path] = []
        self._rows: list[Record] = []
        self._characters = 0

    def __enter__(self) -> Self:
        shutil.rmtree(self.folder, ignore_errors=True)
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def add(self, record: Record, characters: int) -> None:
        """Take one row; ``characters``: about how much text it holds."""
        self._rows.append(record)
        self._characters += characters
        if self._characters >= RUN_CHARACTERS or len(self._rows) >= RUN_ROWS:
            self._write_run()

    def _write_run(self) -> None:
        self._rows.sort(key=itemgetter(0, 1))
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{len(self.runs):05}.arrow"
        columns = zip(*self._rows, strict=True)
        arrays = [
            pa.array(values, type_)
            for type_, values in zip(self.schema.types, columns, strict=True)
        ]
        batch = pa.record_batch(arrays, schema=self.schema)
        mean = max(1, self._characters // len(self._rows))
        size = max(1, min(4096, BATCH_CHARACTERS // mean))
        options = pa.ipc.IpcWriteOptions(compression="lz4")
        with (
            pa.OSFile(str(path), "wb") as sink,
            pa.ipc.new_file(sink, self.schema, options=options) as writer,
        ):
            for first in range(0, batch.num_rows, size):
                writer.write_batch(batch.slice(first, size))
        self.runs.append(path)
        self._rows, self._characters = [], 0

    def read_sorted(self) -> Iterator[Record]:
        """All rows in order."""
        if not self.runs:
            self._rows.sort(key=itemgetter(0, 1))
            yield from self._rows
            return
        if self._rows:
            self._write_run()
        yield from heapq.merge(*map(_read_run, self.runs), key=itemgetter(0, 1))


def _read_run(path: Path) -> Iterator[Record]:
    with pa.OSFile(str(path)) as handle:
        file = pa.ipc.open_file(handle)
        for number in range(file.num_record_batches):
            frame = pl.DataFrame(pl.from_arrow(file.get_batch(number)))
            yield from frame.iter_rows()
