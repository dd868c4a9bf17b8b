"""Arms are checked against the datasets that they are trained on, before any job."""

import copy
import json

import pytest

from orion import config
from orion.errors import InputError
from tests.helpers.configurations import read_one_student

FILE_SOURCE = {"kind": "jsonl", "path": "mine.jsonl"}


@pytest.fixture
def raw(root):
    return read_one_student(root)


def with_arms(raw, *arms):
    raw["runs"]["arms"], raw["comparisons"] = ["base", *arms], []
    return raw


def test_the_oracle_is_for_problems_that_record_their_steps(raw):
    config.validate(with_arms(raw, "oracle"))
    raw["datasets"]["mine"] = {"source": FILE_SOURCE}
    # as a block that no run trains
    config.validate(with_arms(raw, "orion"))
    raw["runs"]["datasets"].append("mine")
    config.validate(with_arms(raw, "orion"))
    message = r"arms\.oracle\.trained_on: .*embedded problems.*datasets\.mine is of the kind jsonl"
    with pytest.raises(InputError, match=message):
        config.validate(with_arms(raw, "orion", "oracle"))


def test_the_oracle_of_another_students_training_is_checked_too(raw):
    raw["datasets"]["mine"] = {"source": FILE_SOURCE}
    source = {"kind": "arm", "dataset": "mine", "model": "tiny", "arm": "oracle", "seed": 1}
    raw["models"]["second"] = {"source": source}
    config.validate(with_arms(raw, "orion"))
    raw["runs"]["models"] = ["second"]
    with pytest.raises(InputError, match=r"arms\.oracle\.trained_on: .*datasets\.mine"):
        config.validate(with_arms(raw, "orion"))


@pytest.mark.parametrize("key", ["fallback_no_error", "fallback_all_filtered"])
def test_the_oracle_asks_no_student_for_a_fallback(raw, key):
    raw["select"][key] = "rewrite"
    with pytest.raises(InputError, match=rf"arms\.oracle\.select\.{key}: .*set own_correct"):
        config.validate(with_arms(raw, "oracle"))
    raw["arms"]["oracle"]["select"] = {key: "drop"}
    config.validate(with_arms(raw, "oracle"))


def test_an_arm_that_no_run_has_reaches_no_stage(raw):
    before = config.validate(raw)
    raw["arms"]["unused"] = {"trained_on": "oracle", "select": {"max_per_problem": 7}}
    after = config.validate(raw)
    assert config.params(after, "report") == config.params(before, "report")
    assert config.params(after, "plan") == config.params(before, "plan")


def set_match(raw, arm, match):
    raw["arms"][arm].setdefault("select", {})["match"] = match
    return raw


MUTUAL = {"problems": ["orion", "orion_sham", "sft_rewrite"], "rows": True}


def test_arms_may_match_each_other(raw):
    for arm in MUTUAL["problems"]:
        set_match(raw, arm, MUTUAL)
    loaded = config.validate(with_arms(raw, *MUTUAL["problems"], "sft_teacher_matched"))
    assert config.list_matched_arms(loaded, "orion") == ["orion_sham", "sft_rewrite"]
    keys = {"dataset": "chains", "model": "tiny", "arm": "orion"}
    found = config.stage_config(loaded, "match", **keys)
    assert found["match"] == {
        "problems": ["orion_sham", "sft_rewrite"],
        "rows": True,
        "tokens": None,
    }
    # what matching does to its rows is no key of the selection
    assert "match" not in config.params(loaded, "select", **keys)


def test_a_match_for_all_arms_leaves_the_untrained_alone(raw):
    raw["select"]["match"] = MUTUAL
    loaded = config.validate(with_arms(raw, "sft_own", *MUTUAL["problems"]))
    assert config.is_matched(loaded, "sft_own") and not config.is_matched(loaded, "base")


def test_a_budget_is_counted_in_the_tokens_that_are_packed(raw):
    raw["train"]["validation_fraction"] = 0.2
    loaded = config.validate(with_arms(raw, "orion", "sft_teacher_matched"))
    keys = {"dataset": "chains", "model": "tiny", "arm": "sft_teacher_matched"}
    found = config.stage_config(loaded, "match", **keys)
    assert found["match"]["tokens"] == "orion"
    packed = config.stage_config(loaded, "pack", **keys)
    assert found["pack"] == {**packed, "min_rows": None}


@pytest.mark.parametrize(
    ("arm", "match", "message"),
    [
        ("orion", {}, r"arms\.orion\.select: .*match needs problems"),
        ("orion", {"rows": True}, r"match needs problems"),
        ("orion", {"tokens": "sft_own", "rows": True}, r"match needs problems"),
        ("orion", {"problems": []}, r"at least 1"),
        ("orion", {"problems": ["orin"]}, r"arms\.orion\.select\.match names the unknown arm orin"),
        ("orion", {"tokens": "orin"}, r"names the unknown arm orin"),
        ("orion", {"problems": ["base"]}, r"names base, which is trained on nothing"),
        ("orion", {"problems": ["orion"]}, r"match\.problems names no other arm"),
        ("orion", {"problems": ["sft_answer"]}, r"match: no run has the arm sft_answer; add it"),
        ("orion", {"tokens": "sft_answer"}, r"match: no run has the arm sft_answer; add it"),
        ("orion", {"tokens": "orion"}, r"come from itself \(orion from orion\)"),
        (
            "orion",
            {"tokens": "sft_teacher_matched"},
            r"come from itself \(\w+ from \w+ from \w+\)",
        ),
    ],
)
def test_a_match_that_cannot_be_made_is_refused(raw, arm, match, message):
    with_arms(raw, "orion", "sft_own", "sft_teacher_matched")
    with pytest.raises(InputError, match=message):
        config.validate(set_match(raw, arm, match))


def test_an_unused_arm_may_name_arms_that_no_run_has(raw):
    config.validate(set_match(with_arms(raw, "orion"), "sft_own", {"problems": ["sft_answer"]}))


def test_arms_cut_to_the_fewest_tokens_have_one_budget(raw):
    group = ["orion", "sft_own", "sft_teacher"]
    with_arms(raw, *group)
    for arm in group:
        set_match(raw, arm, {"problems": group, "fewest_tokens": True})
    raw["arms"]["sft_own"]["pack"] = {"prefix_tokens": 8}
    loaded = config.validate(raw)
    keys = {"dataset": "chains", "model": "tiny", "arm": "orion"}
    found = config.stage_config(loaded, "match", **keys)
    # each arm's rows are counted as that arm packs them
    assert set(found["other_packs"]) == {"sft_own", "sft_teacher"}
    assert found["other_packs"]["sft_own"]["prefix_tokens"] == 8
    assert found["pack"]["prefix_tokens"] is None
    for change in ({"problems": group}, {"problems": group[:2], "fewest_tokens": True}, None):
        set_match(raw, "sft_own", change)
        with pytest.raises(InputError, match=r"fewest_tokens: \w+ is not matched in the same way"):
            config.validate(raw)
    for change in ({"fewest_tokens": True}, {"problems": group, "tokens": "sft_own"}):
        with pytest.raises(InputError, match="fewest_tokens is the budget of the arms in problems"):
            config.validate(set_match(raw, "orion", change | {"fewest_tokens": True}))


def test_a_student_may_come_from_a_matched_arm_of_the_run_only(raw):
    set_match(with_arms(raw, "orion", "sft_own"), "orion", {"problems": ["sft_own"]})
    source = {"kind": "arm", "dataset": "chains", "model": "tiny", "arm": "orion", "seed": 1}
    raw["models"]["second"] = {"source": source}
    raw["runs"]["models"] = ["tiny", "second"]
    config.validate(raw)
    raw["runs"]["models"] = ["second"]
    with pytest.raises(InputError, match=r"arm orion of tiny on chains is matched with others"):
        config.validate(raw)


def test_the_controls_change_no_key_of_another_arm(raw):
    without = copy.deepcopy(raw)
    for arm in ("orion_sham", "oracle", "sft_teacher_matched"):
        del without["arms"][arm]
    loaded, other = config.validate(raw), config.validate(without)
    keys = {"dataset": "chains", "model": "tiny"}
    for arm in set(raw["runs"]["arms"]) - {"base"}:
        reflects = raw["arms"][arm]["trained_on"] == "reflection"
        stages = ("expose", "reflect", "check_reflections") if reflects else ()
        for stage in (*stages, "select", "pack"):
            found = config.params(loaded, stage, **keys, arm=arm)
            assert found == config.params(other, stage, **keys, arm=arm)
        # keys of the new kinds are left out where they say nothing
        selected = json.loads(config.params(loaded, "select", **keys, arm=arm))
        assert not {"match", "errors_per_prompt"} & selected.keys()
        if reflects:
            exposed = json.loads(config.params(loaded, "expose", **keys, arm=arm))
            assert exposed.keys() == {"error_source", "max_errors", "selection"}
