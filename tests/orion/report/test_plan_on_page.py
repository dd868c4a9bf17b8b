"""The page says what was registered before any result, what was added, removed and edited."""

import json
import re

import pytest

from orion.errors import InputError
from tests.helpers import recompute_report, report_page


def find_faults(run) -> list[str]:
    return [*recompute_report.find_faults(run.results), *report_page.find_faults(run.results)]


def read_headline(run) -> str:
    blocks = run.doc["results"][0]["headline"]
    return " ".join(" ".join([block["text"], *block["items"]]) for block in blocks)


def read_rows(run) -> dict[tuple[str, str, str], dict]:
    rows = run.doc["results"][0]["comparisons"]
    return {(row["status"], row["against"], row["benchmark"]): row for row in rows}


def edit_plan(run, change) -> None:
    path = run.results / "plan.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    change(document["versions"][0])
    path.write_text(json.dumps(document), encoding="utf-8")


def test_what_was_registered_before_any_result_is_said_to_be(finished):
    item = finished.doc["results"][0]
    assert {row["status"] for row in item["comparisons"]} == {"registered"}
    assert [row["evaluations"] for row in item["plan"]["versions"]] == [0]
    assert item["plan"]["reasons"] == [] and item["plan"]["is_reliable"]
    assert (
        "4 comparisons were registered before any result of this student on this training set, "
        "8 tests in all."
    ) in read_headline(finished)
    assert "Registered before any result" in finished.page
    assert "exploratory</caption>" not in finished.page


def test_a_losing_comparison_is_removed_and_a_winning_one_added_after_the_results(copy, finished):
    before = read_rows(finished)
    copy.raw["comparisons"] = [
        c for c in copy.raw["comparisons"] if c["against"] != "sft_rewrite"
    ] + [{"arm": "orion", "against": "sft_answer"}]
    with pytest.raises(InputError, match=r"plan\.json: its last version is not the plan of this"):
        copy.report()
    copy.register()
    copy.report()
    rows = read_rows(copy)
    assert {key[0] for key in rows} == {"registered", "added", "removed"}
    # the removed one keeps its result, and the family its size: no p value has become smaller
    for benchmark in ("chains-test", "chains-hard"):
        removed = rows["removed", "sft_rewrite", benchmark]
        was = before["registered", "sft_rewrite", benchmark]
        changed = {name for name in was if was[name] != removed[name]}
        assert changed == {"status", "evaluations"} and removed["evaluations"] == 32
        kept = rows["registered", "sft_own", benchmark]
        assert kept == before["registered", "sft_own", benchmark]
        # by far the largest difference, and no verdict
        added = rows["added", "sft_answer", benchmark]
        assert added["p"] < 0.05 and added["p_holm"] is None
        assert added["reading"] == "exploratory" and added["evaluations"] == 32
    text = read_headline(copy)
    assert "4 comparisons were registered" in text
    assert re.search(
        r"Registered, and removed after results.*: orion against sft_rewrite on chains-test: "
        r"removed after 32 evaluations existed; (above|below|unclear)",
        text,
    )
    exploratory = text.partition("Added after results, so exploratory and without a verdict:")[2]
    assert "orion against sft_answer on chains-test" in exploratory
    assert "added after 32 evaluations existed" in exploratory
    assert not re.search(r"orion is above sft_answer", text)
    assert "Added after results: exploratory" in copy.page and "removed after" in copy.page
    assert find_faults(copy) == []


def test_an_edited_plan_is_said_and_nothing_is_confirmatory(copy):
    # an edit that changes what is tested is refused
    edit_plan(copy, lambda version: version["plan"].update(alpha=0.1))
    with pytest.raises(InputError, match="is not the plan of this configuration"):
        copy.report()
    # one that the configuration goes along with is said: by its seal, and by what the tables record
    copy.raw["comparisons"] = [{"arm": "orion", "against": "sft_answer"}]

    def change(version):
        version["plan"]["alpha"] = 0.05
        version["plan"]["comparisons"] = [
            {"arm": "orion", "against": "sft_answer", "kind": "superiority"}
        ]
        version["digest"] = "f" * 64

    edit_plan(copy, change)
    copy.report()
    edited, foreign = copy.doc["results"][0]["plan"]["reasons"]
    assert edited.startswith("plan.json was edited: version 1 does not have the digest")
    # 7 trained arms x 2 seeds, 32 tables of samples and as many scores
    assert foreign.startswith("78 files of trainings and evaluations were made under a plan that")
    text = read_headline(copy)
    assert "plan.json, which cannot be relied on, says: 1 comparison was" in text
    assert "No comparison on this page is confirmatory:" in text
    assert "Named by the tests, not confirmatory: orion is above sft_answer" in text
    assert "Supported for this student" not in text
    assert "Registered before any result" not in copy.page and "no: edited" in copy.page
    assert any("plan.json was edited" in line for line in copy.doc["warnings"])
    assert find_faults(copy) == []
    with pytest.raises(InputError, match="does not hold the plan"):
        copy.register()


def test_margins_and_expectations_are_tested_as_registered(small):
    def change(raw):
        raw["runs"] |= {"arms": ["base", "sft_answer", "sft_own", "orion"], "seeds": [1, 2, 3]}
        raw["runs"]["benchmarks"] = ["chains-test"]
        raw["benchmarks"]["chains-test"]["source"]["n"] = 60
        raw["select"]["min_rows"] = 1
        raw["comparisons"] = [
            {"arm": "orion", "against": "base", "expect": "above"},
            {"arm": "sft_answer", "against": "base", "expect": "above"},
            {
                "arm": "orion",
                "against": "sft_answer",
                "kind": "non-inferiority",
                "margin": "3 points",
            },
            {
                "arm": "sft_own",
                "against": "sft_answer",
                "kind": "equivalence",
                "margin": "2.5 points",
                "expect": "equal",
            },
            {
                "arm": "sft_own",
                "against": "base",
                "kind": "equivalence",
                "margin": "60 points",
                "expect": "equal",
            },
        ]

    run = small(change)
    run.report()
    rows = {(row["arm"], row["against"]): row for row in run.doc["results"][0]["comparisons"]}
    found = {pair: (row["reading"], row["outcome"]) for pair, row in rows.items()}
    assert found["sft_answer", "base"] == ("below", "refuted")
    assert found["orion", "sft_answer"] == ("not inferior", None)
    assert found["sft_own", "sft_answer"] == ("different", "refuted")
    assert found["sft_own", "base"] == ("equivalent", "confirmed")
    assert rows["sft_own", "base"]["margin"] == 0.6 and rows["orion", "base"]["margin"] is None
    text = read_headline(run)
    assert "orion is not inferior to sft_answer on chains-test" in text and "(margin 3.0; " in text
    assert re.search(r"Of 4 registered expectations, .* confirmed, .* refuted and .* open:", text)
    assert find_faults(run) == []


def test_results_from_before_the_plan_are_exploratory(small):
    def change(raw):
        raw["runs"] |= {"arms": ["base", "sft_own"], "seeds": [1, 2], "benchmarks": ["chains-test"]}
        raw["select"]["min_rows"] = 1
        raw["comparisons"] = [{"arm": "sft_own", "against": "base"}]

    run = small(change)
    (run.results / "plan.json").unlink()
    run.register()
    run.report()
    [row] = run.doc["results"][0]["comparisons"]
    assert (row["status"], row["evaluations"], row["reading"]) == ("added", 4, "exploratory")
    assert read_headline(run).startswith("No comparison was registered before a result")
    assert find_faults(run) == []
