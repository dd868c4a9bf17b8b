import json
import tracemalloc

import polars as pl
import pytest

from orion import tables
from orion.errors import InputError
from orion.experiment import candidates, filters
from orion.stages import select

LIMITS = filters.Limits("demo")
NAMES = ["no_refined_part", "wrong_answer", "truncated"]


def completions(rows, table):
    """rows: (problem, sample, template, error_ranks, response, finish_reason)"""
    return tables.from_rows(
        (
            {
                "problem_id": p,
                "sample_id": s,
                "template": t,
                "error_ranks": e,
                "response": r,
                "finish_reason": f,
                "prompt_tokens": 1,
                "completion_tokens": 9,
                "completion": f"{p}{s}",
            }
            for p, s, t, e, r, f in rows
        ),
        table,
    )


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
        tables.VERDICTS,
    )


def steps(keys, false=(), empty=()):
    """Rows of steps for (problem, sample) keys.

    One false claim for those in ``false``; no true one for those in ``empty``.
    """
    first = {"start": 0, "end": 9, "text": "2 + 2 = 5", "rule": "arithmetic"}
    return tables.from_rows(
        (
            {
                "problem_id": p,
                "sample_id": s,
                "true": int((p, s) not in empty),
                "false": int((p, s) in false),
                "unknown": 0,
                "first_false": first if (p, s) in false else None,
            }
            for p, s in keys
        ),
        tables.STEPS,
    )


def write_steps(folder, name, keys, false=(), empty=()):
    tables.write(steps(keys, false, empty), folder / name, tables.STEPS, {})


SAMPLES = [("a", 0), ("a", 1), ("b", 0), ("c", 0), ("c", 1)]
REFLECTIONS = [("a", 0), ("a", 1), ("a", 2), ("a", 3), ("b", 0), ("b", 1), ("c", 0)]
TRACES = [("a", 0), ("b", 0), ("c", 0)]


@pytest.fixture
def folder(tmp_path):
    """Problems a (reflections pass), b (none passes), c (no error), d (nothing); files on disk."""
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
        {
            "problem_id": p,
            "rank": r,
            "sample_id": s,
            "response": "w",
            "extracted": "9",
            "source": "own",
            "source_problem_id": p,
            "own_sample_id": s,
        }
        for p, r, s in (("a", 0, 0), ("a", 1, 7), ("b", 0, 0))
    ]
    written = {
        "problems": (problems, tables.PROBLEMS),
        "trace-verdicts": (
            verdicts([("a", 0, "correct"), ("b", 0, "incorrect"), ("c", 0, "correct")]),
            tables.VERDICTS,
        ),
        "samples": (
            completions([(p, s, "solve", [], r, "stop") for p, s, r in samples], tables.SAMPLES),
            tables.SAMPLES,
        ),
        "verdicts": (verdicts(judged), tables.VERDICTS),
        "errors": (tables.from_rows(errors, tables.ERRORS), tables.ERRORS),
        "reflections": (completions(reflections, tables.REFLECTIONS), tables.REFLECTIONS),
        "reflection-verdicts": (verdicts(reflected), tables.VERDICTS),
    }
    for name, (frame, table) in written.items():
        tables.write(frame, tmp_path / name, table, {})
    write_steps(tmp_path, "steps", SAMPLES)
    write_steps(tmp_path, "reflection-steps", REFLECTIONS)
    write_steps(tmp_path, "trace-steps", TRACES)
    return tmp_path


def run(
    folder,
    trained_on="reflection",
    fallback_no_error="drop",
    fallback_all_filtered="drop",
    names=NAMES,
    limit=2,
    drop_false_traces=False,
    min_rows=1,
    with_samples=True,
    **keys,
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
        "drop_false_traces": drop_false_traces,
        "min_rows": min_rows,
        **keys,
    }
    given = ["problems", "trace-verdicts", "trace-steps"]
    if with_samples:
        given += ["samples", "verdicts", "steps"]
    if trained_on == "reflection":
        given += ["errors", "reflections", "reflection-verdicts", "reflection-steps"]
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


@pytest.mark.parametrize("trained_on", ["solution", "teacher_trace"])
def test_arms_on_solutions_and_traces_need_no_samples(folder, trained_on):
    with_samples, full = run(folder, trained_on)
    without, summary = run(folder, trained_on, with_samples=False)
    assert without.height > 0 and without.equals(with_samples)
    assert "own_samples" in full and "own_samples" not in summary
    assert summary["rows"] == full["rows"]


def test_arms_on_own_texts_refuse_to_run_without_samples(folder):
    with pytest.raises(InputError, match=r"--samples: an arm trained on own_correct needs"):
        run(folder, "own_correct", with_samples=False)


def test_passing_reflections_one_per_prompt_first(folder):
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


def test_a_problem_whose_error_could_not_be_exposed_is_counted_and_is_one_with_an_error(folder):
    errors = tables.read(folder / "errors", tables.ERRORS)
    tables.write(errors.filter(pl.col("problem_id") != "b"), folder / "errors", tables.ERRORS, {})
    rows, summary = run(folder, fallback_no_error="own_correct", fallback_all_filtered="drop")
    assert "b" not in set(rows["problem_id"]) and "c" in set(rows["problem_id"])
    assert summary["without_exposed_error"] == 1
    assert summary["fallbacks"]["fallback_all_filtered"]["problems"] == 1
    _, summary = run(folder, trained_on="own_correct")
    assert summary["without_exposed_error"] == 0


def test_a_gold_that_is_a_whole_text_is_not_stated_as_an_answer(folder):
    problems = tables.read(folder / "problems", tables.PROBLEMS)
    golds = ["He has 3*2=<<3*2=6>>6\n#### 6", "2" * 301, "3", "so #### 4"]
    tables.write(
        problems.with_columns(answer=pl.Series(golds)), folder / "problems", tables.PROBLEMS, {}
    )
    # d has a solution with its answer in a box
    expected = [("c", "\\boxed{ 3 }", "solution"), ("d", "\\boxed{ 4 }", "solution")]
    assert pairs(run(folder, "solution")[0]) == expected


def test_repeated_texts_count_once_and_keep_their_order():
    rows = [{"completion": text, "n": n} for n, text in enumerate(["A", "B", "C", "A", "B"])]
    assert [row["n"] for row in candidates.drop_repeated(rows, "completion")] == [0, 1, 2]


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
        tables.VERDICTS,
        {},
    )
    write_steps(folder, "steps", [("a", n) for n in range(3)])
    found, _ = run(folder, "own_correct", names=[*NAMES, "several_answers"])
    assert found["completion"].to_list() == [texts["good"]]


WITH_STEPS = ["no_refined_part", "wrong_answer", "false_step", "truncated"]


def test_a_reflection_with_a_false_step_is_removed_and_counted(folder):
    # a/1 is wrong as well, and counts where the earlier filter removed it
    write_steps(folder, "reflection-steps", REFLECTIONS, {("a", 0), ("a", 1)})
    unfiltered, _ = run(folder)
    assert unfiltered["completion"].to_list() == ["one", "three"]
    rows, summary = run(folder, names=WITH_STEPS)
    assert pairs(rows) == [("a", "three", "reflection")]
    assert rows["filters_passed"].to_list() == [WITH_STEPS]
    assert summary["waterfall"] == [
        {"filter": "no_refined_part", "removed": 1, "left": 6},
        {"filter": "wrong_answer", "removed": 1, "left": 5},
        {"filter": "false_step", "removed": 1, "left": 4},
        {"filter": "truncated", "removed": 1, "left": 3},
    ]
    assert summary["coverage"]["false_step"] == 2


def test_a_text_without_a_true_step_is_removed_where_the_configuration_says_so(folder):
    write_steps(folder, "reflection-steps", REFLECTIONS, empty={("a", 0)})
    write_steps(folder, "steps", SAMPLES, empty={("c", 0), ("c", 1)})
    names = ["no_refined_part", "wrong_answer", "no_step", "truncated"]
    fallback = {"fallback_no_error": "own_correct"}
    kept = [pairs(run(folder, names=each, limit=9, **fallback)[0]) for each in (NAMES, names)]
    assert {*kept[0]} - {*kept[1]} == {
        ("a", "one", "reflection"),
        ("c", "right c", "own_correct"),
    }
    _, summary = run(folder, names=names, **fallback)
    assert summary["coverage"]["no_step"] == 1
    assert summary["own_samples"]["coverage"]["no_step"] == 2


def test_an_own_sample_with_a_false_step_is_removed_and_counted(folder):
    write_steps(folder, "steps", SAMPLES, {("a", 0), ("a", 1)})
    assert run(folder, "own_correct")[0]["problem_id"].to_list() == ["a", "c"]
    rows, summary = run(folder, "own_correct", names=WITH_STEPS)
    assert pairs(rows) == [("c", "right c", "own_correct")]
    assert rows["filters_passed"].to_list() == [["wrong_answer", "false_step", "truncated"]]
    assert summary["own_samples"] == {
        "samples": 5,
        "waterfall": [
            {"filter": "wrong_answer", "removed": 2, "left": 3},
            {"filter": "false_step", "removed": 1, "left": 2},
            {"filter": "truncated", "removed": 0, "left": 2},
        ],
        "coverage": {"wrong_answer": 2, "false_step": 2},
    }
    # the same samples as a fallback of an arm that reflects
    fallback = {"fallback_no_error": "own_correct", "fallback_all_filtered": "own_correct"}
    rows, _ = run(folder, names=WITH_STEPS, **fallback)
    own = [pair for pair in pairs(rows) if pair[2] == "own_correct"]
    assert own == [("c", "right c", "own_correct")]


def test_own_samples_pass_the_answer_and_the_end_whatever_is_configured(folder):
    _, summary = run(folder, "own_correct", names=["leak", "false_step"])
    names = [step["filter"] for step in summary["own_samples"]["waterfall"]]
    assert names == ["false_step", "wrong_answer", "truncated"]


def test_teacher_traces_with_a_false_step_are_dropped_if_the_configuration_says_so(folder):
    # b's trace is false too, but its answer is wrong, so that it is not used anyway
    write_steps(folder, "trace-steps", TRACES, {("a", 0), ("b", 0)})
    rows, summary = run(folder, "teacher_trace", names=WITH_STEPS)
    assert rows["problem_id"].to_list() == ["a", "c"]
    assert summary["teacher_traces"] == {
        "candidates": 3,
        "correct": 2,
        "not_first": 0,
        "with_false_step": 1,
        "dropped": 0,
    }
    rows, summary = run(folder, "teacher_trace", names=WITH_STEPS, drop_false_traces=True)
    assert pairs(rows) == [("c", "long c", "teacher_trace")]
    assert summary["teacher_traces"]["dropped"] == 1
    # and as a fallback: a's reflections are all filtered out, c has no error
    reflecting = {"fallback_all_filtered": "teacher", "fallback_no_error": "teacher"}
    write_steps(folder, "reflection-steps", REFLECTIONS, REFLECTIONS)
    reflecting["names"] = WITH_STEPS
    kept, _ = run(folder, **reflecting)
    assert kept["problem_id"].to_list() == ["a", "c"]
    assert run(folder, **reflecting, drop_false_traces=True)[0]["problem_id"].to_list() == ["c"]


@pytest.mark.parametrize(
    ("name", "keys", "message"),
    [
        ("reflection-steps", REFLECTIONS[:-2], "2 of 7"),
        ("steps", SAMPLES[1:], "1 of 5"),
        ("trace-steps", TRACES[1:], "1 of 3"),
        ("trace-verdicts", TRACES[:2], "1 of 3"),
    ],
)
def test_a_text_that_was_not_checked_is_refused(folder, name, keys, message):
    if name == "trace-verdicts":
        kept = verdicts([(*key, "correct") for key in keys])
        tables.write(kept, folder / name, tables.VERDICTS, {})
    else:
        write_steps(folder, name, keys)
    with pytest.raises(InputError, match=f"/{name}: {message} texts have no row, .*delete the fi"):
        run(folder)


def test_an_unknown_filter_is_refused_and_the_filters_are_listed(folder):
    with pytest.raises(InputError, match=r"unknown filter 'false_steps'; .*wrong_answer, false_s"):
        run(folder, names=["false_steps"])
    assert not (folder / "out").exists()


def test_the_limit_holds_for_every_arm(folder):
    assert run(folder, limit=1)[0]["problem_id"].to_list() == ["a"]


def test_an_empty_training_set_stops_and_says_why(folder):
    with pytest.raises(
        InputError, match=r"arm x: 0 training rows are left.*; 7 reflections, waterfall .*leak"
    ):
        run(folder, names=["leak", "wrong_answer", "too_long"], limit=0)


@pytest.mark.parametrize(
    ("trained_on", "rows", "why"),
    [
        ("reflection", 2, "7 reflections, waterfall "),
        (
            "teacher_trace",
            2,
            r'2 of the 4 problems have a usable teacher_trace\. {"candidates": 3, "correct": 2, '
            ".* Map fields.teacher_trace",
        ),
        ("solution", 4, "4 of the 4 problems have a usable solution. Map fields.solution"),
        ("own_correct", 2, r'2 of the 4 problems have a usable own_correct\. {"samples": 5, '),
    ],
)
def test_an_arm_with_too_few_rows_stops_and_says_why(folder, trained_on, rows, why):
    assert run(folder, trained_on, min_rows=rows)[0].height == rows
    (folder / "out").unlink()
    with pytest.raises(
        InputError,
        match=rf"arm x: {rows} training rows are left, fewer than select\.min_rows = {rows + 1}; "
        rf"{why}.* or lower select\.min_rows",
    ):
        run(folder, trained_on, min_rows=rows + 1)
    assert not (folder / "out").exists()


def test_preview_is_for_reading(folder):
    run(folder)
    lines = [json.loads(line) for line in (folder / "p.jsonl").read_text().splitlines()]
    assert [line["completion"] for line in lines] == ["one", "three"]


def test_memory_beside_the_tables_does_not_grow_with_the_texts(folder, monkeypatch):
    # 8 MB of samples and reflections; rows made for all of them would hold it in Python again
    monkeypatch.setattr(tables, "ROW_GROUP", 64)
    n, k, text = 500, 4, "word " * 400
    ids = [f"p{i:04d}" for i in range(n)]
    problems = pl.DataFrame(
        {
            "problem_id": ids,
            "problem": ["problem"] * n,
            "answer": ["1"] * n,
            "solution": [None] * n,
            "teacher_trace": [text] * n,
            "meta": [{"source_row": i} for i in range(n)],
        },
        schema_overrides={"solution": pl.String},
    )
    tables.write(problems, folder / "problems", tables.PROBLEMS, {})
    keys = [(p, s) for p in ids for s in range(k)]
    own = [(p, s, "solve", [], f"{text}{s}", "stop") for p, s in keys]
    tables.write(completions(own, tables.SAMPLES), folder / "samples", tables.SAMPLES, {})
    new = [(p, s, "reflect", [0], f"New: {text}{s}", "stop") for p, s in keys]
    tables.write(
        completions(new, tables.REFLECTIONS), folder / "reflections", tables.REFLECTIONS, {}
    )
    error = {"rank": 0, "sample_id": 0, "response": "w", "extracted": "9", "source": "own"}
    errors = [{"problem_id": p, "source_problem_id": p, "own_sample_id": 0, **error} for p in ids]
    tables.write(tables.from_rows(errors, tables.ERRORS), folder / "errors", tables.ERRORS, {})
    right = [(p, s, "correct") for p, s in keys]
    for prefix in ("", "reflection-"):
        tables.write(verdicts(right), folder / f"{prefix}verdicts", tables.VERDICTS, {})
        write_steps(folder, f"{prefix}steps", keys)
    traces = [(p, 0) for p in ids]
    judged = [(*key, "correct") for key in traces]
    tables.write(verdicts(judged), folder / "trace-verdicts", tables.VERDICTS, {})
    write_steps(folder, "trace-steps", traces)

    tracemalloc.start()
    try:
        rows, _ = run(folder, names=["no_refined_part", "wrong_answer"], limit=1)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert rows.height == n
    assert peak < 6e6
