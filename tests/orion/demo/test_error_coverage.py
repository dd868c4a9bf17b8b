"""Which step is wrong and which is written out, on exact texts and on garbage."""

import random
import time

import pytest

from orion.demo.curriculum import corrupt
from orion.demo.error_coverage import (
    detailed_steps,
    first_wrong_step,
    parse_steps,
    revisited_steps,
    revisits_wrong_step,
)
from orion.demo.problems import Step, generate, solution

META = {
    "start": 47,
    "steps": [
        {"op": "+", "operand": 38, "result": 85},
        {"op": "-", "operand": 19, "result": 66},
        {"op": "*", "operand": 3, "result": 198},
    ],
}
RIGHT = "47 + 38 = 85 ; 85 - 19 = 66 ; 66 * 3 = 198 ; \\boxed{ 198 }"


@pytest.mark.parametrize(
    ("attempt", "wrong"),
    [
        (RIGHT, None),
        (RIGHT.replace("198 }", "199 }"), None),
        ("47 + 38 = 75 ; 75 - 19 = 56 ; 56 * 3 = 168 ; \\boxed{ 168 }", 0),
        ("47 + 38 = 85 ; 85 - 19 = 56 ; 56 * 3 = 168 ; \\boxed{ 168 }", 1),
        ("47 + 38 = 85 ; 85 - 19 = 66 ; 66 * 3 = 188 ; \\boxed{ 188 }", 2),
        (
            "47 + 38 : 7 + 8 = 15 , 4 + 3 + 1 = 8 , = 85 ; 85 - 19 : 15 - 9 = 6 , 7 - 1 = 5 , = 56 ; 1 * 1 = 1 ;",
            1,
        ),
        ("47 + 38 = 85 ; \\boxed{ 85 }", 1),
        ("47 + 38 = 85 ; 85 - 19", 1),
        ("47 + 38 = 85 ; 85 - 19 = 66 ; ; 66 * 3 = 198 ;", 2),
        ("", 0),
        ("\\boxed{ 198 }", 0),
        ("nonsense ; = ; : ; 99999999999999999999 + 1 = 2", 0),
        (f"check 85 vs 75 wrong ; New: {RIGHT}", None),
    ],
)
def test_first_wrong_step(attempt, wrong):
    assert first_wrong_step(META, attempt) == wrong


@pytest.mark.parametrize(
    ("refined", "detailed"),
    [
        (RIGHT, set()),
        (
            "47 + 38 = 85 ; 85 - 19 : 15 - 9 = 6 , 7 - 1 = 6 , = 66 ; 66 * 3 = 198 ; \\boxed{ 198 }",
            {1},
        ),
        (
            "check 85 vs 85 ok ; 66 vs 56 wrong ; New: 47 + 38 : 7 + 8 = 15 , = 85 ; 85 - 19 : = 66 ;",
            {0, 1},
        ),
        ("1 + 1 : 1 + 1 = 2 , = 2 ; New: 1 + 1 = 2 ;", set()),
        ("New:", set()),
        ("", set()),
        ("1 + 1 : ", {0}),
    ],
)
def test_detailed_steps(refined, detailed):
    assert detailed_steps(refined) == detailed


def test_generated_chains_are_read_exactly():
    for i, p in enumerate(generate("train", 100, seed=4)):
        rng = random.Random(i)
        at, shown = rng.randrange(3), {j for j in range(3) if rng.random() < 0.5}
        values = [p.meta["start"], *(s["result"] for s in p.meta["steps"])]
        steps = [
            Step(values[j], s["op"], s["operand"], s["result"])
            for j, s in enumerate(p.meta["steps"])
        ]
        assert first_wrong_step(p.meta, solution(steps, shown)) is None
        wrong = solution(corrupt(rng, steps, at))
        assert first_wrong_step(p.meta, wrong) == at
        assert detailed_steps(solution(steps, shown)) == shown
        assert revisits_wrong_step(p.meta, wrong, solution(steps, shown)) is (at in shown)
        assert revisits_wrong_step(p.meta, solution(steps), solution(steps, shown)) is None


@pytest.mark.parametrize(
    "text",
    [
        "1" * 10**6,
        "1 + 1 = " * 10**5,
        ";" * 10**6,
        " " * 10**6,
        "New:" * 10**5,
        "1 + 1 : " + "= 1 " * 10**6,
    ],
)
def test_long_garbage_takes_linear_time(text):
    begin = time.process_time()
    first_wrong_step(META, text)
    detailed_steps(text)
    # a quadratic reading of a million characters takes minutes.
    assert time.process_time() - begin < 5


def test_any_string_is_accepted():
    alphabet = "0123456789+-*=:;. \\boxed{}New:\n\t٣é\x00"
    rng = random.Random(0)
    for _ in range(500):
        text = "".join(rng.choice(alphabet) for _ in range(rng.randrange(60)))
        assert len(parse_steps(text)) <= text.count(";") + 1
        assert first_wrong_step(META, text) in (None, 0, 1, 2)
        assert detailed_steps(text) <= set(range(60))


def test_only_the_chains_own_step_counts_as_treated():
    own = "47 + 38 = 85 ; 85 - 19 : 15 - 9 = 6 , 7 - 1 = 6 , = 66 ; 66 * 3 = 198 ; \\boxed{ 198 }"
    assert revisited_steps(META, own) == {1}
    assert revisited_steps(META, own.replace("= 66 ;", "= 67 ;")) == set()
    assert revisited_steps(META, own.replace("- 19 :", "- 18 :")) == set()
    assert revisited_steps(META, "1 + 1 = 2 ; 3 - 1 : 1 - 1 = 0 , = 9 ;") == set()
