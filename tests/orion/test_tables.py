"""The writer of tables in slices: it keeps the contract of the whole table, or writes nothing."""

import polars as pl
import pytest

from orion import tables


def steps(numbers):
    first = {"start": 0, "end": 9, "text": "2 + 2 = 5", "rule": "arithmetic"}
    rows = [
        {
            "problem_id": f"p{n // 3}",
            "sample_id": n % 3,
            "true": n,
            "false": n % 2,
            "unknown": 0,
            "first_false": first if n % 2 else None,
        }
        for n in numbers
    ]
    return tables.from_rows(rows, tables.STEPS)


def write(path, slices, rows=None):
    with tables.Writer(path, tables.STEPS, {"by": "me"}, rows=rows) as writer:
        for frame in slices:
            writer.write(frame)


def test_slices_give_the_table_that_the_whole_gives(tmp_path):
    whole = steps(range(7))
    write(tmp_path / "slices", [steps([1, 0]), steps([]), steps([2, 3, 4, 5, 6])], rows=7)
    tables.write(whole, tmp_path / "whole", tables.STEPS, {"by": "me"})
    found = tables.read(tmp_path / "slices", tables.STEPS)
    assert found.equals(whole) and found.schema == whole.schema
    assert found["first_false"].null_count() == 4
    assert tables.size(tmp_path / "slices", tables.STEPS) == (7, 2)
    assert tables.read_provenance(tmp_path / "slices") == {"by": "me"}


def test_a_table_without_rows_is_a_table(tmp_path):
    write(tmp_path / "none", [], rows=0)
    assert tables.read(tmp_path / "none", tables.STEPS).equals(tables.empty(tables.STEPS))


@pytest.mark.parametrize(
    ("slices", "rows", "fault"),
    [
        ([[0, 1], [1, 2]], None, r"key \('p0', 1\) after \('p0', 1\)"),
        ([[3, 4], [0]], None, r"key \('p0', 0\) after \('p1', 1\)"),
        ([[0, 0]], None, "duplicate keys"),
        ([[0, 1]], 3, "expected 3 rows, got 2"),
    ],
)
def test_a_breach_of_the_contract_leaves_no_file(tmp_path, slices, rows, fault):
    with pytest.raises(AssertionError, match=fault):
        write(tmp_path / "t", [steps(numbers) for numbers in slices], rows)
    assert list(tmp_path.iterdir()) == []


def test_negative_counts_are_refused(tmp_path):
    with pytest.raises(AssertionError, match=r"steps\.false: negative"):
        write(tmp_path / "t", [steps([1]).with_columns(pl.lit(-1, pl.Int64).alias("false"))])
