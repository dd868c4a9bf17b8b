"""`report.judge`: what it asks of a configuration, the pairs that it judges, what it reaches."""

import copy
import json

import pytest

from orion import config
from orion.config.ceiling import list_priced_models
from orion.errors import InputError
from orion.stages import command, judge
from tests.helpers.configurations import read_one_student

JOB = {"dataset": "chains", "model": "tiny", "benchmark": "chains-test"}
PAIR = {"arm": "orion", "against": "base"}


@pytest.fixture
def raw(root):
    """One student and a served judge."""
    found = read_one_student(root)
    found["models"]["big"] = {
        "source": {"kind": "server", "model": "org/big", "revision": "1"},
        "context_length": 4096,
        "server": {"base_url": "http://127.0.0.1:9/v1"},
        "enable_thinking": False,
    }
    found["runs"] |= {"arms": ["base", "sft_own", "orion"], "seeds": [3, 4]}
    found["runs"] |= {"benchmarks": ["chains-test", "chains-hard"]}
    found["comparisons"] = [PAIR]
    found["report"]["judge"] = {"model": "big", "engine": "openai"}
    return found | {"prompts": "chat"}


def test_the_keys_reach_the_stage_and_no_other(raw):
    without = copy.deepcopy(raw)
    del without["report"]["judge"]
    before, after = config.validate(without), config.validate(raw)
    wildcards = {"dataset": "chains", "model": "tiny", "arm": "orion", "seed": "3"}
    wildcards["benchmark"] = "chains-test"
    keys = {
        "plan": [],
        "benchmark": ["benchmark"],
        "model": ["model"],
        "sample": ["dataset", "model"],
        "reflect": ["dataset", "model", "arm"],
        "select": ["dataset", "model", "arm"],
        "train": ["dataset", "model", "arm", "seed"],
        **{key: [*wildcards] for key in ("evaluate_sample", "evaluate_check", "evaluate")},
    }
    for stage, names in keys.items():
        known = {name: wildcards[name] for name in names}
        assert config.params(before, stage, **known) == config.params(after, stage, **known), stage
    found = config.stage_config(after, "judge", **JOB, **PAIR)
    assert set(found["prompts"]) == {"judge"} and found["enable_thinking"] is False
    settings = command.read_config(judge.JudgeConfig, json.loads(json.dumps(found)))
    assert (settings.pairs, settings.writer, settings.generation.num_samples) == (50, "big", 2)
    assert settings.generation.temperature > 0 and settings.generation.engine == "openai"
    # what names a completion has nothing of the draw or of an entry's name
    assert not {"model", "pairs"} & set(found["generation"])


def test_the_judge_is_used_its_context_counts_and_it_is_paid(raw):
    loaded = config.validate(raw)
    assert "big" in config.list_used(loaded)["models"]
    assert config.list_judges(loaded) == ["big"] and list_priced_models(loaded) == ["big"]
    assert config.list_token_limits(loaded, "big") == {"report.judge.max_tokens": 1024}
    assert "report.judge.max_tokens" not in config.list_token_limits(loaded, "tiny")
    raw["models"]["other"] = raw["models"].pop("big")
    raw["report"]["judge"] = None
    loaded = config.validate(raw)
    assert config.list_judges(loaded) == [] and "other" not in config.list_used(loaded)["models"]
    assert config.list_judged(loaded, "tiny") == [] and list_priced_models(loaded) == []


def test_it_may_be_the_checkpoint_of_an_arm(raw):
    source = {"kind": "arm", "dataset": "chains", "model": "tiny", "arm": "sft_answer", "seed": 7}
    raw["models"]["big"] = {"source": source}
    raw["report"]["judge"] = {"model": "big"}
    [run] = config.list_source_runs(config.validate(raw))
    assert (run.arm, run.seed) == ("sft_answer", 7)


def test_each_pair_of_arms_is_judged_once_for_the_students_of_its_test(raw):
    raw["models"]["again"] = {"source": {"kind": "model", "model": "tiny"}, "draw": 1}
    raw["models"]["alone"] = {"source": {"kind": "demo", "seed": 5}, "dtype": "float32"}
    raw["runs"]["models"] = ["tiny", "again", "alone"]
    raw["runs"]["students"] = {"draws": [["tiny", "again"]]}
    raw["comparisons"] = [
        {**PAIR, "benchmarks": ["chains-hard"]},
        {**PAIR, "kind": "equivalence", "margin": "2 points"},
        {"arm": "orion", "against": "sft_own", "benchmarks": ["chains-test"], "group": "draws"},
    ]
    loaded = config.validate(raw)
    everywhere = [("orion", "base", "chains-hard"), ("orion", "base", "chains-test")]
    for model in ("tiny", "again"):
        pairs = config.list_judged(loaded, model)
        assert pairs == [*everywhere, ("orion", "sft_own", "chains-test")]
    assert config.list_judged(loaded, "alone") == everywhere


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"report": {"model": "bgi"}}, r"report\.judge\.model: bgi is not defined under models;"),
        ({"report": {"pairs": 0}}, r"report\.judge\.pairs: .*greater than or equal to 1"),
        ({"report": {"num_samples": 0}}, r"report\.judge\.num_samples: .*greater than"),
        ({"report": {"temperature": 0}}, r"temperature 0 all 2 replies .*set num_samples: 1"),
        ({"report": {"texts": "answers"}}, r"report\.judge\.texts: unknown key"),
        ({"report": {"max_tokens": 4096}}, r"report\.judge\.max_tokens = 4096 leaves no room"),
        ({"report": {"engine": "vllm"}}, r"report\.judge\.engine: vllm cannot sample models\.big"),
        ({"prompts": "demo"}, r'demo has no block judge, .*begin a file .*extends "demo"'),
        ({"comparisons": []}, r"comparisons is empty; add a comparison, or set report\.judge"),
    ],
)
def test_what_cannot_be_asked_is_refused_with_the_cure(raw, change, message):
    raw["report"]["judge"] |= change.pop("report", {})
    with pytest.raises(InputError, match=message):
        config.validate(raw | change)


def test_a_set_that_extends_demo_may_have_the_block(raw, tmp_path):
    path = tmp_path / "mine.jinja"
    block = "{{ problem }} A: {{ first }} B: {{ second }} End with [[A]], [[B]] or [[tie]]."
    path.write_text(f'{{% extends "demo" %}}\n{{% block judge %}}{block}{{% endblock %}}')
    loaded = config.validate(raw | {"prompts": str(path)})
    assert config.stage_config(loaded, "judge", **JOB, **PAIR)["prompts"] == {"judge": block}


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ("{{ problem }} {{ first }} [[A]] [[B]] [[tie]]", "block judge: it does not show second"),
        ("{{ problem }} {{ second }} {{ first }} [[A]] [[B]] [[tie]]", "write {{ first }} first"),
        ("{{ problem }} {{ first }} {{ second }} [[A]] [[B]]", r"does not name \[\[tie\]\]; say"),
        ("{{ problem }} {{ first }} {{ secnd }} [[A]]", "did you mean second"),
    ],
)
def test_a_block_that_no_reply_could_follow_is_refused(raw, tmp_path, block, message):
    path = tmp_path / "mine.jinja"
    path.write_text(f'{{% extends "demo" %}}\n{{% block judge %}}{block}{{% endblock %}}')
    with pytest.raises(InputError, match=message):
        config.validate(raw | {"prompts": str(path)})
