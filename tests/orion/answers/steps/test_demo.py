"""The embedded student's own style, with known truth: every wrong step is found, and no other."""

import random

import pytest

from orion.answers.steps import check_steps
from orion.demo.problems import Step, generate, write_solution, write_step, write_teacher_trace


def chains(level, n):
    for problem in generate(level, n, seed=3):
        value, steps = problem.meta["start"], []
        for step in problem.meta["steps"]:
            steps.append(Step(value, step["op"], step["operand"], step["result"]))
            value = step["result"]
        yield steps


@pytest.mark.parametrize("level", ["train", "hard"])
def test_true_chains_have_true_claims_only(level):
    for steps in chains(level, 60):
        for text in (write_solution(steps, {0, 2}), write_teacher_trace(steps)):
            claims = check_steps(text)
            assert {claim.truth for claim in claims} == {"true"}, text
            assert len(claims) >= len(steps)


@pytest.mark.parametrize("detailed", [False, True], ids=["short", "columns"])
def test_a_wrong_result_makes_its_step_false_and_no_other(detailed):
    rng = random.Random(5)
    for steps in chains("train", 60):
        wrong = rng.randrange(len(steps))
        error = rng.choice((-10, -1, 1, 7))
        steps[wrong] = steps[wrong]._replace(result=steps[wrong].result + error)
        text = write_solution(steps, set(range(len(steps))) if detailed else frozenset())
        start = len("".join(f"{write_step(step, detailed)} " for step in steps[:wrong]))
        false = [claim for claim in check_steps(text) if claim.truth == "false"]
        written = write_step(steps[wrong], detailed).removesuffix(" ;")
        assert [(claim.start, claim.text) for claim in false] == [(start, written)], text
