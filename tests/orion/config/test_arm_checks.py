"""Arms are checked against the datasets that they are trained on, before any job."""

import pytest
import yaml

from orion import config
from orion.errors import InputError

FILE_SOURCE = {"kind": "jsonl", "path": "mine.jsonl"}


@pytest.fixture
def raw(root):
    return yaml.safe_load((root / "config/config.yaml").read_text())


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
