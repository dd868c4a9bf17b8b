"""Readers of the file formats: JSONL, JSON, CSV, Parquet, Arrow.

Each yields rows as dictionaries, one after the other, so that a limit reads no more than it needs.
A row that cannot be read is a `BadRow`; a file that cannot be read is an InputError.
"""

import csv
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from orion.data.streams import MAX_LINE, open_seekable, read_lines, read_text
from orion.errors import InputError

Row = dict[str, Any]
# rows of a table that are held at a time
BATCH_ROWS = 1_024
# list items and texts of a batch, about; wide rows come in smaller batches
_BATCH_BYTES = 32 << 20


@dataclass(frozen=True)
class BadRow:
    """A row that the file holds and that cannot be read: one rejected row."""

    reason: str
    detail: str


# groups of names, of each of which a row must have one; None: all columns
Columns = frozenset[tuple[str, ...]] | None
Reader = Callable[[Path, Columns], Iterator[Row | BadRow]]


def read_jsonl(path: Path, columns: Columns = None) -> Iterator[Row | BadRow]:
    """The rows of a file with one JSON object per line; empty lines are skipped."""
    for number, line in enumerate(read_lines(path), 1):
        if isinstance(line, UnicodeDecodeError):
            yield BadRow("not_utf8", f"line {number}: not UTF-8 ({line})")
        elif line.strip():
            if number == 1 and (line.lstrip().startswith("[{") or line.strip() == "["):
                yield from read_json(path)
                return
            yield parse_line(line, number)


def parse_line(line: str, number: int) -> Row | BadRow:
    """One line of JSONL as a row."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        return BadRow("not_json", f"line {number}: not JSON ({error}); correct or remove the line")
    if not isinstance(row, dict):
        return BadRow("not_json", f"line {number}: not a JSON object; every line holds one row")
    return row


def read_json(path: Path, columns: Columns = None) -> Iterator[Row | BadRow]:
    """The rows of a JSON array of objects; of an object, those of its one list of objects.

    A file that is named .json and holds one object per line is read as JSONL.
    """
    pieces = read_text(path)
    text = ""
    while not text.strip():
        piece = next(pieces, None)
        if piece is None:
            return
        text += piece
    text = text.lstrip()
    if text.startswith("["):
        yield from _read_array(path, text[1:], pieces)
        return
    first = text.partition("\n")[0]
    if isinstance(parse_line(first, 1), dict) and text.partition("\n")[2].lstrip()[:1] == "{":
        yield from read_jsonl(path)
        return
    yield from _read_object(path, text + "".join(pieces))


def _read_object(path: Path, text: str) -> Iterator[Row | BadRow]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON ({error}); correct the file") from None
    values = document.values() if isinstance(document, dict) else ()
    lists = [v for v in values if isinstance(v, list) and v and isinstance(v[0], dict)]
    if len(lists) == 1:
        yield from (_as_row(item, n) for n, item in enumerate(lists[0]))
    elif isinstance(document, dict) and not lists:
        yield document
    else:
        raise InputError(
            f"{path}: holds neither an array of objects nor an object with one such list; "
            "save the rows as JSONL"
        )


def _as_row(item: Any, number: int) -> Row | BadRow:
    if isinstance(item, dict):
        return item
    return BadRow("not_json", f"item {number}: not a JSON object; every item is one row")


def _read_array(path: Path, text: str, pieces: Iterator[str]) -> Iterator[Row | BadRow]:
    """The items of an array whose ``[`` has been read, decoded one by one."""
    decode = json.JSONDecoder().raw_decode
    number, place = 0, 0
    while True:
        while place < len(text) and text[place] in " \t\r\n,":
            place += 1
        if text[place : place + 1] == "]":
            return
        try:
            item, end = decode(text, place)
            # a number at the end of what was read may go on
            if end == len(text) and not isinstance(item, dict | list):
                raise ValueError("the array ends too early")
        except (ValueError, RecursionError) as error:
            # read as much again as is at hand, so that a long item costs no more than linear time
            wanted, more = max(len(text) - place, 1), []
            while wanted > 0 and (piece := next(pieces, None)) is not None:
                more.append(piece)
                wanted -= len(piece)
            if not more or len(text) - place > MAX_LINE:
                raise InputError(
                    f"{path}, item {number}: not JSON ({error}); correct the file"
                ) from None
            text, place = text[place:] + "".join(more), 0
            continue
        yield _as_row(item, number)
        number, place = number + 1, end


def read_csv(path: Path, columns: Columns = None) -> Iterator[Row | BadRow]:
    """The rows of a CSV file with a header; every value is a text, an empty one is absent.

    The columns are parted by the comma, the semicolon or the tab, whichever the header has most.
    """
    limit = csv.field_size_limit(MAX_LINE)
    try:
        lines = _csv_lines(path)
        header = next(lines, None)
        if header is None:
            return
        delimiter = max(",;\t", key=header.count)
        names = next(csv.reader([header], delimiter=delimiter))
        if len(set(names)) < len(names):
            raise InputError(f"{path}: two columns have one name; correct the header")
        for number, values in enumerate(csv.reader(lines, delimiter=delimiter), 1):
            if not values:
                continue
            if len(values) > len(names):
                yield BadRow("bad_csv", f"row {number}: {len(values)} values, {len(names)} columns")
            else:
                yield {n: v or None for n, v in zip(names, values, strict=False)}
    except csv.Error as error:
        raise InputError(f"{path}: not CSV ({error}); correct the file") from None
    finally:
        csv.field_size_limit(limit)


def _csv_lines(path: Path) -> Iterator[str]:
    for number, line in enumerate(read_lines(path), 1):
        if isinstance(line, UnicodeDecodeError):
            raise InputError(f"{path}, line {number}: not UTF-8 ({line}); convert the file")
        yield line + "\n" if number > 1 else line


def read_parquet(path: Path, columns: Columns = None) -> Iterator[Row | BadRow]:
    """The rows of a Parquet file; only ``columns`` are read if the file has one of each group."""
    try:
        with open_seekable(path) as handle, pq.ParquetFile(handle, buffer_size=1 << 20) as file:
            names = file.schema_arrow.names
            wanted = _choose(names, columns)
            size = file.metadata.num_rows and sum(
                file.metadata.row_group(g).total_byte_size for g in range(file.num_row_groups)
            )
            rows = _batch_rows(size, file.metadata.num_rows)
            # an iterator over several row groups holds what it has read of all of them to its end
            for group in range(file.num_row_groups):
                for batch in file.iter_batches(rows, row_groups=[group], columns=wanted):
                    yield from _rows_of(batch)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path}: not a parquet file ({error}); fetch it again") from None


def _choose(names: list[str], columns: Columns) -> list[str]:
    if not columns or not all(set(group) & set(names) for group in columns):
        return names
    return [name for name in names if any(name in group for group in columns)]


def _batch_rows(size: int, rows: int) -> int:
    """Rows of a batch of about `_BATCH_BYTES`, by the mean size of a row."""
    return max(1, min(BATCH_ROWS, int(_BATCH_BYTES / max(size / max(rows, 1), 1))))


def read_arrow(path: Path, columns: Columns = None) -> Iterator[Row | BadRow]:
    """The rows of an Arrow IPC file or stream, such as `datasets` and Feather write."""
    try:
        with open_seekable(path) as handle:
            start = handle.read(6)
            handle.seek(0)
            if start == b"ARROW1":
                file = pa.ipc.open_file(handle)
                batches = (file.get_batch(n) for n in range(file.num_record_batches))
            else:
                batches = iter(pa.ipc.open_stream(handle))
            for batch in batches:
                for begin in range(0, batch.num_rows, BATCH_ROWS):
                    yield from _rows_of(batch.slice(begin, BATCH_ROWS))
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path}: not an Arrow file ({error}); fetch it again") from None


def _rows_of(batch: pa.RecordBatch) -> Iterator[Row | BadRow]:
    """The rows of a batch; where one text is not UTF-8, its row alone is bad."""
    try:
        rows = batch.to_pylist()
    except (UnicodeDecodeError, ValueError, OverflowError) as error:
        if batch.num_rows == 1:
            yield BadRow("bad_value", f"a value cannot be read ({error})")
            return
        for n in range(batch.num_rows):
            yield from _rows_of(batch.slice(n, 1))
        return
    yield from rows


READERS: dict[str, Reader] = {
    "jsonl": read_jsonl,
    "json": read_json,
    "csv": read_csv,
    "parquet": read_parquet,
    "arrow": read_arrow,
}
