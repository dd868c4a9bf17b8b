"""Which configuration a run reads: that of its folder, or else the embedded default."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml


@pytest.fixture
def dry_run(root, tmp_path):
    """Plans a run from an empty folder; returns the exit status and the printed text."""

    def run(*args: str) -> tuple[int, str]:
        env = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        command = [sys.executable, "-m", "snakemake", "-s", str(root / "workflow/Snakefile")]
        done = subprocess.run(
            [*command, "--dry-run", *args], cwd=tmp_path, env=env, capture_output=True, text=True
        )
        return done.returncode, done.stdout + done.stderr

    return run


def planned(out: str) -> int:
    """How many training jobs the printed plan holds."""
    return int(re.search(r"^train +(\d+)$", out, re.MULTILINE).group(1))


def test_a_folder_without_configuration_takes_the_default(dry_run, root, tmp_path):
    default = yaml.safe_load((root / "config/config.yaml").read_text())
    trained = len(default["runs"]["arms"]) - 1
    status, out = dry_run("trained")
    assert status == 0, out
    assert f"{root}/config/config.yaml is read instead" in out
    assert planned(out) == trained * len(default["runs"]["seeds"])
    # a file of its own is merged over the default, as in a clone
    (tmp_path / "mine.yaml").write_text("runs: {seeds: [7]}")
    status, out = dry_run("trained", "--configfile", "mine.yaml")
    assert status == 0, out
    assert planned(out) == trained and "seed-7" in out


def test_a_folder_with_its_own_configuration_takes_that(dry_run, root, tmp_path):
    own = yaml.safe_load((root / "config/config.yaml").read_text())
    own["runs"].update(arms=["base", "sft_own"], seeds=[3])
    own["comparisons"] = []
    (tmp_path / "config").mkdir()
    (tmp_path / "config/config.yaml").write_text(yaml.safe_dump(own))
    status, out = dry_run("trained")
    assert status == 0, out
    assert planned(out) == 1 and "is read instead" not in out


def test_numbers_such_as_5e_5_reach_the_jobs(dry_run, tmp_path):
    (tmp_path / "mine.yaml").write_text("train: {learning_rate: 5e-5}")
    status, out = dry_run("trained", "--configfile", "mine.yaml", "--printshellcmds")
    assert status == 0, out
    assert '"learning_rate":5e-05' in out


def test_a_bad_key_is_named(dry_run, tmp_path):
    (tmp_path / "mine.yaml").write_text("train: {learning_rate: abc}")
    status, out = dry_run("trained", "--configfile", "mine.yaml")
    assert status != 0
    assert "the configuration is not valid: train.learning_rate: " in out
