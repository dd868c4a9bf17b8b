"""The store of one model's completions: which keys it holds, their rows, new rows.

Input: a root folder, a model's digest, tables with the column ``KEY``. Output: tables with the
columns ``STORED_COLUMNS``. A lookup reads the key column of all parts, then only the row groups
that hold a wanted key. Several processes may use one root at once. Where two of them generated the
same completion, both rows are equal or the first by content is used.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np
import polars as pl
import pyarrow as pa

from orion.completions import compaction, parts
from orion.completions.parts import (
    KEY,
    STORED_COLUMNS,
    UNSTORED_FINISH_REASONS,
)
from orion.engines import Completion

# how long a lookup is repeated while parts vanish between their listing and their reading
LOOKUP_TIMEOUT_S = 60.0

Result = TypeVar("Result")


def as_frame(completions: Iterable[Completion]) -> pl.DataFrame:
    """Completions as rows with the columns ``STORED_COLUMNS``."""
    rows = list(completions)
    columns = {
        KEY: [row.key for row in rows],
        "response": [row.response for row in rows],
        "finish_reason": [row.finish_reason for row in rows],
        "prompt_tokens": [row.prompt_tokens for row in rows],
        "completion_tokens": [row.completion_tokens for row in rows],
    }
    return pl.DataFrame(columns, schema=STORED_COLUMNS)


class CompletionStore:
    """The stored completions of one model under a root folder."""

    def __init__(self, root: str | Path, model_digest: str):
        self.folder = Path(root) / model_digest[:16]

    def parts(self) -> list[Path]:
        """The part files, sorted by name."""
        return parts.list_parts(self.folder)

    def contains(self, keys: pl.DataFrame) -> pl.Series:
        """For each key in the column ``KEY``, whether it is stored; no text is read.

        Compares 64 of a key's 256 bits. With 5 million keys stored and as many wanted, one call in
        a million takes a missing completion for a stored one. `get` compares whole keys.
        """
        hashes = self._look_up(lambda paths: _find_matches(paths, keys))["hash"]
        return keys[KEY].hash().is_in(hashes.implode())

    def get(self, keys: pl.DataFrame) -> pl.DataFrame:
        """The stored rows of the keys in the column ``KEY``, one row per completion.

        A damaged part is renamed to ``*.damaged`` with a message on standard error. Its completions
        count as missing.
        """
        found = self._look_up(
            lambda paths: pl.concat([pl.DataFrame(schema=STORED_COLUMNS), *_read_rows(paths, keys)])
        )
        return parts.resolve_duplicates(found.join(keys.select(KEY), on=KEY, how="semi"))

    def append(self, completions: Iterable[Completion]) -> Path | None:
        """Publish completions as one new part and return its path; see `write`."""
        return self.write(as_frame(completions))

    def write(self, rows: pl.DataFrame) -> Path | None:
        """Publish rows with the columns ``STORED_COLUMNS`` as one new part and return its path.

        Rows whose finish reason is in ``UNSTORED_FINISH_REASONS`` are not stored; None if there are
        no others.
        """
        stored = rows.filter(~pl.col("finish_reason").is_in(UNSTORED_FINISH_REASONS))
        return parts.write_part(self.folder, [stored]) if stored.height else None

    def probe(self) -> None:
        """Raises OSError if the folder cannot be made or written."""
        parts.probe_folder(self.folder)

    def _look_up(self, read: Callable[[list[Path]], Result]) -> Result:
        """The result of ``read`` on the parts, repeated where a part is gone or was set aside."""
        compaction.compact(self.folder)
        end = time.monotonic() + LOOKUP_TIMEOUT_S
        while True:
            paths = self.parts()
            try:
                return read(paths)
            except parts.READ_ERRORS:
                if not parts.set_damaged_aside(paths) or time.monotonic() > end:
                    raise
                time.sleep(0.01)


def _find_matches(paths: list[Path], keys: pl.DataFrame) -> pl.DataFrame:
    """Stored rows whose key has the hash of a wanted key: hash, row (counted over all parts)."""
    if not paths or not keys.height:
        return pl.DataFrame(schema={"hash": pl.UInt64, "row": pl.UInt32})
    stored = pl.scan_parquet(paths, schema=STORED_COLUMNS, row_index_name="row").select(
        "row", hash=pl.col(KEY).hash()
    )
    # joining numbers takes half the time and memory of joining strings
    wanted = keys.lazy().select(hash=pl.col(KEY).hash())
    return stored.join(wanted, on="hash", how="semi").collect(engine="streaming")


def _read_rows(paths: list[Path], keys: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """All columns of the rows that `_find_matches` finds; other row groups are not read."""
    rows = np.sort(_find_matches(paths, keys)["row"].to_numpy()).astype(np.int64)
    start = 0
    for path in paths if len(rows) else []:
        sizes = parts.row_group_sizes(path)
        bounds = start + np.cumsum([0, *sizes])
        edges = np.searchsorted(rows, bounds)
        selection = [
            (i, pa.array(rows[edges[i] : edges[i + 1]] - bounds[i])) for i in range(len(sizes))
        ]
        start = int(bounds[-1])
        yield from parts.read_row_groups(
            path, [(i, chosen) for i, chosen in selection if len(chosen)]
        )
