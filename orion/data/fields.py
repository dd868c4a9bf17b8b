"""The field mapping: a source's columns as problem, answer and teacher trace."""

from collections.abc import Iterable
from typing import Any

from orion.data.sources import read_source
from orion.errors import InputError

COLUMNS = ("problem_id", "problem", "answer", "solution", "teacher_trace")


def map_fields(
    rows: Iterable[dict[str, Any]], fields: dict[str, Any], where: dict[str, Any], origin: str
) -> list[dict[str, Any]]:
    """Rows of a source that match ``where``, with our columns by the mapping ``fields``.

    Each has the source row's number as ``row`` and the whole source row as ``source_row``.
    Raises InputError if a mapped column is absent from every row.
    """
    names = {ours: fields[ours] for ours in COLUMNS if fields.get(ours) is not None}
    seen: set[str] = set()
    result = []
    for number, row in enumerate(rows):
        seen.update(row)
        if any(row.get(column) != value for column, value in where.items()):
            continue
        ours = {name: row.get(column) for name, column in names.items()}
        if "problem_id" not in names:
            ours["problem_id"] = f"row-{number}"
        result.append({**dict.fromkeys(COLUMNS), **ours, "row": number, "source_row": row})
    for name, column in [*names.items(), *((f"where.{c}", c) for c in where)]:
        if column not in seen:
            have = ", ".join(sorted(seen)[:20]) or "no column at all"
            raise InputError(
                f"{origin}: no row has the column {column!r} that {name} maps to; "
                f"the columns are: {have}"
            )
    return result


def join_traces(rows: list[dict[str, Any]], traces: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows with ``teacher_trace`` from another source: the first trace of each key."""
    found: dict[str, str] = {}
    for row in read_source(traces["source"]):
        if all(row.get(column) == value for column, value in traces["where"].items()):
            key, trace = row.get(traces["key"]), row.get(traces["teacher_trace"])
            if isinstance(key, str | int) and isinstance(trace, str):
                found.setdefault(str(key).strip(), trace)
    if not found:
        raise InputError(
            f"traces: no usable row in {traces['source']} (key {traces['key']!r}, "
            f"trace {traces['teacher_trace']!r}, where {traces['where']}); correct the mapping"
        )
    return [
        {**row, "teacher_trace": found.get(str(row[traces["join_on"]]).strip())} for row in rows
    ]
