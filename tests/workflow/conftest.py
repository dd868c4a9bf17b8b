"""A copy of the checkout whose stages are stand-ins: real Snakemake and rules, no work in jobs."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import yaml

from tests.helpers.configurations import read_one_student
from tests.helpers.preloaded_python import Preloaded

# what the stages take long to import; the stages themselves are read anew by each job
LIBRARIES = [
    "orion.answers",
    "orion.completions",
    "orion.engines.transformers",
    "orion.models.preflight_checks",
    "orion.training.sharded_trainer",
    "transformers.models.auto.tokenization_auto",
    "transformers.models.llama.modeling_llama",
]
# stands in for every stage: creates the files and folders named as outputs, as the stage would
STAND_IN = """#!{python} -IS
import pathlib, sys
args = sys.argv[1:]
made = ("--output", "--output-steps", "--rejected", "--filters", "--preview", "--stats")
made += ("--output-model", "--output-preflight", "--log")
for flag, value in zip(args, args[1:]):
    path = pathlib.Path(value)
    if flag == "--output-dir" or (flag == "--output" and value.endswith("checkpoint")):
        path.mkdir(parents=True, exist_ok=True)
        tables = "table comparisons reflections error_coverage lengths waterfall selection base"
        tables = tables.split() + ["seeds", "curves", "false_steps", "false_steps_training"]
        tables += ["group_comparisons", "group_students"]
        tables += ["pass_at", "answers", "data_tokens", "cohorts", "first_false_steps", "levels"]
        tables += ["flips", "largest_flips", "coherence", "stability"]
        tables += ["second_policy", "surprise", "judge"]
        page = ("index.html", "report.json", "figures/a.svg", *(f"{{t}}.csv" for t in tables))
        names = page if "report" in value else ("weights",)
        for name in names:
            (path / name).parent.mkdir(exist_ok=True)
            (path / name).write_text("made")
    elif flag in made:
        path.write_text("made")
"""


class Checkout:
    """One copied checkout in which the workflow has run."""

    def __init__(self, folder: Path, preloaded: Preloaded):
        self.folder = folder
        self.bin = folder / "bin"
        self.python = preloaded.bin / "python"

    def snakemake(self, *args: str, check: bool = True) -> subprocess.CompletedProcess:
        env = {
            **os.environ,
            "PATH": f"{self.bin}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": f"{self.folder}:{self.folder / 'kernels'}",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        command = [self.python, "-m", "snakemake", "--cores", "2", *args]
        done = subprocess.run(command, cwd=self.folder, env=env, capture_output=True, text=True)
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    def run(self) -> None:
        self.snakemake("--quiet", "all")

    def plan(self, *args: str) -> dict[str, int]:
        """rule → number of jobs that a run would start now."""
        out = self.snakemake("--dry-run", *args).stdout
        table = re.search(r"Job stats:\njob +count\n[- ]+\n(.*?)\n\n", out, re.DOTALL)
        if table is None:
            assert "Nothing to be done" in out, out
            return {}
        rows = (line.split() for line in table.group(1).splitlines())
        return {name: int(count) for name, count in rows if name not in ("total", "all")}

    def config(self) -> dict:
        return yaml.safe_load((self.folder / "config/config.yaml").read_text())

    def write_config(self, config: dict) -> None:
        (self.folder / "config/config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))


@pytest.fixture(scope="session")
def preloaded_snakemake():
    """Has Snakemake and a plugin loaded, and nothing of this project."""
    with tempfile.TemporaryDirectory() as folder:
        made = Preloaded(Path(folder), "snakemake.cli", "snakemake_executor_plugin_slurm")
        yield made
        made.close()


@pytest.fixture(scope="session")
def commands():
    """A folder with a ``python`` for real jobs that has their libraries loaded."""
    with tempfile.TemporaryDirectory() as folder:
        made = Preloaded(Path(folder), *LIBRARIES)
        yield made.bin
        made.close()


@pytest.fixture(scope="module")
def checkout(root, tmp_path_factory, preloaded_snakemake) -> Checkout:
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("orion", "kernels", "workflow", "config", "envs"):
        shutil.copytree(
            root / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info")
        )
    made = Checkout(folder, preloaded_snakemake)
    made.bin.mkdir()
    (made.bin / "python").write_text(STAND_IN.format(python=sys.executable))
    (made.bin / "python").chmod(0o755)
    config = read_one_student(root)
    config["runs"].update(
        arms=["base", "sft_own", "orion_placebo", "orion"], seeds=[1], benchmarks=["chains-test"]
    )
    config["comparisons"] = [
        {"arm": "orion", "against": other} for other in ("orion_placebo", "sft_own")
    ]
    made.write_config(config)
    made.run()
    return made
