"""Problems from their source → problems and rejected rows.

Rows are renamed by the field mapping, checked one by one, and compared with the benchmarks. An
unusable row is set aside with its reason; a source with too many of them, or without a mapped
column, stops the run. Rows stream through, so that memory grows with the problems' keys only.
Run: ``python -m orion.stages.dataset --config JSON --output O --rejected R [--benchmark B ...]``.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import polars as pl

from orion import provenance, tables
from orion.data.decontamination import BenchmarkIndex
from orion.data.fields import FieldMap
from orion.data.files import list_files
from orion.data.formats import BadRow
from orion.data.problems import RECORD, Collector, frame_of, join_source
from orion.data.sources import name_source, read_source
from orion.data.spool import Spool
from orion.data.streams import check_file
from orion.errors import InputError
from orion.progress import log
from orion.stages import command

Row = dict[str, Any]
# characters of the problems that are written at a time
WRITE_CHARACTERS = 64_000_000


@dataclass(frozen=True)
class DatasetConfig:
    """The configuration keys of the stage: the block of a dataset or of a benchmark.

    ``source``, ``fields``, ``where`` and ``traces`` are mappings that orion.config validated.
    ``digests``: sha256 of the local files as they were when the run was planned.
    """

    source: Row
    fields: Row
    where: Row
    policy: str
    max_rejected_fraction: float
    limit: int | None = None
    traces: Row | None = None
    decontaminate_ngram: int | None = None
    suspect_labels: list[str | int] | None = None
    drop_suspect_labels: bool = False
    digests: dict[str, str] | None = None

    @property
    def files(self) -> dict[str, str]:
        """The local files that are read, by path."""
        sources = (self.source, (self.traces or {}).get("source", {}))
        return {path: path for source in sources for path in list_files(source)}


def read_mapped(config: DatasetConfig, collector: Collector) -> None:
    """Give the collector the rows of the source, up to the limit.

    Raises InputError where the source or a mapped column of it cannot be read.
    """
    mapping = FieldMap(config.fields, config.where, name_source(config.source))
    source = read_source(config.source, mapping.columns)
    for number, row in islice(read_accepted(source, mapping), config.limit):
        if isinstance(row, BadRow):
            collector.add_bad(row, number)
            continue
        mapped = mapping.map(row, number)
        if config.source["kind"] == "demo":
            # only the generator's own meta is kept: a file's column of that name may hold anything
            mapped.meta = {**row["meta"], **mapped.meta}
        collector.add(mapped)
    mapping.check_seen()


def read_accepted(
    source: Iterator[Row | BadRow], mapping: FieldMap
) -> Iterator[tuple[int, Row | BadRow]]:
    """The rows that meet ``where``, with their numbers in the source; also those not readable."""
    for number, row in enumerate(source):
        if isinstance(row, BadRow) or mapping.accepts(row):
            yield number, row


def add_joined(config: DatasetConfig, collector: Collector) -> None:
    """Give the collector the traces of another source, and log what joined.

    Raises InputError where no trace joins.
    """
    assert config.traces is not None, "called for datasets with traces"
    traces = config.traces
    origin = f"traces: {name_source(traces['source'])}"
    fields = {name: traces.get(name) for name in ("key", "teacher_trace", "trace_source")}
    mapping = FieldMap(fields, traces["where"], origin)
    rows = read_source(traces["source"], mapping.columns)
    words = join_source(collector, rows, mapping, traces["join_on"])
    log(f"{origin}: {words}")
    if words.startswith("0 traces"):
        raise InputError(
            f"{origin}: no usable row joins a problem ({words}); correct traces.key "
            f"({traces['key']!r}), traces.teacher_trace ({traces['teacher_trace']!r}), "
            "traces.join_on or traces.where"
        )


def slices(problems: Iterator[Row]) -> Iterator[list[Row]]:
    """The problems in lists of a bounded amount of text."""
    held: list[Row] = []
    size = 0
    for row in problems:
        held.append(row)
        size += len(row["problem"]) + len(row["solution"] or "") + sum(map(len, row["traces"]))
        if size >= WRITE_CHARACTERS or len(held) >= tables.ROW_GROUP:
            yield held
            held, size = [], 0
    if held:
        yield held


def write_problems(
    collector: Collector, path: str, record: Row, config: DatasetConfig
) -> tuple[int, int]:
    """Write the problems and return (problems, traces).

    Raises InputError as `refuse_too_many` does; nothing is published then.
    """
    keys: Row = {"source_row": pl.Int64}
    if config.suspect_labels is not None:
        keys["suspect_label"] = pl.Boolean
    metas = collector.metas
    own = pl.DataFrame(list(metas.values()), infer_schema_length=None).schema if metas else {}
    # also where no row has one
    cluster = {"cluster": pl.String} if config.fields.get("cluster") is not None else {}
    levels = dict.fromkeys(config.fields.get("levels") or {}, pl.List(pl.String))
    dtype = pl.Struct({**keys, **own, **cluster, **levels})
    traces = 0
    with tables.Writer(path, tables.PROBLEMS, record, dtypes={"meta": dtype}) as writer:
        for rows in slices(collector.problems()):
            meta = [
                {
                    "source_row": row["row"],
                    **({"suspect_label": row["suspect_label"]} if len(keys) > 1 else {}),
                    **metas.get(row["row"], {}),
                }
                for row in rows
            ]
            frame = frame_of(rows)
            writer.write(frame.with_columns(pl.Series("meta", meta, dtype=dtype)))
            traces += sum(len(row["traces"]) for row in rows)
        refuse_too_many(collector, writer.rows, config)
    return writer.rows, traces


def refuse_too_many(collector: Collector, usable: int, config: DatasetConfig) -> None:
    """Raises InputError where no row is usable, or more are not than the configuration allows."""
    bad = collector.rejected
    if usable and len(bad) <= config.max_rejected_fraction * collector.rows:
        return
    first = "".join(
        f"\n  row {row['row']} ({row['problem_id']}): {row['reason']}: {row['detail']}"
        for row in bad.first
    )
    more = f", more than max_rejected_fraction = {config.max_rejected_fraction}" if usable else ""
    cure = ", or raise max_rejected_fraction if they may be left out" if usable else ""
    raise InputError(
        f"{name_source(config.source)}: {len(bad)} of {collector.rows} rows are unusable{more}; "
        f"the first ones:{first}\ncorrect them or the mapping{cure}"
    )


def benchmark_texts(paths: list[str]) -> dict[str, str]:
    """Text of every benchmark problem → its benchmark and problem_id."""
    texts = {}
    for path in paths:
        for problem_id, problem in (
            tables.read(path, tables.PROBLEMS, ["problem_id", "problem"])
            .select("problem_id", "problem")
            .iter_rows()
        ):
            texts[problem] = f"{Path(path).parent.name}/{problem_id}"
    return texts


def check_digests(config: DatasetConfig, record: Row) -> None:
    """Raises InputError where a file is not the one that was planned with or fetched."""
    wanted = dict(config.digests or {})
    for source in (config.source, (config.traces or {}).get("source", {})):
        if source.get("sha256"):
            wanted |= {path: source["sha256"] for path in list_files(source)}
    for path, digest in wanted.items():
        found = record["inputs"].get(path)
        if found is not None and found != digest:
            raise InputError(
                f"{path}: the file has other bytes (sha256 {found}) than the run was planned with "
                f"({digest}); run again, and if the file was fetched delete it first"
            )


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
    origin = name_source(config.source)
    for path in config.files:
        check_file(path)
    inputs = {f"benchmark:{Path(path).parent.name}": path for path in args.benchmark}
    record = provenance.record("orion.stages.dataset", args.config, {**inputs, **config.files})
    check_digests(config, record)
    benchmarks = BenchmarkIndex(benchmark_texts(args.benchmark), config.decontaminate_ngram)
    output = Path(args.output)
    with Spool(output.with_name(f".{output.name}.spool"), RECORD) as spool:
        collector = Collector(
            spool,
            benchmarks,
            with_traces=config.fields.get("teacher_trace") is not None,
            suspect=frozenset(config.suspect_labels or ()),
            drop_suspect=config.drop_suspect_labels,
        )
        read_mapped(config, collector)
        if config.traces and collector.ids:
            add_joined(config, collector)
        try:
            problems, traces = write_problems(collector, args.output, record, config)
        finally:
            rejected = collector.rejected
            counts = "".join(f", {n} {why}" for why, n in rejected.counts.most_common())
            usable = len(collector.ids)
            log(f"{origin}: {collector.rows} rows, {usable} usable{counts}")
            tables.write(rejected.frame(), args.rejected, tables.REJECTED, record)
    log(f"{problems} problems with {traces} candidate traces")


if __name__ == "__main__":
    command.run(main)
