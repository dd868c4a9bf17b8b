"""Runs the checkout's workflow in another folder, as a user would."""

import os
import subprocess
import sys
from pathlib import Path


def run_snakemake(folder: Path, root: Path, *args: str) -> tuple[int, str]:
    """Exit status and output of ``snakemake`` with ``root``'s Snakefile in ``folder``."""
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    command = [sys.executable, "-m", "snakemake", "-s", str(root / "workflow/Snakefile")]
    done = subprocess.run(
        [*command, "--cores", "2", *args], cwd=folder, env=env, capture_output=True, text=True
    )
    return done.returncode, done.stdout + done.stderr
