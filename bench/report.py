"""Time, memory and size of the report on grids of more and more arms and benchmarks.

Input: sizes, each a number of trained arms; five benchmarks, one student, one seed. Output: one
line of a Markdown table per size on standard output. The results are invented
(``tests/helpers/fake_results.py``) and keep every contract; every arm is compared with the
untrained student on every benchmark. The stage ``report`` runs in a process of its own, on one
thread. Run in the top folder of the checkout:
``python -m bench.report [--arms 24 49 99 199] [--problems 40] [--folder DIR]``.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from orion.config import params, validate
from tests.helpers import fake_results

BENCHMARKS = 5
SAMPLES = 4
# runs the stage in a process of its own, whose peak is then of the stage alone
CHILD = """
import sys
from bench.dataset_stage import run_stage
from orion.stages import report
run_stage(sys.argv[1:], report)
"""


def configure(arms: int, problems: int) -> dict[str, Any]:
    """A grid of so many arms on the student's own correct samples, and the untrained student."""
    raw = fake_results.configuration(problems, SAMPLES)
    names = [f"variant_{number:03}" for number in range(arms)]
    raw["arms"] = {"base": {"trained_on": "nothing"}}
    raw["arms"] |= {
        name: {"trained_on": "own_correct", "train": {"max_steps": 12 + number}}
        for number, name in enumerate(names)
    }
    raw["benchmarks"] = {
        f"test-{number}": {
            "source": {"kind": "demo", "level": "test", "n": problems, "seed": number}
        }
        for number in range(1, BENCHMARKS + 1)
    }
    raw["runs"] |= {"arms": list(raw["arms"]), "benchmarks": list(raw["benchmarks"]), "seeds": [1]}
    raw["comparisons"] = [{"arm": name, "against": "base"} for name in names]
    for number, name in enumerate(names):
        fake_results.SKILL[name] = 0.35 + 0.3 * number / max(1, arms)
    return raw


def measure(folder: Path, arms: int, problems: int) -> None:
    """One line of the table."""
    raw = configure(arms, problems)
    folder.mkdir()
    fake_results.make(folder, raw)
    config = params(validate(raw), "report")
    argv = ["--results", "results", "--output-dir", "results/report"]
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", CHILD, "--config", config, *argv],
        check=True,
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": ":".join(sys.path), "OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"},
    )
    seconds = time.monotonic() - start
    found = json.loads(done.stdout.splitlines()[-1])
    page = folder / "results/report/index.html"
    size = page.stat().st_size / 1e6
    evaluations = (arms + 1) * BENCHMARKS
    print(
        f"| {arms + 1} × {BENCHMARKS} | {evaluations * problems * SAMPLES:,} | {found['cpu']:.1f} "
        f"| {1000 * found['cpu'] / evaluations:.0f} | {seconds:.0f} | {found['peak']:.0f} "
        f"| {found['before']:.0f} | {size:.2f} |",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--arms", type=int, nargs="+", default=[24, 49, 99, 199])
    parser.add_argument("--problems", type=int, default=40)
    parser.add_argument("--folder", type=Path, help="where to write instead of a temporary folder")
    args = parser.parse_args()
    folder = args.folder or Path(tempfile.mkdtemp())
    print(
        "| arms × benchmarks | evaluated answers | CPU seconds | of them per evaluation, ms "
        "| seconds by the clock | peak, MB | imports, MB | page, MB |"
    )
    print("|---" * 8 + "|")
    try:
        for arms in args.arms:
            measure(folder / str(arms), arms, args.problems)
    finally:
        if args.folder is None:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
