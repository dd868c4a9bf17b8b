"""A browsable sample: problem → the student's wrong attempt → teacher's trace → what each arm's reflection made of it.

Input: a ``Street``. Output: one dictionary a problem. Problems are drawn by a keyed shuffle, not by hand; texts are model
output, so they are cut to a length here and escaped by the template.
"""

import polars as pl

from orion import prompts
from orion.provenance import digest_text
from orion.report.gather import Arm, Street

# characters shown of one text
CAP = 4000


def example_rows(street: Street, prompt_set: str, count: int) -> list[dict]:
    """Up to ``count`` problems that have a wrong attempt and a reflection, in keyed random order."""
    arms = [arm for arm in street.arms.values() if arm.reflections is not None]
    if not arms:
        return []
    candidates = sorted(
        {p for arm in arms for p in _first_prompts(arm)["problem_id"]},
        key=lambda p: digest_text(f"example:{street.dataset}:{p}"),
    )
    problems = {row["problem_id"]: row for row in street.problems.iter_rows(named=True)}
    return [_example(street, arms, problems[p], prompt_set) for p in candidates[:count]]


def _example(street: Street, arms: list[Arm], problem: dict, prompt_set: str) -> dict:
    problem_id = problem["problem_id"]
    mine = street.samples.filter(pl.col("problem_id") == problem_id)
    shown = [
        found for arm in arms if (found := _reflection(arm, problem_id, prompt_set)) is not None
    ]
    own = mine.filter(pl.col("sample_id") == shown[0].pop("own_sample_id")).row(0, named=True)
    for other in shown[1:]:
        other.pop("own_sample_id")
    return {
        "problem_id": cut(problem_id, 80),
        "problem": cut(problem["problem"]),
        "answer": cut(problem["answer"], 200),
        "teacher_trace": cut(problem["teacher_trace"]),
        "attempt": cut(own["response"]),
        "attempt_sample": own["sample_id"],
        "attempt_extracted": cut(own["extracted"], 200),
        "samples": mine.height,
        "samples_right": int((mine["verdict"] == "correct").sum()),
        "reflections": shown,
    }


def _first_prompts(arm: Arm) -> pl.DataFrame:
    """The arm's reflections on prompts that hold the error of rank 0."""
    assert arm.reflections is not None
    return arm.reflections.filter(pl.col("error_ranks").list.contains(0))


def _reflection(arm: Arm, problem_id: str, prompt_set: str) -> dict | None:
    """The arm's first reflection on its first error at this problem."""
    assert arm.errors is not None and arm.train is not None
    mine = _first_prompts(arm).filter(pl.col("problem_id") == problem_id)
    errors = arm.errors.filter(pl.col("problem_id") == problem_id, pl.col("rank") == 0)
    if mine.is_empty() or errors.is_empty():
        return None
    row, error = mine.row(0, named=True), errors.row(0, named=True)
    trained = arm.train.filter(
        pl.col("problem_id") == problem_id,
        pl.col("target_kind") == "reflection",
        pl.col("sample_id") == row["sample_id"],
    )
    refined = prompts.refined(prompt_set, row["response"])
    before = row["response"].rpartition(prompts.SETS[prompt_set].marker)[0]
    return {
        "arm": arm.name,
        "own_sample_id": error["own_sample_id"],
        "foreign_attempt": cut(error["response"]) if error["source"] == "other_problem" else None,
        "diagnosis": cut(before.strip()) or None,
        "refined": cut(refined),
        "response": None if refined else cut(row["response"]),
        "verdict": row["verdict"],
        "reason": cut(row["reason"], 200),
        "extracted": cut(row["extracted"], 200),
        "finish_reason": row["finish_reason"],
        "completion_tokens": row["completion_tokens"],
        "trained_on": not trained.is_empty(),
    }


def cut(text: str | None, length: int = CAP) -> str | None:
    """The text, or its beginning and how many characters are left out."""
    if text is None or len(text) <= length:
        return text
    return f"{text[:length]} … [{len(text) - length:,} more characters]"
