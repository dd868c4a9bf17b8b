"""The table of usage files and the list of local rules say the same as the workflow."""

import re

import pytest

from orion.config.stages import STAGES
from orion.cost import planned_jobs
from orion.cost.rule_files import CHECKED, OF_ONE_MODEL, RULES


def read_rules(root):
    """Rule → (the rule that it uses, its text)."""
    text = "".join(path.read_text() for path in sorted((root / "workflow/rules").glob("*.smk")))
    pieces = re.split(r"^(?=rule |use rule )", text, flags=re.M)[1:]
    rules = {}
    for piece in pieces:
        used, name = re.match(r"(?:use rule (\w+) as |rule )(\w+)", piece).groups()
        rules[name] = (used, piece)
    return rules


def find(rules, name, pattern):
    """What a pattern finds in a rule, else in the rule that it uses."""
    used, text = rules[name]
    found = re.search(pattern, text)
    return found[1] if found else find(rules, used, pattern) if used else None


def test_each_rule_has_its_usage_file(root):
    rules = read_rules(root)
    usage = {name: find(rules, name, r'benchmark:\n\s+"logs/([^"]+)"') for name in rules}
    assert {name: path for name, path in usage.items() if path} == {
        name: files.usage for name, files in RULES.items()
    }


def test_each_artifact_is_an_output_of_its_rule(root):
    rules = read_rules(root)
    for name, files in RULES.items():
        if files.artifact is not None:
            output = find(rules, name, r"(?s)output:\n(.*?)\n    \w")
            place = f'"results/{files.artifact}"'
            assert place in output, name


def test_each_rule_names_the_keys_that_its_job_gets(root):
    rules = read_rules(root)
    for name, files in RULES.items():
        assert find(rules, name, r'tracked_config\("(\w+)"\)') == files.stage
        assert files.stage in STAGES
    assert set(CHECKED) | set(CHECKED.values()) | OF_ONE_MODEL <= set(RULES)


def test_the_local_rules_are_those_that_the_workflow_marks(root):
    found = planned_jobs.find_local_rules(root / "workflow/Snakefile")
    rules = read_rules(root)
    assert found == {"all"} | {
        name for name in rules if find(rules, name, r"\n    localrule: (True)\n")
    }
    # docs/clusters.md: "problems, selection, report"
    assert {"dataset", "benchmark", "select", "report"} <= found
    assert not found & {"sample", "reflect", "train", "evaluate_sample", "check", "pack"}


@pytest.mark.parametrize("text", ["", "    group:\n        'small'\n"])
def test_with_groups_nothing_is_said_of_submissions(tmp_path, text):
    (tmp_path / "Snakefile").write_text(f"rule one:\n    localrule: True\n{text}")
    found = planned_jobs.find_local_rules(tmp_path / "Snakefile")
    assert found == (None if text else {"one"})
