"""Reflection prompts that show the answer, and those that ask for a shorter trace."""

import polars as pl
import pytest

from orion import prompts
from orion.errors import InputError
from orion.stages import reflect
from tests.helpers.mechanisms import MECHANISMS
from tests.helpers.template_table import build_tokenizer

PROBLEMS = pl.DataFrame(
    {
        "problem_id": ["p1", "p2", "p3"],
        "problem": ["one", "two", "three"],
        "answer": ["42", "He has 3*2=<<3*2=6>>6\n#### 6", "7"],
        "teacher_trace": ["TRACE1", "TRACE2", None],
    }
)
ERRORS = pl.DataFrame(
    {
        "problem_id": ["p1", "p1", "p2", "p3"],
        "rank": [0, 1, 0, 0],
        "response": ["WRONG1", "WRONG2", "WRONG3", "WRONG4"],
    }
)


def plan(prompt_includes, rewrite="none"):
    return reflect.plan_prompts(
        PROBLEMS, ERRORS, prompt_includes=prompt_includes, rewrite=rewrite, errors_per_prompt=1
    )


def ask(planned, task="refine", prompt_set="chat"):
    found = reflect.make_requests(
        planned,
        PROBLEMS,
        build_tokenizer(MECHANISMS["words as they are"]),
        prompt_set=prompt_set,
        num_samples=1,
        enable_thinking=None,
        task=task,
    )
    return {
        (p, tuple(ranks)): text
        for p, ranks, text in found.select("problem_id", "error_ranks", "prompt").iter_rows()
    }


@pytest.mark.parametrize("shown", [["answer"], ["answer", "errors"]])
def test_the_answer_is_in_view_and_no_trace(shown):
    texts = ask(plan(shown))
    # the gold of p2 is a whole text, which would be a solution in view; p3 has no trace
    assert set(texts) == {("p1", (0,)), ("p1", (1,)), ("p3", (0,))}
    assert all("TRACE" not in text for text in texts.values())
    assert "## Reference answer\n42\n" in texts["p1", (0,)]
    assert "## Reference answer\n7\n" in texts["p3", (0,)]
    for text in texts.values():
        seen = [word for word in ERRORS["response"] if word in text]
        assert len(seen) == ("errors" in shown)
    assert ("WRONG2" in texts["p1", (1,)]) == ("errors" in shown)
    assert all(("attempt" in text) == ("errors" in shown) for text in texts.values())


def test_other_arms_do_not_show_the_answer():
    for shown in (["teacher"], ["errors"], ["teacher", "errors"]):
        planned = plan(shown)
        assert all(item.answer is None for item in planned)
        assert all("Reference answer" not in text for text in ask(planned).values())
    # nor do they need the column
    reflect.plan_prompts(
        PROBLEMS.drop("answer"),
        ERRORS,
        prompt_includes=["teacher"],
        rewrite="all",
        errors_per_prompt=1,
    )


def test_the_trace_is_to_be_shortened_with_no_error_in_view():
    texts = ask(plan(["teacher"], rewrite="all"), task="shorten")
    assert set(texts) == {("p1", (0,)), ("p1", (1,)), ("p1", ()), ("p2", (0,)), ("p2", ())}
    for (p, _), text in texts.items():
        assert f"TRACE{p[1]}" in text and "WRONG" not in text
        assert "a shorter version of the reference solution" in text
    # the prompts of one problem are one text, so that the store has one completion for each
    assert len({text for (p, _), text in texts.items() if p == "p1"}) == 1
    refined = ask(plan(["teacher"]))
    assert not {*refined.values()} & {*texts.values()}


@pytest.mark.parametrize(("shown", "task"), [(["answer"], "refine"), (["teacher"], "shorten")])
def test_a_set_without_the_block_is_named(shown, task):
    with pytest.raises(InputError, match=r"prompts: the set has no block (reflect_answer|shorten)"):
        ask(plan(shown), task, prompt_set="demo")


EXAMPLES = """{% extends "chat" %}
{% block reflect_examples %}
- {problem: P1, answer: A1, reflection: R1}
- {problem: P2, answer: A2, errors: [E2], reflection: R2}
- {problem: P3, teacher: T3, reflection: R3}
{% endblock %}
"""


def test_worked_examples_are_those_that_show_the_same_parts(tmp_path):
    path = tmp_path / "mine.jinja"
    path.write_text(EXAMPLES)
    mine = prompts.load(str(path))
    prompts.validate(mine, "mine")

    def count(task="refine", **given):
        given = {"teacher": None, "errors": [], **given}
        turns = prompts.reflect_messages(mine, "p", **given, task=task)
        return [turn["content"] for turn in turns if turn["role"] == "assistant"]

    assert count(answer="a") == ["R1"] and count(answer="a", errors=["e"]) == ["R2"]
    assert count(teacher="t") == ["R3"] and count(errors=["e"]) == []
    assert count(teacher="t", task="shorten") == []


@pytest.mark.parametrize(
    ("block", "message"),
    [
        (
            "{% block reflect_answer %}{{ problem }}{% endblock %}",
            "reflect_answer: it does not show an",
        ),
        (
            "{% block reflect_answer %}{{ problem }} {{ answer }}{% endblock %}",
            "reflect_answer: it does not show errors",
        ),
        (
            "{% block reflect_answer %}{{ problem }} {{ answer }} {{ errors }}{% endblock %}",
            r"reflect_answer: it prints \[\] where an arm shows no errors",
        ),
        ("{% block shorten %}{{ problem }}{% endblock %}", "shorten: it does not show teacher"),
        ("{% block shorten %}{{ problem }} {{ errors }}{% endblock %}", "shorten: unknown slot"),
        (
            "{% block review %}{{ problem }} {{ errors }}{% endblock %}",
            r"review: it prints \[\] where an arm shows no errors",
        ),
        (
            "{% block review %}{{ problem }} {% if errors %}{{ errors }}{% endif %}{% endblock %}",
            "review: it does not show teacher",
        ),
        (
            "{% block self_correction %}{{ solution }}{% endblock %}",
            "self_correction: it does not show attempt; use {{ attempt }}",
        ),
        (
            "{% block self_correction %}{{ solution }} {{ attempt }}{% endblock %}",
            "self_correction: the solution stands before the attempt",
        ),
    ],
)
def test_a_block_that_shows_too_little_is_refused(tmp_path, block, message):
    path = tmp_path / "mine.jinja"
    path.write_text('{% extends "chat" %}\n' + block)
    with pytest.raises(InputError, match=f"mine: block {message}"):
        prompts.validate(prompts.load(str(path)), "mine")
