"""How good the reflections are: whether they check correct, and whether they treat the step their own error got wrong.

"The answer checks" is no evidence that an error was used, because the teacher's trace holds the answer. Where the problems'
meta holds their steps (the embedded problems), the second question has an exact answer: every reflection belongs to a wrong
attempt of the student's own at the same problem, whether the arm showed that attempt or not; it treats the error if its
refined part writes out the first step which that attempt got wrong. Input: a ``Street``. Output: rows.
"""

import polars as pl

from orion import prompts
from orion.demo.error_coverage import detailed_steps, first_wrong_step, revisited_steps
from orion.experiment import statistics
from orion.report.gather import Arm, Street

SCOPES = ("all", "correct")


def reflection_rows(street: Street, prompt_set: str, *, confidence: float) -> list[dict]:
    """One row an arm: how many reflections there are, hold a refined part, and check correct."""
    rows = []
    for arm in street.arms.values():
        if arm.reflections is None:
            continue
        total = arm.reflections.height
        refined = sum(
            prompts.refined(prompt_set, text) is not None for text in arm.reflections["response"]
        )
        correct = int((arm.reflections["verdict"] == "correct").sum())
        share = statistics.wilson(correct, total, confidence=confidence) if total else None
        rows.append(
            {
                "arm": arm.name,
                "reflections": total,
                "problems": arm.reflections["problem_id"].n_unique(),
                "with_refined_part": refined,
                "correct": correct,
                "share_correct": share and share.value,
                "low": share and share.low,
                "high": share and share.high,
                "unfinished": int((arm.reflections["finish_reason"] == "length").sum()),
                "mean_completion_tokens": arm.reflections["completion_tokens"].mean(),
            }
        )
    return rows


def own_attempts(street: Street, arm: Arm) -> pl.DataFrame:
    """One row a reflection and error it belongs to: problem_id, sample_id, response, verdict, meta, attempt.

    ``attempt`` is the student's own wrong sample (own_sample_id), also for the placebo, which was shown another.
    """
    assert arm.reflections is not None and arm.errors is not None
    own = street.samples.select(
        "problem_id", pl.col("sample_id").alias("own_sample_id"), attempt="response"
    )
    attempts = arm.errors.select("problem_id", "rank", "own_sample_id").join(
        own, on=["problem_id", "own_sample_id"]
    )
    return (
        arm.reflections.select("problem_id", "sample_id", "response", "verdict", rank="error_ranks")
        .explode("rank")
        .join(attempts, on=["problem_id", "rank"])
        .join(street.problems.select("problem_id", "meta"), on="problem_id")
        .sort("problem_id", "sample_id", "rank")
    )


def measurable(street: Street) -> bool:
    """Whether the problems' meta holds their steps, with the result of each."""
    known = {field.name: field.dtype for field in street.problems.schema["meta"].fields}  # type: ignore[attr-defined]
    step = getattr(known.get("steps"), "inner", None)
    return isinstance(step, pl.Struct) and "result" in {field.name for field in step.fields}


def treatment_rows(street: Street, prompt_set: str, *, confidence: float) -> list[dict]:
    """One row an arm and scope (all reflections, or those that check correct); none where it cannot be measured.

    ``rate`` is the share of (reflection, own error) pairs whose refined part writes out the first step that the error got
    wrong, ``chance`` what as many written-out steps, put anywhere in the chain, would hit. A reflection without a refined
    part treats nothing. Pairs whose attempt has no readable first wrong step are left out and counted (``unreadable``).
    """
    if not measurable(street):
        return []
    rows = []
    for arm in street.arms.values():
        if arm.reflections is None:
            continue
        pairs = [_pair(row, prompt_set) for row in own_attempts(street, arm).iter_rows(named=True)]
        for scope in SCOPES:
            inside = [pair for pair in pairs if scope == "all" or pair["correct"]]
            readable = [pair for pair in inside if pair["wrong_step"] is not None]
            treated = sum(pair["treated"] for pair in readable)
            share = (
                statistics.wilson(treated, len(readable), confidence=confidence)
                if readable
                else None
            )
            rows.append(
                {
                    "arm": arm.name,
                    "scope": scope,
                    "pairs": len(readable),
                    "unreadable": len(inside) - len(readable),
                    "treated": treated,
                    "rate": share and share.value,
                    "low": share and share.low,
                    "high": share and share.high,
                    "chance": _mean([pair["detailed"] / pair["steps"] for pair in readable]),
                    "mean_detailed": _mean([pair["detailed"] for pair in readable]),
                }
            )
    return rows


def _pair(row: dict, prompt_set: str) -> dict:
    steps = len(row["meta"]["steps"])
    refined = prompts.refined(prompt_set, row["response"]) or ""
    detailed = {step for step in detailed_steps(refined) if step < steps}
    wrong = first_wrong_step(row["meta"], row["attempt"])
    return {
        "correct": row["verdict"] == "correct",
        "wrong_step": wrong,
        "treated": wrong in revisited_steps(row["meta"], refined),
        "detailed": len(detailed),
        "steps": steps,
    }


def _mean(values: list) -> float | None:
    return sum(values) / len(values) if values else None
