"""Which fields of ``meta`` are levels, and their problems."""

import polars as pl

from orion.experiment.levels import ABSENT, MAX_FIELDS, MAX_VALUES, OTHERS, find_levels


def make(**columns) -> pl.DataFrame:
    """Problems p00, p01, … with these fields of meta."""
    size = len(next(iter(columns.values())))
    ids = [f"p{number:02}" for number in range(size)]
    return pl.DataFrame({"problem_id": ids, **columns}).select(
        "problem_id", meta=pl.struct(list(columns))
    )


def show(frame: pl.DataFrame) -> list[tuple[str, str, list[int]]]:
    return [(level.field, level.value, level.problems.tolist()) for level in find_levels(frame)]


def test_texts_numbers_and_truth_values():
    frame = make(
        subject=["algebra", "geometry", None, "algebra", "geometry"],
        level=[1, 2, 2, 1, 1],
        suspect_label=[False, False, True, False, False],
    )
    assert show(frame) == [
        ("subject", "algebra", [0, 3]),
        ("subject", "geometry", [1, 4]),
        ("subject", ABSENT, [2]),
        ("level", "1", [0, 3, 4]),
        ("level", "2", [1, 2]),
        ("suspect_label", "false", [0, 1, 3, 4]),
        ("suspect_label", "true", [2]),
    ]
    # the numbers of the problems are those in the order of problem_id
    assert show(frame.reverse()) == show(frame)


def test_tags_overlap_and_steps_count_by_their_number():
    frame = make(
        tags=[["a", "b"], ["b", "b"], [], None],
        steps=[[{"op": "+"}], [{"op": "+"}, {"op": "-"}], [{"op": "+"}], None],
    )
    assert show(frame) == [
        ("tags", "a", [0]),
        ("tags", "b", [0, 1]),
        ("tags", ABSENT, [2, 3]),
        ("number of steps", "1", [0, 2]),
        ("number of steps", "2", [1]),
        ("number of steps", ABSENT, [3]),
    ]


def test_what_names_the_problems_or_does_not_divide_them_is_no_level():
    frame = make(
        source_row=[0, 1, 0, 1],
        cluster=["a", "a", "b", "b"],
        same=["x", "x", "x", "x"],
        weight=[0.5, 0.5, 1.0, 1.0],
    )
    assert show(frame) == []
    count = 3 * MAX_VALUES
    names = make(name=[f"name {n}" for n in range(count)], start=list(range(count)))
    assert show(names) == []


def test_the_number_of_groups_is_bounded():
    values = [f"v{number // 2:02}" for number in range(60)] + ["v00"]
    found = show(make(topic=values))
    assert len(found) == MAX_VALUES + 1
    assert found[0] == ("topic", "v00", [0, 1, 60])
    assert found[-1][1] == OTHERS and len(found[-1][2]) == 61 - 2 * MAX_VALUES - 1
    many = make(**{f"f{n}": ["a", "b", "a"] for n in range(2 * MAX_FIELDS)})
    assert len({field for field, _, _ in show(many)}) == MAX_FIELDS


def test_a_value_is_one_short_line_without_control_characters():
    hostile = "\x1b[31m<script>\x00\n" + "x" * 2_000_000
    found = show(make(level=[hostile, "b", "b"]))
    assert all(len(value) <= 60 and value.isprintable() for _, value, _ in found)
    assert found[0][1].startswith("\\x1b[31m<script>\\x00") or found[1][1].startswith("\\x1b")
