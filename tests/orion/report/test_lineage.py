"""The report's table of artifacts says the same as the rules of the workflow."""

import copy
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from orion import paths
from orion.config import validate
from orion.report import lineage
from orion.stages.report import CSV_FILES, GROUP_FILES
from tests.helpers.configurations import read_one_student

# files of rules that carry no provenance of their own
WITHOUT_PROVENANCE = (
    paths.PLAN,
    paths.PREVIEW,
    paths.UNMATCHED_PREVIEW,
    paths.TRAIN_LOG,
    "models/{model}/checkpoint",
    "datasets/{dataset}/{model}/{arm}/seed-{seed}/model",
)


class PlannedJob(NamedTuple):
    """A job of a dry run: its rule and its files."""

    rule: str
    inputs: set[str]
    outputs: set[str]


def plan_jobs(root: Path, folder: Path, config: dict) -> list[PlannedJob]:
    """All jobs that Snakemake plans for a configuration in an empty results folder."""
    (folder / "config").mkdir()
    (folder / "config" / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--dry-run", "--nocolor"]
    command += ["--snakefile", str(root / "workflow" / "Snakefile"), "--directory", str(folder)]
    env = {**os.environ, "PYTHONPATH": f"{root}:{root / 'kernels'}"}
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    jobs = []
    for block in re.split(r"\n(?=(?:local)?rule \w+:\n)", done.stdout)[1:]:
        rule = re.match(r"(?:local)?rule (\w+):", block)[1]
        files = {
            # an output that is added to is marked
            kind: set(found[1].replace(" (update)", "").split(", ")) if found else set()
            for kind in ("input", "output")
            for found in [re.search(rf"^    {kind}: (.+)$", block, re.MULTILINE)]
        }
        jobs.append(PlannedJob(rule, files["input"], files["output"]))
    return jobs


def default_configuration(root: Path) -> dict:
    return read_one_student(root)


def configuration_with_teacher(root: Path, folder: Path) -> dict:
    """A second dataset from files whose traces a teacher must write, and a second student."""
    config = copy.deepcopy(default_configuration(root))
    row = {"id": "r1", "problem": "what is 1 and 1 ?", "answer": "2"}
    (folder / "mine.jsonl").write_text(json.dumps(row), encoding="utf-8")
    source = {"kind": "jsonl", "path": "mine.jsonl"}
    config["datasets"]["mine"] = {"source": source, "teacher": "big"}
    for name, seed in (("big", 2), ("other", 3)):
        config["models"][name] = {"source": {"kind": "demo", "seed": seed}, "dtype": "float32"}
    config["teacher"] = {"num_samples": 2, "temperature": 0.6, "max_tokens": 200}
    config["runs"] |= {
        "datasets": ["chains", "mine"],
        "models": ["tiny", "other"],
        "arms": ["base", "sft_own", "orion_placebo", "orion"],
        "seeds": [1],
    }
    config["comparisons"] = [{"arm": "orion", "against": "sft_own"}]
    return config


def configuration_with_rounds(root: Path, folder: Path) -> dict:
    """A student warmed up on a dataset of its own, and the student that it becomes."""
    config = copy.deepcopy(default_configuration(root))
    config["datasets"]["drills"] = copy.deepcopy(config["datasets"]["chains"])
    config["datasets"]["drills"]["source"]["seed"] = 14
    config["models"]["warm"] = {
        "source": {
            "kind": "arm",
            "dataset": "drills",
            "model": "tiny",
            "arm": "sft_answer",
            "seed": 7,
        }
    }
    config["models"]["second"] = {
        "source": {"kind": "arm", "dataset": "chains", "model": "warm", "arm": "orion", "seed": 1}
    }
    config["runs"] |= {"models": ["warm", "second"], "arms": ["base", "sft_answer", "orion"]}
    config["comparisons"] = []
    return config


def configuration_of_a_later_round(root: Path, folder: Path) -> dict:
    """The later student alone, whose own run trains nothing."""
    config = configuration_with_rounds(root, folder)
    config["runs"] |= {"models": ["second"], "arms": ["base"]}
    return config


def configuration_with_controls(root: Path, folder: Path) -> dict:
    """The arms that no run has unless it names them."""
    config = copy.deepcopy(default_configuration(root))
    arms = ["base", "sft_rewrite", "orion", "orion_sham", "oracle", "sft_teacher_matched"]
    config["runs"] |= {"arms": arms, "seeds": [1]}
    config["report"] |= {"second_policy": "strict", "surprise": True}
    # these match each other, the rewrites are matched by no one
    match = {"problems": ["orion", "orion_sham", "oracle"], "rows": True}
    for arm in ("orion", "orion_sham", "oracle"):
        config["arms"][arm]["select"] = {"match": match}
    config["comparisons"] = []
    return config


def configuration_with_draws(root: Path, folder: Path) -> dict:
    """A student with a second draw, which is the same model, and a judge of its own kind."""
    config = copy.deepcopy(default_configuration(root))
    block = "{{ problem }} {{ first }} {{ second }} [[A]] [[B]] [[tie]]"
    config["prompts"] = str(folder / "prompts.jinja")
    (folder / "prompts.jinja").write_text(
        f'{{% extends "demo" %}}{{% block judge %}}{block}{{% endblock %}}', encoding="utf-8"
    )
    config["models"]["big"] = {"source": {"kind": "demo", "seed": 2}, "dtype": "float32"}
    config["report"]["judge"] = {"model": "big", "max_tokens": 64}
    config["models"]["again"] = {"source": {"kind": "model", "model": "tiny"}, "draw": 1}
    config["runs"] |= {"models": ["tiny", "again"], "students": {"draws": [["tiny", "again"]]}}
    config["comparisons"] = [{"arm": "orion", "against": "sft_own", "group": "draws"}]
    return config


def configuration_with_a_writer(root: Path, folder: Path) -> dict:
    """A warmed-up model writes for the student; two arms are cut to the fewest tokens."""
    config = configuration_with_rounds(root, folder)
    arms = ["sft_rewrite", "sft_own"]
    config["runs"] |= {"models": ["tiny"], "arms": ["base", *arms], "seeds": [1]}
    for arm in arms:
        config["arms"][arm]["select"] = {"match": {"problems": arms, "fewest_tokens": True}}
    config["arms"]["sft_rewrite"]["reflect"] = {"model": "warm"}
    return config


CONFIGURATIONS = {
    "writer": configuration_with_a_writer,
    "controls": configuration_with_controls,
    "default": lambda root, folder: default_configuration(root),
    "teacher": configuration_with_teacher,
    "rounds": configuration_with_rounds,
    "draws": configuration_with_draws,
    "later round": configuration_of_a_later_round,
}


@pytest.fixture(params=CONFIGURATIONS)
def config(request, root, tmp_path) -> dict:
    return CONFIGURATIONS[request.param](root, tmp_path)


def matches(path: str, template: str) -> bool:
    pattern = re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(f"results/{template}"))
    return re.fullmatch(pattern, path) is not None


def find_differences(jobs: list[PlannedJob], config: dict) -> list[str]:
    """One line per file whose job and whose row of the table differ."""
    lines = []
    making = {output: job for job in jobs for output in job.outputs}
    artifacts = {str(a.path): a for a in lineage.list_artifacts(validate(config), "results")}
    for path, artifact in artifacts.items():
        inputs = {str(found) for found in artifact.inputs.values()}
        if path not in making:
            lines.append(f"{path}: no job makes it")
        elif artifact.stage == "model":
            # the document itself holds the digests of the checkpoint's files
            known = making[path].inputs & artifacts.keys()
            lines += [f"{path}: {sorted(known ^ inputs)}"] if known != inputs else []
        elif making[path].inputs != inputs:
            lines.append(f"{path}: {sorted(making[path].inputs ^ inputs)} on one side only")
    for path in sorted(making.keys() - artifacts.keys()):
        known = any(matches(path, template) for template in WITHOUT_PROVENANCE)
        if making[path].rule != "report" and not known:
            lines.append(f"{path}: not in the table")
    return lines


def test_the_table_and_the_rules_say_the_same(config, root, tmp_path):
    jobs = plan_jobs(root, tmp_path, config)
    assert len(jobs) > 25
    assert find_differences(jobs, config) == []
    [report] = [job for job in jobs if job.rule == "report"]
    files = {"index.html", "report.json", "figures", *CSV_FILES, *GROUP_FILES}
    assert report.outputs == {f"results/report/{file}" for file in files}
    # the comparison notices a moved file, a lost input and a job that the table does not know
    expose = next(job for job in jobs if job.rule == "expose")
    [errors] = expose.outputs
    moved = expose._replace(outputs={"results/elsewhere/errors.parquet"})
    lost = expose._replace(inputs=set(list(expose.inputs)[1:]))
    others = [job for job in jobs if job is not expose]
    assert find_differences([*others, lost], config) != []
    assert find_differences([*others, moved], config) == [
        f"{errors}: no job makes it",
        "results/elsewhere/errors.parquet: not in the table",
    ]


def test_a_run_without_a_trained_arm_needs_no_traces(root, tmp_path):
    config = configuration_with_teacher(root, tmp_path)
    config["runs"] |= {"models": ["tiny"], "arms": ["base"]}
    config["comparisons"] = []
    jobs = plan_jobs(root, tmp_path, config)
    assert find_differences(jobs, config) == []
    assert not {"trace", "check_traces"} & {job.rule for job in jobs}
    assert "results/models/big/model.json" not in {path for job in jobs for path in job.outputs}


def test_parents_come_before_children(config):
    seen: set[Path] = set()
    for artifact in lineage.list_artifacts(validate(config), "results"):
        below = {path for path in artifact.inputs.values() if path.parts[0] == "results"}
        assert below <= seen, artifact.path
        seen.add(artifact.path)
