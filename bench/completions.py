"""Time the cell store: which of many keys are stored, what a run of 100,000 cells pays for it, how long merging parts takes.

Inputs: sizes; nothing else. Outputs: a table on standard output; exit status 1 where a goal is missed at full size. The
anti-join runs in a fresh process, whose peak memory is reported. The fake engine answers at once, so that a run's wall time is
the store's own: its share is taken of what the same tokens cost at a stated rate.
Run: ``python bench/cells.py [--quick] [--completions N] [--folder DIR]``; 5,000,000 cells need about 3 GB of disk.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

import numpy as np  # noqa: E402
import polars as pl  # noqa: E402

from orion import completions, tables
from orion.completions import compaction, parts
from orion.engines import Completion

MODEL = {"digest": "ab" * 32, "context_length": 4096}
GENERATION = {
    "temperature": 0.8,
    "top_p": 1.0,
    "repetition_penalty": 1.0,
    "max_tokens": 1024,
    "seed": 0,
    "engine": "transformers",
}
CELLS, QUICK, RUN, PART = 5_000_000, 200_000, 100_000, 300_000
# a response and the tokens that it has; its letters are drawn so that they compress as prose does, to a third
LETTERS, TOKENS = 1_200, 300
SAMPLES = 8
# tokens a second: a 7-billion model in large batches on one data-centre GPU, and a small one ten times as fast
RATES = {"7B on a GPU": 10_000, "a small model on a GPU": 100_000}
SECONDS, GIB, SHARE = 3.0, 2.0, 3.0
HEX = np.frombuffer(b"0123456789abcdef", dtype=np.uint8)


def keys(count: int, generator: np.random.Generator) -> pl.Series:
    """Random keys of 64 hexadecimal digits."""
    digits = HEX[generator.integers(0, 16, (count, 64), dtype=np.uint8)]
    return pl.Series(
        "cell",
        np.ascontiguousarray(digits).view("S64")[:, 0].astype("U64").tolist(),
        dtype=pl.String,
    )


def texts(count: int, generator: np.random.Generator) -> pl.Series:
    """Responses of about ``LETTERS`` letters: words drawn from two thousand."""
    words = np.array([f"w{i}" for i in range(2000)])
    return pl.Series(
        [" ".join(words[generator.integers(0, 2000, LETTERS // 5)]) for _ in range(count)]
    )


def rows(count: int, pool: pl.Series, generator: np.random.Generator) -> pl.DataFrame:
    """Stored rows with fresh keys and the pool's texts."""
    numbers = generator.integers(20, 600, (2, count))
    return pl.DataFrame(
        {
            "cell": keys(count, generator),
            "response": pool[:count],
            "finish_reason": pl.repeat("stop", count, eager=True),
            "prompt_tokens": numbers[0],
            "completion_tokens": numbers[1],
        },
        schema=parts.CELL,
    )


def build(folder: Path, count: int, part: int) -> None:
    """A store of ``count`` cells in parts of ``part``."""
    generator = np.random.default_rng(0)
    pool = texts(tables.ROW_GROUP, generator)
    for start in range(0, count, part):
        size = min(part, count - start)
        starts = range(0, size, tables.ROW_GROUP)
        parts.write(
            folder, (rows(min(tables.ROW_GROUP, size - s), pool, generator) for s in starts)
        )


def wanted(store: completions.CompletionStore, count: int, path: Path) -> None:
    """Write ``count`` keys, half of them stored."""
    stored = (
        pl.scan_parquet(store.parts()).select("cell").head(count // 2).collect(engine="streaming")
    )
    pl.concat(
        [stored, keys(count - stored.height, np.random.default_rng(1)).to_frame()]
    ).write_parquet(path)


def anti_join(root: str, path: str) -> None:
    """What the fresh process does."""
    asked = pl.read_parquet(path)
    start = time.perf_counter()
    missing = asked.filter(
        ~completions.CompletionStore(root, MODEL["digest"]).contains(asked)
    ).height
    seconds = time.perf_counter() - start
    # kilobytes on Linux, bytes on macOS
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
        1 if sys.platform == "darwin" else 1024
    )
    print(json.dumps({"missing": missing, "seconds": seconds, "gib": peak / 2**30}))


def in_fresh_process(root: Path, path: Path) -> dict:
    command = [sys.executable, __file__, "--child", str(root), str(path)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


class Instant:
    """An engine that costs nothing, with answers made beforehand."""

    def __init__(self, pool: pl.Series):
        self.pool = pool.to_list()

    def generate(self, requests) -> Iterator[Completion]:
        for i, request in enumerate(requests):
            yield Completion(request.key, self.pool[i % len(self.pool)], "stop", 150, TOKENS)


def requests(count: int) -> pl.DataFrame:
    """``SAMPLES`` rows a problem, prompts of 600 letters."""
    problems = [
        (f"p{i:06}", f"problem {i}: " + "how many are left " * 33) for i in range(count // SAMPLES)
    ]
    rows = [(name, i, "solve", prompt) for name, prompt in problems for i in range(SAMPLES)]
    return pl.DataFrame(
        rows, schema=["problem_id", "sample_id", "prompt_id", "prompt"], orient="row"
    )


def run(root: Path, count: int) -> dict[str, float]:
    """Seconds of a run's parts, and of the whole, that an engine at no cost leaves to the store."""
    asked = requests(count)
    engine = Instant(texts(tables.ROW_GROUP, np.random.default_rng(2)))
    spent = {}
    start = time.perf_counter()
    named = completions.keyed(
        asked, model_digest=MODEL["digest"], sampling={"seed": 0}, engine="transformers-1"
    )
    spent["keys"] = time.perf_counter() - start
    start = time.perf_counter()
    completions.CompletionStore(root, MODEL["digest"]).get(named)
    spent["lookup, nothing stored"] = time.perf_counter() - start
    for name in ("first run, everything new", "second run, everything stored"):
        start = time.perf_counter()
        completions.complete(
            asked,
            document=MODEL,
            generation=GENERATION,
            root=root,
            open_engine=lambda *args, **speed: engine,
        )
        spent[name] = time.perf_counter() - start
    return spent


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick", action="store_true", help=f"{QUICK:,} cells, and a run of a tenth"
    )
    parser.add_argument("--completions", type=int, help=f"cells in the store; default {CELLS:,}")
    parser.add_argument(
        "--folder", help="where the store is built, and removed again; default a temporary folder"
    )
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        anti_join(*args.child)
        return
    count, run_cells = (
        args.cells or (QUICK if args.quick else CELLS),
        RUN // 10 if args.quick else RUN,
    )
    if args.folder and not Path(args.folder).is_dir():
        parser.error(f"--folder {args.folder}: no such folder")
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        met = report(Path(folder), count, run_cells)
    if not (met or args.quick):
        sys.exit(1)


def report(folder: Path, count: int, run_cells: int) -> bool:
    """Build, time and print; whether all goals are met."""
    store = completions.CompletionStore(folder / "cells", MODEL["digest"])
    start = time.perf_counter()
    build(store.folder, count, PART)
    size = sum(path.stat().st_size for path in store.parts())
    print(
        f"{count:,} cells in {len(store.parts())} parts, {size / 2**30:.2f} GiB, built in {time.perf_counter() - start:.0f} s; "
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, polars {pl.__version__}"
    )
    met = True
    for asked in (min(run_cells, count), count):
        wanted(store, asked, folder / "wanted.parquet")
        got = in_fresh_process(store.folder.parent, folder / "wanted.parquet")
        assert got["missing"] == asked - asked // 2, "the anti-join is wrong"
        goal = (
            f"(goal {SECONDS:g} s, {GIB:g} GiB)"
            if asked == run_cells
            else "(the worst case: as many as are stored)"
        )
        met &= asked != run_cells or (got["seconds"] <= SECONDS and got["gib"] <= GIB)
        print(
            f"which of {asked:>9,} keys are missing   {got['seconds']:7.2f} s   {got['gib']:.2f} GiB peak   {goal}"
        )
    spent = run(store.folder.parent, run_cells)
    for name, seconds in spent.items():
        print(
            f"run of {run_cells:,}: {name:<30} {seconds:7.2f} s   {seconds / run_cells * 1e6:6.1f} us a cell"
        )
    whole = spent["first run, everything new"]
    for name, rate in RATES.items():
        share = 100 * whole / (whole + run_cells * TOKENS / rate)
        met &= share <= SHARE
        print(
            f"share of a run at {rate:>7,} tokens/s ({name}), {TOKENS} tokens a cell: {share:.2f} % (goal {SHARE:g} %)"
        )
    small = folder / "small"
    build(small, run_cells * 2, 2000)
    before, size = (
        len(parts.listed(small)),
        sum(path.stat().st_size for path in parts.listed(small)),
    )
    start = time.perf_counter()
    compaction.compact(small, many=1, budget=None)
    seconds = time.perf_counter() - start
    after = len(parts.listed(small))
    print(
        f"merging {before} parts of 2,000 cells, {size / 2**20:.0f} MiB, into {after}: {seconds:.2f} s"
    )
    return met


if __name__ == "__main__":
    main()
