"""Which wrong attempts come first, and what is shown of each, against the definitions."""

import random
from collections import Counter

import polars as pl
import pytest

from orion import tables
from orion.errors import InputError
from orion.experiment import exposure

SCHEMA = {
    "problem_id": pl.String,
    "sample_id": pl.Int64,
    "extracted": pl.String,
    "characters": pl.Int64,
}


def make_wrong(seed):
    """Wrong samples of four problems in random order: few answers, some of them not read."""
    rng = random.Random(seed)
    rows = [
        (p, s, rng.choice(["7", "8", "9", None]), rng.randint(1, 4))
        for p in "abcd"
        for s in range(rng.randint(1, 9))
    ]
    rng.shuffle(rows)
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def list_ids(frame):
    return {p: part["sample_id"].to_list() for (p,), part in frame.group_by("problem_id")}


def search_majority(rows):
    """By repeated choice: the answer with the most attempts that are left, whole, and again."""
    left, found = sorted(rows), []
    while left:
        groups = {}
        for number, (sample, answer) in enumerate(left):
            groups.setdefault(answer if answer is not None else (number,), []).append(sample)
        best = max(groups.values(), key=lambda samples: (len(samples), -samples[0]))
        found += best
        left = [row for row in left if row[0] not in best]
    return found


@pytest.mark.parametrize("seed", range(20))
def test_the_orders_are_those_of_their_definitions(seed):
    wrong = make_wrong(seed)
    for p, part in list_ids(exposure.rank_errors(wrong, "majority_wrong")).items():
        rows = wrong.filter(pl.col("problem_id") == p).select("sample_id", "extracted").rows()
        assert part == search_majority(rows)
    lengths = {(p, s): n for p, s, n in wrong.select(*SCHEMA).drop("extracted").iter_rows()}
    for selection, sign in (("shortest", 1), ("longest", -1)):
        for p, part in list_ids(exposure.rank_errors(wrong, selection)).items():
            assert part == sorted(part, key=lambda s: (sign * lengths[p, s], s))
    for part in list_ids(exposure.rank_errors(wrong, "first")).values():
        assert part == sorted(part)


def test_the_most_frequent_answer_is_shown_before_one_that_came_first():
    rows = [("a", 0, "7", 1), ("a", 1, "8", 1), ("a", 2, "8", 1), ("a", 3, "9", 1)]
    wrong = pl.DataFrame(rows, schema=SCHEMA, orient="row")
    orders = {
        name: list_ids(exposure.rank_errors(wrong, name))["a"]
        for name in ("majority_wrong", "distinct")
    }
    assert orders == {"majority_wrong": [1, 2, 0, 3], "distinct": [0, 1, 3, 2]}


def test_a_random_order_depends_on_the_seed_and_the_keys_only():
    rows = [(f"p{i}", s, "7", 1) for i in range(400) for s in range(3)]
    wrong = pl.DataFrame(rows, schema=SCHEMA, orient="row")
    one = exposure.rank_errors(wrong, "random", seed=1)
    assert one.equals(
        exposure.rank_errors(wrong.sample(fraction=1, shuffle=True, seed=3), "random", seed=1)
    )
    assert not one.equals(exposure.rank_errors(wrong, "random", seed=2))
    # without the other samples of its problem, a sample keeps its place among those left
    few = wrong.filter(pl.col("sample_id") != 1)
    assert exposure.rank_errors(few, "random", seed=1).equals(one.filter(pl.col("sample_id") != 1))
    first = Counter(part[0] for part in list_ids(one).values())
    assert all(90 < first[s] < 180 for s in range(3))


def test_an_unknown_selection_is_refused():
    with pytest.raises(InputError, match=r"selection: last is none of first, distinct, majority_w"):
        exposure.rank_errors(make_wrong(0), "last")


def make_errors(rows):
    """rows: (problem, rank, source problem, sample, response, extracted)"""
    names = ("problem_id", "rank", "source_problem_id", "sample_id", "response", "extracted")
    made = ({**dict(zip(names, row, strict=True)), "own_sample_id": 0} for row in rows)
    return tables.from_rows(({**row, "source": "other_problem"} for row in made), tables.ERRORS)


def make_steps(ends):
    """(problem, sample) → the end of its first false step, or None."""
    rows = []
    for (p, s), end in ends.items():
        first = {"start": 0, "end": end, "text": "", "rule": ""} if end is not None else None
        counts = {"true": 0, "false": int(end is not None), "unknown": 0}
        rows.append({"problem_id": p, "sample_id": s, **counts, "first_false": first})
    return tables.from_rows(rows, tables.STEPS)


def test_an_attempt_is_cut_behind_its_own_first_false_step():
    text = "é 2 + 2 = 5 . so 5 + 1 = 6"
    errors = make_errors(
        [("a", 0, "b", 3, text, "6"), ("a", 1, "c", 0, "no step", "7"), ("b", 0, "b", 3, text, "6")]
    )
    end = text.index(" .")
    steps = make_steps({("b", 3): end, ("c", 0): None, ("a", 3): 1})
    found, whole = exposure.cut_to_false_steps(errors, steps)
    assert found["response"].to_list() == ["é 2 + 2 = 5", "no step", "é 2 + 2 = 5"]
    assert whole == 1 and found.columns == list(tables.ERRORS.columns)
    with pytest.raises(InputError, match=r"--steps: 1 of 3 wrong attempts have no row"):
        exposure.cut_to_false_steps(errors, steps.filter(pl.col("problem_id") != "c"))


def test_an_attempt_that_is_no_sample_has_its_steps_checked():
    errors = make_errors(
        [("a", 0, "a", None, "2 + 2 = 5 ; 5 + 1 = 6", "6"), ("b", 0, "b", None, "2 + 2 = 4", "4")]
    )
    found, whole = exposure.cut_falsified(errors, 5.0)
    assert found["response"].to_list() == ["2 + 2 = 5", "2 + 2 = 4"] and whole == 1


def test_an_answer_is_stated_in_the_words_of_the_prompt_set():
    errors = make_errors([("a", 0, "a", 0, "long", " 7 "), ("a", 1, "a", 1, "longer", None)])
    found, left_out = exposure.state_answers(errors, "chat")
    assert found["response"].to_list() == ["The final answer is \\boxed{7}."] and left_out == 1
    assert found["rank"].to_list() == [0] and found.columns == list(tables.ERRORS.columns)


def test_one_value_in_two_spellings_is_one_answer():
    spelled = ["7", "8", "$7.00", "\\boxed{7}", "x", "7 apples", "8.0", None]
    rows = [("a", i, text, 1) for i, text in enumerate(spelled)]
    wrong = pl.DataFrame(rows, schema=SCHEMA, orient="row")
    distinct = exposure.rank_errors(wrong, "distinct")
    # 7, 8, x and the one that was not read before any repetition; \\boxed is another spelling
    assert distinct["sample_id"].to_list()[:2] == [0, 1]
    assert distinct["sample_id"].to_list().index(2) > distinct["sample_id"].to_list().index(7)
    assert distinct["sample_id"].to_list().index(6) > distinct["sample_id"].to_list().index(4)
    majority = exposure.rank_errors(wrong, "majority_wrong")["sample_id"].to_list()
    assert {0, 2, 5} <= set(majority[:4]) and majority.index(1) < majority.index(4)
    assert distinct.columns == wrong.columns
