"""A falsified text has one wrong step, goes on from it, and is as the right one elsewhere."""

import random
import re
from collections import Counter
from fractions import Fraction

import pytest

from orion.answers.steps import check_steps
from orion.demo.error_coverage import first_wrong_step, parse_steps
from orion.demo.oracle import read_chain
from orion.demo.problems import compute, generate, write_solution
from orion.experiment.falsification import change_digit, falsify

MARKED = (
    "He pays 3 * 14 = <<3*14=42>>42 dollars. Then 42 + 5 = $47, so 47/2 = <<47/2=23.5>>23.5.\n"
    "#### 23.5"
)
WITH_UNITS = (
    "20 minutes/day * 3 = <<20*3=60>>60 minutes/day. $60 + $20 = $<<60+20=80>>80, that is\n"
    "80 - 60 = <<80-60=20>>20 more.\n#### 20"
)
LATEX = r"We have $6 \times 7 = 42$, so $42 + 5 = 47$ and $47 \cdot 2 = 94$, that is $\boxed{94}$."
GROUPED = "1,000 * 2 = 2,000 and 2,000 + 7 = 2,007, so the answer is 2,007."
MARK = r"=([\d.]+)>>([\d.]*\d)"


def all_of(text, problem="", seed=0):
    return [*falsify(text, problem, random.Random(seed))]


def equations(text):
    """Every `left = right` of plain arithmetic on two numbers, by a pattern of this test's own."""
    plain = re.sub(r"\\times|\\cdot", "*", text)
    number = r"(\d[\d,]*(?:\.\d+)?)"
    found = re.findall(rf"{number} ?([-+*/]) ?{number} ?= ?(?:<<[^>]*>>)?\$?{number}", plain)
    value = lambda written: Fraction(written.strip(",").replace(",", ""))  # noqa: E731
    return [(value(a), op, value(b), value(c)) for a, op, b, c in found]


def is_true(left, op, right, result):
    computed = {"+": left + right, "-": left - right, "*": left * right}.get(op)
    return (left / right if op == "/" else computed) == result


@pytest.mark.parametrize("text", [MARKED, WITH_UNITS, LATEX, GROUPED])
def test_one_step_is_false_and_the_others_are_true(text):
    made = all_of(text)
    assert len(set(made)) >= 3
    first = set()
    for wrong in made:
        assert wrong != text and len(equations(wrong)) == len(equations(text)) >= 2
        false = {each for each in equations(wrong) if not is_true(*each)}
        # a mark repeats its step
        assert len(false) == 1
        first |= {each[:3] for each in false}
        # what a mark holds is what stands behind it
        assert all(inside == behind for inside, behind in re.findall(MARK, wrong))
        # all words and signs are the right text's
        assert re.sub(r"[\d,.]+", "#", wrong) == re.sub(r"[\d,.]+", "#", text)
    # every step of the text is among those that were falsified
    assert len(first) >= len({each[:3] for each in equations(text)})


def test_what_is_boxed_follows_the_last_step():
    for wrong in all_of(LATEX):
        *_, (_, _, _, result) = equations(wrong)
        assert rf"\boxed{{{result}}}" in wrong


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        # 12 may be the months of the problem, or the eggs, as well as the product
        ("3 * 4 = 12 . 5 * 12 = 60 .", "Rent for 12 months"),
        ("there are 12 eggs . 3 * 4 = 12 . 5 * 12 = 60 .", ""),
        # a value that is used inside a word
        ("3 * 4 = 12 . 5 * 12 = 60 . so 12x", ""),
    ],
)
def test_a_number_that_may_come_from_elsewhere_is_not_changed(text, problem):
    made = all_of(text, problem)
    assert made and all("3 * 4 = 12 . 5 * 12 = " in wrong for wrong in made)


def test_the_stated_answer_is_the_last_result_whatever_else_has_its_value():
    made = all_of("41 - 33 = 8 . \\boxed{ 8 }", "8 of 41 are sold")
    assert made
    for wrong in made:
        [(*_, result)] = equations(wrong)
        assert result != 8 and f"\\boxed{{ {result} }}" in wrong


def test_results_that_a_solution_would_not_hold_are_not_written():
    # the second result would be negative for more than 39, the third has no short form but for 3
    text = "30 + 9 = 39 . 39 - 36 = 3 . 10 / 3 + 3 - 3 = 10 / 3 ."
    for wrong in all_of(text):
        assert not re.search(r"= -|\d\.\d{7}", wrong)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no step at all, 7",
        "x = 5 and y = 3",
        # a text that is wrong already is no right text
        "2 + 2 = 5 ; 5 + 1 = 6 ; \\boxed{ 6 }",
    ],
)
def test_nothing_is_made_of_a_text_without_a_true_step(text):
    assert all_of(text) == []


def test_another_digit_in_one_place():
    rng = random.Random(3)
    for number in ("7", "40", "1,024", "0.5", "12.75"):
        for _ in range(50):
            wrong = change_digit(rng, number)
            assert len(wrong) == len(number) and Fraction(wrong.replace(",", "")) >= 0
            assert sum(a != b for a, b in zip(wrong, number, strict=True)) == 1
            assert not re.match(r"0\d", wrong)


def test_each_step_of_an_embedded_chain_is_the_first_wrong_one_equally_often():
    problems = generate("train", 240, seed=8)
    counts = Counter()
    for number, problem in enumerate(problems):
        right = write_solution(read_chain(problem.meta))
        wrong = next(falsify(right, problem.problem, random.Random(number)))
        at = first_wrong_step(problem.meta, wrong)
        counts[at] += 1
        for i, step in enumerate(parse_steps(wrong)):
            holds = compute(step.left, step.op, step.operand) == step.result
            assert holds == (i != at)
        assert sum(claim.truth == "false" for claim in check_steps(wrong)) == 1
    expected = len(problems) / 3
    # the 99.9 % point of chi-square with two degrees of freedom
    assert sum((counts[i] - expected) ** 2 / expected for i in range(3)) < 13.8
    assert set(counts) == {0, 1, 2}
