"""Examples to browse: problem → wrong attempt → teacher's trace → each arm's reflection.

Input: ``Results``. Output: one dict per problem, with the place of each text's first false step. A
keyed shuffle chooses the problems. Texts are model output, so they are cut to a length here and
escaped by the template.
"""

import re
import shlex

import polars as pl

from orion import prompts
from orion.experiment.levels import find_levels
from orion.prompts import PromptSet
from orion.provenance import digest_text
from orion.report.gather import Arm, Results

# characters shown of one text
MAX_CHARACTERS = 4000
# what `truncate` writes behind a text that it cuts
LEFT_OUT = re.compile(r" … \[([0-9]{1,3}(?:,[0-9]{3}){0,4}) more characters\]\Z")


def example_rows(results: Results, prompt_set: PromptSet | str, count: int) -> list[dict]:
    """Up to ``count`` problems with a wrong attempt and a reflection, in keyed random order."""
    arms = [arm for arm in results.arms.values() if arm.reflections is not None]
    if not arms:
        return []
    candidates = sorted(
        {p for arm in arms for p in _reflections_on_first_error(arm)["problem_id"]},
        key=lambda p: digest_text(f"example:{results.dataset}:{p}"),
    )
    chosen = candidates[:count]
    found = results.problems.filter(pl.col("problem_id").is_in(chosen))
    problems = {row["problem_id"]: row for row in found.iter_rows(named=True)}
    levels = _list_levels(results.problems, set(chosen))
    return [
        {**_make_example(results, arms, problems[p], prompt_set), "levels": levels.get(p, [])}
        for p in chosen
    ]


def _find_attempt(samples: pl.DataFrame, numbers: list[int | None]) -> dict:
    """The student's sample that is the first error of the first arm that reflects.

    Errors of another model have no number; where there are no others it is the first wrong sample,
    or the first one.
    """
    known = [number for number in numbers if number is not None]
    wrong = samples.filter(pl.col("verdict") == "incorrect")
    found = samples.filter(pl.col("sample_id") == known[0]) if known else wrong
    return (found if found.height else samples).row(0, named=True)


def _list_levels(problems: pl.DataFrame, chosen: set[str]) -> dict[str, list[str]]:
    """What divides the problems, as texts such as ``level: 3``, by problem_id."""
    ids = problems["problem_id"].sort().to_list()
    found: dict[str, list[str]] = {}
    for level in find_levels(problems):
        for number in level.problems.tolist():
            if ids[number] in chosen:
                found.setdefault(ids[number], []).append(f"{level.field}: {level.value}")
    return found


def _make_example(
    results: Results, arms: list[Arm], problem: dict, prompt_set: PromptSet | str
) -> dict:
    problem_id = problem["problem_id"]
    samples = results.samples.filter(pl.col("problem_id") == problem_id)
    candidates = (_find_reflection(arm, problem_id, prompt_set) for arm in arms)
    reflections = [reflection for reflection in candidates if reflection is not None]
    for reflection in reflections:
        place = f"{results.dataset}/{results.model}/{reflection['arm']}/{problem_id}"
        reflection["why"] = truncate(shlex.join(["orion", "why", place]), 300)
    attempt = _find_attempt(samples, [each.pop("own_sample_id") for each in reflections])
    for reflection in reflections:
        # another attempt, or that one cut to its false step or to its answer
        shown = reflection.pop("attempt_in_prompt")
        reflection["foreign_attempt"] = truncate(shown if shown != attempt["response"] else None)
    return {
        "problem_id": truncate(problem_id, 80),
        "problem": truncate(problem["problem"]),
        "answer": truncate(problem["answer"], 200),
        "teacher_trace": truncate(problem["teacher_trace"]),
        "trace_false_step": _find_trace_step(results, problem),
        "attempt": truncate(attempt["response"]),
        "attempt_false_step": find_step(attempt["response"], attempt["first_false"]),
        "attempt_sample": attempt["sample_id"],
        "attempt_extracted": truncate(attempt["extracted"], 200),
        "samples": samples.height,
        "samples_right": int((samples["verdict"] == "correct").sum()),
        "reflections": reflections,
    }


def find_step(text: str | None, step: dict | None) -> dict[str, int] | None:
    """Start and end of the first false step of a text; None without one.

    ``step``: first_false of the table steps. None too where the text does not have it there.
    """
    if text is None or step is None:
        return None
    start, end = step["start"], step["end"]
    if not step["text"] or text[start:end][: len(step["text"])] != step["text"]:
        return None
    return {"start": start, "end": end}


def _find_trace_step(results: Results, problem: dict) -> dict[str, int] | None:
    """The first false step of the problem's trace, which is the first correct one, or the first."""
    if results.traces is None:
        return None
    rows = results.traces.filter(pl.col("problem_id") == problem["problem_id"])
    correct = rows.filter(pl.col("verdict") == "correct")
    shown = correct if correct.height else rows
    steps = shown.sort("sample_id")["first_false"].to_list()
    return find_step(problem["teacher_trace"], steps[0]) if steps else None


def _reflections_on_first_error(arm: Arm) -> pl.DataFrame:
    """The arm's reflections whose prompts belong to the error of rank 0."""
    assert arm.reflections is not None
    return arm.reflections.filter(pl.col("error_ranks").list.contains(0))


def _find_reflection(arm: Arm, problem_id: str, prompt_set: PromptSet | str) -> dict | None:
    """The arm's first reflection on its first error at this problem; None without one."""
    assert arm.errors is not None and arm.train is not None
    reflections = _reflections_on_first_error(arm).filter(pl.col("problem_id") == problem_id)
    errors = arm.errors.filter(pl.col("problem_id") == problem_id, pl.col("rank") == 0)
    if reflections.is_empty() or errors.is_empty():
        return None
    row, error = reflections.row(0, named=True), errors.row(0, named=True)
    trained = arm.train.filter(
        pl.col("problem_id") == problem_id,
        pl.col("target_kind") == "reflection",
        pl.col("sample_id") == row["sample_id"],
    )
    diagnosis, refined = prompts.split_refined(prompt_set, row["response"])
    return {
        "arm": arm.name,
        "own_sample_id": error["own_sample_id"],
        "attempt_in_prompt": error["response"],
        "error_source": error["source"],
        "diagnosis": truncate(diagnosis.strip()) or None,
        "refined": truncate(refined),
        "false_step": find_step(refined, row["first_false"]),
        "response": None if refined else truncate(row["response"]),
        "verdict": row["verdict"],
        "reason": truncate(row["reason"], 200),
        "extracted": truncate(row["extracted"], 200),
        "finish_reason": row["finish_reason"],
        "completion_tokens": row["completion_tokens"],
        "trained_on": not trained.is_empty(),
    }


def truncate(text: str | None, length: int = MAX_CHARACTERS) -> str | None:
    """The text, or its beginning and the number of characters left out.

    A text that was cut before counts what was left out then.
    """
    if text is None or len(text) <= length:
        return text
    cut = LEFT_OUT.search(text)
    kept, before = (text[: cut.start()], int(cut[1].replace(",", ""))) if cut else (text, 0)
    if len(kept) <= length:
        return text
    return f"{kept[:length]} … [{len(kept) - length + before:,} more characters]"
