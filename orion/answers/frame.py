"""The polars form of `check_many`: a frame in, the same frame with a struct column of verdicts out.

Input: a polars DataFrame with a column of responses and one of golds. Output: a polars DataFrame.
polars is not imported: the new frame is made with the constructor of the given one.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from orion.answers.api import DEFAULT_TIMEOUT_S, check_many
from orion.answers.policies import Policy
from orion.answers.verdict import Verdict

_TYPES: dict[str, type] = {
    field.name: int if field.name in ("start", "end") else str for field in fields(Verdict)
}


def check_frame(
    frame: Any,
    response: str = "response",
    gold: str = "answer",
    *,
    finished: str | None = None,
    policy: str | Policy = "math",
    timeout_s: float = DEFAULT_TIMEOUT_S,
    workers: int | None = 1,
    into: str = "verdict",
) -> Any:
    """The frame with one more column `into`: a struct of the fields of `Verdict`, rows in order.

    response, gold: names of String columns, shape (rows,); a null counts as no string.
    finished: name of a Boolean column, null if unknown.
    Raises ValueError for an unknown policy or column, and if the column `into` exists already.
    """
    for name in filter(None, (response, gold, finished)):
        if name not in frame.columns:
            raise ValueError(
                f"no column {name!r} in the frame; its columns are {', '.join(frame.columns)}"
            )
    if into in frame.columns:
        raise ValueError(f"the frame has a column {into!r} already; choose another name with into=")
    ends = frame[finished].to_list() if finished else None
    found = check_many(
        frame[response].to_list(), frame[gold].to_list(), policy, timeout_s, workers, finished=ends
    )
    columns = {name: [getattr(verdict, name) for verdict in found] for name in _TYPES}
    return frame.with_columns(type(frame)(columns, schema=_TYPES).to_struct(into))
