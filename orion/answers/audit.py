"""Compare two policies on the same rows: agreement, disputed rows, and bounds of the accuracy.

Input: rows of (id, gold, response, finished), two policy names. Output: an `Audit`, and the rows
that differ, as records and as lines of text. Run: ``orion answers audit FILE``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NamedTuple

from orion.answers.api import check_many
from orion.answers.verdict import CORRECT, UNPARSEABLE, VERDICTS, Verdict

# rows between two calls of `done`: few, because a checker that hangs takes its deadline per row
SLICE = 16
# characters of one printed text, and of the end of the response in a record
SHOWN = 80
TAIL = 600


class Row(NamedTuple):
    """One response to check; `finished` as in `check`. A gold or response may be no string."""

    id: str
    gold: Any
    response: Any
    finished: bool | None = None


class AuditedRow(NamedTuple):
    """A row with both verdicts. It is disputed if exactly one of them gives credit."""

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
        return sum(count for pair, count in self.counts.items() if pair[side] == CORRECT)

    @property
    def both_correct(self) -> int:
        return self.counts[CORRECT, CORRECT]

    @property
    def disputed(self) -> int:
        return self.correct(0) + self.correct(1) - 2 * self.both_correct

    @property
    def differing(self) -> int:
        return sum(count for (first, second), count in self.counts.items() if first != second)

    def band(self) -> tuple[float, float]:
        """The accuracy if all disputed rows are wrong, and if all are right; nan without rows."""
        low, high = self.both_correct, self.both_correct + self.disputed
        return _share(low, self.rows), _share(high, self.rows)

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
    """Every row with its two verdicts, in order; `done` gets the number of rows of each slice.

    Raises PolicyError as `check` does.
    """
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
    """A text as one printable line of up to `limit` characters; control characters are escaped."""
    if text is None:
        return "-"
    text = str(text) or "(empty)"
    escaped = "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode() for c in text[: limit + 1]
    )
    return escaped if len(escaped) <= limit else escaped[: limit - 1] + "…"


def difference_record(audited: AuditedRow, names: tuple[str, str]) -> dict:
    """A row that differs, for a file: id, gold, disputed, both verdicts, end of the response."""
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
    """A row that differs, for reading: one line with id and gold, and one line per policy."""
    width = max(map(len, names))
    shown = [f"{one_line(audited.row.id)}  gold {one_line(audited.row.gold)}"]
    for name, side in zip(names, (audited.first, audited.second), strict=True):
        text = (
            f"{one_line(side.extracted)} read as {one_line(side.normal)}, "
            f"the gold as {one_line(side.gold_normal)}"
        )
        reason = f" ({one_line(side.reason)})" if side.reason else ""
        shown.append(f"    {name:<{width}}  {side.verdict:<11}  {text}{reason}")
    return shown


def format_summary(audit: Audit) -> list[str]:
    """Both accuracies, the band, and the table of verdicts (down: first policy, across: second)."""
    width = max(*map(len, audit.names), len(UNPARSEABLE))
    text = [f"{audit.rows:,} rows"]
    for side, name in enumerate(audit.names):
        correct = f"({audit.correct(side):,} correct)"
        text.append(f"accuracy  {name:<{width}}  {audit.accuracy(side):7.2%}  {correct}")
    low, high = audit.band()
    text.append(
        f"band      {low:.2%} to {high:.2%}: the {audit.disputed:,} rows in dispute all wrong, "
        "all right"
    )
    columns = [name for name in VERDICTS if any(second == name for _, second in audit.counts)]
    text += ["", f"verdicts of {audit.names[0]} (down) and {audit.names[1]} (across):"]
    text.append("  ".join([" " * width, *(f"{name:>11}" for name in columns)]))
    for first in VERDICTS:
        cells = [audit.counts[first, second] for second in columns]
        if any(cells):
            text.append("  ".join([f"{first:<{width}}", *(f"{cell:>11,}" for cell in cells)]))
    return text
