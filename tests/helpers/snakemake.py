"""Runs the checkout's workflow in another folder, as a user would."""

import os
import subprocess
import sys
from pathlib import Path


def run_snakemake(
    folder: Path, root: Path, *args: str, commands: Path | None = None
) -> tuple[int, str]:
    """Exit status and output of ``snakemake`` with ``root``'s Snakefile in ``folder``.

    ``commands``: a folder whose commands come before all others in the jobs.
    """
    places = [*filter(None, [commands]), Path(sys.executable).parent, os.environ["PATH"]]
    env = {**os.environ, "PATH": os.pathsep.join(map(str, places))}
    command = [sys.executable, "-m", "snakemake", "-s", str(root / "workflow/Snakefile")]
    done = subprocess.run(
        [*command, "--cores", "2", *args], cwd=folder, env=env, capture_output=True, text=True
    )
    return done.returncode, done.stdout + done.stderr
