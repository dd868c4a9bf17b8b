"""Check answers: samples, reflections or the teacher's traces + problems → verdicts.

The config key ``part`` says what is read: reflections on their ``refined`` part only (without one the verdict is no_answer),
or the ``teacher_trace`` column of the problems themselves; absent, whole samples. The table streams row group by row group
through ``--workers`` processes, so that memory does not grow with the number of responses.
Run: ``python -m orion.check --config JSON --problems P --samples S --output O [--workers N]``.
"""

import multiprocessing
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import polars as pl
import pyarrow.parquet as pq

from orion import prompts, provenance, stage, tables
from orion.answers import check_frame
from orion.answers.policies import get_policy
from orion.errors import InputError
from orion.progress import Progress

# responses read at a time: 2,000 outputs of 30,000 tokens are about 200 MB
BATCH_ROWS = 2_000


class Checker:
    """Verdicts on the row groups of one file; every process of the pool holds one, with all golds in it."""

    def __init__(self, config: dict, problems: str, samples: str):
        self.config, self.samples = config, samples
        golds = tables.read(problems, tables.PROBLEMS, ["problem_id", "answer"])
        self.golds = golds.rename({"answer": "gold"})

    def row_group(self, index: int) -> pl.DataFrame:
        """problem_id, sample_id, verdict, extracted, reason, rule of one row group, in its order."""
        part = self.config.get("part")
        columns = ["problem_id", "sample_id", "response", "finish_reason"]
        if part == "teacher_trace":
            columns = ["problem_id", "teacher_trace"]
        batches = pq.ParquetFile(self.samples).iter_batches(
            BATCH_ROWS, row_groups=[index], columns=columns
        )
        frames = [self.batch(pl.DataFrame(pl.from_arrow(batch)), part) for batch in batches]
        return pl.concat([tables.empty(tables.VERDICT_ROWS), *frames])

    def batch(self, rows: pl.DataFrame, part: str | None) -> pl.DataFrame:
        if part == "teacher_trace":
            rows = traces(rows)
        elif part == "refined":
            rows = refined_only(rows, self.config["prompts"])
        return verdicts(
            rows, self.golds, policy=self.config["policy"], timeout_s=self.config["timeout_s"]
        )


def verdicts(
    samples: pl.DataFrame, golds: pl.DataFrame, *, policy: str, timeout_s: float
) -> pl.DataFrame:
    """One verdict a sample: problem_id, sample_id, verdict, extracted, reason, rule; golds: problem_id, gold."""
    rows = samples.join(golds, on="problem_id", how="left", validate="m:1", maintain_order="left")
    assert rows["gold"].null_count() == 0, "a sample's problem is not in the problems table"
    # a text that was cut off is not credited for the last number in it
    rows = rows.with_columns(finished=pl.col("finish_reason") == "stop")
    found = check_frame(
        rows, "response", "gold", finished="finished", policy=policy, timeout_s=timeout_s
    )
    key = found.select("problem_id", "sample_id", "verdict").unnest("verdict")
    return key.select(list(tables.VERDICT_ROWS.columns))


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


_checker: Checker | None = None


def _start(*arguments) -> None:
    global _checker
    _checker = Checker(*arguments)


def _row_group(index: int) -> pl.DataFrame:
    assert _checker is not None
    return _checker.row_group(index)


def checked(
    config: dict, problems: str, samples: str, row_groups: int, workers: int
) -> Iterator[pl.DataFrame]:
    """The verdicts of each row group in order; more than one worker means so many spawned processes.

    Raises InputError where a process of the pool is killed from outside.
    """
    if workers == 1 or row_groups < 2:
        yield from map(Checker(config, problems, samples).row_group, range(row_groups))
        return
    spawn = multiprocessing.get_context("spawn")
    start = {"initializer": _start, "initargs": (config, problems, samples)}
    with ProcessPoolExecutor(min(workers, row_groups), spawn, **start) as pool:  # type: ignore[call-overload]
        try:
            yield from pool.map(_row_group, range(row_groups))
        except BrokenProcessPool:
            raise InputError(
                f"{samples}: a checking process was killed from outside, most likely for its memory; "
                f"give the rule more memory or fewer threads (now {workers}) and run again"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)


def main(argv: list[str] | None = None) -> None:
    parser = stage.parser(__doc__, "problems", "samples", "output")
    parser.add_argument("--workers", type=int, default=1, help="processes; changes speed only")
    args = parser.parse_args(argv)
    try:
        get_policy(args.config["policy"])
    except ValueError as error:
        raise InputError(f"policy: {error}") from None
    part = args.config.get("part")
    source = {"teacher_trace": tables.PROBLEMS, "refined": tables.REFLECTIONS}.get(
        part, tables.SAMPLES
    )
    total, row_groups = tables.size(args.samples, source)
    progress, tally, frames = Progress(total, "responses"), Counter[tuple[str, str]](), []
    for frame in checked(args.config, args.problems, args.samples, row_groups, args.workers):
        frames.append(frame)
        tally.update(zip(frame["verdict"], frame["reason"], strict=True))
        correct = sum(count for (verdict, _), count in tally.items() if verdict == "correct")
        progress.add(frame.height, f"{correct:,} correct")
    progress.close()
    for (verdict, reason), count in tally.most_common():
        stage.log(f"{count:>8}  {verdict}{': ' if reason else ''}{reason}")
    stage.log(f"{tally.total():>8}  responses in {progress.seconds:.1f} s")
    result = pl.concat([tables.empty(tables.VERDICT_ROWS), *frames])
    record = provenance.record(
        "orion.check", args.config, {"problems": args.problems, "samples": args.samples}
    )
    # a problem without a trace has no row
    tables.write(
        result,
        args.output,
        tables.VERDICT_ROWS,
        record,
        rows=None if part == "teacher_trace" else total,
    )


if __name__ == "__main__":
    stage.run(main)
