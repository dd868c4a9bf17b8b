"""Arms whose texts another model than the student writes: `reflect.model`."""

import copy

import pytest

from orion import config
from orion.errors import InputError
from orion.stages import command, reflect
from tests.helpers.configurations import read_one_student

KEYS = {"dataset": "chains", "model": "tiny"}
BY_TEACHER = {
    "trained_on": "reflection",
    "error_source": "own",
    "prompt_includes": ["errors"],
    "reflect": {"model": "teacher", "max_tokens": 300},
}


@pytest.fixture
def raw(root):
    """One student, and an arm for which another model writes."""
    found = read_one_student(root)
    found["models"]["teacher"] = {
        "source": {"kind": "huggingface", "repo": "a/b", "revision": "0" * 40},
        "enable_thinking": False,
        "context_length": 400,
    }
    found["arms"] |= {"by_teacher": copy.deepcopy(BY_TEACHER)}
    found["runs"]["arms"] = ["base", "orion", "by_teacher"]
    return found | {"prompts": "chat", "comparisons": []}


def test_the_prompt_is_for_another_model_and_the_draw_the_students(raw):
    raw["models"]["again"] = {"source": {"kind": "model", "model": "tiny"}, "draw": 1}
    raw["runs"]["models"] = ["tiny", "again"]
    loaded = config.validate(raw)
    found = config.stage_config(loaded, "reflect", **KEYS, arm="by_teacher")
    assert set(found["prompts"]) == {"review"} and found["task"] == "review"
    assert found["enable_thinking"] is False and found["writer"] == "teacher"
    # what names a completion has no name of an entry
    assert "model" not in found["generation"]
    assert command.read_config(reflect.ReflectConfig, found).generation.max_tokens == 300
    other = config.stage_config(
        loaded, "reflect", dataset="chains", model="again", arm="by_teacher"
    )
    assert other["generation"]["seed"] - found["generation"]["seed"] == 10_000
    own = config.params(loaded, "reflect", **KEYS, arm="orion")
    assert '"writer"' not in own and '"model"' not in own
    assert '"reflect"' in own and '"review"' not in own


def test_the_model_is_used_and_its_context_counts(raw):
    loaded = config.validate(raw)
    assert config.list_used(loaded)["models"] == ["tiny", "teacher"]
    assert config.list_helpers(loaded) == ["teacher"]
    assert config.list_token_limits(loaded, "teacher") == {
        "arms.by_teacher.reflect.max_tokens": 300
    }
    assert "arms.by_teacher.reflect.max_tokens" not in config.list_token_limits(loaded, "tiny")
    raw["runs"]["arms"].remove("by_teacher")
    assert config.list_used(config.validate(raw))["models"] == ["tiny"]


def test_it_may_be_the_checkpoint_of_an_arm_but_not_of_its_own(raw):
    source = {"kind": "arm", "dataset": "chains", "model": "tiny", "arm": "sft_answer", "seed": 3}
    raw["models"]["teacher"] = {"source": source}
    [run] = config.list_source_runs(config.validate(copy.deepcopy(raw)))
    assert (run.arm, run.seed) == ("sft_answer", 3)
    raw["models"]["teacher"] = {"source": {**source, "arm": "by_teacher"}}
    with pytest.raises(InputError, match=r"would come from itself \(teacher from teacher\)"):
        config.validate(raw)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reflect": {"model": "techer"}}, r"reflect\.model: techer is not defined under models"),
        ({"prompt_includes": ["errors", "answer"]}, r"no prompt shows another model both"),
        (
            {"reflect": {"model": "teacher", "engine": "openai"}},
            r"models\.teacher\.server: required, since arms\.by_teacher: reflect\.engine is openai",
        ),
        ({"reflect": {"model": "served"}}, r"transformers cannot sample models\.served"),
    ],
)
def test_a_writer_that_cannot_write_is_refused(raw, change, message):
    raw["models"]["served"] = {
        "source": {"kind": "server", "model": "m"},
        "server": {"base_url": "http://localhost:1/v1"},
        "context_length": 4096,
    }
    raw["arms"]["by_teacher"] |= change
    with pytest.raises(InputError, match=message):
        config.validate(raw)
    # no run has the arm
    raw["runs"]["arms"].remove("by_teacher")
    config.validate(raw)


def test_the_prompt_set_has_to_have_its_words(raw):
    raw["prompts"] = "demo"
    with pytest.raises(InputError, match="demo has no block review, which asks for this arm's"):
        config.validate(raw)
    # a trace with no attempt in view is asked for in the words that the student gets
    raw["arms"]["by_teacher"]["prompt_includes"] = ["teacher"]
    loaded = config.validate(raw)
    found = config.stage_config(loaded, "reflect", **KEYS, arm="by_teacher")
    assert set(found["prompts"]) == {"reflect"} and found["task"] is None
