"""The artifacts of the grid, what each was made from, and the check that they belong together.

Input: the validated configuration and the results folder. Output: the artifacts with their provenance, or an InputError
that names the first file that does not fit and the cure.
"""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from orion import paths, provenance, tables
from orion.config import Config, local_files, stage_config, validate
from orion.errors import InputError

CURE = "run the workflow again (`make demo`, or `snakemake` with the same --configfile): it rebuilds what no longer fits"


@dataclass(frozen=True)
class Artifact:
    """One file of the grid: the stage whose keys it must have been made with, and the files it must be made from."""

    path: Path
    stage: str
    wildcards: dict[str, str]
    inputs: dict[str, Path]


def restore(raw: dict) -> Config:
    """The configuration from the stage's one key ``whole``: its JSON text, nulls included.

    Raises InputError where the configuration is not valid.
    """
    return validate(json.loads(raw["whole"]), "--config")


def artifacts(config: Config, root: str | Path) -> Iterator[Artifact]:
    """Every artifact that the report reads, parents before children."""
    runs = config.runs
    for benchmark in runs.benchmarks:
        wild = {"benchmark": benchmark}
        problems = paths.benchmark(root, benchmark, "problems.parquet")
        for path in (problems, problems.with_name("rejected.parquet")):
            yield Artifact(path, "benchmark", wild, _files(config.benchmarks[benchmark]))
        yield Artifact(problems.with_name("lint.json"), "lint", wild, {"problems": problems})
    for model in runs.models:
        yield Artifact(paths.model(root, model), "model", {"model": model}, {})
    for dataset in runs.datasets:
        wild = {"dataset": dataset}
        problems = paths.dataset(root, dataset, "problems.parquet")
        held_out = {
            f"benchmark:{b}": paths.benchmark(root, b, "problems.parquet") for b in runs.benchmarks
        }
        for path in (problems, problems.with_name("rejected.parquet")):
            yield Artifact(path, "dataset", wild, {**held_out, **_files(config.datasets[dataset])})
        yield Artifact(problems.with_name("lint.json"), "lint", wild, {"problems": problems})
        traced = _traced(config, root, dataset)
        teacher = config.datasets[dataset].teacher
        if teacher is not None:
            yield from _teacher(root, dataset, teacher)
        traces = problems.with_name("trace_verdicts.parquet")
        yield Artifact(traces, "check_traces", wild, {"problems": traced, "samples": traced})
        for model in runs.models:
            yield from _student(config, root, dataset, model)


def _traced(config: Config, root: str | Path, dataset: str) -> Path:
    return paths.problems_with_traces(
        root, dataset, teacher_sampled=config.datasets[dataset].teacher is not None
    )


def _teacher(root: str | Path, dataset: str, teacher: str) -> Iterator[Artifact]:
    """The teacher answers like any model; its own correct samples are the traces."""
    wild = {"dataset": dataset, "model": teacher}
    problems = paths.dataset(root, dataset, "problems.parquet")
    samples, verdicts = (
        paths.student(root, dataset, teacher, f"{name}.parquet") for name in ("samples", "verdicts")
    )
    document = paths.model(root, teacher)
    yield Artifact(document, "model", {"model": teacher}, {})
    yield Artifact(samples, "sample", wild, {"problems": problems, "model": document})
    yield Artifact(verdicts, "check", wild, {"problems": problems, "samples": samples})
    traced = paths.problems_with_traces(root, dataset, teacher_sampled=True)
    yield Artifact(
        traced,
        "trace",
        {"dataset": dataset},
        {"problems": problems, "samples": samples, "verdicts": verdicts},
    )


def _files(block) -> dict[str, Path]:
    return {path: Path(path) for path in local_files(block)}


def _student(config: Config, root: str | Path, dataset: str, model: str) -> Iterator[Artifact]:
    wild = {"dataset": dataset, "model": model}
    problems = paths.dataset(root, dataset, "problems.parquet")
    document = paths.model(root, model)
    samples = paths.student(root, dataset, model, "samples.parquet")
    verdicts = paths.student(root, dataset, model, "verdicts.parquet")
    yield Artifact(samples, "sample", wild, {"problems": problems, "model": document})
    yield Artifact(verdicts, "check", wild, {"problems": problems, "samples": samples})
    parents = {
        "problems": _traced(config, root, dataset),
        "trace_verdicts": paths.dataset(root, dataset, "trace_verdicts.parquet"),
        "samples": samples,
        "verdicts": verdicts,
    }
    for arm in config.runs.arms:
        trained_on = config.arms[arm].trained_on
        if trained_on == "reflection":
            yield from _reflections(root, {**wild, "arm": arm}, parents, document)
        if trained_on != "nothing":
            yield from _training(config, root, {**wild, "arm": arm}, parents, document)
        for seed in config.runs.seeds:
            trained = paths.run(root, dataset, model, arm, seed, "model.json")
            yield from _evaluations(
                config,
                root,
                {**wild, "arm": arm, "seed": str(seed)},
                trained if trained_on != "nothing" else document,
            )


def _reflections(root, wild: dict, parents: dict, document: Path) -> Iterator[Artifact]:
    errors, reflections, verdicts = (
        paths.arm(root, **wild, file=f"{name}.parquet")
        for name in ("errors", "reflections", "reflection_verdicts")
    )
    yield Artifact(
        errors, "expose", wild, {name: parents[name] for name in ("samples", "verdicts")}
    )
    shown = {
        "problems": parents["problems"],
        "trace_verdicts": parents["trace_verdicts"],
        "errors": errors,
    }
    yield Artifact(reflections, "reflect", wild, {**shown, "model": document})
    problems = paths.dataset(root, wild["dataset"], "problems.parquet")
    yield Artifact(
        verdicts, "check_reflections", wild, {"problems": problems, "samples": reflections}
    )


def _training(
    config: Config, root, wild: dict, parents: dict, document: Path
) -> Iterator[Artifact]:
    if config.arms[wild["arm"]].trained_on == "reflection":
        names = ("errors", "reflections", "reflection_verdicts")
        parents = {
            **parents,
            **{name: paths.arm(root, **wild, file=f"{name}.parquet") for name in names},
        }
    train = paths.arm(root, **wild, file="train.parquet")
    packed = paths.arm(root, **wild, file="packed/train.parquet")
    for path in (train, train.with_name("filters.json")):
        yield Artifact(path, "select", wild, parents)
    for path in (packed, packed.with_name("stats.json")):
        yield Artifact(path, "pack", wild, {"train": train, "model": document})
    for seed in config.runs.seeds:
        path = paths.run(root, **wild, seed=seed, file="model.json")
        yield Artifact(
            path, "train", {**wild, "seed": str(seed)}, {"packed": packed, "model": document}
        )


def _evaluations(config: Config, root, wild: dict, document: Path) -> Iterator[Artifact]:
    for benchmark in config.runs.benchmarks:
        keys = {**wild, "benchmark": benchmark}
        problems = paths.benchmark(root, benchmark, "problems.parquet")
        samples, verdicts, scores = (
            paths.evaluation(root, **keys, file=file)
            for file in ("samples.parquet", "verdicts.parquet", "scores.json")
        )
        yield Artifact(samples, "evaluate_sample", keys, {"problems": problems, "model": document})
        yield Artifact(verdicts, "evaluate_check", keys, {"problems": problems, "samples": samples})
        yield Artifact(
            scores,
            "evaluate",
            keys,
            {"problems": problems, "samples": samples, "verdicts": verdicts},
        )


def verify(config: Config, root: str | Path) -> dict[Path, dict]:
    """Path → provenance of every artifact; raises InputError for the first that is missing or does not fit its parents."""
    found: dict[Path, dict] = {}
    digests: dict[Path, str] = {}
    for artifact in artifacts(config, root):
        for path in (artifact.path, *artifact.inputs.values()):
            if not path.is_file():
                raise InputError(f"{path}: no such file; {CURE}")
        try:
            record = tables.read_provenance(artifact.path)
        except (KeyError, OSError, ValueError) as error:
            raise InputError(
                f"{artifact.path}: holds no provenance ({error!r}); delete it and {CURE}"
            ) from None
        faults = _faults(record, stage_config(config, artifact.stage, **artifact.wildcards))
        for name, path in sorted(artifact.inputs.items()):
            # a parent is hashed once, however many children it has
            digests.setdefault(path, provenance.digest_file(path))
            if record["inputs"].get(name) != digests[path]:
                faults.append(f"made from another {name} than {path}")
        if faults:
            raise InputError(f"{artifact.path}: {'; '.join(faults)}; {CURE}")
        found[artifact.path] = record
    return found


def _faults(record: dict, keys: dict) -> list[str]:
    try:
        return provenance.mismatches(record, config=keys, inputs={})
    except ModuleNotFoundError:
        return [f"made by {record['module']}, which is no longer part of this project"]


def package_rows(records: dict[Path, dict]) -> list[dict]:
    """Package, version, artifacts: which versions made the artifacts; this report's own process counts as one."""
    counts: Counter = Counter()
    for record in (*records.values(), {"packages": provenance.package_versions()}):
        counts.update(record["packages"].items())
    return [
        {"package": name, "version": version, "artifacts": n}
        for (name, version), n in sorted(counts.items())
    ]
