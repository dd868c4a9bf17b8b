"""The linters and mypy, as `make check` runs them, and what the rules must and must not hold."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

BIN = Path(sys.executable).parent
MAKEFILE = Path(__file__).parents[2] / "Makefile"
CHECK = re.search(r"^check:.*\n((?:\t.+\n)+)", MAKEFILE.read_text(), re.MULTILINE)
COMMANDS = [shlex.split(line) for line in CHECK.group(1).splitlines()]


def test_make_check_runs_every_tool():
    tools = [" ".join(command[:2]) for command in COMMANDS]
    assert tools == ["ruff check", "ruff format", "mypy", "snakefmt --check", "snakemake --lint"]


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command[:2]))
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
