"""The workflow's own linters and the code's, as `make check` runs them."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

BIN = Path(sys.executable).parent


@pytest.mark.parametrize(
    "command",
    [
        ["snakemake", "--lint"],
        ["snakefmt", "--check", "workflow"],
        ["ruff", "check", "."],
        ["ruff", "format", "--check", "."],
    ],
    ids=lambda command: " ".join(command[:2]),
)
def test_clean(command, root):
    done = subprocess.run(
        [BIN / command[0], *command[1:]], cwd=root, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_rule_has_two_params_a_log_and_an_environment(root):
    for path in (root / "workflow/rules").glob("*.smk"):
        for rule in re.split(r"\n(?=rule )", path.read_text())[1:]:
            name = re.match(r"rule (\w+):", rule).group(1)
            if "shell:" not in rule:
                continue
            params = re.search(r"    params:\n((?:        .*\n)+)", rule)
            assert params and re.findall(r"^        (\w+)=", params.group(1), re.M) == [
                "config",
                "code",
            ], name
            assert "    log:" in rule and "    conda:" in rule and "    benchmark:" in rule, name


def test_nothing_that_hides_or_loses_results(root):
    text = "".join(path.read_text() for path in (root / "workflow").rglob("*.smk"))
    # ancient() hides changed params downstream (LOG.md); the others are untracked or slow
    assert re.findall(r"\bancient\(|\bcheckpoint \w+:|\bscript:|\brun:|\btouch\(", text) == []
