"""Report: every artifact of the grid → index.html, report.json, CSV tables, figures.

Run: ``python -m orion.stages.report --config JSON --results DIR --output-dir DIR``. The page holds no number that is not in
report.json, and report.json none that cannot be computed again from the tables on disk. Artifacts whose recorded
configuration, code or inputs do not fit stop the run.
"""

import csv
from pathlib import Path
from typing import Any

from orion import paths, provenance, tables
from orion.config import Config
from orion.experiment import statistics
from orion.paths import AtomicFile
from orion.progress import log
from orion.report import (
    comparisons,
    examples,
    figures,
    gather,
    lineage,
    measures,
    page,
    reflections,
    summary,
)
from orion.stages import command

# far above the noise of summation, far below what anybody reads: the same bytes on every CPU
DECIMALS = 10
SAMPLING = ("sample", "reflect", "evaluate")
# report.json leaves these to their CSV files: long, and shown as a figure or not at all
CSV_ONLY = ("curves", "seeds")


def document(config: Config, root: str, records: dict[Path, dict]) -> dict:
    """Everything the page says, as one JSON-like document."""
    settings = config.report
    dump = config.model_dump(mode="json")
    doc: dict[str, Any] = {
        "title": settings.title,
        "config_digest": provenance.digest_text(provenance.canonical_json(dump)),
        "confidence": settings.confidence,
        "confidence_percent": 100 * settings.confidence,
        "bootstrap": settings.bootstrap,
        "permutations": statistics.PERMUTATIONS,
        "artifacts": len(records),
        "grid": config.runs.model_dump(mode="json"),
        "generation": {name: getattr(config, name).model_dump(mode="json") for name in SAMPLING},
        "models": [_model(root, name) for name in config.runs.models],
        "sources": list(sources(config, root)),
        "packages": lineage.package_rows(records),
        "glossary": summary.glossary(config),
        "streets": [
            street(config, gather.street(config, root, dataset, model))
            for dataset in config.runs.datasets
            for model in config.runs.models
        ],
    }
    for item in doc["streets"]:
        item["headline"] = summary.headline(item, settings.confidence)
    doc["warnings"] = summary.warnings(doc)
    return _rounded(doc)


def street(config: Config, found: gather.Street) -> dict:
    """All rows of one student on one training set."""
    settings, benchmarks = config.report, config.runs.benchmarks
    sure: dict[str, Any] = {"confidence": settings.confidence}
    drawn = {**sure, "resamples": settings.bootstrap}
    pairs = [(c.arm, c.against) for c in config.comparisons]
    return {
        "dataset": found.dataset,
        "model": found.model,
        "table": measures.accuracy_rows(found, benchmarks, **drawn),
        "comparisons": comparisons.comparison_rows(found, pairs, benchmarks, **drawn),
        "base": measures.base_row(found, **drawn),
        "reflections": reflections.reflection_rows(found, config.prompts, **sure),
        "measurable": reflections.measurable(found),
        "taught": config.models[found.model].source.kind == "demo",
        "error_coverage": reflections.treatment_rows(found, config.prompts, **sure),
        "lengths": measures.length_rows(found, benchmarks),
        "waterfall": measures.waterfall_rows(found),
        "selection": measures.selection_rows(found),
        "seeds": measures.seed_rows(found),
        "curves": measures.curve_rows(found),
        "examples": examples.example_rows(found, config.prompts, settings.examples),
    }


def sources(config: Config, root: str):
    """One row a problem set: its kind, name, problems, rejected rows and golds that cannot be parsed."""
    for kind, names in (("benchmark", config.runs.benchmarks), ("dataset", config.runs.datasets)):
        place = getattr(paths, kind)
        for name in names:
            yield {
                "kind": kind,
                "name": name,
                "problems": tables.read(
                    place(root, name, "problems.parquet"), tables.PROBLEMS, ["problem_id"]
                ).height,
                "rejected": tables.read(
                    place(root, name, "rejected.parquet"), tables.REJECTED
                ).height,
                "unparseable": len(tables.read_json(place(root, name, "lint.json"))["unparseable"]),
            }


def _model(root: str, name: str) -> dict:
    found = tables.read_json(paths.model(root, name))
    keys = (
        "model",
        "repo",
        "revision",
        "digest",
        "parameters",
        "vocab_size",
        "context_length",
        "dtype",
    )
    return {key: found.get(key) for key in keys}


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        # adding zero turns a negative zero into a plain one
        return round(value, DECIMALS) + 0.0
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list | tuple) else value


CSV_FILES = {
    "table.csv": "table",
    "comparisons.csv": "comparisons",
    "reflections.csv": "reflections",
    "error_coverage.csv": "error_coverage",
    "lengths.csv": "lengths",
    "waterfall.csv": "waterfall",
    "selection.csv": "selection",
    "base.csv": "base",
    "seeds.csv": "seeds",
    "curves.csv": "curves",
}


def write_csv(streets: list[dict], name: str, path: Path) -> None:
    """One table of all students, dataset and model first; nulls are empty cells, an empty table is an empty file."""
    rows = []
    for item in streets:
        found = item[name] if isinstance(item[name], list) else [item[name]]
        rows += [{"dataset": item["dataset"], "model": item["model"], **row} for row in found]
    with (
        AtomicFile(path) as partial,
        open(partial, "w", encoding="utf-8", newline="") as handle,
    ):
        writer = csv.DictWriter(
            handle, list(rows[0]) if rows else ["dataset", "model"], lineterminator="\n"
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
    config = lineage.restore(args.config)
    records = lineage.verify(config, args.results)
    doc = document(config, args.results, records)
    out = Path(args.output_dir)
    for file, name in CSV_FILES.items():
        write_csv(doc["streets"], name, out / file)
    drawn = {}
    for index, item in enumerate(doc["streets"]):
        for name, svg in figures.draw(item, config.runs.benchmarks).items():
            drawn[f"{index}/{name}"] = svg
            write_text(svg, out / "figures" / f"{item['dataset']}.{item['model']}.{name}.svg")
    for item in doc["streets"]:
        for name in CSV_ONLY:
            del item[name]
    inputs: dict[str, str | Path] = {
        path.relative_to(args.results).as_posix(): path for path in records
    }
    tables.write_json(
        doc, out / "report.json", provenance.record("orion.stages.report", args.config, inputs)
    )
    write_text(page.render(doc, drawn), out / "index.html")
    log(f"{len(records)} artifacts, {len(doc['warnings'])} warnings: {out / 'index.html'}")


if __name__ == "__main__":
    command.run(main)
