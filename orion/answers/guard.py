"""Killable workers: the dear comparisons run in spawned processes with limits on memory and CPU and a deadline from outside.

Inputs: two trees and a deadline. Outputs: True, False, None, or `Lost`. Usable from any thread, after a fork and
without any signal handler; strings and JSON cross the pipe, never pickles. A lost worker loses one case. No worker
starts before it is needed, and all end with this process. Not runnable.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import select
import subprocess
import sys
import threading
import time
from pathlib import Path

from orion.answers.tree import Node

# a worker that has not imported sympy by then counts as lost
START_S = 60.0
MAX_WORKERS = 8
MAX_REQUEST = 60_000
_CODE = "import sys; sys.path.insert(0, sys.argv[1]); from orion.answers.worker import main; main()"


class Lost(Exception):
    """The worker was killed or died; the message says why."""


def to_json(node: Node) -> list:
    """A tree as nested lists [kind, value, *children]; numbers as hexadecimal strings."""
    value = node.value
    if node.kind == "num":
        value = [hex(value.numerator), hex(value.denominator)]
    return [node.kind, value, *(to_json(a) for a in node.args)]


class Worker:
    """One spawned process. Not to be shared between threads; the pool hands it to one at a time."""

    def __init__(self) -> None:
        root = str(Path(__file__).resolve().parents[2])
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-c", _CODE, root],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONHASHSEED": "0"},
        )
        assert self.process.stdin is not None and self.process.stdout is not None
        self.input, self.output = self.process.stdin, self.process.stdout
        self.buffer = b""
        self.ready = False
        self.owner = os.getpid()

    def kill(self) -> None:
        """Ends the process at once; safe to call twice."""
        if self.owner != os.getpid():
            return
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        for pipe in (self.input, self.output):
            with contextlib.suppress(OSError):
                pipe.close()
        self.process.wait()

    def line(self, deadline: float) -> dict:
        descriptor = self.output.fileno()
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        while b"\n" not in self.buffer:
            left = deadline - time.monotonic()
            if left <= 0 or not poll.poll(left * 1000):
                raise Lost("no decision within the deadline")
            chunk = os.read(descriptor, 1 << 16)
            if not chunk:
                raise Lost("the worker died")
            self.buffer += chunk
        line, self.buffer = self.buffer.split(b"\n", 1)
        return json.loads(line)

    def ask(self, request: str, timeout_s: float) -> dict:
        try:
            if not self.ready:
                self.line(time.monotonic() + START_S)
                self.ready = True
            deadline = time.monotonic() + timeout_s
            self.input.write(request.encode() + b"\n")
            self.input.flush()
            return self.line(deadline)
        except (OSError, ValueError) as error:
            raise Lost("the worker died") from error


class Pool:
    """Workers that are idle, and the right to start more up to MAX_WORKERS."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forgets everything, as a forked child must: the workers belong to its parent."""
        self.lock = threading.Lock()
        self.slots = threading.BoundedSemaphore(MAX_WORKERS)
        self.idle: list[Worker] = []

    def ask(self, request: str, timeout_s: float) -> dict:
        """One question to one worker; raises Lost, and the worker is then gone."""
        with self.slots:
            with self.lock:
                worker = self.idle.pop() if self.idle else None
            if worker is not None and worker.process.poll() is not None:
                worker.kill()
                worker = None
            if worker is None:
                worker = Worker()
            try:
                answer = worker.ask(request, timeout_s)
            except BaseException:
                worker.kill()
                raise
            with self.lock:
                self.idle.append(worker)
            return answer

    def close(self) -> None:
        """Kills the idle workers."""
        with self.lock:
            idle, self.idle = self.idle, []
        for worker in idle:
            worker.kill()


POOL = Pool()
os.register_at_fork(after_in_child=POOL.reset)
atexit.register(POOL.close)


def equal(left: Node, right: Node, timeout_s: float) -> bool | None:
    """What sympy says about two expressions: True, False, or None where it does not know; raises Lost."""
    request = json.dumps({"left": to_json(left), "right": to_json(right), "cpu_s": timeout_s})
    if len(request) > MAX_REQUEST:
        raise Lost("too large for a worker")
    return POOL.ask(request, timeout_s).get("equal")
