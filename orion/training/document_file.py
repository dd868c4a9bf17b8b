"""Documents in a scratch file: written one by one, read back as the rows of the packed table.

The file has no name, so the system removes it when the process ends, however it ends.
"""

import errno
import os
import tempfile
from array import array
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from orion.errors import InputError
from orion.training.best_fit import Bins

IGNORED = -100
# tokens of a slice of the packed table, about: a row group, 12 bytes per token
SLICE_TOKENS = 1 << 20


class DocumentFile:
    """Context manager: token ids and labels of documents, 8 bytes per token on disk.

    In memory there are 8 bytes per document. ``trained``: the target tokens. The label of each
    document's first token becomes IGNORED, so that no document predicts the next one.
    ``has_key_steps``: whether each document has marks of its key steps too, 4 bytes per token.
    """

    def __init__(self, folder: str | Path, *, has_key_steps: bool = False):
        self.folder = Path(folder)
        self._planes = 3 if has_key_steps else 2
        self.trained = 0
        self._ends = array("q", [0])  # of the documents, in tokens

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._file = tempfile.TemporaryFile(dir=self.folder, buffering=1 << 20)
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._file.close()
        except OSError:
            # what a full disk has not taken is wanted no more
            return

    def __len__(self) -> int:
        return len(self._ends) - 1

    @property
    def tokens(self) -> int:
        return self._ends[-1]

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """The documents' tokens, (documents,)."""
        return np.diff(np.array(self._ends, np.int64))

    def add(
        self,
        ids: Sequence[int],
        labels: Sequence[int],
        key_steps: npt.NDArray[np.bool_] | None = None,
    ) -> None:
        """Append a document; raises InputError where the disk is full.

        ``key_steps``: (tokens,), where the file has them; None marks no token.
        """
        planes = np.zeros((self._planes, len(ids)), np.int32)
        planes[:2] = ids, labels
        planes[1, :1] = IGNORED
        if key_steps is not None:
            planes[2] = key_steps
        try:
            self._file.write(planes.tobytes())
        except OSError as error:
            raise self._explain(error) from None
        self.trained += int(np.count_nonzero(planes[1] != IGNORED))
        self._ends.append(self._ends[-1] + len(ids))

    def pack(self, bins: Bins, *, first_row: int = 0) -> Iterator[pl.DataFrame]:
        """The packed table in slices of about SLICE_TOKENS tokens: a row for each bin."""
        try:
            self._file.flush()
        except OSError as error:
            raise self._explain(error) from None
        firsts = np.cumsum(bins.sizes) - bins.sizes
        loads = np.add.reduceat(self.lengths[bins.members], firsts) if len(bins) else firsts
        slices = (np.cumsum(loads) - loads) // SLICE_TOKENS
        edges = [0, *(np.flatnonzero(np.diff(slices)) + 1).tolist(), len(bins)]
        for start, end in pairwise(edges):
            if start < end:
                sizes = bins.sizes[start:end]
                members = bins.members[firsts[start] : firsts[start] + int(sizes.sum())]
                yield self._read_rows(members, sizes, loads[start:end], first_row + start)

    def _read_rows(
        self,
        members: npt.NDArray[np.int64],
        sizes: npt.NDArray[np.int64],
        loads: npt.NDArray[np.int64],
        first_row: int,
    ) -> pl.DataFrame:
        """Rows of ``sizes`` documents and ``loads`` tokens each."""
        planes = np.empty((self._planes, int(loads.sum())), np.int32)
        lengths = np.empty(len(members), np.int32)
        start = 0
        for place, index in enumerate(members.tolist()):
            document = self._read(index)
            lengths[place] = document.shape[1]
            planes[:, start : start + document.shape[1]] = document
            start += document.shape[1]
        firsts = np.cumsum(lengths) - lengths
        positions = np.arange(start) - np.repeat(firsts, lengths)
        rows = np.arange(first_row, first_row + len(sizes))
        lists = {
            "input_ids": (planes[0], loads),
            "labels": (planes[1], loads),
            "position_ids": (positions.astype(np.int32), loads),
            "seq_lengths": (lengths, sizes),
        }
        if self._planes == 3:
            lists["key_steps"] = (planes[2], loads)
        table = pa.table({name: _make_lists(*column) for name, column in lists.items()})
        frame = pl.from_arrow(table)
        assert isinstance(frame, pl.DataFrame)
        return frame.select(pl.Series("row", rows), pl.all())

    def _read(self, index: int) -> npt.NDArray[np.int32]:
        """Ids, labels and perhaps marks of a document, (2 or 3, tokens)."""
        start, end = self._ends[index], self._ends[index + 1]
        size = 4 * self._planes
        found = os.pread(self._file.fileno(), size * (end - start), size * start)
        return np.frombuffer(found, np.int32).reshape(self._planes, end - start)

    def _explain(self, error: OSError) -> InputError | OSError:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return error
        return InputError(
            f"{self.folder}: the disk has no room for the tokens of the documents, "
            f"{4 * self._planes} bytes each while they are packed ({error.strerror} after "
            f"{self.tokens:,} tokens); make room and run again"
        )


def _make_lists(values: npt.NDArray[np.int32], counts: npt.NDArray[np.int64]) -> pa.Array:
    """A column with lists of so many values each, which shares the memory of ``values``."""
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    # pa.array would do the same, but imports pandas, 60 MB
    flat = pa.Array.from_buffers(pa.int32(), len(values), [None, pa.py_buffer(values)])
    buffers = [None, pa.py_buffer(offsets)]
    return pa.Array.from_buffers(pa.list_(pa.int32()), len(counts), buffers, children=[flat])
