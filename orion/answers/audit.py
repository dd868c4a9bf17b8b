"""Two policies on the same rows: how often they agree, what is in dispute, and between which bounds the accuracy lies.

Inputs: rows of (id, gold, response, whether it ended), two policy names. Outputs: an `Audit` and the rows that differ, as records
and as lines of text. Standard library only. Run: ``orion answers audit FILE``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NamedTuple

from orion.answers.api import check_many
from orion.answers.verdict import VERDICTS, Verdict

# rows that are checked between two signs of life: a checker that hangs takes its whole deadline for each
SLICE = 16
# characters of one printed text, and of the response's end in a record
SHOWN = 80
TAIL = 600


class Row(NamedTuple):
    """One response to judge; `finished` as in `check`. Texts that are no string count as such."""

    id: str
    gold: Any
    response: Any
    finished: bool | None = None


class AuditedRow(NamedTuple):
    """A row with both verdicts. It is in dispute where one of them gives credit and the other does not."""

    row: Row
    first: Verdict
    second: Verdict

    @property
    def differs(self) -> bool:
        return self.first.verdict != self.second.verdict

    @property
    def disputed(self) -> bool:
        return self.first.correct != self.second.correct


@dataclass
class Audit:
    """The tally of two policies: (first verdict, second verdict) → rows."""

    names: tuple[str, str]
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)

    def add(self, audited: AuditedRow) -> None:
        self.counts[audited.first.verdict, audited.second.verdict] += 1

    @property
    def rows(self) -> int:
        return self.counts.total()

    def correct(self, side: int) -> int:
        """Rows to which one side, 0 or 1, gives credit."""
        return sum(count for pair, count in self.counts.items() if pair[side] == "correct")

    @property
    def both_correct(self) -> int:
        return self.counts["correct", "correct"]

    @property
    def disputed(self) -> int:
        return self.correct(0) + self.correct(1) - 2 * self.both_correct

    @property
    def differing(self) -> int:
        return sum(count for (first, second), count in self.counts.items() if first != second)

    def band(self) -> tuple[float, float]:
        """The accuracy where every row in dispute is wrong, and where every one is right; (nan, nan) without rows."""
        return _share(self.both_correct, self.rows), _share(
            self.both_correct + self.disputed, self.rows
        )

    def accuracy(self, side: int) -> float:
        """The accuracy under one side, 0 or 1; nan without rows."""
        return _share(self.correct(side), self.rows)


def _share(count: int, rows: int) -> float:
    return count / rows if rows else float("nan")


def audit_rows(
    rows: Iterable[Row],
    names: tuple[str, str],
    *,
    timeout_s: float,
    workers: int = 1,
    done: Callable[[int], None] = lambda count: None,
) -> Iterator[AuditedRow]:
    """Every row with its two verdicts, in order; `done` hears of every slice. Raises PolicyError as `check` does."""
    left = iter(rows)
    while part := list(islice(left, SLICE)):
        responses, golds, ends = (
            [getattr(row, name) for row in part] for name in ("response", "gold", "finished")
        )
        sides = [
            check_many(responses, golds, name, timeout_s, workers, finished=ends) for name in names
        ]
        done(len(part))
        yield from (AuditedRow(*found) for found in zip(part, *sides, strict=True))


def one_line(text: Any, limit: int = SHOWN) -> str:
    """A text as one printable line of at most `limit` characters: what could move a terminal's cursor is escaped."""
    if text is None:
        return "-"
    text = str(text) or "(empty)"
    escaped = "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode() for c in text[: limit + 1]
    )
    return escaped if len(escaped) <= limit else escaped[: limit - 1] + "…"


def difference_record(audited: AuditedRow, names: tuple[str, str]) -> dict:
    """A row that differs, for a file: id, gold, whether it is in dispute, both verdicts in full, the response's end."""
    row = audited.row
    return {
        "id": row.id,
        "gold": row.gold,
        "disputed": audited.disputed,
        names[0]: audited.first.as_dict(),
        names[1]: audited.second.as_dict(),
        "response_end": row.response[-TAIL:] if isinstance(row.response, str) else row.response,
    }


def format_difference(audited: AuditedRow, names: tuple[str, str]) -> list[str]:
    """A row that differs, for reading: one line with id and gold, and one for each side."""
    width = max(map(len, names))
    shown = [f"{one_line(audited.row.id)}  gold {one_line(audited.row.gold)}"]
    for name, side in zip(names, (audited.first, audited.second), strict=True):
        text = f"{one_line(side.extracted)} read as {one_line(side.normal)}, the gold as {one_line(side.gold_normal)}"
        reason = f" ({one_line(side.reason)})" if side.reason else ""
        shown.append(f"    {name:<{width}}  {side.verdict:<11}  {text}{reason}")
    return shown


def format_summary(audit: Audit) -> list[str]:
    """Both accuracies, the band, and the table of verdicts (rows: the first policy, columns: the second)."""
    width = max(*map(len, audit.names), len("unparseable"))
    text = [f"{audit.rows:,} rows"]
    for side, name in enumerate(audit.names):
        text.append(
            f"accuracy  {name:<{width}}  {audit.accuracy(side):7.2%}  ({audit.correct(side):,} correct)"
        )
    low, high = audit.band()
    text.append(
        f"band      {low:.2%} to {high:.2%}: the {audit.disputed:,} rows in dispute all wrong, all right"
    )
    columns = [name for name in VERDICTS if any(second == name for _, second in audit.counts)]
    text += ["", f"verdicts of {audit.names[0]} (down) and {audit.names[1]} (across):"]
    text.append("  ".join([" " * width, *(f"{name:>11}" for name in columns)]))
    for first in VERDICTS:
        cells = [audit.counts[first, second] for second in columns]
        if any(cells):
            text.append("  ".join([f"{first:<{width}}", *(f"{cell:>11,}" for cell in cells)]))
    return text
