"""Math-Verify as a policy: its credit, its failures told apart, its hangs killed, its absence."""

import importlib.metadata
import importlib.util
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from orion.answers import check, check_many, parse_gold, policies
from orion.answers.policies import Policy, PolicyError
from orion.answers.workers import pool

ROOT = Path(__file__).resolve().parents[3]
TOWER = r"\boxed{9^{9^{9^{9}}}}"


@pytest.fixture(autouse=True)
def no_worker_is_left_behind():
    yield
    pool.POOL.close()


@pytest.fixture
def unknown_installation(monkeypatch):
    """Forgets whether the package is installed, before and after the test."""
    policies._need_math_verify.cache_clear()
    yield monkeypatch
    policies._need_math_verify.cache_clear()


CASES = [
    (r"so \boxed{\frac24}", "0.5", "correct", ""),
    ("so it is 6", "5", "incorrect", "the answers differ"),
    ("I do not know", "5", "no_answer", "nothing to parse"),
    ("", "5", "no_answer", "nothing to parse"),
    (r"\boxed{5}", "", "unparseable", "gold: nothing to parse"),
    (r"\boxed{5}", r"\foo", "unparseable", "gold: not parsed, kept as a text"),
    (r"\boxed{\foo}", "5", "unparseable", "not parsed, kept as a text"),
    # equal texts are right for Math-Verify, understood or not
    (r"\boxed{\foo}", r"\foo", "correct", ""),
    (r"\boxed{\$6}", r"\$6", "correct", ""),
    (r"\boxed{5}", r"\boxed{5}", "correct", ""),
    ("\ud800 \\boxed{\ud800x}\0", "5", "unparseable", "not parsed, kept as a text"),
]


def test_verdicts_reasons_and_forms():
    found = check_many([c[0] for c in CASES], [c[1] for c in CASES], "math-verify", timeout_s=120)
    assert [(v.verdict, v.reason) for v in found] == [c[2:] for c in CASES]
    assert {v.rule for v in found} == {"math-verify"}
    assert (found[0].extracted, found[0].normal, found[0].gold_normal) == (
        r"\frac{2}{4}",
        "1/2",
        "1/2",
    )
    assert (found[0].start, found[0].end) == (None, None)
    "".join(str(v.extracted) for v in found).encode("utf-8")


def test_credit_is_that_of_the_package_itself():
    from math_verify import parse, verify

    golds = [
        "1/2",
        r"\frac{1}{3}",
        r"(1,2)",
        r"[0,\infty)",
        "50\\%",
        "x^2+1",
        r"\{1,2\}",
        "2004",
        r"\text{Evelyn}",
    ]
    said = [
        r"\boxed{0.5}",
        "0.333333",
        "$(1, 2)$ I hope",
        r"\boxed{x \ge 0}",
        "0.5",
        r"\boxed{1+x^2}",
        "1 and 2",
    ]
    pairs = [(response, gold) for response in said for gold in golds]
    for wrap, name in ((r"\boxed{%s}", "math-verify"), ("$%s$", "math-verify-dollar")):
        direct = [verify(parse(wrap % gold), parse(response)) for response, gold in pairs]
        replayed = check_many([p[0] for p in pairs], [p[1] for p in pairs], name, timeout_s=120)
        assert [v.correct for v in replayed] == direct
        assert any(direct) and not all(direct)


def test_the_box_keeps_a_gold_that_dollars_lose():
    gold = r"0.\overline{45}"
    assert check("0", gold, "math-verify-dollar", timeout_s=120).verdict == "correct"
    assert check("0", gold, "math-verify", timeout_s=120).verdict == "unparseable"


def test_what_hangs_is_a_timeout_within_the_deadline_and_the_next_check_works():
    assert check("5", "5", "math-verify", timeout_s=120).correct
    start = time.monotonic()
    verdict = check(TOWER, "5", "math-verify", timeout_s=1)
    # far below what the tower takes; the deadline itself is a second
    assert time.monotonic() - start < 120
    assert (verdict.verdict, verdict.reason) == ("timeout", "no decision within the deadline")
    assert check("5", "5", "math-verify", timeout_s=120).correct


def test_from_a_thread_where_its_alarm_would_not_work():
    found = []
    thread = threading.Thread(
        target=lambda: found.append(check(r"\boxed{\frac24}", "0.5", "math-verify", timeout_s=120))
    )
    thread.start()
    thread.join()
    assert found[0].correct


def test_many_in_order_with_threads_and_with_what_is_no_string():
    responses = [f"\\boxed{{{n}}}" for n in range(40)] + [None, ["5"], "5"]
    golds = [str(n) for n in range(40)] + ["5", "5", 5]
    found = check_many(responses, golds, "math-verify", 120, workers=2)
    assert all(v.correct for v in found[:40]) and len(pool.POOL.idle) == 2
    assert {(v.verdict, v.reason) for v in found[40:]} == {
        ("unparseable", "the response or the gold is not a string")
    }


def test_a_response_longer_than_the_pipe_and_one_too_long_for_any_worker():
    words = "so we look at the next case and find that nothing fits. " * 20_000
    assert check(words + r"\boxed{7}", "7", "math-verify", timeout_s=120).correct
    assert check("5" * pool.MAX_REQUEST, "7", "math-verify").reason == "too large for a worker"


def test_a_worker_that_does_not_read_cannot_hold_the_caller(monkeypatch):
    monkeypatch.setattr(
        pool, "_CODE", "import time; print('{\"ready\": true}', flush=True); time.sleep(3600)"
    )
    start = time.monotonic()
    assert check("5" * 1_000_000, "5", "math-verify", timeout_s=0.5).verdict == "timeout"
    assert time.monotonic() - start < 120


def test_code_in_a_response_is_not_run(tmp_path):
    mark = tmp_path / "mark"
    response = f"\\boxed{{__import__('pathlib').Path('{mark}').touch()}}"
    assert not check(response, "5", "math-verify", timeout_s=120).correct
    assert not mark.exists()


def test_golds_are_parsed_by_its_rule():
    golds = ["5", r"\text{Evelyn}", r"\foo", ""]
    assert [parse_gold(gold, "math-verify") for gold in golds] == [
        None, None, "not parsed, kept as a text", "nothing to parse"
    ]  # fmt: skip
    assert parse_gold(5, "math-verify") == "the gold is not a string"


def test_its_own_limit_is_told_from_ours_keeps_the_worker_and_is_silent():
    code = (
        "import sys; from orion.answers import check; from orion.answers.workers import pool;"
        "check('5', '5', 'math-verify', timeout_s=120); before = list(pool.POOL.idle);"
        f"verdict = check(r'{TOWER}', '5', 'math-verify', timeout_s=120);"
        "print(verdict.verdict, verdict.reason, before == pool.POOL.idle,"
        "      'math_verify' in sys.modules)"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    run = subprocess.run(
        [sys.executable, "-c", code],
        env=env,
        capture_output=True,
        text=True,
        timeout=1200,
        check=True,
    )
    assert (run.stdout.strip(), run.stderr) == (
        "timeout its own time limit in comparing True False",
        "",
    )


def absent(name: str) -> str:
    raise importlib.metadata.PackageNotFoundError(name)


@pytest.mark.parametrize(
    ("version", "runtime", "said"),
    [
        (absent, object(), "nothing of it is installed"),
        (lambda name: "0.8.0", object(), "0.8.0 is installed"),
        (lambda name: "0.9.0", None, "no antlr4 runtime for it is installed"),
    ],
)
def test_without_the_package_nothing_starts_and_the_error_names_the_extra(
    unknown_installation, version, runtime, said
):
    unknown_installation.setattr(importlib.metadata, "version", version)
    unknown_installation.setattr(importlib.util, "find_spec", lambda name: runtime)
    for call in (
        lambda: check("5", "5", "math-verify"),
        lambda: parse_gold("5", "math-verify-dollar"),
    ):
        with pytest.raises(
            PolicyError, match=f"{said}; install the extra orion.math-verify.: pip install"
        ):
            call()
    assert pool.POOL.idle == []
    assert check("5", "5").correct


def test_an_installation_that_does_not_import_is_an_error_and_no_verdict(monkeypatch):
    broken = pool._CODE.replace(
        "main(sys", "TASKS; TASKS['math_verify'] = lambda: __import__('no_such_package'); main(sys"
    )
    monkeypatch.setattr(pool, "_CODE", broken.replace("import main;", "import main, TASKS;"))
    with pytest.raises(
        RuntimeError, match="math_verify cannot start: No module named 'no_such_package'"
    ):
        check("5", "5", "math-verify")


def test_a_worker_serves_one_task_and_idle_ones_make_room(monkeypatch):
    identity = r"\boxed{\sin^2 x + \cos^2 x}"
    for _ in range(2):
        assert check("5", "5", "math-verify", timeout_s=120).correct
        assert check(identity, "1", "strict", timeout_s=120).rule == "expression/sympy"
    assert sorted(worker.task for worker in pool.POOL.idle) == ["equal", "math_verify"]
    monkeypatch.setattr(pool, "MAX_WORKERS", 2)
    for _ in range(4):
        both = check_many(["5", "6"], ["5", "6"], "math-verify", 120, workers=2)
        assert all(v.correct for v in both) and len(pool.POOL.idle) <= 2
    assert pool.POOL.busy == 0


def test_a_policy_of_ones_own_says_what_the_gold_stands_between():
    mine = Policy("mine", math_verify=("the answer is ", "."))
    assert check("5", "5", mine, timeout_s=120).correct
