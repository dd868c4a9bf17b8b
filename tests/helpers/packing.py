"""Packed tables and data sets for tests, from documents or frames in memory."""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from orion import tables
from orion.training.best_fit import best_fit_bins
from orion.training.document_file import DocumentFile
from orion.training.packed_rows import PackedRows, store_rows

Document = tuple[Sequence[int], Sequence[int]]


def pack_documents(documents: Sequence[Document], max_length: int, folder: Path) -> pl.DataFrame:
    """The packed table of documents (ids, labels); scratch files go to ``folder``."""
    with DocumentFile(folder) as file:
        for ids, labels in documents:
            file.add(ids, labels)
        return pl.concat(file.pack(best_fit_bins(file.lengths, max_length)))


def stored_rows(packed: pl.DataFrame, folder: Path) -> PackedRows:
    """The rows of a packed table as a data set in ``folder``."""
    tables.write(packed, folder / "stored", tables.PACKED, {})
    return store_rows(folder / "stored", folder)[0]
