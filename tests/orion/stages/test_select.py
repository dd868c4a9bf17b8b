import json

import polars as pl
import pytest

from orion import tables
from orion.errors import InputError
from orion.experiment import filters
from orion.stages import select

LIMITS = filters.Limits("demo")
NAMES = ["no_refined_part", "wrong_answer", "truncated"]


def completions(rows, table):
    """rows: (problem, sample, template, error_ranks, response, finish_reason)"""
    return tables.from_rows(
        (
            {"problem_id": p, "sample_id": s, "template": t, "error_ranks": e, "response": r, "finish_reason": f,
             "prompt_tokens": 1, "completion_tokens": 9, "completion": f"{p}{s}"}
            for p, s, t, e, r, f in rows
        ),
        table,
    )  # fmt: skip


def verdicts(rows):
    return tables.from_rows(
        (
            {
                "problem_id": p,
                "sample_id": s,
                "verdict": v,
                "extracted": None,
                "reason": "",
                "rule": "",
            }
            for p, s, v in rows
        ),
        tables.VERDICT_ROWS,
    )


@pytest.fixture
def folder(tmp_path):
    """Problems a (reflections survive), b (none survives), c (no error), d (nothing at all); files on disk."""
    problems = pl.DataFrame(
        {
            "problem_id": list("abcd"),
            "problem": [f"problem {p}" for p in "abcd"],
            "answer": ["1", "2", "3", "4"],
            "solution": [None, "so it is 2", None, "\\boxed{ 4 }"],
            "teacher_trace": ["long a", "long b", "long c", None],
            "meta": [{"source_row": i} for i in range(4)],
        },
        schema_overrides={"solution": pl.String},
    )
    samples = [
        ("a", 0, "wrong a"),
        ("a", 1, "right a"),
        ("b", 0, "wrong b"),
        ("c", 0, "right c"),
        ("c", 1, "right c"),
    ]
    judged = [
        ("a", 0, "incorrect"),
        ("a", 1, "correct"),
        ("b", 0, "incorrect"),
        ("c", 0, "correct"),
        ("c", 1, "correct"),
    ]
    reflections = [
        ("a", 0, "reflect", [0], "bad ; New: one", "stop"),
        ("a", 1, "reflect", [0], "New: two", "stop"),
        ("a", 2, "reflect", [1], "New: three", "stop"),
        ("a", 3, "reflect", [1], "New: three", "stop"),
        ("b", 0, "reflect", [0], "no marker", "stop"),
        ("b", 1, "reflect", [0], "New: cut", "length"),
        ("c", 0, "rewrite", [], "New: rewritten", "stop"),
    ]
    reflected = [
        (p, s, "incorrect" if (p, s) == ("a", 1) else "correct") for p, s, *_ in reflections
    ]
    errors = [
        {"problem_id": p, "rank": r, "sample_id": s, "response": "w", "extracted": "9", "source": "own",
         "source_problem_id": p, "own_sample_id": s}
        for p, r, s in (("a", 0, 0), ("a", 1, 7), ("b", 0, 0))
    ]  # fmt: skip
    written = {
        "problems": (problems, tables.PROBLEMS),
        "trace-verdicts": (
            verdicts([("a", 0, "correct"), ("b", 0, "incorrect"), ("c", 0, "correct")]),
            tables.VERDICT_ROWS,
        ),
        "samples": (
            completions([(p, s, "solve", [], r, "stop") for p, s, r in samples], tables.SAMPLES),
            tables.SAMPLES,
        ),
        "verdicts": (verdicts(judged), tables.VERDICT_ROWS),
        "errors": (tables.from_rows(errors, tables.ERRORS), tables.ERRORS),
        "reflections": (completions(reflections, tables.REFLECTIONS), tables.REFLECTIONS),
        "reflection-verdicts": (verdicts(reflected), tables.VERDICT_ROWS),
    }
    for name, (frame, table) in written.items():
        tables.write(frame, tmp_path / name, table, {})
    return tmp_path


def run(
    folder,
    trained_on="reflection",
    fallback_no_error="drop",
    fallback_all_filtered="drop",
    names=NAMES,
    limit=2,
):
    config = {
        "prompts": "demo",
        "trained_on": trained_on,
        "filters": names,
        "max_per_problem": limit,
        "copy_ngram": 12,
        "copy_fraction": 0.5,
        "loop_ngram": 12,
        "loop_repeats": 4,
        "fallback_no_error": fallback_no_error,
        "fallback_all_filtered": fallback_all_filtered,
    }
    given = ["problems", "trace-verdicts", "samples", "verdicts"]
    if trained_on == "reflection":
        given += ["errors", "reflections", "reflection-verdicts"]
    argv = ["--config", json.dumps(config), "--arm", "x"]
    argv += [word for name in given for word in (f"--{name}", str(folder / name))]
    argv += [
        "--output",
        str(folder / "out"),
        "--filters",
        str(folder / "filters.json"),
        "--preview",
        str(folder / "p.jsonl"),
    ]
    select.main(argv)
    rows = tables.read(folder / "out", tables.TRAIN)
    return rows, tables.read_json(folder / "filters.json")


def pairs(rows):
    return rows.select("problem_id", "completion", "target_kind").rows()


def test_survivors_one_of_each_prompt_first(folder):
    rows, summary = run(folder)
    assert pairs(rows) == [("a", "one", "reflection"), ("a", "three", "reflection")]
    assert rows["error_sample_ids"].to_list() == [[0], [7]]
    assert rows["sample_id"].to_list() == [0, 2]
    assert rows["prompt"].to_list() == ["Question: problem a"] * 2
    assert rows["filters_passed"].to_list() == [NAMES] * 2
    assert summary["fallbacks"] == {
        "fallback_no_error": {"policy": "drop", "problems": 2},
        "fallback_all_filtered": {"policy": "drop", "problems": 1},
    }


def test_the_waterfall_adds_up(folder):
    _, summary = run(folder)
    assert summary["waterfall"] == [
        {"filter": "no_refined_part", "removed": 1, "left": 6},
        {"filter": "wrong_answer", "removed": 1, "left": 5},
        {"filter": "truncated", "removed": 1, "left": 4},
    ]
    assert summary["coverage"] == {"no_refined_part": 1, "wrong_answer": 1, "truncated": 1}
    assert (summary["reflections"], summary["rows"], summary["problems_trained"]) == (7, 2, 1)


@pytest.mark.parametrize(
    ("fallback_no_error", "fallback_all_filtered", "added"),
    [
        ("own_correct", "drop", [("c", "right c", "own_correct")]),
        ("rewrite", "drop", [("c", "rewritten", "reflection")]),
        ("teacher", "teacher", [("c", "long c", "teacher_trace")]),
        ("drop", "own_correct", []),
    ],
)
def test_policies(folder, fallback_no_error, fallback_all_filtered, added):
    # b's trace is wrong and d has none, so the policy "teacher" has nothing to give them
    rows, _ = run(
        folder, fallback_no_error=fallback_no_error, fallback_all_filtered=fallback_all_filtered
    )
    assert pairs(rows)[2:] == added


@pytest.mark.parametrize(
    ("trained_on", "expected"),
    [
        ("own_correct", [("a", "right a", "own_correct"), ("c", "right c", "own_correct")]),
        ("teacher_trace", [("a", "long a", "teacher_trace"), ("c", "long c", "teacher_trace")]),
        (
            "solution",
            [
                ("a", "\\boxed{ 1 }", "solution"),
                ("b", "so it is 2\n\\boxed{ 2 }", "solution"),
                ("c", "\\boxed{ 3 }", "solution"),
                ("d", "\\boxed{ 4 }", "solution"),
            ],
        ),
    ],
)
def test_arms_without_reflections(folder, trained_on, expected):
    assert pairs(run(folder, trained_on)[0]) == expected


def test_repeated_texts_count_once_and_keep_their_order():
    rows = [{"completion": text, "n": n} for n, text in enumerate(["A", "B", "C", "A", "B"])]
    assert [row["n"] for row in select._distinct(rows, "completion")] == [0, 1, 2]


def test_own_samples_pass_the_filters_that_apply_to_any_text(folder):
    texts = {
        "cut": "\\boxed{ 1 } and on",
        "two": "\\boxed{ 1 } \\boxed{ 2 }",
        "good": "1 + 0 = 1 ; so it is \\boxed{ 1 }",
    }
    rows = [
        ("a", n, "solve", [], text, "length" if name == "cut" else "stop")
        for n, (name, text) in enumerate(texts.items())
    ]
    tables.write(completions(rows, tables.SAMPLES), folder / "samples", tables.SAMPLES, {})
    tables.write(
        verdicts([("a", n, "correct") for n in range(3)]),
        folder / "verdicts",
        tables.VERDICT_ROWS,
        {},
    )
    found, _ = run(folder, "own_correct", names=[*NAMES, "several_answers"])
    assert found["completion"].to_list() == [texts["good"]]


def test_the_limit_holds_for_every_arm(folder):
    assert run(folder, limit=1)[0]["problem_id"].to_list() == ["a"]


def test_an_empty_training_set_stops_and_says_why(folder):
    with pytest.raises(
        InputError, match=r"arm x: no training row is left; 7 reflections, waterfall .*leak"
    ):
        run(
            folder,
            names=[
                "no_refined_part",
                "leak",
                "wrong_answer",
                "truncated",
                "answer_first",
                "too_long",
            ],
            limit=0,
        )


def test_preview_is_for_reading(folder):
    run(folder)
    lines = [json.loads(line) for line in (folder / "p.jsonl").read_text().splitlines()]
    assert [line["completion"] for line in lines] == ["one", "three"]
