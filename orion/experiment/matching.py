"""Match an arm's training rows with other arms': same problems, rows per problem, trained tokens.

Input: tables of training rows, and the trained tokens of each row. Output: the rows that are kept.
Problems and rows are matched before any of the arms is matched itself, so that arms which name each
other keep the same problems and numbers of rows. Rows go in an order of hashed keys, which is the
same for all arms.
"""

from collections.abc import Sequence

import polars as pl

from orion.errors import InputError
from orion.provenance import digest_text


def match_problems(rows: pl.DataFrame, others: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """The rows of the problems of which each of the other arms has a row."""
    for other in others:
        rows = rows.join(other, on="problem_id", how="semi", maintain_order="left")
    return rows


def match_rows(rows: pl.DataFrame, others: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """The first rows of each problem, as many as the arm with the fewest has of it."""
    place = pl.int_range(pl.len()).over("problem_id", order_by="row")
    for other in others:
        fewest = other.group_by("problem_id").agg(most=pl.len())
        rows = (
            rows.join(fewest, on="problem_id", how="left", maintain_order="left")
            .filter(place < pl.col("most").fill_null(0))
            .drop("most")
        )
    return rows


def match_tokens(rows: pl.DataFrame, tokens: Sequence[int], budget: int) -> pl.DataFrame:
    """Rows with as many trained tokens as the budget, less than one row below it.

    ``tokens``: the trained tokens of each row; rows without any, which are not trained on, are
    kept. The other rows are taken in the order of their hashed keys as long as they fit. Raises
    InputError where all of them together fall short of the budget by a row or more.
    """
    counted = rows.with_columns(tokens=pl.Series(tokens, dtype=pl.Int64))
    keys = rows.select("problem_id", "row").iter_rows()
    order = pl.Series([digest_text(f"match {problem} {row}") for problem, row in keys])
    trained = counted.with_columns(order=order).filter(pl.col("tokens") > 0).sort("order")
    if budget - sum(tokens) >= max([1, *tokens]):
        raise InputError(
            f"the rows have {sum(tokens)} trained tokens, fewer than the budget of {budget}, which "
            "they cannot reach; match.tokens has to name an arm with fewer tokens"
        )
    # those behind the first that does not fit do not fit either
    kept = trained.filter(pl.col("tokens").cum_sum() <= budget)
    untrained = counted.filter(pl.col("tokens") == 0)
    chosen = pl.concat([frame.select("problem_id", "row") for frame in (kept, untrained)])
    return rows.join(chosen, on=["problem_id", "row"], how="semi", maintain_order="left")
