"""Rows on the known families of false credit and false refusal, by labellers who saw no code.

`family`: F1 to F12 and R:name as in the changelog, or plain. A row marked `open` is still judged
wrongly, and the mark says why.
"""

import json
from collections import Counter
from pathlib import Path

import pytest

from orion.answers import check

ROWS = [
    json.loads(line)
    for line in (Path(__file__).parent / "families.jsonl").read_text(encoding="utf-8").splitlines()
]
FAMILIES = sorted({row["family"] for row in ROWS})


@pytest.mark.parametrize("family", FAMILIES)
def test_rows_get_their_verdict_but_for_the_open_ones(family):
    rows = [row for row in ROWS if row["family"] == family]
    wrong = [
        row["id"]
        for row in rows
        if check(row["response"], row["gold"]).correct is not row["expected"]
    ]
    assert wrong == [row["id"] for row in rows if row.get("open")]


def test_every_family_of_false_credit_has_rows_of_both_kinds():
    traps = Counter(row["family"] for row in ROWS if not row["expected"])
    honest = Counter(row["family"] for row in ROWS if row["expected"])
    for number in range(1, 13):
        assert traps[f"F{number}"] >= 10
        assert honest[f"F{number}"] >= 5


def test_no_credit_is_open():
    assert all(row["expected"] for row in ROWS if row.get("open"))
