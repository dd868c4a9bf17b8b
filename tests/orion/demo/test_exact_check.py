"""The exact check of chains, against the generator that writes them."""

import polars as pl
import pytest

from orion.demo.exact_check import is_wholly_true, share_of_true_rows
from orion.demo.problems import generate
from orion.paths import TRAIN, artifact


@pytest.mark.parametrize("level", ["train", "hard"])
def test_every_generated_chain_is_wholly_true(level):
    problems = generate(level, 50, seed=3)
    assert all(is_wholly_true(problem.solution) for problem in problems)
    assert all(is_wholly_true("New: " + problem.solution) for problem in problems)


DETAILED = "217 + 37 : 7 + 7 = 14 , 1 + 3 + 1 = 5 , 2 + 0 = 2 , = 254 ; \\boxed{ 254 }"


def test_a_step_by_columns_is_read():
    assert is_wholly_true(DETAILED)


@pytest.mark.parametrize(
    "text",
    [
        DETAILED.replace("1 + 3 + 1 = 5", "2 + 3 + 1 = 6"),
        DETAILED.replace("1 + 3 + 1 = 5", "1 + 3 + 1 = 6"),
        DETAILED.replace("1 + 3 + 1", "1 + 3"),
        DETAILED.replace("= 254", "= 224"),
        "47 + 38 = 85 ; 86 - 19 = 67 ; \\boxed{ 67 }",
        "47 + 38 = 85 ; \\boxed{ 86 }",
        "47 + 38 = 85 ;",
        "",
        "\\boxed{ 5 }",
    ],
)
def test_a_chain_with_one_false_place_is_not(text):
    assert not is_wholly_true(text)


def test_shares_per_arm(tmp_path):
    path = artifact(tmp_path, TRAIN, dataset="d", model="m", arm="orion")
    path.parent.mkdir(parents=True)
    texts = [DETAILED, DETAILED.replace("= 254 ;", "= 255 ;")]
    pl.DataFrame({"completion": texts, "target_kind": ["reflection"] * 2}).write_parquet(path)
    [row] = share_of_true_rows(str(tmp_path)).rows(named=True)
    assert (row["arm"], row["rows"], row["wholly_true"], row["share"]) == ("orion", 2, 1, 0.5)
