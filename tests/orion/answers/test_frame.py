"""The polars form: the verdicts of check_many as a struct column; errors name the column."""

import polars as pl
import pytest

from orion.answers import check_frame, check_many


def frame() -> pl.DataFrame:
    return pl.DataFrame(
        {
            "text": ["so \\boxed{\\frac12}", "it is 7", None, "\\boxed{\ufffd", ""],
            "gold": ["0.5", "8", "1", "2", "3"],
            "ended": [True, False, None, None, True],
        }
    )


def test_one_struct_column_in_the_order_of_the_frame():
    rows = frame()
    found = check_frame(rows, "text", "gold", finished="ended")
    assert found.columns == ["text", "gold", "ended", "verdict"]
    expected = check_many(
        rows["text"].to_list(), rows["gold"].to_list(), finished=rows["ended"].to_list()
    )
    assert found["verdict"].to_list() == [v.as_dict() for v in expected]
    assert found["verdict"].struct.field("verdict").to_list() == [
        "correct", "no_answer", "unparseable", "no_answer", "no_answer",
    ]  # fmt: skip
    assert found.schema["verdict"].to_schema()["start"] == pl.Int64


def test_types_hold_for_an_empty_frame():
    empty = check_frame(frame().clear(), "text", "gold", into="judged")
    assert empty.schema["judged"].to_schema()["reason"] == pl.String
    assert empty.height == 0


def test_bad_columns_are_named():
    with pytest.raises(
        ValueError, match="no column 'answer' in the frame; its columns are text, gold, ended"
    ):
        check_frame(frame(), "text")
    with pytest.raises(ValueError, match="a column 'ended' already"):
        check_frame(frame(), "text", "gold", into="ended")
    with pytest.raises(ValueError, match="unknown answer policy"):
        check_frame(frame(), "text", "gold", policy="?")
