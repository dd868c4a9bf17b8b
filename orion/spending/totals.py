"""What a completion store holds: completions and their tokens, by the folders of the models.

Input: ``results/completions``. Output: counts. Nothing is written, and other processes may write
the store meanwhile.
"""

import errno
from dataclasses import dataclass
from pathlib import Path

import polars as pl

# columns of the store's parts (orion.completions.parts)
KEY = "cell"
TOKENS = ("prompt_tokens", "completion_tokens")


@dataclass(frozen=True)
class Counts:
    """Completions, and the tokens of their prompts and texts."""

    completions: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(
            self.completions + other.completions,
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
        )


class StoreTotals:
    """Counts of a completion store. A part is never rewritten, so it is read once."""

    def __init__(self, store: Path):
        self.store = store
        self._parts: dict[Path, Counts] = {}

    def count(self) -> dict[str, Counts]:
        """Folder → its rows. A completion counts twice while two parts have it."""
        found: dict[str, Counts] = {}
        for path in sorted(self.store.glob("*/part-*.parquet")):
            if path not in self._parts:
                rows = _read(path, TOKENS)
                if rows is None:
                    continue
                self._parts[path] = _sum_up(rows)
            folder = path.parent.name
            found[folder] = found.get(folder, Counts()) + self._parts[path]
        return found

    def count_distinct(self) -> dict[str, Counts]:
        """Folder → its completions, each once; reads the keys of all parts."""
        found: dict[str, Counts] = {}
        for folder in sorted(self.store.glob("*/")):
            parts = [_read(path, (KEY, *TOKENS)) for path in sorted(folder.glob("part-*.parquet"))]
            rows = [part for part in parts if part is not None]
            if rows:
                found[folder.name] = _sum_up(pl.concat(rows).unique(KEY))
        return found


def _read(path: Path, columns: tuple[str, ...]) -> pl.DataFrame | None:
    """Columns of a part; None for one that is damaged, or gone since it was merged with others."""
    try:
        return pl.read_parquet(path, columns=list(columns))
    except pl.exceptions.PolarsError:
        return None
    except OSError as error:
        if error.errno in (None, errno.ENOENT, errno.ESTALE):
            return None
        raise


def _sum_up(rows: pl.DataFrame) -> Counts:
    return Counts(rows.height, *(int(rows[name].sum()) for name in TOKENS))
