"""The exposure model, small but real: it is trained, sampled, and its errors are reflected on."""

import json

import polars as pl
import pytest
import yaml

from orion import tables
from orion.cli.main import main
from orion.config.files import read_mapping
from orion.config.models import merge
from tests.helpers import recompute_report
from tests.helpers.configurations import read_one_student
from tests.helpers.snakemake import run_snakemake

pytestmark = pytest.mark.slow
EXPOSED = {"kind": "arm", "dataset": "chains", "model": "tiny", "arm": "exposure", "seed": 1}
ARMS = ["base", "exposure", "orion_euler"]
CHAINS = "results/datasets/chains"


@pytest.fixture(scope="module")
def folder(root, commands, tmp_path_factory):
    path = tmp_path_factory.mktemp("exposure")
    (path / "config").mkdir()
    config = merge(read_one_student(root), read_mapping(root / "config/arms.yaml"))
    config["runs"].update(seeds=[1], benchmarks=["chains-test"], arms=ARMS)
    config["comparisons"] = [{"arm": "orion_euler", "against": "base"}]
    student = {"source": {"kind": "embedded", "student": "first"}, "dtype": "float32"}
    config["models"] = {"tiny": student, "exposed": {"source": EXPOSED}}
    config["datasets"]["chains"]["source"].update(n=24)
    config["benchmarks"] = {
        "chains-test": {"source": {"kind": "demo", "level": "test", "n": 8, "seed": 12}}
    }
    config["sample"]["num_samples"] = 6
    config["select"].update(min_rows=1, fallback_all_filtered="own_correct")
    config["train"]["max_steps"] = 6
    config["evaluate"].update(num_samples=2, max_tokens=64)
    config["report"].update(bootstrap=100, examples=4)
    (path / "config/config.yaml").write_text(yaml.safe_dump(config))
    status, out = run_snakemake(path, root, commands=commands)
    assert status == 0, out[-6000:]
    return path


def read(folder, name, table, **options):
    return tables.read(folder / CHAINS / name, table, **options)


def test_the_exposure_model_is_trained_on_pairs_of_the_students_samples(folder):
    rows = read(folder, "tiny/exposure/train.parquet", tables.TRAIN)
    verdicts = read(folder, "tiny/verdicts.parquet", tables.VERDICTS)
    judged = rows.join(verdicts, on=["problem_id", "sample_id"])
    assert judged.height == rows.height > 0
    kinds = dict(judged.group_by("target_kind").agg(pl.col("verdict").unique()).iter_rows())
    assert kinds == {"own_wrong": ["incorrect"], "own_correct": ["correct"]}
    lines = (folder / CHAINS / "tiny/exposure/seed-1/train_log.jsonl").read_text().splitlines()
    steps = [json.loads(line) for line in lines]
    assert len(steps) == 6 and all(0 <= step["preferred"] <= 1 for step in steps)


def test_the_errors_are_those_of_the_exposure_model(folder):
    errors = read(folder, "tiny/orion_euler/errors.parquet", tables.ERRORS)
    assert errors.height and set(errors["source"]) == {"exposed"}
    assert errors["own_sample_id"].null_count() == errors.height
    keys = ["problem_id", "sample_id"]
    samples = read(folder, "exposed/samples.parquet", tables.SAMPLES)
    verdicts = read(folder, "exposed/verdicts.parquet", tables.VERDICTS)
    found = errors.join(samples, on=keys).join(verdicts, on=keys)
    assert found.height == errors.height
    assert (found["response"] == found["response_right"]).all()
    assert set(found["verdict"]) == {"incorrect"}
    own = read(folder, "tiny/samples.parquet", tables.SAMPLES)
    assert not samples["response"].equals(own["response"])
    # no training row names a sample of the student for them
    rows = read(folder, "tiny/orion_euler/train.parquet", tables.TRAIN)
    reflected = rows.filter(pl.col("target_kind") == "reflection")
    assert rows.height and not reflected["error_sample_ids"].list.len().sum()


def test_the_page_and_why_tell_whose_errors_they_are(folder, monkeypatch, capsys):
    document = json.loads((folder / "results/report/report.json").read_text())
    [student] = document["results"]
    assert {row["arm"] for row in student["table"]} == {*ARMS}
    page = (folder / "results/report/index.html").read_text()
    assert "errors: those of exposed" in page
    errors = read(folder, "tiny/orion_euler/errors.parquet", tables.ERRORS)
    problem, sample = errors.select("problem_id", "sample_id").row(0)
    monkeypatch.chdir(folder)
    main(["why", f"chains/tiny/orion_euler/{problem}"])
    out = capsys.readouterr().out
    assert f"exposed, sample {sample} of the model exposed of {problem}" in out
    main(["why", f"chains/tiny/exposure/{problem}"])
    assert "removed by wrong_answer" not in capsys.readouterr().out


def test_every_number_follows_from_the_tables(folder):
    assert recompute_report.find_faults(folder / "results") == []


def test_a_second_run_plans_nothing(folder, root, commands):
    status, out = run_snakemake(folder, root, "--dry-run", commands=commands)
    assert status == 0 and "Nothing to be done" in out
