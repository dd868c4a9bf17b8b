"""Rows to problems: merged traces, joins, placeholders, and the spool that sorts on disk."""

import json
import random

import polars as pl
import pyarrow as pa
import pytest

from orion import tables
from orion.data import spool as spool_module
from orion.data.golds import find_placeholder
from orion.data.spool import Spool
from orion.errors import InputError
from orion.stages import dataset, lint

FIELDS = {"problem": "q", "answer": "a", "teacher_trace": "t"}


def run(folder, rows, fields=None, name="rows.jsonl", **changes):
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = {
        "source": {"kind": "file", "path": str(folder / name)},
        "fields": FIELDS if fields is None else fields,
        "where": {},
        "policy": "math",
        "max_rejected_fraction": 0.9,
        **changes,
    }
    out = [folder / "problems.parquet", folder / "rejected.parquet"]
    dataset.main(
        ["--config", json.dumps(settings), "--output", str(out[0]), "--rejected", str(out[1])]
    )
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == []
    return tables.read(out[0], tables.PROBLEMS), tables.read(out[1], tables.REJECTED)


def candidates(problems):
    return [
        [first, *(further or [])]
        for first, further in problems.select("teacher_trace", "further_traces").iter_rows()
    ]


def test_rows_of_one_problem_become_its_traces_in_order(tmp_path):
    rows = [
        {"q": "A?", "a": "1", "t": "first"},
        {"q": "B?", "a": "2", "t": None},
        {"q": "a?", "a": " 1", "t": "second"},
        {"q": "A?", "a": "1", "t": "first"},
        {"q": "A?", "a": "9", "t": "third"},
        {"q": "B?", "a": "2", "t": "late"},
    ]
    problems, rejected = run(tmp_path, rows)
    assert candidates(problems) == [["first", "second"], ["late"]]
    assert problems["trace_sources"].to_list() == [["row 0, t", "row 2, t"], ["row 5, t"]]
    assert rejected.select("row", "reason", "detail").rows() == [
        (3, "duplicate_problem", "row 0 has the same text and the same trace"),
        (4, "duplicate_problem", "row 0 has the same text and another answer"),
    ]


def test_without_traces_a_repeated_problem_stays_a_duplicate(tmp_path):
    rows = [{"q": "A?", "a": "1"}, {"q": "A?", "a": "1"}]
    _, rejected = run(tmp_path, rows, {"problem": "q", "answer": "a"})
    assert rejected["reason"].to_list() == ["duplicate_problem"]


def test_an_identifier_repeated_with_its_text_is_a_further_trace(tmp_path):
    rows = [{"i": "x", "q": "A?", "a": "1", "t": t} for t in ("one", "two")]
    rows.append({"i": "x", "q": "Another?", "a": "1", "t": "three"})
    problems, rejected = run(tmp_path, rows, {**FIELDS, "problem_id": "i"})
    assert candidates(problems) == [["one", "two"]]
    assert rejected["reason"].to_list() == ["duplicate_problem_id"]


def test_a_float_and_an_integer_of_one_value_are_one_identifier(tmp_path):
    rows = [{"i": 1.0, "q": "a?", "a": "1"}, {"i": 1, "q": "b?", "a": "2"}]
    problems, rejected = run(tmp_path, rows, {"problem_id": "i", "problem": "q", "answer": "a"})
    assert problems["problem_id"].to_list() == ["1"]
    assert rejected["reason"].to_list() == ["duplicate_problem_id"]


@pytest.mark.parametrize("word", ["nan", "None", "proof", "notfound", "Not found.", "N/A", " - "])
def test_a_gold_that_is_none_is_rejected_and_named_by_the_lint(tmp_path, word):
    rows = [{"q": f"{i}?", "a": a} for i, a in enumerate(["1", word])]
    _, rejected = run(tmp_path, rows, {"problem": "q", "answer": "a"})
    [(reason, detail)] = rejected.select("reason", "detail").rows()
    assert reason == "placeholder_answer" and repr(word.strip()) in detail
    frame = pl.DataFrame({"problem_id": ["p"], "answer": [word]})
    assert "says that there is none" in lint.find_unparseable(frame, "math")[0]["reason"]


@pytest.mark.parametrize("gold", ["-1", "n", r"\emptyset", "0", "E", "x", "answer 1"])
def test_a_gold_that_looks_like_none_is_kept(gold):
    assert find_placeholder(gold) is None


def test_the_lint_says_which_rule_a_gold_needs():
    frame = pl.DataFrame({"problem_id": ["a"], "answer": ["So 48+24 = <<48+24=72>>72.\n#### 72"]})
    assert "`extract: hashes`" in lint.find_unparseable(frame, "gsm8k")[0]["reason"]


def test_the_lint_names_the_first_golds_in_short(tmp_path, capsys):
    golds = [f"He pays {n} * 1 = <<{n}*1={n}>>{n} dollars. " * 5 + "\n#### 7" for n in range(25)]
    rows = [{"q": f"{n}?", "a": gold} for n, gold in enumerate(golds)]
    run(tmp_path, rows, {"problem": "q", "answer": "a"})
    config = json.dumps({"policy": "math", "max_rejected_fraction": 1.0})
    lint.main(["--config", config, "--problems", str(tmp_path / "problems.parquet")])
    lines = capsys.readouterr().err.splitlines()
    named = [line for line in lines if "gold answer" in line and "#### 7" in line]
    assert len(named) == 20 and max(map(len, named)) < 400
    assert any(line.endswith("and 5 more") for line in lines)


def test_suspect_labels_are_marked_listed_or_dropped(tmp_path):
    rows = [{"i": f"p{n}", "q": f"{n}?", "a": str(n)} for n in range(4)]
    fields = {"problem_id": "i", "problem": "q", "answer": "a"}
    problems, _ = run(tmp_path, rows, fields, suspect_labels=[1, "p3"])
    meta = problems["meta"].struct.field("suspect_label").to_list()
    assert meta == [False, True, False, True]
    assert lint.find_suspect(problems) == ["p1", "p3"]
    problems, rejected = run(
        tmp_path, rows, fields, suspect_labels=[1, "p3"], drop_suspect_labels=True
    )
    assert rejected["reason"].to_list() == ["suspect_label"] * 2 and problems.height == 2


def join(folder, traces, capsys, **changes):
    rows = [{"q": f"What is {n}+1?", "a": str(n + 1)} for n in range(5)]
    (folder / "traces.jsonl").write_text("".join(json.dumps(row) + "\n" for row in traces))
    spec = {
        "source": {"kind": "file", "path": str(folder / "traces.jsonl")},
        "join_on": "problem",
        "key": "q",
        "teacher_trace": "trace",
        "where": {},
        **changes,
    }
    problems, _ = run(folder, rows, {"problem": "q", "answer": "a"}, traces=spec)
    return problems, capsys.readouterr().err


def test_a_join_says_how_many_keys_matched_and_names_some_that_did_not(tmp_path, capsys):
    traces = [
        {"q": "What is  0+1?\r\n", "trace": "one"},
        {"q": "what is 1+1?", "trace": "two"},
        {"q": "What is 1+1?", "trace": "two again"},
        {"q": "What is 77?", "trace": "lost"},
        {"q": None, "trace": "no key"},
    ]
    problems, log = join(tmp_path, traces, capsys)
    assert problems["teacher_trace"].to_list() == ["one", "two", None, None, None]
    assert candidates(problems)[1] == ["two", "two again"]
    assert "3 traces joined 2 of 5 problems on problem" in log
    assert "without one: 3, such as 'row-2', 'row-3', 'row-4'" in log
    assert "keys that match no problem: 1, such as 'What is 77?'" in log
    assert "rows without a key or a trace: 1" in log


def test_a_join_without_any_match_stops_the_run(tmp_path, capsys):
    with pytest.raises(InputError, match=r"no usable row joins a problem .*such as 'What is 77\?'"):
        join(tmp_path, [{"q": "What is 77?", "trace": "x"}], capsys)
    with pytest.raises(InputError, match=r"traces: .*column 'key' that key maps to; .*: q, trace"):
        join(tmp_path, [{"q": "What is 77?", "trace": "x"}], capsys, key="key")


def test_a_spool_that_goes_to_the_disk_gives_the_same_problems(tmp_path, monkeypatch):
    rng = random.Random(3)
    rows = [
        {"q": f"Number {n % 90}?", "a": str(n % 90), "t": f"trace {n} " * rng.randrange(1, 9)}
        for n in range(300)
    ]
    problems, rejected = run(tmp_path, rows)
    bytes_in_memory = (tmp_path / "problems.parquet").read_bytes()
    monkeypatch.setattr(spool_module, "RUN_ROWS", 17)
    monkeypatch.setattr(spool_module, "BATCH_CHARACTERS", 900)
    on_disk, _ = run(tmp_path, rows)
    assert on_disk.equals(problems) and rejected.is_empty()
    assert (tmp_path / "problems.parquet").read_bytes() == bytes_in_memory
    assert {len(each) for each in candidates(problems)} == {3, 4}


def test_a_spool_sorts_and_removes_what_a_killed_process_left(tmp_path, monkeypatch):
    monkeypatch.setattr(spool_module, "RUN_ROWS", 3)
    folder = tmp_path / "spool"
    folder.mkdir()
    (folder / "00000.arrow").write_bytes(b"left over")
    schema = pa.schema([("key", pa.string()), ("order", pa.int64())])
    rows = [(f"k{n * 7 % 5}", n) for n in range(20)]
    with Spool(folder, schema) as spool:
        for row in rows:
            spool.add(row, 10)
        assert len(spool.runs) == 6
        assert list(spool.read_sorted()) == sorted(rows)
    assert not folder.exists()


def test_a_limit_reads_no_more_than_it_needs(tmp_path):
    lines = [json.dumps({"q": f"{n}?", "a": str(n), "t": "x"}) for n in range(3)]
    # what follows would be damage, if it were read
    raw = "\n".join(lines).encode() + b"\n" + b"\x00" * 100
    (tmp_path / "rows.jsonl").write_bytes(raw)
    settings = {
        "source": {"kind": "file", "path": str(tmp_path / "rows.jsonl")},
        "fields": FIELDS,
        "where": {"a": {"not": "0"}},
        "policy": "math",
        "max_rejected_fraction": 0.0,
        "limit": 2,
    }
    out = ["--output", str(tmp_path / "p"), "--rejected", str(tmp_path / "r")]
    dataset.main(["--config", json.dumps(settings), *out])
    assert tables.read(tmp_path / "p", tables.PROBLEMS)["answer"].to_list() == ["1", "2"]
    with pytest.raises(InputError, match="1 of 3 rows are unusable"):
        dataset.main(["--config", json.dumps({**settings, "limit": 3}), *out])


def test_a_file_that_changed_since_the_plan_is_refused(tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"q": "a?", "a": "1", "t": "x"}\n')
    path = str(tmp_path / "rows.jsonl")
    settings = {
        "source": {"kind": "file", "path": path},
        "fields": FIELDS,
        "where": {},
        "policy": "math",
        "max_rejected_fraction": 0.0,
        "digests": {path: "0" * 64},
    }
    with pytest.raises(InputError, match=r"rows\.jsonl: the file has other bytes .*run again"):
        dataset.main(
            ["--config", json.dumps(settings), "--output", "o", "--rejected", str(tmp_path / "r")]
        )
