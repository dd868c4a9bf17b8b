"""Maintenance of a completion store: its contents, damage, and files that nothing refers to.

Input: the store's root, in a results folder (``results/completions``). Output: rows and lists for
``orion completions``. Only `remove` removes files. No stage imports this module.
"""

import json
import os
import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from orion import tables
from orion.completions import compaction, parts
from orion.completions.parts import KEY, STORED_COLUMNS, UNSTORED_FINISH_REASONS
from orion.errors import InputError

FOLDER_NAME = re.compile(r"[0-9a-f]{16}")
KEY_PATTERN = r"^[0-9a-f]{64}$"
REASON_PATTERN = f"^(?:{tables.FINISH_REASON})$"
# a partial file older than this was left by a dead process
LEFTOVER_S = 3600.0
# younger completions may belong to a model whose model.json is about to be written
RECENT_S = 86400.0
ROW_FAULTS = {
    "nulls": "rows with a null",
    "keys": "keys that are not 64 hexadecimal digits",
    "reasons": "rows that are no answers",
    "tokens": "rows with a negative number of tokens",
}


@dataclass(frozen=True)
class FolderContents:
    """One model's folder of a store; ``models``: the models of the results folder that use it."""

    folder: Path
    models: list[str]
    parts: int
    completions: int
    duplicates: int
    prompt_tokens: int
    completion_tokens: int
    bytes: int
    damaged: int


@dataclass(frozen=True)
class Removal:
    """A file that is of no more use, and the reason."""

    path: Path
    reason: str
    bytes: int


def list_folders(root: Path) -> list[Path]:
    """The models' folders of a store; raises InputError if there is no store."""
    if not root.is_dir():
        raise InputError(
            f"{root}: no such folder; --root names the completion store, such as "
            "results/completions"
        )
    return sorted(
        path for path in root.iterdir() if path.is_dir() and FOLDER_NAME.fullmatch(path.name)
    )


def find_models(results: Path) -> dict[str, list[str]]:
    """Folder name in the store → the models that use it, from every model.json under ``results``.

    Raises InputError for a damaged document: its completions must not count as unused.
    """
    models: dict[str, list[str]] = {}
    for path in sorted(_find_documents(results)):
        try:
            folder = json.loads(path.read_text(encoding="utf-8"))["digest"][:16]
        except FileNotFoundError:
            continue
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{path}: no readable model.json ({error}); delete it and make it again first"
            ) from None
        place = path.parent.relative_to(results)
        name = place.name if place.parts[0] == "models" else place.as_posix()
        models.setdefault(folder, []).append(name)
    return models


def _find_documents(results: Path) -> Iterator[Path]:
    """Every model.json below a folder, also behind symbolic links; each folder is read once."""
    seen: set[tuple[int, int]] = set()
    for place, below, files in os.walk(results, followlinks=True):
        stat = os.stat(place)
        if (stat.st_dev, stat.st_ino) in seen:
            below.clear()
            continue
        seen.add((stat.st_dev, stat.st_ino))
        if "model.json" in files:
            yield Path(place, "model.json")


def read_contents(root: Path) -> Iterator[FolderContents]:
    """The contents of a store, one row per model; raises InputError for a damaged part."""
    folders = list_folders(root)
    models = find_models(root.parent)
    for folder in folders:
        paths = parts.list_parts(folder)
        try:
            stored = (
                pl.scan_parquet(paths, schema=STORED_COLUMNS)
                if paths
                else pl.LazyFrame(schema=STORED_COLUMNS)
            )
            rows, distinct, prompt_tokens, completion_tokens = (
                stored.select(
                    pl.len(),
                    pl.col(KEY).hash().n_unique().alias("distinct"),
                    pl.col("prompt_tokens").sum(),
                    pl.col("completion_tokens").sum(),
                )
                .collect(engine="streaming")
                .row(0)
            )
            size = sum(path.stat().st_size for path in paths)
        except parts.READ_ERRORS as error:
            raise InputError(
                f"{folder}: {error}; `orion completions verify --root {root}` names the damaged "
                "parts"
            ) from None
        yield FolderContents(
            folder,
            models.get(folder.name, []),
            parts=len(paths),
            completions=distinct,
            duplicates=rows - distinct,
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
            bytes=size,
            damaged=len(list(folder.glob("*.damaged"))),
        )


def find_fault(path: Path) -> str | None:
    """Why a part must not be used; None for a sound one.

    Checks the content against the name, columns, keys, finish reasons and token counts.
    """
    reason = parts.find_fault(path)
    if reason is not None:
        return reason
    key, finish = pl.col(KEY), pl.col("finish_reason")
    tokens = pl.min_horizontal("prompt_tokens", "completion_tokens")
    for frame in parts.read_row_groups(path):
        counts = frame.select(
            nulls=pl.any_horizontal(pl.all().is_null()).sum(),
            keys=(~key.str.contains(KEY_PATTERN)).sum(),
            reasons=(
                finish.is_in(UNSTORED_FINISH_REASONS) | ~finish.str.contains(REASON_PATTERN)
            ).sum(),
            tokens=(tokens < 0).sum(),
        ).row(0, named=True)
        faults = [f"{n} {ROW_FAULTS[name]}" for name, n in counts.items() if n]
        if faults:
            return "; ".join(faults)
    return None


def find_removals(
    root: Path, *, include_recent: bool = False, now: float | None = None
) -> list[Removal]:
    """Files that can go: parts without a model.json, leftovers, damaged parts set aside.

    Completions of the last day are listed with ``include_recent`` only. Raises InputError where the
    results folder has no model.json at all, because every completion would go.
    """
    folders = list_folders(root)
    models = find_models(root.parent)
    if folders and not models:
        raise InputError(
            f"{root.parent}: no model.json below it, so that no completion would stay; is {root} "
            "the store of a results folder? To remove all of it, delete the folder"
        )
    now = time.time() if now is None else now
    found = []
    for folder in folders:
        for path in sorted(folder.iterdir()):
            try:
                stat = path.stat()
            except FileNotFoundError:
                continue
            age = now - stat.st_mtime
            in_use = folder.name in models or (age < RECENT_S and not include_recent)
            reason = _removal_reason(path, in_use, age)
            if reason is not None:
                found.append(Removal(path, reason, stat.st_size))
    return found


def _removal_reason(path: Path, in_use: bool, age: float) -> str | None:
    if path.suffix == ".partial":
        return "leftover of a killed process" if age > LEFTOVER_S else None
    if path.suffix == ".damaged":
        return "damaged and set aside"
    if not in_use and path.suffix == ".parquet":
        return "no model.json refers to it"
    return None


def find_merges(root: Path, removed: Iterable[Path] = ()) -> list[tuple[Path, int, int]]:
    """Folders with small parts to merge once the ``removed`` files are gone.

    Each with the number of parts before and after the merge.
    """
    found, gone = [], set(removed)
    for folder in list_folders(root):
        small = [item for item in compaction.list_small_parts(folder) if item[0] not in gone]
        plan = compaction.plan_merges(small)
        if plan:
            found.append((folder, sum(map(len, plan)), len(plan)))
    return found


def remove(removals: list[Removal]) -> None:
    """Remove these files, and the folders that are empty then."""
    for removal in removals:
        removal.path.unlink(missing_ok=True)
    for folder in {removal.path.parent for removal in removals}:
        if not any(folder.iterdir()):
            folder.rmdir()
