"""Fuzz the answer checker for a given time, and shrink the inputs that break it.

    python -m tests.helpers.answers.fuzz --minutes 30 [--seed 1] [--policy math] [--rss-mb 1024]
        [--failures found.jsonl] [--steps]

Every example must give: no exception, a verdict with its reason, the extracted span at its
offsets, fields that can be written, a readable gold correct against itself, the same verdict twice,
an answer in time, and memory within its limit. With --steps the examples go through `check_steps`,
whose promises are in `fuzz_steps`. Exits with status 1 if anything failed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import sys
import time
import warnings
from collections import Counter
from pathlib import Path

from hypothesis import HealthCheck, Phase, Verbosity, given, seed, settings
from hypothesis.errors import Flaky, HypothesisWarning

from orion.answers import POLICIES, parse_gold
from tests.helpers.answers.fuzz_inputs import cases
from tests.helpers.answers.fuzz_promises import SHOWN, BrokenPromiseError, Promises
from tests.helpers.answers.fuzz_steps import StepPromises

# an example that takes longer hangs: SIGALRM interrupts it, regular expressions and loops included
HANG_S = 90.0
CHUNK = 200
SHRINK_S = 45.0


class ShrinkTimeoutError(BaseException):
    """The time for shrinking is over."""


class HangError(BaseException):
    """An example did not end in time."""


def _alarm(signum, frame):
    raise HangError


class Session(Promises):
    """The examples of one run: what was found, how fast it went."""

    def __init__(
        self, policies: list[str], rss_mb: int, failures: Path | None, stop: float
    ) -> None:
        super().__init__(policies, rss_mb)
        self.failures, self.stop = failures, stop
        self.examples = 0
        self.begun = self.shown = time.monotonic()
        self.best: dict[str, tuple[BrokenPromiseError, str, str]] = {}
        self.saved: Counter[str] = Counter()
        self.hunting, self.hunting_since = "", 0.0

    def example(self, case: tuple[str, str, bool]) -> None:
        """One example of hypothesis; raises only the fault that is being shrunk."""
        if time.monotonic() > self.stop or (
            self.hunting and time.monotonic() > self.hunting_since + SHRINK_S
        ):
            raise ShrinkTimeoutError
        response, gold, _ = case
        signal.setitimer(signal.ITIMER_REAL, HANG_S)
        try:
            self.examine(*case)
            return
        except HangError:
            error = BrokenPromiseError("hangs", f"more than {HANG_S:.0f} s")
        except BrokenPromiseError as broken:
            error = broken
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            self.examples += 1
            self.progress()
        if error.kind in self.saved:
            self.saved[error.kind] += 1
            return
        best = self.best.get(error.kind)
        if best is None or len(response) + len(gold) < len(best[1]) + len(best[2]):
            self.best[error.kind] = error, response, gold
        if not self.hunting:
            self.hunting, self.hunting_since = error.kind, time.monotonic()
        if self.hunting == error.kind:
            raise error

    def chunk(self, number: int) -> None:
        """CHUNK examples from one seed, and the shrinking of the first fault among them."""

        @seed(number)
        @settings(
            max_examples=CHUNK, deadline=None, database=None, verbosity=Verbosity.quiet,
            print_blob=False, suppress_health_check=list(HealthCheck),
            phases=(Phase.generate, Phase.shrink),
        )  # fmt: skip
        @given(cases())
        def run(case):
            self.example(case)

        self.hunting = ""
        # a fault that depends on time may not reproduce: it is saved all the same
        with contextlib.suppress(BrokenPromiseError, ShrinkTimeoutError, Flaky):
            run()
        for kind in list(self.best):
            self.save(*self.best.pop(kind))

    def save(self, error: BrokenPromiseError, response: str, gold: str) -> None:
        self.saved[error.kind] += 1
        print(f"FAILED {error}\n  response {_short(response)}\n  gold {_short(gold)}", flush=True)
        if self.failures is not None:
            record = {
                "kind": error.kind,
                "detail": error.detail,
                "response": response,
                "gold": gold,
            }
            with self.failures.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")

    def progress(self, last: bool = False) -> None:
        now = time.monotonic()
        if not last and now < self.shown + 10:
            return
        self.shown, memory = now, self.memory
        slowest = max((s[0] for s in self.slow.values()), default=0.0)
        print(
            f"{now - self.begun:6.0f} s  {self.examples} examples  {self.checks} checks"
            f"  {self.examples / (now - self.begun):.1f}/s  slowest in process {slowest:.2f} s"
            f"  at most {memory.peak['this process'] >> 20} MB here"
            f", {memory.peak['a worker'] >> 20} MB in a worker"
            f"  {max(0, len(memory.seen) - memory.alive)} workers killed  {len(self.saved)} faults",
            flush=True,
        )


class StepSession(StepPromises, Session):
    """The examples of one run through `check_steps`."""


def _short(text: str) -> str:
    if len(text) <= SHOWN:
        return repr(text)
    return f"{text[: SHOWN // 2]!r} … {text[-SHOWN // 2 :]!r} ({len(text)} characters)"


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=1.0, help="how long to go on")
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        help="seed of the first chunk; the next takes the next number",
    )
    parser.add_argument(
        "--policy",
        action="append",
        choices=sorted(POLICIES),
        help="default: all that are installed",
    )
    parser.add_argument(
        "--rss-mb", type=int, default=1024, help="limit for this process and for each worker"
    )
    parser.add_argument(
        "--failures", type=Path, help="file to which each fault is appended as a line of JSON"
    )
    parser.add_argument("--steps", action="store_true", help="fuzz check_steps instead")
    args = parser.parse_args(argv)
    signal.signal(signal.SIGALRM, _alarm)
    # the samples make long representations
    warnings.simplefilter("ignore", HypothesisWarning)
    session = (StepSession if args.steps else Session)(
        args.policy or _installed(),
        args.rss_mb,
        args.failures,
        time.monotonic() + 60 * args.minutes,
    )
    number = args.seed
    while time.monotonic() < session.stop:
        session.chunk(number)
        number += 1
    session.progress(last=True)
    print("verdicts", dict(session.verdicts))
    for (rule, reason), (cpu, response, gold) in sorted(
        session.slow.items(), key=lambda s: -s[1][0]
    )[:10]:
        print(
            f"slow {cpu:.2f} s ({rule}, {reason})\n"
            f"  response {_short(response)}\n  gold {_short(gold)}"
        )
    for _, policy, response, gold in sorted(set(session.lost))[:5]:
        print(f"timeout under {policy}\n  response {_short(response)}\n  gold {_short(gold)}")
    for kind, count in session.saved.most_common():
        print(f"fault {kind}: {count} times")
    return 1 if session.saved else 0


def _installed() -> list[str]:
    found = []
    for name in POLICIES:
        with contextlib.suppress(ValueError):
            parse_gold("1", name)
            found.append(name)
    return found


if __name__ == "__main__":
    sys.exit(main())
