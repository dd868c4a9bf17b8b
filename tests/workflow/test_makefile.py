"""The Makefile: what `make help` lists, and targets that `make plan` hands to Snakemake."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def checkout(root, tmp_path_factory) -> Path:
    """A copy of the workflow with a .venv whose snakemake is that of this Python."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("workflow", "config", "envs"):
        shutil.copytree(root / name, folder / name)
    for name in ("Makefile", "pyproject.toml", "kernels/pyproject.toml"):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(root / name, folder / name)
    (folder / "kernels/orion_kernels").mkdir()
    (folder / "kernels/orion_kernels/__init__.py").touch()
    snakemake = folder / ".venv/bin/snakemake"
    snakemake.parent.mkdir(parents=True)
    # the Makefile drops PYTHONPATH, so the wrapper sets it to the code under test
    path = os.pathsep.join([str(root), str(root / "kernels")])
    snakemake.write_text(
        f'#!/bin/sh\nPYTHONPATH="{path}" exec "{sys.executable}" -m snakemake "$@"\n'
    )
    snakemake.chmod(0o755)
    ready = folder / ".venv/.ready"
    ready.touch()
    newest = max(path.stat().st_mtime for path in folder.rglob("*"))
    os.utime(ready, (newest + 1, newest + 1))
    return folder


def make(folder: Path, *args: str) -> str:
    env = {name: value for name, value in os.environ.items() if name not in ("ARGS", "MAKEFLAGS")}
    done = subprocess.run(["make", *args], cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def planned_jobs(out: str) -> dict[str, int]:
    """Rule → number of jobs in the printed plan."""
    table = re.search(r"Job stats:\njob +count\n[- ]+\n(.*?)\n\n", out, re.DOTALL)
    assert table is not None, out
    return {name: int(count) for name, count in map(str.split, table.group(1).splitlines())}


def test_plan_takes_a_target(checkout):
    whole = planned_jobs(make(checkout, "plan"))
    assert whole["all"] == whole["report"] == 1
    some = planned_jobs(make(checkout, "plan", "ARGS=trained"))
    assert some["trained"] == 1 and some["train"] == whole["train"]
    assert not {"all", "report", "evaluate"} & set(some)


def test_plan_takes_targets_beside_flags(checkout):
    (checkout / "mine.yaml").write_text("runs: {seeds: [1]}")
    jobs = planned_jobs(make(checkout, "plan", "ARGS=packed trained --configfile mine.yaml"))
    assert jobs["packed"] == jobs["trained"] == 1
    assert jobs["train"] == jobs["pack"]


def test_help_is_the_default_and_lists_every_target(root):
    makefile = (root / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.+)$", makefile, re.MULTILINE).group(1).split()
    listed = re.findall(r"^  make (\S+) +\S", make(root, "help"), re.MULTILINE)
    assert listed == [name for name in re.findall(r"^([a-z0-9-]+):", makefile, re.MULTILINE)]
    assert sorted(listed) == sorted(phony)
    assert make(root) == make(root, "help")


def test_format_runs_the_tools_of_check(root):
    """`make format` fixes with every formatter that `make check` only runs with --check."""
    found = {name: make(root, "--dry-run", name).splitlines() for name in ("check", "format")}
    for line in found["check"]:
        if line.startswith(("ruff", "snakefmt")):
            without_check = line.replace(" --check", "").replace("ruff check", "ruff check --fix")
            assert without_check in found["format"], line
