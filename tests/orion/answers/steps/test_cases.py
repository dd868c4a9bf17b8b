"""Texts labelled by hand: cases.jsonl beside this file, and the shared development cases.

A row of cases.jsonl holds quotes of its text: `false` and `true` claims, and relations that are
`not_false`. Nothing else in the text may be called false. The shared file has its own rules.
"""

import importlib.util
import json
from collections import Counter
from pathlib import Path

import pytest

from orion.answers.steps import RULES, check_steps

CASES = [
    json.loads(line)
    for line in (Path(__file__).parent / "cases.jsonl").read_text(encoding="utf-8").splitlines()
]
DECIDING = {rule.name for rule in RULES if rule.decides}
SHARED = Path(__file__).resolve().parents[5] / "shared" / "cases"
# per cent of the claims called false that are labelled false, and of those labelled that are found
PRECISION, RECALL = 97.0, {"gsm": 70.0, "math": 45.0, "trace": 45.0}


def places(text, quotes):
    return [(text.index(quote), text.index(quote) + len(quote)) for quote in quotes]


def overlaps(claim, place):
    return min(claim.end, place[1]) > max(claim.start, place[0])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_own_rows(case):
    text = case["text"]
    claims = check_steps(text)
    called = [claim for claim in claims if claim.truth == "false"]
    assert {claim.rule for claim in claims} <= DECIDING
    false = places(text, case["false"])
    assert [p for p in false if not any(overlaps(c, p) for c in called)] == [], "not found"
    assert [c for c in called if not any(overlaps(c, p) for p in false)] == [], "not false"
    holding = {(c.start, c.end) for c in claims if c.truth == "true"}
    for start, end in places(text, case["true"]):
        # a list mark before and a unit behind the numbers may be part of the claim or not
        assert any(s <= start < e <= end for s, e in holding), text[start:end]
    assert places(text, case["not_false"]) is not None


def test_there_are_rows_of_every_kind():
    kinds = Counter(case["id"].rpartition("-")[0] for case in CASES)
    assert len(CASES) >= 60 and min(kinds.values()) >= 2, kinds


@pytest.mark.data
def test_shared_development_cases(tmp_path, capsys, monkeypatch):
    """Precision and recall on the shared texts, by their own scorer; skipped where they are not."""
    if not (SHARED / "steps.jsonl").is_file():
        pytest.skip(f"no labelled step cases: {SHARED / 'steps.jsonl'} is not there")
    spec = importlib.util.spec_from_file_location("score_steps", SHARED / "score_steps.py")
    scorer = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(scorer)
    figures = tmp_path / "figures.json"
    argv = ["--cases", str(SHARED / "steps.jsonl"), "--py", "orion.answers.steps:check_steps"]
    monkeypatch.setattr("sys.argv", ["score_steps.py", *argv, "--json", str(figures)])
    with pytest.raises(SystemExit):
        scorer.main()
    printed = capsys.readouterr().out
    found = json.loads(figures.read_text())
    assert found["all"]["precision"] >= PRECISION, printed
    for kind, least in RECALL.items():
        assert found[kind]["recall"] >= least, printed


@pytest.mark.data
def test_every_rule_that_decides_a_shared_case_is_a_row():
    if not (SHARED / "steps.jsonl").is_file():
        pytest.skip(f"no labelled step cases: {SHARED / 'steps.jsonl'} is not there")
    rows = [json.loads(line) for line in (SHARED / "steps.jsonl").read_text("utf-8").splitlines()]
    used = {claim.rule for row in rows for claim in check_steps(row["text"])}
    assert used <= DECIDING
