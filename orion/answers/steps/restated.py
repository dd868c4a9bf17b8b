"""A name computed on one line and given its value on the next: m = 87 - 49, then m = 48.

Input: the scanner of a block of prose. Output: `Link`s from the calculation to the value.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from orion.answers.steps.links import Link, Side
from orion.answers.steps.prose import ProseScanner

MAX_NAME = 8


class _Line(NamedTuple):
    """A line `name = expression`: the name, the expression, the index behind it, the next line."""

    name: tuple[str, ...]
    side: Side
    end: int
    next_line: int


def find_restated(scanner: ProseScanner) -> Iterator[Link]:
    """A link for each name that a line computes and the next line gives a value."""
    before: _Line | None = None
    at = 0
    while at < scanner.size:
        line = _read_line(scanner, at)
        if line is not None and before is not None and before.next_line == at:
            computed = before.side.literal is None and line.side.literal is not None
            if computed and line.name == before.name:
                after = scanner.tokens[line.end] if line.end < scanner.size else None
                yield Link(before.side, "=", line.side, False, None, after, chain_end=line.side.end)
        before = line
        at = line.next_line if line is not None else _next_line(scanner, at)


def _next_line(scanner: ProseScanner, at: int) -> int:
    while at < scanner.size and scanner.kinds[at] != "nl":
        at += 1
    return at + 1


def _read_line(scanner: ProseScanner, at: int) -> _Line | None:
    """The line at `at` as name and expression, None if it is anything else or says more."""
    if scanner.kinds[at] == "op" and scanner.words[at] in ("-", "*"):
        at += 1
    start = at
    while scanner.kinds[at] == "word" and at - start < MAX_NAME:
        at += 1
    if at == start or scanner.words[at] != "=":
        return None
    end = scanner.scan(at + 1)
    if end == at + 1:
        return None
    side = scanner.side(at + 1, end)
    behind = scanner.unit_end(end)
    side.after = tuple(scanner.words[end:behind])
    if scanner.words[behind] in (".", ","):
        behind += 1
    if scanner.kinds[behind] not in ("nl", "end"):
        return None
    name = tuple(word.lower() for word in scanner.words[start:at])
    return _Line(name, side, behind, behind + 1)
