"""The arms of config/arms.yaml, and what is refused of their keys before any job."""

import copy

import pytest
import yaml

from orion import config
from orion.errors import InputError
from tests.helpers.configurations import read_one_student

KEYS = {"dataset": "chains", "model": "tiny"}


def read(root, name):
    return yaml.safe_load((root / "config" / name).read_text())


@pytest.fixture
def raw(root):
    """One student with all arms of arms.yaml in its run, and the prompt set chat."""
    found = read_one_student(root)
    more = read(root, "arms.yaml")["arms"]
    found["arms"] |= more
    found["runs"]["arms"] = ["base", "orion", *more]
    found["models"]["teacher"] = {"source": {"kind": "embedded", "student": "two"}}
    source = {"kind": "arm", "dataset": "chains", "model": "tiny", "arm": "exposure", "seed": 1}
    found["models"]["exposed"] = {"source": source}
    return found | {"prompts": "chat", "comparisons": []}


def test_the_arms_are_added_to_the_default_without_changing_it(root):
    before = config.load(str(root / "config/config.yaml"))
    after = config.load(str(root / "config/config.yaml"), str(root / "config/arms.yaml"))
    assert set(before.arms) < set(after.arms)
    assert config.params(after, "report") == config.params(before, "report")
    assert config.params(after, "plan") == config.params(before, "plan")


def test_all_of_them_are_valid_with_the_set_chat(raw):
    loaded = config.validate(raw)
    sampled = ("own_correct", "own_sample", "error_pairs", "reflection", "oracle")
    assert [name for name in loaded.arms if config.needs_samples(loaded, name)] == [
        name for name in loaded.arms if loaded.arms[name].trained_on in sampled
    ]
    assert loaded.arms["mix_long"].needs_traces and not loaded.arms["answer_hint"].needs_traces


# the keys of before, and of these a job has no other one unless its arm sets it
LATER = {
    "expose": ("seed", "show", "prompts"),
    "reflect": ("task", "writer", "model"),
    "select": ("prefer", "mix", "self_correction", "pairs"),
    "pack": ("prefix_tokens", "prefix_share", "pairs", "key_steps"),
    "train": ("loss", "dpo_beta", "dpo_nll_weight", "key_step_weight"),
}


def test_keys_at_their_defaults_are_left_out(raw):
    loaded = config.validate(raw)
    for stage, later in LATER.items():
        wildcards = {**KEYS, "arm": "orion", **({"seed": "1"} if stage == "train" else {})}
        found = config.params(loaded, stage, **wildcards)
        assert not [key for key in later if f'"{key}":' in found and key != "prompts"]
    assert '"prompts"' not in config.params(loaded, "expose", **KEYS, arm="orion")
    raw["expose"] |= {"show": "whole", "seed": None}
    raw["select"] |= {"prefer": "first"}
    raw["pack"] |= {"prefix_tokens": None, "prefix_share": None}
    raw["train"] |= {"loss": "cross_entropy", "dpo_beta": None, "dpo_nll_weight": None}
    raw["arms"]["orion"] |= {"task": "refine", "mix": None, "self_correction": None}
    raw["arms"]["orion"]["pairs"] = None
    same = config.validate(raw)
    for stage in LATER:
        wildcards = {**KEYS, "arm": "orion", **({"seed": "1"} if stage == "train" else {})}
        assert config.params(same, stage, **wildcards) == config.params(loaded, stage, **wildcards)


def find(raw, stage, arm, **more):
    return config.stage_config(config.validate(raw), stage, **KEYS, arm=arm, **more)


def test_each_key_reaches_its_stage(raw):
    assert find(raw, "expose", "orion_majority")["selection"] == "majority_wrong"
    assert find(raw, "expose", "orion_random")["seed"] == 1
    assert find(raw, "expose", "orion_cut")["show"] == "to_false_step"
    answer = find(raw, "expose", "orion_answer_only")
    assert answer["show"] == "answer" and set(answer["prompts"]) == {"answer"}
    hint = find(raw, "reflect", "answer_hint")
    assert set(hint["prompts"]) == {"reflect_answer"} and hint["task"] is None
    short = find(raw, "reflect", "long2short")
    assert set(short["prompts"]) == {"shorten"} and short["task"] == "shorten"
    assert find(raw, "select", "long2short")["filters"][-1] == "not_shorter"
    for arm, task in (("super_correct", "review"), ("long2short_teacher", "shorten")):
        written = find(raw, "reflect", arm)
        assert written["writer"] == "teacher" and written["task"] == task
        assert set(written["prompts"]) == {task}
    assert find(raw, "select", "long2short_teacher") == find(raw, "select", "long2short")
    assert find(raw, "select", "orion_shortest")["prefer"] == "shortest"
    assert find(raw, "select", "mix_long")["mix"] == {"teacher_share": 0.2, "seed": 0}
    lemma = find(raw, "select", "lemma")
    assert lemma["self_correction"]["attempt"] == "to_false_step"
    assert set(lemma["prompts"]) == {"solve", "marker", "leak", "self_correction"}
    assert "self_correction" not in find(raw, "select", "orion")["prompts"]
    # the same prompts as those of orion, so that its reflections come from the store
    assert find(raw, "reflect", "lemma") == find(raw, "reflect", "orion")
    assert find(raw, "pack", "upft")["prefix_tokens"] == 8
    assert find(raw, "pack", "p_align")["prefix_share"] == 0.25
    assert find(raw, "train", "sft_teacher_dft", seed="1")["loss"] == "dft"
    assert find(raw, "train", "orion_correctness", seed="1")["loss"] == "correctness"
    assert find(raw, "train", "orion_key_steps", seed="1")["key_step_weight"] == 2.0
    # another weight packs nothing anew
    assert find(raw, "pack", "orion_key_steps")["key_steps"] is True
    trained = find(raw, "train", "exposure", seed="1")
    assert (trained["loss"], trained["dpo_beta"], trained["dpo_nll_weight"]) == ("dpo", 0.1, 1.0)
    assert find(raw, "select", "exposure")["pairs"] == {"rejected": "student_correct"}
    assert find(raw, "pack", "exposure")["pairs"] and not find(raw, "pack", "orion")["pairs"]
    loaded = config.validate(raw)
    reading = [name for name in loaded.arms if config.reads_steps(loaded, name)]
    assert reading == ["orion_sham", "orion_cut"]


def test_another_draw_has_another_random_order(raw):
    raw["models"]["again"] = {"source": {"kind": "model", "model": "tiny"}, "draw": 1}
    raw["runs"]["models"] = ["tiny", "again"]
    # its errors are those of one student
    raw["runs"]["arms"].remove("orion_euler")
    loaded = config.validate(raw)
    found = [
        config.stage_config(loaded, "expose", dataset="chains", model=name, arm="orion_random")
        for name in ("tiny", "again")
    ]
    assert [each["seed"] for each in found] == [1, 10_001]


def test_what_no_prompt_shows_reruns_nothing(raw):
    # it cannot be shown a part of an attempt
    raw["runs"]["arms"].remove("orion_key_steps")
    del raw["arms"]["orion_key_steps"]
    before = config.validate(copy.deepcopy(raw))
    raw["expose"]["show"] = "to_false_step"
    after = config.validate(raw)
    for arm, is_same in (("sft_rewrite", True), ("oracle", True), ("orion", False)):
        found = [config.params(each, "expose", **KEYS, arm=arm) for each in (before, after)]
        assert (found[0] == found[1]) == is_same
        assert config.reads_steps(after, arm) != is_same


REFLECTING = {"trained_on": "reflection", "error_source": "own"}
PAIRED = {"trained_on": "error_pairs", "train": {"loss": "dpo"}}


@pytest.mark.parametrize(
    ("arm", "message"),
    [
        (
            {"trained_on": "solution", "select": {"prefer": "shortest"}},
            r"arms\.x\.select\.prefer ch",
        ),
        (
            {"trained_on": "teacher_trace", "select": {"prefer": "first"}},
            r"trained_on is teacher_t",
        ),
        (
            {"trained_on": "own_correct", "select": {"prefer": "longest"}},
            r"arms\.x\.select: prefer",
        ),
        (
            {**REFLECTING, "prompt_includes": ["teacher"], "expose": {"show": "answer"}},
            r"arms\.x\.expose\.show: no prompt of this arm shows a wrong attempt",
        ),
        ({"trained_on": "oracle", "expose": {"show": "to_false_step"}}, r"arms\.x\.expose\.show"),
        (
            {"trained_on": "teacher_trace", "train": {"key_step_weight": 2.0}},
            r"arms\.x\.train\.key_step_weight: .* this arm's prompts show none",
        ),
        (
            {
                "trained_on": "reflection",
                "error_source": "sham",
                "prompt_includes": ["errors"],
                "train": {"key_step_weight": 2.0},
            },
            r"arms\.x\.train\.key_step_weight: .* own wrong attempt",
        ),
        (
            {
                **REFLECTING,
                "prompt_includes": ["errors"],
                "expose": {"model": "exposed"},
                "train": {"key_step_weight": 2.0},
            },
            r"arms\.x\.train\.key_step_weight: .* own wrong attempt",
        ),
        (
            {
                **REFLECTING,
                "prompt_includes": ["errors"],
                "expose": {"show": "answer"},
                "train": {"key_step_weight": 2.0},
            },
            r"arms\.x\.train\.key_step_weight: .*expose\.show: answer",
        ),
        (
            {
                **REFLECTING,
                "prompt_includes": ["teacher", "errors"],
                "self_correction": {},
                "train": {"key_step_weight": 2.0},
            },
            r"arms\.x\.train\.key_step_weight: a text of self_correction holds",
        ),
        (
            {"trained_on": "solution", "train": {"key_step_weight": 0}},
            r"arms\.x\.train: key_step_weight",
        ),
        (
            {**REFLECTING, "prompt_includes": ["errors"], "expose": {"seed": 1}},
            r"arms\.x\.expose: .*seed is for selection: random, and selection is distinct",
        ),
        (
            {**REFLECTING, "prompt_includes": ["errors"], "expose": {"selection": "last"}},
            r"arms\.x\.expose: selection",
        ),
        (
            {**REFLECTING, "prompt_includes": ["teacher", "answer"]},
            r"arms\.x: .*the teacher's trace holds the answer",
        ),
        (
            {
                **REFLECTING,
                "prompt_includes": ["answer"],
                "select": {"fallback_no_error": "rewrite"},
            },
            r"arms\.x\.select\.fallback_no_error: rewrite shows the teacher's trace",
        ),
        ({"trained_on": "own_correct", "task": "shorten"}, r"task: shorten is for reflections"),
        ({"trained_on": "error_pairs"}, r"arms\.x: trained_on: error_pairs and train\.loss: dpo"),
        ({"trained_on": "own_correct", "train": {"loss": "dpo"}}, r"has trained_on: own_correct"),
        ({"trained_on": "own_correct", "pairs": {}}, r"pairs is for trained_on: error_pairs"),
        ({"trained_on": "own_correct", "train": {"dpo_beta": 0.1}}, r"dpo_beta is for loss: dpo"),
        (
            {**PAIRED, "select": {"match": {"problems": ["orion"]}}},
            r"match would remove rows and b",
        ),
        (
            {**PAIRED, "pack": {"prefix_tokens": 8}},
            r"wrong with a text may stand behind the prefix",
        ),
        ({**PAIRED, "mix": {"teacher_share": 0.5}}, r"mix adds teacher traces to other rows"),
        (
            {**PAIRED, "train": {"loss": "dpo", "validation_fraction": 0.1}},
            r"arms\.x\.train: .*has no validation loss",
        ),
        (
            {**PAIRED, "train": {"loss": "dpo", "loss_average": "document"}},
            r"arms\.x\.train: .*an average over pairs",
        ),
        (
            {**REFLECTING, "prompt_includes": ["teacher", "errors"], "task": "shorten"},
            r"task: shorten is for reflections on the trace alone",
        ),
        ({"trained_on": "nothing", "pack": {"prefix_tokens": 8}}, r"arms\.x\.pack\.prefix_tokens"),
        (
            {"trained_on": "own_sample", "pack": {"prefix_tokens": 0}},
            r"arms\.x\.pack: prefix_tokens",
        ),
        (
            {"trained_on": "own_sample", "pack": {"prefix_tokens": 512}},
            r"prefix_tokens = 512 must be below max_length = 512",
        ),
        (
            {"trained_on": "own_sample", "pack": {"prefix_tokens": 8, "prefix_share": 0.5}},
            r"prefix_tokens and prefix_share both cut a text",
        ),
        (
            {"trained_on": "own_sample", "pack": {"prefix_share": 1.0}},
            r"arms\.x\.pack: prefix_share",
        ),
        (
            {"trained_on": "teacher_trace", "mix": {"teacher_share": 0.2}},
            r"mix adds teacher traces",
        ),
        ({"trained_on": "nothing", "mix": {"teacher_share": 0.2}}, r"mix adds teacher traces"),
        ({"trained_on": "own_correct", "mix": {"teacher_share": 1.0}}, r"mix\.teacher_share"),
        ({"trained_on": "own_correct", "mix": {}}, r"mix\.teacher_share"),
        (
            {
                "trained_on": "own_correct",
                "mix": {"teacher_share": 0.2},
                "select": {"match": {"problems": ["orion"]}},
            },
            r"arms\.x: select\.match would remove rows",
        ),
        (
            {
                **REFLECTING,
                "prompt_includes": ["teacher"],
                "mix": {"teacher_share": 0.2},
                "select": {"fallback_all_filtered": "teacher"},
            },
            r"arms\.x\.select\.fallback_all_filtered: teacher adds traces beyond the share",
        ),
        ({"trained_on": "own_correct", "train": {"loss": "focal"}}, r"arms\.x\.train: loss"),
        (
            {"trained_on": "own_correct", "self_correction": {}},
            r"arms\.x: .*self_correction opens a refined chain with the wrong attempt",
        ),
        (
            {**REFLECTING, "prompt_includes": ["teacher"], "self_correction": {}},
            r"arms\.x: .*self_correction opens",
        ),
        (
            {
                **REFLECTING,
                "error_source": "sham",
                "prompt_includes": ["errors"],
                "self_correction": {},
            },
            r"arms\.x: .*error_source: own",
        ),
        (
            {
                **REFLECTING,
                "prompt_includes": ["errors"],
                "self_correction": {"attempt": "whole", "no_false_step": "drop"},
            },
            r"arms\.x\.self_correction: .*no_false_step is for attempt: to_false_step",
        ),
        (
            {
                **REFLECTING,
                "prompt_includes": ["errors"],
                "self_correction": {},
                "pack": {"prefix_tokens": 8},
            },
            r"arms\.x\.pack\.prefix_tokens: .*a prefix would teach the error alone",
        ),
    ],
)
def test_a_combination_without_a_meaning_is_refused(raw, arm, message):
    raw["arms"]["x"] = arm
    with pytest.raises(InputError, match=message):
        config.validate(raw)


@pytest.mark.parametrize("arm", ["answer_hint", "long2short"])
def test_the_embedded_student_has_no_such_prompt(raw, arm):
    raw["prompts"] = "demo"
    raw["runs"]["arms"] = ["base", "orion", "upft", "p_align", "mix_long"]
    config.validate(raw)
    raw["runs"]["arms"].append(arm)
    message = rf"arms\.{arm}: the prompt set demo has no block \w+, .*; set prompts: chat|embedded"
    with pytest.raises(InputError, match=message):
        config.validate(raw)


def test_a_set_of_ones_own_may_have_the_prompts(raw, tmp_path):
    path = tmp_path / "mine.jinja"
    raw |= {"prompts": str(path)}
    block = "{% block shorten %}{{ problem }} {{ teacher }} Shorter:{% endblock %}"
    path.write_text('{% extends "demo" %}\n' + block)
    raw["runs"]["arms"] = ["long2short"]
    config.validate(raw)
    raw["runs"]["arms"] = ["answer_hint"]
    with pytest.raises(InputError, match=r"mine\.jinja has no block reflect_answer.*begin the fil"):
        config.validate(raw)


def test_a_text_that_takes_an_error_back_needs_its_words(raw, tmp_path):
    raw["runs"]["arms"] = ["lemma"]
    # the embedded student can learn such texts, since no prompt has them
    config.validate(raw | {"prompts": "demo"})
    path = tmp_path / "mine.jinja"
    path.write_text('{% extends "chat" %}\n{% block self_correction %}{% endblock %}')
    with pytest.raises(InputError, match=r"arms\.lemma\.self_correction: the prompt set .*add it"):
        config.validate(raw | {"prompts": str(path)})


def test_an_arm_with_traces_among_its_rows_needs_a_dataset_with_traces(raw):
    raw["runs"]["arms"] = ["upft", "answer_hint"]
    raw["datasets"]["chains"]["fields"]["teacher_trace"] = None
    config.check_traces(config.validate(raw))
    raw["runs"]["arms"].append("mix_long")
    with pytest.raises(InputError, match=r"which the arms mix_long of runs\.arms need"):
        config.check_traces(config.validate(raw))
