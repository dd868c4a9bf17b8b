"""The field mapping: the values of a source's row as problem, answer, solution and traces.

What names the cluster of a problem, and its levels and tags, go into its ``meta``.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from orion.data import text_rules
from orion.data.conditions import Conditions
from orion.data.row_paths import ABSENT, RowPath, suggest, suggest_inside
from orion.data.text_rules import RuleError
from orion.errors import InputError

Row = dict[str, Any]
COLUMNS = ("problem_id", "problem", "answer", "solution", "teacher_trace")
_PIECE = re.compile(r"\{\{|\}\}|\{([^{}]+)\}")


class FieldError(ValueError):
    """A value that cannot become a field. ``reason``: the word in the table of rejected rows."""

    def __init__(self, reason: str, detail: str):
        super().__init__(detail)
        self.reason, self.detail = reason, detail


@dataclass(frozen=True)
class Trace:
    """One candidate of a teacher trace. ``source``: where it stood, in words."""

    text: str
    source: str


@dataclass
class Mapped:
    """A source row with our columns. ``fault``: (reason, detail) where a value cannot be used."""

    row: int
    problem_id: Any = None
    problem: Any = None
    answer: Any = None
    solution: Any = None
    traces: list[Trace] = field(default_factory=list)
    fault: tuple[str, str] | None = None
    meta: Row = field(default_factory=dict)


class Field:
    """One field: the place or template of its text, and its text rules."""

    def __init__(self, name: str, spec: Any):
        self.name = name
        block = spec if isinstance(spec, dict) else {"from": spec}
        self.rules = text_rules.from_block(block)
        self.has_rules = len(block) > 1 and any(
            value for key, value in block.items() if key != "from"
        )
        origin = block["from"]
        self.origins = [str(o) for o in origin] if isinstance(origin, list) else [str(origin)]
        self.pieces = {text: _read_template(text) for text in self.origins}
        self.seen = False

    def paths(self) -> Iterable[RowPath]:
        """Every path that the field reads."""
        for text, pieces in self.pieces.items():
            yield from [p for p in pieces if isinstance(p, RowPath)] or [RowPath(text)]

    def values(self, row: Row) -> list[tuple[str, Any]]:
        """(origin, raw value) of each origin that the row has."""
        found = []
        for text, pieces in self.pieces.items():
            value = row[text] if text in row else _fill(pieces, row)
            if value is not ABSENT:
                self.seen = True
                found.append((text, value))
        return found

    def text(self, row: Row) -> str | None:
        """The field's one text in a row, or None; raises FieldError for a value of another kind."""
        found = self.values(row)
        return self.convert(found[0][1], found[0][0]) if found else None

    def convert(self, value: Any, origin: str) -> str | None:
        """A raw value as text, with the rules applied."""
        text = as_text(value, self.name, origin)
        if text is None or not self.has_rules:
            return text
        try:
            return self.rules.apply(text)
        except RuleError as error:
            raise FieldError(f"no_{self.name}_found", f"{self.name}: {error}") from None


def _read_template(text: str) -> list[str | RowPath]:
    """A template's texts and paths in order; a text without braces is one path."""
    if not _PIECE.search(text):
        return [RowPath(text)]
    pieces: list[str | RowPath] = []
    place = 0
    for match in _PIECE.finditer(text):
        pieces.append(text[place : match.start()])
        pieces.append(RowPath(match.group(1)) if match.group(1) else match.group()[0])
        place = match.end()
    pieces.append(text[place:])
    return [piece for piece in pieces if piece != ""]


def _fill(pieces: list[str | RowPath], row: Row) -> Any:
    """The value of a path, or a template with all its values; ABSENT or None where one is so."""
    if len(pieces) == 1 and isinstance(pieces[0], RowPath):
        return pieces[0].get(row)
    texts = []
    for piece in pieces:
        value = piece.get(row) if isinstance(piece, RowPath) else piece
        if isinstance(piece, RowPath) and value is not ABSENT:
            value = as_text(value, "template", piece.text)
        if value is ABSENT or value is None:
            return value
        texts.append(value)
    return "".join(texts)


def as_text(value: Any, name: str, origin: str) -> str | None:
    """A raw value as text: texts, plain numbers, UTF-8 bytes, and a list of one such value.

    Integral floats are integers. Raises FieldError for anything else.
    """
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, bytes):
        try:
            value = value.decode("utf-8")
        except UnicodeDecodeError:
            raise FieldError("not_utf8", f"{name} is bytes that are not UTF-8") from None
    if value is None:
        return None
    if isinstance(value, str):
        if not value.isascii() and _has_surrogate(value):
            raise FieldError(
                "bad_text", f"{name} holds half of a surrogate pair, which is not a character"
            )
        return value
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        hint = suggest_inside(origin, value)
        raise FieldError(
            "wrong_type",
            f"{name} is a {type(value).__name__}, not a text: {str(value)[:60]!r}{hint}",
        )
    return _number_text(value, name)


def _number_text(value: int | float | Decimal, name: str) -> str:
    if isinstance(value, int):
        try:
            return str(value)
        except ValueError:  # more digits than Python prints
            raise FieldError("wrong_type", f"{name} is an integer of too many digits") from None
    if value != value or value in (float("inf"), float("-inf")):
        raise FieldError("wrong_type", f"{name} is {value}, not a finite number")
    if value == int(value):
        return str(int(value))
    return str(value.normalize()) if isinstance(value, Decimal) else str(value)


def _has_surrogate(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False


def _read_level(spec: Field, row: Row) -> list[str] | None:
    """The texts of a level, one for most, or of tags; None where the row has none."""
    found = spec.values(row)
    if not found:
        return None
    origin, value = found[0]
    values = value if isinstance(value, list) else [value]
    # truth values are levels too, and no other field's
    values = [str(each).lower() if isinstance(each, bool) else each for each in values]
    texts = [as_text(each, spec.name, origin) for each in values]
    return [text for text in texts if text is not None and text.strip()] or None


class FieldMap:
    """The mapping of one source: ``fields`` and ``where`` of its block.

    ``traces``: fields of a file of traces, which has a key instead of the problem's columns.
    """

    def __init__(self, fields: Row, where: Row, origin: str):
        self.origin = origin
        names = (*COLUMNS, "key", "trace_source", "cluster")
        self.fields = {n: Field(n, fields[n]) for n in names if fields.get(n) is not None}
        self.levels = {n: Field(n, place) for n, place in (fields.get("levels") or {}).items()}
        self.where = Conditions(where)
        self._where_seen: set[str] = set()
        self._columns: dict[str, None] = {}
        self._first: Row | None = None

    @property
    def columns(self) -> frozenset[tuple[str, ...]]:
        """Groups of column names; a source must have one name of each group."""
        mapped = (*self.fields.values(), *self.levels.values())
        paths = [p for each in mapped for p in each.paths()]
        return frozenset(p.roots for p in (*paths, *self.where.paths.values()))

    def accepts(self, row: Row) -> bool:
        """Whether a row meets ``where``."""
        self._first = self._first or row
        if len(self._columns) < 1000:
            self._columns.update(dict.fromkeys(row))
        for text, path in self.where.paths.items():
            if text not in self._where_seen and path.get(row) is not ABSENT:
                self._where_seen.add(text)
        return self.where.hold(row)

    def map(self, row: Row, number: int) -> Mapped:
        """A source row with our columns."""
        found = Mapped(number)
        if "problem_id" not in self.fields:
            found.problem_id = f"row-{number}"
        for name in ("problem_id", "problem", "answer", "solution", "key"):
            if name in self.fields:
                target = "problem_id" if name == "key" else name
                setattr(found, target, self._read(name, row, found))
        if "cluster" in self.fields:
            cluster = self._read("cluster", row, found)
            # without one, a problem of its own
            found.meta["cluster"] = cluster if cluster is not None and cluster.strip() else None
        for name, level in self.levels.items():
            try:
                found.meta[name] = _read_level(level, row)
            except FieldError as error:
                found.fault = found.fault or (error.reason, error.detail)
        if "teacher_trace" in self.fields:
            try:
                found.traces = self._read_traces(row, number)
            except FieldError as error:
                found.fault = found.fault or (error.reason, error.detail)
        return found

    def _read(self, name: str, row: Row, found: Mapped) -> str | None:
        try:
            return self.fields[name].text(row)
        except FieldError as error:
            found.fault = found.fault or (error.reason, error.detail)
            return None

    def _read_traces(self, row: Row, number: int) -> list[Trace]:
        spec = self.fields["teacher_trace"]
        raw: list[tuple[str, Any]] = []
        for origin, value in spec.values(row):
            several = isinstance(value, list) and not any(isinstance(v, dict) for v in value)
            if several:
                raw += [(f"{origin.removesuffix('[*]')}[{n}]", v) for n, v in enumerate(value)]
            else:
                raw.append((origin, value))
        names = self._read_sources(row, len(raw))
        traces = []
        for n, (origin, value) in enumerate(raw):
            text = spec.convert(value, origin)
            if text is not None and text.strip():
                traces.append(Trace(text, names[n] or f"row {number}, {origin}"))
        return traces

    def _read_sources(self, row: Row, count: int) -> list[str | None]:
        if "trace_source" not in self.fields:
            return [None] * count
        found = self.fields["trace_source"].values(row)
        value = found[0][1] if found else None
        values = value if isinstance(value, list) and len(value) == count else [value] * count
        return [as_text(v, "trace_source", "trace_source") for v in values]

    def check_seen(self) -> None:
        """Raises InputError where a mapped column or path is in no row that was read."""
        if self._first is None:
            return
        places = [(n, f.origins[0]) for n, f in self.fields.items() if not f.seen]
        places += [(f"levels.{n}", f.origins[0]) for n, f in self.levels.items() if not f.seen]
        places += [(f"where.{c}", c) for c in self.where.paths if c not in self._where_seen]
        for name, path in places:
            have = ", ".join(sorted(self._columns)[:20]) or "no column at all"
            raise InputError(
                f"{self.origin}: no row has the column {path!r} that {name} maps to; "
                f"the columns are: {have}{suggest(path, self._first)}"
            )
