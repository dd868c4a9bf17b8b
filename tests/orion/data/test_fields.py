"""The field mapping: paths, templates, text rules, conditions, several traces."""

from decimal import Decimal

import pytest

from orion.data.conditions import Conditions
from orion.data.fields import FieldMap
from orion.data.row_paths import ABSENT, RowPath, list_paths
from orion.data.text_rules import TextRules, extract_boxed
from orion.errors import InputError

CHAT = {
    "messages": [
        {"role": "system", "content": "Be good."},
        {"role": "user", "content": "2+2?"},
        {"role": "assistant", "content": "4"},
    ],
    "reward_model": {"ground_truth": "4"},
    "generations": ["one", "two"],
    "deepseek-reasoner (question)": "long",
    "a.b": "literal",
    "a": {"b": "nested"},
}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("messages[1].content", "2+2?"),
        ("messages[-1].content", "4"),
        ("messages[role=user].content", "2+2?"),
        ("messages[*].content", ["Be good.", "2+2?", "4"]),
        ("reward_model.ground_truth", "4"),
        ("generations[1]", "two"),
        ("deepseek-reasoner (question)", "long"),
        ("a.b", "literal"),
        ("messages[3].content", ABSENT),
        ("messages.content", ABSENT),
        ("reward_model[0]", ABSENT),
        ("nothing", ABSENT),
        ("a..b", ABSENT),
        ("[0]", ABSENT),
    ],
)
def test_a_path_leads_to_a_value_or_nowhere(path, value):
    assert RowPath(path).get(CHAT) == value


def test_every_listed_path_leads_somewhere():
    for path in list_paths(CHAT):
        assert RowPath(path).get(CHAT) is not ABSENT, path


def map_one(row, fields, where=None):
    mapping = FieldMap(
        {"problem": "problem", "answer": "answer", **fields}, where or {}, "rows.jsonl"
    )
    assert mapping.accepts(row)
    return mapping.map(row, 7)


ROW = {"problem": "p", "answer": "1", "thinking": "T", "attempt": "A", "none": None, "n": 2}


def traces(row, spec, **fields):
    found = map_one(row, {"teacher_trace": spec, **fields})
    assert found.fault is None, found.fault
    return [(trace.text, trace.source) for trace in found.traces]


def test_columns_are_joined_by_a_template():
    assert traces(ROW, "<t>{thinking}</t>\n\n{attempt} {{n}}={n}") == [
        ("<t>T</t>\n\nA {n}=2", "row 7, <t>{thinking}</t>\n\n{attempt} {{n}}={n}")
    ]
    # half a template is no trace
    assert traces(ROW, "{thinking}{none}") == []


def test_several_traces_keep_their_order_and_source():
    assert traces({**ROW, "g": ["x", "", "y"]}, "g") == [("x", "row 7, g[0]"), ("y", "row 7, g[2]")]
    assert traces(ROW, ["attempt", "thinking"]) == [
        ("A", "row 7, attempt"),
        ("T", "row 7, thinking"),
    ]
    row = {**ROW, "g": ["x", "y"], "models": ["m1", "m2"], "model": "m"}
    assert [s for _, s in traces(row, "g", trace_source="models")] == ["m1", "m2"]
    assert [s for _, s in traces(row, "g", trace_source="model")] == ["m", "m"]


GSM = "Half is 48/2 = <<48/2=24>>24.\nAll: 48+24 = <<48+24=72>>72.\n#### 72"


@pytest.mark.parametrize(
    ("rules", "text", "result"),
    [
        ({"extract": "hashes"}, GSM, "72"),
        ({"extract": "hashes"}, "#### 1,234 \nmore", "1,234"),
        ({"extract": "boxed"}, r"\boxed{1} or \boxed{\frac{1}{2}}.", r"\frac{1}{2}"),
        ({"extract": "boxed"}, r"\boxed {\{1\}}", r"\{1\}"),
        (
            {"remove_patterns": ["<<[^<>]*>>"], "before": "####"},
            GSM,
            "Half is 48/2 = 24.\nAll: 48+24 = 72.",
        ),
        (
            {"replace": [["<|begin_of_thought|>", "<think>"], ["<think>", "<t>"]]},
            "<|begin_of_thought|>x",
            "<t>x",
        ),
        ({"remove": ["(A)", "B"]}, "(A) 1 B", "1"),
        ({"after": "Answer:"}, "Answer: 1. Answer: 2", "2"),
        ({"before": "nowhere"}, " all ", "all"),
    ],
)
def test_text_rules(rules, text, result):
    assert TextRules(**rules).apply(text) == result


@pytest.mark.parametrize(
    ("rules", "text", "message"),
    [
        ({"extract": "hashes"}, "no mark", "no answer behind ####"),
        ({"extract": "hashes"}, "####", "no answer behind ####"),
        ({"extract": "boxed"}, "none", "no \\boxed"),
        ({"extract": "boxed"}, r"\boxed{1", "empty or not closed"),
        ({"after": "Answer:"}, "none", "'Answer:' is not in the text"),
    ],
)
def test_a_rule_without_its_marker_rejects_the_row(rules, text, message):
    found = map_one({**ROW, "answer": text}, {"answer": {"from": "answer", **rules}})
    assert found.fault is not None
    assert found.fault[0] == "no_answer_found" and message in found.fault[1]


def test_hostile_texts_take_linear_time():
    # a backtracking engine would not come to an end
    assert TextRules(remove_patterns=["(a+)+$"]).apply("a" * 50_000 + "b").endswith("b")
    with pytest.raises(ValueError, match="not closed"):
        extract_boxed("\\boxed{" + "{" * 200_000)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (["42"], "42"),
        (27.0, "27"),
        (0.5, "0.5"),
        (10**30, "1" + "0" * 30),
        (Decimal("2.00"), "2"),
        (Decimal("1.50"), "1.5"),
        (b"bytes", "bytes"),
    ],
)
def test_lists_of_one_numbers_and_bytes_become_text(value, text):
    assert map_one({**ROW, "answer": value}, {}).answer == text


@pytest.mark.parametrize(
    ("value", "reason", "detail"),
    [
        (["1", "2"], "wrong_type", "answer is a list"),
        (True, "wrong_type", "answer is a bool"),
        (float("nan"), "wrong_type", "answer is nan, not a finite number"),
        (float("inf"), "wrong_type", "not a finite number"),
        ({"value": 3}, "wrong_type", "did you mean `answer.value`?"),
        ([{"role": "user", "content": "x"}], "wrong_type", "a dict"),
        (CHAT["messages"], "wrong_type", "did you mean `answer[0].content` or `answer[1].content`"),
        ("a \ud83d b", "bad_text", "half of a surrogate pair"),
        (b"\xff", "not_utf8", "bytes that are not UTF-8"),
    ],
)
def test_a_value_of_another_kind_rejects_the_row_and_says_why(value, reason, detail):
    fault = map_one({**ROW, "answer": value}, {}).fault
    assert fault is not None and fault[0] == reason and detail in fault[1]


@pytest.mark.parametrize(
    ("condition", "kept"),
    [
        (1, [1]),
        ([1, 3], [1, 3]),
        ({"not": 1}, [2, 3, None]),
        ({"in": [2, 3]}, [2, 3]),
        ({"not_in": [2, 3]}, [1, None]),
        ({"at_least": 2}, [2, 3]),
        ({"at_least": 2, "at_most": 2}, [2]),
        ({"matches": "^[12]$"}, [1, 2]),
    ],
)
def test_conditions(condition, kept):
    conditions = Conditions({"meta.level": condition})
    rows = [{"meta": {"level": n}} for n in (1, 2, 3)] + [{"meta": {}}]
    found = [row["meta"].get("level") for row in rows if conditions.hold(row)]
    assert found == kept


def test_a_value_of_a_csv_file_equals_the_number_that_it_shows():
    assert Conditions({"n": 5, "ok": True}).hold({"n": "5", "ok": "true"})
    assert not Conditions({"ok": 1}).hold({"ok": True})


@pytest.mark.parametrize(
    ("fields", "where", "message"),
    [
        ({"answer": "anwser"}, {}, r"column 'anwser' that answer maps to; .*did you mean `answer`"),
        (
            {"problem": "messages[5].content"},
            {},
            r"did you mean `messages\[1\].content` or `messages\[0\].content`",
        ),
        ({"answer": "content"}, {}, r"did you mean `messages\[0\].content`"),
        ({}, {"lvl": 1}, r"no row has the column 'lvl' that where.lvl maps to"),
    ],
)
def test_a_wrong_mapping_is_named_with_what_it_may_have_meant(fields, where, message):
    row = {**ROW, "messages": CHAT["messages"][1:]}
    mapping = FieldMap({"problem": "problem", "answer": "answer", **fields}, where, "f")
    mapping.accepts(row)
    mapping.map(row, 0)
    with pytest.raises(InputError, match=message):
        mapping.check_seen()
