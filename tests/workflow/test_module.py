"""The workflow as a module of another one, under a prefix: files, commands and own data."""

import os
import re
import subprocess
import sys

import pytest
import yaml

from tests.helpers.configurations import read_one_student

SNAKEFILE = """
import yaml

module orion:
    snakefile: "workflow/Snakefile"
    config: yaml.safe_load(open("mine.yaml"))
    {move}

use rule * from orion as orion_*
"""


@pytest.fixture(scope="module")
def folder(root, tmp_path_factory):
    """A folder with the checkout beside a Snakefile of one's own, and problems in a file."""
    folder = tmp_path_factory.mktemp("module")
    for name in ("orion", "kernels", "workflow", "config", "envs"):
        (folder / name).symlink_to(root / name)
    config = read_one_student(root)
    config["datasets"]["chains"]["source"] = {"kind": "jsonl", "path": "data/mine.jsonl"}
    config["datasets"]["chains"]["fields"] = {"problem_id": None, "teacher_trace": "problem"}
    config["datasets"]["chains"]["decontaminate_ngram"] = None
    config["benchmarks"]["chains-test"]["source"]["n"] = 5
    config["benchmarks"]["chains-hard"]["source"]["n"] = 5
    (folder / "mine.yaml").write_text(yaml.safe_dump(config))
    (folder / "data").mkdir()
    rows = [f'{{"problem": "what is {i} + 1 ?", "answer": "{i + 1}"}}\n' for i in range(9)]
    (folder / "data/mine.jsonl").write_text("".join(rows))
    return folder


def run(folder, move, *args):
    (folder / "Snakefile").write_text(SNAKEFILE.format(move=move))
    env = {
        **os.environ,
        "PATH": f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}",
        "PYTHONPATH": f"{folder}:{folder / 'kernels'}",
    }
    command = [sys.executable, "-m", "snakemake", "-s", "Snakefile", "--cores", "1", *args]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize(
    "move",
    [
        'prefix: "distil"',
        'replace_prefix: {"results/": "distil/results/", "logs/": "distil/logs/"}',
    ],
    ids=["prefix", "replace_prefix"],
)
def test_no_command_names_a_place_outside_of_the_prefix(folder, move):
    out = run(folder, move, "--dry-run", "--printshellcmds")
    commands = re.findall(r"python -m orion\..*", out)
    assert len(commands) > 140
    paths = re.findall(r"[\w./-]*\b(?:results|logs)\b[\w./-]*", "\n".join(commands))
    assert len(paths) > 500
    assert {path for path in paths if not path.startswith(("distil/", "--"))} == set()


def test_the_users_own_files_stay_where_they_are(folder):
    run(folder, 'prefix: "distil"', "orion_data")
    made = {path.parent.name for path in (folder / "distil/results").rglob("lint.json")}
    assert made == {"chains", "chains-test", "chains-hard"}
    assert not (folder / "results").exists() and not (folder / "logs").exists()
