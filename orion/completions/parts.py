"""Part files of the completion store, ``part-{first 32 digits of sha256}.parquet``.

A part has the columns ``STORED_COLUMNS`` and row groups of any size. It appears whole, by rename,
and is never rewritten. It therefore needs no lock, and its name says whether it is intact. Pages
carry checksums; parts written before checksums were introduced are read without.

Rows keep the order in which they were generated. Keys are hashes: sorting by key would spread the
rows of one run over all row groups, and reading them would mean reading every text.
"""

import errno
import os
import re
import secrets
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from orion.errors import InputError
from orion.progress import log
from orion.provenance import digest_file

# the key column of the part files; another name would orphan every completion stored so far
KEY = "cell"
STORED_COLUMNS: dict[str, Any] = {
    KEY: pl.String,
    "response": pl.String,
    "finish_reason": pl.String,
    "prompt_tokens": pl.Int64,
    "completion_tokens": pl.Int64,
}
# every answer is stored but these: an error is tried again, and a prompt that is too long costs
# nothing to find again
UNSTORED_FINISH_REASONS = ("prompt_too_long", "error")
# an answer that was paid for and that the server's full context cut: valid for no table
CONTEXT_FULL = "context_full"

PART_NAME = re.compile(r"part-([0-9a-f]{32})\.parquet")
# what reading may raise: damage, a part that was removed meanwhile, errors of the system
READ_ERRORS = (pl.exceptions.PolarsError, pa.ArrowException, OSError)

_SCHEMA = pa.schema(
    [
        (name, pa.large_string() if dtype == pl.String else pa.int64())
        for name, dtype in STORED_COLUMNS.items()
    ]
)


def list_parts(folder: Path) -> list[Path]:
    """The parts of a folder, sorted by name.

    Listing a folder gives no snapshot: while another process replaces parts, one listing may miss
    both the old and the new ones. Two equal listings in a row cannot.
    """
    before = None
    while (now := sorted(folder.glob("part-*.parquet"))) != before:
        before = now
    return now


def write_part(folder: Path, frames: Iterable[pl.DataFrame], *, prefix: str = "part") -> Path:
    """Publish the frames as one part, one row group per frame, and return its path.

    A failure leaves no file behind.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # a random name: in containers that share a file system, two processes may have the same id
    partial = folder / f".{prefix}-{os.getpid()}-{secrets.token_hex(8)}.partial"
    try:
        with open(partial, "wb") as handle:
            options = {
                "use_dictionary": ["finish_reason"],
                "write_statistics": False,
                "write_page_checksum": True,
            }
            with pq.ParquetWriter(handle, _SCHEMA, compression="zstd", **options) as writer:
                for frame in frames:
                    table = frame.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(_SCHEMA)
                    writer.write_table(table, row_group_size=max(1, frame.height))
            handle.flush()
            os.fsync(handle.fileno())
        # named by content: two processes clash only where they write the same bytes
        path = folder / f"part-{digest_file(partial)[:32]}.parquet"
        os.replace(partial, path)
    except BaseException:
        with suppress(OSError):
            partial.unlink()
        raise
    return path


def probe_folder(folder: Path) -> None:
    """Create the folder if needed; raises OSError if no file can be written into it."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as handle:
        handle.write(b"probe")


def row_group_sizes(path: Path) -> list[int]:
    """The number of rows of each row group of a part."""
    metadata = pq.read_metadata(path)
    return [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]


def read_row_groups(
    path: Path, selection: Iterable[tuple[int, pa.Array]] | None = None
) -> Iterator[pl.DataFrame]:
    """The rows of a part, one frame per row group.

    ``selection``: pairs (row group, row numbers within it); all rows where it is None. Raises one
    of ``READ_ERRORS`` if the file is damaged or has other columns.
    """
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        if selection is None:
            selection = ((i, None) for i in range(file.num_row_groups))
        for group, rows in selection:
            table = file.read_row_group(group)
            # old parts have no checksums, and polars takes for granted that text is UTF-8
            table.validate(full=True)
            frame = pl.from_arrow(table if rows is None else table.take(rows))
            assert isinstance(frame, pl.DataFrame)
            if frame.schema != pl.Schema(STORED_COLUMNS):
                raise pa.ArrowInvalid(
                    f"its columns are {', '.join(frame.columns)}, not {', '.join(STORED_COLUMNS)}"
                )
            yield frame


def resolve_duplicates(rows: pl.DataFrame) -> pl.DataFrame:
    """One row per completion: the first by content, among those that no full context cut.

    The choice depends neither on which process wrote first nor on the names of the parts.
    """
    if not rows[KEY].is_duplicated().any():
        return rows
    order = [KEY, pl.col("finish_reason") == CONTEXT_FULL, *list(STORED_COLUMNS)[1:]]
    return rows.sort(order).unique(KEY, keep="first", maintain_order=True)


def is_gone(error: BaseException) -> bool:
    """Whether a part was removed meanwhile, by a compaction.

    ESTALE: the compaction ran on another machine of a network file system.
    """
    return isinstance(error, OSError) and error.errno in (errno.ENOENT, errno.ESTALE)


def is_intact(path: Path) -> bool | None:
    """Whether a part's content matches its name; None if the name holds no digest."""
    name = PART_NAME.fullmatch(path.name)
    return None if name is None else digest_file(path)[:32] == name[1]


def find_fault(path: Path) -> str | None:
    """Why a part is damaged or cannot be read; None for a sound one.

    Raises OSErrors that come from the system and not from the file's content.
    """
    if is_intact(path) is False:
        return "its content does not match its name"
    try:
        for _ in read_row_groups(path):
            pass
    except OSError as error:
        # errors that the parquet library finds in a file have no error number
        if error.errno is not None:
            raise
        return _first_line(error)
    except (pl.exceptions.PolarsError, pa.ArrowException) as error:
        return _first_line(error)
    return None


def set_damaged_aside(paths: list[Path]) -> bool:
    """Rename damaged parts to ``*.damaged`` and log it.

    Returns whether any part was damaged or is gone, so that another lookup may succeed. Raises
    InputError for a part that is intact and still not readable: a newer version or a person wrote
    it.
    """
    changed = False
    for path in paths:
        try:
            reason = find_fault(path)
            if reason is None:
                continue
            if is_intact(path):
                raise InputError(
                    f"{path}: intact, but not a part that this version reads ({reason}); "
                    "move it out of the folder"
                )
            aside = path.with_name(path.name + ".damaged")
            os.replace(path, aside)
        except OSError as error:
            if not is_gone(error):
                raise
        else:
            log(
                f"completions: {path} is damaged ({reason}); set aside as {aside.name}, "
                "its completions are generated again"
            )
        changed = True
    return changed


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
