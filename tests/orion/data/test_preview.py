"""``orion data preview``: rows before and after the mapping, reasons of rejection, hints."""

import json

import pytest
import yaml

from orion.cli.main import main as orion
from tests.helpers.configurations import read_one_student


@pytest.fixture
def show(root, tmp_path, monkeypatch, capsys):
    raw = read_one_student(root)

    def run(rows, block, *args):
        (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        source = {"kind": "file", "path": str(tmp_path / "rows.jsonl")}
        raw["datasets"] = {"mine": {"source": source, **block}}
        raw["runs"]["datasets"] = ["mine"]
        (tmp_path / "run.yaml").write_text(yaml.safe_dump(raw))
        monkeypatch.chdir(tmp_path)
        orion(["data", "preview", str(tmp_path / "run.yaml"), "--name", "mine", *args])
        return capsys.readouterr().out

    return run


CHAT = [
    {
        "chat": [{"role": "user", "content": f"{n}+1?"}, {"role": "assistant", "content": f"{n}"}],
        "gold": f"so {n}\n#### {n}",
    }
    for n in range(3)
]


def test_rows_are_shown_before_and_after(show):
    fields = {
        "problem_id": None,
        "problem": "chat[0].content",
        "answer": {"from": "gold", "extract": "hashes"},
        "teacher_trace": "chat[1].content",
    }
    out = show(CHAT, {"fields": fields}, "--rows", "1")
    assert '  gold = "so 0\\n#### 0"' in out and '    answer: "0"' in out
    assert 'trace 0 (row 0, chat[1].content): "0"' in out
    assert "the first 3 rows: 3 usable" in out
    assert "row 1" not in out and "hint:" not in out


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (
            {"problem": "chat", "answer": "gold"},
            "did you mean `chat[0].content` or `chat[1].content`?",
        ),
        ({"problem": "chat[7].content", "answer": "gold"}, "did you mean `chat[1].content`"),
        ({"problem": "chat[0].content", "answer": "god"}, "no row has 'god' for answer; did you"),
        ({"problem": "chat[0].content", "answer": "gold"}, "map it with `extract: hashes`"),
        (
            {"problem": "chat[0].content", "answer": "chat[0].content"},
            "problem and answer are the same text",
        ),
        (
            {"problem": "chat[0].content", "answer": "gold", "teacher_trace": "trace"},
            "no row has 'trace' for teacher_trace; the columns are: chat, gold",
        ),
        (
            {"problem_id": "id", "problem": "chat[0].content", "answer": "gold"},
            "`problem_id: null` numbers the rows",
        ),
        (
            {"problem": "chat[0].content", "answer": "gold", "teacher_trace": "chat[0].content"},
            "is a turn of 'user' in the first row; did you mean `chat[role=assistant].content`?",
        ),
    ],
)
def test_a_wrong_mapping_gets_a_hint(show, fields, words):
    out = show(CHAT, {"fields": {"problem_id": None, **fields}})
    assert words in out


def test_bad_rows_conditions_and_markers_are_named(show):
    rows = [
        {"q": "a?", "a": "nan", "t": "<|begin_of_thought|>x", "ok": True},
        {"q": "b?", "a": "1", "t": "<|begin_of_thought|>x", "ok": True},
        {"q": "b?", "a": "1", "t": "y", "ok": True},
        {"q": "c?", "a": "1", "t": "y", "ok": False},
    ]
    block = {
        "fields": {"problem_id": None, "problem": "q", "answer": "a", "teacher_trace": "t"},
        "where": {"ok": True},
    }
    out = show(rows, block)
    assert "is rejected, placeholder_answer" in out
    assert "the first 4 rows: 2 usable, 1 placeholder_answer, 1 not where" in out
    assert "has the marker <|begin_of_thought|>" in out
    assert "1 rows repeat a problem: their traces become its candidates" in out


def test_a_name_that_is_not_defined_is_refused(root, capsys):
    with pytest.raises(SystemExit) as stopped:
        orion(["data", "preview", str(root / "config/config.yaml"), "--name", "mine"])
    assert stopped.value.code == 2
    assert "--name mine: not defined; one of" in capsys.readouterr().err


SHOWN = {"problem": "q", "answer": "a", "teacher_trace": "t (r)"}


def test_a_turn_that_every_row_shares_is_no_problem(show):
    turns = [("system", "Be brief."), ("user", "1+1?"), ("assistant", "2")]
    rows = [
        {"chat": [{"role": role, "content": text} for role, text in turns], "a": str(n)}
        for n in range(8)
    ]
    fields = {"problem_id": None, "problem": "chat[0].content", "answer": "a"}
    out = show(rows, {"fields": {**fields, "teacher_trace": "chat[1].content"}})
    assert "problem: all 8 rows have the same text" in out and "candidates" not in out
    assert "chat[0].content is a turn of 'system' in the first row" in out
    assert "`chat[role=user].content`" in out and "`chat[role=assistant].content`" in out


def test_thinking_without_its_opening_and_channels_are_named(show):
    texts = ["T</think>A", "<think>T</think>A", "<|channel|>analysis<|message|>T"]
    rows = [{"q": f"{n}?", "a": str(n), "t (r)": text} for n, text in enumerate(texts)]
    out = show(rows, {"fields": {"problem_id": None, **SHOWN}})
    assert "1 of 3 traces have </think> and no <think>" in out
    assert '"<think>\\n{t (r)}" opens it' in out
    assert "1 of 3 traces are in the channels of gpt-oss" in out


def test_advice_says_how_many_rows_it_is_for_and_no_escape_is_cut(show):
    rows = [{"q": "x" * 99 + "\\boxed{" + "y" * 13, "a": f"{n}"} for n in range(3)]
    rows[0]["a"] = "so 0\n#### 0"
    out = show(rows, {"fields": {"problem_id": None, "problem": "q", "answer": "a"}})
    assert "answer (1 of 3 rows); the answer is behind ####" in out
    assert '... \\\\boxed{yyyyyyyyyyyyy" (119 characters)' in out
