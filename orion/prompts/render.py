"""Prompts of one problem: the user's turn as a text, and the whole conversation as messages.

Input: a prompt set (or its name) and data. Output: texts, or messages of ``role`` and ``content``.
Data is inserted as it is; nothing in it is read as a template.
"""

import re
from functools import lru_cache
from typing import Any

import yaml

from orion.errors import InputError
from orion.prompts.sets import PromptSet, environment, resolve

Message = dict[str, str]
# the keys of a worked example; that of the reply comes last
EXAMPLE_KEYS = {
    "examples": ("problem", "solution"),
    "reflect_examples": ("problem", "teacher", "errors", "answer", "reflection"),
}
OPTIONAL_KEYS = ("teacher", "errors", "answer")
# what a reflection prompt asks for
REFINE, SHORTEN, REVIEW = "refine", "shorten", "review"


def render(name: str, source: str, **data: Any) -> str:
    """The block ``name`` with its data; raises InputError where it uses what it is not given."""
    from jinja2 import TemplateError

    try:
        return _compile(source).render(data)
    except (TemplateError, TypeError, ValueError, ArithmeticError) as error:
        raise InputError(f"prompts: block {name}: it cannot be rendered: {error}") from None


@lru_cache(maxsize=64)
def _compile(source: str) -> Any:
    return environment().from_string(source)


def solve(prompt_set: PromptSet | str, problem: str) -> str:
    """The user turn that asks for a solution."""
    return render("solve", resolve(prompt_set).block("solve"), problem=problem)


def answer(prompt_set: PromptSet | str, gold: str) -> str:
    """The assistant turn that states an answer and nothing else."""
    return render("answer", resolve(prompt_set).block("answer"), answer=gold)


def self_correction(prompt_set: PromptSet | str, attempt: str, solution: str) -> str:
    """The assistant turn that takes a wrong attempt back and goes on with a solution."""
    source = resolve(prompt_set).block("self_correction")
    return render("self_correction", source, attempt=attempt, solution=solution)


def reflect(
    prompt_set: PromptSet | str,
    problem: str,
    *,
    teacher: str | None,
    errors: list[str],
    answer: str | None = None,
    task: str = REFINE,
) -> str:
    """The user turn that asks for a refined chain of thought.

    At least one of ``teacher``, ``errors`` and ``answer`` must be given. It is another block of the
    set with an answer, and for the tasks ``shorten`` (a trace) and ``review`` (by another model).
    """
    chosen = resolve(prompt_set)
    if task == SHORTEN:
        return render(SHORTEN, chosen.block(SHORTEN), problem=problem, teacher=teacher)
    if answer is not None:
        source = chosen.block("reflect_answer")
        return render("reflect_answer", source, problem=problem, answer=answer, errors=errors)
    name = REVIEW if task == REVIEW else "reflect"
    return render(name, chosen.block(name), problem=problem, teacher=teacher, errors=errors)


def judge(prompt_set: PromptSet | str, problem: str, first: str, second: str) -> str:
    """The user turn that asks which of two solutions is better, the first being A, or neither."""
    source = resolve(prompt_set).block("judge")
    return render("judge", source, problem=problem, first=first, second=second)


def prefill(prompt_set: PromptSet | str) -> str:
    """The words with which the assistant's turn of a reflection is opened; mostly none."""
    text = resolve(prompt_set).prefill
    return render("prefill", text) if text else ""


def opening(prompt_set: PromptSet | str) -> list[Message]:
    """What comes before the question of a problem: the system message, the worked examples."""
    chosen = resolve(prompt_set)
    messages = _system(chosen)
    for example in read_examples(chosen, "examples"):
        messages += _turns(solve(chosen, example["problem"]), example["solution"])
    return messages


def solve_messages(prompt_set: PromptSet | str, problem: str) -> list[Message]:
    """The conversation that asks for a solution."""
    chosen = resolve(prompt_set)
    return [*opening(chosen), {"role": "user", "content": solve(chosen, problem)}]


def reflect_messages(
    prompt_set: PromptSet | str,
    problem: str,
    *,
    teacher: str | None,
    errors: list[str],
    answer: str | None = None,
    task: str = REFINE,
) -> list[Message]:
    """The conversation that asks for a refined chain of thought.

    Of the worked examples it has those that show the same parts: a teacher's trace, errors, the
    answer. They are the student's refined chains, so that the other tasks have none.
    """
    chosen = resolve(prompt_set)
    messages = _system(chosen)
    for example in read_examples(chosen, "reflect_examples") if task == REFINE else ():
        trace, wrong, gold = (example.get(key) for key in OPTIONAL_KEYS)
        shown = (trace is not None, bool(wrong), gold is not None)
        if shown == (teacher is not None, bool(errors), answer is not None):
            question = reflect(
                chosen, example["problem"], teacher=trace, errors=wrong or [], answer=gold
            )
            messages += _turns(question, example["reflection"])
    question = reflect(chosen, problem, teacher=teacher, errors=errors, answer=answer, task=task)
    return [*messages, {"role": "user", "content": question}]


def _system(chosen: PromptSet) -> list[Message]:
    if not chosen.system:
        return []
    return [{"role": "system", "content": render("system", chosen.system)}]


def _turns(question: str, reply: str) -> list[Message]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": reply}]


def read_examples(chosen: PromptSet, name: str) -> list[dict[str, Any]]:
    """The worked examples of a block, white space at their ends removed.

    Raises InputError for text that is no list of examples, and for a wrong key.
    """
    source = getattr(chosen, name)
    return _parse_examples(render(name, source), name) if source else []


@lru_cache(maxsize=8)
def _parse_examples(text: str, name: str) -> list[dict[str, Any]]:
    keys = EXAMPLE_KEYS[name]
    wanted = f"a YAML list of examples with {', '.join(keys)}"
    try:
        rows = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"prompts: block {name}: not {wanted} ({error})") from None
    if not isinstance(rows, list):
        raise InputError(f"prompts: block {name}: not {wanted}")
    for number, row in enumerate(rows, 1):
        place = f"prompts: block {name}, example {number}"
        if not isinstance(row, dict):
            raise InputError(f"{place}: not {wanted}")
        missing = [key for key in keys if key not in row and key not in OPTIONAL_KEYS]
        unknown = [key for key in row if key not in keys]
        if missing or unknown:
            fault = f"no {missing[0]}" if missing else f"unknown key {unknown[0]}"
            raise InputError(f"{place}: {fault}; an example has {', '.join(keys)}")
        for key, value in row.items():
            texts = value if key == "errors" else [value]
            if not isinstance(texts, list) or not all(isinstance(each, str) for each in texts):
                kind = "a list of texts" if key == "errors" else "a text"
                raise InputError(f"{place}: {key} is not {kind}; write `{key}: |` and the text")
    return [{key: _strip(value) for key, value in row.items()} for row in rows]


def _strip(value: str | list[str]) -> str | list[str]:
    return value.strip() if isinstance(value, str) else [each.strip() for each in value]


@lru_cache(maxsize=16)
def leak_pattern(source: str) -> re.Pattern[str]:
    """The lines of a block ``leak`` as one pattern; raises InputError for a line that is none."""
    lines = [line.strip() for line in render("leak", source).splitlines() if line.strip()]
    for line in lines:
        try:
            re.compile(line)
        except re.error as error:
            raise InputError(
                f"prompts: block leak: {line} is no regular expression ({error})"
            ) from None
    return re.compile("|".join(f"(?:{line})" for line in lines) or "(?!)")


def find_leak(prompt_set: PromptSet | str, text: str) -> bool:
    """Whether a text mentions the context of the prompt, which its reader cannot see."""
    return leak_pattern(resolve(prompt_set).block("leak")).search(text) is not None
