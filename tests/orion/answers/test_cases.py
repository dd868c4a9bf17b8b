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


@pytest.mark.parametrize(
    ("response", "gold", "correct", "extracted"),
    [
        # GPT-3's way to end; the letter is short for answer
        ("3 * 5 = 15 cookies.\nA: 15", "15", True, "15"),
        ("3 * 5 = 16 cookies.\nA: 16", "15", False, "16"),
        ("So it costs more.\nA: $50.40", "50.4", True, "$50.40"),
        ("It is so.\n**A: 42**", "42", True, "42"),
        ("The answer is B) 12 apples.", "12", True, "12 apples"),
        # where a letter is asked for, or more than one value stands there, nothing is taken away
        ("The answer is (B) 12", "B", True, "(B) 12"),
        ("It is so.\nA: 12", "A", True, "A: 12"),
        ("It is so.\nA: 12", "C", False, "A: 12"),
        ("It is so.\nA: 5 or 6", "5", False, "A: 5 or 6"),
    ],
)
def test_what_is_reported_is_the_value_behind_a_letter(response, gold, correct, extracted):
    found = check(response, gold)
    assert (found.correct, found.extracted) == (correct, extracted)
    assert response[found.start : found.end] == extracted


@pytest.mark.parametrize(
    ("answer", "gold", "verdict"),
    [
        ("three", "3", "correct"),
        ("\\text{Three}", "3", "correct"),
        ("3", "three", "correct"),
        ("twenty-one", "21", "correct"),
        ("One hundred and five", "105", "correct"),
        ("two thousand and twelve", "2012", "correct"),
        ("ten", "10", "correct"),
        ("zero", "0", "correct"),
        ("three", "4", "incorrect"),
        ("twenty-one", "20", "incorrect"),
        ("three", "third", "incorrect"),
        ("blue", "3", "incorrect"),
        # other words beside: not known to be another number, and not credited for it either
        ("three red boxes", "3", "unparseable"),
        ("three dozen", "3", "unparseable"),
        ("one half", "1", "unparseable"),
        ("minus three", "3", "unparseable"),
        ("two to one", "2", "unparseable"),
        ("one or two", "1", "unparseable"),
        ("twenty thirty", "20", "unparseable"),
        ("one thousand thousand", "1000000", "unparseable"),
    ],
)
def test_whole_numbers_in_words(answer, gold, verdict):
    for response in (f"\\boxed{{{answer}}}", f"So it is clear. The answer is {answer}."):
        assert check(response, gold).verdict == verdict, response
