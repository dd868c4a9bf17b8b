"""The examples of docs/answers.md: what each command prints is what the page shows."""

import contextlib
import doctest
import re
import shlex
import textwrap
from pathlib import Path

import pytest

from orion.answers import check
from orion.answers.workers import pool
from orion.cli.main import main

PAGE = (Path(__file__).parents[3] / "docs" / "answers.md").read_text(encoding="utf-8")


def read_examples(page: str) -> tuple[dict[str, str], dict[str, str]]:
    """Files by name (an indented block behind "`name`:"), and what each command prints."""
    files, printed = {}, {}
    for name, block in re.findall(r"(?:`([\w.]+)`:\n)?\n((?: {4}.*\n|\n(?= {4}))+)", page):
        first, *commands = re.split(r"^\$ orion answers ", textwrap.dedent(block), flags=re.M)
        if name:
            files[name] = first.strip("\n") + "\n"
        for text in commands:
            # a line that ends in a backslash goes on
            command, output = re.split(r"(?<!\\)\n", text, maxsplit=1)
            printed[command] = output.strip("\n") + "\n"
    return files, printed


FILES, PRINTED = read_examples(PAGE)
# the results of a run are not there to be read
EXAMPLES = {command: text for command, text in PRINTED.items() if "results/" not in command}


@pytest.fixture(autouse=True)
def no_worker_is_left_behind():
    yield
    pool.POOL.close()


def test_the_page_shows_every_command():
    assert {command.split()[0] for command in EXAMPLES} == {
        "check",
        "rules",
        "lint",
        "audit",
        "steps",
    }
    assert set(FILES) == {"golds.jsonl", "outputs.jsonl", "solution.txt"}


@pytest.mark.parametrize("command", EXAMPLES)
def test_a_documented_command_prints_what_the_page_shows(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name, text in FILES.items():
        Path(name).write_text(text, encoding="utf-8")
    # lint finds what it must and says so by its status
    with pytest.raises(SystemExit) if command.startswith("lint") else contextlib.nullcontext():
        main(["answers", *shlex.split(command)])
    printed = capsys.readouterr().out
    # a line of dots stands for lines that the page leaves out
    same = doctest.OutputChecker().check_output(EXAMPLES[command], printed, doctest.ELLIPSIS)
    assert same, printed


@pytest.mark.parametrize(
    ("response", "gold", "verdict", "rule"),
    [
        ("It takes 12 red marbles.", "12", "correct", "number"),
        ("It takes 5 zorbs.", "5", "no_answer", "words_behind"),
        ("The answer is 5 zorbs.", "5", "unparseable", "compare"),
        (r"\boxed{5 \text{ dozen}}", "60", "correct", "expression/algebra"),
        (r"\boxed{5 \text{ or so}}", "5", "unparseable", "compare"),
    ],
)
def test_words_behind_a_value_as_the_page_says(response, gold, verdict, rule):
    assert response in PAGE.replace("\n", " ")
    found = check(response, gold)
    assert (found.verdict, found.rule) == (verdict, rule)
