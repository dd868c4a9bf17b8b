"""Problems, models and registered plans of two results folders.

Input: two folders of `orion.report.folders`. Output: rows that say what both have and where they
differ. Of long texts only 64-bit hashes are held.
"""

from dataclasses import asdict, dataclass
from typing import Any

import polars as pl

from orion import paths, tables
from orion.errors import InputError
from orion.experiment.plan import Version, find_edits, read_history
from orion.models.document import read_document
from orion.report.folders import Folder
from orion.report.settings import list_changed_values
from orion.training.table_slices import read_slices

SLICE_ROWS = 1024
ID, TEXT, GOLD = "problem_id", "problem", "answer"


@dataclass(frozen=True)
class ProblemSets:
    """A training set or benchmark of both folders, in numbers of problems.

    A problem is in both where its id and its question are the same. ``other_text``: ids that both
    have with another question; each is one problem only in A and one only in B. ``equal_answers``:
    of those in both.
    """

    kind: str
    name: str
    both: int
    only_a: int
    only_b: int
    other_text: int
    equal_answers: int


def compare_problems(
    a: Folder, b: Folder, kind: str, name: str
) -> tuple[ProblemSets, pl.DataFrame] | None:
    """The counts, and the ids of the problems in both, sorted; ``kind``: dataset or benchmark.

    None where a file is missing or damaged.
    """
    template = paths.PROBLEMS if kind == "dataset" else paths.BENCHMARK_PROBLEMS
    old, new = (_read_hashes(folder, folder.name_of(template, **{kind: name})) for folder in (a, b))
    if old is None or new is None:
        return None
    joined = old.join(new, on=ID, suffix="_b")
    same = joined.filter(pl.col(TEXT) == pl.col(f"{TEXT}_b"))
    counts = ProblemSets(
        kind,
        name,
        same.height,
        old.height - same.height,
        new.height - same.height,
        joined.height - same.height,
        same.filter(pl.col(GOLD) == pl.col(f"{GOLD}_b")).height,
    )
    return counts, same.select(ID).sort(ID)


def _read_hashes(folder: Folder, name: str) -> pl.DataFrame | None:
    if not folder.is_readable(name):
        return None
    try:
        slices = read_slices(folder.path(name), tables.PROBLEMS, [ID, TEXT, GOLD], rows=SLICE_ROWS)
        hashed = [part.with_columns(pl.col(TEXT, GOLD).hash()) for part in slices]
    except InputError as error:
        folder.blame(name, error)
        return None
    if not hashed:
        return pl.DataFrame(schema={ID: pl.String, TEXT: pl.UInt64, GOLD: pl.UInt64})
    return pl.concat(hashed).unique(ID)


def compare_models(a: Folder, b: Folder) -> list[dict[str, Any]]:
    """One row per model that both have: its digests, None where the document is damaged.

    ``trained``: the models that both trained from it; ``trained_equal``: with the same digest.
    """
    rows = []
    for wildcards in _list_common(a, b, paths.MODEL):
        old, new = (read_digest(f, f.name_of(paths.MODEL, **wildcards)) for f in (a, b))
        pairs = [
            [read_digest(f, f.name_of(paths.TRAINED_MODEL, **run)) for f in (a, b)]
            for run in _list_common(a, b, paths.TRAINED_MODEL)
            if run["model"] == wildcards["model"]
        ]
        rows.append(
            {
                "model": wildcards["model"],
                "a": old,
                "b": new,
                "equal": old == new if old and new else None,
                "trained": len(pairs),
                "trained_equal": sum(x is not None and x == y for x, y in pairs),
            }
        )
    return rows


def _list_common(a: Folder, b: Folder, template: str) -> list[dict[str, str]]:
    known = {tuple(found.values()) for found in b.list_wildcards(template)}
    return [found for found in a.list_wildcards(template) if tuple(found.values()) in known]


def read_digest(folder: Folder, name: str) -> str | None:
    """The digest in a model's document; None where it is missing or damaged."""
    if not folder.is_readable(name):
        return None
    try:
        return read_document(folder.path(name)).digest
    except InputError as error:
        folder.blame(name, error)
        return None


def compare_plans(a: Folder, b: Folder) -> dict[str, Any]:
    """The registered plans: versions, whether the last ones have the same digest, what differs.

    ``changes``: keys of the last versions with their values; ``edited``: numbers of the versions
    that are not as they were registered. Dates are left out.
    """
    histories = [_read_plan(folder) for folder in (a, b)]
    old, new = histories
    last = [history[-1] if history else None for history in histories]
    both = last[0] is not None and last[1] is not None
    return {
        "versions": {"a": _count(old), "b": _count(new)},
        "digests": {"a": last[0] and last[0].digest, "b": last[1] and last[1].digest},
        "edited": {"a": find_edits(old or []), "b": find_edits(new or [])},
        "equal_history": _strip(old) == _strip(new) if both else None,
        "changes": [
            {"key": key, "a": value_a, "b": value_b}
            for key, value_a, value_b in (
                list_changed_values(last[0].plan, last[1].plan) if last[0] and last[1] else ()
            )
        ],
    }


def _read_plan(folder: Folder) -> list[Version] | None:
    if not folder.is_readable(paths.PLAN):
        return None
    try:
        return read_history(folder.path(paths.PLAN))
    except InputError as error:
        folder.blame(paths.PLAN, error)
        return None


def _count(history: list[Version] | None) -> int | None:
    return None if history is None else len(history)


def _strip(history: list[Version] | None) -> list[dict[str, Any]]:
    return [{k: v for k, v in asdict(version).items() if k != "date"} for version in history or []]
