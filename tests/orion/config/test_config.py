"""The configuration: the keys that reach each stage, bad keys and files, ``orion config``."""

import copy
import json
import re

import jsonschema
import pytest
import yaml
from pydantic import ValidationError

from orion import config
from orion.cli.main import main
from orion.config.files import read_mapping
from orion.config.models import merge
from orion.errors import InputError
from orion.experiment.filters import FILTERS
from tests.helpers.configurations import list_one_student_files, read_one_student

KEYS = {
    "dataset": "chains",
    "model": "tiny",
    "arm": "orion",
    "seed": "1",
    "benchmark": "chains-test",
}
WILDCARDS = {
    "dataset": ["dataset"],
    "benchmark": ["benchmark"],
    "student": ["model"],
    "model": ["model"],
    "sample": ["dataset", "model"],
    "check": ["dataset", "model"],
    "check_traces": ["dataset"],
    "lint": ["dataset"],
    **{
        stage: ["dataset", "model", "arm"]
        for stage in ("expose", "reflect", "check_reflections", "select", "pack", "surprise")
    },
    "train": ["dataset", "model", "arm", "seed"],
    **{
        stage: list(KEYS)
        for stage in ("evaluate_sample", "evaluate_check", "evaluate_recheck", "evaluate")
    },
    "plan": [],
    "report": [],
}


@pytest.fixture
def raw(root):
    return read_one_student(root)


def changed_stages(raw, path, value):
    """The stages whose tracked string changes when one key of the configuration does."""
    other = copy.deepcopy(raw)
    block = other
    for key in path[:-1]:
        block = block.setdefault(key, {})
    block[path[-1]] = value
    before, after = config.validate(raw), config.validate(other)
    wanted = {stage: {name: KEYS[name] for name in names} for stage, names in WILDCARDS.items()}
    return {
        s
        for s, w in wanted.items()
        if config.params(before, s, **w) != config.params(after, s, **w)
    } - {"report"}


@pytest.mark.parametrize(
    ("path", "value", "stages"),
    [
        (["sample", "temperature"], 0.5, {"sample"}),
        (["sample", "num_samples"], 16, {"sample"}),
        (["sample", "max_failed_fraction"], 0.2, {"sample"}),
        (
            ["check", "timeout_s"],
            9.0,
            {
                "check",
                "check_traces",
                "check_reflections",
                "evaluate_check",
                "evaluate_recheck",
            },
        ),
        (
            ["datasets", "chains", "policy"],
            "gsm8k",
            {"dataset", "lint", "check", "check_traces", "check_reflections"},
        ),
        (["expose", "max_errors"], 3, {"expose"}),
        (["report", "second_policy"], "strict", {"evaluate_recheck"}),
        (["report", "surprise"], True, set()),
        (["arms", "orion", "reflect"], {"temperature": 0.1}, {"reflect"}),
        (["arms", "orion_placebo", "reflect"], {"temperature": 0.1}, set()),
        (["select", "fallback_no_error"], "rewrite", {"select", "reflect"}),
        (["select", "min_rows"], 20, {"select", "pack"}),
        (["pack", "max_length"], 256, {"pack"}),
        (["train", "learning_rate"], 1.0e-3, {"train"}),
        (["arms", "orion", "train"], {"max_steps": 81}, {"train"}),
        (["train", "validation_fraction"], 0.1, {"pack"}),
        (["evaluate", "num_samples"], 8, {"evaluate_sample", "plan"}),
        (
            ["benchmarks", "chains-test", "evaluate"],
            {"num_samples": 8},
            {"evaluate_sample", "plan"},
        ),
        (["benchmarks", "chains-test", "evaluate"], {"max_tokens": 99}, {"evaluate_sample"}),
        # the same as without it, and another benchmark's
        (["benchmarks", "chains-test", "evaluate"], {"num_samples": 4}, set()),
        (["benchmarks", "chains-hard", "evaluate"], {"num_samples": 8}, {"plan"}),
        (["report", "title"], "Other", set()),
        (["report", "confidence"], 0.9, {"evaluate", "plan"}),
        (["comparisons"], [], {"plan"}),
        (
            ["comparisons"],
            [
                {
                    "arm": "orion",
                    "against": "sft_own",
                    "kind": "equivalence",
                    "margin": "2 points",
                    "expect": "equal",
                }
            ],
            {"plan"},
        ),
        (["models", "tiny", "source", "seed"], 2, {"student", "model"}),
    ],
)
def test_a_key_reaches_exactly_its_stages(raw, path, value, stages):
    assert changed_stages(raw, path, value) == stages


@pytest.mark.parametrize("method", ["full", "lora"])
def test_keys_of_training_at_their_defaults_are_left_out(raw, method):
    """So that they repeat no training of before they existed."""
    names = {name: KEYS[name] for name in WILDCARDS["train"]}
    raw["train"]["method"] = method
    raw["train"] |= {"lora": {"r": 4}}
    before = config.params(config.validate(raw), "train", **names)
    raw["train"] |= {"optimizer": "adamw", "loss_average": "token", "neftune_noise_alpha": None}
    raw["train"] |= {"validation_fraction": None, "validation_steps": None, "keep_best": False}
    raw["train"]["lora"] |= {"use_rslora": False, "use_dora": False}
    assert config.params(config.validate(raw), "train", **names) == before
    later = {"optimizer", "loss_average", "neftune_noise_alpha", "use_rslora", "use_dora"}
    later |= {"validation_fraction", "validation_steps", "keep_best"}
    assert not [key for key in later if f'"{key}"' in before]
    for block, key, value in [
        ("train", "optimizer", "adafactor"),
        ("train", "loss_average", "document"),
        ("train", "neftune_noise_alpha", 5.0),
        ("lora", "use_rslora", True),
        ("lora", "use_dora", True),
    ]:
        other = copy.deepcopy(raw)
        (other["train"] if block == "train" else other["train"]["lora"])[key] = value
        changed = config.params(config.validate(other), "train", **names) != before
        assert changed == (block == "train" or method == "lora")


def test_the_optimisers_of_a_run_are_listed_by_key(raw):
    raw["arms"]["orion"]["train"] = {"optimizer": "adamw_8bit"}
    assert config.list_optimizers(config.validate(raw), "tiny") == {
        "train.optimizer": "adamw",
        "arms.orion.train.optimizer": "adamw_8bit",
    }


def test_swapping_two_equal_typed_values_is_seen(raw):
    # Snakemake compares params as a set of values without names, which would be the same here
    other = copy.deepcopy(raw)
    other["reflect"]["num_samples"], other["reflect"]["errors_per_prompt"] = 2, 1
    swapped = copy.deepcopy(raw)
    swapped["reflect"]["num_samples"], swapped["reflect"]["errors_per_prompt"] = 1, 2
    names = {name: KEYS[name] for name in WILDCARDS["reflect"]}
    assert config.params(config.validate(other), "reflect", **names) != config.params(
        config.validate(swapped), "reflect", **names
    )


def test_the_seed_reaches_training_and_evaluation(raw):
    loaded = config.validate(raw)
    for stage in ("train", "evaluate_sample"):
        names = {name: KEYS[name] for name in WILDCARDS[stage]}
        assert config.params(loaded, stage, **names) != config.params(
            loaded, stage, **{**names, "seed": "2"}
        )


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["sample", "temprature"], 1, r"sample\.temprature: unknown key"),
        (["sample", "num_samples"], "4", r"sample\.num_samples: .*integer"),
        (["sample", "num_samples"], 0, r"sample\.num_samples: .*greater than or equal to 1"),
        (["runs", "arms"], ["orion", "orin"], r"runs\.arms names orin, not defined under arms"),
        (["runs", "seeds"], [1, 1], r"runs\.seeds contains duplicates: 1"),
        (["arms", "a/b"], {"trained_on": "solution"}, r"arms\.a/b: names are letters"),
        (["train", "keep_best"], True, r"train: .*keep_best needs validation_fraction"),
        (["train", "validation_steps"], 5, r"train: .*validation_steps needs validation_fraction"),
        (["arms", "orion", "train"], {"lr": 1.0}, r"arms\.orion\.train: lr: unknown key"),
        (["arms", "orion", "error_source"], None, r"needs error_source"),
        (
            ["select", "filters"],
            ["loops"],
            r"select\.filters\.0: .*unknown filter 'loops'; .*false_step, no_step, leak",
        ),
        (["datasets", "chains", "policy"], "maths", r"policy: .*unknown answer policy; .*strict"),
        (
            ["comparisons"],
            [{"arm": "orion", "against": "nobody"}],
            r"comparisons\.0 names the unknown arm nobody; define it under arms",
        ),
        (
            ["runs", "arms"],
            ["base", "orion"],
            r"comparisons\.0: no run has the arm sft_rewrite; add it to runs\.arms, or drop",
        ),
        (["comparisons"], [{"arm": "orion", "against": "orion"}], r"orion is compared with itself"),
        (
            ["comparisons"],
            [{"arm": "orion", "against": "base"}] * 2,
            r"comparisons\.1: orion against base is listed twice",
        ),
        (
            ["comparisons"],
            [
                {"arm": "orion", "against": "base"},
                {"arm": "orion", "against": "base", "benchmarks": ["chains-hard"]},
            ],
            r"comparisons\.1: orion against base is listed twice for superiority on chains-hard",
        ),
        (
            ["comparisons"],
            [{"arm": "orion", "against": "base", "benchmarks": ["chains-easy"]}],
            r"comparisons\.0\.benchmarks: no run has chains-easy; add it to runs\.benchmarks",
        ),
        (
            ["comparisons"],
            [{"arm": "orion", "against": "base", "kind": "equivalence", "margin": 2}],
            r"comparisons\.0\.margin: .*a margin has a unit .*'2 points' .*, not 2",
        ),
        (
            ["comparisons"],
            [{"arm": "orion", "against": "base", "kind": "non-inferiority"}],
            r"comparisons\.0: .*non-inferiority needs a margin",
        ),
        (
            ["comparisons"],
            [{"arm": "orion", "against": "base", "margin": "2 points"}],
            r"superiority is tested without a margin",
        ),
        (
            ["comparisons"],
            [{"arm": "orion", "against": "base", "expect": "equal"}],
            r"expect: equal cannot be decided by a test of superiority; set kind: equivalence",
        ),
        (
            ["comparisons"],
            [{"arm": "orion", "against": "base", "students": 3}],
            r"comparisons\.0: needs 3 students, and runs\.models has 1",
        ),
        (
            ["models", "tiny", "source"],
            {"kind": "huggingface", "repo": "a/b", "revision": "main"},
            r"revision",
        ),
    ],
)
def test_bad_configuration_names_the_key(raw, path, value, message):
    block = raw
    for key in path[:-1]:
        block = block[key]
    block[path[-1]] = value
    with pytest.raises(InputError, match=message):
        config.validate(raw)


SERVER = {"base_url": "http://localhost:8000/v1", "api_key_env": "KEY"}
SERVED = {
    "source": {"kind": "server", "model": "org/teacher"},
    "context_length": 4096,
    "server": SERVER,
}


def with_served_model(raw, engines=("openai", "openai"), arms=("base",), model=SERVED):
    """The embedded default with another model in its grid, by default a served one."""
    other = copy.deepcopy(raw)
    other["models"]["other"] = copy.deepcopy(model)
    other["runs"] |= {"models": ["other"], "arms": list(arms)}
    other["comparisons"] = []
    for stage, engine in zip(("sample", "evaluate"), engines, strict=True):
        other[stage]["engine"] = engine
    return other


def test_a_served_model_runs_with_untrained_arms(raw):
    validated = config.validate(with_served_model(raw))
    keys = config.stage_config(validated, "model", model="other")
    assert keys["source"] == {"kind": "server", "model": "org/teacher", "revision": None}
    # neither its address nor its API key reruns anything
    assert keys["server"] is None
    # a checkpoint may have a server too and be sampled from it
    checkpoint = {
        "source": {"kind": "path", "path": "x"},
        "server": {**SERVER, "served_model": "student"},
    }
    beside = config.validate(
        with_served_model(raw, ("openai", "vllm"), ("base", "orion"), checkpoint)
    )
    assert config.stage_config(beside, "model", model="other")["server"] == {
        "served_model": "student"
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"arms": ("base", "sft_teacher")},
            r"models\.other\.source: .*cannot be trained, and runs\.arms names sft_teacher",
        ),
        ({"engines": ("vllm", "openai")}, r"sample\.engine: vllm cannot sample models\.other"),
        (
            {"engines": ("openai", "transformers")},
            r"evaluate\.engine: transformers cannot sample models\.other",
        ),
        ({"model": {**SERVED, "server": None}}, r"models\.other.*server: required"),
        ({"model": {**SERVED, "context_length": None}}, r"models\.other.*context_length: required"),
        (
            {"model": {**SERVED, "chat_template": "a.jinja"}},
            r"models\.other.*chat_template: the server decides this",
        ),
        (
            {"model": {**SERVED, "server": {"base_url": "localhost"}}},
            r"models\.other\.server\.base_url",
        ),
        *(
            ({"model": {**SERVED, "server": {"base_url": url}}}, r"models\.other\.server\.base_url")
            for url in (
                "http://sk-1234@host/v1",
                "http://host/v1?key=sk-1234",
                "http://host/v1#a",
                "$HOST/v1?key=sk-1234",
            )
        ),
        *(
            (
                {"model": {**SERVED, "server": {**SERVER, "api_key_env": key}}},
                r"models\.other\.server\.api_key_env",
            )
            for key in ("sk-1234", "sk1234abc")
        ),
        (
            {"model": {**SERVED, "server": {**SERVER, "served_model": "alias"}}},
            r"models\.other: .*served_model: source\.model is the name",
        ),
        (
            {"model": {"source": {"kind": "path", "path": "x"}}},
            r"models\.other\.server: required, since sample\.engine is openai",
        ),
        (
            {
                "model": {"source": {"kind": "path", "path": "x"}, "server": SERVER},
                "arms": ("base", "sft_teacher"),
            },
            r"evaluate\.engine: openai would ask the server of models\.other, which has the "
            r"untrained model",
        ),
    ],
)
def test_an_engine_that_does_not_fit_is_an_error_that_names_the_key(raw, changes, message):
    with pytest.raises(InputError, match=message) as error:
        config.validate(with_served_model(raw, **changes))
    assert "sk-1234" not in str(error.value)


def test_two_served_models_of_one_name_need_revisions(raw):
    other = with_served_model(raw)
    elsewhere = {**SERVER, "base_url": "http://elsewhere/v1"}
    other["models"]["second"] = {**SERVED, "server": elsewhere}
    with pytest.raises(
        InputError,
        match=r"models\.second\.source: org/teacher is models\.other too, .* a `revision`",
    ):
        config.validate(other)
    other["models"]["second"]["source"] = {**SERVED["source"], "revision": "elsewhere"}
    config.validate(other)
    # two entries for one server are fine, such as one with and one without thinking
    other["models"]["second"] = {
        **SERVED,
        "server": {**SERVER, "base_url": f"{SERVER['base_url']}/"},
        "enable_thinking": True,
    }
    config.validate(other)


def test_the_engine_of_an_arm_is_checked(raw):
    other = with_served_model(
        raw,
        ("transformers", "transformers"),
        ("base", "orion"),
        {"source": {"kind": "path", "path": "x"}},
    )
    other["arms"]["orion"]["reflect"] = {"engine": "openai"}
    with pytest.raises(
        InputError,
        match=r"models\.other\.server: required, since arms\.orion: reflect\.engine is openai",
    ):
        config.validate(other)


@pytest.mark.parametrize(
    "name", ["config.yaml", "one-student.yaml", "own.yaml", "paper.yaml", "rounds.yaml"]
)
def test_the_shipped_files_are_valid(root, name):
    # later files are merged over the embedded default, as snakemake does
    files = [root / "config/config.yaml"] + (
        [root / "config" / name] if name != "config.yaml" else []
    )
    loaded = config.load(*files)
    for arm in loaded.runs.arms:
        # every arm is filtered alike, in the order of the list; no_step is not for every dataset,
        # and not_shorter not for every arm
        listed = [name for name in FILTERS if name not in ("no_step", "not_shorter")]
        assert loaded.arm_block("select", arm).filters == listed, arm
        assert not loaded.arm_block("select", arm).drop_false_traces


def test_the_filters_stand_in_the_readme_in_their_order(root):
    [row] = re.findall(r"^\| `filters` \|.*$", (root / "config/README.md").read_text(), re.M)
    listed = [name for name in re.findall(r"`(\w+)`", row) if name in FILTERS]
    assert listed[: len(FILTERS)] == list(FILTERS)


def test_the_schema_on_disk_is_the_models(root):
    on_disk = json.loads((root / "workflow/schemas/config.schema.json").read_text())
    assert on_disk == config.Config.model_json_schema(), (
        "run: orion config schema > workflow/schemas/config.schema.json"
    )


@pytest.mark.parametrize(
    "name", ["one-student", "arms", "own", "study", "paper", "smollm2", "rounds"]
)
def test_every_shipped_file_fits_the_schema_on_disk(root, name):
    """As an editor checks it, with what a file takes away; known sets by their word."""
    schema = json.loads((root / "workflow/schemas/config.schema.json").read_text())
    default, delta = (read_mapping(root / f"config/{file}.yaml") for file in ("config", name))
    jsonschema.validate(json.loads(json.dumps(merge(default, delta), default=str)), schema)


MARK = re.compile(r"#.*\b(known|inferred|chosen)\b")
KEY = re.compile(r"( *)[\w.-]+:")


def test_every_value_of_the_papers_file_says_where_it_comes_from(root):
    """On its line, or on the line of a block that holds it."""
    text = (root / "config/paper.yaml").read_text()
    marks: dict[int, bool] = {}
    unmarked, marked = [], 0
    for line in text.splitlines():
        key = KEY.match(line)
        if key is None:
            continue
        depth = len(key[1])
        marks = {at: mark for at, mark in marks.items() if at < depth}
        marks[depth] = MARK.search(line) is not None
        value = line[key.end() :].partition("#")[0].strip()
        marked += any(marks.values())
        if value and not any(marks.values()):
            unmarked.append(line)
    assert unmarked == [] and marked > 40


def test_every_key_is_explained(root):
    text = (root / "config/README.md").read_text()
    schema = config.Config.model_json_schema()
    names = set(schema["properties"])
    for definition in schema["$defs"].values():
        names |= set(definition.get("properties", ()))
    assert not [name for name in sorted(names) if f"`{name}`" not in text]


# keys that hold a float; YAML 1.1 reads 5e-5 as a text, YAML 1.2 as a number
FLOAT_KEYS = [
    (["train", "learning_rate"], "5e-5", 5.0e-5),
    (["train", "learning_rate"], "1.5E2", 150.0),
    (["train", "learning_rate"], "+.5e+1", 5.0),
    (["train", "betas"], ["9e-1", "9.5e-1"], [0.9, 0.95]),
    (["train", "weight_decay"], "1e-2", 0.01),
    (["train", "lora"], {"dropout": "5e-2"}, {"dropout": 0.05}),
    (["sample", "temperature"], "7e-1", 0.7),
    (["sample", "top_p"], "9e-1", 0.9),
    (["check", "timeout_s"], "1e1", 10.0),
    (["select", "copy_fraction"], "4e-1", 0.4),
    (["report", "confidence"], "9e-1", 0.9),
    (["arms", "orion", "train"], {"learning_rate": "5e-5"}, {"learning_rate": 5.0e-5}),
    (["arms", "orion", "train"], {"betas": ["9e-1", 0.95]}, {"betas": [0.9, 0.95]}),
]


@pytest.mark.parametrize(("path", "text", "number"), FLOAT_KEYS)
def test_an_exponent_without_a_point_is_a_number(raw, path, text, number):
    texts, numbers = copy.deepcopy(raw), copy.deepcopy(raw)
    for block, value in ((texts, text), (numbers, number)):
        for key in path[:-1]:
            block = block[key]
        block[path[-1]] = value
    one, other = config.validate(texts), config.validate(numbers)
    for stage, names in WILDCARDS.items():
        wildcards = {name: KEYS[name] for name in names}
        assert config.params(one, stage, **wildcards) == config.params(other, stage, **wildcards)


def test_every_float_key_reads_an_exponent(raw):
    """Every float of the configuration accepts a text such as 5e-1 as the number."""
    from orion.config import blocks, sources

    def floats(block):
        for name, field in block.model_fields.items():
            if field.annotation is float:
                yield block, name

    found = [
        pair
        for block in (
            sources.Block,
            *sources.Block.__subclasses__(),
            *blocks.Generation.__subclasses__(),
        )
        for pair in floats(block)
    ]
    assert len(found) > 12
    for block, name in found:
        with pytest.raises(ValidationError) as error:
            block.model_validate({name: "5e-1", "no such key": 0})
        assert not any(item["loc"] == (name,) for item in error.value.errors()), (block, name)


def test_yaml_files_may_hold_such_numbers(root, tmp_path):
    delta = tmp_path / "mine.yaml"
    delta.write_text("train: {learning_rate: 5e-5, betas: [9e-1, 9.99e-1]}")
    loaded = config.load(*list_one_student_files(root), delta)
    assert (loaded.train.learning_rate, loaded.train.betas) == (5e-5, [0.9, 0.999])


@pytest.mark.parametrize(
    "text", ["abc", "1_000", "1_0e3", "0.5", "5", "nan", "1e999", " 5e-5", "5e", "0x1e5"]
)
def test_other_texts_are_no_numbers(raw, text):
    raw["train"]["learning_rate"] = text
    with pytest.raises(InputError, match=r"train\.learning_rate: .*valid number"):
        config.validate(raw)
    raw["train"]["learning_rate"] = 1e-3
    raw["arms"]["orion"]["train"] = {"learning_rate": text}
    with pytest.raises(InputError, match=r"arms\.orion\.train: learning_rate: .*valid number"):
        config.validate(raw)


def test_an_integer_is_no_exponent(raw):
    raw["sample"]["num_samples"] = "1e1"
    with pytest.raises(InputError, match=r"sample\.num_samples: .*integer"):
        config.validate(raw)


def test_the_generators_levels_are_the_configurations():
    from typing import get_args

    from orion.config.datasets import DemoProblems
    from orion.demo.problems import LEVELS

    assert set(get_args(DemoProblems.model_fields["level"].annotation)) == set(LEVELS)


def orion_config(capsys, *argv):
    """Exit status, standard output and standard error of ``orion config``."""
    try:
        main(["config", *map(str, argv)])
        status = 0
    except SystemExit as end:
        status = end.code
    return status, *capsys.readouterr()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"mine\.yaml: No such file or directory; name a readable YAML file"),
        ("runs: [", r"mine\.yaml, line 1, column 8: not valid YAML .*; correct the file"),
        ("a: b: c", r"mine\.yaml, line 1, column 5: not valid YAML .*mapping values"),
        ("runs:\n\tseeds: [1]", r"mine\.yaml, line 2, column 1: not valid YAML .*"),
        ("a: 2026-13-45", r"mine\.yaml: not valid YAML .*month"),
        ("a: \x00", r"mine\.yaml: not valid YAML .*special characters"),
        (b"title: \xff\xfe", r"mine\.yaml: not UTF-8 .*; save it as UTF-8"),
        ("- runs", r"mine\.yaml: holds a list where keys and values are expected"),
        ("runs", r"mine\.yaml: holds a text where keys and values are expected"),
        ("3", r"mine\.yaml: holds a single value where keys and values are expected"),
        ("runs: 3", r"mine\.yaml is not valid: runs: .*dictionary"),
        ("1: 3", r"mine\.yaml is not valid: 1: Keys should be strings"),
    ],
)
def test_files_that_are_no_configuration_are_named(root, tmp_path, capsys, content, message):
    path = tmp_path / "mine.yaml"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        path.write_text(content)
    status, out, err = orion_config(capsys, "check", root / "config/config.yaml", path)
    assert (status, out) == (2, "")
    assert re.match(r"error: .*" + message, err) and err.count("\n") == 1, err


def test_a_folder_and_an_absent_default_are_named(tmp_path, monkeypatch, capsys):
    status, _, err = orion_config(capsys, "check", tmp_path)
    assert status == 2 and err.startswith(f"error: {tmp_path}: Is a directory")
    monkeypatch.chdir(tmp_path)
    status, _, err = orion_config(capsys, "check")
    assert status == 2 and err.startswith("error: config/config.yaml: No such file")


def test_an_empty_file_changes_nothing(root, tmp_path, capsys):
    path = tmp_path / "mine.yaml"
    path.write_text("# later\n")
    assert orion_config(capsys, "check", root / "config/config.yaml", path)[0] == 0


@pytest.mark.parametrize(
    ("stage", "wildcards", "message"),
    [
        ("sample", [], "--stage sample: give --wildcard dataset=... --wildcard model=... too"),
        ("sample", ["dataset=chains"], "--stage sample: give --wildcard model=... too"),
        ("sample", ["chains"], "--wildcard chains: give NAME=VALUE, such as dataset=chains"),
        ("sample", ["dataset="], "--wildcard dataset=: give NAME=VALUE"),
        ("sample", ["arm=orion"], "sample has no wildcard arm; it has dataset, model"),
        ("sample", ["dataset=a", "model=tiny"], "a is not defined under datasets; one of chains"),
        ("sample", ["dataset=chains"] * 2, "--wildcard dataset=chains: dataset is given twice"),
        ("train", ["seed=one"], "--wildcard seed=one: a seed is a whole number such as seed=1"),
        ("report", ["dataset=chains"], "report has no wildcard dataset; it has none"),
        ("lint", [], "--stage lint: give one --wildcard, dataset=... or benchmark=..."),
        ("lint", ["dataset=chains", "benchmark=chains-test"], "--stage lint: give one --wildcard"),
        ("smaple", [], "--stage smaple: one of benchmark, check"),
    ],
)
def test_wildcards_that_do_not_fit_are_named(root, capsys, stage, wildcards, message):
    pairs = [argument for pair in wildcards for argument in ("--wildcard", pair)]
    files = list_one_student_files(root)
    status, out, err = orion_config(capsys, "show", *files, "--stage", stage, *pairs)
    assert (status, out) == (2, "")
    assert err.startswith("error: ") and message in err, err


@pytest.mark.parametrize("stage", list(WILDCARDS))
def test_the_keys_of_a_stage_are_shown(root, raw, capsys, stage):
    names = WILDCARDS[stage]
    pairs = [argument for name in names for argument in ("--wildcard", f"{name}={KEYS[name]}")]
    files = list_one_student_files(root)
    status, out, err = orion_config(capsys, "show", *files, "--stage", stage, *pairs)
    assert (status, err) == (0, "")
    keys = config.stage_config(config.validate(raw), stage, **{name: KEYS[name] for name in names})
    assert json.loads(out) == keys


def test_arms_that_need_traces_are_refused_for_a_dataset_without(raw, tmp_path, capsys):
    raw["datasets"]["chains"]["fields"]["teacher_trace"] = None
    loaded = config.validate(raw)  # a mapping may be unfinished, for its preview
    wanted = r"datasets\.chains has no teacher traces, which the arms .*orion of runs\.arms need"
    with pytest.raises(InputError, match=wanted):
        config.check_traces(loaded)
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(raw))
    with pytest.raises(SystemExit):
        main(["config", "check", str(path)])
    assert re.search(wanted, capsys.readouterr().err)
    raw["runs"]["arms"], raw["comparisons"] = ["base"], []
    config.check_traces(config.validate({**raw, "comparisons": []}))


@pytest.mark.parametrize(
    ("levels", "message"),
    [
        ({"cluster": "kind"}, r"fields: .*levels: the name cluster is taken"),
        ({"how hard": "kind"}, r"fields\.levels"),
        ({"level": None}, r"fields\.levels\.level"),
    ],
)
def test_levels_have_names_of_their_own(raw, levels, message):
    raw["benchmarks"]["chains-test"]["fields"] = {"levels": levels}
    with pytest.raises(InputError, match=message):
        config.validate(raw)
