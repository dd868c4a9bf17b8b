"""Teacher traces that had to be sampled: problems + the teacher's samples and verdicts → problems with ``teacher_trace``.

The teacher is just another model: its samples and verdicts come from the same rules as the student's. Of each problem the first
sample that checks correct becomes the trace; a problem without one keeps none, as where a file has no trace for it.
Run: ``python -m orion.trace --config JSON --problems P --samples S --verdicts V --output O``.
"""

import polars as pl

from orion import provenance, stage, tables
from orion.errors import InputError


def traced(problems: pl.DataFrame, samples: pl.DataFrame, verdicts: pl.DataFrame) -> pl.DataFrame:
    """The problems with each one's first correct sample (lowest sample_id) as its trace, else null."""
    right = verdicts.filter(pl.col("verdict") == "correct").select("problem_id", "sample_id")
    found = samples.join(right, on=["problem_id", "sample_id"], how="semi").sort(
        "problem_id", "sample_id"
    )
    first = found.unique("problem_id", keep="first", maintain_order=True)
    first = first.select("problem_id", pl.col("response").alias("teacher_trace"))
    return problems.drop("teacher_trace").join(first, on="problem_id", how="left", validate="1:1")


def main(argv: list[str] | None = None) -> None:
    parser = stage.parser(__doc__, "problems", "samples", "verdicts", "output")
    args = parser.parse_args(argv)
    problems = tables.read(args.problems, tables.PROBLEMS)
    samples = tables.read(args.samples, tables.SAMPLES, ["problem_id", "sample_id", "response"])
    table = traced(problems, samples, tables.read(args.verdicts, tables.VERDICT_ROWS))
    found = table["teacher_trace"].count()
    stage.log(
        f"{found} of {table.height} problems have a trace of the teacher {args.config['teacher']}"
    )
    if not found:
        raise InputError(
            f"{args.verdicts}: no sample of the teacher {args.config['teacher']} is correct; look at its samples, raise "
            "teacher.k or teacher.max_tokens, or name another teacher"
        )
    inputs = {name: getattr(args, name) for name in ("problems", "samples", "verdicts")}
    record = provenance.record("orion.trace", args.config, inputs)
    tables.write(table, args.output, tables.PROBLEMS, record, rows=problems.height)


if __name__ == "__main__":
    stage.run(main)
