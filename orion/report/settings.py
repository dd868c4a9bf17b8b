"""What differs in how two results folders were made, and where the differences begin.

Input: two folders of `orion.report.folders`. Output: rows per stage, for the provenance of the
files that both have; which files have equal content; and the files with which the differences
begin: they differ, and nothing that they are made from does.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from orion.errors import InputError
from orion.report.contents import find_differences
from orion.report.folders import PLAN_STAGE, Folder, Found, read_record

CONFIG, CODE, INPUT, PACKAGE = "config", "code", "input", "package"
# kinds that a file has of its own; package versions are in every file and say little of one stage
OWN_KINDS = (CONFIG, CODE, INPUT)


@dataclass(frozen=True)
class Change:
    """Something that the provenance of a file has otherwise in B than in A, as texts of JSON.

    ``key``: of the configuration, dotted; the module; the input's name; or the package. A value is
    None where that side does not have it.
    """

    stage: str
    kind: str
    key: str
    a: str | None
    b: str | None


@dataclass
class StageContent:
    """How many files of a stage both have, can be compared, and have equal content.

    ``columns``: the columns and keys that differ in any of them, in the order found.
    """

    both: int = 0
    compared: int = 0
    equal: int = 0
    columns: dict[str, None] = field(default_factory=dict)


@dataclass(frozen=True)
class Start:
    """A file with which differences begin. ``changes``: its own; ``columns``: of its content."""

    name: str
    stage: str
    place: str
    changes: tuple[Change, ...]
    columns: tuple[str, ...]


@dataclass
class Settings:
    """What differs in what was run.

    ``changes``: → the places that have it. ``contents``: by stage. ``starts``: in the order of the
    pipeline. ``following``: files whose content differs that are made from files that differ;
    ``unexplained``: those whose parents cannot all be compared. ``identical``: whether all files
    that both have are the same bytes.
    """

    changes: dict[Change, list[str]] = field(default_factory=dict)
    contents: dict[str, StageContent] = field(default_factory=dict)
    starts: list[Start] = field(default_factory=list)
    following: int = 0
    unexplained: int = 0
    identical: bool = True


def compare_settings(a: Folder, b: Folder) -> Settings:
    """Compare the provenance and the content of all files that both folders have.

    The records are read again, one pair at a time, so that memory does not hold all of them.
    """
    settings = Settings()
    differing: dict[str, list[str] | None] = {}
    for found in _list_common(a, b):
        columns = differing[found.name] = find_differences(a, b, found.name)
        content = settings.contents.setdefault(found.stage, StageContent())
        content.both += 1
        content.compared += columns is not None
        content.equal += columns == []
        content.columns |= dict.fromkeys(columns or [])
        settings.identical &= found.digest != "" and found.digest == b.artifacts[found.name].digest
    by_digest = (a.by_digest(), b.by_digest())
    for found in _list_common(a, b):
        if not (a.is_readable(found.name) and b.is_readable(found.name)):
            continue
        if found.stage == PLAN_STAGE:
            continue
        try:
            old, new = (read_record(folder.path(found.name)) for folder in (a, b))
        except InputError:
            continue
        own = list(_list_changes(found.stage, old, new))
        parents, foreign = _match_inputs(found.stage, (old, new), by_digest, differing)
        own += foreign
        for change in own:
            settings.changes.setdefault(change, []).append(found.place)
        _place(settings, found, own, parents, differing)
    return settings


def _list_common(a: Folder, b: Folder) -> Iterator[Found]:
    yield from (found for name, found in a.artifacts.items() if name in b.artifacts)


def _place(
    settings: Settings,
    found: Found,
    changes: list[Change],
    parents: list[str],
    differing: dict[str, list[str] | None],
) -> None:
    """Count the file with the starts, with what follows from them, or with neither."""
    columns = differing[found.name]
    mine = tuple(change for change in changes if change.kind in OWN_KINDS)
    of_parents = [differing.get(name) for name in parents]
    if not columns and not mine:
        return
    if any(of_parents):
        settings.following += bool(columns)
    elif any(state is None for state in of_parents):
        settings.unexplained += bool(columns)
    else:
        start = Start(found.name, found.stage, found.place, mine, tuple(columns or ()))
        settings.starts.append(start)


def _list_changes(stage: str, old: dict[str, Any], new: dict[str, Any]) -> Iterator[Change]:
    for key, a, b in list_changed_values(old["config"], new["config"]):
        yield Change(stage, CONFIG, key, a, b)
    if (old["module"], old["code"]) != (new["module"], new["code"]):
        modules = dict.fromkeys(str(record["module"]) for record in (old, new))
        yield Change(stage, CODE, " and ".join(modules), str(old["code"]), str(new["code"]))
    for key, a, b in list_changed_values(old["packages"], new["packages"]):
        yield Change("", PACKAGE, key, a, b)


def list_changed_values(
    old: Any, new: Any, prefix: str = ""
) -> Iterator[tuple[str, str | None, str | None]]:
    """(dotted key, value, value) as JSON texts where two configurations differ; None: no such key.

    Lists are compared whole.
    """
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys(), key=str):
            name = f"{prefix}.{key}" if prefix else str(key)
            if key in old and key in new:
                yield from list_changed_values(old[key], new[key], name)
            else:
                a, b = (_write(side[key]) if key in side else None for side in (old, new))
                yield name, a, b
    elif old != new:
        yield prefix or "value", _write(old), _write(new)


def _write(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def _match_inputs(
    stage: str,
    records: tuple[dict[str, Any], dict[str, Any]],
    by_digest: tuple[dict[str, set[str]], dict[str, set[str]]],
    differing: dict[str, list[str] | None],
) -> tuple[list[str], list[Change]]:
    """The files of the folders that an artifact is made from, and the inputs that differ otherwise.

    An input is a file of its folder that has the recorded digest. It differs otherwise where it is
    no such file, as a problem file of the user is, or is made from another artifact. A parent that
    is damaged on one side is known by the other.
    """
    parents, foreign = [], []
    for name in sorted(records[0]["inputs"].keys() | records[1]["inputs"].keys()):
        digests = [record["inputs"].get(name) for record in records]
        names = [known.get(d, set()) for known, d in zip(by_digest, digests, strict=True)]
        common = names[0] & names[1]
        damaged = {n for n in names[0] | names[1] if differing.get(n, ()) is None}
        if common or damaged:
            parents.append(min(common or damaged))
        elif digests[0] != digests[1]:
            foreign.append(Change(stage, INPUT, name, *digests))
    return parents, foreign
