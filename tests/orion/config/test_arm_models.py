"""Models of the kind arm: what a source may name, what is inherited, what the run then trains."""

import json

import pytest

from orion import config
from orion.config.uses import is_trained, list_lora
from orion.errors import InputError
from tests.helpers.configurations import read_one_student

WARM = {"kind": "arm", "dataset": "drills", "model": "tiny", "arm": "sft_answer", "seed": 7}


@pytest.fixture
def raw(root):
    """The embedded default, whose student is warmed up on a dataset without traces."""
    found = read_one_student(root)
    drills = {
        "source": {"kind": "demo", "level": "easy", "n": 30, "seed": 14},
        "fields": {"problem_id": "id", "solution": "solution"},
    }
    found["datasets"]["drills"] = drills
    found["models"]["warm"] = {"source": dict(WARM)}
    found["runs"]["models"] = ["warm"]
    return found


def named(raw, **keys):
    raw["models"]["warm"]["source"].update(keys)
    return raw


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"dataset": "nowhere"}, r"models\.warm\.source\.dataset: nowhere is not defined"),
        ({"model": "nobody"}, r"models\.warm\.source\.model: nobody is not defined under models"),
        ({"arm": "sft_none"}, r"models\.warm\.source\.arm: sft_none is not defined under arms"),
        ({"arm": "base"}, r"source\.arm: base is trained on nothing .* models\.tiny itself"),
        ({"arm": "sft_teacher"}, r"source\.arm: sft_teacher needs teacher traces, and datasets"),
        ({"arm": "orion"}, r"source\.arm: orion needs teacher traces, and datasets\.drills has"),
        ({"model": "warm"}, r"models\.warm\.source: .* from itself \(warm from warm\)"),
        ({"seed": -1}, r"models\.warm\.source\.arm\.seed: "),
        ({"path": "x"}, r"models\.warm\.source\.arm\.path: unknown key"),
    ],
)
def test_a_source_that_cannot_be_is_named(raw, keys, message):
    with pytest.raises(InputError, match=message):
        config.validate(named(raw, **keys))


def test_models_that_come_from_each_other_are_refused(raw):
    raw["models"]["second"] = {"source": {**WARM, "model": "warm"}}
    named(raw, model="second")
    with pytest.raises(InputError, match=r"\(warm from second from warm\)"):
        config.validate(raw)


def test_a_teacher_that_is_trained_on_what_it_teaches_is_refused(raw):
    raw["datasets"]["drills"]["teacher"] = "warm"
    raw["teacher"] = {"num_samples": 2, "temperature": 0.6, "max_tokens": 60}
    raw["runs"]["models"] = ["tiny"]
    with pytest.raises(InputError, match=r"models\.warm\.source: .* from itself"):
        config.validate(raw)


def test_a_student_that_teaches_its_own_dataset_is_refused(raw):
    raw["datasets"]["drills"]["teacher"] = "tiny"
    raw["teacher"] = {"num_samples": 2, "temperature": 0.6, "max_tokens": 60}
    with pytest.raises(InputError, match=r"source\.model: tiny is the teacher of datasets\.drills"):
        config.validate(raw)


def test_a_served_model_has_no_checkpoint_of_an_arm(raw):
    raw["models"]["api"] = {
        "source": {"kind": "server", "model": "org/big"},
        "context_length": 4096,
        "server": {"base_url": "http://localhost:1/v1"},
    }
    with pytest.raises(InputError, match=r"source\.model: api is only served"):
        config.validate(named(raw, model="api"))


def test_keys_come_from_the_trained_model_unless_they_are_given(raw):
    raw["models"]["tiny"].update(prompt_date="2024-05-01", context_length=600)
    raw["models"]["warm"]["context_length"] = 550
    raw["models"]["second"] = {"source": {**WARM, "model": "warm", "arm": "sft_own"}}
    found = config.validate(raw).models
    assert [found[name].dtype for name in ("tiny", "warm", "second")] == ["float32"] * 3
    assert [found[name].context_length for name in ("warm", "second")] == [550, 550]
    assert found["second"].prompt_date == "2024-05-01"


def test_what_a_source_trains_counts_as_a_use_of_its_model(raw):
    raw["arms"]["sft_answer"]["train"] = {"method": "lora"}
    raw["runs"]["arms"] = ["base"]
    raw["comparisons"] = []
    found = config.validate(raw)
    assert is_trained(found, "tiny") and not is_trained(found, "warm")
    assert list(list_lora(found, "tiny")) == ["train.lora.target_modules"]
    assert list(config.list_token_limits(found, "tiny")) == ["pack.max_length"]
    # the student answers the training problems only for arms that read its answers
    raw["models"]["warm"]["source"]["arm"] = "sft_own"
    limits = config.list_token_limits(config.validate(raw), "tiny")
    assert list(limits) == ["sample.max_tokens", "pack.max_length"]


def test_the_rule_tracks_which_arm_it_is(raw):
    found = config.stage_config(config.validate(raw), "model", model="warm")
    assert found["source"] == WARM and found["dtype"] == "float32"
    other = config.stage_config(config.validate(named(raw, seed=8)), "model", model="warm")
    assert other["source"] != found["source"]


def test_the_report_gets_all_that_the_student_comes_from_and_nothing_else(raw):
    raw["models"]["unused"] = {"source": {"kind": "demo", "seed": 5}}
    raw["datasets"]["unused"] = raw["datasets"]["chains"]
    whole = json.loads(config.stage_config(config.validate(raw), "report")["whole"])
    assert set(whole["models"]) == {"warm", "tiny"}
    assert set(whole["datasets"]) == {"chains", "drills"}
    again = config.validate(whole)
    assert again.models["warm"] == config.validate(raw).models["warm"]
