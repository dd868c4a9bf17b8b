"""Served models to the end of the pipeline: real Snakemake, real rules, a real local server."""

import json
import re

import pytest
import yaml

from orion import prompts, tables
from orion.demo.problems import generate
from tests.helpers import recompute_report
from tests.helpers.openai_server import ScriptedServer, answer
from tests.helpers.snakemake import run_snakemake

pytestmark = pytest.mark.slow
LEVEL, TRAINING, BENCHMARK = "easy", {"n": 12, "seed": 11}, {"n": 8, "seed": 12}


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
    """What is asked → the teacher's trace, for all problems of the run."""
    problems = [*generate(LEVEL, **TRAINING), *generate(LEVEL, **BENCHMARK)]
    return {prompts.solve("demo", p.problem): p.teacher_trace for p in problems}


@pytest.fixture(scope="module")
def server(texts):
    """Answers every problem with its trace; every third seed ends in a wrong box."""

    def script(body, attempt):
        if body["model"] == "org/judge":
            return answer(body, "The first one.\n[[A]]")
        text = texts[body["messages"][-1]["content"]]
        return answer(body, text if body["seed"] % 3 else f"{text} no : \\boxed{{ 0 }}")

    made = ScriptedServer()
    made.script = script
    yield made
    made.close()


def write_config(folder, configuration: dict) -> None:
    common = {
        "prompts": "demo",
        "datasets": {
            "chains": {
                "source": {"kind": "demo", "level": LEVEL, **TRAINING},
                "fields": {"solution": None, "teacher_trace": None},
            }
        },
        "benchmarks": {"held-out": {"source": {"kind": "demo", "level": LEVEL, **BENCHMARK}}},
        "report": {"bootstrap": 100, "examples": 4},
    }
    (folder / "mine.yaml").write_text(yaml.safe_dump({**common, **configuration}))


def run(folder, root, *args: str) -> str:
    status, out = run_snakemake(folder, root, "--configfile", "mine.yaml", *args)
    logs = "".join(path.read_text() for path in folder.joinpath("logs").rglob("*.log"))
    assert status == 0, out[-4000:] + logs[-4000:]
    return out


def test_a_served_student_ends_in_a_report(root, server, tmp_path):
    write_config(
        tmp_path,
        {
            "runs": {
                "datasets": ["chains"],
                "models": ["asked"],
                "arms": ["base"],
                "seeds": [1],
                "benchmarks": ["held-out"],
                "students": None,
            },
            "comparisons": [],
            "models": {
                "asked": {
                    "source": {"kind": "server", "model": "org/asked", "revision": "1"},
                    "context_length": 4096,
                    "server": {"base_url": server.url},
                }
            },
            "sample": {"num_samples": 2, "temperature": 0.8, "max_tokens": 64, "engine": "openai"},
            "evaluate": {
                "num_samples": 2,
                "temperature": 0.8,
                "max_tokens": 64,
                "engine": "openai",
            },
        },
    )
    run(tmp_path, root)
    page = (tmp_path / "results/report/index.html").read_text()
    assert "asked" in page and "held-out" in page
    scores = tmp_path / "results/datasets/chains/asked/base/seed-1/held-out/scores.json"
    rows = {row["metric"]: row["value"] for row in json.loads(scores.read_text())["rows"]}
    assert 0.3 < rows["accuracy"] < 1 and rows["failed"] == 0
    assert "Nothing to be done" in run(tmp_path, root, "--dry-run")
    # a server that moves is asked nothing again, and only the report is made again
    asked = len(server.bodies)
    config = yaml.safe_load((tmp_path / "mine.yaml").read_text())
    config["models"]["asked"]["server"]["base_url"] = "http://127.0.0.1:9/v1"
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(config))
    out = run(tmp_path, root)
    assert "rule report" in out and "rule sample" not in out and len(server.bodies) == asked


JUDGE_PROMPT = """{% extends "demo" %}
{% block judge %}
{{ problem }}
A: {{ first }}
B: {{ second }}
End with [[A]], [[B]] or [[tie]].
{% endblock %}
"""


def test_a_served_teacher_and_a_judge_end_in_a_report(root, server, tmp_path, monkeypatch):
    """The README's teacher: no traces in the file, the key of a server, a student trained here.

    Afterwards a judge is named, and nothing but its jobs and the report runs.
    """
    monkeypatch.setenv("TEACHER_KEY", "sk-teacher-0123456789")
    student = {"kind": "demo", "seed": 1, "plain": 60, "reflections": 20, "drills": 20}
    write_config(
        tmp_path,
        {
            "runs": {
                "datasets": ["chains"],
                "models": ["tiny"],
                "arms": ["base", "sft_teacher"],
                "seeds": [1],
                "benchmarks": ["held-out"],
                "students": None,
            },
            "comparisons": [{"arm": "sft_teacher", "against": "base"}],
            "models": {
                "tiny": {"source": student, "dtype": "float32"},
                "big": {
                    "source": {"kind": "server", "model": "org/big", "revision": "2026-05"},
                    "context_length": 65536,
                    "server": {
                        "base_url": server.url,
                        "api_key_env": "TEACHER_KEY",
                        "headers": {"X-Title": "orion"},
                        "query": {"api-version": "2"},
                        "request": {
                            "rename": {"max_tokens": "max_completion_tokens"},
                            "drop": ["top_p"],
                            "add": {"reasoning_effort": "low"},
                        },
                    },
                },
            },
            "teacher": {
                "num_samples": 3,
                "temperature": 0.6,
                "max_tokens": 8192,
                "engine": "openai",
            },
            "sample": {"num_samples": 2, "temperature": 0.8, "max_tokens": 32},
            "evaluate": {"num_samples": 2, "temperature": 0.8, "max_tokens": 32},
            "select": {"min_rows": 1, "fallback_all_filtered": "teacher"},
            "train": {"max_steps": 2},
        },
    )
    config = yaml.safe_load((tmp_path / "mine.yaml").read_text())
    config["datasets"]["chains"]["teacher"] = "big"
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(config))
    before = len(server.bodies)
    # a student of three steps answers nothing: its empty rows are no reason to stop here
    for stage in ("sample", "evaluate"):
        config[stage]["max_failed_fraction"] = 1.0
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(config))
    run(tmp_path, root)
    asked, headers = server.bodies[before:], server.headers[before:]
    assert len(asked) == 3 * TRAINING["n"]
    for body in asked:
        assert body["path"] == "/v1/chat/completions?api-version=2" and body["model"] == "org/big"
        assert body["max_completion_tokens"] == 8192 and body["reasoning_effort"] == "low"
        assert not {"max_tokens", "top_p"} & set(body)
    assert {header["Authorization"] for header in headers} == {"Bearer sk-teacher-0123456789"}
    assert {header["X-Title"] for header in headers} == {"orion"}
    dataset = tmp_path / "results/datasets/chains"
    traced = tables.read(dataset / "problems_with_traces.parquet", tables.PROBLEMS)
    assert traced["teacher_trace"].count() >= 8
    train = tables.read(dataset / "tiny/sft_teacher/train.parquet", tables.TRAIN)
    assert set(train["target_kind"]) == {"teacher_trace"} and train.height >= 8
    page = (tmp_path / "results/report/index.html").read_text()
    assert "sft_teacher" in page and "held-out" in page
    for path in tmp_path.joinpath("results").rglob("*"):
        assert not path.is_file() or b"sk-teacher" not in path.read_bytes(), path
    # a judge that likes what stands first: its own jobs and the report, once
    asked = len(server.bodies)
    (tmp_path / "prompts.jinja").write_text(JUDGE_PROMPT)
    config["prompts"] = "prompts.jinja"
    config["models"]["judge"] = {
        "source": {"kind": "server", "model": "org/judge", "revision": "1"},
        "context_length": 4096,
        "server": {"base_url": server.url},
    }
    config["report"]["judge"] = {"model": "judge", "engine": "openai", "pairs": 5}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(config))
    out = run(tmp_path, root)
    ran = {*re.findall(r"rule (\w+):", out)}
    assert ran - {"all"} == {"register_model", "judge", "report"}
    assert [body["model"] for body in server.bodies[asked:]] == ["org/judge"] * 5 * 2 * 2
    doc = json.loads((tmp_path / "results/report/report.json").read_text())
    [row] = doc["results"][0]["judge"]
    assert (row["arm"], row["against"], row["pairs"]) == ("sft_teacher", "base", 5)
    assert row["position_bias"] == row["self_agreement"] == 1 and row["swap_agreement"] == 0
    assert row["inconsistent"] == 5 and row["win_rate"] == 0.5
    faults = recompute_report.find_faults(tmp_path / "results")
    assert not [fault for fault in faults if " judge" in fault]
    # nothing is asked twice: the same run again, and one with more samples
    assert "Nothing to be done" in run(tmp_path, root, "--dry-run")
    asked = len(server.bodies)
    config["teacher"]["num_samples"] = 4
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(config))
    run(tmp_path, root, "--until", "trace")
    assert len(server.bodies) == asked + TRAINING["n"]
