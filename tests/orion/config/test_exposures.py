"""Arms that expose the errors of another model than the student: `expose.model`."""

import copy

import pytest
import yaml

from orion import config
from orion.errors import InputError
from orion.stages import command, expose
from tests.helpers.configurations import read_one_student

KEYS = {"dataset": "chains", "model": "tiny"}
SOURCE = {"kind": "arm", "dataset": "chains", "model": "tiny", "arm": "exposure", "seed": 4}


@pytest.fixture
def raw(root):
    """One student, and an arm with the errors of the model that its own errors have made."""
    found = read_one_student(root)
    more = yaml.safe_load((root / "config/arms.yaml").read_text())["arms"]
    found["arms"] |= {name: more[name] for name in ("exposure", "orion_euler")}
    found["models"]["exposed"] = {"source": {**SOURCE}}
    found["runs"]["arms"] = ["base", "orion", "orion_euler"]
    return found | {"comparisons": []}


def test_the_samples_are_the_exposure_models_and_all_else_the_students(raw):
    loaded = config.validate(raw)
    assert config.find_exposed(loaded, "orion_euler", "tiny") == "exposed"
    assert config.find_exposed(loaded, "orion", "tiny") == "tiny"
    assert config.list_exposures(loaded) == [("chains", "exposed")]
    keys = config.stage_config(loaded, "expose", **KEYS, arm="orion_euler")
    assert keys["model"] == "exposed" and keys["error_source"] == "own"
    assert command.read_config(expose.ExposeConfig, keys).model == "exposed"
    # an arm of before has the keys of before
    assert '"model"' not in config.params(loaded, "expose", **KEYS, arm="orion")
    for stage in ("reflect", "select", "pack"):
        found = [config.params(loaded, stage, **KEYS, arm=a) for a in ("orion_euler", "orion")]
        assert found[0] == found[1] or stage == "select"
    # drawn by the same keys as the student's samples
    own, other = (
        config.params(loaded, "sample", dataset="chains", model=m) for m in ("tiny", "exposed")
    )
    assert own == other


def test_the_training_behind_it_is_one_of_the_run_whether_or_not_the_arm_is(raw):
    loaded = config.validate(copy.deepcopy(raw))
    [run] = config.list_source_runs(loaded)
    assert (run.arm, run.model, run.seed) == ("exposure", "tiny", 4)
    used = config.list_used(loaded)
    assert used["models"] == ["tiny", "exposed"] and "exposure" in used["arms"]
    assert "sample.max_tokens" in config.list_token_limits(loaded, "exposed")
    raw["runs"]["arms"].remove("orion_euler")
    without = config.validate(raw)
    assert config.list_source_runs(without) == [] and config.list_exposures(without) == []
    assert config.list_used(without)["models"] == ["tiny"]


def test_a_student_of_its_errors_comes_from_all_of_them(raw):
    raw["models"]["second"] = {"source": {**SOURCE, "arm": "orion_euler", "seed": 1}}
    raw["runs"] |= {"models": ["second"], "arms": ["base"]}
    runs = config.list_source_runs(config.validate(copy.deepcopy(raw)))
    assert [(run.arm, run.seed) for run in runs] == [("exposure", 4), ("orion_euler", 1)]
    raw["models"]["exposed"]["source"]["arm"] = "orion_euler"
    with pytest.raises(InputError, match=r"would come from itself \(exposed from exposed\)"):
        config.validate(raw)


def test_it_is_the_exposure_model_of_one_student(raw):
    raw["models"]["other"] = {"source": {"kind": "embedded", "student": "two"}}
    raw["runs"]["models"] = ["tiny", "other"]
    message = r"expose\.model: exposed was trained from tiny, so its errors are none of other"
    with pytest.raises(InputError, match=message):
        config.validate(copy.deepcopy(raw))
    # a model that nobody has trained from a student may stand beside any
    raw["models"]["exposed"] = {"source": {"kind": "embedded", "student": "three"}}
    config.validate(raw)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"expose": {"model": "expose"}}, r"expose\.model: expose is not defined under models"),
        ({"error_source": "sham"}, r"the errors of exposed take the place of the student's own"),
        (
            {"self_correction": {"attempt": "whole"}},
            r"self_correction opens a text with an attempt of the student itself",
        ),
        (
            {"expose": {"model": "exposed", "selection": "most_confident"}},
            r"most_confident goes by the student's own samples",
        ),
        ({"expose": {"model": "served"}}, r"transformers cannot sample models\.served"),
    ],
)
def test_what_does_not_fit_is_refused(raw, change, message):
    raw["models"]["served"] = {
        "source": {"kind": "server", "model": "m"},
        "server": {"base_url": "http://localhost:1/v1"},
        "context_length": 4096,
    }
    raw["arms"]["orion_euler"] |= change
    with pytest.raises(InputError, match=message):
        config.validate(raw)


def test_an_arm_without_errors_has_no_model_for_them(raw):
    raw["arms"]["sft_own"]["expose"] = {"model": "exposed"}
    with pytest.raises(InputError, match=r"arms\.sft_own\.expose\.model: no error is exposed"):
        config.validate(raw)
