"""Which artifact is made from which, and the check that their recorded inputs still match.

Input: the validated configuration and the results folder. Output: the artifacts with their
provenance, or an InputError that names a file that does not fit and the cure.
"""

import itertools
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orion import paths, provenance, tables
from orion.config import (
    Config,
    list_exposures,
    list_helpers,
    list_judges,
    list_source_runs,
    local_files,
    needs_samples,
    stage_config,
    validate,
)
from orion.config.sources import ArmModel
from orion.errors import InputError
from orion.report.rule_inputs import Wildcards, trains
from orion.report.rules import RULES, Rule

CURE = (
    "run the workflow again (`make demo`, or `snakemake` with the same --configfile): "
    "it rebuilds what no longer fits"
)


@dataclass(frozen=True)
class Artifact:
    """One file of the grid: its stage, the stage's wildcards, and its inputs by name."""

    path: Path
    stage: str
    wildcards: Wildcards
    inputs: dict[str, Path]


def list_artifacts(config: Config, root: str | Path) -> Iterator[Artifact]:
    """Every artifact of the configured grid that carries provenance, parents before children.

    The trainings that the run's models come from are among them.
    """
    found = {}
    for rule in RULES:
        for wildcards in _list_wildcards(config, rule):
            inputs = _find_inputs(config, root, rule, wildcards)
            for template in rule.outputs:
                path = paths.artifact(root, template, **wildcards)
                found[path] = Artifact(path, rule.stage, wildcards, inputs)
    seen: set[Path] = set()
    for path in found:
        yield from _list_unseen(found, path, seen)


def _list_unseen(found: dict[Path, Artifact], path: Path, seen: set[Path]) -> Iterator[Artifact]:
    """The artifact and the ones that it is made from, these first, each once."""
    if path in seen or path not in found:
        return
    seen.add(path)
    for parent in found[path].inputs.values():
        yield from _list_unseen(found, parent, seen)
    yield found[path]


def _combine(config: Config, names: list[str]) -> list[Wildcards]:
    """Every combination of these wildcards' values in the grid."""
    # two arms that are compared are both of the grid
    blocks = {"against": "arms"}
    values = [getattr(config.runs, blocks.get(name, f"{name}s")) for name in names]
    combinations = itertools.product(*values)
    return [dict(zip(names, map(str, combination), strict=True)) for combination in combinations]


def _list_wildcards(config: Config, rule: Rule) -> list[Wildcards]:
    names = paths.wildcard_names(rule.outputs[0])
    rows = _combine(config, names)
    sources = list_source_runs(config) if rule.for_sources else []
    for run in sources:
        rows += _list_source_rows(config, rule, names, run)
    used = [*config.runs.datasets, *(run.dataset for run in sources)]
    for dataset in used if rule.for_teachers else []:
        teacher = config.datasets[dataset].teacher
        if teacher is not None and trains(config, {"dataset": dataset}):
            known = {"dataset": dataset, "model": teacher}
            rows.append({name: value for name, value in known.items() if name in names})
    if rule.for_teachers and names == ["model"]:
        rows += [{"model": name} for name in [*list_helpers(config), *list_judges(config)]]
    if rule.for_teachers and names == ["dataset", "model"]:
        rows += [{"dataset": dataset, "model": name} for dataset, name in list_exposures(config)]
    # first, since of the pairs of arms few are compared
    rows = [row for row in rows if rule.applies(config, row)]
    return [row for number, row in enumerate(rows) if row not in rows[:number]]


def _list_source_rows(
    config: Config, rule: Rule, names: list[str], run: ArmModel
) -> list[Wildcards]:
    """The combination of a rule's wildcards that makes a model's source, if one does."""
    known = {name: str(value) for name, value in run.model_dump().items()}
    is_sampled = names == ["dataset", "model"] and not needs_samples(config, run.arm)
    if is_sampled or not names or not set(names) <= set(known):
        return []
    return [{name: known[name] for name in names}]


def _find_inputs(
    config: Config, root: str | Path, rule: Rule, wildcards: Wildcards
) -> dict[str, Path]:
    inputs = {}
    for name, choice in rule.inputs.items():
        template = choice if isinstance(choice, str) else choice(config, wildcards)
        if template is None:
            continue
        free = [w for w in paths.wildcard_names(template) if w not in wildcards]
        for extra in _combine(config, free):
            known = wildcards | extra
            inputs[name.format(**known)] = paths.artifact(root, template, **known)
    further = rule.more_inputs(config, wildcards) if rule.more_inputs is not None else {}
    inputs |= {
        name: paths.artifact(root, template, **wildcards) for name, template in further.items()
    }
    if rule.from_files:
        [(kind, name)] = wildcards.items()
        block = getattr(config, f"{kind}s")[name]
        inputs |= {path: Path(path) for path in local_files(block)}
    return inputs


def restore_config(raw: dict[str, Any]) -> Config:
    """The configuration from the stage's one key ``whole``: its JSON text, nulls included.

    Raises InputError where the configuration is not valid.
    """
    return validate(json.loads(raw["whole"]), "--config")


def verify_artifacts(config: Config, root: str | Path) -> dict[Path, dict]:
    """Path → provenance of every artifact.

    Raises InputError for the first artifact that is missing or does not fit its parents.
    """
    records: dict[Path, dict] = {}
    digests: dict[Path, str] = {}
    for artifact in list_artifacts(config, root):
        for path in (artifact.path, *artifact.inputs.values()):
            if not path.is_file():
                raise InputError(f"{path}: no such file; {CURE}")
        try:
            record = tables.read_provenance(artifact.path)
        except (KeyError, OSError, ValueError) as error:
            raise InputError(
                f"{artifact.path}: holds no provenance ({error!r}); delete it and {CURE}"
            ) from None
        faults = _find_faults(record, stage_config(config, artifact.stage, **artifact.wildcards))
        for name, path in sorted(artifact.inputs.items()):
            # a parent is hashed once, however many children it has
            digests.setdefault(path, provenance.digest_file(path))
            if record["inputs"].get(name) != digests[path]:
                faults.append(f"made from another {name} than {path}")
        if faults:
            raise InputError(f"{artifact.path}: {'; '.join(faults)}; {CURE}")
        records[artifact.path] = record
    return records


def _find_faults(record: dict, keys: dict) -> list[str]:
    try:
        return provenance.mismatches(record, config=keys, inputs={})
    except ModuleNotFoundError:
        return [f"made by {record['module']}, which is no longer part of this project"]


def package_rows(records: dict[Path, dict]) -> list[dict]:
    """One row per package version: the number of artifacts that were made with it.

    The process that writes the report counts as one artifact.
    """
    counts: Counter = Counter()
    for record in (*records.values(), {"packages": provenance.package_versions()}):
        counts.update(record["packages"].items())
    return [
        {"package": name, "version": version, "artifacts": n}
        for (name, version), n in sorted(counts.items())
    ]
