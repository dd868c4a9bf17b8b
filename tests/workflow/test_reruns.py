"""The rerun matrix: for each change exactly the expected rules, as Snakemake plans them."""

import copy
import os
import shutil
import time

import pytest

pytestmark = pytest.mark.slow

EVALUATION = {"evaluate_sample", "evaluate_check", "evaluate"}
FROM_TRAIN = {"train", *EVALUATION, "report"}
FROM_SELECT = {"select", "pack", *FROM_TRAIN}
FROM_REFLECT = {"reflect", "check_reflections", *FROM_SELECT}
FROM_SAMPLE = {"sample", "check", "expose", *FROM_REFLECT}
FROM_DATASET = {"dataset", "lint_dataset", "check_traces", *FROM_SAMPLE}


@pytest.fixture
def changing(checkout):
    """The checkout, whose sources and configuration are put back afterwards."""
    saved = checkout.folder / "saved"
    for name in ("orion", "kernels", "config", "workflow"):
        shutil.copytree(checkout.folder / name, saved / name)
    yield checkout
    for name in ("orion", "kernels", "config", "workflow"):
        shutil.rmtree(checkout.folder / name)
        shutil.move(saved / name, checkout.folder / name)
    shutil.rmtree(saved)


def set_key(checkout, path: str, value) -> None:
    config = copy.deepcopy(checkout.config())
    block = config
    *parents, last = path.split(".")
    for key in parents:
        block = block.setdefault(key, {})
    block[last] = value
    checkout.write_config(config)


def edit(checkout, name: str, old: str, new: str) -> None:
    path = checkout.folder / name
    text = path.read_text()
    assert old in text, f"{name} has no {old!r}"
    path.write_text(text.replace(old, new, 1))


def test_nothing_changed_nothing_runs(checkout):
    assert checkout.plan() == {}


def test_touching_every_source_runs_nothing(changing):
    later = time.time() + 100
    for name in ("orion", "kernels", "config", "workflow"):
        for path in (changing.folder / name).rglob("*"):
            os.utime(path, (later, later))
    assert changing.plan() == {}


def test_a_fresh_clone_beside_the_results_runs_nothing(changing):
    for name in ("orion", "kernels", "workflow", "config"):
        fresh = changing.folder / "fresh" / name
        shutil.copytree(changing.folder / name, fresh, copy_function=shutil.copyfile)
        shutil.rmtree(changing.folder / name)
        shutil.move(fresh, changing.folder / name)
    assert changing.plan() == {}


def test_a_comment_or_docstring_runs_nothing(changing):
    edit(changing, "orion/stages/check.py", '"""Check answers', '"""Check all answers')
    edit(changing, "orion/stages/check.py", "def check_samples(", "# a remark\ndef check_samples(")
    assert changing.plan() == {}


@pytest.mark.parametrize(
    ("path", "value", "rules"),
    [
        ("sample.temperature", 0.7, FROM_SAMPLE),
        (
            "check.timeout_s",
            7.0,
            {"check", "check_traces", "expose", "evaluate_check", "evaluate", *FROM_REFLECT},
        ),
        ("train.learning_rate", 1.0e-3, FROM_TRAIN),
        # 1 is also another value of the stage: a set of values without names would miss this
        ("train.max_steps", 1, FROM_TRAIN),
        ("pack.max_length", 500, {"pack", *FROM_TRAIN}),
        ("select.max_per_problem", 1, FROM_SELECT),
        ("select.drop_false_traces", True, FROM_REFLECT),
        ("select.min_rows", 5, FROM_SELECT),
        ("expose.max_errors", 1, {"expose", *FROM_REFLECT}),
        # the number of samples is part of what is registered
        ("evaluate.num_samples", 5, {*EVALUATION, "plan", "report"}),
        ("benchmarks.chains-test.evaluate", {"max_tokens": 99}, {*EVALUATION, "report"}),
        # the rule register_model gets it too, as a resource
        ("evaluate.max_tokens", 200, {*EVALUATION, "report"}),
        # and the LoRA targets
        ("train.method", "lora", FROM_TRAIN),
        ("report.title", "Another", {"report"}),
        ("datasets.chains.source.n", 300, FROM_DATASET),
    ],
)
def test_a_key_reruns_its_stage_and_what_follows(changing, path, value, rules):
    set_key(changing, path, value)
    assert set(changing.plan()) == rules


def test_a_ceiling_and_prices_run_nothing(changing):
    set_key(changing, "prices", {"hour": 0.1})
    set_key(changing, "ceiling", {"tokens": 10, "hours": 2.0, "money": 3.0})
    assert changing.plan() == {}


def test_a_benchmarks_own_samples_rerun_its_evaluations_only(changing):
    own = {"num_samples": 5, "max_tokens": 99}
    # a benchmark outside the grid
    set_key(changing, "benchmarks.chains-hard.evaluate", own)
    assert changing.plan() == {}
    set_key(changing, "benchmarks.chains-test.evaluate", own)
    # the number of samples is registered too
    assert changing.plan() == {**dict.fromkeys(EVALUATION, 4), "plan": 1, "report": 1}


def test_one_arms_key_leaves_the_others_alone(changing):
    set_key(changing, "arms.orion.reflect", {"temperature": 0.5})
    plan = changing.plan()
    assert set(plan) == FROM_REFLECT
    assert all(count == 1 for count in plan.values())


def test_swapping_two_values_of_a_stage_is_seen(changing):
    config = changing.config()
    expose, reflect = config["expose"], config["reflect"]
    assert expose["max_errors"] == 2 and reflect["num_samples"] == reflect["errors_per_prompt"] == 1
    set_key(changing, "train.betas", config["train"]["betas"][::-1])
    assert set(changing.plan()) == FROM_TRAIN


def test_an_edit_in_the_checker_rechecks_and_samples_nothing(changing):
    edit(changing, "orion/answers/__init__.py", "\n__all__", "\nADDED = 1\n__all__")
    found = set(changing.plan())
    lints = {"lint_dataset", "lint_benchmark"}
    assert found == {
        "check",
        "check_traces",
        "expose",
        "evaluate_check",
        "evaluate",
        *lints,
        *FROM_REFLECT,
    }


def test_an_edit_in_the_check_of_steps_rechecks_and_samples_nothing(changing):
    path = changing.folder / "orion/answers/steps/__init__.py"
    path.write_text(path.read_text() + "\nADDED = 1\n")
    found = set(changing.plan())
    checks = {"check", "check_traces", "check_reflections", "evaluate_check"}
    assert found >= checks | FROM_SELECT and "sample" not in found


def test_an_edit_in_training_retrains(changing):
    edit(
        changing, "orion/training/arguments.py", "SAVE_EVERY_STEPS = 100", "SAVE_EVERY_STEPS = 101"
    )
    assert set(changing.plan()) == FROM_TRAIN


COMPARISON = {"arm": "sft_own", "against": "base", "expect": "above"}


@pytest.mark.parametrize(
    ("path", "value", "rules"),
    [
        (None, None, set()),
        # an order-only edge from plan.json would hide these
        ("train.learning_rate", 1.0e-3, FROM_TRAIN),
        ("sample.temperature", 0.7, FROM_SAMPLE),
    ],
)
def test_another_comparison_reruns_the_plan_and_the_report_and_hides_nothing(
    changing, path, value, rules
):
    set_key(changing, "comparisons", [COMPARISON])
    if path is not None:
        set_key(changing, path, value)
    assert set(changing.plan()) == {"plan", "report", *rules}


def test_an_edit_in_the_stage_that_registers_reruns_no_job(changing):
    edit(changing, "orion/stages/plan.py", "\nNO_DIGEST", "\nADDED = 1\nNO_DIGEST")
    assert set(changing.plan()) == {"plan", "report"}


def test_a_plan_that_was_edited_by_hand_makes_another_page(changing):
    path = changing.folder / "results/plan.json"
    before, times = path.read_bytes(), path.stat()
    later = time.time() + 10
    path.write_text("edited")
    os.utime(path, (later, later))
    assert changing.plan() == {"report": 1}
    path.write_bytes(before)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def test_a_new_configuration_key_with_a_null_default_costs_a_report(changing):
    edit(
        changing,
        "orion/config/blocks.py",
        "class Pack(Block):\n",
        "class Pack(Block):\n    brand_new: int | None = None\n",
    )
    # the page is the one stage that reads the whole configuration
    assert changing.plan() == {"report": 1}


@pytest.mark.parametrize(
    ("path", "value", "added"),
    [
        (
            "runs.seeds",
            [1, 2],
            {
                "plan": 1,
                "train": 3,
                "evaluate_sample": 4,
                "evaluate_check": 4,
                "evaluate": 4,
                "report": 1,
            },
        ),
        (
            "runs.arms",
            ["base", "sft_own", "orion_placebo", "orion", "sft_answer"],
            {
                "select": 1,
                "pack": 1,
                "train": 1,
                "evaluate_sample": 1,
                "evaluate_check": 1,
                "evaluate": 1,
                "report": 1,
            },
        ),
    ],
)
def test_adding_a_run_costs_only_that_run(changing, path, value, added):
    set_key(changing, path, value)
    assert changing.plan() == added


def test_the_controls_cost_only_themselves(changing):
    controls = ["orion_sham", "oracle", "sft_teacher_matched"]
    set_key(changing, "runs.arms", [*changing.config()["runs"]["arms"], *controls])
    assert changing.plan() == {
        **dict.fromkeys(["pack", "train", *EVALUATION], 3),
        **dict.fromkeys(["expose", "select"], 2),
        **dict.fromkeys(["reflect", "check_reflections", "select_unmatched", "match", "report"], 1),
    }


def test_matching_an_arm_costs_that_arm_only(changing):
    set_key(changing, "arms.sft_own.select", {"match": {"problems": ["orion"], "rows": True}})
    jobs = ["select_unmatched", "match", "pack", *FROM_TRAIN]
    assert changing.plan() == dict.fromkeys(jobs, 1)


def test_adding_a_model_costs_only_that_model(changing):
    set_key(changing, "models.other", {"source": {"kind": "demo", "seed": 2}, "dtype": "float32"})
    assert changing.plan() == {}
    set_key(changing, "runs.models", ["tiny", "other"])
    plan = changing.plan()
    assert plan["student"] == plan["register_demo_model"] == plan["sample"] == plan["report"] == 1
    assert plan["train"] == 3 and plan["expose"] == 2
    assert not {"dataset", "benchmark", "check_traces"} & set(plan)


def test_a_server_beside_the_model_costs_a_report_and_its_name_there_the_model(changing):
    set_key(
        changing, "models.tiny.server", {"base_url": "http://here:8000/v1", "api_key_env": "KEY"}
    )
    assert set(changing.plan()) == {"report"}
    set_key(
        changing,
        "models.tiny.server",
        {"base_url": "http://here:8000/v1", "served_model": "student"},
    )
    assert "register_demo_model" in changing.plan()


def test_adding_a_dataset_costs_only_that_dataset(changing):
    config = changing.config()
    set_key(changing, "datasets.second", {**config["datasets"]["chains"], "policy": "strict"})
    set_key(changing, "runs.datasets", ["chains", "second"])
    plan = changing.plan()
    assert plan["dataset"] == plan["sample"] == plan["check_traces"] == 1 and plan["train"] == 3
    assert not {"student", "register_demo_model", "benchmark"} & set(plan)


def test_speed_runs_nothing(changing):
    edit(changing, "workflow/rules/train.smk", "micro_batch=4", "micro_batch=2")
    edit(changing, "workflow/rules/sample.smk", "batch_size=256", "batch_size=8")
    edit(changing, "workflow/rules/model.smk", "threads: 2", "threads: 1")
    edit(changing, "workflow/profiles/default/config.yaml", "gpu=1", "gpu=2")
    assert changing.plan("--set-resources", "train:micro_batch=1") == {}
    assert changing.plan("--set-resources", "train:kernels=triton") == {}
    assert changing.plan("--set-resources", "train:save_minutes=1") == {}
    assert changing.plan("--set-resources", "train:processes=4", "train:nodes=2") == {}
    place = (
        "sample:shards=4",
        "sample:python=.venv-vllm/bin/python",
        "reflect:tensor_parallel_size=2",
    )
    assert changing.plan("--set-resources", *place) == {}


def test_a_kernels_source_runs_nothing(changing):
    edit(
        changing,
        "kernels/orion_kernels/packing.py",
        "class Packing",
        "ADDED = 1\n\n\nclass Packing",
    )
    assert changing.plan() == {}


def test_the_kernels_version_reruns_the_stages_that_use_them(changing):
    edit(changing, "kernels/orion_kernels/__init__.py", '__version__ = "', '__version__ = "9.')
    # preflight runs the packed path too, and every stage of a model asks for its checks
    assert {*FROM_TRAIN, "register_demo_model"} <= set(changing.plan())


def test_two_unnamed_values_would_have_been_missed(changing):
    # the trap that the one JSON string guards against, shown on the workflow itself
    config = changing.config()
    assert config["sample"]["seed"] == 0 and config["sample"]["num_samples"] == 8
    set_key(changing, "sample.seed", 8)
    assert set(changing.plan()) == FROM_SAMPLE


@pytest.mark.parametrize(
    ("old", "new", "rules"),
    [
        ("Teacher: {{ teacher }}", "The teacher: {{ teacher }}", FROM_REFLECT),
        ("New:", "Newer:", {"check_reflections", *FROM_SELECT}),
        ("\\bcheck\\b", "\\bchecks\\b", FROM_SELECT),
        # no arm of this grid is trained on solutions
        ("\\boxed{", "so \\boxed{", set()),
        ("{# The prompt", "{# Another remark: the prompt", set()),
    ],
)
def test_an_edit_in_a_prompt_reruns_what_it_reaches(changing, old, new, rules):
    edit(changing, "orion/prompts/demo.jinja", old, new)
    plan = changing.plan()
    assert set(plan) == rules
    # the one arm that is not trained on reflections is left alone
    assert plan.get("select", 2) == 2


def test_another_question_reruns_everything_that_asks_it(changing):
    edit(
        changing,
        "orion/prompts/demo.jinja",
        "{% block solve %}\nQuestion:",
        "{% block solve %}\nThe question:",
    )
    assert set(changing.plan()) == {*FROM_SAMPLE, "evaluate_sample"}


def test_a_prompt_file_of_ones_own_with_the_same_texts_costs_a_report(changing):
    own = changing.folder / "mine.jinja"
    own.write_text('{% extends "demo" %}')
    set_key(changing, "prompts", "mine.jinja")
    assert changing.plan() == {"report": 1}
    own.write_text('{% extends "demo" %}{% block prefill %}check{% endblock %}')
    assert set(changing.plan()) == FROM_REFLECT
