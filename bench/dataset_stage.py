"""Peak memory and speed of the stage `dataset` on many nested rows with three traces each.

Input: the number of rows; a folder of benchmarks as JSON lines with a column `problem`
(``--data``; without it six are generated). Output: one line per size on standard output; exit
status 1 where the stage needs more memory than LIMIT_MB, or where not exactly the planted benchmark
problems are rejected. The rows are written to a temporary folder first: messages as a list of
structs, the answer in a struct, traces as a list. The stage runs with a tenth of the rows and with
all, each time in a process of its own. Run in the top folder of the checkout:
``python -m bench.dataset_stage [--rows 1000000] [--data DIR] [--folder DIR]``.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import ModuleType

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from bench.answers import resident
from orion import tables
from orion.stages import dataset

LIMIT_MB = 2048
TRACES = 3
TRACE_CHARACTERS = 1200
# one row of so many repeats a problem of a benchmark
PLANTED = 10_000
SLICE = 10_000
FILES = ("gsm8k_test", "gsm_hard", "math500", "aime2024", "amc2023", "math_test_minus500")
NAMES = ("Ann", "Ben", "Carla", "Dan", "Edith", "Farid", "Grace", "Hugo")
THINGS = ("apples", "books", "tickets", "stamps", "marbles", "chairs", "loaves", "pencils")
CONFIG = {
    "fields": {
        "problem_id": "index",
        "problem": "messages[0].content",
        "answer": "reward_model.ground_truth",
        "teacher_trace": "generations",
    },
    "where": {},
    "policy": "math",
    "max_rejected_fraction": 0.05,
    "decontaminate_ngram": 8,
}
# runs the stage in a process of its own, whose peak is then of the stage alone
CHILD = "from bench.dataset_stage import run_stage; import sys; run_stage(sys.argv[1:])"


def make_problem(rng: random.Random) -> tuple[str, str]:
    """A word problem of about 250 characters, and its answer."""
    a, b, c, d = (rng.randint(2, 9999) for _ in range(4))
    first, second = rng.sample(NAMES, 2)
    thing, other = rng.sample(THINGS, 2)
    text = (
        f"{first} has {a} {thing} and gives {b} of them to {second}. On the next morning {second} "
        f"buys {c} {other} for {d} cents each, and {first} finds {d} more {thing} in the cellar. "
        f"How many {thing} does {first} have now, and how many {other} does {second} have?"
    )
    return text, str(a - b + d)


def make_words(rng: random.Random) -> str:
    """A text that shares no eight words with a problem."""
    return " ".join(f"word{rng.randrange(100_000)}" for _ in range(40))


def make_trace(rng: random.Random, answer: str) -> str:
    """A text of about TRACE_CHARACTERS characters that ends in the boxed answer."""
    words = [f"{rng.choice(THINGS)} {rng.randint(2, 9999)}," for _ in range(TRACE_CHARACTERS // 13)]
    return f"Let me think. {' '.join(words)} so the answer is \\boxed{{{answer}}}."


def write_rows(path: Path, rows: int, planted: list[str]) -> int:
    """The parquet file, in slices so that memory stays small; how many rows were planted."""
    count = 0
    writer = None
    for start in range(0, rows, SLICE):
        table = []
        for i in range(start, min(start + SLICE, rows)):
            rng = random.Random(f"row|{i}")
            problem, answer = make_problem(rng)
            if i % PLANTED == 0:
                problem = planted[count % len(planted)]
                count += 1
            table.append(
                {
                    "index": f"r{i:08}",
                    "messages": [{"role": "user", "content": problem}],
                    "reward_model": {"ground_truth": answer, "style": "rule"},
                    "generations": [make_trace(rng, answer) for _ in range(TRACES)],
                }
            )
        made = pa.Table.from_pylist(table)
        writer = writer or pq.ParquetWriter(path, made.schema)
        writer.write_table(made)
    assert writer is not None, "at least one row"
    writer.close()
    return count


def read_benchmarks(data: Path | None) -> dict[str, list[str]]:
    """Problems by benchmark: the files of the folder, or six generated sets."""
    if data is None:
        return {
            f"made-{n}": [make_words(random.Random(f"made|{n}|{i}")) for i in range(1000)]
            for n in range(len(FILES))
        }
    found = {}
    for name in FILES:
        path = next((p for p in data.glob(f"{name}.jsonl*") if p.is_file()), None)
        if path is None:
            sys.exit(f"error: {data} has no file {name}.jsonl or {name}.jsonl.zst")
        with pa.input_stream(str(path), compression="zstd" if path.suffix == ".zst" else None) as f:
            lines = f.read().decode().splitlines()
        found[name] = [json.loads(line)["problem"] for line in lines if line.strip()]
    return found


def write_benchmarks(folder: Path, benchmarks: dict[str, list[str]]) -> list[str]:
    """A problems table per benchmark; their paths."""
    paths = []
    for name, problems in benchmarks.items():
        path = folder / "benchmarks" / name / "problems.parquet"
        path.parent.mkdir(parents=True)
        frame = pl.DataFrame(
            {"problem_id": [f"{i:06}" for i in range(len(problems))], "problem": problems}
        ).with_columns(
            answer=pl.lit("1"),
            solution=pl.lit(None, pl.String),
            teacher_trace=pl.lit(None, pl.String),
            meta=pl.struct(level=pl.lit(1)),
        )
        tables.write(frame, path, tables.PROBLEMS, {})
        paths.append(str(path))
    return paths


def run_stage(argv: list[str], stage: ModuleType = dataset) -> None:
    """A stage; prints its peak memory and processor seconds as the last line."""
    before = resident()
    stage.main(argv)
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps({"before": before, "peak": resident(), "cpu": used.ru_utime + used.ru_stime}))


def measure(folder: Path, rows: int, benchmarks: dict[str, list[str]], paths: list[str]) -> bool:
    """One line of the table; whether memory and the rejected rows are as they should be."""
    source = folder / f"{rows}.parquet"
    planted = write_rows(source, rows, [text for texts in benchmarks.values() for text in texts])
    config = CONFIG | {"source": {"kind": "parquet", "path": str(source)}}
    output, rejected = folder / "problems.parquet", folder / "rejected.parquet"
    argv = ["--config", json.dumps(config), "--output", str(output), "--rejected", str(rejected)]
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", CHILD, *argv, "--benchmark", *paths],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    seconds = time.monotonic() - start
    found = json.loads(done.stdout.splitlines()[-1])
    refused = tables.read(rejected, tables.REJECTED).height
    cpu = found["cpu"]
    print(
        f"{rows:,} rows ({source.stat().st_size / 1e6:.0f} MB): {cpu:.1f} processor seconds, "
        f"{rows / cpu:,.0f} rows per second of one core, {seconds:.0f} s by the clock; "
        f"peak {found['peak']:.0f} MB, {found['before']:.0f} MB of it imports; "
        f"{refused} of {planted} planted rows rejected",
        flush=True,
    )
    source.unlink()
    return found["peak"] <= LIMIT_MB and refused == planted


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--data", type=Path, help="folder of benchmarks instead of generated ones")
    parser.add_argument("--folder", type=Path, help="where to write instead of a temporary folder")
    args = parser.parse_args()
    folder = args.folder or Path(tempfile.mkdtemp())
    try:
        benchmarks = read_benchmarks(args.data)
        paths = write_benchmarks(folder, benchmarks)
        sizes = [max(1, args.rows // 10), args.rows]
        passed = [measure(folder, rows, benchmarks, paths) for rows in sizes]
    finally:
        if args.folder is None:
            shutil.rmtree(folder)
    if not all(passed):
        sys.exit(f"error: more than {LIMIT_MB} MB, or other rows rejected than were planted")


if __name__ == "__main__":
    main()
