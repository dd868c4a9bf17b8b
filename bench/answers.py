"""Time `orion.answers` against Math-Verify: same cases, process and core, rounds in turn.

`check` runs on the sets of `answer_sets.py`, `check_steps` on those of `steps.py`. Input: a seed,
and the data folder beside the checkout if it exists. Output: tables on standard output. A set whose
labels are missed more often than SIZES allows is refused, not timed. Run in the top folder of the
checkout: ``python -m bench.answers [--quick] [--sets gsm ...]``.
"""

from __future__ import annotations

import argparse
import gc
import importlib.metadata
import json
import logging
import math
import multiprocessing
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench import steps
from bench.answer_sets import DATA, SIZES, WHAT, Case, load, synthetic
from orion.answers import __version__, check, check_many
from orion.answers.parsing.tree import num
from orion.answers.workers import pool

BATCH = 1_000
Check = Callable[[str, str], bool]


def ours(response: str, gold: str) -> bool:
    return check(response, gold).correct


def peer() -> Check:
    """Math-Verify with its defaults, the gold in a box as under the policy `math-verify`."""
    from math_verify import parse, verify

    logging.getLogger("math_verify").setLevel(logging.ERROR)
    return lambda response, gold: verify(parse(f"\\boxed{{{gold}}}"), parse(response))


def forget() -> None:
    """Empties all caches of this process, so that no earlier round helps the next."""
    for name in [
        name for name in sys.modules if name.startswith(("orion.answers", "math_verify.parser"))
    ]:
        for value in vars(sys.modules[name]).values():
            # Math-Verify compiles its regular expressions once: that is warm-up, and they are kept
            if (
                hasattr(value, "cache_clear")
                and getattr(value, "__name__", "") != "get_extraction_regexes"
            ):
                value.cache_clear()
    if "sympy" in sys.modules:
        sys.modules["sympy.core.cache"].clear_cache()


def fresh() -> None:
    """Empties all caches and starts a new worker."""
    forget()
    pool.POOL.close()
    pool.sympy_equal(num(1), num(1), pool.START_S)


def timed(judge: Check, cases: list[Case]) -> list[float]:
    """Seconds of every check, each case once."""
    fresh()
    gc.collect()
    gc.disable()
    times = []
    for response, gold, _ in cases:
        start = time.perf_counter()
        judge(response, gold)
        times.append(time.perf_counter() - start)
    gc.enable()
    return times


def missed(judge: Check, cases: list[Case]) -> int:
    """Verdicts that differ from the labels."""
    return sum(
        right is not None and judge(response, gold) != right for response, gold, right in cases
    )


def in_worker(cases: list[Case]) -> int:
    """How many cases asked a worker process."""
    asked, real = [], pool.ask

    def counting(*arguments):
        asked.append(1)
        return real(*arguments)

    pool.ask = counting
    try:
        count = 0
        for response, gold, _ in cases:
            asked.clear()
            ours(response, gold)
            count += bool(asked)
        return count
    finally:
        pool.ask = real


def batches(cases: list[Case]) -> None:
    """`check_many` on all cases, a thousand at a time."""
    for at in range(0, len(cases), BATCH):
        part = cases[at : at + BATCH]
        check_many([c.response for c in part], [c.gold for c in part])


def batched(cases: list[Case]) -> float:
    """Seconds of `batches`."""
    fresh()
    gc.collect()
    start = time.perf_counter()
    batches(cases)
    return time.perf_counter() - start


def spread(rounds: list[list[float]]) -> str:
    """p50 / p99 / max in milliseconds over the cases, each case by the median of its rounds."""
    times = sorted(statistics.median(case) for case in zip(*rounds, strict=True))
    at = [
        times[len(times) // 2],
        times[min(len(times) - 1, math.ceil(0.99 * len(times)) - 1)],
        times[-1],
    ]
    return " / ".join(f"{1e3 * t:.3g}" for t in at)


def row(name: str, cases: list[Case], theirs: Check, rounds: int) -> tuple[list[str], bool]:
    """One row of the table, and whether our verdicts are good enough to be timed."""
    wrong, allowed = missed(ours, cases), SIZES[name][2]
    length = sum(len(c.response) for c in cases) / len(cases)
    head = [WHAT[name], f"{len(cases):,}", f"{length:,.0f}", f"{wrong} (≤ {allowed})"]
    if wrong > allowed:
        return [*head, "REFUSED", *[""] * 7], False
    times: dict[Check, list[list[float]]] = {ours: [], theirs: []}
    for _ in range(rounds):
        for judge, measured in times.items():
            measured.append(timed(judge, cases))
    many = statistics.median(batched(cases) for _ in range(rounds))
    rate = {
        judge: statistics.median(len(cases) / sum(r) for r in measured)
        for judge, measured in times.items()
    }
    ratio = statistics.median(
        sum(b) / sum(a) for a, b in zip(times[ours], times[theirs], strict=True)
    )
    return [
        *head,
        str(missed(theirs, cases)),
        f"{rate[ours]:,.0f}",
        f"{rate[theirs]:,.0f}",
        f"{ratio:.1f}×",
        spread(times[ours]),
        spread(times[theirs]),
        f"{1 - in_worker(cases) / len(cases):.1%}",
        f"{len(cases) / many:,.0f}",
    ], True


def resident(pid: int | str = "self") -> float:
    """The peak resident memory of a process in MB.

    Not by getrusage, whose value a spawned process inherits from its parent.
    """
    status = Path(f"/proc/{pid}/status").read_text().split("VmHWM:")
    return int(status[1].split()[0]) / 1024


def spin(count: int) -> None:
    """A loop of plain Python that touches hardly any memory: the ceiling of the hardware."""
    value = 1
    for _ in range(count):
        value = value * 1_103_515_245 + 12_345 & 0x7FFF_FFFF


def child(kind: str, cases_file: str, share: tuple[int, int], amount: int, barrier, queue) -> None:
    """One process of a comparison: waits for all to be ready, works, reports times and memory."""
    if kind == "python":
        barrier.wait()
        start = time.monotonic()
        spin(amount // share[1])
        queue.put((start, time.monotonic(), 0.0, 0.0))
        return
    cases = [Case(*case) for case in json.loads(Path(cases_file).read_text())][share[0] :: share[1]]
    judge = ours if kind == "orion" else peer()
    missed(judge, list(synthetic(20, seed=1)))
    fresh()
    before = resident()
    barrier.wait()
    start = time.monotonic()
    for _ in range(amount):
        forget()
        batches(cases) if kind == "orion" else missed(judge, cases)
    end = time.monotonic()
    workers = (
        sum(resident(worker.process.pid) for worker in pool.POOL.idle) if kind == "orion" else 0.0
    )
    queue.put((start, end, before, resident() + workers))


def run(kind: str, cases_file: str, processes: int, amount: int) -> tuple[float, float, float]:
    """(seconds from the first start to the last end, MB before, peak MB) of spawned processes."""
    spawn = multiprocessing.get_context("spawn")
    barrier, queue = spawn.Barrier(processes), spawn.Queue()
    arguments = [
        (kind, cases_file, (part, processes), amount, barrier, queue) for part in range(processes)
    ]
    children = [spawn.Process(target=child, args=one) for one in arguments]
    for one in children:
        one.start()
    found = [queue.get(timeout=600) for _ in children]
    for one in children:
        one.join()
    return (
        max(f[1] for f in found) - min(f[0] for f in found),
        found[0][2],
        max(f[3] for f in found),
    )


def processes(cases_file: str, seconds: float, rounds: int) -> str:
    """One process against two, for us and for a plain loop, in turn; as a line of text."""
    spins = int(seconds * 2e6 / run("python", cases_file, 1, 2_000_000)[0])
    passes = max(1, round(seconds / run("orion", cases_file, 1, 1)[0]))
    walls: dict[tuple[str, int], list[float]] = {}
    for _ in range(rounds):
        for kind, amount in (("orion", passes), ("python", spins)):
            for count in (1, 2):
                walls.setdefault((kind, count), []).append(run(kind, cases_file, count, amount)[0])
    wall = {key: statistics.median(values) for key, values in walls.items()}
    gain = {kind: wall[kind, 1] / wall[kind, 2] for kind in ("orion", "python")}
    return (
        f"Two processes, each with half of the rows: {wall['orion', 1]:.2f} s → "
        f"{wall['orion', 2]:.2f} s, {gain['orion']:.2f}× (a loop of plain Python, the ceiling of "
        f"this machine at that moment: {gain['python']:.2f}×)."
    )


def print_table(head: tuple[str, ...], rows: list[tuple[list[str], bool]]) -> None:
    """A table in Markdown, and an empty line; nothing without rows."""
    if not rows:
        return
    print(f"| {' | '.join(head)} |")
    print("|---" * len(head) + "|")
    for columns, _ in rows:
        print(f"| {' | '.join(columns)} |")
    print()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the real data files")
    names = [*SIZES, *steps.SIZES]
    parser.add_argument("--sets", nargs="+", choices=names, default=names)
    parser.add_argument(
        "--quick", action="store_true", help="fewer cases and rounds, under a minute"
    )
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    try:
        theirs = peer()
    except ImportError as error:
        sys.exit(f"error: Math-Verify is not installed ({error}): pip install -e '.[math-verify]'")
    chosen = (args.data, args.quick, args.seed)
    sets = load([name for name in args.sets if name in SIZES], *chosen)
    texts = steps.load([name for name in args.sets if name in steps.SIZES], *chosen)
    absent = [name for name in args.sets if name not in {**sets, **texts}]
    rounds = 2 if args.quick else 5
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})
    for judge in (ours, theirs):
        missed(judge, list(synthetic(50, seed=args.seed + 1)))
    found = [row(name, cases, theirs, rounds) for name, cases in sets.items()]
    found_steps = [
        steps.write_row(name, cases, theirs, rounds, timed, spread) for name, cases in texts.items()
    ]
    os.sched_setaffinity(0, cores)
    pool.POOL.close()
    print_table(HEAD, found)
    print_table(steps.HEAD, found_steps)
    print(
        f"{VERSIONS}. One core, every case once per round, caches emptied and a new worker "
        "before each round."
    )
    if absent:
        print(f"Left out, their files are absent: {', '.join(absent)}.")
    if not all(fine for _, fine in (*found, *found_steps)):
        sys.exit(
            "error: REFUSED: our verdicts or steps miss more labels than are known; "
            "nothing of that set was timed"
        )
    if not sets:
        return
    with tempfile.TemporaryDirectory() as folder:
        cases_file = str(Path(folder) / "cases.json")
        Path(cases_file).write_text(json.dumps([case for cases in sets.values() for case in cases]))
        for kind in ("orion", PEER):
            _, before, peak = run(kind, cases_file, 1, 1)
            print(
                f"Peak resident memory over all sets, {kind}: {peak:.0f} MB, "
                f"{before:.0f} MB of it cases and imports."
            )
        print(processes(cases_file, *((1.0, 2) if args.quick else (4.0, 3))))


PEER = "Math-Verify"
HEAD = (
    "set",
    "n",
    "characters",
    "labels missed",
    f"{PEER} misses",
    "orion/s",
    f"{PEER}/s",
    "ratio",
    "orion ms p50 / p99 / max",
    f"{PEER} ms p50 / p99 / max",
    "without a worker",
    "check_many/s",
)
VERSIONS = ", ".join(
    [
        f"orion.answers {__version__}",
        *(
            f"{name} {importlib.metadata.version(name)}"
            for name in ("math-verify", "latex2sympy2-extended", "sympy")
        ),
        f"Python {platform.python_version()}",
    ]
)

if __name__ == "__main__":
    main()
