"""The commands ``orion answers``: verdicts, lint, audit, and errors on bad input."""

import importlib.metadata
import io
import json
import sys

import polars as pl
import pyarrow as pa
import pytest

from orion import config, tables
from orion.answers import POLICIES, policies
from orion.answers.workers import pool
from orion.cli.main import main
from orion.errors import InputError
from orion.stages import check, lint


@pytest.fixture(autouse=True)
def no_worker_is_left_behind():
    yield
    pool.POOL.close()


@pytest.fixture
def run(capsys):
    """Run ``orion answers ...``: exit status, standard output, standard error."""

    def call(*argv) -> tuple[int, str, str]:
        try:
            main(["answers", *map(str, argv)])
            status = 0
        except SystemExit as stop:
            status = int(stop.code or 0)
        return status, *capsys.readouterr()

    return call


def jsonl(path, rows, packed=False):
    text = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(pa.compress(text, codec="zstd", asbytes=True) if packed else text)
    return path


GOLDS = [
    {"id": "one", "answer": "5"},
    {"id": "two", "answer": "\\foo"},
    {"id": "three", "answer": 7.0},
    {"id": "four"},
]


def test_check_prints_the_verdict_as_json(run, monkeypatch):
    status, out, _ = run("check", "1/2", r"so \boxed{0.5}")
    assert status == 0 and json.loads(out)["verdict"] == "correct"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xff so it is -3.")))
    status, out, _ = run("check", "--policy", "math", "--", "-3")
    assert json.loads(out)["extracted"] == "-3"
    status, out, _ = run("check", "½", r"\boxed{0.5}", "--policy", "math-verify")
    assert json.loads(out)["rule"] == "math-verify"


def test_lint_lists_golds_counts_them_and_sets_the_status(run, tmp_path):
    status, out, _ = run("lint", jsonl(tmp_path / "golds.jsonl.zst", GOLDS, packed=True))
    assert status == 1
    assert out.splitlines()[0].startswith("two: \\foo: ")
    assert out.splitlines()[1:] == [
        "four: -: the gold is not a string",
        "4 golds, 2 cannot be parsed under the policy math",
    ]
    good = tmp_path / "good.parquet"
    pl.DataFrame({"problem_id": ["p"], "gold": ["1\\frac12"]}).write_parquet(good)
    status, out, _ = run("lint", good, "--answer", "gold")
    assert (status, out) == (0, "1 golds, 0 cannot be parsed under the policy math\n")


def test_lint_under_math_verify(run, tmp_path):
    status, out, _ = run("lint", jsonl(tmp_path / "golds.jsonl", GOLDS), "--policy", "math-verify")
    assert status == 1 and "two: \\foo: not parsed, kept as a text" in out


@pytest.mark.parametrize(
    ("name", "text", "argv", "message"),
    [
        ("golds.txt", "", [], "give a .jsonl, .json, .csv or .parquet file"),
        ("absent.jsonl", None, [], "no such file"),
        ("golds.jsonl", "", [], "no rows"),
        ("golds.jsonl", "{", [], "line 1: not JSON"),
        (
            "golds.jsonl",
            '{"id": 1, "gold": "5"}',
            [],
            "no row has the column 'answer'; the columns are: gold, id",
        ),
        ("golds.parquet", "no parquet", [], "not a parquet file"),
        ("golds.jsonl", '{"answer": "5"}', ["--policy", "maths"], "unknown answer policy 'maths'"),
    ],
)
def test_bad_input_is_named_with_status_2(run, tmp_path, name, text, argv, message):
    path = tmp_path / name
    if text is not None:
        path.write_text(text)
    status, _, err = run("lint", path, *argv)
    assert status == 2 and message in err and "Traceback" not in err


ROWS = [
    {"id": "a", "answer": "1/2", "response": r"\boxed{0.5}"},
    {"id": "b", "answer": 25, "response": "<think> so \\boxed{25} and then we"},
    {"id": "c", "answer": "5", "response": "no idea"},
    {"id": "d", "answer": "5", "response": r"\boxed{6}"},
]


def test_audit_prints_both_accuracies_the_band_and_the_disputes(run, tmp_path):
    output = tmp_path / "differ.jsonl"
    status, out, err = run("audit", jsonl(tmp_path / "rows.jsonl", ROWS), "--output", output)
    assert status == 0 and err.endswith("differ.jsonl: 1 rows\n")
    for wanted in (
        "4 rows",
        "25.00%  (1 correct)",
        "50.00%  (2 correct)",
        "25.00% to 50.00%: the 1 rows in dispute",
    ):
        assert wanted in out
    assert "b  gold 25" in out and "the thinking was never closed" in out
    (record,) = map(json.loads, output.read_text().splitlines())
    assert (record["id"], record["math"]["verdict"], record["math-verify"]["verdict"]) == (
        "b",
        "no_answer",
        "correct",
    )
    assert [p.name for p in tmp_path.iterdir() if "partial" in p.name] == []


def test_audit_of_a_runs_samples_with_the_golds_of_its_problems(run, tmp_path):
    problems, samples = tmp_path / "problems.parquet", tmp_path / "samples.parquet"
    made = [
        {"problem_id": str(n), "problem": "?", "answer": str(n), "meta": {"source_row": n}}
        for n in range(3)
    ]
    frame = pl.DataFrame(made).with_columns(
        pl.lit(None, pl.String).alias(c) for c in ("solution", "teacher_trace")
    )
    tables.write(frame, problems, tables.PROBLEMS, {})
    text = {"template": "solve", "prompt_tokens": 1, "completion_tokens": 1, "completion": "c"}
    rows = [
        {
            "problem_id": "1",
            "sample_id": k,
            "response": f"it is {k}",
            "finish_reason": reason,
            **text,
        }
        for k, reason in ((0, "stop"), (1, "length"))
    ]
    tables.write(tables.from_rows(rows, tables.SAMPLES), samples, tables.SAMPLES, {})
    status, out, _ = run("audit", samples, "--problems", problems, "--against", "strict")
    assert (
        status == 0
        and "2 rows" in out
        and "0 rows in dispute" in out
        and "1 rows differ in the verdict" in out
    )
    status, out, _ = run("audit", samples, "--problems", problems)
    # the policy math gives a truncated response no credit; Math-Verify knows no finish reasons
    assert "1/1  gold 1" in out and "cut off before an answer" in out
    status, _, err = run(
        "audit",
        samples,
        "--problems",
        jsonl(tmp_path / "other.jsonl", [{"id": "7", "answer": "1"}]),
    )
    assert status == 2 and "1/0 has no problem in" in err
    double = jsonl(
        tmp_path / "double.jsonl", [{"id": "1", "answer": "1"}, {"id": "1", "answer": "2"}]
    )
    status, _, err = run("audit", samples, "--problems", double)
    assert status == 2 and "1 occurs twice, with different golds" in err


def test_the_configuration_knows_exactly_the_policies_there_are(root):
    blocks = config.Config.model_json_schema()["$defs"]
    for name in ("Dataset", "Benchmark"):
        assert set(blocks[name]["properties"]["policy"]["enum"]) == set(POLICIES)
    loaded = config.load(root / "config/config.yaml").model_dump()
    loaded["benchmarks"]["chains-test"]["policy"] = "math-verify"
    assert config.validate(loaded).benchmarks["chains-test"].policy == "math-verify"


def test_the_check_stage_takes_the_replay_as_its_policy(tmp_path):
    problems, output = tmp_path / "problems.parquet", tmp_path / "verdicts.parquet"
    made = [
        {
            "problem_id": "1",
            "problem": "?",
            "answer": "1/2",
            "solution": None,
            "meta": {"source_row": 0},
        }
    ]
    frame = pl.DataFrame(made, schema_overrides={"solution": pl.String}).with_columns(
        teacher_trace=pl.lit("It is 0.5")
    )
    tables.write(frame, problems, tables.PROBLEMS, {})
    keys = json.dumps({"policy": "math-verify", "timeout_s": 12.0, "part": "teacher_trace"})
    files = ["--problems", problems, "--samples", problems, "--output", output]
    files += ["--output-steps", tmp_path / "steps"]
    check.main(["--config", keys, *map(str, files)])
    assert tables.read(output, tables.VERDICTS).rows() == [
        ("1", 0, "correct", "0.5", "", "math-verify")
    ]


def test_audit_shows_and_reads_as_many_rows_as_wanted(run, tmp_path):
    rows = jsonl(
        tmp_path / "rows.jsonl", [{**ROWS[0], "id": n, "response": "It is 1/2."} for n in range(30)]
    )
    _, out, _ = run("audit", rows, "--against", "strict", "--show", 2, "--limit", 20)
    assert "20 rows in dispute:" in out and out.count("gold 1/2") == 2 and "and 18 more" in out
    assert run("audit", rows, "--limit", 0)[0] == 2
    status, _, err = run("audit", rows, "--against", "math")
    assert status == 2 and "name another policy" in err


def test_an_audit_that_fails_leaves_no_output(run, tmp_path, monkeypatch):
    def broken(*args, **settings):
        raise RuntimeError("the worker for math_verify cannot start")
        yield

    monkeypatch.setattr("orion.answers.audit.audit_rows", broken)
    with pytest.raises(RuntimeError):
        run("audit", jsonl(tmp_path / "rows.jsonl", ROWS), "--output", tmp_path / "differ.jsonl")
    assert [p.name for p in tmp_path.iterdir()] == ["rows.jsonl"]


def test_without_the_package_every_command_and_the_lint_stage_name_the_extra(
    run, tmp_path, monkeypatch
):
    def absent(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", absent)
    policies._need_math_verify.cache_clear()
    rows = jsonl(tmp_path / "rows.jsonl", ROWS)
    for argv in (
        ["audit", rows],
        ["lint", rows, "--policy", "math-verify"],
        ["check", "5", "5", "--policy", "math-verify"],
    ):
        status, out, err = run(*argv)
        assert (status, out) == (2, "") and "pip install -e '.[math-verify]'" in err
    with pytest.raises(InputError, match="install the extra"):
        lint.find_unparseable(pl.DataFrame({"problem_id": ["1"], "answer": ["1"]}), "math-verify")
    assert run("audit", rows, "--against", "strict")[0] == 0


def test_rules_prints_one_rule_and_names_all_for_an_unknown_one(capsys):
    main(["answers", "rules", "scale"])
    out = capsys.readouterr().out
    assert out.splitlines() == [
        "cues behind a value",
        "  scale                  part of more   It takes «5» score.",
    ]
    with pytest.raises(SystemExit):
        main(["answers", "rules", "nothing"])
    error = capsys.readouterr().err
    assert "no rule is named 'nothing'; known: currency, " in error and "scale" in error
