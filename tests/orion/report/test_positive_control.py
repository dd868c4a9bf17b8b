"""The positive control: whether a run could have shown an effect, said for both outcomes."""

import pytest

from orion.report.positive_control import describe_control

SOUND, UNSOUND = {"reasons": []}, {"reasons": ["plan.json was edited"]}


def make_row(reading: str, **others) -> dict:
    return {
        "arm": "oracle",
        "against": "base",
        "benchmark": "b",
        "reading": reading,
        "difference": 0.123,
    } | others


def say(*rows, plan=SOUND) -> list[str]:
    blocks = describe_control(rows, plan, ["oracle"], "over 3 students")
    return [item for block in blocks for item in block["items"]]


def test_a_control_above_the_base_says_that_the_bed_can_show_it():
    [line] = say(make_row("above"))
    assert line.startswith("oracle against the untouched student on b: is above it, +12.3 points")
    assert "can show what refinement does" in line and "tie" not in line


@pytest.mark.parametrize(
    "reading", ["unclear", "below", "exploratory", "not inferior", "different"]
)
def test_anything_else_says_that_a_tie_of_the_method_means_nothing(reading):
    [line] = say(make_row(reading))
    assert "not confirmed to be above it" in line
    assert "a tie of orion says nothing about the method" in line


def test_a_plan_that_cannot_be_relied_on_confirms_nothing():
    [line] = say(make_row("above"), plan=UNSOUND)
    assert "not confirmed" in line


def test_only_controls_against_the_base_that_were_run_count():
    others = (
        make_row("above", arm="orion"),
        make_row("above", against="orion"),
        make_row("not run"),
    )
    assert say(*others) == []


def test_the_report_says_it_of_an_arm_on_the_generators_refinements(small):
    def change(raw):
        raw["arms"]["perfect"] = {"trained_on": "oracle"}
        raw["runs"]["arms"] = ["base", "perfect"]
        raw["comparisons"] = [{"arm": "perfect", "against": "base", "expect": "above"}]

    run = small(change)
    run.report()
    texts = [block["text"] for block in run.doc["results"][0]["headline"]]
    assert "Positive control, for this student:" in texts
