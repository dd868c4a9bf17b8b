"""The whole pipeline, small but real: student, eight arms, report; a second run plans nothing; every number is recomputed."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from orion import tables

pytestmark = pytest.mark.slow
ARMS = [
    "base",
    "sft_answer",
    "sft_teacher",
    "sft_own",
    "sft_rewrite",
    "orion_no_teacher",
    "orion_placebo",
    "orion",
]


class Folder:
    def __init__(self, path: Path, root: Path):
        self.path, self.root = path, root

    def snakemake(self, *args: str) -> str:
        env = {**os.environ, "PATH": f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"}
        command = [
            sys.executable,
            "-m",
            "snakemake",
            "-s",
            str(self.root / "workflow/Snakefile"),
            "--cores",
            "2",
        ]
        done = subprocess.run(
            [*command, *args], cwd=self.path, env=env, capture_output=True, text=True
        )
        out = done.stdout + done.stderr
        assert done.returncode == 0, out[-6000:]
        return out

    def log(self, name: str) -> str:
        return (self.path / "logs" / name).read_text()


@pytest.fixture(scope="module")
def folder(root, tmp_path_factory):
    path = tmp_path_factory.mktemp("pipeline")
    (path / "config").mkdir()
    config = yaml.safe_load((root / "config/config.yaml").read_text())
    config["runs"].update(seeds=[1, 2], benchmarks=["chains-test"], arms=ARMS)
    # an under-trained student on the easiest problems: wrong on most, right on some
    config["models"]["tiny"]["source"].update(plain=5000, reflections=900, drills=300)
    config["datasets"]["chains"]["source"].update(level="easy", n=40)
    config["benchmarks"] = {
        "chains-test": {"source": {"kind": "demo", "level": "easy", "n": 20, "seed": 12}}
    }
    config["select"]["fallback_all_filtered"] = "own_correct"
    config["train"]["max_steps"] = 3
    config["evaluate"].update(num_samples=2, max_tokens=96)
    config["report"].update(bootstrap=200, examples=6)
    (path / "config/config.yaml").write_text(yaml.safe_dump(config))
    made = Folder(path, root)
    made.snakemake()
    return made


def module(root: Path, name: str):
    spec = importlib.util.spec_from_file_location(name, root / f"tests/orion/report/{name}.py")
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def test_every_arm_is_on_the_page(folder):
    page = (folder.path / "results/report/index.html").read_text()
    assert all(arm in page for arm in ARMS)
    for arm in ARMS[1:]:
        assert (
            folder.path / f"results/datasets/chains/tiny/{arm}/seed-2/model/model.safetensors"
        ).exists()


def test_a_second_run_plans_nothing(folder):
    assert "Nothing to be done" in folder.snakemake("--dry-run")


def test_every_number_follows_from_the_tables(folder, root):
    assert module(root, "recompute").faults(folder.path / "results") == []
    assert module(root, "shown").faults(folder.path / "results") == []


def test_artifacts_hold_nothing_of_this_machine(folder):
    for path in folder.path.joinpath("results").rglob("*.json"):
        if "/model/" not in str(path) and "checkpoint" not in str(path):
            text = path.read_text()
            assert str(folder.path) not in text and os.uname().nodename not in re.findall(
                r"[\w-]{3,}", text
            ), path


def test_the_wrong_and_the_right_are_real(folder):
    verdicts = tables.read(
        folder.path / "results/datasets/chains/tiny/verdicts.parquet", tables.VERDICT_ROWS
    )
    counts = dict(verdicts["verdict"].value_counts().iter_rows())
    assert counts["incorrect"] > 20 and counts["correct"] > 0, counts


def test_snakemakes_own_report_holds_the_page(folder):
    folder.snakemake("--report", "run.html")
    assert "index.html" in (folder.path / "run.html").read_text()


def test_a_teacher_that_is_sampled(folder):
    """Runs late: it changes the configuration. The student's own checkpoint plays the teacher under another name."""
    path = folder.path / "config/config.yaml"
    before = path.read_text()
    config = yaml.safe_load(before)
    taught = {**config["datasets"]["chains"], "teacher": "big"}
    taught["fields"] = {**taught["fields"], "teacher_trace": None}
    config["datasets"]["taught"] = taught
    config["models"]["big"] = {
        "source": {"kind": "path", "path": "results/models/tiny/checkpoint"},
        "dtype": "float32",
    }
    config["teacher"] = {"num_samples": 6, "temperature": 0.9, "max_tokens": 96}
    config["runs"].update(datasets=["taught"], arms=["base", "sft_teacher"], seeds=[1])
    config["comparisons"] = [{"arm": "sft_teacher", "against": "base"}]
    path.write_text(yaml.safe_dump(config))
    folder.snakemake()
    results = folder.path / "results/datasets/taught"
    traced = tables.read(results / "problems_with_traces.parquet", tables.PROBLEMS)
    verdicts = tables.read(results / "trace_verdicts.parquet", tables.VERDICT_ROWS)
    assert traced["teacher_trace"].count() == verdicts.height > 0
    assert set(verdicts["verdict"]) == {"correct"}
    trained = tables.read(results / "tiny/sft_teacher/train.parquet", tables.TRAIN)
    assert set(trained["problem_id"]) == set(verdicts["problem_id"])
    assert "sft_teacher" in (folder.path / "results/report/index.html").read_text()
    path.write_text(before)


def test_raising_k_generates_only_the_new_cells(folder):
    """Runs last: it changes the configuration."""
    path = folder.path / "config/config.yaml"
    config = yaml.safe_load(path.read_text())
    config["sample"]["num_samples"] = 9
    path.write_text(yaml.safe_dump(config))
    folder.snakemake("--until", "sample")
    assert re.search(r"320 reused, 40 new", folder.log("chains/tiny/samples.log")), folder.log(
        "chains/tiny/samples.log"
    )
