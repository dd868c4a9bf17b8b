"""Groups of students on the page: what is pooled, what is said of it, and what is not."""

import json

import pytest

from tests.helpers import recompute_report, report_page

MODELS = {
    "one": {"source": {"kind": "demo", "seed": 1}, "dtype": "float32"},
    "one-b": {"source": {"kind": "model", "model": "one"}, "draw": 1},
    "two": {"source": {"kind": "demo", "seed": 2}, "dtype": "float32"},
}


def find_faults(run) -> list[str]:
    return [*recompute_report.find_faults(run.results), *report_page.find_faults(run.results)]


def read_headline(item: dict) -> str:
    return " ".join(" ".join([b["text"], *b["items"]]) for b in item["headline"])


def change_grid(raw, group, comparisons):
    raw["models"] = MODELS
    raw["runs"] |= {
        "arms": ["base", "sft_answer", "orion"],
        "models": [*MODELS],
        "benchmarks": ["chains-test"],
        "students": {"trio": group},
    }
    raw["select"]["min_rows"] = 1
    raw["comparisons"] = comparisons


@pytest.fixture
def clustered(small, tmp_path):
    """Two students, one with two draws, on a benchmark of problems in clusters."""
    texts = [(f"r{i:02}", f"what is {i} and {i} ?", str(2 * i), f"t{i // 3}") for i in range(24)]
    rows = [dict(zip(("id", "problem", "answer", "of"), row, strict=True)) for row in texts]
    # problems of their own
    rows[4]["of"], rows[23]["of"] = None, " "
    lines = [json.dumps(row) for row in rows]
    (tmp_path / "own.jsonl").write_text("\n".join(lines), encoding="utf-8")

    def change(raw):
        change_grid(
            raw,
            [["one", "one-b"], "two"],
            [
                {"arm": "orion", "against": "base", "group": "trio", "expect": "above"},
                {"arm": "sft_answer", "against": "base", "group": "trio", "students": 2},
                {"arm": "orion", "against": "sft_answer"},
            ],
        )
        raw["benchmarks"]["chains-test"] = {
            "source": {"kind": "jsonl", "path": "own.jsonl"},
            "fields": {"problem_id": "id", "cluster": "of"},
        }

    run = small(change)
    run.report()
    return run


def test_a_group_is_one_test_over_its_students_and_each_is_shown_alone(clustered):
    run = clustered
    [group] = run.doc["groups"]
    assert group["entries"] == [["one", "one-b"], ["two"]]
    assert (group["students"], group["draws"]) == (2, 1)
    tests = {(row["arm"], row["against"]): row for row in group["comparisons"]}
    assert set(tests) == {("orion", "base"), ("sft_answer", "base")}
    for row in tests.values():
        assert (row["students"], row["few"], row["status"]) == (2, 1, "registered")
        assert (row["problems"], row["clusters"]) == (24, 10)
        assert row["floor"] is not None and row["detectable"] > 0
    assert [(row["arm"], row["student"], row["draws"]) for row in group["alone"]] == [
        ("orion", "one", 2),
        ("orion", "two", 1),
        ("sft_answer", "one", 2),
        ("sft_answer", "two", 1),
    ]
    text = read_headline(group)
    assert text.startswith("orion against the untouched student, over 2 students:")
    assert "registered before any result of these students" in text
    assert "about new students" in text and "this student" not in text
    assert "on chains-test over 2 students:" in text
    assert any("two students only" in line for line in run.doc["warnings"])
    # the comparison that names no group is each student's own, and pools nothing
    for item in run.doc["results"]:
        assert [(r["arm"], r["against"]) for r in item["comparisons"]] == [("orion", "sft_answer")]
        assert item["groups"] == ["trio"]
        assert "for this student" in read_headline(item)
        assert "on other students" in read_headline(item)
        assert "tested over the group trio, not for it alone" in read_headline(item)
        # the flips of a comparison over the group are listed for each of its students
        pairs = {(row["arm"], row["against"]) for row in item["flips"]}
        assert pairs == {("orion", "base"), ("sft_answer", "base"), ("orion", "sft_answer")}
    figure = run.page.partition('id="contrasts"')[2].partition("</section>")[0]
    assert "trio on chains, over 2 students: registered before any result" in figure
    # two students are two ticks in each row of the group
    rows = figure.split("<tr>")[2:]
    assert [row.count('class="tick"') for row in rows] == [2, 2, 0, 0, 0]
    assert (run.folder / "results/report/figures/chains.group-trio.comparisons.svg").is_file()
    assert [item["draw"] for item in run.doc["results"]] == [0, 1, 0]
    assert 'data-key="sources/0/clusters"' in run.page and "clusters of variants" in run.page
    assert find_faults(run) == []


def test_another_composition_after_results_is_another_test(clustered):
    run = clustered
    run.raw["runs"]["students"] = {"trio": [["one", "one-b"]]}
    run.raw["comparisons"][1].pop("students")
    run.register()
    run.report()
    [group] = run.doc["groups"]
    found = {(row["arm"], row["status"], row["students"]) for row in group["comparisons"]}
    assert found == {
        ("orion", "added", 1),
        ("sft_answer", "added", 1),
        ("orion", "removed", 2),
        ("sft_answer", "removed", 2),
    }
    text = read_headline(group)
    # one student is no method
    assert "no claim about the method on other students" in text and "new students" not in text
    assert "over 2 draws of this student" in text
    assert find_faults(run) == []
