"""Upkeep of a cell store: what is in it, whether it is intact, what nobody refers to any more.

Input: the store's root, in a results folder (``results/completions``). Output: rows and lists for ``orion completions``; files are removed by
`remove` only. No stage imports this module.
"""

import json
import os
import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from orion.completions import compaction, parts
from orion.completions.parts import KEY, STORED_COLUMNS, STORED_FINISH_REASONS
from orion.errors import InputError

FOLDER = re.compile(r"[0-9a-f]{16}")
KEY_PATTERN = r"^[0-9a-f]{64}$"
# a partial file older than this is a dead process's
LEFTOVER_S = 3600.0
# cells younger than this may be those of a model whose model.json is about to be written
YOUNG_S = 86400.0
WRONG = {
    "nulls": "rows with a null",
    "keys": "keys that are not 64 hexadecimal digits",
    "reasons": "rows that neither stopped nor reached their length",
    "tokens": "rows with a negative number of tokens",
}


@dataclass(frozen=True)
class Contents:
    """One model's part of a store; ``names``: the models of the results folder that it belongs to."""

    folder: Path
    names: list[str]
    parts: int
    cells: int
    duplicates: int
    prompt_tokens: int
    completion_tokens: int
    bytes: int
    damaged: int


@dataclass(frozen=True)
class Removal:
    """A file that is of no more use, and why."""

    path: Path
    reason: str
    bytes: int


def folders(root: Path) -> list[Path]:
    """The models' folders of a store; raises InputError if there is no store."""
    if not root.is_dir():
        raise InputError(
            f"{root}: no such folder; --root names the folder of the cells, such as results/completions"
        )
    return sorted(path for path in root.iterdir() if path.is_dir() and FOLDER.fullmatch(path.name))


def names(results: Path) -> dict[str, list[str]]:
    """Folder name in the store → the models whose cells it holds, from every model.json below the results folder.

    Raises InputError for a damaged document: its cells must not count as nobody's.
    """
    found: dict[str, list[str]] = {}
    for path in sorted(_documents(results)):
        try:
            folder = json.loads(path.read_text(encoding="utf-8"))["digest"][:16]
        except FileNotFoundError:
            continue
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{path}: no readable model.json ({error}); delete it and make it again first"
            ) from None
        place = path.parent.relative_to(results)
        found.setdefault(folder, []).append(
            place.name if place.parts[0] == "models" else place.as_posix()
        )
    return found


def _documents(results: Path) -> Iterator[Path]:
    """Every model.json below a folder, behind symbolic links too, each folder once."""
    seen: set[tuple[int, int]] = set()
    for place, below, files in os.walk(results, followlinks=True):
        stat = os.stat(place)
        if (stat.st_dev, stat.st_ino) in seen:
            below.clear()
            continue
        seen.add((stat.st_dev, stat.st_ino))
        if "model.json" in files:
            yield Path(place, "model.json")


def contents(root: Path) -> Iterator[Contents]:
    """What the store holds, a row a model; raises InputError for a damaged part."""
    everything = folders(root)
    known = names(root.parent)
    for folder in everything:
        paths = parts.listed(folder)
        try:
            sums = (
                pl.scan_parquet(paths, schema=STORED_COLUMNS)
                if paths
                else pl.LazyFrame(schema=STORED_COLUMNS)
            )
            rows, distinct, prompt, completion = (
                sums.select(
                    pl.len(),
                    pl.col(KEY).hash().n_unique().alias("distinct"),
                    pl.col("prompt_tokens").sum(),
                    pl.col("completion_tokens").sum(),
                )
                .collect(engine="streaming")
                .row(0)
            )
            size = sum(path.stat().st_size for path in paths)
        except parts.UNREADABLE as error:
            raise InputError(
                f"{folder}: {error}; `orion completions verify --root {root}` names the damaged parts"
            ) from None
        damaged = len(list(folder.glob("*.damaged")))
        yield Contents(
            folder,
            known.get(folder.name, []),
            len(paths),
            distinct,
            rows - distinct,
            prompt,
            completion,
            size,
            damaged,
        )


def fault(path: Path) -> str | None:
    """Why a part must not be trusted, None for a sound one: content against name, columns, keys, reasons, counts."""
    reason = parts.fault(path)
    if reason is not None:
        return reason
    cell, finish = pl.col(KEY), pl.col("finish_reason")
    tokens = pl.min_horizontal("prompt_tokens", "completion_tokens")
    for frame in parts.groups(path):
        counts = frame.select(
            nulls=pl.any_horizontal(pl.all().is_null()).sum(),
            keys=(~cell.str.contains(KEY_PATTERN)).sum(),
            reasons=(~finish.is_in(STORED_FINISH_REASONS)).sum(),
            tokens=(tokens < 0).sum(),
        ).row(0, named=True)
        bad = [f"{n} {WRONG[what]}" for what, n in counts.items() if n]
        if bad:
            return "; ".join(bad)
    return None


def removals(root: Path, *, young: bool = False, now: float | None = None) -> list[Removal]:
    """What no model.json refers to, leftovers of dead processes, damaged parts that were set aside.

    Cells of the last day only with ``young``. Raises InputError where the results folder has no model.json at all: everything
    would go.
    """
    everything = folders(root)
    known = names(root.parent)
    if everything and not known:
        raise InputError(
            f"{root.parent}: no model.json below it, so that no cell would stay; is {root} the store of a results folder? "
            "To remove all of it, delete the folder"
        )
    now = time.time() if now is None else now
    found = []
    for folder in everything:
        for path in sorted(folder.iterdir()):
            try:
                stat = path.stat()
            except FileNotFoundError:
                continue
            age = now - stat.st_mtime
            reason = _useless(path, folder.name in known or (age < YOUNG_S and not young), age)
            if reason is not None:
                found.append(Removal(path, reason, stat.st_size))
    return found


def _useless(path: Path, referred: bool, age: float) -> str | None:
    if path.suffix == ".partial":
        return "leftover of a killed process" if age > LEFTOVER_S else None
    if path.suffix == ".damaged":
        return "damaged and set aside"
    if not referred and path.suffix == ".parquet":
        return "no model.json refers to it"
    return None


def mergeable(root: Path, leaving: Iterable[Path] = ()) -> list[tuple[Path, int, int]]:
    """Folders with small parts to merge once the ``leaving`` ones are gone: folder, parts merged, parts they become."""
    found, gone = [], set(leaving)
    for folder in folders(root):
        small = [(path, size) for path, size in compaction.small(folder) if path not in gone]
        plan = compaction.planned(small)
        if plan:
            found.append((folder, sum(map(len, plan)), len(plan)))
    return found


def remove(found: list[Removal]) -> None:
    """Remove these files, and the folders that are empty then."""
    for removal in found:
        removal.path.unlink(missing_ok=True)
    for folder in {removal.path.parent for removal in found}:
        if not any(folder.iterdir()):
            folder.rmdir()
