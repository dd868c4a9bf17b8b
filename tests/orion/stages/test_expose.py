import json

import polars as pl
import pytest

from orion import tables
from orion.errors import InputError
from orion.stages import expose


def table(rows):
    """rows: (problem, sample, verdict, extracted)"""
    samples = tables.from_rows(
        (
            {
                "problem_id": p,
                "sample_id": s,
                "template": "solve",
                "response": f"{p}/{s}",
                "finish_reason": "stop",
                "prompt_tokens": 1,
                "completion_tokens": 1,
                "completion": f"{p}{s}",
            }
            for p, s, _, _ in rows
        ),
        tables.SAMPLES,
    )
    verdicts = tables.from_rows(
        (
            {
                "problem_id": p,
                "sample_id": s,
                "verdict": v,
                "extracted": x,
                "reason": "",
                "rule": "",
            }
            for p, s, v, x in rows
        ),
        tables.VERDICTS,
    )
    return samples, verdicts


ROWS = [
    ("a", 0, "incorrect", "1"),
    ("a", 1, "incorrect", "1"),
    ("a", 2, "incorrect", "2"),
    ("a", 3, "unparseable", None),
    ("b", 0, "correct", "5"),
    ("b", 1, "incorrect", "6"),
    ("c", 0, "correct", "5"),
    ("d", 0, "incorrect", "7"),
    ("d", 1, "timeout", None),
]


@pytest.mark.parametrize(("selection", "second"), [("distinct", 2), ("first", 1)])
def test_selection_prefers_new_wrong_answers(selection, second):
    own = expose.own_errors(*table(ROWS), max_errors=2, selection=selection)
    assert own.select("problem_id", "rank", "sample_id").rows() == [
        ("a", 0, 0),
        ("a", 1, second),
        ("b", 0, 1),
        ("d", 0, 0),
    ]


def test_only_what_is_known_to_be_wrong_is_an_error():
    own = expose.own_errors(*table(ROWS), max_errors=9, selection="distinct")
    assert set(own["problem_id"]) == {"a", "b", "d"}
    assert own.filter(pl.col("problem_id") == "a")["sample_id"].to_list() == [0, 2, 1]


def test_the_placebo_shows_as_many_attempts_of_other_problems():
    many = [(f"p{i}", s, "incorrect", str(s)) for i in range(30) for s in range(1 + i % 3)]
    own = expose.own_errors(*table(many), max_errors=2, selection="distinct")
    foreign = expose.other_problem_errors(own)
    assert (
        foreign.select("problem_id", "rank", "own_sample_id")
        .sort(pl.all())
        .equals(own.select("problem_id", "rank", "own_sample_id").sort(pl.all()))
    )
    assert (foreign["problem_id"] != foreign["source_problem_id"]).all()
    assert sorted(foreign["response"]) == sorted(own["response"])
    assert (
        foreign["response"]
        == foreign["source_problem_id"] + "/" + foreign["sample_id"].cast(pl.String)
    ).all()
    assert set(foreign["source"]) == {"other_problem"}


def test_the_placebo_does_not_depend_on_row_order():
    own = expose.own_errors(*table(ROWS), max_errors=2, selection="distinct")
    again = expose.other_problem_errors(own.sample(fraction=1, shuffle=True, seed=3))
    assert again.sort("problem_id", "rank").equals(
        expose.other_problem_errors(own).sort("problem_id", "rank")
    )


def test_one_problem_has_no_foreign_attempt():
    own = expose.own_errors(*table(ROWS[:3]), max_errors=2, selection="distinct")
    assert expose.other_problem_errors(own).is_empty()


def write_inputs(folder, steps=True):
    samples, verdicts = table(ROWS)
    written = {"samples": (samples, tables.SAMPLES), "verdicts": (verdicts, tables.VERDICTS)}
    if steps:
        first = {"start": 0, "end": 2, "text": "", "rule": ""}
        counts = {"true": 0, "false": 1, "unknown": 0, "first_false": first}
        rows = ({"problem_id": p, "sample_id": s, **counts} for p, s, _, _ in ROWS)
        written["steps"] = (tables.from_rows(rows, tables.STEPS), tables.STEPS)
    for name, (frame, kind) in written.items():
        tables.write(frame, folder / name, kind, {})
    return [word for name in written for word in (f"--{name}", str(folder / name))]


def test_the_placebo_shows_what_the_own_errors_show(tmp_path):
    config = {"error_source": "other_problem", "max_errors": 2, "selection": "first"}
    config |= {"show": "to_false_step"}
    argv = ["--config", json.dumps(config), "--output", str(tmp_path / "errors")]
    expose.main([*argv, *write_inputs(tmp_path)])
    found = tables.read(tmp_path / "errors", tables.ERRORS)
    # the attempts are "a/0", and the false step of each ends behind two characters
    assert (found["response"] == found["source_problem_id"] + "/").all() and found.height
    assert set(tables.read_provenance(tmp_path / "errors")["inputs"]) == {
        "samples",
        "verdicts",
        "steps",
    }


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"show": "to_false_step"}, "show: to_false_step needs --steps"),
        ({"show": "answer"}, "show: answer needs prompts with the block answer"),
        ({"show": "half"}, "show: half is none of whole, to_false_step, answer"),
        ({"selection": "last"}, "selection: last is none of first, distinct"),
    ],
)
def test_what_cannot_be_shown_is_refused(tmp_path, keys, message):
    config = {"error_source": "own", "max_errors": 2, "selection": "first", **keys}
    argv = ["--config", json.dumps(config), "--output", str(tmp_path / "errors")]
    with pytest.raises(InputError, match=message):
        expose.main([*argv, *write_inputs(tmp_path, steps=False)])
    assert not (tmp_path / "errors").exists()


def test_sham_errors_need_what_they_are_made_of(tmp_path):
    config = {"error_source": "sham", "max_errors": 2, "selection": "first"}
    for name, frame in zip(("samples", "verdicts"), table(ROWS), strict=True):
        tables.write(
            frame, tmp_path / name, tables.SAMPLES if name == "samples" else tables.VERDICTS, {}
        )
    argv = [f"--{name}={tmp_path / name}" for name in ("samples", "verdicts", "output")]
    with pytest.raises(InputError, match="--problems, --steps, policy and timeout_s in --config"):
        expose.main([f"--config={json.dumps(config)}", *argv])
    argv += [f"--problems={tmp_path}", f"--steps={tmp_path}"]
    config |= {"policy": "maths", "timeout_s": 5.0}
    with pytest.raises(InputError, match="policy: unknown answer policy"):
        expose.main([f"--config={json.dumps(config)}", *argv])
    assert not (tmp_path / "output").exists()


def test_the_table_of_sham_errors_says_what_it_was_made_of(tmp_path):
    text = "47 + 38 = 85 ; \\boxed{ 85 }"
    samples, verdicts = table([("a", 0, "correct", "85"), ("a", 1, "incorrect", "75")])
    samples = samples.with_columns(response=pl.Series([text, "47 + 38 = 75 ; \\boxed{ 75 }"]))
    counts = {"true": 1, "false": 0, "unknown": 0, "first_false": None}
    steps = [{"problem_id": "a", "sample_id": s, **counts} for s in (0, 1)]
    problem = {"problem_id": "a", "problem": "47 and 38 ?", "answer": "85", "solution": None}
    written = {
        "samples": (samples, tables.SAMPLES),
        "verdicts": (verdicts, tables.VERDICTS),
        "steps": (tables.from_rows(steps, tables.STEPS), tables.STEPS),
        "problems": (
            pl.DataFrame(
                [{**problem, "teacher_trace": None, "meta": {"source_row": 0}}],
                schema_overrides={"solution": pl.String, "teacher_trace": pl.String},
            ),
            tables.PROBLEMS,
        ),
    }
    for name, (frame, kind) in written.items():
        tables.write(frame, tmp_path / name, kind, {})
    config = {"error_source": "sham", "max_errors": 2, "selection": "first"}
    config |= {"policy": "math", "timeout_s": 5.0}
    argv = [f"--{name}={tmp_path / name}" for name in (*written, "output")]
    expose.main([f"--config={json.dumps(config)}", *argv])
    [row] = tables.read(tmp_path / "output", tables.ERRORS).rows(named=True)
    assert (row["source"], row["sample_id"], row["own_sample_id"]) == ("sham", 0, 1)
    wrong = row["extracted"].strip()
    assert row["response"] == f"47 + 38 = {wrong} ; \\boxed{{ {wrong} }}" != text
    assert set(tables.read_provenance(tmp_path / "output")["inputs"]) == set(written)


def test_the_most_confident_attempt_comes_first_and_those_without_a_number_last():
    samples, verdicts = table(ROWS)
    scored = pl.DataFrame(
        {"problem_id": ["a", "a", "d"], "sample_id": [1, 2, 0], "tokens": [3, 3, 3],
         "surprise": [0.5, 0.25, 1.0], "rank": [1.0, 1.0, 1.0]}
    )  # fmt: skip
    errors = expose.own_errors(
        samples, verdicts, max_errors=3, selection="most_confident", surprisals=scored
    )
    found = errors.select("problem_id", "sample_id").rows()
    assert found == [("a", 2), ("a", 1), ("a", 0), ("b", 1), ("d", 0)]


def test_most_confident_needs_the_surprisal(tmp_path):
    for name, frame, kind in zip(
        ("s", "v"), table(ROWS), (tables.SAMPLES, tables.VERDICTS), strict=True
    ):
        tables.write(frame, tmp_path / name, kind, {})
    keys = {"error_source": "own", "max_errors": 2, "selection": "most_confident"}
    argv = ["--config", json.dumps(keys), "--samples", str(tmp_path / "s")]
    argv += ["--verdicts", str(tmp_path / "v"), "--output", str(tmp_path / "errors")]
    with pytest.raises(InputError, match="most_confident needs --surprisal"):
        expose.main(argv)
    assert not (tmp_path / "errors").exists()
