"""Another draw of a student: its model is not made again, and nothing of the first draw reruns."""

import pytest

pytestmark = pytest.mark.slow


def test_another_draw_makes_no_model_again(checkout):
    config = checkout.config()
    [name] = config["runs"]["models"]
    config["models"]["again"] = {"source": {"kind": "model", "model": name}, "draw": 1}
    config["runs"]["models"] = [name, "again"]
    config["runs"]["students"] = {"draws": [[name, "again"]]}
    config["comparisons"] = [{"arm": "orion", "against": "sft_own", "group": "draws"}]
    checkout.write_config(config)
    plan = checkout.plan()
    assert "student" not in plan and "dequantise" not in plan and "dataset" not in plan
    # its own registration, samples and trainings, and nothing more of the first draw's
    jobs = checkout.snakemake("--dry-run", "--nocolor").stdout
    assert f"results/datasets/chains/{name}/samples.parquet" not in [
        line.split("output: ")[1] for line in jobs.splitlines() if "output: " in line
    ]
    assert plan["sample"] == 1 and plan["train"] == 3 and plan["plan"] == plan["report"] == 1
    assert f"results/models/{name}/checkpoint" in jobs and "models/again/checkpoint" not in jobs
