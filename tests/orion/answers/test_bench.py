"""The benchmark against Math-Verify: distinct, labelled cases; no timing of wrong results."""

import pytest

from bench import answers, steps
from orion.answers import check
from orion.answers.workers import pool


@pytest.fixture
def bench():
    yield answers
    pool.POOL.close()


def test_synthetic_cases_are_distinct_repeatable_and_labelled(bench):
    cases = list(bench.synthetic(300, seed=3))
    assert cases == list(bench.synthetic(300, seed=3)) and len(set(cases)) == 300
    assert cases[:50] == list(bench.synthetic(50, seed=3))
    assert all(check(case.response, case.gold).correct is case.right for case in cases)
    assert 400 < sum(len(case.response) for case in cases) / 300 < 600


def test_a_set_is_timed_against_the_peer(bench):
    cells, fine = bench.row("gsm", list(bench.synthetic(40, seed=0)), bench.peer(), rounds=2)
    assert fine and cells[:5] == ["GSM-like, synthetic", "40", cells[2], "0 (≤ 0)", "0"]
    assert len(cells) == 12 and cells[7].endswith("×") and cells[10] == "100.0%"


def test_wrong_verdicts_are_refused_and_not_timed(bench, monkeypatch):
    monkeypatch.setattr(bench, "timed", lambda *arguments: pytest.fail("timed"))
    cases = [case._replace(right=not case.right) for case in bench.synthetic(5, seed=0)]
    cells, fine = bench.row("gsm", cases, lambda response, gold: True, rounds=1)
    assert not fine and cells[3:5] == ["5 (≤ 0)", "REFUSED"] and len(cells) == 12


def test_texts_for_the_steps_have_one_false_sum_in_every_second_one():
    cases = list(steps.make_texts(200, seed=3))
    assert [case.right for case in cases] == [True, False] * 100 and len(set(cases)) == 200
    for case, plain in zip(cases, answers.synthetic(200, seed=3), strict=True):
        pairs = zip(case.response.split("\n"), plain.response.split("\n"), strict=True)
        assert sum(left != right for left, right in pairs) == (not case.right)
        assert steps.is_true(case.response, case.gold) is case.right


def test_steps_are_timed_against_the_peer_or_refused(bench):
    cases = list(steps.make_texts(20, seed=0))
    tools = (bench.peer(), 2, bench.timed, bench.spread)
    columns, fine = steps.write_row("steps-gsm", cases, *tools)
    assert fine and columns[1] == "20" and columns[3] == "0 (≤ 0)" and "×" in columns[9]
    wrong = [case._replace(right=not case.right) for case in cases]
    columns, fine = steps.write_row("steps-gsm", wrong, *tools)
    assert not fine and columns[3:7] == ["20 (≤ 0)", *columns[4:6], "REFUSED"]
    assert len(columns) == len(steps.HEAD)


def test_absent_files_leave_their_sets_out(bench, tmp_path):
    assert list(bench.load(["gsm", "math500", "traces"], tmp_path, True, 0)) == ["gsm"]
    assert list(steps.load(list(steps.SIZES), tmp_path, True, 0)) == ["steps-gsm"]
