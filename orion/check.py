"""Check answers: samples, reflections or the teacher's traces + problems → verdicts.

The config key ``part`` says what is read: reflections on their ``refined`` part only (without one the verdict is no_answer),
or the ``teacher_trace`` column of the problems themselves; absent, whole samples.
Run: ``python -m orion.check --config JSON --problems P --samples S --output O [--workers N]``.
"""

from collections import Counter

import polars as pl

from orion import prompts, provenance, stage, tables
from orion.answers import check_many


def verdicts(
    samples: pl.DataFrame, problems: pl.DataFrame, *, policy: str, timeout_s: float, workers: int
) -> pl.DataFrame:
    """One verdict a sample: problem_id, sample_id, verdict, extracted, reason, method."""
    rows = samples.join(problems.select("problem_id", "answer"), on="problem_id", how="left", validate="m:1")
    assert rows["answer"].null_count() == 0, "a sample's problem is not in the problems table"
    found = check_many(
        rows["response"].to_list(),
        rows["answer"].to_list(),
        policy=policy,
        timeout_s=timeout_s,
        workers=workers,
        # a text that was cut off is not credited for the last number in it
        finished=(rows["finish_reason"] == "stop").to_list(),
    )
    columns = ("verdict", "extracted", "reason", "method")
    return rows.select("problem_id", "sample_id").with_columns(
        pl.Series(column, [getattr(v, column) for v in found], dtype=pl.String) for column in columns
    )


def refined_only(samples: pl.DataFrame, prompt_set: str) -> pl.DataFrame:
    """The table with each response cut to its refined part; an absent part is an empty response."""
    parts = [prompts.refined(prompt_set, response) or "" for response in samples["response"]]
    return samples.with_columns(pl.Series("response", parts, dtype=pl.String))


def traces(problems: pl.DataFrame) -> pl.DataFrame:
    """The teacher's traces as a table of samples: problem_id, sample_id 0, response, finish_reason stop."""
    return problems.drop_nulls("teacher_trace").select(
        "problem_id",
        pl.lit(0, pl.Int64).alias("sample_id"),
        pl.col("teacher_trace").alias("response"),
        pl.lit("stop").alias("finish_reason"),
    )


def main(argv: list[str] | None = None) -> None:
    parser = stage.parser(__doc__, "problems", "samples", "output")
    parser.add_argument("--workers", type=int, default=1, help="processes; changes speed only")
    args = parser.parse_args(argv)
    part = args.config.get("part")
    problems = tables.read(args.problems, tables.PROBLEMS, ["problem_id", "answer", "teacher_trace"])
    if part == "teacher_trace":
        samples = traces(problems)
    elif part == "refined":
        samples = refined_only(tables.read(args.samples, tables.REFLECTIONS), args.config["prompts"])
    else:
        samples = tables.read(args.samples, tables.SAMPLES)
    settings = {"policy": args.config["policy"], "timeout_s": args.config["timeout_s"], "workers": args.workers}
    result = verdicts(samples, problems, **settings)
    tally = Counter(zip(result["verdict"], result["reason"], strict=True))
    for (verdict, reason), count in tally.most_common():
        stage.log(f"{count:>8}  {verdict}: {reason}")
    record = provenance.record("orion.check", args.config, {"problems": args.problems, "samples": args.samples})
    tables.write(result, args.output, tables.VERDICT_ROWS, record, rows=samples.height)


if __name__ == "__main__":
    stage.run(main)
