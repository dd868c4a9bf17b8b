"""Time the completion store: lookups of many keys, a run of 100,000 completions, merging parts.

Inputs: sizes. Outputs: a table on standard output; exit status 1 where a goal is missed at full
size. The lookup runs in a new process, whose peak memory is reported. The fake engine answers at
once, so that the wall time of a run is the store's own. It is also given as a share of the time
that the same tokens take at a stated rate.
Run: ``python bench/completions.py [--quick] [--completions N] [--folder DIR]``; 5,000,000
completions need about 3 GB of disk.
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

import numpy as np
import polars as pl

from orion import completions, tables
from orion.completions import compaction, parts
from orion.completions.parts import KEY
from orion.engines import Completion, GenerationConfig
from orion.models.document import ModelDocument

SAMPLES = 8  # per prompt
DOCUMENT = ModelDocument(name="bench", digest="ab" * 32, context_length=4096)
GENERATION = GenerationConfig(
    num_samples=SAMPLES,
    temperature=0.8,
    top_p=1.0,
    repetition_penalty=1.0,
    max_tokens=1024,
    seed=0,
    engine="transformers",
)
# completions in the full store, in the quick one, in a run, and per part
FULL, QUICK, RUN, PART = 5_000_000, 200_000, 100_000, 300_000
# letters and tokens of a response; its words are drawn so that it compresses to a third, as prose
LETTERS, TOKENS = 1_200, 300
# tokens per second: a model of 7 billion parameters in large batches on one data-centre GPU, and a
# small one ten times as fast
RATES = {"7B on a GPU": 10_000, "a small model on a GPU": 100_000}
# goals: seconds and peak memory of a lookup, the store's share of a run in percent
GOAL_S, GOAL_GIB, GOAL_PERCENT = 3.0, 2.0, 3.0
HEX = np.frombuffer(b"0123456789abcdef", dtype=np.uint8)


def make_keys(count: int, generator: np.random.Generator) -> pl.Series:
    """Random keys of 64 hexadecimal digits."""
    digits = HEX[generator.integers(0, 16, (count, 64), dtype=np.uint8)]
    return pl.Series(
        KEY,
        np.ascontiguousarray(digits).view("S64")[:, 0].astype("U64").tolist(),
        dtype=pl.String,
    )


def make_texts(count: int, generator: np.random.Generator) -> pl.Series:
    """Responses of about ``LETTERS`` letters: words drawn from two thousand."""
    words = np.array([f"w{i}" for i in range(2000)])
    return pl.Series(
        [" ".join(words[generator.integers(0, 2000, LETTERS // 5)]) for _ in range(count)]
    )


def make_rows(count: int, pool: pl.Series, generator: np.random.Generator) -> pl.DataFrame:
    """Stored rows with fresh keys and the pool's texts."""
    numbers = generator.integers(20, 600, (2, count))
    return pl.DataFrame(
        {
            KEY: make_keys(count, generator),
            "response": pool[:count],
            "finish_reason": pl.repeat("stop", count, eager=True),
            "prompt_tokens": numbers[0],
            "completion_tokens": numbers[1],
        },
        schema=parts.STORED_COLUMNS,
    )


def build_store(folder: Path, count: int, part: int) -> None:
    """A store of ``count`` completions in parts of ``part``."""
    generator = np.random.default_rng(0)
    pool = make_texts(tables.ROW_GROUP, generator)
    for start in range(0, count, part):
        size = min(part, count - start)
        starts = range(0, size, tables.ROW_GROUP)
        parts.write_part(
            folder, (make_rows(min(tables.ROW_GROUP, size - s), pool, generator) for s in starts)
        )


def write_wanted_keys(store: completions.CompletionStore, count: int, path: Path) -> None:
    """Write ``count`` keys, half of them stored."""
    stored = pl.scan_parquet(store.parts()).select(KEY).head(count // 2).collect(engine="streaming")
    pl.concat(
        [stored, make_keys(count - stored.height, np.random.default_rng(1)).to_frame()]
    ).write_parquet(path)


def time_anti_join(root: str, path: str) -> None:
    """Look the keys up and print seconds and peak memory; runs in a new process."""
    asked = pl.read_parquet(path)
    start = time.perf_counter()
    missing = asked.filter(
        ~completions.CompletionStore(root, DOCUMENT.digest).contains(asked)
    ).height
    seconds = time.perf_counter() - start
    # kilobytes on Linux, bytes on macOS
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
        1 if sys.platform == "darwin" else 1024
    )
    print(json.dumps({"missing": missing, "seconds": seconds, "gib": peak / 2**30}))


def run_anti_join(root: Path, path: Path) -> dict:
    """The figures that `time_anti_join` prints in a new process."""
    command = [sys.executable, __file__, "--child", str(root), str(path)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


class InstantEngine:
    """An engine whose answers were made beforehand."""

    def __init__(self, pool: pl.Series):
        self.pool = pool.to_list()

    def generate(self, requests) -> Iterator[Completion]:
        for i, request in enumerate(requests):
            yield Completion(request.key, self.pool[i % len(self.pool)], "stop", 150, TOKENS)


def make_requests(count: int) -> pl.DataFrame:
    """``SAMPLES`` rows per problem, prompts of 600 letters."""
    problems = [
        (f"p{i:06}", f"problem {i}: " + "how many are left " * 33) for i in range(count // SAMPLES)
    ]
    rows = [(name, i, "solve", prompt) for name, prompt in problems for i in range(SAMPLES)]
    return pl.DataFrame(
        rows, schema=["problem_id", "sample_id", "template", "prompt"], orient="row"
    )


def time_run(root: Path, count: int) -> dict[str, float]:
    """The store's seconds for a whole run and for its parts."""
    asked = make_requests(count)
    engine = InstantEngine(make_texts(tables.ROW_GROUP, np.random.default_rng(2)))
    spent = {}
    start = time.perf_counter()
    keyed_requests = completions.add_keys(
        asked, model_digest=DOCUMENT.digest, sampling={"seed": 0}, engine="transformers-1"
    )
    spent["keys"] = time.perf_counter() - start
    start = time.perf_counter()
    completions.CompletionStore(root, DOCUMENT.digest).get(keyed_requests)
    spent["lookup, nothing stored"] = time.perf_counter() - start
    for name in ("first run, everything new", "second run, everything stored"):
        start = time.perf_counter()
        completions.complete(
            asked,
            document=DOCUMENT,
            generation=GENERATION,
            root=root,
            open_engine=lambda *args, **options: engine,
        )
        spent[name] = time.perf_counter() - start
    return spent


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick", action="store_true", help=f"{QUICK:,} completions, and a run of a tenth"
    )
    parser.add_argument("--completions", type=int, help=f"in the store; default {FULL:,}")
    parser.add_argument(
        "--folder", help="where the store is built, and removed again; default a temporary folder"
    )
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        time_anti_join(*args.child)
        return
    count, run_count = (
        args.completions or (QUICK if args.quick else FULL),
        RUN // 10 if args.quick else RUN,
    )
    if args.folder and not Path(args.folder).is_dir():
        parser.error(f"--folder {args.folder}: no such folder")
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        met = report(Path(folder), count, run_count)
    if not (met or args.quick):
        sys.exit(1)


def report(folder: Path, count: int, run_count: int) -> bool:
    """Build, time and print; whether all goals are met."""
    store = completions.CompletionStore(folder / "store", DOCUMENT.digest)
    start = time.perf_counter()
    build_store(store.folder, count, PART)
    size = sum(path.stat().st_size for path in store.parts())
    print(
        f"{count:,} completions in {len(store.parts())} parts, {size / 2**30:.2f} GiB, built in "
        f"{time.perf_counter() - start:.0f} s; {os.cpu_count()} cores, "
        f"load {os.getloadavg()[0]:.1f}, polars {pl.__version__}"
    )
    met = True
    for asked in (min(run_count, count), count):
        write_wanted_keys(store, asked, folder / "wanted.parquet")
        got = run_anti_join(store.folder.parent, folder / "wanted.parquet")
        assert got["missing"] == asked - asked // 2, "the anti-join is wrong"
        goal = (
            f"(goal {GOAL_S:g} s, {GOAL_GIB:g} GiB)"
            if asked == run_count
            else "(the worst case: as many as are stored)"
        )
        met &= asked != run_count or (got["seconds"] <= GOAL_S and got["gib"] <= GOAL_GIB)
        print(
            f"which of {asked:>9,} keys are missing   {got['seconds']:7.2f} s   "
            f"{got['gib']:.2f} GiB peak   {goal}"
        )
    spent = time_run(store.folder.parent, run_count)
    for name, seconds in spent.items():
        print(
            f"run of {run_count:,}: {name:<30} {seconds:7.2f} s   "
            f"{seconds / run_count * 1e6:6.1f} us per completion"
        )
    whole = spent["first run, everything new"]
    for name, rate in RATES.items():
        share = 100 * whole / (whole + run_count * TOKENS / rate)
        met &= share <= GOAL_PERCENT
        print(
            f"share of a run at {rate:>7,} tokens/s ({name}), {TOKENS} tokens per completion: "
            f"{share:.2f} % (goal {GOAL_PERCENT:g} %)"
        )
    small = folder / "small"
    build_store(small, run_count * 2, 2000)
    before, size = (
        len(parts.list_parts(small)),
        sum(path.stat().st_size for path in parts.list_parts(small)),
    )
    start = time.perf_counter()
    compaction.compact(small, max_small_parts=1, budget_bytes=None)
    seconds = time.perf_counter() - start
    after = len(parts.list_parts(small))
    print(
        f"merging {before} parts of 2,000 completions, {size / 2**20:.0f} MiB, into {after}: "
        f"{seconds:.2f} s"
    )
    return met


if __name__ == "__main__":
    main()
