"""The oracle's refinements are true, and write out exactly the steps that an attempt got wrong."""

import random

import pytest

from orion.demo.error_coverage import detailed_steps, first_wrong_step, revisited_steps
from orion.demo.exact_check import is_wholly_true
from orion.demo.oracle import find_wrong_steps, read_chain, write_refinement
from orion.demo.problems import Step, compute, generate, write_solution
from tests.orion.demo.test_error_coverage import META


@pytest.mark.parametrize(
    ("attempt", "wrong"),
    [
        ("47 + 38 = 85 ; 85 - 19 = 66 ; 66 * 3 = 198 ; \\boxed{ 199 }", set()),
        ("47 + 38 = 75 ; 75 - 19 = 56 ; 56 * 3 = 168 ; \\boxed{ 168 }", {0}),
        # a later mistake of its own, and one by chance to the true result
        ("47 + 38 = 75 ; 75 - 19 = 56 ; 56 * 3 = 188 ; \\boxed{ 188 }", {0, 2}),
        ("47 + 38 = 75 ; 75 - 19 = 66 ; 66 * 3 = 198 ; \\boxed{ 198 }", {0, 1}),
        # what follows is no step of the chain
        ("47 + 38 = 75 ; 75 + 19 = 90 ; 90 * 3 = 270 ; \\boxed{ 270 }", {0}),
        ("47 + 38 = 85 ; \\boxed{ 85 }", {1}),
        ("", {0}),
        ("; ; nonsense = ;", {0}),
    ],
)
def test_the_steps_that_an_attempt_got_wrong(attempt, wrong):
    assert find_wrong_steps(META, attempt) == wrong


def corrupt(rng: random.Random, steps: list[Step]) -> tuple[list[Step], set[int]]:
    """An attempt with mistakes at known steps, each later step true to what is written."""
    wrong = {i for i in range(len(steps)) if rng.random() < 0.5} or {0}
    made, value = [], steps[0].left
    for i, step in enumerate(steps):
        result = compute(value, step.op, step.operand) + (1000 + i if i in wrong else 0)
        made.append(Step(value, step.op, step.operand, result))
        value = result
    return made, wrong


def test_a_refinement_is_true_and_writes_out_the_wrong_steps_of_all_attempts_only():
    rng = random.Random(4)
    for problem in generate("train", 60, seed=3):
        chain = read_chain(problem.meta)
        assert write_solution(chain) == problem.solution
        attempts, wrong = [], set()
        for _ in range(rng.randint(1, 3)):
            attempt, steps = corrupt(rng, chain)
            attempts.append(write_solution(attempt))
            assert first_wrong_step(problem.meta, attempts[-1]) == min(steps)
            wrong |= steps
        refined = write_refinement(problem.meta, attempts)
        assert is_wholly_true(refined)
        assert detailed_steps(refined) == revisited_steps(problem.meta, refined) == wrong
