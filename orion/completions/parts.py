"""Part files: a store's folder holds ``part-{content digest, 32 digits}.parquet`` with the columns ``STORED_COLUMNS``, any row groups.

A part appears whole, by rename, and is never rewritten, so it needs no lock and its name says whether it is intact. Pages carry
checksums (parts older than that are read without). Rows keep the order in which they were generated: keys are hashes, so that
sorting by key would spread one run's rows over every row group, and reading them would mean reading all texts.
"""

import errno
import os
import re
import secrets
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from orion.errors import InputError
from orion.progress import log
from orion.provenance import digest_file

# the key column of the part files; another name would orphan every completion stored so far
KEY = "cell"
STORED_COLUMNS = {
    KEY: pl.String,
    "response": pl.String,
    "finish_reason": pl.String,
    "prompt_tokens": pl.Int64,
    "completion_tokens": pl.Int64,
}
# what was paid for; an error is tried again, and a prompt that is too long costs nothing to find again
STORED_FINISH_REASONS = ("stop", "length")

NAME = re.compile(r"part-([0-9a-f]{32})\.parquet")
# what reading may raise: damage, a part that has gone, the system's own trouble
UNREADABLE = (pl.exceptions.PolarsError, pa.ArrowException, OSError)

_SCHEMA = pa.schema(
    [
        (name, pa.large_string() if dtype == pl.String else pa.int64())
        for name, dtype in STORED_COLUMNS.items()
    ]
)


def listed(folder: Path) -> list[Path]:
    """The parts of a folder, sorted by name.

    Reading a folder is no snapshot: while another process replaces parts, one listing may miss both the old and the new. Two
    alike cannot.
    """
    before = None
    while (now := sorted(folder.glob("part-*.parquet"))) != before:
        before = now
    return now


def write(folder: Path, frames: Iterable[pl.DataFrame], *, prefix: str = "part") -> Path:
    """Publish the frames, a row group each, as one part and return its path; leaves nothing behind if that fails."""
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
        # a name by content: two processes never clash unless they write the same bytes
        path = folder / f"part-{digest_file(partial)[:32]}.parquet"
        os.replace(partial, path)
    except BaseException:
        with suppress(OSError):
            partial.unlink()
        raise
    return path


def probe(folder: Path) -> None:
    """Raises OSError if no file can be written into the folder, which is made if need be."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as handle:
        handle.write(b"probe")


def sizes(path: Path) -> list[int]:
    """The numbers of rows of a part's row groups."""
    found = pq.read_metadata(path)
    return [found.row_group(i).num_rows for i in range(found.num_row_groups)]


def groups(
    path: Path, wanted: Iterable[tuple[int, pa.Array]] | None = None
) -> Iterator[pl.DataFrame]:
    """The rows of a part, a row group at a time: all, or of the ``wanted`` groups the rows at these places.

    Raises one of ``UNREADABLE`` if the file is damaged or has other columns.
    """
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        for group, places in (
            wanted if wanted is not None else ((i, None) for i in range(file.num_row_groups))
        ):
            table = file.read_row_group(group)
            # old parts have no checksums, and polars trusts that what it is given is UTF-8
            table.validate(full=True)
            frame = pl.from_arrow(table if places is None else table.take(places))
            assert isinstance(frame, pl.DataFrame)
            if frame.schema != pl.Schema(STORED_COLUMNS):
                raise pa.ArrowInvalid(
                    f"its columns are {', '.join(frame.columns)}, not {', '.join(STORED_COLUMNS)}"
                )
            yield frame


def is_gone(error: BaseException) -> bool:
    """Whether a part was removed meanwhile (by a compaction; ESTALE: on another machine)."""
    return isinstance(error, OSError) and error.errno in (errno.ENOENT, errno.ESTALE)


def is_intact(path: Path) -> bool | None:
    """Whether a part's content is what its name says; None if the name says nothing."""
    name = NAME.fullmatch(path.name)
    return None if name is None else digest_file(path)[:32] == name[1]


def fault(path: Path) -> str | None:
    """Why a part is not what was written, or cannot be read; None for a sound one. Raises the system's own OSErrors."""
    if is_intact(path) is False:
        return "its content is not what its name says"
    try:
        for _ in groups(path):
            pass
    except OSError as error:
        # what the parquet library finds wrong with a file has no error number
        if error.errno is not None:
            raise
        return _first_line(error)
    except (pl.exceptions.PolarsError, pa.ArrowException) as error:
        return _first_line(error)
    return None


def set_aside(paths: list[Path]) -> bool:
    """Rename damaged parts to ``*.damaged``, with a message; True if any was damaged or has gone, so that looking again helps.

    Raises InputError for a part that is intact and yet none of ours, which only a newer version or a hand can have written.
    """
    changed = False
    for path in paths:
        try:
            reason = fault(path)
            if reason is None:
                continue
            if is_intact(path):
                raise InputError(
                    f"{path}: intact, but not a part that this version reads ({reason}); move it out of the folder"
                )
            aside = path.with_name(path.name + ".damaged")
            os.replace(path, aside)
        except OSError as error:
            if not is_gone(error):
                raise
        else:
            log(
                f"cells: {path} is damaged ({reason}); set aside as {aside.name}, its cells are generated again"
            )
        changed = True
    return changed


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
