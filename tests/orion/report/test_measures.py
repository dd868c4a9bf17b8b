"""Samples, failures, levels and flips in the report: tables, page, bounds."""

import json
import re

import pytest

from orion.stages import report
from tests.helpers import recompute_report, report_page

ARMS = 8


def find(rows: list[dict], **wanted) -> list[dict]:
    return [row for row in rows if all(row[name] == value for name, value in wanted.items())]


@pytest.fixture
def item(finished) -> dict:
    return finished.doc["results"][0]


def test_one_sample_is_the_accuracy_and_all_samples_any_right(item):
    for row in item["table"]:
        wanted = {"arm": row["arm"], "benchmark": row["benchmark"]}
        found = find(item["pass_at"], **wanted)
        assert [each["r"] for each in found] == ([1, 2, 4] if row["k"] == 4 else [1, 2, 4, 5])
        first, last = found[0], found[-1]
        for name in ("pass_at", "maj_at"):
            assert first[name] == pytest.approx(row["accuracy"], abs=1e-9)
            assert first[f"{name}_low"] == pytest.approx(row["low"], abs=1e-9)
            assert first[f"{name}_high"] == pytest.approx(row["high"], abs=1e-9)
        assert last["pass_at"] == pytest.approx(row["pass_at_k"], abs=1e-9)
        passed = [each["pass_at"] for each in found]
        assert passed == sorted(passed)
        assert all(each["maj_at"] <= each["pass_at"] for each in found)


def test_a_vote_helps_where_wrong_answers_differ(item):
    [one, *_, last] = find(item["pass_at"], arm="orion", benchmark="chains-test")
    assert last["maj_at"] > one["maj_at"]


def test_wrong_answers_are_divided_without_rest(item):
    assert len(item["cohorts"]) == ARMS * 2 * 7
    for row in item["table"]:
        found = find(item["cohorts"], arm=row["arm"], benchmark=row["benchmark"])
        [answers] = find(item["answers"], arm=row["arm"], benchmark=row["benchmark"])
        wrong = found[0]["wrong"]
        assert sum(each["count"] for each in found) == wrong
        assert wrong == pytest.approx((1 - row["accuracy"]) * answers["answers"])
        counts = {each["cohort"]: each["count"] for each in found}
        steps = find(item["first_false_steps"], arm=row["arm"], benchmark=row["benchmark"])
        assert sum(each["answers"] for each in steps) == counts["false_step"]
        for each in steps:
            assert each["first"] + each["middle"] + each["last"] == each["answers"]
    # the invented attempts end wrong over a wrong step, and some are cut off
    assert counts["false_step"] > 10 and counts["unfinished"] > 0


def test_better_worse_and_equal_are_those_of_the_comparison(item):
    for row in item["comparisons"]:
        names = ("arm", "against", "benchmark")
        [found] = find(item["flips"], **{name: row[name] for name in names})
        assert [found["better"], found["worse"], found["equal"]] == [
            row["better"],
            row["worse"],
            row["tied"],
        ]
        listed = find(item["largest_flips"], **{name: row[name] for name in names})
        assert 0 < len(listed) <= 6
        differences = [each["difference"] for each in listed]
        gains = [d for d in differences if d > 0]
        assert gains == sorted(gains, reverse=True) and differences[len(gains) :] == sorted(
            d for d in differences if d < 0
        )


def test_the_chosen_sizes_and_a_comparison_whose_arm_is_gone(small):
    def change(raw):
        raw["runs"] |= {"seeds": [1], "arms": ["base", "sft_own", "orion"]}
        raw["select"]["min_rows"] = 1
        raw["report"]["pass_at"] = [2, 1]
        raw["comparisons"] = [
            {"arm": "orion", "against": "base"},
            {"arm": "orion", "against": "sft_own"},
        ]

    run = small(change)
    run.raw["runs"]["arms"] = ["base", "orion"]
    run.raw["comparisons"] = run.raw["comparisons"][:1]
    run.register()
    run.report()
    item = run.doc["results"][0]
    assert {row["r"] for row in item["pass_at"]} == {1, 2}
    gone = find(item["flips"], against="sft_own")
    assert len(gone) == 2 and all(row["better"] is row["runs_of_both"] is None for row in gone)
    assert not find(item["largest_flips"], against="sft_own")
    kept = find(item["flips"], against="base")
    assert all(row["runs_of_one"] is None and row["runs_of_both"] >= 0 for row in kept)
    assert [*recompute_report.find_faults(run.results), *report_page.find_faults(run.results)] == []


@pytest.fixture
def labelled(small, tmp_path):
    """A benchmark from a file: hostile names, some suspect labels, clusters of two problems."""
    rows = [
        {
            "id": f"\x1b[31m<script>alert({i})</script>\x00{'x' * 300}{i}",
            "problem": f"what is {i} and {i} ?",
            "answer": str(2 * i),
            "of": f"t{i // 2}",
        }
        for i in range(12)
    ]
    text = "\n".join(map(json.dumps, rows))
    (tmp_path / "own.jsonl").write_text(text, encoding="utf-8")

    def change(raw):
        raw["benchmarks"]["chains-test"] = {
            "source": {"kind": "jsonl", "path": "own.jsonl"},
            "fields": {"problem_id": "id", "cluster": "of"},
            "suspect_labels": [rows[1]["id"], rows[2]["id"], rows[7]["id"]],
        }
        raw["runs"] |= {"arms": ["base", "orion"], "benchmarks": ["chains-test"], "seeds": [1]}
        raw["comparisons"] = [{"arm": "orion", "against": "base"}]
        raw["select"]["min_rows"] = 1

    return small(change)


def test_levels_and_hostile_names(labelled):
    labelled.report()
    item = labelled.doc["results"][0]
    found = find(item["levels"], arm="orion")
    # no exact check of chains without the generator's problems
    assert all(row["readable"] is None for row in find(item["coherence"], texts="answers"))
    assert [(row["field"], row["value"], row["problems"]) for row in found] == [
        ("suspect_label", "false", 9),
        ("suspect_label", "true", 3),
    ]
    [whole] = find(item["table"], arm="orion")
    mean = sum(row["accuracy"] * row["problems"] for row in found) / 12
    assert mean == pytest.approx(whole["accuracy"])
    assert item["largest_flips"]
    for row in item["largest_flips"]:
        assert row["problem_id"].isprintable() and len(row["problem_id"]) <= 80
    assert "<script>alert(" not in labelled.page and "&lt;script&gt;alert(" in labelled.page
    assert not re.search(r"[\x00-\x08\x0b-\x1f]", labelled.page)
    assert report_page.find_faults(labelled.results) == []


def test_the_page_shows_a_bounded_number_of_arms_and_the_files_have_all(copy, monkeypatch):
    monkeypatch.setattr(report, "PAGE_ARMS", 3)
    monkeypatch.setattr(report, "FEWEST_ARMS", 2)
    before = copy.page
    folder = copy.report()
    assert copy.doc["arms_shown"] == 3
    assert len(copy.doc["results"][0]["cohorts"]) == ARMS * 2 * 7
    assert "answers.csv has all" in copy.page and "answers.csv has all" not in before
    shown = re.findall(r'data-key="results/0/answers/(\d+)/answers"', copy.page)
    # both benchmarks of three arms
    assert shown == ["0", "1", "2", "3", "4", "5"]
    assert len((folder / "answers.csv").read_text("utf-8").splitlines()) == 1 + ARMS * 2
    assert report_page.find_faults(copy.results) == []


def test_many_students_leave_the_fewest_arms_on_the_page(copy, monkeypatch):
    monkeypatch.setattr(report, "PAGE_ARMS", 0)
    copy.report()
    assert copy.doc["arms_shown"] == report.FEWEST_ARMS >= 3


def test_the_tables_follow_the_verdicts(copy):
    from orion import tables

    path = copy.results / "datasets/chains/tiny/orion/seed-1/chains-test/verdicts.parquet"
    frame, record = tables.read(path, tables.VERDICTS), tables.read_provenance(path)
    flipped = frame.with_columns(verdict=frame["verdict"].replace({"incorrect": "correct"}))
    tables.write(flipped, path, tables.VERDICTS, record)
    found = "\n".join(recompute_report.find_faults(copy.results))
    for place in (
        "pass_at orion chains-test 2",
        "maj_at orion chains-test 2",
        "answers orion chains-test accuracy_finished",
        "cohorts orion chains-test false_step count",
        "flips orion sft_own chains-test better",
    ):
        assert place in found
