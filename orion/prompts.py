"""Prompt templates: the texts that ask a model for a solution or for a refined chain of thought.

There are two sets: ``chat`` for instruction-tuned models, ``demo`` for the embedded tiny student.
The reflection prompt of the paper is not public (LOG.md); that of the set ``chat`` is our own.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class PromptSet:
    """The texts of one prompt set.

    ``solve`` asks for a solution; ``answer`` states an answer. The reflection prompt joins the
    parts ``problem``, ``teacher`` and ``error`` and the one of ``tasks`` that fits the parts shown;
    ``separator`` goes between parts. A response's refined chain begins after ``marker``.
    """

    solve: str
    answer: str
    problem: str
    teacher: str
    error: str
    tasks: dict[frozenset[str], str]
    separator: str
    marker: str


_CHAT_TASKS = {
    frozenset({"teacher", "errors"}): (
        "Compare your earlier attempts with the reference solution. First name, in a few "
        "sentences, the first step at which each attempt goes wrong and why."
    ),
    frozenset({"teacher"}): (
        "First name, in a few sentences, the steps of the reference solution that are easy to get "
        "wrong."
    ),
    frozenset({"errors"}): (
        "First name, in a few sentences, the first step at which each attempt goes wrong and why."
    ),
}
_CHAT_ENDING = (
    " Then write a line that says only `### Refined solution` and, below it, a complete solution "
    "in your own words: correct, to the point, careful at exactly those steps, and readable by "
    "someone who has seen nothing but the problem. Do not mention the reference, the attempts or "
    "this instruction in it. End with the final answer in \\boxed{}."
)

CHAT = PromptSet(
    solve="{problem}\n\nPlease reason step by step, and put your final answer within \\boxed{{}}.",
    answer="The final answer is \\boxed{{{answer}}}.",
    problem="## Problem\n{problem}",
    teacher="## Reference solution\n{teacher}",
    error="## Your attempt {number} (its final answer is wrong)\n{error}",
    tasks={parts: f"## Task\n{text}{_CHAT_ENDING}" for parts, text in _CHAT_TASKS.items()},
    separator="\n\n",
    marker="### Refined solution",
)

# the language that the tiny student was pre-trained on (orion/demo/student.py)
DEMO = PromptSet(
    solve="Question: {problem}",
    answer="\\boxed{{ {answer} }}",
    problem="Question: {problem}",
    teacher="Teacher: {teacher}",
    error="Attempt: {error}",
    tasks=dict.fromkeys(_CHAT_TASKS, "Refine:"),
    separator=" ",
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
    """The user turn that asks for a refined chain of thought.

    At least one of ``teacher`` and ``errors`` must be given.
    """
    chosen = SETS[prompt_set]
    parts = [chosen.problem.format(problem=problem)]
    if teacher is not None:
        parts.append(chosen.teacher.format(teacher=teacher))
    parts += [chosen.error.format(error=error, number=n) for n, error in enumerate(errors, 1)]
    shown = {"teacher": teacher is not None, "errors": bool(errors)}
    task = chosen.tasks[frozenset(name for name, is_shown in shown.items() if is_shown)]
    return chosen.separator.join([*parts, task])


def extract_refined(prompt_set: str, response: str) -> str | None:
    """The refined part of a reflection: the text after the last marker.

    None if the marker is absent or no text follows it.
    """
    _, marker, rest = response.rpartition(SETS[prompt_set].marker)
    return rest.strip() or None if marker else None
