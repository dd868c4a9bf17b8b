"""The tables on disk: their columns, and the only functions that read and write them.

A writer asserts columns, unique and sorted keys, ranges and the row count, and publishes the file by rename, so that a
reader never meets half a table. Provenance travels in the parquet file's own metadata under the key ``orion``.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from orion.errors import InputError
from orion.paths import AtomicFile

PROVENANCE_KEY = "orion"

# a reader of one row group holds so many responses at a time: 4,096 of 30,000 characters are about 120 MB
ROW_GROUP = 4_096

FINISH_REASONS = ("stop", "length", "prompt_too_long", "error")


@dataclass(frozen=True)
class Table:
    """A table's columns in order; ``None`` as a type accepts any struct. ``nullable`` columns may hold nulls."""

    name: str
    key: tuple[str, ...]
    columns: dict[str, Any]
    nullable: frozenset[str] = frozenset()
    allowed: dict[str, tuple[str, ...]] = field(default_factory=dict)


# the prompt templates of reflections: with the student's errors, and without
REFLECTION_TEMPLATES = ("reflect", "rewrite")

_ANSWER = {
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
    {"problem_id": pl.String, "sample_id": pl.Int64, "template": pl.String, **_ANSWER},
    allowed={"finish_reason": FINISH_REASONS, "template": ("solve",)},
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
        **_ANSWER,
    },
    allowed={"finish_reason": FINISH_REASONS, "template": REFLECTION_TEMPLATES},
)
VERDICT_ROWS = Table(
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
    nullable=frozenset({"extracted"}),
    allowed={"source": ("own", "other_problem")},
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
    allowed={"target_kind": ("solution", "teacher_trace", "own_correct", "reflection")},
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
)


def check(frame: pl.DataFrame, table: Table, *, rows: int | None = None) -> pl.DataFrame:
    """The frame with the table's columns in order, sorted by key; raises AssertionError where it breaks the contract."""
    missing = set(table.columns) - set(frame.columns)
    assert not missing, f"{table.name}: columns missing: {sorted(missing)}"
    frame = frame.select(list(table.columns)).sort(table.key)
    for column, dtype in table.columns.items():
        found = frame.schema[column]
        fits = isinstance(found, pl.Struct) if dtype is None else found == dtype
        assert fits, f"{table.name}.{column}: {found} instead of {dtype or 'a struct'}"
        nulls = frame[column].null_count()
        assert nulls == 0 or column in table.nullable, f"{table.name}.{column}: {nulls} nulls"
        if column in table.allowed:
            strange = set(frame[column].unique()) - set(table.allowed[column])
            assert not strange, f"{table.name}.{column}: values {sorted(strange)}"
    for column in ("sample_id", "rank", "row", "prompt_tokens", "completion_tokens"):
        low = frame[column].min() if column in table.columns and frame.height else None
        assert low is None or low >= 0, f"{table.name}.{column}: negative"  # type: ignore[operator]
    assert frame.select(pl.struct(table.key).is_duplicated().any()).item() is not True, (
        f"{table.name}: duplicate keys"
    )
    assert rows is None or frame.height == rows, (
        f"{table.name}: expected {rows} rows, got {frame.height}"
    )
    return frame


def empty(table: Table) -> pl.DataFrame:
    """A table without rows (not for tables with a free struct column)."""
    return pl.DataFrame(schema=table.columns)


def from_rows(rows: Iterable[dict], table: Table) -> pl.DataFrame:
    """Rows as dictionaries to a frame with the table's types."""
    return pl.DataFrame(
        list(rows), schema={k: v for k, v in table.columns.items() if v is not None}, orient="row"
    )


def write(
    frame: pl.DataFrame,
    path: str | Path,
    table: Table,
    provenance: dict,
    *,
    rows: int | None = None,
) -> None:
    """Assert the contract and publish the table as parquet by rename; same frame and provenance give the same bytes."""
    frame = check(frame, table, rows=rows)
    metadata = {PROVENANCE_KEY: json.dumps(provenance, sort_keys=True), "orion.table": table.name}
    with AtomicFile(path) as partial:
        frame.write_parquet(
            partial,
            metadata=metadata,
            compression="zstd",
            statistics=False,
            row_group_size=ROW_GROUP,
        )


def read(path: str | Path, table: Table, columns: list[str] | None = None) -> pl.DataFrame:
    """A table from disk; raises InputError if the file is another table or damaged."""
    try:
        metadata = pl.read_parquet_metadata(path)
        frame = pl.read_parquet(path, columns=columns)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise _unreadable(path, error) from None
    _assert_kind(path, table, metadata.get("orion.table"))
    return frame


def size(path: str | Path, table: Table) -> tuple[int, int]:
    """(rows, row groups) of a table on disk without reading it; raises InputError as `read` does."""
    try:
        found = pq.read_metadata(path)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from None
    kind = (found.metadata or {}).get(b"orion.table")
    _assert_kind(path, table, kind.decode() if kind else None)
    return found.num_rows, found.num_row_groups


def _unreadable(path: str | Path, error: Exception) -> InputError:
    return InputError(f"{path}: not a readable parquet file ({error}); delete it and run again")


def _assert_kind(path: str | Path, table: Table, kind: str | None) -> None:
    if kind != table.name:
        raise InputError(f"{path}: holds {kind or 'no table of this project'}, not {table.name}")


def with_correct_traces(problems: pl.DataFrame, trace_verdicts: pl.DataFrame) -> pl.DataFrame:
    """The problems with ``teacher_trace`` set to null where the trace's own answer did not check correct."""
    right = trace_verdicts.filter(pl.col("verdict") == "correct")["problem_id"]
    keep = pl.col("problem_id").is_in(right.implode())
    return problems.with_columns(teacher_trace=pl.when(keep).then("teacher_trace"))


def read_provenance(path: str | Path) -> dict:
    """The provenance recorded in an artifact: a parquet file's metadata or a JSON document's ``provenance``."""
    if str(path).endswith(".json"):
        return read_json(path)["provenance"]
    return json.loads(pl.read_parquet_metadata(path)[PROVENANCE_KEY])


def write_json(document: dict, path: str | Path, provenance: dict) -> None:
    """Publish a JSON document with sorted keys and its provenance by rename."""
    text = json.dumps(
        {**document, "provenance": provenance}, sort_keys=True, indent=1, ensure_ascii=False
    )
    with AtomicFile(path) as partial:
        Path(partial).write_text(text + "\n", encoding="utf-8")


def read_json(path: str | Path) -> dict:
    """A JSON document from disk; raises InputError if it is damaged."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}: not a readable JSON document ({error}); delete it and run again"
        ) from None
