"""The commands ``orion answers steps`` and ``orion answers rules``."""

import io
import sys

import pytest

from orion.answers.steps import RULES
from orion.cli.main import main

TEXT = "First 2 + 3 = 5.\nThen\n  7 * 8 = 54 and x = 2.\nSo $5/3 \\approx 1.666$.\n"


def run(capsys, *argv):
    main(["answers", *argv])
    return capsys.readouterr().out.splitlines()


def test_steps_prints_place_truth_rule_and_summary(capsys, tmp_path):
    file = tmp_path / "solution.txt"
    file.write_text(TEXT)
    lines = run(capsys, "steps", str(file))
    assert [line.split()[:3] for line in lines[:3]] == [
        ["1:7", "true", "exact"],
        ["3:3", "false", "exact"],
        ["4:5", "unknown", "cut_down"],
    ]
    assert lines[1].endswith("  7 * 8 = 54")
    assert lines[3:] == ["1 true, 1 false, 1 unknown", "first false: 3:3  7 * 8 = 54"]


def test_steps_reads_standard_input_that_is_no_utf8(capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xff 2 + 2 = 4.")))
    assert run(capsys, "steps", "-")[-1] == "1 true, 0 false, 0 unknown"


def test_steps_of_a_text_without_claims(capsys, tmp_path):
    file = tmp_path / "empty.txt"
    file.write_text("")
    assert run(capsys, "steps", str(file)) == ["0 true, 0 false, 0 unknown"]


def test_steps_of_a_file_that_is_not_there(capsys, tmp_path):
    with pytest.raises(SystemExit) as stop:
        main(["answers", "steps", str(tmp_path / "nothing.txt")])
    assert "No such file" in str(stop.value.code) + capsys.readouterr().err


def test_rules_prints_every_row(capsys):
    printed = "\n".join(run(capsys, "rules"))
    assert [rule.name for rule in RULES if f"{rule.name} " not in printed] == []
    assert [rule.what for rule in RULES if rule.what not in printed] == []
