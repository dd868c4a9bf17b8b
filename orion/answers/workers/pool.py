"""A pool of killable worker processes with limits on memory and CPU, and a deadline from outside.

Input: the name of a task of `process`, its question as JSON, a deadline. Output: the answer as
JSON, or WorkerLostError. Usable from any thread, after a fork, and without signal handlers. Only
JSON crosses the pipe, never pickles. A lost worker costs one case. A worker starts when it is first
needed, serves one task, and ends with this process.
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

from orion.answers.parsing.tree import Node
from orion.answers.workers import process

# a worker that has not imported its packages by then counts as lost
START_S = 60.0
MAX_WORKERS = 8
# JSON characters: of any question, and of the two trees of a question to sympy
MAX_REQUEST = 16_000_000
MAX_TREES = 60_000
# by the module's name and not as a text, so that the source digest of a stage includes the worker
_CODE = (
    f"import sys; sys.path.insert(0, sys.argv[1]); from {process.__name__} import main; "
    "main(sys.argv[2])"
)


class WorkerLostError(Exception):
    """The worker was killed or died; the message says why."""


def tree_to_json(node: Node) -> list:
    """A tree as nested lists [kind, value, *children]; numbers as hexadecimal strings."""
    value = node.value
    if node.kind == "num":
        value = [hex(value.numerator), hex(value.denominator)]
    return [node.kind, value, *(tree_to_json(a) for a in node.args)]


class Worker:
    """One spawned process for one task. The pool gives it to one thread at a time."""

    def __init__(self, task: str) -> None:
        self.task = task
        root = str(Path(__file__).resolve().parents[3])
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-c", _CODE, root, task],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONHASHSEED": "0"},
        )
        assert self.process.stdin is not None and self.process.stdout is not None
        self.input, self.output = self.process.stdin, self.process.stdout
        # writing a question longer than the pipe must not block past the deadline
        os.set_blocking(self.input.fileno(), False)
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

    def send(self, data: bytes, deadline: float) -> None:
        """Writes the data; raises WorkerLostError if the worker does not read it in time."""
        descriptor = self.input.fileno()
        poll = select.poll()
        poll.register(descriptor, select.POLLOUT)
        rest = memoryview(data)
        while rest:
            left = deadline - time.monotonic()
            if left <= 0 or not poll.poll(left * 1000):
                raise WorkerLostError("no decision within the deadline")
            rest = rest[os.write(descriptor, rest) :]

    def read_line(self, deadline: float) -> dict:
        """The next line as JSON; raises WorkerLostError if there is none by the deadline."""
        descriptor = self.output.fileno()
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        while b"\n" not in self.buffer:
            left = deadline - time.monotonic()
            if left <= 0 or not poll.poll(left * 1000):
                raise WorkerLostError("no decision within the deadline")
            chunk = os.read(descriptor, 1 << 16)
            if not chunk:
                raise WorkerLostError("the worker died")
            self.buffer += chunk
        line, self.buffer = self.buffer.split(b"\n", 1)
        return json.loads(line)

    def ask(self, request: str, timeout_s: float) -> dict:
        try:
            if not self.ready:
                start = self.read_line(time.monotonic() + START_S)
                if not start["ready"]:
                    raise RuntimeError(f"the worker for {self.task} cannot start: {start['why']}")
                self.ready = True
            deadline = time.monotonic() + timeout_s
            self.send(request.encode() + b"\n", deadline)
            return self.read_line(deadline)
        except (OSError, ValueError) as error:
            raise WorkerLostError("the worker died") from error


class Pool:
    """The idle workers; at most MAX_WORKERS are alive at a time, all tasks together."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forgets all workers. A forked child must do so: they belong to its parent."""
        self.lock = threading.Lock()
        self.slots = threading.BoundedSemaphore(MAX_WORKERS)
        self.idle: list[Worker] = []
        self.busy = 0

    def take(self, task: str) -> Worker:
        """An idle worker of the task, or a new one; an idle worker of another task makes room."""
        spare = None
        with self.lock:
            worker = next((w for w in reversed(self.idle) if w.task == task), None)
            if worker is not None:
                self.idle.remove(worker)
            elif self.idle and self.busy + len(self.idle) > MAX_WORKERS:
                spare = self.idle.pop(0)
        if spare is not None:
            spare.kill()
        if worker is not None and worker.process.poll() is not None:
            worker.kill()
            worker = None
        return worker or Worker(task)

    def ask(self, task: str, request: str, timeout_s: float) -> dict:
        """Asks one worker one question; if it raises WorkerLostError the worker was killed."""
        with self.slots:
            worker, answered = None, False
            with self.lock:
                self.busy += 1
            try:
                worker = self.take(task)
                answer = worker.ask(request, timeout_s)
                answered = True
                return answer
            finally:
                if worker is not None and not answered:
                    worker.kill()
                with self.lock:
                    self.busy -= 1
                    if worker is not None and answered:
                        self.idle.append(worker)

    def close(self) -> None:
        """Kills the idle workers."""
        with self.lock:
            idle, self.idle = self.idle, []
        for worker in idle:
            worker.kill()


POOL = Pool()
os.register_at_fork(after_in_child=POOL.reset)
atexit.register(POOL.close)


def ask(task: str, question: dict, timeout_s: float) -> dict:
    """The answer of a worker to one question of a task.

    Raises WorkerLostError if none came by the deadline, and RuntimeError if the packages of the
    task cannot be imported.
    """
    request = json.dumps({**question, "cpu_s": timeout_s})
    if len(request) > MAX_REQUEST:
        raise WorkerLostError("too large for a worker")
    return POOL.ask(task, request, timeout_s)


def sympy_equal(left: Node, right: Node, timeout_s: float) -> bool | None:
    """Whether sympy finds two expressions equal (None: it cannot tell); raises WorkerLostError."""
    trees = {"left": tree_to_json(left), "right": tree_to_json(right)}
    if len(json.dumps(trees)) > MAX_TREES:
        raise WorkerLostError("too large for a worker")
    return ask("equal", trees, timeout_s).get("equal")
