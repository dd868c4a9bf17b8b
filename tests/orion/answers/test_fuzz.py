"""The fuzzer for a minute, from fixed seeds; tests/helpers/answers/fuzz.py runs for longer.

In a process of its own: its memory is measured, and it takes the alarm signal.
"""

import subprocess
import sys

import pytest

SEEDS = (1, 2_000, 300_000)
SECONDS = 17


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_breaks_for_a_while(seed, root, tmp_path):
    run = subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.helpers.answers.fuzz",
            "--minutes",
            str(SECONDS / 60),
            "--seed",
            str(seed),
            "--failures",
            tmp_path / "found.jsonl",
        ],
        cwd=root,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=3600,
    )
    if run.returncode:
        pytest.fail(f"{run.stdout}\n{run.stderr[-3000:]}", pytrace=False)
    assert " examples " in run.stdout
