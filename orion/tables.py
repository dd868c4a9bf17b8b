"""The tables on disk: their columns, and the functions that read and write them.

A writer asserts columns, types, unique keys, ranges and the row count, sorts by key and publishes
the file by rename, so that a reader never sees half a table. A table's provenance is in the
metadata of its parquet file, under the key ``orion``.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from orion.errors import InputError
from orion.paths import AtomicFile

PROVENANCE_KEY = "orion"

# rows; check reads one row group at a time: 4,096 responses of 30,000 characters are about 120 MB
ROW_GROUP = 4_096

# columns of any table that are never negative
_COUNTS = ("sample_id", "rank", "row", "prompt_tokens", "completion_tokens")
_NOT_NEGATIVE = (*_COUNTS, "true", "false", "unknown")

# how a completion ended: one of these, or what its server says (content_filter, tool_calls, ...;
# unknown where it says nothing)
FINISH_REASONS = ("stop", "length", "prompt_too_long", "error")
FINISH_REASON = r"[a-z][a-z0-9_-]{0,31}"


@dataclass(frozen=True)
class Table:
    """A table's columns in order; ``None`` as a type accepts any struct.

    ``nullable`` columns may hold nulls; ``allowed`` lists the values of a column, ``patterns`` has
    what they all match. ``optional`` columns come last and are null where a frame to be written
    lacks them.
    """

    name: str
    key: tuple[str, ...]
    columns: dict[str, Any]
    nullable: frozenset[str] = frozenset()
    allowed: dict[str, tuple[str, ...]] = field(default_factory=dict)
    patterns: dict[str, str] = field(default_factory=dict)
    optional: dict[str, Any] = field(default_factory=dict)


# the prompt templates of reflections: with the student's errors, and without
REFLECTION_TEMPLATES = ("reflect", "rewrite")

_COMPLETION_COLUMNS = {
    "response": pl.String,
    "finish_reason": pl.String,
    "prompt_tokens": pl.Int64,
    "completion_tokens": pl.Int64,
    "completion": pl.String,
}

PROBLEMS = Table(
    "problems",
    ("problem_id",),
    {
        "problem_id": pl.String,
        "problem": pl.String,
        "answer": pl.String,
        "solution": pl.String,
        "teacher_trace": pl.String,
        "meta": None,
    },
    nullable=frozenset({"solution", "teacher_trace"}),
    # teacher_trace is the first of a problem's candidates, of rank 0; the others follow in order.
    # trace_sources: where each stood, also the first
    optional={"further_traces": pl.List(pl.String), "trace_sources": pl.List(pl.String)},
)
REJECTED = Table(
    "rejected",
    ("row",),
    {"row": pl.Int64, "problem_id": pl.String, "reason": pl.String, "detail": pl.String},
    nullable=frozenset({"problem_id"}),
)
SAMPLES = Table(
    "samples",
    ("problem_id", "sample_id"),
    {"problem_id": pl.String, "sample_id": pl.Int64, "template": pl.String, **_COMPLETION_COLUMNS},
    allowed={"template": ("solve",)},
    patterns={"finish_reason": FINISH_REASON},
)
# error_ranks: the ranks (table errors) of the errors that belong to the prompt, also in an arm that
# does not show them; empty for the template rewrite
REFLECTIONS = Table(
    "reflections",
    ("problem_id", "sample_id"),
    {
        "problem_id": pl.String,
        "sample_id": pl.Int64,
        "template": pl.String,
        "error_ranks": pl.List(pl.Int64),
        **_COMPLETION_COLUMNS,
    },
    allowed={"template": REFLECTION_TEMPLATES},
    patterns={"finish_reason": FINISH_REASON},
)
VERDICTS = Table(
    "verdicts",
    ("problem_id", "sample_id"),
    {
        "problem_id": pl.String,
        "sample_id": pl.Int64,
        "verdict": pl.String,
        "extracted": pl.String,
        "reason": pl.String,
        "rule": pl.String,
    },
    nullable=frozenset({"extracted"}),
)
# what orion.answers.steps finds in each text that has a verdict: its claims by their truth.
# first_false: offsets into that text, null where no claim is false; a long claim's text is cut
STEPS = Table(
    "steps",
    ("problem_id", "sample_id"),
    {
        "problem_id": pl.String,
        "sample_id": pl.Int64,
        "true": pl.Int64,
        "false": pl.Int64,
        "unknown": pl.Int64,
        "first_false": pl.Struct(
            {"start": pl.Int64, "end": pl.Int64, "text": pl.String, "rule": pl.String}
        ),
    },
    nullable=frozenset({"first_false"}),
)
ERRORS = Table(
    "errors",
    ("problem_id", "rank"),
    {
        "problem_id": pl.String,
        "rank": pl.Int64,
        "sample_id": pl.Int64,
        "response": pl.String,
        "extracted": pl.String,
        "source": pl.String,
        "source_problem_id": pl.String,
        "own_sample_id": pl.Int64,
    },
    nullable=frozenset({"extracted", "sample_id"}),  # sample_id: null for a falsified solution
    allowed={"source": ("own", "other_problem", "sham")},
)
TRAIN = Table(
    "train",
    ("problem_id", "row"),
    {
        "problem_id": pl.String,
        "row": pl.Int64,
        "prompt": pl.String,
        "completion": pl.String,
        "target_kind": pl.String,
        "sample_id": pl.Int64,
        "error_sample_ids": pl.List(pl.Int64),
        "filters_passed": pl.List(pl.String),
    },
    nullable=frozenset({"sample_id"}),
    allowed={"target_kind": ("solution", "teacher_trace", "own_correct", "reflection", "oracle")},
)
PACKED = Table(
    "packed",
    ("row",),
    {
        "row": pl.Int64,
        "input_ids": pl.List(pl.Int32),
        "labels": pl.List(pl.Int32),
        "position_ids": pl.List(pl.Int32),
        "seq_lengths": pl.List(pl.Int32),
    },
    # whether the row is held out; 1 for a token that is a key step, else 0
    optional={"validation": pl.Boolean, "key_steps": pl.List(pl.Int32)},
)


def check(frame: pl.DataFrame, table: Table, *, rows: int | None = None) -> pl.DataFrame:
    """The frame with the table's columns in order, sorted by key.

    ``rows`` is the expected row count. Raises AssertionError where the frame breaks the contract.
    """
    missing = set(table.columns) - set(frame.columns)
    assert not missing, f"{table.name}: columns missing: {sorted(missing)}"
    absent = [pl.lit(None, t).alias(c) for c, t in table.optional.items() if c not in frame.columns]
    columns = {**table.columns, **table.optional}
    frame = frame.with_columns(absent).select(list(columns)).sort(table.key)
    for column, dtype in columns.items():
        found = frame.schema[column]
        fits = isinstance(found, pl.Struct) if dtype is None else found == dtype
        assert fits, f"{table.name}.{column}: {found} instead of {dtype or 'a struct'}"
        nulls = frame[column].null_count()
        may_be_null = column in table.nullable or column in table.optional
        assert nulls == 0 or may_be_null, f"{table.name}.{column}: {nulls} nulls"
        if column in table.allowed:
            unknown = set(frame[column].unique()) - set(table.allowed[column])
            assert not unknown, f"{table.name}.{column}: unknown values {sorted(unknown)}"
        if column in table.patterns:
            values = frame[column].unique().drop_nulls()
            odd = values.filter(~values.str.contains(f"^(?:{table.patterns[column]})$"))
            assert odd.is_empty(), f"{table.name}.{column}: unknown values {odd.sort().to_list()}"
    for column in _NOT_NEGATIVE:
        low = frame[column].min() if column in table.columns and frame.height else None
        assert low is None or low >= 0, f"{table.name}.{column}: negative"  # type: ignore[operator]
    assert frame.select(pl.struct(table.key).is_duplicated().any()).item() is not True, (
        f"{table.name}: duplicate keys"
    )
    assert rows is None or frame.height == rows, (
        f"{table.name}: expected {rows} rows, got {frame.height}"
    )
    return frame


def is_finish_reason(text: str) -> bool:
    """Whether a table may say that a completion ended in this way."""
    return re.fullmatch(FINISH_REASON, text) is not None


def empty(table: Table) -> pl.DataFrame:
    """A table without rows; not for the table problems, whose struct has no fixed type."""
    return pl.DataFrame(schema=table.columns)


def from_rows(rows: Iterable[dict[str, Any]], table: Table) -> pl.DataFrame:
    """A frame with the table's types from rows given as dictionaries."""
    return pl.DataFrame(
        list(rows), schema={k: v for k, v in table.columns.items() if v is not None}, orient="row"
    )


def write(
    frame: pl.DataFrame,
    path: str | Path,
    table: Table,
    provenance: dict[str, Any],
    *,
    rows: int | None = None,
) -> None:
    """Check the table as `check` does and publish it as parquet by rename.

    The same frame and provenance give the same bytes.
    """
    frame = check(frame, table, rows=rows)
    with AtomicFile(path) as partial:
        frame.write_parquet(
            partial,
            metadata=_metadata(table, provenance),
            compression="zstd",
            statistics=False,
            row_group_size=ROW_GROUP,
        )


def _metadata(table: Table, provenance: dict[str, Any]) -> dict[str, str]:
    return {PROVENANCE_KEY: json.dumps(provenance, sort_keys=True), "orion.table": table.name}


class Writer:
    """Context manager that writes a table in slices and publishes it by rename, as `write` does.

    For tables that are made row group by row group, so that memory does not grow with them. The
    slices come in the order of the key. ``rows`` is the expected row count of the whole table;
    ``dtypes`` the types of columns that the table leaves open.
    """

    def __init__(
        self,
        path: str | Path,
        table: Table,
        provenance: dict[str, Any],
        *,
        rows: int | None = None,
        dtypes: dict[str, Any] | None = None,
    ):
        self.table, self.expected, self.rows = table, rows, 0
        self._last: tuple[Any, ...] | None = None
        columns = {**table.columns, **table.optional, **(dtypes or {})}
        schema = _to_arrow(pl.DataFrame(schema=columns)).schema
        self._schema = schema.with_metadata(_metadata(table, provenance))
        self._file = AtomicFile(path)
        self._parquet: pq.ParquetWriter | None = None

    def __enter__(self) -> Self:
        self._parquet = pq.ParquetWriter(
            self._file.__enter__(), self._schema, compression="zstd", write_statistics=False
        )
        return self

    def write(self, frame: pl.DataFrame) -> None:
        """Check one slice as `check` does and write it.

        Raises AssertionError where the slice breaks the contract, or its keys do not follow those
        of the slices before it.
        """
        assert self._parquet is not None, "write inside the with block"
        if frame.is_empty():
            return
        frame = check(frame, self.table)
        keys = frame.select(self.table.key)
        assert self._last is None or self._last < keys.row(0), (
            f"{self.table.name}: key {keys.row(0)} after {self._last}"
        )
        self._last = keys.row(-1)
        self.rows += frame.height
        rows = _to_arrow(frame).cast(self._schema)
        self._parquet.write_table(rows, row_group_size=ROW_GROUP)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._parquet is not None
        self._parquet.close()
        fits = self.expected is None or self.rows == self.expected
        self._file.__exit__(kind if fits else AssertionError, value, traceback)
        assert kind is not None or fits, (
            f"{self.table.name}: expected {self.expected} rows, got {self.rows}"
        )


def _to_arrow(frame: pl.DataFrame) -> pa.Table:
    return frame.to_arrow(compat_level=pl.CompatLevel.oldest())


def read(path: str | Path, table: Table, columns: list[str] | None = None) -> pl.DataFrame:
    """A table from disk; raises InputError if the file is damaged or another table."""
    try:
        metadata = pl.read_parquet_metadata(path)
        frame = pl.read_parquet(path, columns=columns)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise explain_unreadable(path, error) from None
    _assert_kind(path, table, metadata.get("orion.table"))
    return frame


def size(path: str | Path, table: Table) -> tuple[int, int]:
    """(rows, row groups) of a table on disk, without its data; raises as `read` does."""
    try:
        found = pq.read_metadata(path)
    except (pa.ArrowException, OSError) as error:
        raise explain_unreadable(path, error) from None
    kind = (found.metadata or {}).get(b"orion.table")
    _assert_kind(path, table, kind.decode() if kind else None)
    return found.num_rows, found.num_row_groups


def explain_unreadable(path: str | Path, error: Exception) -> InputError:
    """The error of a damaged parquet file, with its cure."""
    reason = " ".join(str(error).split())  # it may have several lines
    return InputError(f"{path}: not a readable parquet file ({reason}); delete it and run again")


def _assert_kind(path: str | Path, table: Table, kind: str | None) -> None:
    if kind != table.name:
        raise InputError(f"{path}: holds {kind or 'no table of this project'}, not {table.name}")


def read_provenance(path: str | Path) -> dict[str, Any]:
    """The provenance of an artifact: in a parquet file's metadata, or a JSON document's key."""
    if str(path).endswith(".json"):
        recorded = read_json(path)["provenance"]
    else:
        recorded = json.loads(pl.read_parquet_metadata(path)[PROVENANCE_KEY])
    return cast(dict[str, Any], recorded)


def write_json(document: dict[str, Any], path: str | Path, provenance: dict[str, Any]) -> None:
    """Publish a JSON document with sorted keys and its provenance, by rename."""
    whole = {**document, "provenance": provenance}
    text = json.dumps(whole, sort_keys=True, indent=1, ensure_ascii=False)
    with AtomicFile(path) as partial:
        Path(partial).write_text(text + "\n", encoding="utf-8")


def read_json(path: str | Path) -> dict[str, Any]:
    """A JSON document from disk; raises InputError if it is damaged."""
    try:
        return cast(dict[str, Any], json.loads(Path(path).read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}: not a readable JSON document ({error}); delete it and run again"
        ) from None
