"""Rounds: a student that is warmed up, and the student that it becomes, in one configuration."""

import copy
import re

import pytest
import yaml

from orion import tables
from orion.models.document import read_document
from orion.models.preflight import read_preflight
from tests.helpers.configurations import read_one_student
from tests.helpers.snakemake import run_snakemake

WARM = {"kind": "arm", "dataset": "drills", "model": "tiny", "arm": "sft_answer", "seed": 7}
SECOND = {"kind": "arm", "dataset": "chains", "model": "warm", "arm": "orion", "seed": 1}
GRID = {
    "datasets": ["chains"],
    "models": ["warm", "second"],
    "arms": ["base", "orion"],
    "seeds": [1],
    "benchmarks": ["chains-test"],
}


def write_rounds(config: dict) -> dict:
    """The configuration with a warm-up of ``tiny`` and a second round of ``warm``."""
    config["datasets"]["drills"] = {
        "source": {"kind": "demo", "level": "easy", "n": 30, "seed": 14},
        "fields": {"problem_id": "id", "solution": "solution"},
        "decontaminate_ngram": None,
    }
    config["models"] |= {"warm": {"source": {**WARM}}, "second": {"source": {**SECOND}}}
    config["runs"] = copy.deepcopy(GRID)
    config["comparisons"] = [{"arm": "orion", "against": "base"}]
    return config


@pytest.fixture
def rounds(checkout):
    """The stand-in checkout in which both rounds have run."""
    before = checkout.config()
    checkout.write_config(write_rounds(checkout.config()))
    checkout.run()
    yield checkout
    checkout.write_config(before)


def test_each_round_waits_for_the_one_before_and_reruns_with_it(rounds):
    assert rounds.plan() == {}
    # the warm-up has a key of its own: all that comes from its checkpoint follows
    config = rounds.config()
    config["arms"]["sft_answer"] = {"trained_on": "solution", "train": {"max_steps": 9}}
    rounds.write_config(config)
    plan = rounds.plan()
    assert plan["train"] == 3 and plan["register_arm_model"] == 2 and plan["sample"] == 2
    assert not {"dataset", "dequantise", "student", "register_demo_model"} & set(plan)
    rounds.run()
    # the second round's own training: nothing of the warm-up, and no sample of the first student
    config["arms"]["orion"]["train"] = {"max_steps": 8}
    rounds.write_config(config)
    plan = rounds.plan()
    assert plan["train"] == 2 and plan["register_arm_model"] == plan["sample"] == 1
    config["models"]["second"]["source"]["seed"] = 3
    rounds.write_config(config)
    assert rounds.plan()["train"] == 3


def test_the_warm_up_samples_nothing(rounds):
    """An arm on solutions needs no samples, so more of them cannot rerun it."""
    config = rounds.config()
    config["sample"]["num_samples"] = 9
    rounds.write_config(config)
    jobs = rounds.snakemake("--dry-run", "--nocolor").stdout
    assert "results/datasets/drills/tiny/sft_answer" not in jobs
    assert "results/datasets/drills/tiny/samples.parquet" not in jobs
    assert "results/datasets/chains/warm/samples.parquet" in jobs


JOB = re.compile(r"^(?:local)?rule (\w+):\n    input: (.*)\n    output: (.*)$", re.MULTILINE)


def list_ancestors(jobs: dict[str, list[str]], path: str) -> set[str]:
    """All files that a file is made from, by way of other jobs' outputs."""
    found: set[str] = set()
    pending = [path]
    while pending:
        for each in jobs.get(pending.pop(), []):
            if each not in found:
                found.add(each)
                pending.append(each)
    return found


def test_the_second_round_of_the_example_answers_as_the_first_has_trained_it(root, tmp_path):
    example = str(root / "config/rounds.yaml")
    status, out = run_snakemake(tmp_path, root, "--configfile", example, "--dry-run", "--nocolor")
    assert status == 0, out[-3000:]
    jobs, rules = {}, {}
    for rule, inputs, outputs in JOB.findall(out):
        rules[rule] = rules.get(rule, 0) + 1
        jobs |= {path: inputs.split(", ") for path in outputs.split(", ")}
    # two students, two trained arms, two seeds; with the untrained arm three evaluations each
    assert rules["train"] == 2 * 2 * 2 and rules["evaluate_sample"] == 2 * 3 * 2
    assert rules["sample"] == rules["reflect"] == 2 and rules["register_arm_model"] == 1
    chains = "results/datasets/chains"
    trained = {f"{chains}/one/orion/seed-1/model.json", f"{chains}/one/orion/seed-1/model"}
    assert set(jobs["results/models/second/model.json"]) == trained
    assert "results/models/second/model.json" in jobs[f"{chains}/second/samples.parquet"]
    # the first round's errors decide the second one's student, and are none of its errors
    before = list_ancestors(jobs, f"{chains}/second/samples.parquet")
    assert f"{chains}/one/orion/errors.parquet" in before and trained <= before
    assert not [path for path in before if "/sft_own/" in path or "seed-2" in path]
    for name in ("errors.parquet", "reflections.parquet"):
        own = [path for path in jobs[f"{chains}/second/orion/{name}"] if "/one/" in path]
        assert own == []
    end = list_ancestors(jobs, f"{chains}/second/orion/seed-2/model.json")
    assert f"{chains}/second/orion/errors.parquet" in end and trained <= end
    # what the second round is compared with is where the first one ended
    base = jobs[f"{chains}/second/base/seed-1/chains-test/samples.parquet"]
    assert "results/models/second/model.json" in base


@pytest.mark.slow
def test_two_rounds_end_in_a_report(root, commands, tmp_path):
    """The run itself trains nothing: both trainings are behind its student."""
    config = write_rounds(read_one_student(root))
    config["runs"].update(models=["second"], arms=["base"])
    config["comparisons"] = []
    config["models"]["tiny"]["source"] = {"kind": "embedded", "student": "first"}
    config["datasets"]["chains"]["source"].update(level="easy", n=12)
    config["benchmarks"]["chains-test"]["source"].update(level="easy", n=6)
    config["select"].update(fallback_all_filtered="teacher", min_rows=1)
    config["train"]["max_steps"] = 2
    config["sample"].update(num_samples=2, max_tokens=24, max_failed_fraction=1.0)
    config["reflect"].update(max_tokens=24, max_failed_fraction=1.0)
    config["evaluate"].update(num_samples=1, max_tokens=24, max_failed_fraction=1.0)
    config["report"].update(bootstrap=100, examples=2)
    (tmp_path / "config").mkdir()
    (tmp_path / "config/config.yaml").write_text(yaml.safe_dump(config))
    status, out = run_snakemake(tmp_path, root, commands=commands)
    assert status == 0, out[-6000:]
    results = tmp_path / "results"
    arms = {
        "tiny": None,
        "warm": "datasets/drills/tiny/sft_answer/seed-7",
        "second": "datasets/chains/warm/orion/seed-1",
    }
    documents = {name: read_document(results / f"models/{name}/model.json") for name in arms}
    assert documents["tiny"].lineage == ()
    names = [
        (step.dataset, step.model, step.arm, step.seed) for step in documents["second"].lineage
    ]
    assert names == [tuple([*WARM.values()][1:]), tuple([*SECOND.values()][1:])]
    digests = [step.digest for step in documents["second"].lineage]
    assert digests == [documents["tiny"].digest, documents["warm"].digest]
    for name, folder in arms.items():
        if folder is None:
            continue
        # the published checkpoint itself, so that its completions are shared
        trained = read_document(results / folder / "model.json")
        assert documents[name].digest == trained.digest and documents[name].path == trained.path
        assert read_preflight(results / f"models/{name}/preflight.json").digest == trained.digest
        record = tables.read_provenance(results / f"models/{name}/model.json")
        assert set(record["inputs"]) == {"trained"}
    page = (results / "report/index.html").read_text()
    assert "sft_answer of tiny on drills, seed 7" in page
    # a checkpoint that is not the recorded one is refused by the report
    document = results / "models/warm/model.json"
    document.write_text(document.read_text().replace('"trained": "', '"trained": "0'))
    status, out = run_snakemake(tmp_path, root, "--forcerun", "report", commands=commands)
    assert status != 0 and "models/warm/model.json: made from another trained than" in out
