"""From mapped rows to problems: unusable rows are set aside, further traces of a problem joined.

Problems wait in a `Spool`, so that memory grows with their keys and not with their texts.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator
from typing import Any

import polars as pl
import pyarrow as pa

from orion import tables
from orion.data.decontamination import BenchmarkIndex, fold_text
from orion.data.fields import COLUMNS, FieldMap, Mapped, Trace
from orion.data.formats import BadRow, Row
from orion.data.golds import find_placeholder
from orion.data.spool import Spool

RECORD = pa.schema(
    [
        ("problem_id", pa.string()),
        ("order", pa.int64()),
        ("own_id", pa.string()),
        ("problem", pa.string()),
        ("answer", pa.string()),
        ("solution", pa.string()),
        ("suspect_label", pa.bool_()),
        ("traces", pa.list_(pa.string())),
        ("sources", pa.list_(pa.string())),
    ]
)
# behind the order of every row of the problems' own source
_JOINED = 1 << 40
_REJECTED_AT_ONCE = 20_000


def find_fault(row: Mapped) -> tuple[str, str] | None:
    """(reason, detail) why a row cannot be a problem, whatever the other rows are; else None."""
    if row.fault:
        return row.fault
    for name in ("problem_id", "problem", "answer"):
        value = getattr(row, name)
        if value is None or not value.strip():
            return f"missing_{name}", f"{name} is empty or absent"
    placeholder = find_placeholder(row.answer)
    return ("placeholder_answer", placeholder) if placeholder else None


class Rejected:
    """The rows that are set aside, with their reasons."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.first: list[Row] = []
        self._rows: list[Row] = []
        self._frames: list[pl.DataFrame] = []

    def __len__(self) -> int:
        return self.counts.total()

    def add(self, row: int, problem_id: str | None, reason: str, detail: str | None) -> None:
        """Set one row aside."""
        self.counts[reason] += 1
        # a lone surrogate cannot be written
        texts = [t and t.encode("utf-8", "replace").decode() for t in (problem_id, detail)]
        found = {"row": row, "problem_id": texts[0], "reason": reason, "detail": texts[1] or ""}
        if len(self.first) < 5:
            self.first.append(found)
        self._rows.append(found)
        if len(self._rows) >= _REJECTED_AT_ONCE:
            self._flush()

    def _flush(self) -> None:
        self._frames.append(tables.from_rows(self._rows, tables.REJECTED))
        self._rows = []

    def frame(self) -> pl.DataFrame:
        """The table rejected."""
        self._flush()
        return pl.concat(self._frames)


def text_key(text: str) -> bytes:
    """What two problems have in common whose texts are equal but for case and white space."""
    return hashlib.blake2b(fold_text(text).encode("utf-8", "replace"), digest_size=16).digest()


class Collector:
    """Takes mapped rows, one by one, and gives the problems sorted by problem_id.

    ``with_traces``: rows of one problem and answer with different traces are one problem with
    several traces; otherwise the later ones are duplicates. ``suspect``: problem ids or row numbers
    whose gold labels are suspect, rejected if ``drop_suspect``.
    """

    def __init__(
        self,
        spool: Spool,
        benchmarks: BenchmarkIndex,
        *,
        with_traces: bool,
        suspect: frozenset[str | int] = frozenset(),
        drop_suspect: bool = False,
    ):
        self.spool, self.benchmarks, self.with_traces = spool, benchmarks, with_traces
        self.suspect, self.drop_suspect = suspect, drop_suspect
        self.rejected = Rejected()
        self.rows = 0
        # problem_id → (its first row, its answer); text → problem_id
        self.ids: dict[str, tuple[int, str]] = {}
        self.texts: dict[bytes, str] = {}
        # what a generated problem says of itself, by its row; files have none
        self.metas: dict[int, Row] = {}

    def add_bad(self, row: BadRow, number: int) -> None:
        """Set a row aside that could not be read."""
        self.rows += 1
        self.rejected.add(number, None, row.reason, row.detail)

    def add(self, row: Mapped) -> None:
        """Take one mapped row, as a problem, as a further trace of one, or as a rejected row."""
        self.rows += 1
        problem_id, fault = row.problem_id, find_fault(row)
        if fault is None:
            key = text_key(row.problem)
            first = self.texts.get(key)
            same = first is not None and self.with_traces and bool(row.traces)
            if same and self.ids[str(first)][1].strip() == row.answer.strip():
                self._spool(row, str(first), None)
                return
            fault = self._find_repetition(row, first, same) or self._find_flaw(row)
        if fault is not None:
            self.rejected.add(row.row, problem_id, *fault)
            return
        self.ids[problem_id] = (row.row, row.answer)
        if row.meta:
            self.metas[row.row] = row.meta
        self.texts[key] = problem_id
        self._spool(row, problem_id, row.problem)

    def _find_repetition(
        self, row: Mapped, first: str | None, same: bool
    ) -> tuple[str, str] | None:
        if row.problem_id in self.ids:
            at = self.ids[row.problem_id][0]
            return "duplicate_problem_id", f"row {at} has the same id"
        if first is not None:
            other = " and another answer" if same else ""
            return "duplicate_problem", f"row {self.ids[first][0]} has the same text{other}"
        return None

    def _find_flaw(self, row: Mapped) -> tuple[str, str] | None:
        if self.drop_suspect and self.is_suspect(row):
            return "suspect_label", "the gold label is suspect, and drop_suspect_labels is set"
        hit = self.benchmarks.find_overlap(row.problem)
        return ("contaminated", hit) if hit else None

    def is_suspect(self, row: Mapped) -> bool:
        """Whether the configuration lists the row's gold label as suspect."""
        return row.row in self.suspect or row.problem_id in self.suspect

    def _spool(self, row: Mapped, problem_id: str, problem: str | None) -> None:
        texts = [trace.text for trace in row.traces]
        record = (
            problem_id,
            row.row,
            row.problem_id,
            problem,
            row.answer,
            row.solution,
            self.is_suspect(row),
            texts,
            [trace.source for trace in row.traces],
        )
        size = len(row.problem or "") + len(row.solution or "") + sum(map(len, texts))
        self.spool.add(record, size + 200)

    def add_trace(self, problem_id: str, number: int, traces: list[Trace]) -> None:
        """Take traces of a problem from another source."""
        texts = [trace.text for trace in traces]
        sources = [trace.source for trace in traces]
        record = (problem_id, _JOINED + number, None, None, None, None, None, texts, sources)
        self.spool.add(record, sum(map(len, texts)) + 200)

    def problems(self) -> Iterator[Row]:
        """The problems in order of problem_id, with all their traces; equal traces count once.

        A row that adds no trace to its problem is rejected here.
        """
        found: Row | None = None
        for record in self.spool.read_sorted():
            named = dict(zip(RECORD.names, record, strict=True))
            if found is None or found["problem_id"] != named["problem_id"]:
                if found is not None:
                    yield found
                found = {**named, "row": named["order"], "traces": {}}
            before = len(found["traces"])
            for text, source in zip(named["traces"], named["sources"], strict=True):
                found["traces"].setdefault(text, source)
            is_repeated = named["order"] < _JOINED and len(found["traces"]) == before
            if is_repeated and named["order"] != found["row"]:
                detail = f"row {found['row']} has the same text and the same trace"
                self.rejected.add(named["order"], named["own_id"], "duplicate_problem", detail)
        if found is not None:
            yield found


def join_source(
    collector: Collector, rows: Iterator[Row | BadRow], mapping: FieldMap, join_on: str
) -> str:
    """Give the problems the traces of another source; what joined and what did not, in words.

    Texts are compared without case and white space. The words name some keys of either side that
    found no partner.
    """
    joined: set[str] = set()
    unusable = unmatched = traces = 0
    examples: list[str] = []
    for number, row in enumerate(rows):
        if isinstance(row, BadRow):
            unusable += 1
            continue
        if not mapping.accepts(row):
            continue
        found = mapping.map(row, number)
        key = found.problem_id
        if found.fault or key is None or not found.traces:
            unusable += 1
            continue
        key = key.strip()
        target = key if join_on == "problem_id" else collector.texts.get(text_key(key))
        if target is None or target not in collector.ids:
            unmatched += 1
            examples += [key] if len(examples) < 3 else []
            continue
        traces += len(found.traces)
        joined.add(target)
        collector.add_trace(target, number, found.traces)
    mapping.check_seen()
    absent = [name for name in collector.ids if name not in joined]
    words = f"{traces} traces joined {len(joined)} of {len(collector.ids)} problems on {join_on}"
    if absent:
        words += f"; without one: {len(absent)}, such as {_quote(absent)}"
    if unmatched:
        words += f"; keys that match no problem: {unmatched}, such as {_quote(examples)}"
    return words + (f"; rows without a key or a trace: {unusable}" if unusable else "")


def _quote(texts: list[str]) -> str:
    return ", ".join(repr(text if len(text) <= 60 else f"{text[:57]}...") for text in texts[:3])


def frame_of(rows: list[Row]) -> pl.DataFrame:
    """The table problems of some problems of a `Collector`, without ``meta``.

    The first trace is ``teacher_trace``, the others are ``further_traces``; ``trace_sources`` names
    the source of each, in that order, and is null where there is no trace.
    """
    texts = [list(row["traces"]) for row in rows]
    columns: dict[str, list[Any]] = {
        **{name: [row[name] for row in rows] for name in COLUMNS[:-1]},
        "teacher_trace": [each[0] if each else None for each in texts],
        "further_traces": [each[1:] or None for each in texts],
        "trace_sources": [list(row["traces"].values()) or None for row in rows],
    }
    # pyarrow makes lists of texts ten times as fast as polars
    types = {**dict.fromkeys(COLUMNS, pa.string())}
    lists = dict.fromkeys(("further_traces", "trace_sources"), pa.list_(pa.string()))
    arrays = {n: pa.array(v, {**types, **lists}[n]) for n, v in columns.items()}
    return pl.DataFrame(pl.from_arrow(pa.table(arrays)))
