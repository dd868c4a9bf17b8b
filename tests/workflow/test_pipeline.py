"""The whole pipeline, small but real: a student, every arm of the configuration's files, report.

A second run plans nothing, and every number is recomputed. The jobs are forks of one process that
has the libraries loaded (conftest.py); in test_served.py, and of examples/quick.yaml, each starts
anew. The prompt set adds to that of the embedded student the blocks that some arms need, in words
that it was pre-trained on. What each arm trains on is in tests/orion/stages/test_arms.py and
test_more_arms.py.
"""

import json
import os
import re
from pathlib import Path

import pytest
import yaml
from transformers import AutoTokenizer

from orion import tables
from orion.cli.main import main
from orion.config.files import read_mapping
from orion.config.models import merge
from tests.helpers import recompute_report, report_page
from tests.helpers.configurations import read_one_student
from tests.helpers.snakemake import run_snakemake

pytestmark = pytest.mark.slow
PROBLEMS, SAMPLES = 24, 6
PROMPTS = """{% extends "demo" %}

{% block reflect_answer %}
Question: {{ problem }} Teacher: \\boxed{ {{ answer }} }
{%- for error in errors %} Attempt: {{ error }}{% endfor %}
 Refine:
{% endblock %}

{% block shorten %}
Question: {{ problem }} Teacher: {{ teacher }} Refine:
{% endblock %}

{% block review %}
Question: {{ problem }}
{%- if teacher is not none %} Teacher: {{ teacher }}{% endif %}
{%- for error in errors %} Attempt: {{ error }}{% endfor %}
 Refine:
{% endblock %}
"""


class Folder:
    def __init__(self, path: Path, root: Path, commands: Path):
        self.path, self.root, self.commands = path, root, commands

    def snakemake(self, *args: str) -> str:
        status, out = run_snakemake(self.path, self.root, *args, commands=self.commands)
        assert status == 0, out[-6000:]
        return out

    def log(self, name: str) -> str:
        return (self.path / "logs" / name).read_text()


@pytest.fixture(scope="module")
def arms(root) -> list[str]:
    """All that config.yaml, one-student.yaml and arms.yaml define."""
    return list(read_all_arms(root)["arms"])


def read_all_arms(root: Path) -> dict:
    return merge(read_one_student(root), read_mapping(root / "config/arms.yaml"))


@pytest.fixture(scope="module")
def folder(root, commands, arms, tmp_path_factory):
    path = tmp_path_factory.mktemp("pipeline")
    (path / "config").mkdir()
    (path / "prompts.jinja").write_text(PROMPTS)
    config = read_all_arms(root)
    config["runs"].update(seeds=[1], benchmarks=["chains-test"], arms=arms)
    config["comparisons"] = [
        {"arm": "orion", "against": other}
        for other in ("base", "sft_rewrite", "orion_placebo", "lemma", "p_align")
    ]
    config["prompts"] = "prompts.jinja"
    # the package's students, since one that is pre-trained quickly solves some problems or none,
    # depending on the processor; test_served.py pre-trains one
    config["models"] = {
        name: {"source": {"kind": "embedded", "student": student}, "dtype": "float32"}
        for name, student in (("tiny", "first"), ("teacher", "one"))
    }
    trained = {"kind": "arm", "dataset": "chains", "model": "tiny", "arm": "exposure", "seed": 1}
    config["models"]["exposed"] = {"source": trained}
    config["datasets"]["chains"]["source"].update(n=PROBLEMS)
    config["benchmarks"] = {
        "chains-test": {"source": {"kind": "demo", "level": "test", "n": 8, "seed": 12}}
    }
    config["sample"]["num_samples"] = SAMPLES
    config["select"].update(min_rows=1, fallback_all_filtered="own_correct")
    config["train"]["max_steps"] = 2
    config["evaluate"].update(num_samples=2, max_tokens=64)
    config["report"].update(bootstrap=100, examples=4)
    (path / "config/config.yaml").write_text(yaml.safe_dump(config))
    made = Folder(path, root, commands)
    made.snakemake()
    return made


def test_every_arm_is_trained_evaluated_and_on_the_page(folder, arms):
    assert len(arms) > 30
    page = (folder.path / "results/report/index.html").read_text()
    assert [arm for arm in arms if arm not in page] == []
    document = json.loads((folder.path / "results/report/report.json").read_text())
    [student] = document["results"]
    assert {row["arm"] for row in student["table"]} == set(arms)
    for arm in arms:
        weights = folder.path / f"results/datasets/chains/tiny/{arm}/seed-1/model"
        assert (weights / "model.safetensors").exists() == (arm != "base"), arm


def test_only_arms_that_choose_by_surprisal_have_it(folder):
    student = folder.path / "results/datasets/chains/tiny"
    assert sorted((folder.path / "results").rglob("*_surprisal.parquet")) == [
        student / "orion_lowest_surprisal/reflection_surprisal.parquet",
        student / "orion_rank_surprisal/reflection_surprisal.parquet",
        student / "sample_surprisal.parquet",
    ]


def test_a_second_run_plans_nothing(folder):
    assert "Nothing to be done" in folder.snakemake("--dry-run")


def test_every_written_file_is_declared(folder):
    """A rule declares what it writes; the store and unfinished state are no outputs."""
    lines = folder.snakemake("--summary").splitlines()
    declared = {Path(line.split("\t")[0]) for line in lines if line.startswith("results/")}
    assert len(declared) > 100
    for path in sorted((folder.path / "results").rglob("*")):
        name = path.relative_to(folder.path)
        if path.is_file() and name.parts[1] not in ("completions", "work"):
            assert declared & {name, *name.parents}, name


def test_every_number_follows_from_the_tables(folder):
    assert recompute_report.find_faults(folder.path / "results") == []
    assert report_page.find_faults(folder.path / "results") == []


def test_artifacts_hold_nothing_of_this_machine(folder):
    for path in folder.path.joinpath("results").rglob("*.json"):
        if "/model/" not in str(path) and "checkpoint" not in str(path):
            text = path.read_text()
            assert str(folder.path) not in text and os.uname().nodename not in re.findall(
                r"[\w-]{3,}", text
            ), path


def test_no_reflection_with_a_false_step_is_trained_on(folder):
    student = folder.path / "results/datasets/chains/tiny"
    removed = 0
    for arm in ("sft_rewrite", "orion_no_teacher", "orion_placebo", "orion"):
        steps = tables.read(student / arm / "reflection_steps.parquet", tables.STEPS)
        false = set(steps.filter(steps["false"] > 0).select("problem_id", "sample_id").rows())
        train = tables.read(student / arm / "train.parquet", tables.TRAIN)
        rows = train.filter(train["target_kind"] == "reflection")
        assert not false & set(rows.select("problem_id", "sample_id").rows()), arm
        removed += len(false)
    assert removed


def test_the_wrong_and_the_right_are_real(folder):
    verdicts = tables.read(
        folder.path / "results/datasets/chains/tiny/verdicts.parquet", tables.VERDICTS
    )
    counts = dict(verdicts["verdict"].value_counts().iter_rows())
    assert counts["incorrect"] > 20 and counts["correct"] > 0, counts


def test_why_names_the_packed_document_of_a_training_row(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder.path)
    tokenizer = AutoTokenizer.from_pretrained("results/models/tiny/checkpoint")
    found = 0
    for arm in ("sft_own", "orion"):
        place = Path("results/datasets/chains/tiny", arm)
        train = tables.read(place / "train.parquet", tables.TRAIN)
        packed = tables.read(place / "packed/train.parquet", tables.PACKED)
        for problem_id in train["problem_id"].unique().sort().to_list()[:3]:
            main(["why", f"chains/tiny/{arm}/{problem_id}"])
            mine = train.filter(train["problem_id"] == problem_id)
            for line in re.findall(r"row .* trained on$", capsys.readouterr().out, re.M):
                row, number, at, documents, tokens, trained = map(int, re.findall(r"\d+", line))
                ends = packed["seq_lengths"][row].cum_sum().to_list()
                begin = ends[at] - packed["seq_lengths"][row][at]
                ids = packed["input_ids"][row][begin : ends[at]].to_list()
                labels = packed["labels"][row][begin : ends[at]]
                assert (len(ends), len(ids)) == (documents, tokens)
                assert (labels != -100).sum() == trained
                text = mine.filter(mine["row"] == number)["completion"][0]
                assert "".join(text.split()) in "".join(tokenizer.decode(ids).split())
                found += 1
    assert found > 6


def test_snakemakes_own_report_holds_the_page(folder):
    folder.snakemake("--report", "run.html")
    assert "index.html" in (folder.path / "run.html").read_text()


def test_a_teacher_that_is_sampled(folder):
    """Changes the configuration, so it runs late. The student's checkpoint is the teacher here."""
    path = folder.path / "config/config.yaml"
    before = path.read_text()
    config = yaml.safe_load(before)
    sampled = {**config["datasets"]["chains"], "teacher": "big"}
    sampled["fields"] = {**sampled["fields"], "teacher_trace": None}
    config["datasets"]["sampled"] = sampled
    config["models"]["big"] = {
        "source": {"kind": "path", "path": "results/models/tiny/checkpoint"},
        "dtype": "float32",
    }
    config["teacher"] = {"num_samples": 4, "temperature": 0.9, "max_tokens": 96}
    config["runs"].update(datasets=["sampled"], arms=["base", "sft_teacher"], seeds=[1])
    config["comparisons"] = [{"arm": "sft_teacher", "against": "base"}]
    path.write_text(yaml.safe_dump(config))
    folder.snakemake()
    results = folder.path / "results/datasets/sampled"
    traced = tables.read(results / "problems_with_traces.parquet", tables.PROBLEMS)
    verdicts = tables.read(results / "trace_verdicts.parquet", tables.VERDICTS)
    assert traced["teacher_trace"].count() == verdicts.height > 0
    assert set(verdicts["verdict"]) == {"correct"}
    trained = tables.read(results / "tiny/sft_teacher/train.parquet", tables.TRAIN)
    assert set(trained["problem_id"]) == set(verdicts["problem_id"])
    assert "sft_teacher" in (folder.path / "results/report/index.html").read_text()
    path.write_text(before)


def test_raising_num_samples_generates_only_the_new_completions(folder):
    """Changes the configuration, so it runs last."""
    path = folder.path / "config/config.yaml"
    config = yaml.safe_load(path.read_text())
    config["sample"]["num_samples"] = SAMPLES + 1
    path.write_text(yaml.safe_dump(config))
    folder.snakemake("--until", "sample")
    log = folder.log("datasets/chains/tiny/samples.log")
    assert f"{PROBLEMS * SAMPLES} reused, {PROBLEMS} new" in log, log
