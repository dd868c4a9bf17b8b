"""Check answers and steps: problems + samples, reflections or traces → verdicts, steps.

The configuration key ``part`` names what is checked: ``refined``, the refined part of reflections
(without one the verdict is no_answer); ``teacher_trace``, all candidates of the problems; absent:
whole samples. The steps are those of the very text that the verdict is on. Row groups stream
through ``--workers`` processes into the two tables, so that memory does not grow with the number
of responses.
Run: ``python -m orion.stages.check --config JSON --problems P --samples S --output V
--output-steps T [--workers N]``.
"""

import multiprocessing
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from typing import Any

import polars as pl
import pyarrow.parquet as pq

from orion import prompts, provenance, tables
from orion.answers import VERDICTS, check_frame
from orion.answers.policies import get_policy
from orion.answers.steps import check_steps, summary
from orion.errors import InputError
from orion.experiment.traces import list_traces
from orion.progress import Progress, log
from orion.prompts import PromptSet
from orion.stages import command

# responses read at a time: 2,000 outputs of 30,000 tokens are about 200 MB
BATCH_ROWS = 2_000
# the writer refuses a verdict that orion.answers does not name
VERDICT_TABLE = replace(tables.VERDICTS, allowed={"verdict": VERDICTS})
# characters of a false claim that the table of steps keeps; its offsets are those of all of it
MAX_CLAIM = 500


@dataclass(frozen=True)
class CheckConfig:
    """The configuration keys of the stage.

    ``timeout_s``: seconds per answer, and again per text whose steps are checked.
    """

    policy: str
    timeout_s: float
    part: str | None = None
    prompts: PromptSet | str | None = None


@dataclass(frozen=True)
class Checked:
    """The verdicts and the steps of the same texts, in the same order."""

    verdicts: pl.DataFrame
    steps: pl.DataFrame


class Checker:
    """Checks the row groups of one file; each process of the pool has one, with all golds."""

    def __init__(self, config: CheckConfig, problems: str, samples: str):
        self.config, self.samples = config, samples
        golds = tables.read(problems, tables.PROBLEMS, ["problem_id", "answer"])
        self.golds = golds.rename({"answer": "gold"})

    def check_row_group(self, index: int) -> Checked:
        """The verdicts and steps of one row group, in its order."""
        part = self.config.part
        columns = ["problem_id", "sample_id", "response", "finish_reason"]
        if part == "teacher_trace":
            columns = ["problem_id", "teacher_trace", "further_traces"]
        batches = pq.ParquetFile(self.samples).iter_batches(
            BATCH_ROWS, row_groups=[index], columns=columns
        )
        found = [self.check_batch(pl.DataFrame(pl.from_arrow(batch))) for batch in batches]
        return Checked(
            pl.concat([tables.empty(tables.VERDICTS), *(one.verdicts for one in found)]),
            pl.concat([tables.empty(tables.STEPS), *(one.steps for one in found)]),
        )

    def check_batch(self, rows: pl.DataFrame) -> Checked:
        """The verdicts and steps of rows as they are in the file."""
        if self.config.part == "teacher_trace":
            rows = traces_as_samples(rows)
        elif self.config.part == "refined":
            assert self.config.prompts is not None, "checked in main"
            rows = cut_to_refined_part(rows, self.config.prompts)
        policy, timeout_s = self.config.policy, self.config.timeout_s
        return Checked(
            check_samples(rows, self.golds, policy=policy, timeout_s=timeout_s),
            count_steps(rows, timeout_s=timeout_s),
        )


def check_samples(
    samples: pl.DataFrame, golds: pl.DataFrame, *, policy: str, timeout_s: float
) -> pl.DataFrame:
    """The verdicts table: one row per sample. ``golds``: problem_id, gold."""
    rows = samples.join(golds, on="problem_id", how="left", validate="m:1", maintain_order="left")
    assert rows["gold"].null_count() == 0, "a sample's problem is not in the problems table"
    # a text that was cut off is not credited for the last number in it
    reason = pl.col("finish_reason")
    rows = rows.with_columns(finished=pl.when(reason != "unknown").then(reason == "stop"))
    found = check_frame(
        rows, "response", "gold", finished="finished", policy=policy, timeout_s=timeout_s
    )
    key = found.select("problem_id", "sample_id", "verdict").unnest("verdict")
    table: pl.DataFrame = key.select(list(tables.VERDICTS.columns))
    return table


def count_steps(samples: pl.DataFrame, *, timeout_s: float) -> pl.DataFrame:
    """The steps table: one row per sample, with the claims of its response by their truth."""
    rows: list[dict[str, Any]] = []
    keyed = samples.select("problem_id", "sample_id", "response")
    for problem_id, sample_id, response in keyed.iter_rows():
        found = summary(check_steps(response, timeout_s=timeout_s))
        first = found.first_false
        rows.append(
            {
                "problem_id": problem_id,
                "sample_id": sample_id,
                "true": found.true,
                "false": found.false,
                "unknown": found.unknown,
                "first_false": first
                and {
                    "start": first.start,
                    "end": first.end,
                    "text": first.text[:MAX_CLAIM],
                    "rule": first.rule,
                },
            }
        )
    return tables.from_rows(rows, tables.STEPS)


def cut_to_refined_part(samples: pl.DataFrame, prompt_set: PromptSet | str) -> pl.DataFrame:
    """The table with each response cut to its refined part; an absent part is an empty response."""
    parts = [
        prompts.extract_refined(prompt_set, response) or "" for response in samples["response"]
    ]
    return samples.with_columns(pl.Series("response", parts, dtype=pl.String))


def traces_as_samples(problems: pl.DataFrame) -> pl.DataFrame:
    """The teacher traces as samples; the sample_id is the trace's rank, the finish reason stop."""
    return list_traces(problems).with_columns(finish_reason=pl.lit("stop"))


def count_traces(problems: str) -> int:
    """The number of candidate traces, by the list of their sources, which is short."""
    if "trace_sources" not in pl.read_parquet_schema(problems):
        return tables.size(problems, tables.PROBLEMS)[0]
    sources = pl.scan_parquet(problems).select(pl.col("trace_sources").list.len().sum())
    return int(sources.collect().item() or 0)


_checker: Checker | None = None


def _start_worker(config: CheckConfig, problems: str, samples: str) -> None:
    global _checker
    _checker = Checker(config, problems, samples)


def _check_row_group(index: int) -> Checked:
    assert _checker is not None
    return _checker.check_row_group(index)


def check_row_groups(
    config: CheckConfig, problems: str, samples: str, row_groups: int, workers: int
) -> Iterator[Checked]:
    """The verdicts and steps of each row group, in order.

    They come from ``workers`` spawned processes if there are more than 1. Raises InputError where a
    process of the pool is killed from outside.
    """
    if workers == 1 or row_groups < 2:
        yield from map(Checker(config, problems, samples).check_row_group, range(row_groups))
        return
    spawn = multiprocessing.get_context("spawn")
    start = {"initializer": _start_worker, "initargs": (config, problems, samples)}
    with ProcessPoolExecutor(min(workers, row_groups), spawn, **start) as pool:  # type: ignore[call-overload]
        try:
            yield from pool.map(_check_row_group, range(row_groups))
        except BrokenProcessPool:
            raise InputError(
                f"{samples}: a checking process was killed from outside, most likely for its "
                f"memory; give the rule more memory or fewer threads (now {workers}) and run again"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)


class Tally:
    """Counts of what was found, for the log."""

    def __init__(self) -> None:
        self.verdicts: Counter[tuple[str, str]] = Counter()
        self.claims: Counter[str] = Counter()
        self.correct = self.false_texts = 0

    def add(self, found: Checked) -> None:
        self.verdicts.update(zip(found.verdicts["verdict"], found.verdicts["reason"], strict=True))
        self.correct += int((found.verdicts["verdict"] == "correct").sum())
        for truth in ("true", "false", "unknown"):
            self.claims[truth] += int(found.steps[truth].sum())
        self.false_texts += int((found.steps["false"] > 0).sum())

    def report(self, seconds: float) -> None:
        for (verdict, reason), count in self.verdicts.most_common():
            log(f"{count:>8}  {verdict}{': ' if reason else ''}{reason}")
        claims = ", ".join(f"{count:,} {truth}" for truth, count in self.claims.items())
        log(f"{self.false_texts:>8}  texts with a false step; steps: {claims}")
        log(f"{self.verdicts.total():>8}  responses in {seconds:.1f} s")


def main(argv: list[str] | None = None) -> None:
    parser = command.make_parser(__doc__, "problems", "samples", "output", "output-steps")
    parser.add_argument("--workers", type=int, default=1, help="processes; changes speed only")
    args = parser.parse_args(argv)
    config = command.read_config(CheckConfig, args.config)
    try:
        get_policy(config.policy)
    except ValueError as error:
        raise InputError(f"policy: {error}") from None
    part = config.part
    if part == "refined" and config.prompts is None:
        raise InputError("--config: missing keys: prompts (which part refined needs)")
    kinds = {"teacher_trace": tables.PROBLEMS, "refined": tables.REFLECTIONS}
    total, row_groups = tables.size(args.samples, kinds.get(part or "", tables.SAMPLES))
    record = provenance.record(
        "orion.stages.check", args.config, {"problems": args.problems, "samples": args.samples}
    )
    # a problem has a row for each of its traces
    expected = None if part == "teacher_trace" else total
    if part == "teacher_trace":
        total = count_traces(args.samples)
    progress, tally = Progress(total, "responses"), Tally()
    with (
        tables.Writer(args.output, VERDICT_TABLE, record, rows=expected) as verdicts,
        tables.Writer(args.output_steps, tables.STEPS, record, rows=expected) as steps,
    ):
        for found in check_row_groups(
            config, args.problems, args.samples, row_groups, args.workers
        ):
            verdicts.write(found.verdicts)
            steps.write(found.steps)
            tally.add(found)
            progress.add(found.verdicts.height, f"{tally.correct:,} correct")
        assert verdicts.rows == steps.rows, "one row of steps per verdict"
    progress.close()
    tally.report(progress.seconds)


if __name__ == "__main__":
    command.run(main)
