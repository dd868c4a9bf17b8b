"""Which artifact is made from which, and the check that their recorded inputs still match.

Input: the validated configuration and the results folder. Output: the artifacts with their
provenance, or an InputError that names a file that does not fit and the cure.
"""

import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orion import paths, provenance, tables
from orion.config import (
    Config,
    list_source_runs,
    local_files,
    needs_samples,
    stage_config,
    validate,
)
from orion.config.sources import ArmModel
from orion.errors import InputError

CURE = (
    "run the workflow again (`make demo`, or `snakemake` with the same --configfile): "
    "it rebuilds what no longer fits"
)

Wildcards = dict[str, str]
Condition = Callable[[Config, Wildcards], bool]
# a path template, or a function that gives one; None: there is no such input
Template = str | Callable[[Config, Wildcards], str | None]


def always(config: Config, wildcards: Wildcards) -> bool:
    """Whether a rule applies: to every combination of the grid."""
    return True


def has_teacher(config: Config, wildcards: Wildcards) -> bool:
    """Whether the dataset's traces are sampled from a teacher."""
    return config.datasets[wildcards["dataset"]].teacher is not None


def trains(config: Config, wildcards: Wildcards) -> bool:
    """Whether an arm is trained on the dataset; else nothing reads its traces or asks a teacher."""
    dataset = wildcards["dataset"]
    is_source = dataset in [run.dataset for run in list_source_runs(config)]
    is_in_grid = dataset in config.runs.datasets
    trained = any(config.arms[arm].trained_on != "nothing" for arm in config.runs.arms)
    return is_source or (is_in_grid and trained)


def trains_on_sampled_traces(config: Config, wildcards: Wildcards) -> bool:
    """Whether the dataset's traces are sampled from a teacher for an arm of the run."""
    return has_teacher(config, wildcards) and trains(config, wildcards)


def is_trained(config: Config, wildcards: Wildcards) -> bool:
    """Whether the arm is trained."""
    return config.arms[wildcards["arm"]].trained_on != "nothing"


def is_reflecting(config: Config, wildcards: Wildcards) -> bool:
    """Whether the arm is trained on reflections."""
    return config.arms[wildcards["arm"]].trained_on == "reflection"


def problems_with_traces(config: Config, wildcards: Wildcards) -> str:
    """The problems with their teacher traces: a separate file where a teacher is sampled."""
    return paths.PROBLEMS_WITH_TRACES if has_teacher(config, wildcards) else paths.PROBLEMS


def of_teacher(template: str) -> Template:
    """A file of the dataset's teacher, which is a model like any other."""
    return lambda config, wildcards: template.replace(
        "{model}", str(config.datasets[wildcards["dataset"]].teacher)
    )


def if_reflecting(template: str) -> Template:
    """A file that only arms with reflections have."""
    return lambda config, wildcards: template if is_reflecting(config, wildcards) else None


def if_sampling(template: str) -> Template:
    """A file that only arms have which train on what the student answers."""
    return lambda config, wildcards: template if needs_samples(config, wildcards["arm"]) else None


def of_source_arm(template: str) -> Template:
    """A file of the training that a model of the kind arm comes from; other models have none."""

    def locate(config: Config, wildcards: Wildcards) -> str | None:
        source = config.models[wildcards["model"]].source
        return template.format(**source.model_dump()) if source.kind == "arm" else None

    return locate


def evaluated_model(config: Config, wildcards: Wildcards) -> str:
    """The trained model; for an arm that is not trained, the student itself."""
    return paths.TRAINED_MODEL if is_trained(config, wildcards) else paths.MODEL


@dataclass(frozen=True)
class Rule:
    """One row of the table: the artifacts that a rule of the workflow makes, and from what.

    ``stage``: the name in ``orion.config.stage_config``. ``outputs``: path templates of the
    artifacts that carry provenance; all have the same wildcards. ``inputs``: by their name in the
    provenance. A wildcard that only an input has is expanded over the grid. ``applies``: which
    combinations of wildcards the rule runs for. ``for_teachers``: it also runs for each dataset's
    teacher. ``for_sources``: it also runs for the trainings that the run's models come from.
    ``from_files``: it also reads local files that the configuration names.
    """

    stage: str
    outputs: tuple[str, ...]
    inputs: dict[str, Template] = field(default_factory=dict)
    applies: Condition = always
    for_teachers: bool = False
    for_sources: bool = True
    from_files: bool = False


RULES = (
    Rule("benchmark", (paths.BENCHMARK_PROBLEMS, paths.BENCHMARK_REJECTED), from_files=True),
    Rule("lint", (paths.BENCHMARK_LINT,), {"problems": paths.BENCHMARK_PROBLEMS}),
    # the document itself holds the digests of the model's files
    Rule(
        "model",
        (paths.MODEL, paths.PREFLIGHT),
        {"trained": of_source_arm(paths.TRAINED_MODEL)},
        for_teachers=True,
    ),
    Rule(
        "dataset",
        (paths.PROBLEMS, paths.REJECTED),
        {"benchmark:{benchmark}": paths.BENCHMARK_PROBLEMS},
        from_files=True,
    ),
    Rule("lint", (paths.LINT,), {"problems": paths.PROBLEMS}, for_sources=False),
    Rule(
        "sample",
        (paths.SAMPLES,),
        {"problems": paths.PROBLEMS, "model": paths.MODEL, "preflight": paths.PREFLIGHT},
        for_teachers=True,
    ),
    Rule(
        "check",
        (paths.VERDICTS, paths.STEPS),
        {"problems": paths.PROBLEMS, "samples": paths.SAMPLES},
        for_teachers=True,
    ),
    Rule(
        "trace",
        (paths.PROBLEMS_WITH_TRACES,),
        {
            "problems": paths.PROBLEMS,
            "samples": of_teacher(paths.SAMPLES),
            "verdicts": of_teacher(paths.VERDICTS),
        },
        applies=trains_on_sampled_traces,
    ),
    Rule(
        "check_traces",
        (paths.TRACE_VERDICTS, paths.TRACE_STEPS),
        {"problems": problems_with_traces, "samples": problems_with_traces},
        applies=trains,
    ),
    Rule(
        "expose",
        (paths.ERRORS,),
        {"samples": paths.SAMPLES, "verdicts": paths.VERDICTS},
        applies=is_reflecting,
    ),
    Rule(
        "reflect",
        (paths.REFLECTIONS,),
        {
            "problems": problems_with_traces,
            "trace_verdicts": paths.TRACE_VERDICTS,
            "trace_steps": paths.TRACE_STEPS,
            "errors": paths.ERRORS,
            "model": paths.MODEL,
            "preflight": paths.PREFLIGHT,
        },
        applies=is_reflecting,
    ),
    Rule(
        "check_reflections",
        (paths.REFLECTION_VERDICTS, paths.REFLECTION_STEPS),
        {"problems": paths.PROBLEMS, "samples": paths.REFLECTIONS},
        applies=is_reflecting,
    ),
    Rule(
        "select",
        (paths.TRAIN, paths.FILTERS),
        {
            "problems": problems_with_traces,
            "trace_verdicts": paths.TRACE_VERDICTS,
            "trace_steps": paths.TRACE_STEPS,
            "samples": if_sampling(paths.SAMPLES),
            "verdicts": if_sampling(paths.VERDICTS),
            "steps": if_sampling(paths.STEPS),
            "errors": if_reflecting(paths.ERRORS),
            "reflections": if_reflecting(paths.REFLECTIONS),
            "reflection_verdicts": if_reflecting(paths.REFLECTION_VERDICTS),
            "reflection_steps": if_reflecting(paths.REFLECTION_STEPS),
        },
        applies=is_trained,
    ),
    Rule(
        "pack",
        (paths.PACKED, paths.PACKED_STATS),
        {"train": paths.TRAIN, "model": paths.MODEL, "preflight": paths.PREFLIGHT},
        applies=is_trained,
    ),
    Rule(
        "train",
        (paths.TRAINED_MODEL,),
        {"packed": paths.PACKED, "model": paths.MODEL, "preflight": paths.PREFLIGHT},
        applies=is_trained,
    ),
    Rule(
        "evaluate_sample",
        (paths.EVALUATION_SAMPLES,),
        {
            "problems": paths.BENCHMARK_PROBLEMS,
            "model": evaluated_model,
            "preflight": paths.PREFLIGHT,
        },
    ),
    Rule(
        "evaluate_check",
        (paths.EVALUATION_VERDICTS, paths.EVALUATION_STEPS),
        {"problems": paths.BENCHMARK_PROBLEMS, "samples": paths.EVALUATION_SAMPLES},
    ),
    Rule(
        "evaluate",
        (paths.SCORES,),
        {
            "problems": paths.BENCHMARK_PROBLEMS,
            "samples": paths.EVALUATION_SAMPLES,
            "verdicts": paths.EVALUATION_VERDICTS,
        },
    ),
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
    values = [getattr(config.runs, f"{name}s") for name in names]
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
    unique = [row for number, row in enumerate(rows) if row not in rows[:number]]
    return [row for row in unique if rule.applies(config, row)]


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
