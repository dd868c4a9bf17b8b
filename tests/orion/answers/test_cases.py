"""Rows labelled by people who had read the labelling rules and not the checker.

They were labelled in six sittings of 300 to 500 rows. cases.jsonl leaves out rows on published
golds and long rows; the field `note` describes each row.
"""

import json
from pathlib import Path

import pytest

from orion.answers import check, check_many

CASES = [
    json.loads(line)
    for line in (Path(__file__).parent / "cases.jsonl").read_text(encoding="utf-8").splitlines()
]
KINDS = sorted({case["kind"] for case in CASES})


@pytest.mark.parametrize("kind", KINDS)
def test_every_row_gets_its_verdict(kind):
    wrong = []
    for case in (case for case in CASES if case["kind"] == kind):
        # a wrong answer need not be decided: what is not decided in time is not credited
        deadline = {} if case["expected"] else {"timeout_s": 2.5}
        if check(case["response"], case["gold"], **deadline).correct != case["expected"]:
            wrong.append(case["id"])
    assert wrong == []


def test_wrong_rows_are_understood_and_differ():
    """A wrong answer that can be understood is `incorrect` and not `unparseable`."""
    cases = [
        case
        for case in CASES
        if not case["expected"]
        and case["kind"] not in ("dos", "extraction", "malformed", "real_aime")
    ]
    verdicts = check_many([case["response"] for case in cases], [case["gold"] for case in cases])
    given_up = [
        case["id"]
        for case, v in zip(cases, verdicts, strict=True)
        if v.verdict in ("unparseable", "timeout")
    ]
    assert len(given_up) <= 0.02 * len(cases), given_up


@pytest.mark.parametrize(
    "case", [case for case in CASES if case["expected"]][::9], ids=lambda case: case["id"]
)
def test_the_same_answer_in_a_box_is_right_against_itself(case):
    assert check(f"\\boxed{{{case['gold']}}}", case["gold"]).correct
