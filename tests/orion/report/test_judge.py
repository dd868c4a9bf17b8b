"""The judge in the report of an invented run, and a report without one."""

import csv
import json
from types import SimpleNamespace

import polars as pl

from orion.report.gather import Judged
from orion.report.judge import judge_rows
from tests.helpers import recompute_report, report_page

PROMPTS = """{% extends "demo" %}
{% block judge %}
{{ problem }} A: {{ first }} B: {{ second }} End with [[A]], [[B]] or [[tie]].
{% endblock %}
"""


def build(small, tmp_path, **judge):
    """A run of three arms on two benchmarks; the name of its prompt file is ``prompts.jinja``."""
    (tmp_path / "prompts.jinja").write_text(PROMPTS)

    def change(raw):
        raw["runs"] |= {"seeds": [2, 1], "arms": ["base", "sft_own", "orion"]}
        raw["comparisons"] = [
            {"arm": "orion", "against": "base"},
            {"arm": "sft_own", "against": "orion"},
            {"arm": "orion", "against": "base", "kind": "equivalence", "margin": "2 points"},
        ]
        raw["select"]["min_rows"] = 1
        raw["models"]["big"] = {"source": {"kind": "demo", "seed": 9}, "dtype": "float32"}
        raw["report"]["judge"] = {"model": "big", "max_tokens": 64, "pairs": 8, **judge}
        raw["prompts"] = "prompts.jinja"

    return small(change)


def test_the_judge_is_shown_and_follows_from_the_replies(small, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = build(small, tmp_path)
    run.report()
    item = run.doc["results"][0]
    assert [(row["arm"], row["against"], row["benchmark"]) for row in item["judge"]] == [
        ("orion", "base", "chains-test"),
        ("orion", "base", "chains-hard"),
        ("sft_own", "orion", "chains-test"),
        ("sft_own", "orion", "chains-hard"),
    ]
    for row in item["judge"]:
        parts = ("wins", "losses", "ties", "inconsistent", "unreadable")
        assert sum(row[name] for name in parts) == row["pairs"] == 8 and row["replies"] == 32
        assert row["low"] <= row["win_rate"] <= row["high"]
        # the invented judge likes what stands first twice as much
        assert row["position_bias"] > 0.5 and row["inconsistent"] > 0
    assert 'id="s0-judge"' in run.page and "a model&#39;s opinion" in run.page.replace("'", "&#39;")
    assert [*recompute_report.find_faults(run.results), *report_page.find_faults(run.results)] == []
    with open(run.results / "report/judge.csv", encoding="utf-8") as file:
        assert [row["win_rate"] for row in csv.DictReader(file)] == [
            str(row["win_rate"]) for row in item["judge"]
        ]
    # a count that does not follow is noticed
    path = run.results / "report/report.json"
    doc = json.loads(path.read_text(encoding="utf-8"))
    doc["results"][0]["judge"][1]["step_pairs"] += 1
    path.write_text(json.dumps(doc), encoding="utf-8")
    [fault] = recompute_report.find_faults(run.results)
    assert fault.startswith("chains/tiny judge orion base chains-hard step_pairs")


def test_with_one_reply_to_each_order_the_page_says_so(small, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = build(small, tmp_path, num_samples=1)
    run.report()
    assert {row["self_agreement"] for row in run.doc["results"][0]["judge"]} == {None}
    assert "With one reply to each order there is no agreement" in " ".join(run.page.split())
    assert [*recompute_report.find_faults(run.results), *report_page.find_faults(run.results)] == []


def test_without_a_judge_there_is_no_section(finished):
    assert finished.doc["results"][0]["judge"] == [] and finished.doc["judge"] is None
    assert 'id="s0-judge"' not in finished.page
    assert (finished.results / "report/judge.csv").read_text().strip() == "dataset,model"


def test_the_interval_is_over_the_clusters_of_the_problems():
    """Variants of one problem that are judged alike tell as much as one of them."""
    names = [f"p{i}" for i in range(12)]
    table = pl.DataFrame(
        [
            {
                "problem_id": name,
                "order": order,
                "sample_id": 0,
                "verdict": "arm" if number < 8 else "against",
            }
            for number, name in enumerate(names)
            for order in ("arm_first", "against_first")
        ]
    )
    false = dict.fromkeys(names, (0, 0))
    widths = []
    # three clusters of four in the place of twelve problems
    for clusters in (None, {name: number // 4 for number, name in enumerate(names)}):
        results = SimpleNamespace(
            judged={("orion", "base", "held-out"): Judged(table, false, clusters)}
        )
        [row] = judge_rows(results, confidence=0.95)
        assert row["win_rate"] == 8 / 12 and (row["wins"], row["losses"]) == (8, 4)
        widths.append(row["high"] - row["low"])
    assert widths[1] > 1.4 * widths[0]
