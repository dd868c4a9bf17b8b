"""Token limits of the stages against the contexts of the models, before any work."""

import copy
import json

import pytest

from orion import config
from orion.errors import InputError
from tests.helpers.configurations import read_one_student


@pytest.fixture
def raw(root):
    """The embedded default with one arm that reflects and a teacher that is sampled."""
    found = read_one_student(root)
    found["runs"]["arms"] = ["base", "sft_own", "orion"]
    found["comparisons"] = []
    dataset = found["datasets"]["chains"]
    dataset["teacher"] = "big"
    dataset["fields"]["teacher_trace"] = None
    found["models"]["big"] = {"source": {"kind": "demo"}, "context_length": 512}
    found["teacher"] = {"num_samples": 1, "temperature": 0, "max_tokens": 300}
    return found


def write_checkpoint(folder, settings) -> dict:
    """A model whose context only the config.json of its folder names."""
    (folder / "config.json").write_text(json.dumps(settings))
    return {"source": {"kind": "path", "path": str(folder)}, "dtype": "float32"}


def test_the_limits_are_those_of_the_stages_that_read_the_model(raw):
    limits = {"sample.max_tokens": 128, "pack.max_length": 512, "reflect.max_tokens": 192}
    limits |= {"evaluate.max_tokens": 256}
    assert config.list_token_limits(config.validate(raw), "tiny") == limits
    assert config.list_token_limits(config.validate(raw), "big") == {"teacher.max_tokens": 300}
    raw["arms"]["orion"] |= {"reflect": {"max_tokens": 99}, "pack": {"max_length": 300}}
    limits |= {"arms.orion.pack.max_length": 300, "arms.orion.reflect.max_tokens": 99}
    del limits["reflect.max_tokens"]
    assert config.list_token_limits(config.validate(raw), "tiny") == limits
    raw["benchmarks"]["chains-hard"]["evaluate"] = {"num_samples": 9, "max_tokens": 77}
    limits["benchmarks.chains-hard.evaluate.max_tokens"] = 77
    assert config.list_token_limits(config.validate(raw), "tiny") == limits
    raw["benchmarks"]["chains-hard"]["evaluate"] = {"num_samples": 9}
    raw["runs"]["arms"] = ["base"]
    limits = {"sample.max_tokens": 128, "evaluate.max_tokens": 256}
    assert config.list_token_limits(config.validate(raw), "tiny") == limits


@pytest.mark.parametrize(
    ("model", "context", "message"),
    [
        # the longest completion has 256 tokens, a packed sequence 512
        ("tiny", 512, None),
        ("tiny", 511, r"of 511 tokens: pack\.max_length = 512 is longer; lower it"),
        ("tiny", 192, r"reflect\.max_tokens = 192 leaves no room for a prompt, evaluate\.max_tok"),
        ("tiny", 300, r"benchmarks\.chains-test\.evaluate\.max_tokens = 300 leaves no room"),
        ("big", 301, None),
        ("big", 300, r"of 300 tokens: teacher\.max_tokens = 300 leaves"),
    ],
)
@pytest.mark.parametrize("known", ["configured", "config.json", "config.json's text_config"])
def test_a_limit_beyond_the_context_is_refused_at_once(
    raw, tmp_path, model, context, message, known
):
    if "benchmarks" in (message or ""):
        raw["benchmarks"]["chains-test"]["evaluate"] = {"max_tokens": 300}
    if known == "configured":
        raw["models"][model]["context_length"] = context
    else:
        settings = {"max_position_embeddings": context}
        nested = {"text_config": settings, "model_type": "seen"}
        settings = nested if known.endswith("text_config") else settings
        raw["models"][model] = write_checkpoint(tmp_path, settings)
    if message is None:
        config.validate(raw)
    else:
        with pytest.raises(InputError, match=rf"mine is not valid: models\.{model} .*{message}"):
            config.validate(raw, "mine")


@pytest.mark.parametrize("settings", [None, {}, [], {"max_position_embeddings": "long"}])
def test_a_context_that_is_not_known_yet_is_left_to_the_rule_that_registers(
    raw, tmp_path, settings
):
    raw["models"]["tiny"] = write_checkpoint(tmp_path, settings)
    config.validate(raw)
    (tmp_path / "config.json").unlink()
    config.validate(raw)


def test_a_model_that_no_stage_reads_is_not_looked_at(raw):
    raw["models"]["spare"] = {**copy.deepcopy(raw["models"]["big"]), "context_length": 1}
    config.validate(raw)
