"""One small run of every arm that the files of the configuration have, to its report.

The prompt set adds to that of the embedded student the blocks that some arms need, in words that it
was pre-trained on. What each arm trains on is in tests/orion/stages/test_arms.py and
test_more_arms.py.
"""

import json

import pytest
import yaml

from orion.config.files import read_mapping
from orion.config.models import merge
from tests.helpers import recompute_report, report_page
from tests.helpers.configurations import read_one_student
from tests.helpers.snakemake import run_snakemake

pytestmark = pytest.mark.slow
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


@pytest.fixture(scope="module")
def configuration(root) -> dict:
    config = merge(read_one_student(root), read_mapping(root / "config/arms.yaml"))
    arms = list(config["arms"])
    config["runs"].update(seeds=[1], benchmarks=["chains-test"], arms=arms)
    config["comparisons"] = [
        {"arm": arm, "against": "base"} for arm in ("orion", "oracle", "lemma", "p_align")
    ]
    config["prompts"] = "prompts.jinja"
    config["models"] = {
        "tiny": {"source": {"kind": "embedded", "student": "one"}, "dtype": "float32"},
        "teacher": {"source": {"kind": "embedded", "student": "two"}, "dtype": "float32"},
    }
    config["datasets"]["chains"]["source"].update(n=16)
    source = {"kind": "demo", "level": "test", "n": 6, "seed": 12}
    config["benchmarks"] = {"chains-test": {"source": source}}
    config["sample"].update(num_samples=4)
    config["reflect"].update(max_failed_fraction=1.0)
    config["select"].update(min_rows=1, fallback_all_filtered="own_correct")
    config["train"]["max_steps"] = 2
    config["evaluate"].update(num_samples=2, max_tokens=48)
    config["report"].update(bootstrap=100, examples=4, surprise=True)
    return config


@pytest.fixture(scope="module")
def folder(root, commands, configuration, tmp_path_factory):
    path = tmp_path_factory.mktemp("arms")
    (path / "prompts.jinja").write_text(PROMPTS)
    (path / "config").mkdir()
    (path / "config/config.yaml").write_text(yaml.safe_dump(configuration))
    status, out = run_snakemake(path, root, commands=commands)
    assert status == 0, out[-6000:]
    return path


def test_every_arm_is_trained_evaluated_and_on_the_page(folder, configuration):
    arms = configuration["runs"]["arms"]
    assert len(arms) > 30
    page = (folder / "results/report/index.html").read_text()
    document = json.loads((folder / "results/report/report.json").read_text())
    [student] = document["results"]
    assert {row["arm"] for row in student["table"]} == set(arms)
    assert [arm for arm in arms if arm not in page] == []
    for arm in arms:
        weights = folder / f"results/datasets/chains/tiny/{arm}/seed-1/model/model.safetensors"
        assert weights.exists() == (arm != "base"), arm


def test_every_number_follows_from_the_tables(folder):
    assert recompute_report.find_faults(folder / "results") == []
    assert report_page.find_faults(folder / "results") == []


def test_only_arms_that_choose_by_surprisal_have_it(folder):
    found = sorted((folder / "results").rglob("*_surprisal.parquet"))
    student = folder / "results/datasets/chains/tiny"
    assert found == [
        student / "orion_lowest_surprisal/reflection_surprisal.parquet",
        student / "orion_rank_surprisal/reflection_surprisal.parquet",
        student / "sample_surprisal.parquet",
    ]
