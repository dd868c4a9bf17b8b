"""Coherence, stability and the second policy in the report of an invented run."""

import json
from types import SimpleNamespace

import polars as pl
import pytest

from orion.config import validate
from orion.errors import InputError
from orion.report.second_policy import policy_rows
from tests.helpers import fake_results, recompute_report, report_page


def find(rows: list[dict], **wanted) -> list[dict]:
    return [row for row in rows if all(row[name] == value for name, value in wanted.items())]


def test_coherence_agrees_with_the_other_tables(finished):
    item = finished.doc["results"][0]
    for row in item["false_steps"]:
        if row["scope"] == "all":
            wanted = {"arm": row["arm"], "benchmark": row["benchmark"], "texts": "answers"}
            [found] = find(item["coherence"], **wanted)
            assert found["count"] == found["checked"] == row["texts"]
            assert found["share_false_step"] == row["share"]
            steps = row["true"] + row["false"] + row["unknown"]
            assert found["mean_steps"] == pytest.approx(steps / row["texts"], abs=1e-9)
    for row in item["false_steps_training"]:
        [found] = find(item["coherence"], arm=row["arm"], texts="training")
        assert [found["count"], found["checked"]] == [row["rows"], row["rows_checked"]]
        assert found["with_false_step"] == row["rows_false"]


def test_filters_raise_the_share_of_wholly_true_chains(finished):
    rows = finished.doc["results"][0]["coherence"]
    [trained] = find(rows, arm="orion", texts="training")
    [answers] = find(rows, arm="orion", benchmark="chains-test")
    # false steps and wrong answers are filtered, so the invented chains that are left are true
    assert trained["share_wholly_true"] == 1 and trained["readable"] == trained["count"]
    assert 0.3 < answers["share_wholly_true"] < 0.7
    # the teacher's chains are in another style, of which the exact check reads nothing
    [teacher] = find(rows, arm="sft_teacher", texts="training")
    assert teacher["readable"] == teacher["wholly_true"] == 0
    assert teacher["share_wholly_true"] is None and teacher["checked"] == teacher["count"]
    assert teacher["repeated_ngrams"] > trained["repeated_ngrams"]


def test_a_changed_answer_and_a_changed_log_are_noticed(copy):
    path = copy.results / "report" / "report.json"
    doc = json.loads(path.read_text(encoding="utf-8"))
    [row] = find(doc["results"][0]["coherence"], arm="base", benchmark="chains-hard")
    row["wholly_true"] += 1
    row["repeated_ngrams"] += 0.01
    [steady] = find(doc["results"][0]["stability"], arm="orion")
    steady["grad_norm_largest"] += 1
    path.write_text(json.dumps(doc), encoding="utf-8")
    found = recompute_report.find_faults(copy.results)
    places = [fault.partition(":")[0] for fault in found]
    assert places == [
        "chains/tiny coherence base answers chains-hard wholly_true",
        "chains/tiny coherence base answers chains-hard repeated_ngrams",
        "chains/tiny stability orion grad_norm_largest",
    ]


def test_a_second_policy_and_the_surprise_are_shown(small):
    def change(raw):
        raw["runs"] |= {"seeds": [1], "arms": ["base", "orion"], "benchmarks": ["chains-test"]}
        raw["comparisons"] = [{"arm": "orion", "against": "base"}]
        raw["select"]["min_rows"] = 1
        raw["report"] |= {"second_policy": "strict", "surprise": True}

    run = small(change)
    folder = run.results / "datasets/chains/tiny/base/seed-1/chains-test"
    second = pl.read_parquet(folder / "second/verdicts.parquet")
    assert second.height == 24
    run.report()
    item = run.doc["results"][0]
    assert [(row["arm"], row["policy"], row["second_policy"]) for row in item["second_policy"]] == [
        ("base", "math", "strict"),
        ("orion", "math", "strict"),
    ]
    for row in item["second_policy"]:
        assert row["low"] <= min(row["accuracy"], row["second_accuracy"])
        assert row["high"] >= max(row["accuracy"], row["second_accuracy"])
    assert 'id="s0-graders"' in run.page and "surprise per token" in run.page
    assert [row["arm"] for row in item["surprise"]] == ["orion"]
    assert [*recompute_report.find_faults(run.results), *report_page.find_faults(run.results)] == []


def test_a_second_policy_is_another_one():
    raw = fake_results.configuration()
    raw["report"]["second_policy"] = "math"
    with pytest.raises(InputError, match="second_policy: math is the policy of chains-test"):
        validate(raw)


def test_the_band_counts_answers_that_one_policy_alone_credits():
    checked = pl.DataFrame(
        {
            "verdict": ["correct", "correct", "incorrect", "no_answer", "correct"],
            "second_verdict": ["correct", "unparseable", "correct", "no_answer", "no_answer"],
        }
    )
    arm = SimpleNamespace(name="base", collect_checked=lambda benchmark: checked)
    results = SimpleNamespace(arms={"base": arm})
    [row] = policy_rows(results, {"chains-test": "math"}, "strict")
    assert (row["accuracy"], row["second_accuracy"], row["disputed"]) == (0.6, 0.4, 3)
    assert (row["low"], row["high"], row["difference"]) == (0.2, 0.8, -0.2)
    assert policy_rows(results, {"chains-test": "math"}, None) == []
