import json

import polars as pl
import pyarrow
import pytest

from orion import tables
from orion.errors import InputError
from orion.experiment.levels import find_levels
from orion.stages import dataset

FIELDS = {"problem_id": "id", "problem": "question", "answer": "answer", "teacher_trace": "trace"}
ROWS = [
    {
        "id": f"q{i}",
        "question": f"What is {i} + {i} ?",
        "answer": str(2 * i),
        "trace": f"so {2 * i}",
    }
    for i in range(8)
]


def config(source, **changes):
    return {
        "source": source,
        "fields": FIELDS,
        "where": {},
        "policy": "math",
        "max_rejected_fraction": 0.05,
        **changes,
    }


def run(tmp_path, settings, benchmarks=()):
    output, rejected = tmp_path / "problems.parquet", tmp_path / "rejected.parquet"
    dataset.main(
        ["--config", json.dumps(settings), "--output", str(output), "--rejected", str(rejected)]
        + (["--benchmark", *map(str, benchmarks)] if benchmarks else [])
    )
    return tables.read(output, tables.PROBLEMS), tables.read(rejected, tables.REJECTED)


def jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {"kind": "jsonl", "path": str(path)}


@pytest.mark.parametrize("kind", ["jsonl", "jsonl.zst", "parquet"])
def test_all_file_kinds_give_the_same_problems(tmp_path, kind):
    path = tmp_path / f"rows.{kind}"
    if kind == "parquet":
        pl.DataFrame(ROWS).write_parquet(path)
    else:
        raw = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
        path.write_bytes(
            pyarrow.compress(raw, codec="zstd", asbytes=True) if kind.endswith("zst") else raw
        )
    problems, rejected = run(tmp_path, config({"kind": kind.split(".")[0], "path": str(path)}))
    assert problems.drop("meta").rows() == [
        (r["id"], r["question"], r["answer"], None, r["trace"], None, [f"row {n}, trace"])
        for n, r in enumerate(ROWS)
    ]
    assert rejected.is_empty()


def test_same_input_same_bytes(tmp_path):
    source = jsonl(tmp_path / "rows.jsonl", ROWS)
    run(tmp_path, config(source))
    first = (tmp_path / "problems.parquet").read_bytes()
    run(tmp_path, config(source))
    assert (tmp_path / "problems.parquet").read_bytes() == first


def test_unusable_rows_are_counted_with_a_reason(tmp_path):
    rows = [
        *ROWS,
        {**ROWS[0], "id": "again", "question": "what IS 0 + 0 ?"},
        {**ROWS[1], "question": "Another one?"},
        {"id": "x", "question": " ", "answer": "1"},
        {"id": "y", "question": "Has no answer?", "answer": None},
    ]
    problems, rejected = run(
        tmp_path, config(jsonl(tmp_path / "rows.jsonl", rows), max_rejected_fraction=0.5)
    )
    assert problems.height == len(ROWS)
    assert rejected.select("row", "problem_id", "reason").rows() == [
        (8, "again", "duplicate_problem"),
        (9, "q1", "duplicate_problem_id"),
        (10, "x", "missing_problem"),
        (11, "y", "missing_answer"),
    ]


def test_a_source_without_a_usable_row_is_not_said_to_pass_with_another_limit(tmp_path):
    rows = [{**row, "answer": None} for row in ROWS]
    settings = config(jsonl(tmp_path / "rows.jsonl", rows), max_rejected_fraction=1.0)
    with pytest.raises(InputError, match=r"(?s)8 of 8 rows are unusable; .*or the mapping$"):
        run(tmp_path, settings)


def test_too_many_unusable_rows_stop_the_run(tmp_path):
    with pytest.raises(
        InputError, match=r"(?s)1 of 9 rows are unusable.*row 8 \(q0\): duplicate_problem_id"
    ):
        run(
            tmp_path,
            config(jsonl(tmp_path / "rows.jsonl", [*ROWS, {**ROWS[0], "question": "New?"}])),
        )
    assert not (tmp_path / "problems.parquet").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (json.dumps(ROWS[0]) + '\n{"id": \n', r"rows\.jsonl, line 2: not JSON"),
        ("[1]\n", r"line 1: not a JSON object"),
        (
            '{"id": "a", "problem": "x", "answer": "1"}\n',
            r"column 'question' that problem maps to; the columns are: answer, id",
        ),
    ],
)
def test_a_bad_file_is_named_with_its_place(tmp_path, text, message):
    (tmp_path / "rows.jsonl").write_text(text)
    with pytest.raises(InputError, match=message):
        run(tmp_path, config({"kind": "jsonl", "path": str(tmp_path / "rows.jsonl")}))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.jsonl: no such file"):
        run(tmp_path, config({"kind": "jsonl", "path": "nowhere.jsonl"}))


@pytest.mark.parametrize("bad", [["1", "2"], True, {"value": 1}, float("nan")])
def test_a_cell_that_is_no_text_is_a_counted_row(tmp_path, bad):
    rows = [*ROWS, {"id": "x", "question": "New?", "answer": bad, "trace": ""}]
    _, rejected = run(
        tmp_path, config(jsonl(tmp_path / "rows.jsonl", rows), max_rejected_fraction=0.5)
    )
    assert rejected["reason"].to_list() == ["wrong_type"]


def test_numbers_as_problems_and_strange_meta_are_survived(tmp_path):
    rows = [
        {"id": 1, "question": 12, "answer": 1, "meta": {"a": 1}},
        {"id": 2, "question": "B?", "answer": 2, "meta": [1]},
    ]
    problems, _ = run(
        tmp_path,
        config(jsonl(tmp_path / "rows.jsonl", rows), fields={**FIELDS, "teacher_trace": None}),
    )
    assert problems["problem"].to_list() == ["12", "B?"]


@pytest.mark.parametrize(
    ("name", "raw", "message"),
    [
        ("r.jsonl", b'{"id": "\xff"}\n', "not UTF-8"),
        ("r.jsonl.zst", b"\x28\xb5\x2f\xfdxx", "damaged zst"),
    ],
)
def test_unreadable_files_are_named(tmp_path, name, raw, message):
    (tmp_path / name).write_bytes(raw)
    with pytest.raises(InputError, match=message):
        run(tmp_path, config({"kind": "jsonl", "path": str(tmp_path / name)}))


def test_signs_tell_problems_apart(tmp_path):
    rows = [
        {"id": i, "question": q, "answer": "1", "trace": ""}
        for i, q in enumerate(["If k > 0, find x.", "If k < 0, find x."])
    ]
    problems, _ = run(tmp_path, config(jsonl(tmp_path / "rows.jsonl", rows)))
    assert problems.height == 2


def test_a_short_benchmark_problem_inside_a_longer_one_is_found(tmp_path):
    stem = "What is seventeen times twenty three minus five apples"
    (tmp_path / "b").mkdir()
    run(
        tmp_path / "b",
        config(
            jsonl(
                tmp_path / "bench.jsonl",
                [{"id": "b", "question": stem, "answer": "1", "trace": ""}],
            )
        ),
    )
    rows = [
        *ROWS,
        {
            "id": "part",
            "question": f"Think hard and say at once: {stem}? "
            "Then add the number of days in a week.",
            "answer": "1",
        },
    ]
    settings = config(
        jsonl(tmp_path / "rows.jsonl", rows), max_rejected_fraction=0.5, decontaminate_ngram=13
    )
    _, rejected = run(tmp_path, settings, [tmp_path / "b" / "problems.parquet"])
    assert rejected["problem_id"].to_list() == ["part"]


def test_where_limit_and_row_numbers(tmp_path):
    rows = [{**row, "split": "a" if i % 2 else "b"} for i, row in enumerate(ROWS)]
    fields = {**FIELDS, "problem_id": None}
    settings = config(
        jsonl(tmp_path / "rows.jsonl", rows), where={"split": "a"}, limit=2, fields=fields
    )
    problems, _ = run(tmp_path, settings)
    assert problems["problem_id"].to_list() == ["row-1", "row-3"]
    assert problems["meta"].struct.field("source_row").to_list() == [1, 3]


def test_contaminated_rows_are_dropped_and_named(tmp_path):
    held = jsonl(
        tmp_path / "bench.jsonl",
        [{"id": "b", "question": "One two three four, five six?", "answer": "1", "trace": ""}],
    )
    (tmp_path / "b").mkdir()
    run(tmp_path / "b", config(held))
    rows = [
        *ROWS,
        {"id": "same", "question": "one TWO  three four, five six?", "answer": "1"},
        {"id": "part", "question": "And now: two three four five!", "answer": "1"},
        {"id": "less", "question": "And now: two three four!", "answer": "1"},
    ]
    source = jsonl(tmp_path / "rows.jsonl", rows)
    settings = config(source, max_rejected_fraction=0.5, decontaminate_ngram=4)
    problems, rejected = run(tmp_path, settings, [tmp_path / "b" / "problems.parquet"])
    assert rejected["problem_id"].to_list() == ["same", "part"]
    assert "less" in problems["problem_id"]
    problems, rejected = run(
        tmp_path, {**settings, "decontaminate_ngram": None}, [tmp_path / "b" / "problems.parquet"]
    )
    assert rejected["problem_id"].to_list() == ["same"]


def test_traces_from_another_file(tmp_path):
    traces = [
        {"problem": ROWS[0]["question"], "response": "wrong", "ok": False},
        {"problem": ROWS[0]["question"] + "\n", "response": "first", "ok": True},
        {"problem": ROWS[0]["question"], "response": "second", "ok": True},
    ]
    fields = {key: value for key, value in FIELDS.items() if key != "teacher_trace"}
    spec = {
        "source": jsonl(tmp_path / "traces.jsonl", traces),
        "join_on": "problem",
        "key": "problem",
        "teacher_trace": "response",
        "where": {"ok": True},
    }
    problems, _ = run(
        tmp_path, config(jsonl(tmp_path / "rows.jsonl", ROWS), fields=fields, traces=spec)
    )
    assert problems["teacher_trace"].to_list() == ["first"] + [None] * 7


def test_numbers_become_plain_text(tmp_path):
    rows = [
        {"id": 1, "question": "A?", "answer": 27.0, "trace": None},
        {"id": 2, "question": "B?", "answer": 0.5, "trace": None},
    ]
    problems, _ = run(tmp_path, config(jsonl(tmp_path / "rows.jsonl", rows)))
    assert problems["answer"].to_list() == ["27", "0.5"]


def test_a_cluster_is_kept_in_meta_and_a_blank_one_is_null(tmp_path):
    names = ["x", "x", None, " ", 7, "y", "x", "y"]
    rows = [{**row, "template": name} for row, name in zip(ROWS, names, strict=True)]
    settings = config(jsonl(tmp_path / "rows.jsonl", rows))
    mapped = {**settings, "fields": {**FIELDS, "cluster": "template"}}
    problems, _ = run(tmp_path, mapped)
    assert problems["meta"].struct.field("cluster").to_list() == [
        *("x", "x", None, None, "7", "y", "x", "y")
    ]
    # a column without a value, and none at all
    empty = jsonl(tmp_path / "rows.jsonl", [{**row, "template": None} for row in ROWS])
    problems, _ = run(tmp_path, {**mapped, "source": empty})
    assert problems["meta"].struct.field("cluster").dtype == pl.String
    problems, _ = run(tmp_path, settings)
    assert [field.name for field in problems.schema["meta"].fields] == ["source_row"]
    with pytest.raises(InputError, match="'templates' that cluster maps to"):
        run(tmp_path, {**settings, "fields": {**FIELDS, "cluster": "templates"}})


def test_levels_and_tags_are_lists_of_texts_in_meta_by_which_problems_are_grouped(tmp_path):
    levels = [1, 2.0, "2", None, 1, 2, 1, 1]
    tags = [["sum"], ["sum", "product"], [], None, "sum", ["product", None], [" "], ["sum"]]
    rows = [
        {**row, "how hard": level, "kinds": tag}
        for row, level, tag in zip(ROWS, levels, tags, strict=True)
    ]
    places = {"level": "how hard", "tag": "kinds"}
    settings = config(jsonl(tmp_path / "rows.jsonl", rows), fields={**FIELDS, "levels": places})
    problems, _ = run(tmp_path, settings)
    kept = problems["meta"].struct.field("tag")
    assert kept.dtype == pl.List(pl.String)
    sums = ["sum"]
    assert kept.to_list() == [sums, ["sum", "product"], None, None, sums, ["product"], None, sums]
    found = {(each.field, each.value): len(each.problems) for each in find_levels(problems)}
    assert found == {
        ("level", "1"): 4,
        ("level", "2"): 3,
        ("level", "(none)"): 1,
        ("tag", "product"): 2,
        ("tag", "sum"): 4,
        ("tag", "(none)"): 3,
    }
    with pytest.raises(InputError, match=r"'hardness' that levels\.level maps to"):
        run(tmp_path, {**settings, "fields": {**FIELDS, "levels": {"level": "hardness"}}})
    flags = jsonl(tmp_path / "rows.jsonl", [{**row, "easy": n < 3} for n, row in enumerate(ROWS)])
    flagged = {**settings, "fields": {**FIELDS, "levels": {"easy": "easy"}}, "source": flags}
    problems, _ = run(tmp_path, flagged)
    assert problems["meta"].struct.field("easy").to_list() == [["true"]] * 3 + [["false"]] * 5
    # of another type in every row
    spoiled = {**settings, "fields": {**FIELDS, "levels": {"level": "nested"}}}
    source = jsonl(tmp_path / "rows.jsonl", [{**row, "nested": {"a": 1}} for row in ROWS])
    with pytest.raises(InputError, match="wrong_type"):
        run(tmp_path, {**spoiled, "source": source})


def test_a_generated_problem_keeps_its_meta_beside_a_cluster(tmp_path):
    source = {"kind": "demo", "level": "easy", "n": 5, "seed": 3}
    fields = {"problem_id": "id", "problem": "problem", "answer": "answer", "cluster": "meta.level"}
    problems, _ = run(tmp_path, config(source, fields=fields))
    assert "steps" in problems["meta"].struct.fields
    assert problems["meta"].struct.field("cluster").null_count() == 0
