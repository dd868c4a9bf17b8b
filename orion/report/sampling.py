"""What several samples are worth, and what a finished answer costs: pass@r, maj@r, tokens.

Input: ``Results``. Output: rows. Shares are fractions, lengths are tokens.
"""

import numpy as np
import polars as pl

from orion.experiment import statistics
from orion.experiment.pairs import ERROR_PAIRS
from orion.experiment.selected import UNCHECKED
from orion.report import shares
from orion.report.gather import Evaluation, Results

BOUNDS = ("", "_low", "_high")


def pass_rows(results: Results, benchmarks: list[str], *, confidence: float) -> list[dict]:
    """One row per arm, benchmark and r: pass@r and maj@r from k samples per problem and seed.

    Both average over problems and seeds. Their intervals are over problems, or over clusters of
    them, and count the k samples of a problem for k / r trials at most, rounded down, since so many
    sets of r samples do not overlap. ``maj_at`` is null beyond `voting.MAX_SAMPLES` samples.
    """
    rows = []
    for arm in results.arms.values():
        for benchmark in benchmarks:
            runs = arm.list_runs(benchmark)
            samples, accuracies = arm.count_samples(benchmark), arm.accuracies(benchmark)
            for number, size in enumerate(runs[0].sizes):
                estimates = {
                    "pass_at": _pass_at(accuracies, samples, size),
                    "maj_at": _stack_majority(runs, number),
                }
                row = {"arm": arm.name, "benchmark": benchmark, "k": samples, "r": size}
                for name, values in estimates.items():
                    row |= _estimate_mean(
                        name,
                        values,
                        trials=samples // size,
                        confidence=confidence,
                        clusters=results.clusters[benchmark],
                    )
                rows.append(row)
    return rows


def _pass_at(accuracies: statistics.Floats, samples: int, size: int) -> statistics.Floats:
    """pass@r of every problem and seed, ``(seeds, problems)``."""
    by_count = np.array(
        [statistics.pass_at_k(samples, right, size) for right in range(samples + 1)]
    )
    found: statistics.Floats = by_count[np.rint(accuracies * samples).astype(np.int64)]
    return found


def _stack_majority(runs: list[Evaluation], number: int) -> statistics.Floats | None:
    """maj@r of every problem and seed, ``(seeds, problems)``; None where it is not computed."""
    columns = [run.majority[:, number] for run in runs if run.majority is not None]
    return np.stack(columns) if columns else None


def _estimate_mean(
    name: str,
    values: statistics.Floats | None,
    *,
    trials: int,
    confidence: float,
    clusters: statistics.Integers | None,
) -> dict:
    if values is None:
        return dict.fromkeys(name + bound for bound in BOUNDS)
    interval = statistics.share_interval(
        values.sum(axis=0) * trials,
        values.shape[0] * trials,
        confidence=confidence,
        clusters=clusters,
    )
    found = (interval.value, interval.low, interval.high)
    return {name + bound: value for bound, value in zip(BOUNDS, found, strict=True)}


def answer_rows(results: Results, benchmarks: list[str], *, confidence: float) -> list[dict]:
    """One row per arm and benchmark: its finished answers, and tokens, over all seeds.

    ``share_finished`` is the part of the answers that came to their end. ``accuracy_finished``,
    with its interval over problems, is the share of these that is correct, and null where there are
    none. ``correct_per_1000_tokens`` divides the correct answers by the tokens of all answers.
    """
    rows = []
    for arm in results.arms.values():
        for benchmark in benchmarks:
            checked = arm.collect_checked(benchmark)
            finished = checked.filter("finished")
            correct = pl.col("verdict") == "correct"
            of_problem = shares.find_clusters(results, benchmark, checked)
            found = shares.estimate_share(finished, correct, confidence, of_problem)
            tokens = int(checked["completion_tokens"].sum())
            right = checked.filter(correct).height
            rows.append(
                {
                    "arm": arm.name,
                    "benchmark": benchmark,
                    "answers": checked.height,
                    "finished": finished.height,
                    "share_finished": finished.height / checked.height,
                    "accuracy_finished": found["share"],
                    "low": found["low"],
                    "high": found["high"],
                    "tokens": tokens,
                    "mean_tokens": tokens / checked.height,
                    "mean_tokens_finished": finished["completion_tokens"].mean(),
                    "correct_per_1000_tokens": 1000 * right / tokens if tokens else None,
                }
            )
    return rows


# kinds of arms that are made from the student's own samples
_SAMPLED = ("own_correct", UNCHECKED, ERROR_PAIRS, "reflection", "oracle")


def data_rows(results: Results) -> list[dict]:
    """One row per trained arm: the completions that its training data were made from.

    ``samples`` of the student, which are made once for all arms that need them, and the arm's own
    ``reflections``; with their completion tokens. Teacher traces are not counted.
    """
    rows = []
    for arm in results.arms.values():
        if arm.train is None:
            continue
        tables = (results.samples if arm.trained_on in _SAMPLED else None, arm.reflections)
        counts = [0 if table is None else table.height for table in tables]
        tokens = [0 if table is None else int(table["completion_tokens"].sum()) for table in tables]
        rows.append(
            {
                "arm": arm.name,
                "trained_on": arm.trained_on,
                "samples": counts[0],
                "sample_tokens": tokens[0],
                "reflections": counts[1],
                "reflection_tokens": tokens[1],
                "tokens": sum(tokens),
            }
        )
    return rows
