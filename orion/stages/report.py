"""Report: every artifact of the grid → index.html, report.json, CSV tables, figures.

Every number of the page is in report.json, and every number of report.json can be computed again
from the tables on disk. Artifacts whose recorded configuration, code or inputs do not fit stop the
run.
Run: ``python -m orion.stages.report --config JSON --results DIR --output-dir DIR``.
"""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from orion import paths, provenance, tables
from orion.config import Config, stage_config
from orion.config.blocks import Pack
from orion.config.draws import list_students
from orion.demo.exact_check import records_steps
from orion.errors import InputError
from orion.experiment import statistics
from orion.experiment.clusters import count_clusters, find_clusters
from orion.experiment.coherence import REPEATED_NGRAM
from orion.experiment.plan import Version, read_history
from orion.models.document import read_document
from orion.paths import AtomicFile
from orion.progress import log
from orion.report import (
    arms,
    coherence,
    comparisons,
    examples,
    failures,
    false_steps,
    figures,
    flips,
    gather,
    group_summary,
    groups,
    judge,
    levels,
    limits,
    lineage,
    measures,
    page,
    positive_control,
    reflections,
    registration,
    sampling,
    second_policy,
    stability,
    summary,
    surprise,
)
from orion.stages import command

# rounded so that the output is byte-identical across CPUs, whose sums differ in the last bits
DECIMALS = 10
GENERATING = ("sample", "reflect", "evaluate")
# arms in each long table of the page, over all students; the CSV files have all
PAGE_ARMS, FEWEST_ARMS = 40, 8
MODEL_KEYS = (
    "name",
    "repo",
    "revision",
    "digest",
    "parameters",
    "vocab_size",
    "context_length",
    "dtype",
    "lineage",
)
# file → key in report.json
CSV_FILES = {
    "table.csv": "table",
    "comparisons.csv": "comparisons",
    "reflections.csv": "reflections",
    "error_coverage.csv": "error_coverage",
    "false_steps.csv": "false_steps",
    "false_steps_training.csv": "false_steps_training",
    "pass_at.csv": "pass_at",
    "answers.csv": "answers",
    "data_tokens.csv": "data_tokens",
    "cohorts.csv": "cohorts",
    "first_false_steps.csv": "first_false_steps",
    "levels.csv": "levels",
    "flips.csv": "flips",
    "largest_flips.csv": "largest_flips",
    "second_policy.csv": "second_policy",
    "coherence.csv": "coherence",
    "stability.csv": "stability",
    "surprise.csv": "surprise",
    "judge.csv": "judge",
    "lengths.csv": "lengths",
    "waterfall.csv": "waterfall",
    "selection.csv": "selection",
    "base.csv": "base",
    "seeds.csv": "seeds",
    "curves.csv": "curves",
}
GROUP_FILES = {"group_comparisons.csv": "comparisons", "group_students.csv": "alone"}
# long tables, which the page shows as a figure or not at all: not in report.json
CSV_ONLY = ("curves", "seeds")


def read_plan(config: Config, root: str) -> list[Version]:
    """The history of plans; raises InputError unless its last version is the configuration's."""
    path = paths.artifact(root, paths.PLAN)
    history = read_history(path)
    wanted = provenance.canonical_json(stage_config(config, "plan"))
    if not history or provenance.canonical_json(history[-1].plan) != wanted:
        raise InputError(
            f"{path}: its last version is not the plan of this configuration; {lineage.CURE}"
        )
    return history


def build_document(
    config: Config, root: str, records: dict[Path, dict[str, Any]]
) -> dict[str, Any]:
    """Everything that the page says, as one JSON-like document."""
    settings, history = config.report, read_plan(config, root)
    dump = config.model_dump(mode="json")
    doc: dict[str, Any] = {
        "title": settings.title,
        "config_digest": provenance.digest_text(provenance.canonical_json(dump)),
        "confidence": settings.confidence,
        "confidence_percent": 100 * settings.confidence,
        "bootstrap": settings.bootstrap,
        "permutations": statistics.PERMUTATIONS,
        "repeated_ngram": REPEATED_NGRAM,
        "spike": stability.DEFINITION,
        "judge": settings.judge and settings.judge.model_dump(mode="json"),
        "artifacts": len(records),
        "grid": config.runs.model_dump(mode="json"),
        "generation": {name: getattr(config, name).model_dump(mode="json") for name in GENERATING},
        "evaluations": [
            {"benchmark": name, "num_samples": config.evaluation(name).num_samples}
            for name in config.runs.benchmarks
        ],
        "models": [_describe_model(root, name) for name in config.runs.models],
        "sources": list(source_rows(config, root)),
        "packages": lineage.package_rows(records),
        "arms": arms.describe_arms(config),
        "arms_shown": max(
            FEWEST_ARMS, PAGE_ARMS // (len(config.runs.datasets) * len(config.runs.models))
        ),
        "groups": [],
        "results": [],
    }
    for dataset in config.runs.datasets:
        accuracies: dict[str, groups.Accuracies] = {}
        of_groups = read_groups(config, dataset, history, records)
        for model in config.runs.models:
            results = gather.load_results(config, root, dataset, model)
            accuracies[model] = groups.collect_accuracies(results, config.runs.benchmarks)
            subject = registration.Subject(dataset, (model,))
            registered = registration.read_registration(history, subject, records)
            named = list_groups(config, model)
            in_groups = [test for name in named for test in of_groups[name].tests]
            doc["results"].append(build_tables(config, results, registered, in_groups))
        grid = groups.Grid(dataset, accuracies, results.clusters)
        doc["groups"] += list(build_groups(config, grid, of_groups))
    controls = [name for name in config.runs.arms if config.arms[name].trained_on == "oracle"]
    for item in doc["groups"]:
        item["headline"] = group_summary.write_headline(item, settings.confidence, controls)
    for item in doc["results"]:
        tested = (item["comparisons"], item["plan"])
        item["headline"] = [
            *summary.write_headline(item, settings.confidence),
            *positive_control.describe_control(*tested, controls, "for this student"),
        ]
    doc["pretraining"] = limits.describe_pretraining(config)
    doc["limits"] = limits.list_limits(doc, config)
    doc["warnings"] = [*summary.write_warnings(doc), *group_summary.write_warnings(doc)]
    rounded: dict[str, Any] = _round_floats(doc)
    return rounded


def read_groups(
    config: Config, dataset: str, history: list[Version], records: dict[Path, dict[str, Any]]
) -> dict[str, registration.Registration]:
    """The registration of every group of students on one training set."""
    found = {}
    for name in config.runs.students or {}:
        subject = registration.find_group(history, dataset, name)
        found[name] = registration.read_registration(history, subject, records)
    return found


def build_groups(
    config: Config, grid: groups.Grid, registered: dict[str, registration.Registration]
) -> Iterator[dict[str, Any]]:
    """The items of all groups of students on one training set."""
    for name, group in (config.runs.students or {}).items():
        yield groups.describe_group(
            grid,
            name,
            list_students(group),
            registered[name],
            confidence=config.report.confidence,
            resamples=config.report.bootstrap,
        )


def list_groups(config: Config, model: str) -> list[str]:
    """The groups that the student, or a draw of it, is in."""
    return [
        name
        for name, group in (config.runs.students or {}).items()
        if any(model in entries for entries in list_students(group))
    ]


def list_prefix_arms(config: Config) -> list[str]:
    """The arms that are trained on the beginnings of their texts alone."""
    packs = {name: config.arm_block("pack", name) for name in config.runs.arms}
    return [
        name
        for name, pack in packs.items()
        if isinstance(pack, Pack)
        and (pack.prefix_tokens is not None or pack.prefix_share is not None)
    ]


def build_tables(
    config: Config,
    results: gather.Results,
    registered: registration.Registration,
    in_groups: list[registration.PlannedTest],
) -> dict[str, Any]:
    """All rows of one student on one training set; ``in_groups``: tests over groups with it."""
    settings, benchmarks = config.report, config.runs.benchmarks
    interval: dict[str, Any] = {"confidence": settings.confidence}
    bootstrap = {**interval, "resamples": settings.bootstrap}
    compared = [*registered.tests, *in_groups]
    return {
        "dataset": results.dataset,
        "model": results.model,
        "table": measures.accuracy_rows(results, benchmarks, **interval),
        "groups": list_groups(config, results.model),
        "tested_in_groups": [[test.arm, test.against, test.benchmark] for test in in_groups],
        "draw": config.models[results.model].draw,
        "plan": registered.as_json(),
        "comparisons": comparisons.comparison_rows(results, registered, **bootstrap),
        "base": measures.base_row(results, **interval),
        "reflections": reflections.reflection_rows(results, config.prompts, **interval),
        "has_recorded_steps": records_steps(results.problems),
        "demo_student": config.models[config.origin(results.model)].source.kind
        in ("demo", "embedded"),
        "error_coverage": reflections.error_coverage_rows(results, config.prompts, **interval),
        "false_steps": false_steps.false_step_rows(results, benchmarks, **interval),
        "false_steps_training": false_steps.training_rows(results, list_prefix_arms(config)),
        "pass_at": sampling.pass_rows(results, benchmarks, **interval),
        "answers": sampling.answer_rows(results, benchmarks, **interval),
        "data_tokens": sampling.data_rows(results),
        "cohorts": failures.cohort_rows(results, benchmarks),
        "first_false_steps": failures.first_false_rows(results, benchmarks),
        "levels": levels.level_rows(results, benchmarks, **interval),
        "flips": flips.flip_rows(results, compared),
        "largest_flips": flips.largest_flip_rows(results, compared),
        "second_policy": second_policy.policy_rows(
            results,
            {name: config.benchmarks[name].policy for name in benchmarks},
            settings.second_policy,
        ),
        "coherence": coherence.coherence_rows(
            results,
            benchmarks,
            list_prefix_arms(config),
            [name for name in config.runs.arms if config.arms[name].self_correction],
        ),
        "stability": stability.stability_rows(results),
        "surprise": surprise.surprise_rows(results),
        "judge": judge.judge_rows(results, **interval),
        "lengths": measures.length_rows(results, benchmarks),
        "waterfall": measures.waterfall_rows(results),
        "selection": measures.selection_rows(results),
        "seeds": measures.seed_rows(results),
        "curves": measures.curve_rows(results),
        "examples": examples.example_rows(results, config.prompts, settings.examples),
    }


def source_rows(config: Config, root: str) -> Iterator[dict[str, Any]]:
    """One row per problem set: problems, rejected rows, gold answers that cannot be parsed."""
    benchmark_files = (paths.BENCHMARK_PROBLEMS, paths.BENCHMARK_REJECTED, paths.BENCHMARK_LINT)
    dataset_files = (paths.PROBLEMS, paths.REJECTED, paths.LINT)
    for kind, names, files in (
        ("benchmark", config.runs.benchmarks, benchmark_files),
        ("dataset", config.runs.datasets, dataset_files),
    ):
        for name in names:
            problems, rejected, lint = (
                paths.artifact(root, template, **{kind: name}) for template in files
            )
            yield {
                "kind": kind,
                "name": name,
                **count_problems(tables.read(problems, tables.PROBLEMS, ["problem_id", "meta"])),
                "rejected": tables.read(rejected, tables.REJECTED).height,
                "unparseable": len(tables.read_json(lint)["unparseable"]),
            }


def count_problems(problems: pl.DataFrame) -> dict[str, int | None]:
    """The number of problems, and of their clusters; None where every problem is its own."""
    return {"problems": problems.height, "clusters": count_clusters(find_clusters(problems))}


def _describe_model(root: str, name: str) -> dict[str, Any]:
    document = read_document(paths.artifact(root, paths.MODEL, model=name)).as_json()
    return {key: document[key] for key in MODEL_KEYS}


def _round_floats(value: Any) -> Any:
    if isinstance(value, float):
        # adding zero turns a negative zero into a plain one
        return round(value, DECIMALS) + 0.0
    if isinstance(value, dict):
        return {key: _round_floats(item) for key, item in value.items()}
    return [_round_floats(item) for item in value] if isinstance(value, list | tuple) else value


def write_csv(results: list[dict[str, Any]], name: str, path: Path, key: str = "model") -> None:
    """One table of all students or groups, the training set first and then their ``key``.

    Nulls are empty cells; a table without rows has a header only.
    """
    rows = []
    for item in results:
        table = item[name] if isinstance(item[name], list) else [item[name]]
        rows += [{"dataset": item["dataset"], key: item[key], **row} for row in table]
    with (
        AtomicFile(path) as partial,
        open(partial, "w", encoding="utf-8", newline="") as handle,
    ):
        writer = csv.DictWriter(
            handle, list(rows[0]) if rows else ["dataset", key], lineterminator="\n"
        )
        writer.writeheader()
        writer.writerows(rows)


def write_text(text: str, path: Path) -> None:
    """Publish a text by rename."""
    with AtomicFile(path) as partial:
        partial.write_text(text, encoding="utf-8")


def main(argv: list[str] | None = None) -> None:
    parser = command.make_parser(__doc__, "results", "output-dir")
    args = parser.parse_args(argv)
    config = lineage.restore_config(args.config)
    records = lineage.verify_artifacts(config, args.results)
    doc = build_document(config, args.results, records)
    out = Path(args.output_dir)
    for file, name in CSV_FILES.items():
        write_csv(doc["results"], name, out / file)
    for file, name in GROUP_FILES.items():
        write_csv(doc["groups"], name, out / file, key="group")
    svg_texts = {}
    for index, item in enumerate(doc["results"]):
        for name, svg in figures.draw_figures(item, config.runs.benchmarks).items():
            svg_texts[f"{index}/{name}"] = svg
            write_text(svg, out / "figures" / f"{item['dataset']}.{item['model']}.{name}.svg")
    for index, item in enumerate(doc["groups"]):
        for name, svg in figures.draw_group(item).items():
            svg_texts[f"g{index}/{name}"] = svg
            write_text(svg, out / "figures" / f"{item['dataset']}.group-{item['group']}.{name}.svg")
    for item in doc["results"]:
        for name in CSV_ONLY:
            del item[name]
    # first: it says in the document how much of it the page shows
    html = page.fit_page(doc, svg_texts)
    inputs: dict[str, str | Path] = {
        path.relative_to(args.results).as_posix(): path
        for path in (*records, paths.artifact(args.results, paths.PLAN))
    }
    tables.write_json(
        doc, out / "report.json", provenance.record("orion.stages.report", args.config, inputs)
    )
    write_text(html, out / "index.html")
    log(f"{len(records)} artifacts, {len(doc['warnings'])} warnings: {out / 'index.html'}")


if __name__ == "__main__":
    command.run(main)
