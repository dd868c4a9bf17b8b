"""The problem family: exact arithmetic, keyed randomness, and levels that share no text."""

import re

import pytest

from orion.demo.problems import (
    BUCKETS,
    LEVELS,
    Step,
    generate,
    split_columns,
    write_solution,
    write_step,
    write_teacher_trace,
)


def replay(meta: dict) -> list[int]:
    value, values = meta["start"], []
    for step in meta["steps"]:
        b = step["operand"]
        value = {"+": value + b, "-": value - b, "*": value * b}[step["op"]]
        values.append(value)
    return values


@pytest.mark.parametrize("level", LEVELS)
def test_chain_agrees_with_answer_and_texts(level):
    spec = LEVELS[level]
    for p in generate(level, 200, seed=3):
        values = replay(p.meta)
        assert values == [s["result"] for s in p.meta["steps"]]
        assert p.answer == str(values[-1])
        assert len(values) == spec.steps
        assert all(2 <= v <= spec.largest for v in [p.meta["start"], *values])
        assert max(p.meta["start"], *values) > spec.above
        for text in (p.solution, p.teacher_trace):
            assert re.findall(r"\\boxed\{ (\d+) \}$", text) == [p.answer]
        # the story has the chain's numbers in order
        numbers = [int(number) for number in re.findall(r"\d+", p.problem)]
        assert numbers == [p.meta["start"], *(s["operand"] for s in p.meta["steps"])]


def test_every_equation_in_a_solution_and_a_trace_is_true():
    for p in generate("hard", 100, seed=5):
        for a, op, b, result in re.findall(
            r"(\d+) ([-+*]) (\d+) = (\d+)", p.solution + p.teacher_trace
        ):
            assert (
                int(result)
                == {"+": int(a) + int(b), "-": int(a) - int(b), "*": int(a) * int(b)}[op]
            )


def test_texts_are_distinct_within_and_across_levels_and_seeds():
    texts = [p.problem for level in LEVELS for p in generate(level, 300, seed=1)]
    assert len(set(texts)) == len(texts)
    other = {p.problem for p in generate("test", 300, seed=2)}
    assert not other & {p.problem for p in generate("train", 300, seed=1)}


def test_levels_and_pretraining_draw_from_disjoint_buckets():
    splits = [set(buckets) for buckets in BUCKETS.values()]
    assert sum(map(len, splits)) == len(set.union(*splits)) == 10


def test_generation_is_keyed():
    assert generate("train", 50, seed=1)[:20] == generate("train", 20, seed=1)
    assert generate("train", 20, seed=1) != generate("train", 20, seed=2)


def test_unknown_level_is_an_error():
    with pytest.raises(KeyError):
        generate("trian", 1, seed=1)


@pytest.mark.parametrize("op", "+-*")
def test_columns_rebuild_the_result(op):
    for left in range(1, 400, 7):
        for operand in range(2, 10) if op == "*" else range(2, left, 11):
            result = {"+": left + operand, "-": left - operand, "*": left * operand}[op]
            rows = split_columns(left, op, operand)
            digits = sum((value % 10) * 10**i for i, (*_, value) in enumerate(rows[:-1]))
            assert digits + rows[-1][3] * 10 ** (len(rows) - 1) == result


def test_written_forms():
    assert write_step(Step(47, "+", 38, 85)) == "47 + 38 = 85 ;"
    assert (
        write_step(Step(47, "+", 38, 85), detailed=True)
        == "47 + 38 : 7 + 8 = 15 , 4 + 3 + 1 = 8 , = 85 ;"
    )
    assert (
        write_step(Step(85, "-", 19, 66), detailed=True)
        == "85 - 19 : 15 - 9 = 6 , 7 - 1 = 6 , = 66 ;"
    )
    assert (
        write_step(Step(66, "*", 3, 198), detailed=True)
        == "66 * 3 : 6 * 3 = 18 , 6 * 3 + 1 = 19 , = 198 ;"
    )
    assert write_solution([Step(2, "+", 2, 4)]) == "2 + 2 = 4 ; \\boxed{ 4 }"
    assert write_teacher_trace([Step(47, "+", 38, 85)]) == (
        "okay first we need 47 + 38 . ones : 7 plus 8 is 15 write 5 carry 1 . "
        "tens : 4 plus 3 plus 1 is 8 . "
        "so 47 + 38 = 85 . wait , let me check : 85 - 38 = 47 right . the answer is \\boxed{ 85 }"
    )
