"""Add a sampled teacher's traces: problems + its samples and verdicts → problems with traces.

The teacher is a model like any other: the student's rules make its samples and verdicts. The first
sample of each problem that checks correct becomes its ``teacher_trace``; a problem without one has
none, as in a file without a trace for it.
Run: ``python -m orion.stages.trace --config JSON --problems P --samples S --verdicts V
--output O``.
"""

from dataclasses import dataclass

import polars as pl

from orion import provenance, tables
from orion.errors import InputError
from orion.progress import log
from orion.stages import command


@dataclass(frozen=True)
class TraceConfig:
    """The configuration keys of the stage; ``teacher``: the name of a model."""

    teacher: str


def add_traces(
    problems: pl.DataFrame, samples: pl.DataFrame, verdicts: pl.DataFrame
) -> pl.DataFrame:
    """The problems with their first correct sample (lowest sample_id) as trace, else null."""
    right = verdicts.filter(pl.col("verdict") == "correct").select("problem_id", "sample_id")
    found = samples.join(right, on=["problem_id", "sample_id"], how="semi")
    found = found.sort("problem_id", "sample_id")
    first = found.unique("problem_id", keep="first", maintain_order=True)
    source = pl.concat_list(pl.format("sample {}", "sample_id"))
    first = first.select("problem_id", teacher_trace="response", trace_sources=source)
    table = problems.drop("teacher_trace", "further_traces", "trace_sources", strict=False)
    return table.join(first, on="problem_id", how="left", validate="1:1")


def main(argv: list[str] | None = None) -> None:
    parser = command.make_parser(__doc__, "problems", "samples", "verdicts", "output")
    args = parser.parse_args(argv)
    teacher = command.read_config(TraceConfig, args.config).teacher
    problems = tables.read(args.problems, tables.PROBLEMS)
    samples = tables.read(args.samples, tables.SAMPLES, ["problem_id", "sample_id", "response"])
    table = add_traces(problems, samples, tables.read(args.verdicts, tables.VERDICTS))
    count = table["teacher_trace"].count()
    log(f"{count} of {table.height} problems have a trace of the teacher {teacher}")
    if not count:
        raise InputError(
            f"{args.verdicts}: no sample of the teacher {teacher} is correct; look at its samples, "
            "raise teacher.num_samples or teacher.max_tokens, or name another teacher"
        )
    inputs = {name: getattr(args, name) for name in ("problems", "samples", "verdicts")}
    record = provenance.record("orion.stages.trace", args.config, inputs)
    tables.write(table, args.output, tables.PROBLEMS, record, rows=problems.height)


if __name__ == "__main__":
    command.run(main)
