"""Draws of data and groups of students: what a draw changes, and what is refused."""

import json

import pytest

from orion import config
from orion.config.draws import STRIDE
from orion.errors import InputError
from tests.helpers.configurations import read_one_student

KEYS = {"dataset": "chains", "arm": "orion", "seed": "1", "benchmark": "chains-test"}
STAGES = {
    "sample": ("dataset",),
    "reflect": ("dataset", "arm"),
    "train": ("dataset", "arm", "seed"),
    "evaluate_sample": ("dataset", "arm", "seed", "benchmark"),
}


@pytest.fixture
def raw(root):
    """The embedded default with two students of two draws each."""
    found = read_one_student(root)
    found["models"] = {
        "one": {"source": {"kind": "demo", "seed": 1}, "dtype": "float32"},
        "one-b": {"source": {"kind": "model", "model": "one"}, "draw": 1},
        "two": {"source": {"kind": "demo", "seed": 2}, "dtype": "float32"},
        "two-b": {"source": {"kind": "demo", "seed": 2}, "dtype": "float32", "draw": 3},
    }
    found["runs"]["models"] = [*found["models"]]
    found["runs"]["students"] = {"pair": [["one", "one-b"], ["two", "two-b"]]}
    found["comparisons"] = [{"arm": "orion", "against": "base", "group": "pair"}]
    return found


def read_keys(raw, model: str) -> dict[str, dict]:
    valid = config.validate(raw)
    return {
        stage: config.stage_config(valid, stage, model=model, **{n: KEYS[n] for n in names})
        for stage, names in STAGES.items()
    }


def read_seed(keys: dict) -> int:
    return keys["generation"]["seed"] if "generation" in keys else keys["seed"]


def test_a_draw_moves_every_seed_and_nothing_else(raw):
    first, second = read_keys(raw, "one"), read_keys(raw, "one-b")
    for stage, keys in first.items():
        assert read_seed(second[stage]) == read_seed(keys) + STRIDE
        moved = json.loads(json.dumps(second[stage]))
        moved.get("generation", moved)["seed"] -= STRIDE
        assert moved == keys
    valid = config.validate(raw)
    params = {config.params(valid, "model", model=name) for name in ("one", "one-b")}
    assert len(params) == 1


def test_no_draw_meets_the_seeds_of_another(raw):
    raw["runs"]["seeds"] = [1, 2, 3]
    valid = config.validate(raw)
    for stage in ("train", "evaluate_sample"):
        wildcards = {name: KEYS[name] for name in STAGES[stage]}
        seeds = {
            read_seed(config.stage_config(valid, stage, model=model, **wildcards | {"seed": seed}))
            for model in ("one", "one-b")
            for seed in ("1", "2", "3")
        }
        assert len(seeds) == 6
    raw["runs"]["seeds"] = [1, STRIDE + 1]
    with pytest.raises(InputError, match=r"runs\.seeds: 10001 must be below 10000"):
        config.validate(raw)


def test_without_draws_and_groups_no_tracked_key_is_there(root):
    plain = read_one_student(root)
    valid = config.validate(plain)
    wildcards = {"dataset": "chains", "model": "tiny", "arm": "orion", "seed": "1"}
    stages = {"plan": (), "model": ("model",), "sample": ("dataset", "model"), "train": wildcards}
    for stage, names in stages.items():
        text = config.params(valid, stage, **{name: wildcards[name] for name in names})
        assert not any(f'"{key}"' in text for key in ("draw", "group", "students"))


def test_the_same_model_is_made_once_and_has_the_keys_of_the_other(raw):
    raw["models"]["one"]["prompt_date"] = "2024-05-01"
    raw["models"]["third"] = {"source": {"kind": "model", "model": "one-b"}, "draw": 7}
    valid = config.validate(raw)
    assert [valid.origin(name) for name in ("one", "one-b", "third", "two-b")] == [
        "one",
        "one",
        "one",
        "two-b",
    ]
    assert valid.models["third"].source == valid.models["one"].source
    assert valid.models["third"].prompt_date == "2024-05-01"
    assert valid.models["third"].dtype == "float32"
    # the draw is its own
    assert [valid.models[name].draw for name in ("one", "one-b", "third")] == [0, 1, 7]


def test_a_draw_of_a_warmed_up_student_waits_for_its_warm_up(raw):
    source = {"kind": "arm", "dataset": "chains", "model": "one", "arm": "sft_own", "seed": 4}
    raw["models"]["warm"] = {"source": source}
    raw["models"]["warm-b"] = {"source": {"kind": "model", "model": "warm"}, "draw": 1}
    raw["runs"] |= {"models": ["warm", "warm-b"], "students": {"pair": [["warm", "warm-b"]]}}
    valid = config.validate(raw)
    assert valid.models["warm-b"].source == valid.models["warm"].source
    assert [run.model for run in config.list_source_runs(valid)] == ["one"]


@pytest.mark.parametrize(
    ("name", "source", "message"),
    [
        ("one-b", "nobody", r"models\.one-b\.source\.model: nobody is not defined"),
        ("one-b", "one-b", r"models\.one-b\.source: .* from itself \(one-b from one-b\)"),
    ],
)
def test_a_source_that_cannot_be_is_named(raw, name, source, message):
    raw["models"][name]["source"]["model"] = source
    with pytest.raises(InputError, match=message):
        config.validate(raw)


def change_students(students, **models):
    def change(raw):
        raw["runs"]["students"] = students
        for name, keys in models.items():
            raw["models"][name.replace("_", "-")] |= keys

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (change_students({"pair": ["one", "three"]}), r"students\.pair names three, which no run"),
        (
            change_students({"pair": ["one", "two"], "more": ["two-b", "one"]}),
            r"one is named 2 times \(in pair, more\)",
        ),
        (change_students({"pair": [["one", "one"], "two"]}), r"one is named 2 times \(in pair\)"),
        (
            change_students({"pair": [["one", "two-b"]]}),
            r"students\.pair: two-b is no draw of one, since they differ in source",
        ),
        (
            change_students({"pair": [["one", "one-b"], "two"]}, one_b={"dtype": "bfloat16"}),
            r"one-b is no draw of one, since they differ in dtype",
        ),
        (
            change_students({"pair": [["one", "one-b"], "two"]}, one_b={"draw": 0}),
            r"one and one-b are the same draw",
        ),
        (
            change_students({"pair": ["one", "one-b"]}),
            r"one and one-b have the same source and settings, so they are one student",
        ),
        (change_students({"pair": ["one"]}), r"one student with one draw is no group"),
        (change_students({"pair": [[], "one"]}), r"a student without an entry"),
        (
            change_students({"other": ["one", "two"]}),
            r"comparisons\.0 names the unknown group pair; define it under runs\.students",
        ),
    ],
)
def test_a_group_that_cannot_be_is_refused_before_anything_runs(raw, change, message):
    change(raw)
    with pytest.raises(InputError, match=message):
        config.validate(raw)


def test_a_comparison_may_need_more_students_than_its_group_has(raw):
    raw["comparisons"][0]["students"] = 2
    config.validate(raw)
    raw["comparisons"][0]["students"] = 3
    with pytest.raises(InputError, match=r"needs 3 students, and runs\.students\.pair has 2"):
        config.validate(raw)


def test_the_group_is_part_of_the_plan(raw):
    plan = config.stage_config(config.validate(raw), "plan")
    assert plan["students"] == {"pair": [["one", "one-b"], ["two", "two-b"]]}
    assert plan["comparisons"][0]["group"] == "pair" and "or group" in plan["family"]


def test_a_group_that_is_null_is_none(raw):
    """A file that is merged over the default cannot remove a key, but set it to null."""
    raw["runs"]["students"]["trio"] = None
    assert [*config.validate(raw).runs.students] == ["pair"]
    raw["runs"]["students"] = {"pair": None}
    raw["comparisons"] = []
    assert config.validate(raw).runs.students is None
    raw["runs"]["students"] = {"other": ["one", "three"]}
    with pytest.raises(
        InputError, match=r"names three, which no run has; .*students\.other to null"
    ):
        config.validate(raw)
