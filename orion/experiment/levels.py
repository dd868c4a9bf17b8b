"""Groups of problems by their ``meta``: levels, tags, suspect labels.

Input: the table problems. Output: for every field of ``meta`` that divides the problems, the
problems of each of its values. The number of groups is bounded, whatever the field holds.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from orion.experiment.clusters import CLUSTER
from orion.experiment.statistics import Integers

# the most frequent values of a field; the problems of all others are one group
MAX_VALUES = 8
# the first fields that divide the problems
MAX_FIELDS = 6
OTHERS, ABSENT = "(other values)", "(none)"
# they name a problem or its variants, and are no level
_NAMES = ("source_row", CLUSTER)
# characters of a value; it may be any text
_MAX_CHARACTERS = 60


@dataclass(frozen=True)
class Level:
    """The problems with one value of one field.

    ``problems``: their numbers in the order of problem_id, ``(problems of the level,)``.
    """

    field: str
    value: str
    problems: Integers


def find_levels(problems: pl.DataFrame) -> list[Level]:
    """The groups of every field, the fields in their order and the values in alphabetical order.

    ``problems`` has the columns problem_id and meta. A field is a level if its values are texts,
    truth values or whole numbers, or lists of texts (tags: a problem is in a group for each), or
    lists of steps, which count by their length. Left out is a field with one value, and one that
    tells the problems apart: more values than half of the problems, or more than MAX_VALUES
    different numbers. A problem without a value is in the group ABSENT.
    """
    ordered = problems.sort("problem_id")
    found: list[Level] = []
    taken = 0
    for field in ordered.schema["meta"].fields:  # type: ignore[attr-defined]
        if field.name in _NAMES or taken == MAX_FIELDS:
            continue
        values = _list_values(ordered["meta"].struct.field(field.name), field.dtype)
        if values is None:
            continue
        levels = _divide(_name_field(field), values, is_number=field.dtype.is_integer())
        taken += bool(levels)
        found += levels
    return found


def _name_field(field: pl.Field) -> str:
    is_counted = isinstance(field.dtype, pl.List) and field.dtype.inner != pl.String
    return f"number of {field.name}" if is_counted else field.name


def _list_values(column: pl.Series, dtype: Any) -> list[list[str]] | None:
    """The values of each problem, mostly one; None for a type that is no level."""
    if dtype == pl.Boolean or dtype == pl.String or dtype.is_integer():
        return [[ABSENT if value is None else _write(value)] for value in column]
    if isinstance(dtype, pl.List) and dtype.inner == pl.String:
        tags = column.to_list()
        found = [{_write(tag) for tag in row or () if tag is not None} for row in tags]
        return [sorted(row) or [ABSENT] for row in found]
    if isinstance(dtype, pl.List):
        return [[ABSENT if n is None else str(n)] for n in column.list.len()]
    return None


def _write(value: Any) -> str:
    """A value as one short line."""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return write_line(" ".join(text[: 4 * _MAX_CHARACTERS].split()), _MAX_CHARACTERS)


def write_line(text: str, most: int) -> str:
    """A text on one line of at most so many characters; what cannot be printed is spelled out."""
    shown = "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode() for c in text[: most + 1]
    )
    return shown if len(shown) <= most else f"{shown[: most - 1]}…"


def _divide(name: str, values: list[list[str]], *, is_number: bool) -> list[Level]:
    counts = Counter(value for row in values for value in row)
    most = MAX_VALUES if is_number else max(MAX_VALUES, len(values) // 2)
    if not 1 < len(counts) <= most:
        return []
    ranked = sorted(counts, key=lambda value: (-counts[value], value))
    kept = set(ranked[:MAX_VALUES])
    groups: dict[str, list[int]] = {}
    for number, row in enumerate(values):
        for value in {value if value in kept else OTHERS for value in row}:
            groups.setdefault(value, []).append(number)
    order = sorted(groups, key=lambda value: (value == OTHERS, value == ABSENT, value))
    return [Level(name, value, np.array(groups[value], dtype=np.int64)) for value in order]
