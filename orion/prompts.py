"""Prompt templates, nothing else: what the student reads when it solves, and when it refines a teacher's trace.

Two sets: ``chat`` for instruction-tuned models, ``demo`` for the embedded tiny student. The paper's own reflection prompt
is not public (LOG.md); the ``chat`` set is ours.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class PromptSet:
    """``solve`` has one slot; ``reflect`` is built from parts, absent ones leave no trace. ``marker`` opens the refined part."""

    solve: str
    answer: str
    problem: str
    teacher: str
    error: str
    task: dict[frozenset[str], str]
    joint: str
    marker: str


_CHAT_TASKS = {
    frozenset({"teacher", "errors"}): (
        "Compare your earlier attempts with the reference solution. First name, in a few sentences, the first step at which "
        "each attempt goes wrong and why."
    ),
    frozenset(
        {"teacher"}
    ): "First name, in a few sentences, the steps of the reference solution that are easy to get wrong.",
    frozenset(
        {"errors"}
    ): "First name, in a few sentences, the first step at which each attempt goes wrong and why.",
}
_CHAT_ENDING = (
    " Then write a line that says only `### Refined solution` and, below it, a complete solution in your own words: correct, "
    "to the point, careful at exactly those steps, and readable by someone who has seen nothing but the problem. Do not "
    "mention the reference, the attempts or this instruction in it. End with the final answer in \\boxed{}."
)

CHAT = PromptSet(
    solve="{problem}\n\nPlease reason step by step, and put your final answer within \\boxed{{}}.",
    answer="The final answer is \\boxed{{{answer}}}.",
    problem="## Problem\n{problem}",
    teacher="## Reference solution\n{teacher}",
    error="## Your attempt {number} (its final answer is wrong)\n{error}",
    task={shows: f"## Task\n{text}{_CHAT_ENDING}" for shows, text in _CHAT_TASKS.items()},
    joint="\n\n",
    marker="### Refined solution",
)

# the tiny student's language, in which it was pre-trained (orion/demo/student.py)
DEMO = PromptSet(
    solve="Question: {problem}",
    answer="\\boxed{{ {answer} }}",
    problem="Question: {problem}",
    teacher="Teacher: {teacher}",
    error="Attempt: {error}",
    task={shows: "Refine:" for shows in _CHAT_TASKS},
    joint=" ",
    marker="New:",
)

SETS = {"chat": CHAT, "demo": DEMO}


def solve(prompt_set: str, problem: str) -> str:
    """The user turn that asks for a solution."""
    return SETS[prompt_set].solve.format(problem=problem)


def answer(prompt_set: str, gold: str) -> str:
    """The assistant turn that states an answer and nothing else."""
    return SETS[prompt_set].answer.format(answer=gold)


def reflect(prompt_set: str, problem: str, *, teacher: str | None, errors: list[str]) -> str:
    """The user turn that asks for a refined chain of thought; at least one of teacher and errors must be given."""
    chosen = SETS[prompt_set]
    shows = frozenset({"teacher"} if teacher is not None else set()) | frozenset(
        {"errors"} if errors else set()
    )
    parts = [chosen.problem.format(problem=problem)]
    if teacher is not None:
        parts.append(chosen.teacher.format(teacher=teacher))
    parts += [chosen.error.format(error=error, number=n) for n, error in enumerate(errors, 1)]
    return chosen.joint.join([*parts, chosen.task[shows]])


def refined(prompt_set: str, response: str) -> str | None:
    """The refined part of a reflection: what follows the last marker; None if the marker is absent or nothing follows."""
    _, marker, rest = response.rpartition(SETS[prompt_set].marker)
    return rest.strip() or None if marker else None
