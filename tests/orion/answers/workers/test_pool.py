"""Real workers: they decide, are killed on time, cost at most one case, end with their parent."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from orion.answers import check
from orion.answers.parsing.parse_expression import parse_expression
from orion.answers.parsing.tree import num, power
from orion.answers.workers import pool

ROOT = Path(__file__).resolve().parents[4]
# 9^9^9 takes sympy far more than any deadline used here
ENDLESS = power(num(9), power(num(9), num(9)))


@pytest.fixture(autouse=True)
def no_worker_is_left_behind():
    yield
    pool.POOL.close()


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def wait_until_gone(pid: int, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not alive(pid)


def kill_once_busy(pid: int) -> None:
    """SIGKILL as soon as a process has spent CPU time: while it works, however late that is."""
    process = psutil.Process(pid)
    before = sum(process.cpu_times()[:2])
    while sum(process.cpu_times()[:2]) < before + 0.1:
        time.sleep(0.01)
    process.kill()


def run_python(code: str) -> str:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", code],
        env=env,
        capture_output=True,
        text=True,
        timeout=1200,
        check=True,
    ).stdout.strip()


def test_sympy_decides_in_the_worker_where_the_policy_wants_a_proof():
    verdict = check(r"\boxed{\sin^2 x + \cos^2 x}", "1", "strict", timeout_s=120)
    assert (verdict.verdict, verdict.rule) == ("correct", "expression/sympy")


def test_deadline_kills_the_worker_and_the_next_case_gets_a_new_one():
    assert (
        pool.sympy_equal(parse_expression("1"), parse_expression(r"\sin^2 y + \cos^2 y"), 120)
        is True
    )
    (worker,) = pool.POOL.idle
    start = time.monotonic()
    with pytest.raises(pool.WorkerLostError, match="deadline"):
        pool.sympy_equal(ENDLESS, num(5), 0.5)
    assert time.monotonic() - start < 120
    assert wait_until_gone(worker.process.pid, 120)
    assert (
        pool.sympy_equal(parse_expression(r"\ln(2x)-\ln x"), parse_expression(r"\ln 2"), 120)
        is not None
    )


def test_a_worker_killed_while_busy_loses_that_case_only():
    pool.sympy_equal(num(1), num(1), 120)
    (worker,) = pool.POOL.idle
    threading.Thread(target=kill_once_busy, args=(worker.process.pid,)).start()
    with pytest.raises(pool.WorkerLostError, match="died"):
        pool.sympy_equal(ENDLESS, num(5), 120)
    assert pool.sympy_equal(num(2), num(2), 120) is True


def test_a_worker_killed_while_idle_loses_nothing():
    pool.sympy_equal(num(1), num(1), 120)
    (worker,) = pool.POOL.idle
    worker.process.kill()
    worker.process.wait()
    assert pool.sympy_equal(num(1), num(1), 120) is True


def test_timeout_is_a_verdict_of_its_own_from_any_thread(monkeypatch):
    def never(left, right, timeout_s):
        raise pool.WorkerLostError("no decision within the deadline")

    monkeypatch.setattr(pool, "sympy_equal", never)
    found = []
    thread = threading.Thread(
        target=lambda: found.append(check(r"\boxed{\sec^2 y}", r"\tan^2 y+1", "strict"))
    )
    thread.start()
    thread.join()
    assert (found[0].verdict, found[0].reason) == ("timeout", "no decision within the deadline")


def test_threads_share_the_pool():
    answers = []
    threads = [
        threading.Thread(
            target=lambda: answers.append(
                pool.sympy_equal(
                    parse_expression("1"), parse_expression(r"\sin^2 x + \cos^2 x"), 120
                )
            )
        )
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [True] * 3


def test_short_rows_start_no_worker_and_import_no_sympy():
    code = (
        "import sys; from orion.answers import check; from orion.answers.workers import pool;"
        "assert check('47 + 38 = 85 ; \\\\boxed{ 85 }', '85').correct;"
        "assert check('\\\\boxed{\\\\cos 2x}', '1-2\\\\sin^2 x').correct;"
        "print('sympy' in sys.modules, len(pool.POOL.idle))"
    )
    assert run_python(code) == "False 0"


def test_a_worker_dies_with_its_parent():
    code = (
        "import os, signal; from orion.answers.workers import pool;"
        "from orion.answers.parsing.tree import num;"
        "pool.sympy_equal(num(1), num(1), 120); print(pool.POOL.idle[0].process.pid, flush=True);"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    run = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=1200
    )
    assert run.returncode == -signal.SIGKILL
    assert wait_until_gone(int(run.stdout), 120)


def test_a_forked_child_leaves_the_workers_of_its_parent_alone():
    pool.sympy_equal(num(1), num(1), 120)
    (worker,) = pool.POOL.idle
    code = (
        "import os; from orion.answers.workers import pool;"
        "from orion.answers.parsing.tree import num;"
        "pool.sympy_equal(num(1), num(1), 120); pid = os.fork();\n"
        "if pid == 0: pool.POOL.close(); os._exit(len(pool.POOL.idle))\n"
        "print(os.waitpid(pid, 0)[1], pool.sympy_equal(num(3), num(3), 120))"
    )
    assert run_python(code) == "0 True"
    assert alive(worker.process.pid)
