"""Fetching a file by its address and the digest of its bytes: resumed, cached, verified.

The cache holds files by their digest, so a second run, another checkout or a node without network
needs no server. It is the folder ``sources`` of ``$ORION_CACHE``, of ``$XDG_CACHE_HOME/orion`` or
of ``~/.cache/orion``.
"""

import hashlib
import os
import shutil
import time
from pathlib import Path

import httpx2

from orion.errors import InputError
from orion.paths import AtomicFile
from orion.progress import log

TRIES = 5
PAUSE_S = 2.0


class _InterruptedError(Exception):
    """A transfer that may go on where it stopped; the message says what happened."""


def cache_folder() -> Path:
    """The folder that keeps fetched files by their digest."""
    own = os.environ.get("ORION_CACHE")
    if own:
        return Path(own) / "sources"
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "orion" / "sources"


def hash_file(path: Path) -> str:
    """sha256 of a file's bytes."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def keep(path: Path, digest: str) -> None:
    """Put a file into the cache under the digest of its bytes, which the caller has verified."""
    place = cache_folder() / digest
    if not place.is_file():
        with AtomicFile(place) as partial:
            _link_or_copy(path, partial)


def fetch(url: str, sha256: str, output: str | Path, *, pause_s: float = PAUSE_S) -> None:
    """Publish the file with this digest as ``output``: from the cache, else from the address.

    Raises InputError where it cannot be fetched, or where its bytes have another digest.
    """
    cached = cache_folder() / sha256
    if cached.is_file() and hash_file(cached) != sha256:
        log(f"{cached}: damaged, fetched again")
        cached.unlink()
    if cached.is_file():
        log(f"{url}: taken from the cache")
    else:
        _download(url, sha256, cached, pause_s)
    with AtomicFile(output) as partial:
        _link_or_copy(cached, partial)


def _link_or_copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    shutil.copyfile(source, target)


def _download(url: str, sha256: str, cached: Path, pause_s: float) -> None:
    """Fetch into the cache; what a broken transfer has got is kept and gone on from."""
    cached.parent.mkdir(parents=True, exist_ok=True)
    part = cached.with_name(f"{sha256}.part")
    for tried in range(1, TRIES + 1):
        try:
            _transfer(url, part)
            break
        except _InterruptedError as error:
            if tried == TRIES:
                raise InputError(
                    f"{url}: cannot be fetched ({error}, tried {TRIES} times); check the network, "
                    f"or fetch it elsewhere and put it here with `orion data keep FILE`. What came "
                    "so far is kept, and the next run goes on from it"
                ) from None
            log(f"{url}: {error}; trying again")
            time.sleep(pause_s * 2 ** (tried - 1))
    found = hash_file(part)
    if found != sha256:
        part.unlink()
        raise InputError(
            f"{url}: its bytes have the sha256 {found}, not {sha256}; the file has changed there, "
            "or the configuration names another one"
        )
    os.replace(part, cached)


def _transfer(url: str, part: Path) -> None:
    """Append to ``part`` what is missing of the file.

    Raises _InterruptedError where a further try may help, and InputError where none will.
    """
    have = part.stat().st_size if part.is_file() else 0
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    timeout = httpx2.Timeout(60.0, connect=15.0)
    try:
        with httpx2.stream(
            "GET", url, headers=headers, follow_redirects=True, timeout=timeout
        ) as answer:
            if answer.status_code == 416:
                # all of it is here already, or more than the server has: the digest tells
                return
            if answer.status_code in (408, 425, 429) or answer.status_code >= 500:
                raise _InterruptedError(f"status {answer.status_code}")
            if answer.status_code not in (200, 206):
                raise InputError(
                    f"{url}: the server answers {answer.status_code}; correct source.url"
                )
            is_rest = answer.status_code == 206
            with open(part, "ab" if is_rest else "wb") as handle:
                # in the pieces that come, so that a broken transfer loses none
                for chunk in answer.iter_raw():
                    handle.write(chunk)
    except httpx2.InvalidURL as error:
        raise InputError(f"{url}: no valid address ({error}); correct source.url") from None
    except (httpx2.HTTPError, OSError) as error:
        raise _InterruptedError(f"{type(error).__name__}: {error}") from None
