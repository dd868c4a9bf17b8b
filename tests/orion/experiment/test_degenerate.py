"""Rows of a table of completions that have failed."""

import polars as pl
import pytest

from orion.experiment.degenerate import count_failed


def make_table(*rows):
    """A table of (finish_reason, response, prompt_tokens)."""
    schema = {"finish_reason": pl.String, "response": pl.String, "prompt_tokens": pl.Int64}
    return pl.DataFrame(rows, schema=schema, orient="row")


def test_each_row_counts_under_one_name():
    found = count_failed(
        make_table(
            ("stop", "5", 1),
            ("length", "5 + 5", 1),
            ("stop", "", 1),
            ("length", " \n\t", 1),
            ("error", "", 900),
            ("prompt_too_long", "", 90),
            ("prompt_too_long", "", 80),
        )
    )
    assert (found.prompt_too_long, found.error, found.empty) == (2, 1, 2)
    assert (found.count, found.rows, found.longest_prompt) == (5, 7, 90)
    assert str(found) == "5 of 7 rows failed (2 prompt_too_long, 1 error, 2 empty)"


@pytest.mark.parametrize(("fraction", "exceeds"), [(0.0, True), (0.24, True), (0.25, False)])
def test_the_fraction_is_the_largest_that_may_fail(fraction, exceeds):
    rows = [("stop", "5", 1)] * 3 + [("error", "", 1)]
    assert count_failed(make_table(*rows)).exceeds(fraction) == exceeds


def test_a_table_without_a_failure_passes_every_fraction():
    assert not count_failed(make_table(("stop", "5", 1))).exceeds(0.0)
    empty = count_failed(make_table())
    assert empty.longest_prompt is None and not empty.exceeds(0.0)
