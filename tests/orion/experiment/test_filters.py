"""Each filter on a text that it must catch, and on texts that it must not."""

import time

import pytest

from orion.experiment import filters
from orion.prompts import extract_refined

# no trace, so that a text may be long
ALONE = {"teacher_trace": None}
LONG = " ".join(f"w{i}" for i in range(40))


def find_objections(text, names=tuple(filters.FILTERS), prompt_set="chat", **changes):
    seen = {
        "text": text,
        "verdict": "correct",
        "finish_reason": "stop",
        "completion_tokens": 50,
        "teacher_trace": LONG,
        "true_steps": 2,
        "false_steps": 0,
    }
    limits = filters.Limits(
        prompt_set, max_tokens=100, copy_ngram=5, copy_fraction=0.5, loop_ngram=3, loop_repeats=3
    )
    return filters.find_objections(filters.Candidate(**{**seen, **changes}), list(names), limits)


GOOD = "First add 2 and 3, which gives 5. Then double it to get 10, so the answer is \\boxed{10}."


@pytest.mark.parametrize(
    ("text", "changes", "expected"),
    [
        (GOOD, {}, []),
        (None, {}, ["no_refined_part"]),
        (GOOD, {"verdict": "incorrect"}, ["wrong_answer"]),
        (GOOD, {"verdict": "timeout"}, ["wrong_answer"]),
        (GOOD, {"false_steps": 1}, ["false_step"]),
        ("The answer is \\boxed{10}.", {"true_steps": 0}, ["no_step"]),
        # of a text that is not there nothing else is said, but how the completion ended
        (None, {"verdict": "no_answer", "true_steps": 0}, ["no_refined_part"]),
        (None, {"finish_reason": "length"}, ["no_refined_part", "truncated"]),
        (GOOD, {"finish_reason": "length"}, ["truncated"]),
        (GOOD, {"completion_tokens": 101}, ["too_long"]),
        ("go on and on " * 3 + GOOD, {}, ["loop"]),
        (GOOD + " Or \\boxed{ 11 }.", {}, ["several_answers"]),
        (GOOD + " Again \\boxed{ 10 }.", {}, []),
        ("\\boxed{10} because " + GOOD.replace("\\boxed{10}", "ten"), {}, ["answer_first"]),
        # a problem's own box to be filled in, a mention of the command, a placeholder
        ("11x - 7 + \\boxed{\\phantom{2}} = 11x - 3. " + GOOD, ALONE, []),
        ("Put the result into \\boxed{} or \\boxed{...}. " + GOOD, ALONE, []),
        ("x + \\boxed{?} = 13 and \\boxed{\\text{ }} is what is asked for. " + GOOD, ALONE, []),
        # one value written in two ways, and two values that begin alike
        (GOOD + " So it is \\boxed{\\$10.00}.", ALONE, []),
        (
            GOOD.replace("{10}", "{\\frac{1}{2}}") + " \\boxed{\\frac{1}{3}}",
            ALONE,
            ["several_answers"],
        ),
        ("As shown above, 2 + 3 is 5. " + GOOD, ALONE, []),
        ("The solution shown above adds 2 and 3. " + GOOD, ALONE, ["leak"]),
        ("As given above, the sum is 5. " + GOOD, ALONE, ["leak"]),
        ("The reference solution adds 2 and 3. " + GOOD, {}, ["leak"]),
        ("As in my first attempt, add. " + GOOD, {}, ["leak"]),
        ("The first solution is 2, the second solution is 3. " + GOOD, {}, []),
        ("The teacher of the class has 3 pens. " + GOOD, {}, []),
        ("His first attempt at the jump was 3 m. " + GOOD, {}, []),
        (LONG + " \\boxed{10}", {}, ["copy", "not_shorter"]),
        (GOOD, {"teacher_trace": "x" * len(GOOD)}, ["not_shorter"]),
        (GOOD, {"teacher_trace": "x" * (len(GOOD) + 1)}, []),
        (LONG + " \\boxed{10}", {"teacher_trace": None}, []),
    ],
)
def test_each_filter_catches_its_case(text, changes, expected):
    assert find_objections(text, **changes) == expected


def test_a_name_that_is_no_filter_is_refused_with_the_list():
    filters.check_names(list(filters.FILTERS))
    with pytest.raises(ValueError, match=r"unknown filter 'loops'; the filters are: no_refined"):
        filters.check_names(["leak", "loops"])


def test_an_absent_part_is_judged_by_the_others_where_no_filter_names_it():
    names = ["wrong_answer", "no_step"]
    assert find_objections(None, names, verdict="no_answer", true_steps=0) == names


@pytest.mark.parametrize(
    "text", ["\\boxed{" * 3000, "\\boxed{1}" * 20_000, "\\boxed{" + "{}" * 99_999]
)
def test_many_boxes_and_open_ones_take_no_long_time(text):
    before = time.process_time()
    filters.has_several_answers(text)
    filters.has_answer_first(text)
    assert time.process_time() - before < 10


def test_filters_apply_in_the_order_named():
    assert find_objections(
        "\\boxed{1}\\boxed{2}",
        names=["leak", "several_answers", "wrong_answer"],
        verdict="incorrect",
    ) == [
        "several_answers",
        "wrong_answer",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "Teacher: so 5 + 3 = 8",
        "check 8 vs 8 ok ; 5 + 3 = 8 ; \\boxed{ 8 }",
        "Attempt: 5 + 3 = 9 ; \\boxed{ 9 }",
        "New: 8",
    ],
)
def test_the_demo_language_has_its_own_leaks(text):
    assert "leak" in find_objections(text, prompt_set="demo")
    assert "leak" not in find_objections(
        "5 + 3 = 8 ; 8 * 2 = 16 ; \\boxed{ 16 }", prompt_set="demo"
    )


def test_copied_fraction_is_exact():
    assert filters.copied_fraction("a b c d x", "a b c d", 2) == 3 / 4
    assert filters.copied_fraction("a b", "a b", 3) == 0.0


@pytest.mark.parametrize(
    ("response", "part"),
    [
        ("check 8 vs 8 ok ; New: 5 + 3 = 8", "5 + 3 = 8"),
        ("New: one New: two", "two"),
        ("no marker", None),
        ("New: ", None),
    ],
)
def test_refined_part(response, part):
    assert extract_refined("demo", response) == part
