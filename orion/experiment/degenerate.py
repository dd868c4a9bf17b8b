"""Degenerate tables: how many rows of one have failed, and the limits that make it an error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

# defaults of the configuration
MAX_FAILED_FRACTION = 0.1
MIN_ROWS = 10


@dataclass(frozen=True)
class FailedRows:
    """Rows of a table of completions that have failed; each row counts under one name.

    ``longest_prompt``: tokens of the longest prompt that was too long.
    """

    rows: int
    prompt_too_long: int
    error: int
    empty: int
    longest_prompt: int | None

    @property
    def count(self) -> int:
        """All rows that have failed."""
        return self.prompt_too_long + self.error + self.empty

    def exceeds(self, fraction: float) -> bool:
        """Whether more than this fraction of the rows has failed."""
        return self.count > fraction * self.rows

    def __str__(self) -> str:
        counts = {name: getattr(self, name) for name in ("prompt_too_long", "error", "empty")}
        named = ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)
        return f"{self.count:,} of {self.rows:,} rows failed ({named})"


def count_failed(completions: pl.DataFrame) -> FailedRows:
    """The rows of samples or reflections that have failed.

    A row is ``empty`` if its response has no character but white space.
    """
    # here, because the configuration needs the limits above and Snakemake starts without polars
    import polars as pl

    finish = pl.col("finish_reason")
    too_long, error = finish == "prompt_too_long", finish == "error"
    empty = pl.col("response").str.strip_chars().str.len_bytes() == 0
    counts = completions.select(
        prompt_too_long=too_long.sum(),
        error=error.sum(),
        empty=(empty & ~too_long & ~error).sum(),
        longest_prompt=pl.col("prompt_tokens").filter(too_long).max(),
    )
    return FailedRows(rows=completions.height, **counts.row(0, named=True))
