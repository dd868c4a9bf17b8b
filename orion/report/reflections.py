"""How good the reflections are: their correctness, and whether they revisit the wrong step.

A correct answer is no evidence that an error was used, because the teacher's trace contains the
answer. Where the problems' ``meta`` records their steps (the embedded problems), the second
question has an exact answer. Every reflection belongs to a wrong attempt of the student at the same
problem, whether or not the arm showed it. The reflection revisits the wrong step if its refined
part writes out the first step that this attempt got wrong. Input: ``Results``. Output: rows.
"""

import polars as pl

from orion import prompts
from orion.demo.error_coverage import detailed_steps, first_wrong_step, revisited_steps
from orion.demo.exact_check import records_steps
from orion.experiment import statistics
from orion.prompts import PromptSet
from orion.report.gather import Arm, Results

SCOPES = ("all", "correct")


def reflection_rows(
    results: Results, prompt_set: PromptSet | str, *, confidence: float
) -> list[dict]:
    """One row per arm: how many reflections there are, follow the format, and are correct."""
    rows = []
    for arm in results.arms.values():
        if arm.reflections is None:
            continue
        total = arm.reflections.height
        refined = sum(
            prompts.extract_refined(prompt_set, text) is not None
            for text in arm.reflections["response"]
        )
        correct = int((arm.reflections["verdict"] == "correct").sum())
        share = statistics.wilson_interval(correct, total, confidence=confidence) if total else None
        rows.append(
            {
                "arm": arm.name,
                "reflections": total,
                "problems": arm.reflections["problem_id"].n_unique(),
                "with_refined_part": refined,
                "share_refined": refined / total if total else None,
                "correct": correct,
                "share_correct": share and share.value,
                "low": share and share.low,
                "high": share and share.high,
                "unfinished": int((arm.reflections["finish_reason"] == "length").sum()),
                "mean_completion_tokens": arm.reflections["completion_tokens"].mean(),
            }
        )
    return rows


def pair_with_attempts(results: Results, arm: Arm) -> pl.DataFrame:
    """One row per reflection and error that its prompt belongs to.

    Columns: problem_id, sample_id, rank, response, verdict, meta, attempt. ``attempt`` is the
    student's own wrong sample (own_sample_id), also for the placebo, which was shown another one;
    for an error of another model, what was shown of it.
    """
    assert arm.reflections is not None and arm.errors is not None
    own_samples = results.samples.select(
        "problem_id", pl.col("sample_id").alias("own_sample_id"), attempt="response"
    )
    attempts = (
        arm.errors.select("problem_id", "rank", "own_sample_id", shown="response")
        .join(own_samples, on=["problem_id", "own_sample_id"], how="left")
        .filter(pl.col("attempt").is_not_null() | pl.col("own_sample_id").is_null())
        .with_columns(attempt=pl.coalesce("attempt", "shown"))
        .drop("shown")
    )
    return (
        arm.reflections.select("problem_id", "sample_id", "response", "verdict", rank="error_ranks")
        .explode("rank")
        .join(attempts, on=["problem_id", "rank"])
        .join(results.problems.select("problem_id", "meta"), on="problem_id")
        .sort("problem_id", "sample_id", "rank")
    )


def error_coverage_rows(
    results: Results, prompt_set: PromptSet | str, *, confidence: float
) -> list[dict]:
    """One row per arm and scope (all reflections, or the correct ones).

    No rows where the problems do not record their steps. A pair is a reflection and an error of
    the student. ``rate`` is the share of pairs whose refined part writes out the first step that
    the error got wrong; without a refined part there is no such step. ``chance`` is the rate of
    equally many written-out steps at random places of the chain. Pairs whose attempt has no
    readable first wrong step are left out and counted in ``unreadable``.
    """
    if not records_steps(results.problems):
        return []
    rows = []
    for arm in results.arms.values():
        if arm.reflections is None:
            continue
        frame = pair_with_attempts(results, arm)
        pairs = [_measure_pair(row, prompt_set) for row in frame.iter_rows(named=True)]
        for scope in SCOPES:
            in_scope = [pair for pair in pairs if scope == "all" or pair["correct"]]
            readable = [pair for pair in in_scope if pair["wrong_step"] is not None]
            revisited = sum(pair["revisited"] for pair in readable)
            share = (
                statistics.wilson_interval(revisited, len(readable), confidence=confidence)
                if readable
                else None
            )
            rows.append(
                {
                    "arm": arm.name,
                    "scope": scope,
                    "pairs": len(readable),
                    "unreadable": len(in_scope) - len(readable),
                    "revisited": revisited,
                    "rate": share and share.value,
                    "low": share and share.low,
                    "high": share and share.high,
                    "chance": _mean([pair["detailed"] / pair["steps"] for pair in readable]),
                    "mean_detailed": _mean([pair["detailed"] for pair in readable]),
                }
            )
    return rows


def _measure_pair(row: dict, prompt_set: PromptSet | str) -> dict:
    steps = len(row["meta"]["steps"])
    refined = prompts.extract_refined(prompt_set, row["response"]) or ""
    detailed = {step for step in detailed_steps(refined) if step < steps}
    wrong_step = first_wrong_step(row["meta"], row["attempt"])
    return {
        "correct": row["verdict"] == "correct",
        "wrong_step": wrong_step,
        "revisited": wrong_step in revisited_steps(row["meta"], refined),
        "detailed": len(detailed),
        "steps": steps,
    }


def _mean(values: list) -> float | None:
    return sum(values) / len(values) if values else None
