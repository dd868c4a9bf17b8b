"""The examples, run as their README says, one after the other in one folder."""

import pytest

from orion import tables
from tests.helpers.snakemake import run_snakemake

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(root, tmp_path_factory):
    path = tmp_path_factory.mktemp("examples")
    (path / "examples").symlink_to(root / "examples")
    return path


def run(folder, root, configuration: str, commands=None) -> str:
    status, out = run_snakemake(folder, root, "--configfile", configuration, commands=commands)
    assert status == 0, out[-6000:]
    return out


def test_quick(folder, root):
    run(folder, root, "examples/quick.yaml")
    page = (folder / "results/report/index.html").read_text()
    assert "quick-test" in page and "sft_teacher" in page


def test_own_data_with_the_same_student(folder, root, commands):
    out = run(folder, root, "examples/own-data/own-data.yaml", commands)
    assert "rule unpack_student" not in out, "the student of examples/quick.yaml is there"
    problems = tables.read(
        folder / "results/datasets/mine/problems.parquet", tables.PROBLEMS, ["teacher_trace"]
    )
    assert problems.height == 12 and problems["teacher_trace"].null_count() == 0
    assert "held-out" in (folder / "results/report/index.html").read_text()
