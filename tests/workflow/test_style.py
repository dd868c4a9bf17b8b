"""The linters and mypy as `make check` runs them; laws of the Snakemake rules."""

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
        for rule in re.split(r"\n(?=rule |use rule )", path.read_text())[1:]:
            name = re.match(r".+:", rule).group()
            params = re.search(r"^ {4}params:\n((?: {8}.*\n)+)", rule, re.MULTILINE)
            if params:
                names = re.findall(r"^ {8}(\w+)=", params.group(1), re.MULTILINE)
                assert names == ["config", "code"], name
            # a rule made by `use rule` inherits the keys that it does not name
            if "    shell:" in rule:
                keys = set(re.findall(r"^ {4}(\w+):", rule, re.MULTILINE))
                assert keys >= {"params", "log", "conda", "benchmark"}, name


def test_nothing_that_hides_or_loses_results(root):
    text = "".join(path.read_text() for path in (root / "workflow").rglob("*.smk"))
    # the rest is untracked or slow
    assert re.findall(r"\bcheckpoint \w+:|\bscript:|\brun:|\btouch\(", text) == []
    # ancient() hides changed params downstream (LOG.md). The one use is for files whose digests are
    # in the params of the rule that reads them; test_source_files.py holds what follows
    assert re.findall(r".*\bancient\(.*\w.*", text) == [
        "    return [ancient(path) for path in settings.local_files(block)]"
    ]
