"""The store of one model's completions: which keys it holds, their rows, new rows.

Input: a root folder, a model's digest, tables with a column ``KEY``. Output: tables with the columns ``STORED_COLUMNS`` or a part of
them. Looking up reads the key column of all parts and then, of the row groups that hold a wanted key, the rest. Several
processes may use one root at once; a cell that two of them paid for is the same under the same key, or the smaller text wins.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np
import polars as pl
import pyarrow as pa

from orion.completions import compaction, parts
from orion.completions.parts import KEY, STORED_COLUMNS, STORED_FINISH_REASONS
from orion.engines import Completion

# how long parts may go on vanishing between the listing and the reading
PATIENCE_S = 60.0

Result = TypeVar("Result")


def as_frame(completions: Iterable[Completion]) -> pl.DataFrame:
    """Completions as rows with the columns ``STORED_COLUMNS``."""
    found = list(completions)
    columns = {
        KEY: [c.key for c in found],
        "response": [c.response for c in found],
        "finish_reason": [c.finish_reason for c in found],
        "prompt_tokens": [c.prompt_tokens for c in found],
        "completion_tokens": [c.completion_tokens for c in found],
    }
    return pl.DataFrame(columns, schema=STORED_COLUMNS)


class CompletionStore:
    """The stored completions of one model under a root folder."""

    def __init__(self, root: str | Path, model_digest: str):
        self.folder = Path(root) / model_digest[:16]

    def parts(self) -> list[Path]:
        """The part files, sorted by name."""
        return parts.listed(self.folder)

    def contains(self, keys: pl.DataFrame) -> pl.Series:
        """Which of the keys in column ``KEY`` are stored; no text is read.

        Keys are compared by 64 of their 256 bits: among 5 million stored and as many wanted, one call in a million takes a
        missing cell for a stored one. `get` compares whole keys.
        """
        found = self._looking(lambda paths: _matches(paths, keys))["hash"]
        return keys[KEY].hash().is_in(found.implode())

    def get(self, keys: pl.DataFrame) -> pl.DataFrame:
        """The stored rows (schema ``STORED_COLUMNS``, one a cell) of the keys in column ``KEY``.

        A damaged part is renamed to ``*.damaged`` with a message on standard error; its cells count as missing.
        """
        found = self._looking(
            lambda paths: pl.concat([pl.DataFrame(schema=STORED_COLUMNS), *_rows(paths, keys)])
        )
        return resolved(found.join(keys.select(KEY), on=KEY, how="semi"))

    def append(self, completions: Iterable[Completion]) -> Path | None:
        """Publish completions as one new part and return its path; None if none of them was paid for."""
        return self.write(as_frame(completions))

    def write(self, rows: pl.DataFrame) -> Path | None:
        """`append` of rows with the columns ``STORED_COLUMNS``."""
        paid = rows.filter(pl.col("finish_reason").is_in(STORED_FINISH_REASONS))
        return parts.write(self.folder, [paid]) if paid.height else None

    def probe(self) -> None:
        """Raises OSError if the folder cannot be made or written."""
        parts.probe(self.folder)

    def _looking(self, look: Callable[[list[Path]], Result]) -> Result:
        """What ``look`` finds in the parts. It looks again where a part has gone or was damaged and is set aside."""
        compaction.compact(self.folder)
        end = time.monotonic() + PATIENCE_S
        while True:
            paths = self.parts()
            try:
                return look(paths)
            except parts.UNREADABLE:
                if not parts.set_aside(paths) or time.monotonic() > end:
                    raise
                time.sleep(0.01)


def resolved(rows: pl.DataFrame) -> pl.DataFrame:
    """One row a cell: the first by content, so that it matters neither which process was first nor how parts are named."""
    if not rows[KEY].is_duplicated().any():
        return rows
    return rows.sort(list(STORED_COLUMNS)).unique(KEY, keep="first", maintain_order=True)


def _matches(paths: list[Path], keys: pl.DataFrame) -> pl.DataFrame:
    """The stored rows whose key has the hash of a wanted one: hash, row (counted over all parts)."""
    if not paths or not keys.height:
        return pl.DataFrame(schema={"hash": pl.UInt64, "row": pl.UInt32})
    stored = pl.scan_parquet(paths, schema=STORED_COLUMNS, row_index_name="row").select(
        "row", hash=pl.col(KEY).hash()
    )
    # numbers are joined in half the time and memory of strings
    wanted = keys.lazy().select(hash=pl.col(KEY).hash())
    return stored.join(wanted, on="hash", how="semi").collect(engine="streaming")


def _rows(paths: list[Path], keys: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """The rows that `_matches` finds, whole, from the row groups that hold them; the others are not read."""
    rows = np.sort(_matches(paths, keys)["row"].to_numpy()).astype(np.int64)
    start = 0
    for path in paths if len(rows) else []:
        sizes = parts.sizes(path)
        bounds = start + np.cumsum([0, *sizes])
        edges = np.searchsorted(rows, bounds)
        wanted = [
            (i, pa.array(rows[edges[i] : edges[i + 1]] - bounds[i])) for i in range(len(sizes))
        ]
        start = int(bounds[-1])
        yield from parts.groups(path, [(i, places) for i, places in wanted if len(places)])
