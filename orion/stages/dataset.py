"""Problems from their source → problems and rejected rows.

Rows are renamed by the field mapping, checked one by one, and compared with the benchmarks. An
unusable row is set aside with its reason; a source with too many of them, or without a mapped
column, stops the run.
Run: ``python -m orion.stages.dataset --config JSON --output O --rejected R [--benchmark B ...]``.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from orion import provenance, tables
from orion.data.decontamination import BenchmarkIndex, fold_text
from orion.data.fields import COLUMNS, join_traces, map_fields
from orion.data.sources import read_source
from orion.errors import InputError
from orion.progress import log
from orion.stages import command

Row = dict[str, Any]


@dataclass(frozen=True)
class DatasetConfig:
    """The configuration keys of the stage: the block of a dataset or of a benchmark.

    ``source``, ``fields``, ``where`` and ``traces`` are mappings that orion.config validated.
    """

    source: Row
    fields: Row
    where: Row
    policy: str
    max_rejected_fraction: float
    limit: int | None = None
    traces: Row | None = None
    decontaminate_ngram: int | None = None

    @property
    def origin(self) -> str:
        """What error messages call the source."""
        source = self.source
        return source.get("path") or source.get("repo") or f"demo level {source.get('level')}"

    @property
    def files(self) -> dict[str, str]:
        """The local files that are read, by path."""
        sources = (self.source, (self.traces or {}).get("source", {}))
        return {source["path"]: source["path"] for source in sources if source.get("path")}


def split_rejected(rows: list[Row], benchmarks: BenchmarkIndex) -> tuple[list[Row], list[Row]]:
    """Split rows into usable ones and rejected ones with a reason."""
    good, bad = [], []
    ids: dict[str, int] = {}
    texts: dict[str, int] = {}
    for row in rows:
        reason, detail = _fault(row, ids, texts, benchmarks)
        if reason:
            bad.append(
                {
                    "row": row["row"],
                    "problem_id": _text(row["problem_id"]),
                    "reason": reason,
                    "detail": detail,
                }
            )
        else:
            ids[str(row["problem_id"])] = row["row"]
            texts[fold_text(str(row["problem"]))] = row["row"]
            good.append(row)
    return good, bad


def _fault(
    row: Row, ids: dict[str, int], texts: dict[str, int], benchmarks: BenchmarkIndex
) -> tuple[str | None, str | None]:
    for name in ("problem_id", "problem", "answer"):
        if row[name] is None or not str(row[name]).strip():
            return f"missing_{name}", f"{name} is empty or absent"
    for name in COLUMNS:
        if row[name] is not None and not _is_text(row[name]):
            return (
                "wrong_type",
                f"{name} is a {type(row[name]).__name__}, not a text: {str(row[name])[:60]!r}",
            )
    if str(row["problem_id"]) in ids:
        return "duplicate_problem_id", f"row {ids[str(row['problem_id'])]} has the same id"
    problem = str(row["problem"])
    if fold_text(problem) in texts:
        return "duplicate_problem", f"row {texts[fold_text(problem)]} has the same text"
    hit = benchmarks.find_overlap(problem)
    return ("contaminated", hit) if hit else (None, None)


def _is_text(value: Any) -> bool:
    """Whether a value is a text or a plain number; no list, mapping, boolean or NaN is."""
    if isinstance(value, float):
        return value == value
    return isinstance(value, str | int) and not isinstance(value, bool)


def _text(value: Any) -> str | None:
    """A value as text: integral floats as integers, everything else as Python prints it."""
    if value is None or isinstance(value, str):
        return value
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def problems_frame(rows: list[Row], *, generated: bool = False) -> pl.DataFrame:
    """The problems table; ``meta`` holds the source row's number, and a demo problem's own meta."""
    records = []
    for row in rows:
        # only the generator's own meta is kept: a file's column of that name may hold anything
        own = row["source_row"]["meta"] if generated else {}
        meta = {"source_row": row["row"], **own}
        records.append({**{name: _text(row[name]) for name in COLUMNS}, "meta": meta})
    return pl.DataFrame(
        records, schema_overrides=Row.fromkeys(COLUMNS, pl.String), infer_schema_length=None
    )


def benchmark_texts(paths: list[str]) -> dict[str, str]:
    """Text of every benchmark problem → its benchmark and problem_id."""
    texts = {}
    for path in paths:
        for problem_id, problem in (
            tables.read(path, tables.PROBLEMS).select("problem_id", "problem").iter_rows()
        ):
            texts[problem] = f"{Path(path).parent.name}/{problem_id}"
    return texts


def main(argv: list[str] | None = None) -> None:
    parser = command.make_parser(__doc__, "output", "rejected")
    parser.add_argument(
        "--benchmark",
        nargs="*",
        default=[],
        metavar="PATH",
        help="problems tables of the benchmarks that training problems must not repeat",
    )
    args = parser.parse_args(argv)
    config = command.read_config(DatasetConfig, args.config)
    origin = config.origin
    rows = map_fields(read_source(config.source), config.fields, config.where, origin)
    rows = rows[: config.limit]
    if config.traces:
        rows = join_traces(rows, config.traces)
    benchmarks = BenchmarkIndex(benchmark_texts(args.benchmark), config.decontaminate_ngram)
    good, bad = split_rejected(rows, benchmarks)
    counts = Counter(row["reason"] for row in bad)
    log(
        f"{origin}: {len(rows)} rows, {len(good)} usable"
        + "".join(f", {n} {reason}" for reason, n in counts.most_common())
    )
    inputs = {f"benchmark:{Path(path).parent.name}": path for path in args.benchmark}
    record = provenance.record("orion.stages.dataset", args.config, {**inputs, **config.files})
    rejected = tables.from_rows(bad, tables.REJECTED)
    tables.write(rejected, args.rejected, tables.REJECTED, record)
    if not good or len(bad) > config.max_rejected_fraction * len(rows):
        first = "".join(
            f"\n  row {row['row']} ({row['problem_id']}): {row['reason']}: {row['detail']}"
            for row in bad[:5]
        )
        raise InputError(
            f"{origin}: {len(bad)} of {len(rows)} rows are unusable, more than "
            f"max_rejected_fraction = {config.max_rejected_fraction}; the first ones:{first}\n"
            "correct them, or raise max_rejected_fraction if they may be left out"
        )
    problems = problems_frame(good, generated=config.source["kind"] == "demo")
    tables.write(problems, args.output, tables.PROBLEMS, record, rows=len(good))


if __name__ == "__main__":
    command.run(main)
