"""Peak memory and speed of the stage `check` on many responses, in one process.

Input: the number of responses. Output: one line per measure on standard output; exit status 1 where
the stage needs more memory than LIMIT_MB. Word problems like GSM8K, eight responses each, are
written to a temporary folder first, by another process. Run in the top folder of the checkout:
``python -m bench.check_stage [--responses 1000000] [--folder DIR]``.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import polars as pl

from bench.answers import resident
from bench.steps import make_texts
from orion import tables
from orion.answers.workers import pool
from orion.stages import check

LIMIT_MB = 700
PER_PROBLEM = 8
CONFIG = {"policy": "math", "timeout_s": 5.0}
# runs the stage in a process of its own, whose peak is then of the stage alone
CHILD = "from bench.check_stage import run_stage; import sys; run_stage(sys.argv[1])"


def write_tables(folder: str, responses: int) -> None:
    """problems.parquet and samples.parquet; the samples in slices, so that memory stays small."""
    problems = []
    with tables.Writer(Path(folder) / "samples.parquet", tables.SAMPLES, {}) as writer:
        rows = []
        for number, case in enumerate(make_texts(responses, seed=0)):
            problem, sample = divmod(number, PER_PROBLEM)
            if sample == 0:
                problems.append({"problem_id": f"p{problem:07}", "answer": case.gold})
            rows.append(
                {
                    "problem_id": f"p{problem:07}",
                    "sample_id": sample,
                    "template": "solve",
                    "response": case.response,
                    "finish_reason": "stop",
                    "prompt_tokens": 1,
                    "completion_tokens": 150,
                    "completion": f"{number:064}",
                }
            )
            if len(rows) == tables.ROW_GROUP or number == responses - 1:
                writer.write(tables.from_rows(rows, tables.SAMPLES))
                rows = []
    frame = pl.DataFrame(problems).with_columns(
        problem=pl.lit("?"),
        solution=pl.lit(None, pl.String),
        teacher_trace=pl.lit(None, pl.String),
        meta=pl.struct(level=pl.lit(1)),
    )
    tables.write(frame, Path(folder) / "problems.parquet", tables.PROBLEMS, {})


def run_stage(folder: str) -> None:
    """The stage on the tables of the folder; prints its peak memory as the last line."""
    files = {name: f"{folder}/{name}.parquet" for name in ("problems", "samples")}
    argv = ["--config", json.dumps(CONFIG), "--output", f"{folder}/verdicts.parquet"]
    argv += ["--output-steps", f"{folder}/steps.parquet"]
    argv += [word for name, path in files.items() for word in (f"--{name}", path)]
    before = resident()
    check.main(argv)
    workers = sum(resident(worker.process.pid) for worker in pool.POOL.idle)
    print(json.dumps({"before": before, "peak": resident(), "workers": workers}))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--responses", type=int, default=1_000_000)
    parser.add_argument("--folder", help="where to write the tables instead of a temporary folder")
    args = parser.parse_args()
    folder = args.folder or tempfile.mkdtemp()
    try:
        writer = multiprocessing.get_context("spawn").Process(
            target=write_tables, args=(folder, args.responses)
        )
        writer.start()
        writer.join()
        if writer.exitcode:
            sys.exit("error: the tables could not be written")
        start = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-c", CHILD, folder], check=True, stdout=subprocess.PIPE, text=True
        )
        seconds = time.monotonic() - start
        found = json.loads(done.stdout.splitlines()[-1])
        size = sum(Path(folder, f"{n}.parquet").stat().st_size for n in ("verdicts", "steps"))
    finally:
        if args.folder is None:
            shutil.rmtree(folder)
    print(f"{args.responses:,} responses in {seconds:.0f} s, {args.responses / seconds:,.0f} per s")
    print(f"verdicts and steps: {size / 1e6:.0f} MB on disk")
    print(
        f"peak resident memory: {found['peak']:.0f} MB (limit {LIMIT_MB}), {found['before']:.0f} MB"
        f" of it imports; its workers: {found['workers']:.0f} MB"
    )
    if found["peak"] > LIMIT_MB:
        sys.exit(f"error: more than {LIMIT_MB} MB")


if __name__ == "__main__":
    main()
