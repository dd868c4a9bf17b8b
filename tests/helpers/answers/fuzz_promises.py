"""The promises that the fuzzer checks on every example, and the watch on memory.

Input: responses and golds, hostile ones too. Output: BrokenPromiseError if `orion.answers` breaks a
promise.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
import traceback
from collections import Counter
from pathlib import Path

import psutil

import orion.answers
from orion.answers import POLICIES, VERDICTS, check, parse_gold

DEADLINE_S = 1.0
GRACE_S = 1.0
# wall seconds that no busy machine explains
HANG_S = 300.0
SLOW_S = 0.2
FINISHED = (None, True, False)
# policies that ask another checker in a worker, which costs a hundred times more and promises less
REPLAYED = frozenset(
    name for name, policy in POLICIES.items() if getattr(policy, "math_verify", None) is not None
)
SHOWN = 300
_SOURCES = frozenset(path.name for path in Path(orion.answers.__file__).parent.rglob("*.py"))


class BrokenPromiseError(AssertionError):
    """A promise that was not kept; `kind` is the same for all examples of one fault."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(f"{kind}: {detail}")
        self.kind, self.detail = kind, detail


class Memory(threading.Thread):
    """A thread that watches the memory of this process and its workers, and counts the workers."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.own, self.seen, self.alive = psutil.Process(), set(), 0
        # since the last example, and since the beginning
        self.recent, self.peak = (
            {"this process": 0, "a worker": 0},
            {"this process": 0, "a worker": 0},
        )

    def note(self, who: str, held: int) -> None:
        self.recent[who], self.peak[who] = max(self.recent[who], held), max(self.peak[who], held)

    def run(self) -> None:
        while True:
            children = self.own.children()
            self.alive = len(children)
            self.note("this process", self.own.memory_info().rss)
            for child in children:
                with contextlib.suppress(psutil.Error):
                    self.seen.add((child.pid, child.create_time()))
                    self.note("a worker", child.memory_info().rss)
            time.sleep(0.2)

    def over(self, limit: int) -> str:
        """Who went over the limit since the last call, in words."""
        self.note("this process", self.own.memory_info().rss)
        found = ", ".join(
            f"{who} held {held >> 20} MB" for who, held in self.recent.items() if held > limit
        )
        self.recent = dict.fromkeys(self.recent, 0)
        return found


def _writable(text: str | None) -> str | None:
    return None if text is None else text.encode("utf-8", "replace").decode("utf-8")


class Promises:
    """Checks the promises of a verdict under each policy, and counts verdicts and slow cases."""

    def __init__(self, policies: list[str], rss_mb: int) -> None:
        self.own = [p for p in policies if p not in REPLAYED]
        self.replayed = [p for p in policies if p in REPLAYED]
        self.limit = rss_mb << 20
        self.memory = Memory()
        self.memory.start()
        self.checks = 0
        self.verdicts: Counter[str] = Counter()
        self.slow: dict[tuple, tuple[float, str, str]] = {}
        self.lost: list[tuple[int, str, str, str]] = []
        self.cold = {"strict", *self.replayed}

    def warm(self) -> None:
        """Restarts a killed worker before the clock runs: a start is not part of a deadline."""
        for policy in sorted(self.cold):
            check("\\boxed{\\sin^2 x+\\cos^2 x}", "1", policy, timeout_s=60)
        self.cold.clear()

    def timed(
        self,
        response: str,
        gold: str,
        policy: str,
        finished: bool | None,
        deadline: float = DEADLINE_S,
    ):
        """The verdict and its seconds: CPU seconds in this process, or wall seconds if it hung."""
        self.warm()
        wall, cpu = time.monotonic(), time.thread_time()
        try:
            verdict = check(response, gold, policy, finished=finished, timeout_s=deadline)
        except Exception as error:
            raise BrokenPromiseError(
                f"check raised {type(error).__name__} {_where(error)}", str(error)[:SHOWN]
            ) from error
        wall, cpu = time.monotonic() - wall, time.thread_time() - cpu
        self.checks += 1
        self.verdicts[verdict.verdict] += 1
        if verdict.verdict == "timeout":
            self.cold.add(policy if policy in REPLAYED else "strict")
            self.lost.append((len(response) + len(gold), policy, response, gold))
        key = (verdict.rule, verdict.reason)
        if cpu > SLOW_S and cpu > self.slow.get(key, (0.0,))[0]:
            self.slow[key] = cpu, response, gold
        return verdict, wall if wall > HANG_S else cpu

    def promises(self, response: str, gold: str, policy: str, finished: bool | None):
        """The verdict, after checking all promises that concern one verdict."""
        verdict, seconds = self.timed(response, gold, policy, finished)
        case = f"policy {policy}, finished {finished}: {str(verdict)[:SHOWN]}"
        if seconds > DEADLINE_S + GRACE_S:
            # a single late answer may be caused by a busy machine
            verdict, again = self.timed(response, gold, policy, finished)
            if again > DEADLINE_S + GRACE_S:
                raise BrokenPromiseError(
                    f"late ({verdict.rule}, {verdict.reason})",
                    f"{seconds:.2f} s and {again:.2f} s; {case}",
                )
        if verdict.verdict not in VERDICTS:
            raise BrokenPromiseError("unknown verdict", case)
        if verdict.reason.startswith("internal error"):
            raise BrokenPromiseError(verdict.reason, case)
        if not verdict.correct and not verdict.reason:
            raise BrokenPromiseError(f"no reason ({verdict.rule})", case)
        try:
            json.dumps(verdict.as_dict(), ensure_ascii=False).encode()
        except (UnicodeEncodeError, TypeError, ValueError) as error:
            raise BrokenPromiseError(f"cannot be written ({type(error).__name__})", case) from error
        if verdict.start is not None:
            span = response[verdict.start : verdict.end]
            joined = any(box in span for box in ("\\boxed", "\\fbox")) and "," in str(
                verdict.extracted
            )
            if verdict.extracted != _writable(span) and not joined:
                raise BrokenPromiseError("extracted is not the span", case)
        elif verdict.extracted is not None and policy not in REPLAYED:
            raise BrokenPromiseError("extracted without a span", case)
        return verdict

    def itself(self, gold: str, policy: str) -> None:
        """A readable gold is correct against itself, if the box around it is read as a whole."""
        try:
            problem = parse_gold(gold, policy)
        except Exception as error:
            raise BrokenPromiseError(
                f"parse_gold raised {type(error).__name__} {_where(error)}", str(error)[:SHOWN]
            ) from error
        if problem == "":
            raise BrokenPromiseError("parse_gold gave no reason", f"policy {policy}")
        if problem is not None or policy in REPLAYED:
            return
        boxed = f"\\boxed{{{gold}}}"
        verdict, _ = self.timed(boxed, gold, policy, None, HANG_S)
        whole = verdict.start is not None and boxed[verdict.start : verdict.end] == gold
        if whole and not verdict.correct:
            kind = f"gold is not itself ({verdict.verdict}, {verdict.reason})"
            raise BrokenPromiseError(kind, f"policy {policy}: {str(verdict)[:SHOWN]}")

    def examine(self, response: str, gold: str, replay: bool) -> None:
        """Checks one example under all policies; raises BrokenPromiseError."""
        for policy in self.own + (self.replayed if replay or not self.own else []):
            first = None
            for finished in FINISHED if policy not in REPLAYED else (None,):
                verdict = self.promises(response, gold, policy, finished)
                first = first or verdict
                # a killed worker costs seconds, and the next flag would probably cost as much
                if verdict.verdict == "timeout":
                    break
            second = (
                first if first.verdict == "timeout" else self.timed(response, gold, policy, None)[0]
            )
            if first != second and second.verdict != "timeout":
                both = f"{str(first)[:SHOWN]} then {str(second)[:SHOWN]}"
                raise BrokenPromiseError("twice is not the same", f"policy {policy}: {both}")
            self.itself(gold, policy)
        if over := self.memory.over(self.limit):
            raise BrokenPromiseError("memory", over)


def _where(error: Exception) -> str:
    """The last line of the checker in the error's traceback."""
    frames = [
        f"{Path(f.filename).name}:{f.name}" for f in traceback.extract_tb(error.__traceback__)
    ]
    return f"at {frames[-1]}" + "".join(
        [f" from {f}" for f in frames if f.split(":")[0] in _SOURCES][-1:]
    )
