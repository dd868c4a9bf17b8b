"""The field mapping: which column of a source is the problem, the answer, the teacher trace."""

from collections.abc import Iterable

from orion.data.sources import read_source
from orion.errors import InputError

COLUMNS = ("problem_id", "problem", "answer", "solution", "teacher_trace")


def map_fields(rows: Iterable[dict], fields: dict, where: dict, origin: str) -> list[dict]:
    """Rows renamed to our columns, with the source row's number and its other columns as ``meta``.

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
                f"{origin}: no row has the column {column!r} that {name} maps to; the columns are: {have}"
            )
    return result


def join_traces(rows: list[dict], traces: dict) -> list[dict]:
    """Rows with ``teacher_trace`` filled from another source; the first trace of a key is taken."""
    found: dict[str, str] = {}
    for row in read_source(traces["source"]):
        if all(row.get(column) == value for column, value in traces["where"].items()):
            key, trace = row.get(traces["key"]), row.get(traces["teacher_trace"])
            if isinstance(key, str | int) and isinstance(trace, str):
                found.setdefault(str(key).strip(), trace)
    if not found:
        raise InputError(
            f"traces: no usable row in {traces['source']} (key {traces['key']!r}, trace {traces['teacher_trace']!r}, "
            f"where {traces['where']}); correct the mapping"
        )
    return [
        {**row, "teacher_trace": found.get(str(row[traces["join_on"]]).strip())} for row in rows
    ]
