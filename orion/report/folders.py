"""A results folder as it is on disk, without its configuration: which artifacts it has.

Input: a results folder. Output: its artifacts in the order of the pipeline, each with its stage,
its wildcards and the digest of its bytes, and the files that cannot be read.
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from orion import paths, provenance, tables
from orion.errors import InputError
from orion.report.rules import RULES

# what every record of provenance has
RECORDED = ("module", "config", "code", "inputs", "packages")
PLAN_STAGE = "plan"


@dataclass(frozen=True)
class Found:
    """One file of a results folder.

    ``name``: its path below the folder. ``stage``: the rule that makes it. ``digest``: of its
    bytes, empty where the file cannot be read.
    """

    name: str
    template: str
    stage: str
    wildcards: dict[str, str]
    digest: str

    @property
    def place(self) -> str:
        """The values of its wildcards, such as ``chains/tiny/orion``."""
        return "/".join(self.wildcards.values())


@dataclass
class Folder:
    """The artifacts of a results folder by their name, and ``faults``: file name → what is wrong.

    A file with a fault stays among the artifacts: it is there, though it cannot be compared.
    """

    root: Path
    artifacts: dict[str, Found] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)

    def path(self, name: str) -> Path:
        """Where the file of this name is."""
        return self.root / name

    def is_readable(self, name: str) -> bool:
        """Whether the file is there and nothing was found to be wrong with it."""
        return name in self.artifacts and name not in self.faults

    def blame(self, name: str, error: InputError) -> None:
        """Record what is wrong with a file."""
        self.faults.setdefault(name, str(error).removeprefix(f"{self.path(name)}: "))

    def name_of(self, template: str, **wildcards: str) -> str:
        """The name of an artifact."""
        return template.format(**wildcards)

    def list_wildcards(self, template: str) -> list[dict[str, str]]:
        """The wildcards of all artifacts of a template."""
        return [f.wildcards for f in self.artifacts.values() if f.template == template]

    def by_digest(self) -> dict[str, set[str]]:
        """Digest → the names of the files that have it."""
        found: dict[str, set[str]] = {}
        for artifact in self.artifacts.values():
            found.setdefault(artifact.digest, set()).add(artifact.name)
        return found


def read_folder(root: str | Path) -> Folder:
    """The folder's artifacts; raises InputError where it has none.

    Each file is read once, for its digest; memory holds names and digests only.
    """
    folder = Folder(Path(root))
    if not folder.root.is_dir():
        raise InputError(f"{root}: no such folder; name the results folder of a run")
    for template, stages in _list_templates():
        for name, wildcards in _match_files(folder.root, template):
            try:
                digest = provenance.digest_file(folder.path(name))
                record = {} if template == paths.PLAN else read_record(folder.path(name))
            except InputError as error:
                digest, record = "", {}
                folder.blame(name, error)
            except OSError as error:
                digest, record = "", {}
                folder.blame(name, InputError(f"cannot be read ({error.strerror})"))
            made_by = str(record.get("module", "")).rpartition(".")[2]
            stage = made_by if made_by in stages else stages[0]
            folder.artifacts[name] = Found(name, template, stage, wildcards, digest)
    if not folder.artifacts:
        raise InputError(f"{root}: has no table of a run; name the folder that holds datasets/")
    return folder


def _list_templates() -> list[tuple[str, list[str]]]:
    """The templates of all artifacts in the order of the pipeline, each with its stages."""
    found: dict[str, list[str]] = {paths.PLAN: [PLAN_STAGE]}
    for rule in RULES:
        for template in rule.outputs:
            found.setdefault(template, []).append(rule.stage)
    return list(found.items())


def _match_files(root: Path, template: str) -> Iterator[tuple[str, dict[str, str]]]:
    """(name, wildcards) of the files that a template names, sorted by name."""
    names = paths.wildcard_names(template)
    pattern = re.escape(template).replace(r"\{", "{").replace(r"\}", "}")
    pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", pattern)
    for path in sorted(root.glob(template.format(**dict.fromkeys(names, "*")))):
        name = path.relative_to(root).as_posix()
        match = re.fullmatch(pattern, name, re.S)
        if match and path.is_file():
            yield name, match.groupdict()


def read_record(path: Path) -> dict[str, Any]:
    """The provenance of an artifact; raises InputError where the file is damaged or has none."""
    try:
        if path.suffix == ".json":
            record = tables.read_json(path)["provenance"]
        else:
            record = json.loads((pq.read_metadata(path).metadata or {})[b"orion"])
    except (pa.ArrowException, OSError) as error:
        raise tables.explain_unreadable(path, error) from None
    except (KeyError, TypeError, ValueError):
        raise InputError(f"{path}: holds no provenance") from None
    if not isinstance(record, dict) or not set(RECORDED) <= set(record):
        raise InputError(f"{path}: its provenance lacks one of {', '.join(RECORDED)}")
    return record


def list_only(own: Folder, other: Folder) -> dict[str, int]:
    """What only the first folder has: the outermost folder, or the file → its number of files."""
    known = {str(parent) for name in other.artifacts for parent in _list_parents(name)}
    found: dict[str, int] = {}
    for name in own.artifacts:
        if name not in other.artifacts:
            outermost = [str(parent) for parent in _list_parents(name) if str(parent) not in known]
            key = f"{outermost[0]}/" if outermost else name
            found[key] = found.get(key, 0) + 1
    return dict(sorted(found.items()))


def _list_parents(name: str) -> Iterable[PurePosixPath]:
    """The folders of a file below the results folder, the outermost first."""
    return reversed(PurePosixPath(name).parents[:-1])
