"""The fuzzer's step mode for a moment; tests/helpers/answers/fuzz.py --steps runs for longer."""

import subprocess
import sys

import pytest

SECONDS = 15


@pytest.mark.slow
@pytest.mark.parametrize("seed", [11, 40_000])
def test_nothing_breaks_for_a_while(seed, root, tmp_path):
    command = [sys.executable, "-m", "tests.helpers.answers.fuzz", "--steps"]
    options = ["--minutes", SECONDS / 60, "--seed", seed, "--failures", tmp_path / "found.jsonl"]
    run = subprocess.run(
        [*command, *map(str, options)],
        cwd=root,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=3600,
    )
    if run.returncode:
        pytest.fail(f"{run.stdout}\n{run.stderr[-3000:]}", pytrace=False)
    assert " examples " in run.stdout
