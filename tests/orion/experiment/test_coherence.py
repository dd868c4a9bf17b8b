"""Measures of a text's coherence: which chains are wholly true, and how much repeats."""

import random

import pytest

from orion.demo import problems
from orion.experiment.coherence import measure_texts, repeated_share

TRUE = "217 + 37 : 7 + 7 = 14 , 1 + 3 + 1 = 5 , 2 + 0 = 2 , = 254 ; 254 - 160 = 94 ; \\boxed{ 94 }"


@pytest.mark.parametrize(
    ("text", "readable", "true"),
    [
        (TRUE, True, True),
        # the columns are wrong and the results right: no written equation of results is false
        (TRUE.replace("1 + 3 + 1 = 5", "2 + 3 + 1 = 2"), True, False),
        (TRUE.replace("254 - 160 = 94", "255 - 160 = 95"), True, False),
        (TRUE.replace("{ 94 }", "{ 95 }"), True, False),
        (TRUE.partition("\\boxed")[0], True, False),
        (f"1 + 1 = 3 ; New: {TRUE}", True, True),
        ("the answer is \\boxed{ 94 }", False, None),
        ("", False, None),
    ],
)
def test_a_chain_is_true_throughout_or_not(text, readable, true):
    [row] = measure_texts([text], exact=True).rows(named=True)
    assert (row["readable"], row["wholly_true"]) == (readable, true)
    [other] = measure_texts([text], exact=False).rows(named=True)
    assert other["readable"] is other["wholly_true"] is None
    assert other["repeated"] == row["repeated"]


def test_the_teachers_style_is_not_read_and_solutions_are_true():
    made = problems.generate("train", 20, seed=3)
    found = measure_texts([p.teacher_trace for p in made], exact=True)
    assert not found["readable"].any() and found["wholly_true"].null_count() == 20
    assert measure_texts([p.solution for p in made], exact=True)["wholly_true"].all()


def test_repeated_words():
    assert repeated_share("a b c") is None
    assert repeated_share("a b c d") == 0
    # abcd bcde cdea deab eabc | abcd bcde: two of seven stand before
    assert repeated_share("a b c d e a b c d e") == pytest.approx(2 / 7)
    # n-grams overlap: the second of five equal words already begins a repeated one
    assert repeated_share("a " * 8) == pytest.approx(4 / 5)
    assert repeated_share("a  b\nc\td") == 0


def test_repeated_words_against_a_search_through_the_text():
    rng = random.Random(1)
    for _ in range(50):
        words = rng.choices("abc", k=rng.randrange(4, 40))
        spans = [words[i : i + 4] for i in range(len(words) - 3)]
        again = sum(span in spans[:place] for place, span in enumerate(spans))
        assert repeated_share(" ".join(words)) == pytest.approx(again / len(spans))
