"""The prompt set of a configuration: whom a change reaches, and the new keys of sampling."""

import copy
import json
from pathlib import Path

import pytest

from orion import config
from orion.errors import InputError
from tests.helpers.configurations import read_one_student

KEYS = {
    "dataset": "chains",
    "model": "tiny",
    "arm": "orion",
    "seed": "1",
    "benchmark": "chains-hard",
}
STAGES = {
    "sample": ["dataset", "model"],
    "evaluate_sample": list(KEYS),
    **{
        stage: ["dataset", "model", "arm"]
        for stage in ("reflect", "check_reflections", "select", "pack")
    },
    "check": ["dataset", "model"],
    "train": ["dataset", "model", "arm", "seed"],
}
SOLVING = {"sample", "evaluate_sample"}


@pytest.fixture
def raw(root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.jinja").write_text('{% extends "chat" %}')
    default = read_one_student(root)
    return {**default, "prompts": "mine.jinja"}


def stage_params(raw, arm="orion") -> dict[str, str]:
    loaded = config.validate(raw)
    wildcards = {**KEYS, "arm": arm}
    return {
        stage: config.params(loaded, stage, **{name: wildcards[name] for name in names})
        for stage, names in STAGES.items()
    }


def find_reached(raw, block, text, arm="orion") -> set[str]:
    """The stages whose tracked string changes with a block of the prompt set."""
    before = stage_params(raw, arm)
    Path("mine.jinja").write_text(
        f'{{% extends "chat" %}}{{% block {block} %}}{text}{{% endblock %}}', encoding="utf-8"
    )
    after = stage_params(raw, arm)
    return {stage for stage in STAGES if before[stage] != after[stage]}


REFLECT = (
    "{{ problem }}{% if teacher is not none %}{{ teacher }}{% endif %}"
    "{% for error in errors %}{{ error }}{% endfor %}"
)
EXAMPLE = "- {problem: a, solution: b}"


@pytest.mark.parametrize(
    ("block", "text", "stages"),
    [
        ("solve", "{{ problem }} Go.", {*SOLVING, "select"}),
        ("system", "Be careful.", {*SOLVING, "reflect", "pack"}),
        ("examples", EXAMPLE, {*SOLVING, "pack"}),
        ("reflect", REFLECT, {"reflect"}),
        ("reflect_examples", "- {problem: a, teacher: t, reflection: b}", {"reflect"}),
        ("prefill", "### Refined solution", {"reflect"}),
        ("marker", "## Better", {"check_reflections", "select"}),
        ("leak", "hint", {"select"}),
        # only an arm that is trained on solutions states answers
        ("answer", "{{ answer }}", set()),
    ],
)
def test_a_block_reaches_the_stages_that_read_it(raw, block, text, stages):
    assert find_reached(raw, block, text) == stages


def test_other_arms_read_other_blocks(raw):
    assert find_reached(raw, "answer", "{{ answer }}", "sft_answer") == {"select"}
    assert find_reached(raw, "marker", "## Better", "sft_own") & {"select", "pack"} == set()


def test_the_place_of_a_file_reaches_nobody(raw):
    Path("prompts").mkdir()
    Path("prompts/other.j2").write_text('{# moved #}\n{% extends "chat" %}\n')
    assert stage_params({**raw, "prompts": "prompts/other.j2"}) == stage_params(raw)
    assert stage_params({**raw, "prompts": "chat"}) == stage_params(raw)


def test_a_bad_prompt_file_stops_the_configuration(raw):
    Path("mine.jinja").write_text('{% extends "chat" %}{% block solve %}hello{% endblock %}')
    message = r"prompts: .*mine\.jinja: block solve: it does not show problem; use {{ problem }}"
    with pytest.raises(InputError, match=message):
        config.validate(raw)


SAMPLING = {
    "top_k": 40,
    "min_p": 0.05,
    "presence_penalty": -0.5,
    "frequency_penalty": 0.3,
    "stop": ["Problem:", "\n\n\n"],
}


def test_the_keys_of_sampling_reach_the_stage_and_nothing_where_they_are_unset(raw):
    plain = json.loads(stage_params(raw)["sample"])["generation"]
    assert not set(SAMPLING) & set(plain)
    changed = copy.deepcopy(raw)
    changed["sample"] |= SAMPLING
    found = json.loads(stage_params(changed)["sample"])["generation"]
    assert found == {**plain, **SAMPLING}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"top_k": 0}, r"sample\.top_k: .*greater than or equal to 1"),
        ({"min_p": 1.5}, r"sample\.min_p: .*less than or equal to 1"),
        ({"frequency_penalty": 3.0}, r"sample\.frequency_penalty: .*less than or equal to 2"),
        ({"stop": [""]}, r"sample\.stop\.0: .*at least 1 character"),
        ({"stop": list("abcde")}, r"sample\.stop: .*at most 4 items"),
        (
            {"temperature": 0.0, "top_k": 5},
            r"sample: .*top_k cannot apply at temperature 0.*remove it or raise the temperature",
        ),
    ],
)
def test_keys_of_sampling_that_cannot_apply_are_refused(raw, changes, message):
    raw["sample"] |= changes
    with pytest.raises(InputError, match=message):
        config.validate(raw)


def test_numbers_that_came_as_text_are_named_as_such(raw):
    raw["sample"]["num_samples"] = "12"
    message = (
        r"sample\.num_samples: .*integer, not the text '12': write a number without quotes, in a "
        r"file for --configfile, since all values after --config arrive as text"
    )
    with pytest.raises(InputError, match=message):
        config.validate(raw)


def test_a_file_without_the_defaults_says_what_is_missing_and_where_they_are(raw):
    with pytest.raises(InputError) as caught:
        config.validate({"prompts": "chat", "runs": raw["runs"]})
    text = str(caught.value)
    assert "comparisons, models, arms, sample" in text
    assert text.count("orion config check config/config.yaml mine.yaml") == 1
    assert "Field required" not in text
