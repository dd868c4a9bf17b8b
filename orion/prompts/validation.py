"""Validation of a prompt set: its slots, and an example of every text, rendered.

Input: a prompt set. Output: nothing; InputError names the block and the cure.
"""

import difflib

from orion.errors import InputError
from orion.prompts import render
from orion.prompts.sets import PromptSet, environment

# block → the slots that it may use, and of these the ones that it must show
SLOTS = {
    "solve": ("problem",),
    "answer": ("answer",),
    "reflect": ("problem", "teacher", "errors"),
    "reflect_answer": ("problem", "answer", "errors"),
    "shorten": ("problem", "teacher"),
    "review": ("problem", "teacher", "errors"),
    "self_correction": ("attempt", "solution"),
    "judge": ("problem", "first", "second"),
}
# made-up data, found again in the rendered text
PROBLEM, TEACHER, ANSWER = "ProblemWords {{ 1 }}", "TeacherWords", "AnswerWords"
ERRORS = ["FirstErrorWords", "SecondErrorWords"]
ATTEMPT, SOLUTION = "AttemptWords", "SolutionWords"
FIRST, SECOND = "TextOfA", "TextOfB"
# the last line of a reply to the block judge is one of them
VERDICTS = ("[[A]]", "[[B]]", "[[tie]]")
SHOWN = {
    PROBLEM: "problem",
    ANSWER: "answer",
    TEACHER: "teacher",
    ATTEMPT: "attempt",
    SOLUTION: "solution",
    FIRST: "first",
    SECOND: "second",
}


# block, its text, the words that it has to show
Example = tuple[str, str, list[str]]


def validate(prompt_set: PromptSet, name: str) -> None:
    """Render each block with made-up data; ``name`` is that of the set, for messages.

    Raises InputError where a block has an unknown slot, does not show what it is given, or cannot
    be rendered.
    """
    try:
        _check_slots(prompt_set)
        _check_texts(prompt_set)
        render.leak_pattern(prompt_set.block("leak"))
        for block in render.EXAMPLE_KEYS:
            render.read_examples(prompt_set, block)
        _check_marker(prompt_set)
    except InputError as error:
        raise InputError(f"{name}: {str(error).removeprefix('prompts: ')}") from None


def _check_slots(prompt_set: PromptSet) -> None:
    from jinja2 import TemplateError, meta

    made = environment()
    for block, source in prompt_set.keep(*prompt_set.__dataclass_fields__).items():
        allowed = SLOTS.get(block, ())
        try:
            names = meta.find_undeclared_variables(made.parse(source)) - set(made.globals)
            made.from_string(source)
        except TemplateError as error:
            line = getattr(error, "lineno", None)
            place = f"block {block}, line {line} of its text" if line else f"block {block}"
            raise InputError(f"{place}: {error}") from None
        for unknown in sorted(names - set(allowed)):
            near = difflib.get_close_matches(unknown, allowed, 1)
            slots = ", ".join(allowed) or "no slot"
            hint = f"did you mean {near[0]}?" if near else f"it has {slots}"
            raise InputError(f"block {block}: unknown slot {{{{ {unknown} }}}}; {hint}")


def _check_texts(prompt_set: PromptSet) -> None:
    texts = [
        ("solve", render.solve(prompt_set, PROBLEM), [PROBLEM]),
        ("answer", render.answer(prompt_set, ANSWER), [ANSWER]),
    ]
    texts += _list_refining(prompt_set, "reflect", render.REFINE)
    if prompt_set.review is not None:
        texts += _list_refining(prompt_set, "review", render.REVIEW)
    for block, text, wanted in [*texts, *_list_optional(prompt_set)]:
        for words in wanted:
            if words not in text:
                slot = SHOWN.get(words, "errors")
                raise InputError(f"block {block}: it does not show {slot}; use {_cure(slot)}")


def _list_refining(prompt_set: PromptSet, block: str, task: str) -> list[Example]:
    """The texts of a block that asks for a refined chain, with and without each of its parts."""
    texts: list[Example] = []
    for teacher in (TEACHER, None):
        for errors in (ERRORS, []):
            if teacher is None and not errors:
                continue
            given = {"teacher": teacher, "errors": errors}
            text = render.reflect(prompt_set, PROBLEM, teacher=teacher, errors=errors, task=task)
            texts.append((block, text, [PROBLEM, *([teacher] if teacher else []), *errors]))
            _check_absence(block, text, texts[0][1], given)
    return texts


def _list_optional(prompt_set: PromptSet) -> list[Example]:
    """The texts of the blocks that a set may leave out: block, text, what it has to show."""
    texts = []
    if prompt_set.reflect_answer is not None:
        whole = ""
        for errors in (ERRORS, []):
            text = render.reflect(prompt_set, PROBLEM, teacher=None, errors=errors, answer=ANSWER)
            whole = whole or text
            _check_absence("reflect_answer", text, whole, {"teacher": TEACHER, "errors": errors})
            texts.append(("reflect_answer", text, [PROBLEM, ANSWER, *errors]))
    if prompt_set.shorten is not None:
        text = render.reflect(prompt_set, PROBLEM, teacher=TEACHER, errors=[], task=render.SHORTEN)
        texts.append(("shorten", text, [PROBLEM, TEACHER]))
    if prompt_set.self_correction is not None:
        text = render.self_correction(prompt_set, ATTEMPT, SOLUTION)
        texts.append(("self_correction", text, [ATTEMPT, SOLUTION]))
        if 0 <= text.find(SOLUTION) < text.find(ATTEMPT):
            raise InputError(
                "block self_correction: the solution stands before the attempt that it corrects; "
                "write {{ attempt }} first"
            )
    if prompt_set.judge is not None:
        text = render.judge(prompt_set, PROBLEM, FIRST, SECOND)
        texts.append(("judge", text, [PROBLEM, FIRST, SECOND]))
        _check_verdicts(text)
    return texts


def _check_verdicts(text: str) -> None:
    """What the block judge shows must be A and then B, and it must name the marks of a verdict."""
    if 0 <= text.find(SECOND) < text.find(FIRST):
        raise InputError(
            "block judge: the second solution stands before the first; write {{ first }} first, "
            "since a reply calls it A"
        )
    missing = [mark for mark in VERDICTS if mark not in text]
    if missing:
        raise InputError(
            f"block judge: it does not name {', '.join(missing)}; say that the reply ends with a "
            f"line that is one of {', '.join(VERDICTS)}"
        )


def _check_absence(
    block: str, text: str, whole: str, given: dict[str, str | list[str] | None]
) -> None:
    """A part that is not given leaves no trace, such as the word None; ``whole`` has all parts."""
    for slot, printed in (("teacher", "None"), ("errors", "[]")):
        if not given[slot] and printed in text and printed not in whole:
            raise InputError(
                f"block {block}: it prints {printed} where an arm shows no {slot}; put it into "
                f"{{% if {'teacher is not none' if slot == 'teacher' else 'errors'} %}}"
            )


def _cure(slot: str) -> str:
    if slot == "errors":
        return "{% for error in errors %}{{ error }}{% endfor %}"
    return f"{{{{ {slot} }}}}"


def _check_marker(prompt_set: PromptSet) -> None:
    """The marker is one line of plain text: it is searched for as it stands in the file."""
    marker = prompt_set.block("marker")
    if "\n" in marker or render.render("marker", marker) != marker:
        raise InputError("block marker: write one line of text, such as ### Refined solution")
