"""Opening a source's file: decompressed bytes, and text lines in the encoding that it has."""

import bz2
import codecs
import gzip
import io
import lzma
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from orion.errors import InputError

# what a reader of damaged compressed bytes raises, beside OSError
_DAMAGE = (EOFError, OSError, lzma.LZMAError, ValueError)
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
CHUNK = 1 << 20
# one decoded line; a longer one is not a row of a training set
MAX_LINE = 1 << 28


def check_file(path: str) -> Path:
    """The path of an existing file; raises InputError where there is none."""
    if not Path(path).is_file():
        raise InputError(
            f"{path}: no such file (relative to {Path.cwd().name}/); "
            "correct `path` in the configuration"
        )
    return Path(path)


def _decompress(path: Path) -> Any:
    ending = path.suffix.lower()
    if ending == ".zst":
        import pyarrow

        # pyarrow raises OSError for a truncated file; zstandard would end early, silently
        return pyarrow.input_stream(str(path), compression="zstd")
    openers: dict[str, Any] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
    return openers.get(ending, open)(path, "rb")


def read_chunks(path: Path) -> Iterator[bytes]:
    """The decompressed bytes of a file, a piece at a time.

    Raises InputError where the compression is damaged.
    """
    try:
        with _decompress(path) as stream:
            while chunk := stream.read(CHUNK):
                yield bytes(chunk)
    except _DAMAGE as error:
        kind = path.suffix.lstrip(".")
        raise InputError(
            f"{path}: damaged {kind} file or one that cannot be read ({error}); fetch it again"
        ) from None


def detect_encoding(start: bytes) -> tuple[str, int]:
    """(encoding, length of the byte order mark) of a text file by its first bytes."""
    for mark, name in _BOMS:
        if start.startswith(mark):
            return name, len(mark)
    # UTF-16 without a mark: an ASCII sign and a zero
    if len(start) >= 4 and start[1] == start[3] == 0 and start[0] and start[2]:
        return "utf-16-le", 0
    if len(start) >= 4 and start[0] == start[2] == 0 and start[1] and start[3]:
        return "utf-16-be", 0
    return "utf-8", 0


def read_lines(path: Path) -> Iterator[str | UnicodeDecodeError]:
    """The lines of a text file without their line ends; a bad one is its decoding error.

    Raises InputError for a damaged file, and for one that is not text in UTF-8, UTF-16 or UTF-32.
    """
    chunks = read_chunks(path)
    first = next(chunks, b"")
    encoding, skip = detect_encoding(first)
    if encoding != "utf-8":
        yield from _decode_wide(path, encoding, skip, first, chunks)
        return
    rest = first[skip:]
    while True:
        *lines, rest = rest.split(b"\n")
        for line in lines:
            yield _decode(line)
        if len(rest) > MAX_LINE:
            raise InputError(f"{path}: a line of more than {MAX_LINE:,} bytes; is it JSONL?")
        chunk = next(chunks, None)
        if chunk is None:
            break
        rest += chunk
    if rest:
        yield _decode(rest)


def _decode(line: bytes) -> str | UnicodeDecodeError:
    try:
        return line.decode("utf-8").removesuffix("\r")
    except UnicodeDecodeError as error:
        return error


def _decode_wide(
    path: Path, encoding: str, skip: int, first: bytes, chunks: Iterator[bytes]
) -> Iterator[str]:
    text = ""
    try:
        for piece in decode_text(encoding, skip, first, chunks):
            *lines, text = (text + piece).split("\n")
            for line in lines:
                yield line.removesuffix("\r")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not {encoding.upper()} ({error}); convert the file") from None
    if text:
        yield text


def decode_text(encoding: str, skip: int, first: bytes, chunks: Iterator[bytes]) -> Iterator[str]:
    """The text of a file, a piece at a time; raises UnicodeDecodeError."""
    decoder = codecs.getincrementaldecoder(encoding)()
    yield decoder.decode(first[skip:])
    for chunk in chunks:
        yield decoder.decode(chunk)
    yield decoder.decode(b"", final=True)


def read_text(path: Path) -> Iterator[str]:
    """The text of a file, a piece at a time.

    Raises InputError for a damaged file and for one that is not text.
    """
    chunks = read_chunks(path)
    first = next(chunks, b"")
    encoding, skip = detect_encoding(first)
    try:
        yield from decode_text(encoding, skip, first, chunks)
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not {encoding.upper()} ({error}); convert the file") from None


@contextmanager
def open_seekable(path: Path) -> Iterator[IO[bytes]]:
    """A file that can be read at any place; a compressed one is unpacked into a temporary file."""
    if path.suffix.lower() not in (".gz", ".zst", ".bz2", ".xz"):
        with open(path, "rb") as handle:
            yield handle
        return
    with tempfile.TemporaryFile() as unpacked:
        for chunk in read_chunks(path):
            unpacked.write(chunk)
        unpacked.seek(0, io.SEEK_SET)
        yield unpacked
