"""Matching, recomputed from the definition: problems, rows per problem, trained tokens."""

import random

import polars as pl
import pytest

from orion.errors import InputError
from orion.experiment.matching import match_problems, match_rows, match_tokens


def make_arms(seed: int, arms: int = 3) -> list[dict[str, int]]:
    """Per arm: problem → its number of rows; most problems are in several arms."""
    rng = random.Random(seed)
    return [
        {f"p{n:02}": rng.randint(1, 4) for n in range(25) if rng.random() < 0.7}
        for _ in range(arms)
    ]


def make_rows(counts: dict[str, int]) -> pl.DataFrame:
    rows = [
        {"problem_id": p, "row": i, "completion": f"{p}/{i}"}
        for p, count in counts.items()
        for i in range(count)
    ]
    return pl.DataFrame(
        rows, schema={"problem_id": pl.String, "row": pl.Int64, "completion": pl.String}
    )


def count(rows: pl.DataFrame) -> dict[str, int]:
    ids = rows["problem_id"].to_list()
    return {p: ids.count(p) for p in sorted(set(ids))}


@pytest.mark.parametrize("seed", range(5))
def test_arms_that_name_each_other_keep_the_same_problems_and_numbers_of_rows(seed):
    arms = make_arms(seed)
    tables = [make_rows(arm) for arm in arms]
    shared = sorted(set.intersection(*map(set, arms)))
    assert shared and any(set(arm) - set(shared) for arm in arms)
    fewest = {p: min(arm[p] for arm in arms) for p in shared}
    for n, (arm, table) in enumerate(zip(arms, tables, strict=True)):
        others = tables[:n] + tables[n + 1 :]
        kept = match_problems(table, others)
        assert count(kept) == {p: arm[p] for p in shared}
        kept = match_rows(kept, others)
        assert count(kept) == fewest
        # the first ones, as they were
        assert all(row < fewest[p] for p, row in kept.select("problem_id", "row").iter_rows())
        assert kept.join(table, on=table.columns, how="anti").is_empty()


def test_rows_alone_leave_no_problem_that_another_arm_lacks():
    kept = match_rows(make_rows({"a": 3, "b": 1}), [make_rows({"a": 2})])
    assert count(kept) == {"a": 2}


def test_an_arm_without_any_common_problem_is_empty():
    assert match_problems(make_rows({"a": 2}), [make_rows({"b": 1})]).is_empty()


@pytest.mark.parametrize("seed", range(5))
def test_tokens_are_within_one_row_of_the_budget_and_smaller_budgets_take_fewer_of_the_same(seed):
    rng = random.Random(seed)
    rows = make_rows({f"p{n:02}": rng.randint(1, 3) for n in range(40)})
    tokens = [rng.randint(5, 60) for _ in range(rows.height)]
    of = dict(zip(rows.select("problem_id", "row").iter_rows(), tokens, strict=True))
    before: set = set()
    for budget in (0, 40, 300, 900, sum(tokens), sum(tokens) + 4):
        kept = match_tokens(rows, tokens, budget)
        keys = set(kept.select("problem_id", "row").iter_rows())
        total = sum(of[key] for key in keys)
        assert total <= budget and budget - total < max(tokens)
        # another one would be too much
        assert len(keys) == len(of) or any(total + of[key] > budget for key in of.keys() - keys)
        assert before <= keys
        before = keys
    with pytest.raises(InputError, match=rf"{sum(tokens)} trained tokens, fewer than the budget"):
        match_tokens(rows, tokens, sum(tokens) + max(tokens))


def test_rows_that_are_not_trained_on_are_kept_and_cost_nothing():
    rows = make_rows({f"p{n}": 1 for n in range(6)})
    kept = match_tokens(rows, [0, 10, 10, 0, 10, 10], 20)
    assert {"p0", "p3"} <= set(kept["problem_id"]) and kept.height == 4


def test_the_choice_of_rows_is_no_order_of_the_table():
    rows = make_rows({f"p{n:02}": 1 for n in range(40)})
    kept = match_tokens(rows, [10] * 40, 200)
    assert kept.height == 20
    assert set(kept["problem_id"]) != set(rows["problem_id"].head(20))
    mixed = match_tokens(rows.sample(fraction=1, shuffle=True, seed=2), [10] * 40, 200)
    assert set(mixed["problem_id"]) == set(kept["problem_id"])
