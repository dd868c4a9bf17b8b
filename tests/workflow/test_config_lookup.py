"""The configuration of a run: the file of its folder, or else the embedded default."""

import re

import pytest
import yaml

from tests.helpers.configurations import read_one_student
from tests.helpers.snakemake import run_snakemake


@pytest.fixture
def dry_run(root, tmp_path):
    """Plan a run from an empty folder; returns the exit status and the printed text."""

    def run(*args: str) -> tuple[int, str]:
        return run_snakemake(tmp_path, root, "--dry-run", *args)

    return run


def count_training_jobs(out: str) -> int:
    """The number of training jobs in the printed plan."""
    return int(re.search(r"^train +(\d+)$", out, re.MULTILINE).group(1))


def test_a_folder_without_configuration_takes_the_default(dry_run, root, tmp_path):
    default = yaml.safe_load((root / "config/config.yaml").read_text())
    trained = len(default["runs"]["arms"]) - 1
    status, out = dry_run("trained")
    assert status == 0, out
    assert f"{root}/config/config.yaml is read instead" in out
    trained *= len(default["runs"]["models"])
    assert count_training_jobs(out) == trained * len(default["runs"]["seeds"])
    # a file of its own is merged over the default, as in a clone
    (tmp_path / "mine.yaml").write_text("runs: {seeds: [7]}")
    status, out = dry_run("trained", "--configfile", "mine.yaml")
    assert status == 0, out
    assert count_training_jobs(out) == trained and "seed-7" in out


def test_a_folder_with_its_own_configuration_takes_that(dry_run, root, tmp_path):
    own = read_one_student(root)
    own["runs"].update(arms=["base", "sft_own"], seeds=[3])
    own["comparisons"] = []
    (tmp_path / "config").mkdir()
    (tmp_path / "config/config.yaml").write_text(yaml.safe_dump(own))
    status, out = dry_run("trained")
    assert status == 0, out
    assert count_training_jobs(out) == 1 and "is read instead" not in out


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
