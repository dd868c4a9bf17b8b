"""Estimates against plain arithmetic on an invented pilot; what is unknown stays unknown."""

import copy
import math

import pytest

from orion import paths, tables
from orion.config import validate
from orion.cost.counts import Counts
from orion.cost.estimate import COLUMNS, Prices, estimate
from orion.cost.pilot import Pilot
from orion.cost.planned_jobs import PlannedJob
from orion.cost.rule_files import RULES
from orion.errors import InputError
from orion.experiment.judgements import JUDGEMENTS
from orion.spending.usage import read_usage
from tests.helpers import fake_results
from tests.helpers.fake_pilot import FakePilot, problem_frame, verdict_rows, write_usage

STUDENT = {"dataset": "chains", "model": "tiny"}
ARM = {**STUDENT, "arm": "orion"}
# new tokens of the pilot's samples, of each seed's evaluation, of its reflections
SAMPLED, FIRST, SECOND, REFLECTED = [10, 20, 30, 60] * 15, [5] * 60, [4] * 60, [70] * 30
PILOT, PLANNED = fake_results.configuration(20, 3), fake_results.configuration(50, 6)
PLANNED["train"]["max_steps"] = 24


def run(arm="orion", seed="1", benchmark="chains-test"):
    return {**STUDENT, "arm": arm, "seed": seed, "benchmark": benchmark}


def make_pilot(root, raw=PILOT):
    """A run of the arm orion on one benchmark with two seeds."""
    pilot = FakePilot(root, validate(raw))
    pilot.add("register_demo_model", 2.0, model="tiny")
    pilot.add_problems("dataset", 20, 1.5, dataset="chains")
    pilot.add_problems("benchmark", 20, 1.0, benchmark="chains-test")
    pilot.add_completions("sample", 60.0, SAMPLED, per_problem=3, cpu=90.0, **STUDENT)
    pilot.add_completions("reflect", 42.0, REFLECTED, per_problem=2, cpu=80.0, **ARM)
    pilot.add_completions("evaluate_sample", 30.0, FIRST, per_problem=3, **run(seed="1"))
    pilot.add_completions("evaluate_sample", 12.0, SECOND, per_problem=3, **run(seed="2"))
    pilot.add_verdicts("check", 6.0, 60, **STUDENT)
    pilot.add("train", 36.0, cpu=60.0, **ARM, seed="1")
    pilot.add("train", 48.0, cpu=80.0, **ARM, seed="2")
    return pilot


@pytest.fixture
def pilot(tmp_path):
    return make_pilot(tmp_path)


def plan(jobs, pilot=None, raw=PLANNED, prices=None, results=None):
    """Rule → its cost; the run has no results yet unless they are given."""
    settings = validate(raw)
    read = None if pilot is None else Pilot(pilot.results)
    folder = results if results is not None else pilot.root / "none" if pilot else None
    counts = Counts(settings, jobs, read, *([] if folder is None else [folder]))
    costs = estimate(settings, jobs, counts, read, prices or Prices())
    return {cost.rule: cost for cost in costs}


def change(raw, **blocks):
    changed = copy.deepcopy(raw)
    for block, keys in blocks.items():
        changed[block].update(keys)
    return changed


def spread(amount):
    return (amount.value, amount.low, amount.high)


def test_samples_cost_their_tokens(pilot):
    cost = plan([PlannedJob("sample", STUDENT, ())], pilot)["sample"]
    asked, new = 50 * 6, sum(SAMPLED) / len(SAMPLED)
    found = cost.amounts
    assert spread(found["completions"]) == (asked,) * 3 and found["completions"].at_most
    assert spread(found["stored"]) == (0, 0, 0)
    assert found["prompt_tokens"].value == asked * 40
    assert found["new_tokens"].value == pytest.approx(asked * new)
    assert found["hours"].value == pytest.approx(asked * new * 60 / sum(SAMPLED) / 3600)
    assert found["cpu_hours"].value == pytest.approx(asked * new * 90 / sum(SAMPLED) / 3600)
    assert len(found["hours"].pilot_jobs) == 1
    assert not found["gpu_hours"].known and not found["gpu_hours"].unknown


def test_the_spread_is_that_of_the_pilots_jobs(pilot):
    jobs = [PlannedJob("evaluate_sample", run(seed=str(seed)), ()) for seed in range(3)]
    found = plan(jobs, pilot)["evaluate_sample"].amounts
    asked = 3 * 50 * 6
    tokens = (sum(FIRST) + sum(SECOND)) / 120
    assert spread(found["new_tokens"]) == pytest.approx((asked * tokens, asked * 4, asked * 5))
    rates = 42 / (sum(FIRST) + sum(SECOND)), 12 / sum(SECOND), 30 / sum(FIRST)
    expected = [asked * n * rate / 3600 for n, rate in zip((tokens, 4, 5), rates, strict=True)]
    assert spread(found["hours"]) == pytest.approx(tuple(expected))
    assert len(found["hours"].pilot_jobs) == 2


def test_reflections_per_problem_come_from_the_pilot(pilot):
    jobs = [PlannedJob(rule, ARM, ()) for rule in ("reflect", "check_reflections")]
    costs = plan(jobs, pilot)
    found = costs["reflect"].amounts
    asked = 30 / 20 * 50
    assert found["completions"].value == pytest.approx(asked)
    assert found["hours"].value == pytest.approx(asked * 70 * 42 / sum(REFLECTED) / 3600)
    # nothing of the kind has run
    assert costs["check_reflections"].amounts["hours"].unknown == 1
    # another arm shows other errors
    other = [PlannedJob("reflect", {**ARM, "arm": "sft_rewrite"}, ())]
    found = plan(other, pilot)["reflect"]
    assert found.amounts["completions"].unknown == found.amounts["hours"].unknown == 1
    assert any("rates of other" in note for note in found.notes)


def test_checks_cost_their_texts_and_trainings_their_steps(pilot):
    jobs = [
        PlannedJob("check", STUDENT, ()),
        PlannedJob("train", {**ARM, "seed": "5"}, (), gpus=2),
    ]
    costs = plan(jobs, pilot)
    assert costs["check"].amounts["hours"].value == pytest.approx(50 * 6 * 6 / 60 / 3600)
    trained = costs["train"]
    rates = (36 + 48) / 24, 36 / 12, 48 / 12
    hours = tuple(24 * rate / 3600 for rate in rates)
    assert spread(trained.amounts["hours"]) == pytest.approx(hours)
    assert spread(trained.amounts["gpu_hours"]) == pytest.approx(tuple(2 * h for h in hours))
    assert any("max_steps 12, here 24" in note for note in trained.notes)


def with_judge(raw, tmp_path, **keys):
    """The configuration with a judge, of a server, that has one price for all tokens."""
    path = tmp_path / "judge.jinja"
    block = "{{ problem }} {{ first }} {{ second }} [[A]] [[B]] [[tie]]"
    path.write_text(f'{{% extends "demo" %}}{{% block judge %}}{block}{{% endblock %}}')
    served = {
        "source": {"kind": "server", "model": "org/big"},
        "context_length": 4096,
        "server": {"base_url": "http://127.0.0.1:9/v1"},
    }
    made = change(raw, report={"judge": {"model": "big", "engine": "openai", **keys}})
    made["models"]["big"] = served
    return made | {"prompts": str(path)}


def test_a_judge_is_asked_for_each_order_of_the_pairs_of_the_draw(tmp_path, pilot):
    job = PlannedJob("judge", {**ARM, "against": "sft_own", "benchmark": "chains-test"}, ())
    # 50 problems are at most so many: one may be dropped as a duplicate
    for pairs, asked in ((20, 20 * 2 * 3), (300, 50 * 2 * 3)):
        raw = with_judge(PLANNED, tmp_path, pairs=pairs, num_samples=3)
        found = plan([job], raw=raw, results=tmp_path)["judge"].amounts
        assert found["completions"].value == asked and found["stored"].value == 0
    # a pilot that judged: its tokens, its seconds, and the price of the judge, not of the student
    folder = tmp_path / "judged"
    folder.mkdir()
    earlier = make_pilot(folder, with_judge(PILOT, tmp_path))
    wildcards = {name: value for name, value in job.wildcards.items()}
    rows = [
        {
            "problem_id": f"p{i:03d}",
            "order": order,
            "sample_id": 0,
            "verdict": "tie",
            "response": "[[tie]]",
            "finish_reason": "stop",
            "prompt_tokens": 100,
            "completion_tokens": 20,
            "completion": f"judge-{i}-{order}",
        }
        for i in range(10)
        for order in ("arm_first", "against_first")
    ]
    earlier.add("judge", 40.0, **wildcards)
    earlier.add_table("judge", JUDGEMENTS, rows, **wildcards)
    log = folder / "logs" / RULES["judge"].usage.format(**wildcards)
    log = log.with_name(log.name.replace(".usage.tsv", ".log"))
    log.write_text("completions: 0 of 20 are stored, 20 to generate\n")
    earlier.add("register_model", 1.0, model="big")
    prices = Prices(hour=0.0, prompt={"big": 2.0}, completion={"big": 10.0})
    raw = with_judge(PLANNED, tmp_path, pairs=20, num_samples=3)
    found = plan([job], earlier, raw, prices)["judge"].amounts
    assert found["new_tokens"].value == pytest.approx(120 * 20)
    assert found["hours"].value == pytest.approx(120 * 20 * 40 / 400 / 3600)
    assert found["money"].value == pytest.approx(120 * (100 * 2 + 20 * 10) / 1e6)


def test_without_a_pilot_only_what_is_known_is_counted(tmp_path):
    jobs = [PlannedJob("sample", STUDENT, ()), PlannedJob("reflect", ARM, ())]
    costs = plan([*jobs, PlannedJob("all", {}, ())], results=tmp_path)
    assert costs["sample"].amounts["completions"].value == 300
    assert costs["reflect"].amounts["completions"].unknown == 1
    for cost in costs.values():
        assert not any(cost.amounts[name].known for name in COLUMNS[2:])
        assert not cost.rates


def test_at_temperature_0_one_completion_per_prompt_is_generated(pilot):
    raw = change(PLANNED, sample={"temperature": 0})
    found = plan([PlannedJob("sample", STUDENT, ())], pilot, raw)["sample"].amounts
    assert found["completions"].value == pytest.approx(50)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (change(PLANNED, sample={"engine": "vllm"}), "engine transformers, here vllm"),
        (
            change(PLANNED, models={"tiny": {"source": {"kind": "demo", "seed": 7}}}),
            "another model",
        ),
    ],
)
def test_another_engine_or_model_gives_no_rate(pilot, raw, reason):
    cost = plan([PlannedJob("sample", STUDENT, ())], pilot, raw)["sample"]
    for name in ("prompt_tokens", "new_tokens", "hours"):
        assert cost.amounts[name].unknown == 1 and not cost.amounts[name].known
    assert cost.amounts["completions"].value == 300
    assert not cost.rates
    assert any(reason in note for note in cost.notes)


def test_the_time_of_a_job_that_found_completions_stored_is_no_rate(tmp_path):
    pilot = make_pilot(tmp_path)
    pilot.add_completions("sample", 60.0, SAMPLED, per_problem=3, generated=20, **STUDENT)
    cost = plan([PlannedJob("sample", STUDENT, ())], pilot)["sample"]
    assert cost.amounts["hours"].unknown == 1
    assert cost.amounts["new_tokens"].value == pytest.approx(300 * sum(SAMPLED) / 60)
    assert any("stored before" in note for note in cost.notes)
    (pilot.logs / "datasets/chains/tiny/samples.log").unlink()
    assert plan([PlannedJob("sample", STUDENT, ())], pilot)["sample"].amounts["hours"].unknown


def test_a_resumed_training_is_no_rate(pilot):
    log = pilot.logs / "datasets/chains/tiny/orion/seed-1/train.log"
    log.write_text("resuming from results/work/x: step 6 of 12\n")
    cost = plan([PlannedJob("train", {**ARM, "seed": "1"}, ())], pilot)["train"]
    assert cost.amounts["hours"].value == pytest.approx(24 * 48 / 12 / 3600)
    assert any("resumed" in note for note in cost.notes)
    longer = change(PLANNED, train={"max_steps": None, "epochs": 2})
    cost = plan([PlannedJob("train", {**ARM, "seed": "1"}, ())], pilot, longer)["train"]
    assert cost.amounts["hours"].unknown == 1


def test_a_rate_per_job_of_sets_of_another_size_is_told(pilot):
    cost = plan([PlannedJob("dataset", {"dataset": "chains"}, ())], pilot)["dataset"]
    assert cost.amounts["hours"].value == pytest.approx(1.5 / 3600)
    assert any("20 problems in the pilot, of 50 here" in note for note in cost.notes)
    same = plan([PlannedJob("dataset", {"dataset": "chains"}, ())], pilot, PILOT)["dataset"]
    assert not same.notes


def test_money_is_hours_and_tokens_times_their_prices(tmp_path):
    raw = change(PILOT, sample={"engine": "openai"})
    raw["models"]["tiny"]["server"] = {"base_url": "http://localhost:1/v1"}
    pilot = make_pilot(tmp_path, raw)
    jobs = [
        PlannedJob("sample", STUDENT, ()),
        PlannedJob("train", {**ARM, "seed": "1"}, (), gpus=2),
        PlannedJob("check", STUDENT, ()),
    ]
    prices = Prices(3.0, 0.5, {"*": 2.0, "tiny": 4.0}, {"*": 8.0})
    costs = plan(jobs, pilot, raw, prices)
    tokens = 60 * 40 * 4.0 / 1e6 + sum(SAMPLED) * 8.0 / 1e6
    assert costs["sample"].amounts["money"].value == pytest.approx(tokens + 90 / 3600 * 0.5)
    trained = 2 * (36 + 48) / 2 / 3600 * 3.0
    assert costs["train"].amounts["money"].value == pytest.approx(trained)
    costs = plan(jobs, pilot, raw, Prices(3.0, 0.5))
    assert costs["sample"].amounts["money"].unknown == 1
    assert any("no price for completion:tiny, prompt:tiny" in n for n in costs["sample"].notes)
    assert costs["check"].amounts["money"].value == pytest.approx(0.0)


def test_what_is_there_is_counted_and_what_is_remade_is_not(tmp_path):
    results = tmp_path / "results"
    made = FakePilot(tmp_path, validate(PLANNED))
    made.add_table("dataset", tables.PROBLEMS, problem_frame(7), dataset="chains")
    jobs = [PlannedJob("sample", STUDENT, ())]
    found = plan(jobs, results=results)["sample"].amounts["completions"]
    assert (found.value, found.at_most) == (7 * 6, False)
    path = paths.artifact(results, paths.PROBLEMS, dataset="chains").as_posix()
    remade = [PlannedJob("dataset", {"dataset": "chains"}, (path,)), *jobs]
    found = plan(remade, results=results)["sample"].amounts["completions"]
    assert (found.value, found.at_most) == (50 * 6, True)


def test_reflections_are_counted_where_their_errors_are_there(tmp_path):
    made = FakePilot(tmp_path, validate(PLANNED))
    made.add_table("dataset", tables.PROBLEMS, problem_frame(4), dataset="chains")
    # the trace of p003 is not correct, so it is not shown
    right = verdict_rows(["p000", "p001", "p002"])
    made.add_table("check_traces", tables.VERDICTS, right, dataset="chains")
    steps = paths.artifact(made.results, paths.TRACE_STEPS, dataset="chains")
    tables.write(tables.empty(tables.STEPS), steps, tables.STEPS, {})
    error = {"sample_id": 0, "response": "3", "extracted": "3", "source": "own"}
    error |= {"source_problem_id": "", "own_sample_id": 0}
    rows = [
        {"problem_id": problem, "rank": rank, **error}
        for problem, ranks in (("p000", 2), ("p001", 1), ("p003", 1))
        for rank in range(ranks)
    ]
    made.add_table("expose", tables.ERRORS, rows, **ARM)
    cost = plan([PlannedJob("reflect", ARM, ())], results=made.results)["reflect"]
    assert spread(cost.amounts["completions"]) == (3, 3, 3)
    assert not cost.amounts["completions"].at_most


def test_stored_completions_are_none_or_unknown(tmp_path, pilot):
    jobs = [PlannedJob("sample", STUDENT, ())]
    results = tmp_path / "here"
    folder = results / "completions" / "0123456789abcdef"
    folder.mkdir(parents=True)
    (folder / f"part-{'0' * 32}.parquet").write_bytes(b"")
    cost = plan(jobs, pilot, results=results)["sample"]
    assert cost.amounts["stored"].unknown == 1
    assert cost.amounts["hours"].at_most and any("store" in note for note in cost.notes)
    document = paths.artifact(results, paths.MODEL, model="tiny")
    document.parent.mkdir(parents=True)
    for digest, is_known in (("f" * 64, True), ("0123456789abcdef" * 4, False)):
        tables.write_json({"name": "tiny", "digest": digest, "context_length": 8}, document, {})
        stored = plan(jobs, pilot, results=results)["sample"].amounts["stored"]
        assert (stored.known, stored.value) == (is_known, 0)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"s\tcpu_time\n",
        b"cpu_time\n1.0\n",
        b"s\tcpu_time\nfast\t1\n",
        b"s\tcpu_time\nnan\t1\n",
        b"s\tcpu_time\n-1\t1\n",
        b"s\tcpu_time\n1\t1\n2\t2\n",
        b"s\tcpu_time\n1\t\x001\n",
        b"\x1b[31ms" * 400_000,
    ],
)
def test_a_damaged_usage_file_is_named(tmp_path, raw):
    path = tmp_path / "x.usage.tsv"
    path.write_bytes(raw)
    with pytest.raises(InputError, match=r"x\.usage\.tsv: not a usage file") as error:
        read_usage(path)
    assert str(error.value).isprintable() and len(str(error.value)) < 400


@pytest.mark.parametrize("measured", ["NA", "-", ""])
def test_unmeasured_processor_time_is_unknown(pilot, measured):
    write_usage(pilot.logs / "plan.usage.tsv", 2.0, 0.0)
    path = pilot.logs / "plan.usage.tsv"
    path.write_text(path.read_text().replace("0.00\n", f"{measured}\n"))
    seconds, processors = read_usage(path)
    assert seconds == 2.0 and processors is None
    found = plan([PlannedJob("plan", {}, ())], pilot)["plan"].amounts
    assert math.isclose(found["hours"].value, 2 / 3600) and found["cpu_hours"].unknown == 1


def test_a_pilot_without_usage_files_is_refused(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        Pilot(tmp_path / "results")
    (tmp_path / "results").mkdir()
    with pytest.raises(InputError, match=r"no \*\.usage\.tsv below"):
        Pilot(tmp_path / "results")
