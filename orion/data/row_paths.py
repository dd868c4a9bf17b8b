"""Paths into a row: ``messages[0].content``, ``conversations[from=gpt].value``, ``generations[*]``.

A path that is also the literal name of a column is that column, whatever signs its name has.
"""

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

_STEP = re.compile(r"\.?([^.\[\]]+)|\[(-?[0-9]+|\*|[^\[\]=]+=[^\[\]]*)\]")
# values of one row that suggestions are made from
_MAX_PATHS = 200


class _Absent:
    def __repr__(self) -> str:
        return "absent"


# what a path leads to where the row lacks it; None is a value
ABSENT = _Absent()

Step = str | int | tuple[str, str] | None


@dataclass(frozen=True)
class RowPath:
    """One path, parsed once. ``text``: as the configuration has it."""

    text: str

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """Names, list indices, (key, value) of a list's item, None for all items.

        Empty where the text is no path: then it is the name of a column only.
        """
        steps: list[Step] = []
        place = 0
        while place < len(self.text):
            match = _STEP.match(self.text, place)
            if match is None or (match.group(0)[0] == ".") != (
                place > 0 and match.group(1) is not None
            ):
                return ()
            name, inside = match.groups()
            steps.append(name if name is not None else _read_index(inside))
            place = match.end()
        return tuple(steps) if steps and isinstance(steps[0], str) else ()

    @property
    def roots(self) -> tuple[str, ...]:
        """The columns that may hold the value: the whole text, or the path's first name."""
        first = self.steps[0] if self.steps else self.text
        return (self.text,) if first == self.text else (self.text, str(first))

    def get(self, row: dict[str, Any]) -> Any:
        """The value in a row; `ABSENT` where the row has no such place."""
        if self.text in row:
            return row[self.text]
        return _walk(row, self.steps) if len(self.steps) > 1 else ABSENT


def _read_index(text: str) -> Step:
    if text == "*":
        return None
    key, sign, value = text.partition("=")
    return (key.strip(), value.strip()) if sign else int(text)


def _walk(value: Any, steps: tuple[Step, ...]) -> Any:
    for number, step in enumerate(steps):
        if isinstance(step, str):
            if not isinstance(value, dict) or step not in value:
                return ABSENT
            value = value[step]
            continue
        if not isinstance(value, list):
            return ABSENT
        if step is None:
            found = [_walk(item, steps[number + 1 :]) for item in value]
            return [item for item in found if item is not ABSENT]
        if isinstance(step, int):
            if not -len(value) <= step < len(value):
                return ABSENT
            value = value[step]
        else:
            key, wanted = step
            matching = (i for i in value if isinstance(i, dict) and str(i.get(key)) == wanted)
            value = next(matching, ABSENT)
    return value


def list_paths(row: dict[str, Any]) -> list[str]:
    """The paths of the plain values of a row, about as many as one can read."""
    found: list[str] = []
    for path in _list_paths("", row):
        found.append(path)
        if len(found) == _MAX_PATHS:
            break
    return found


def _list_paths(prefix: str, value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _list_paths(f"{prefix}.{key}" if prefix else str(key), item)
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for number, item in enumerate(value[:4]):
            yield from _list_paths(f"{prefix}[{number}]", item)
    else:
        yield prefix


def suggest(wanted: str, row: dict[str, Any]) -> str:
    """``did you mean ...?`` with the paths of a row that are like the wanted one, or nothing."""
    paths = list_paths(row)
    known = {path.lower(): path for path in paths}
    near = difflib.get_close_matches(wanted.lower(), known, n=2, cutoff=0.6)
    last = re.split(r"[.\]\[]+", wanted.lower().rstrip("]"))[-1]
    inside = [low for low in known if last and re.split(r"[.\]]+", low)[-1] == last]
    found = [known[low] for low in dict.fromkeys([*near, *inside])][:3]
    return f"; did you mean {' or '.join(f'`{path}`' for path in found)}?" if found else ""


def suggest_inside(path: str, value: Any) -> str:
    """What one could have meant by a path that leads to a mapping or a list of messages."""
    paths = [p for p in _list_paths("", value) if p]
    texts = [p for p in paths if re.split(r"[.\]]", p)[-1] in ("content", "value", "text")]
    found = [f"{path}{'' if p.startswith('[') else '.'}{p}" for p in texts or paths]
    return f"; did you mean {' or '.join(f'`{p}`' for p in found[:3])}?" if found else ""
