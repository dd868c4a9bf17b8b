"""The files of a source: their kind by name, folders and globs expanded, digests of their bytes.

Only the standard library is imported, because Snakemake needs these functions while it plans.
"""

import glob
import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any

from orion.errors import InputError

FORMATS = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
}
COMPRESSIONS = (".gz", ".zst", ".bz2", ".xz")
# what the datasets library writes beside the shards of a saved dataset
_NO_DATA = {"dataset_info.json", "state.json", "dataset_dict.json", "dataset_infos.json"}
_SHARD = re.compile(r"-([0-9]{4,6})-of-([0-9]{4,6})\.")
# where fetched files are kept, named by the digest of their bytes
FETCHED = "results/sources"
# bytes; a smaller file is hashed each time, a larger one once per state
_REMEMBERED_FROM = 1 << 20
_MEMORY = Path(".snakemake/orion-digests.json")


def find_format(path: str | Path) -> str | None:
    """The format that a file's name says (a key of the readers), or None."""
    name = Path(path).name.lower()
    for ending in COMPRESSIONS:
        name = name.removesuffix(ending)
    return next((kind for ending, kind in FORMATS.items() if name.endswith(ending)), None)


def expand(path: str) -> list[str]:
    """The files that ``path`` names: itself, the data files of a folder, or those of a glob.

    A file whose name has brackets is that file. Where nothing is found the list is ``[path]``: the
    reader says so. Raises InputError for a folder or glob of several formats or with a missing
    shard.
    """
    if os.path.isfile(path):
        return [path]
    if os.path.isdir(path):
        found = [entry.path for entry in os.scandir(path) if _is_data(entry.name)]
    elif any(sign in path for sign in "*?["):
        found = [each for each in glob.glob(path, recursive=True) if os.path.isfile(each)]
    else:
        return [path]
    found.sort()
    _check_one_format(path, found)
    _check_shards(path, found)
    return [Path(each).as_posix() for each in found] or [path]


def _is_data(name: str) -> bool:
    hidden = name.startswith((".", "_")) or name in _NO_DATA
    return not hidden and find_format(name) is not None


def _check_one_format(path: str, found: list[str]) -> None:
    kinds = sorted({str(find_format(each)) for each in found})
    if len(kinds) > 1:
        raise InputError(
            f"{path}: holds files of several formats ({', '.join(kinds)}); name those that you "
            f"mean with a glob such as {path.rstrip('/')}/*.parquet"
        )


def _check_shards(path: str, found: list[str]) -> None:
    """Raises InputError where shards of one set, numbered n-of-m, are absent."""
    sets: dict[tuple[str, int], set[int]] = {}
    for each in found:
        match = _SHARD.search(each)
        if match:
            prefix = each[: match.start()]
            sets.setdefault((prefix, int(match.group(2))), set()).add(int(match.group(1)))
    for (prefix, total), numbers in sets.items():
        absent = [n for n in range(total) if n not in numbers]
        if absent and "*" not in Path(path).name:
            raise InputError(
                f"{path}: shard {absent[0]:05} of {total} of {Path(prefix).name} is missing "
                f"({len(absent)} in all); fetch it, or name the shards that you mean with a glob"
            )


def fetched_path(source: dict[str, Any]) -> str:
    """Where the file of a source of the kind ``url`` is, once it is fetched."""
    name = Path(str(source["url"]).split("?")[0].split("#")[0]).name
    ending = "".join(s for s in Path(name).suffixes if s.lower() in (*FORMATS, *COMPRESSIONS))
    if source.get("format") and find_format(f"x{ending}") is None:
        ending = f".{source['format']}{ending}"
    return f"{FETCHED}/{source['sha256']}{ending}"


def list_files(source: dict[str, Any]) -> list[str]:
    """The local files of one source block; empty for kinds that have none."""
    if source.get("path"):
        return expand(str(source["path"]))
    return [fetched_path(source)] if source.get("url") else []


def digest(path: str | Path) -> str | None:
    """sha256 of the bytes of a file, None where there is none.

    That of a large file is remembered beside Snakemake's own notes, with the size, the times and
    the inode of the file as it was.
    """
    try:
        state = os.stat(path)
    except OSError:
        return None
    if state.st_size < _REMEMBERED_FROM:
        return _hash(path)
    key = os.path.abspath(path)
    stamp = [state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino]
    known = _read_memory()
    if known.get(key, [None])[:-1] == stamp:
        return str(known[key][-1])
    found = _hash(path)
    _write_memory({**_read_memory(), key: [*stamp, found]})
    return found


def _hash(path: str | Path) -> str:
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _read_memory() -> dict[str, list[Any]]:
    try:
        found = json.loads(_MEMORY.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _write_memory(known: dict[str, list[Any]]) -> None:
    """Remember digests; where the folder is absent or read-only, none are."""
    if not _MEMORY.parent.is_dir():
        return
    partial = _MEMORY.with_name(f".{_MEMORY.name}.{os.getpid()}")
    try:
        partial.write_text(json.dumps(known), encoding="utf-8")
        os.replace(partial, _MEMORY)
    except OSError:
        partial.unlink(missing_ok=True)
