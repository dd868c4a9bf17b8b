"""Evaluate: problems + samples + verdicts of one model on one benchmark → scores with intervals.

Every sample of every problem counts in every denominator; a missing one stops the run.
Run: ``python -m orion.stages.evaluate --config JSON --problems P --samples S --verdicts V
--output scores.json [--plan P --plan-digest D]``.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from orion import provenance, tables
from orion.errors import InputError
from orion.experiment import filters, plan, statistics
from orion.experiment.clusters import find_clusters
from orion.progress import log
from orion.stages import command

PROPORTIONS = (
    "accuracy",
    "pass_at_k",
    "unfinished",
    "no_answer",
    "unparseable",
    "timeout",
    "failed",
    "loop",
)
# rounded so that the output is byte-identical across CPUs
DECIMALS = 10


@dataclass(frozen=True)
class EvaluateConfig:
    """The configuration keys of the stage; ``bootstrap``: resamples of the problems."""

    benchmark: str
    confidence: float
    bootstrap: int


def samples_per_problem(
    problems: pl.DataFrame, samples: pl.DataFrame, verdicts: pl.DataFrame
) -> int:
    """The number of samples per problem, k, which must be the same for all.

    Raises InputError where a problem, a sample or a verdict is missing or belongs elsewhere.
    """
    if not problems.height:
        raise InputError(
            "the problems table is empty; give the benchmark a source with at least one usable row"
        )
    k, rest = divmod(samples.height, problems.height)
    cure = "delete the samples and verdicts and run again"
    if rest or not k:
        raise InputError(
            f"{samples.height} samples do not cover {problems.height} problems evenly; {cure}"
        )
    wanted = problems.select("problem_id").join(pl.DataFrame({"sample_id": range(k)}), how="cross")
    for name, table in (("samples", samples), ("verdicts", verdicts)):
        missing = wanted.join(table, on=["problem_id", "sample_id"], how="anti")
        if missing.height or table.height != wanted.height:
            first = f", the first is {missing.row(0)}" if missing.height else ""
            raise InputError(
                f"{name}: {table.height} rows for {problems.height} problems x {k}, "
                f"{missing.height} missing{first}; {cure}"
            )
    return k


def _has_loop(response: str) -> bool:
    return filters.has_loop(response, filters.LOOP_NGRAM, filters.LOOP_REPEATS)


def per_problem(samples: pl.DataFrame, verdicts: pl.DataFrame, k: int) -> pl.DataFrame:
    """One row per problem: the mean over its k samples of every metric, sorted by problem_id."""
    finish, verdict = pl.col("finish_reason"), pl.col("verdict")
    correct = (verdict == "correct").sum()
    return (
        samples.join(verdicts, on=["problem_id", "sample_id"], validate="1:1")
        .with_columns(loop=pl.col("response").map_elements(_has_loop, return_dtype=pl.Boolean))
        .group_by("problem_id")
        .agg(
            accuracy=correct / k,
            pass_at_k=correct.map_elements(
                lambda c: statistics.pass_at_k(k, c, k), return_dtype=pl.Float64
            ),
            unfinished=(finish == "length").sum() / k,
            no_answer=(verdict == "no_answer").sum() / k,
            unparseable=(verdict == "unparseable").sum() / k,
            timeout=(verdict == "timeout").sum() / k,
            failed=finish.is_in(["prompt_too_long", "error"]).sum() / k,
            loop=pl.col("loop").sum() / k,
            mean_completion_tokens=pl.col("completion_tokens").sum() / k,
        )
        .sort("problem_id")
    )


def scores(
    table: pl.DataFrame,
    *,
    benchmark: str,
    k: int,
    confidence: float,
    bootstrap: int,
    clusters: statistics.Integers | None = None,
) -> list[dict[str, Any]]:
    """Rows metric, value, low, high, n_problems, k from one row per problem.

    ``clusters``: of the problems, in the order of the table; intervals are over these.
    """
    rows = []
    for metric in (*PROPORTIONS, "mean_completion_tokens"):
        values = np.asarray(table[metric], dtype=np.float64)
        if metric in PROPORTIONS:
            # pass@k is one trial per problem, made of all its samples
            trials = 1 if metric == "pass_at_k" else k
            interval = statistics.share_interval(
                values * trials, trials, confidence=confidence, clusters=clusters
            )
        else:
            interval = statistics.bootstrap_interval(
                values,
                confidence=confidence,
                resamples=bootstrap,
                key=("evaluate", benchmark, metric),
                clusters=clusters,
            )
        bounds = {
            name: round(getattr(interval, name), DECIMALS) for name in ("value", "low", "high")
        }
        rows.append({"metric": metric, **bounds, "n_problems": table.height, "k": k})
    return rows


def main(argv: list[str] | None = None) -> None:
    parser = command.make_parser(__doc__, "problems", "samples", "verdicts", "output")
    plan.add_options(parser)
    args = parser.parse_args(argv)
    config = command.read_config(EvaluateConfig, args.config)
    registered = plan.require_registered(args)
    problems = tables.read(args.problems, tables.PROBLEMS, ["problem_id", "meta"])
    samples = tables.read(args.samples, tables.SAMPLES)
    verdicts = tables.read(args.verdicts, tables.VERDICTS)
    try:
        k = samples_per_problem(problems, samples, verdicts)
    except InputError as error:
        raise InputError(f"{args.samples}: {error}") from None
    rows = scores(
        per_problem(samples, verdicts, k),
        benchmark=config.benchmark,
        k=k,
        confidence=config.confidence,
        bootstrap=config.bootstrap,
        clusters=find_clusters(problems),
    )
    for row in rows:
        log(f"{row['metric']:>24}  {row['value']:.4f}  [{row['low']:.4f}, {row['high']:.4f}]")
    paths = {"problems": args.problems, "samples": args.samples, "verdicts": args.verdicts}
    record = provenance.record("orion.stages.evaluate", args.config, paths) | registered
    tables.write_json({"benchmark": config.benchmark, "rows": rows}, args.output, record)


if __name__ == "__main__":
    command.run(main)
