"""What a run has cost, against sums over an invented one; estimates beside it."""

import csv
import dataclasses
import io
import json
import re

import pytest

from orion import paths, tables
from orion.cli.main import main
from orion.config import validate
from orion.cost import page, record
from orion.cost.actual import Pair, compare, list_finished, sum_by_rule
from orion.cost.amounts import NOTHING, UNKNOWN, exact
from orion.cost.arm_costs import list_arm_costs
from orion.cost.counts import Counts
from orion.cost.estimate import COLUMNS, Prices, estimate
from orion.cost.pilot import Pilot
from orion.cost.planned_jobs import PlannedJob
from orion.errors import InputError
from tests.helpers import fake_results
from tests.helpers.fake_pilot import FakePilot, write_usage

STUDENT = {"dataset": "chains", "model": "tiny"}
ARM = {**STUDENT, "arm": "orion"}
TEACHER = {**STUDENT, "arm": "sft_teacher"}
RAW = fake_results.configuration(20, 3)
SAMPLED, REFLECTED = [10, 20, 30] * 20, [70] * 30


def run(arm, seed, benchmark="chains-test"):
    return {**STUDENT, "arm": arm, "seed": seed, "benchmark": benchmark}


def add_rows(made, wildcards, *inputs):
    """An arm's rows, by a record that names the inputs they were selected from."""
    made.add("select", 3.0, **wildcards)
    path = paths.artifact(made.results, paths.TRAIN, **wildcards)
    path.parent.mkdir(parents=True, exist_ok=True)
    made_from = made.record("select", wildcards) | {"inputs": dict.fromkeys(inputs, "0")}
    tables.write(tables.empty(tables.TRAIN), path, tables.TRAIN, made_from)


@pytest.fixture
def made(tmp_path):
    """A student's samples, two trained arms and the untrained one, two seeds."""
    made = FakePilot(tmp_path, validate(RAW))
    made.add("plan", 1.0)
    made.add("register_demo_model", 2.0, model="tiny")
    made.add_completions("sample", 60.0, SAMPLED, per_problem=3, cpu=90.0, **STUDENT)
    made.add_verdicts("check", 6.0, 60, **STUDENT)
    made.add("expose", 4.0, **ARM)
    made.add_completions("reflect", 42.0, REFLECTED, per_problem=2, cpu=80.0, **ARM)
    made.add_verdicts("check_reflections", 5.0, 30, **ARM)
    add_rows(made, ARM, "problems", "samples", "reflections")
    add_rows(made, TEACHER, "problems")
    for arm in (ARM, TEACHER):
        made.add("pack", 7.0, **arm)
    for arm in ("orion", "sft_teacher"):
        for seed, seconds in (("1", 36.0), ("2", 48.0)):
            made.add("train", seconds, **{**STUDENT, "arm": arm, "seed": seed})
    for arm, tokens in (("base", 5), ("orion", 8), ("sft_teacher", 30)):
        for seed in ("1", "2"):
            made.add_completions(
                "evaluate_sample", 30.0, [tokens] * 60, per_problem=3, **run(arm, seed)
            )
    return made


def sum_up(made, prices=None, gpus=()):
    read = Pilot(made.results)
    costs = sum_by_rule(read, list_finished(read), prices or Prices(), dict(gpus))
    return {cost.rule: cost for cost in costs}


def test_every_usage_file_counts_once(made):
    costs = sum_up(made)
    files = list(made.logs.rglob("*.usage.tsv"))
    seconds = [float(path.read_text().splitlines()[1].split("\t")[0]) for path in files]
    assert sum(cost.jobs for cost in costs.values()) == len(files) == 21
    hours = sum(cost.amounts["hours"].value for cost in costs.values())
    assert hours == pytest.approx(sum(seconds) / 3600)
    assert costs["select"].jobs == 2 and "match" not in costs


def test_tokens_are_those_of_the_completions(made):
    found = sum_up(made)["sample"].amounts
    assert [found[name].value for name in ("completions", "stored", "prompt_tokens")] == [
        60,
        0,
        60 * 40,
    ]
    assert found["new_tokens"].value == sum(SAMPLED)
    assert found["cpu_hours"].value == pytest.approx(90 / 3600)
    assert found["gpu_hours"] == NOTHING and found["money"] == NOTHING


def test_what_is_not_known_is_not_guessed(made):
    (made.logs / "datasets/chains/tiny/samples.log").unlink()
    (made.results / "datasets/chains/tiny/orion/reflections.parquet").unlink()
    costs = sum_up(made)
    assert costs["sample"].amounts["stored"] == UNKNOWN
    assert costs["sample"].amounts["new_tokens"].value == sum(SAMPLED)
    assert costs["reflect"].amounts["new_tokens"] == UNKNOWN
    assert costs["reflect"].amounts["hours"].value == pytest.approx(42 / 3600)


def test_money_is_time_by_its_price(made):
    hour = sum_up(made, Prices(hour=2.0))
    assert hour["train"].amounts["money"].value == pytest.approx(2 * (36 + 48) * 2 / 3600)
    usage = "datasets/chains/tiny/samples.usage.tsv"
    gpu = sum_up(made, Prices(gpu_hour=3.0, cpu_hour=1.0), {usage: 2})
    assert gpu["sample"].amounts["gpu_hours"].value == pytest.approx(60 * 2 / 3600)
    assert gpu["sample"].amounts["money"].value == pytest.approx(60 * 2 * 3 / 3600)
    assert gpu["reflect"].amounts["money"].value == pytest.approx(80 / 3600)
    assert sum_up(made, Prices(gpu_hour=3.0))["reflect"].amounts["money"] == UNKNOWN


@pytest.mark.parametrize(("generated", "known"), [(None, True), (50, False)])
def test_served_tokens_are_paid_for_where_all_were_generated(tmp_path, generated, known):
    raw = {**RAW, "sample": {**RAW["sample"], "engine": "openai"}}
    server = {"source": {"kind": "server", "model": "big"}, "context_length": 4096}
    server["server"] = {"base_url": "http://localhost:1/v1"}
    raw["models"] = {**RAW["models"], "tiny": server}
    raw["runs"] = {**RAW["runs"], "arms": ["base"]}
    raw |= {"evaluate": {**RAW["evaluate"], "engine": "openai"}, "comparisons": []}
    made = FakePilot(tmp_path, validate(raw))
    made.add_completions(
        "sample", 60.0, SAMPLED, per_problem=3, cpu=90.0, generated=generated, **STUDENT
    )
    prices = Prices(hour=1.0, prompt={"*": 500.0}, completion={"tiny": 2000.0})
    money = sum_up(made, prices)["sample"].amounts["money"]
    expected = 60 / 3600 + (60 * 40 * 500 + sum(SAMPLED) * 2000) / 1e6
    assert money.value == pytest.approx(expected) if known else money == UNKNOWN
    assert sum_up(made, Prices(hour=1.0))["sample"].amounts["money"] == UNKNOWN


def test_reflections_are_paid_for_at_the_price_of_the_model_that_wrote_them(tmp_path):
    server = {"source": {"kind": "server", "model": "big"}, "context_length": 4096}
    server["server"] = {"base_url": "http://localhost:1/v1"}
    arms = {**RAW["arms"], "orion": {**RAW["arms"]["orion"]}}
    arms["orion"]["reflect"] = {"model": "big", "engine": "openai"}
    raw = {**RAW, "prompts": "chat", "arms": arms, "models": {**RAW["models"], "big": server}}
    made = FakePilot(tmp_path, validate(raw))
    made.add_completions("reflect", 36.0, REFLECTED, per_problem=2, **ARM)
    prices = {"prompt": {"big": 500.0, "tiny": 1.0}, "completion": {"big": 2000.0, "tiny": 1.0}}
    money = sum_up(made, Prices(hour=1.0, **prices))["reflect"].amounts["money"]
    assert money.value == pytest.approx(0.01 + (30 * 40 * 500 + 30 * 70 * 2000) / 1e6)
    student = {name: {"tiny": 1.0} for name in prices}
    assert sum_up(made, Prices(hour=1.0, **student))["reflect"].amounts["money"] == UNKNOWN


def test_each_arm_has_its_tokens_and_seconds(made):
    read = Pilot(made.results)
    base, orion, teacher = list_arm_costs(read, list_finished(read))
    assert (base.arm, orion.arm, teacher.arm) == ("base", "orion", "sft_teacher")
    assert (orion.shared_tokens, orion.shared_seconds) == (sum(SAMPLED), 60 + 6)
    assert (orion.own_tokens, orion.own_seconds) == (sum(REFLECTED), 4 + 42 + 5 + 3 + 7)
    # it trains on no text of the student
    assert (teacher.shared_tokens, teacher.shared_seconds) == (0, 0)
    assert (teacher.own_tokens, teacher.own_seconds) == (0, 3 + 7)
    assert orion.train_seconds == teacher.train_seconds == 42
    assert dataclasses.astuple(base)[3:8] == (None,) * 5
    for arm, tokens in ((base, 5), (orion, 8), (teacher, 30)):
        assert (arm.answers, arm.answer_tokens) == (120, tokens)
        assert arm.answer_seconds == pytest.approx(60 / 120)


def test_seconds_per_answer_leave_out_jobs_that_found_answers_stored(made):
    log = made.logs / "datasets/chains/tiny/base/seed-1/chains-test/samples.log"
    log.write_text("completions: 59 of 60 are stored, 1 to generate\n")
    write_usage(log.with_name("samples.usage.tsv"), 1.0, 1.0)
    read = Pilot(made.results)
    base = list_arm_costs(read, list_finished(read))[0]
    assert base.answer_seconds == pytest.approx(30 / 60) and base.answers == 120


JOBS = [
    PlannedJob("sample", STUDENT, (), gpus=1),
    PlannedJob("reflect", ARM, ()),
    PlannedJob("register_demo_model", {"model": "tiny"}, ()),
    PlannedJob("train", {**ARM, "seed": "1"}, ()),
    PlannedJob("train", {**ARM, "seed": "9"}, ()),
    PlannedJob("all", {}, ()),
]


@pytest.fixture
def recorded(made, tmp_path_factory):
    """An estimate of some jobs of the run by a pilot of half the speed, beside the run's logs."""
    folder = tmp_path_factory.mktemp("pilot")
    pilot = FakePilot(folder, validate(RAW))
    pilot.add("register_demo_model", 2.0, model="tiny")
    pilot.add_problems("dataset", 20, 1.5, dataset="chains")
    pilot.add_completions("sample", 120.0, SAMPLED, per_problem=3, **STUDENT)
    pilot.add("train", 42.0, **ARM, seed="1")
    settings, read = validate(RAW), Pilot(pilot.results)
    counts = Counts(settings, JOBS, read, folder / "none")
    costs = estimate(settings, JOBS, counts, read, Prices(hour=2.0))
    place = made.logs / record.PLACE
    record.write(str(place), costs, JOBS, Prices(hour=2.0), pilot="pilot/results")
    return place, costs


def test_an_estimate_is_read_as_it_was_written(recorded):
    place, costs = recorded
    found = record.read(place)
    for cost in costs:
        own = [job for job in found.planned.values() if job.rule == cost.rule]
        assert len(own) == (cost.jobs if cost.rule != "all" else 0)
        for name in COLUMNS:
            amount, values = cost.amounts[name], [job.amounts[name] for job in own]
            known = [value for value in values if value is not None]
            assert sum(known) == pytest.approx(amount.value) and len(known) == amount.known
    assert found.prices == Prices(hour=2.0) and found.pilot == "pilot/results"
    assert found.planned["models/tiny/model.usage.tsv"].rule == "register_demo_model"
    assert found.planned["datasets/chains/tiny/samples.usage.tsv"].gpus == 1
    assert len(found.planned) == 5


def read_csv(path):
    return list(csv.DictReader(io.StringIO(path.read_text())))


def read_rows(text, head):
    lines = text.splitlines()
    [start] = [i for i, line in enumerate(lines) if re.match(head, line)]
    rows = {}
    for line in lines[start + 1 :]:
        if not line or not re.search(r" {2,}", line):
            break
        rule, *values = re.split(r" {2,}", line)
        rows[rule] = values
    return rows


def test_the_command_says_both(recorded, made, tmp_path, capsys):
    page_file, folder = tmp_path / "cost.html", tmp_path / "csv"
    main(["cost", str(made.results), "--page", str(page_file), "--csv", str(folder)])
    text = capsys.readouterr().out
    rows = read_rows(text, "rule +run")
    # 60 s by a pilot of half the speed
    tokens, hours = ["1", "1,200", "1,200", "1.00"], ["1", "0.0333", "0.0167", "0.50"]
    assert rows["sample"] == ["1 of 1", *tokens, *hours]
    none = ["-"] * 4
    assert rows["register_demo_model"] == ["1 of 1", *none, "1", "0.000556", "0.000556", "1.00"]
    # of two trainings that were planned one has run
    assert rows["train"] == ["1 of 2", *none, "1", "0.0117", "0.01", "0.86"]
    # nothing of the kind was in the pilot
    assert rows["reflect"] == ["1 of 1", *none, *none]
    assert rows["total"] == ["4 of 5", *tokens, "3", "0.0456", "0.0272", "0.60"]
    arms = read_rows(text, "dataset/model/arm")
    assert arms["chains/tiny/orion"] == ["1,200", "66", "2,100", "61", "42", "120", "8", "0.5"]
    total = read_rows(text, "rule +jobs")["total"]
    assert total[0] == "21"
    found = {row["rule"]: row for row in read_csv(folder / "rules.csv")}
    assert float(found["sample"]["compared_hours_estimated"]) == pytest.approx(120 / 3600)
    assert float(found["sample"]["compared_hours_actual"]) == pytest.approx(60 / 3600)
    # the resource gpu of the plan, and its prices
    assert float(found["sample"]["gpu_hours"]) == pytest.approx(60 / 3600)
    assert float(found["sample"]["money"]) == pytest.approx(2 * 60 / 3600)
    assert float(found["train"]["compared_hours_actual"]) == pytest.approx(36 / 3600)
    assert float(found["train"]["hours"]) == pytest.approx(168 / 3600)
    assert found["reflect"]["planned_jobs_run"] == "1" and found["plan"]["planned_jobs"] == ""
    assert found["reflect"]["compared_hours_jobs"] == ""
    arms = read_csv(folder / "arms.csv")
    assert [row["arm"] for row in arms] == ["base", "orion", "sft_teacher"]
    html = page_file.read_text()
    assert html.count("<table>") == 3 and "<td>0.50</td>" in html and "<script" not in html
    assert not (made.results / "report").exists()


def test_without_an_estimate_the_run_is_told_alone(made, capsys):
    main(["cost", str(made.results), "--price", "hour=3600"])
    text = capsys.readouterr().out
    assert "Estimate" not in text
    assert read_rows(text, "rule +jobs")["train"][-1] == "168"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "nowhere: no such folder"),
        (["results", "--estimate", "none.json"], "none.json: cannot be read"),
        (["results", "--estimate", "bad.json"], "bad.json: not an estimate; `orion plan CONFIG"),
        (["results", "--estimate", "old.json"], "old.json: not an estimate"),
        (["results", "--price", "hour=-1"], "give KEY=AMOUNT"),
        (["results", "--price", "minute=1"], "no such key; one of gpu-hour, cpu-hour, hour"),
        (["results", "--price", "hour=1", "gpu-hour=1"], "give one kind"),
        (["results", "--page", "results/x/models"], None),
        (["results", "--csv", "bad.json"], "--csv bad.json: cannot be written"),
    ],
)
def test_bad_input_is_refused(made, tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.json").write_text("[1, 2]")
    (tmp_path / "old.json").write_text(json.dumps({"rules": [], "jobs": 0, "pilot": None}))
    if message is None:
        return main(["cost", *words])
    with pytest.raises(SystemExit, match="2"):
        main(["cost", *words])
    assert message in capsys.readouterr().err


def test_a_folder_without_usage_files_is_named(tmp_path):
    (tmp_path / "results").mkdir()
    with pytest.raises(InputError, match=r"^\S*results: no \*\.usage\.tsv below"):
        Pilot(tmp_path / "results", place="")


def test_only_what_is_known_on_both_sides_is_compared():
    def plan_job(rule, **amounts):
        return record.PlannedCost(rule, 0, {**dict.fromkeys(COLUMNS), **amounts})

    def ran(**amounts):
        return {**dict.fromkeys(COLUMNS, NOTHING), **amounts}

    jobs = {
        "a": plan_job("sample", hours=4.0, new_tokens=100.0),
        "b": plan_job("sample", hours=2.0, new_tokens=50.0),
        "c": plan_job("sample", new_tokens=50.0),
        "d": plan_job("sample", hours=8.0),
        "e": plan_job("pack", hours=1.0, cpu_hours=1.0),
        "f": plan_job("expose", hours=0.0),
    }
    measured = {
        "a": ran(hours=exact(5.0), new_tokens=exact(90.0), stored=exact(0.0)),
        # half of it was stored, so its time says nothing
        "b": ran(hours=exact(0.5), new_tokens=exact(60.0), stored=exact(20.0)),
        "c": ran(hours=exact(9.0), new_tokens=UNKNOWN, stored=UNKNOWN),
        "e": ran(hours=exact(1.0), cpu_hours=UNKNOWN),
        "f": ran(hours=exact(1.0)),
        "g": ran(hours=exact(7.0)),
    }
    found = {each.rule: each for each in compare(record.Record(jobs, Prices(), None), measured)}
    sample = found["sample"]
    assert (sample.planned, sample.run) == (4, 3)
    assert sample.pairs["hours"] == Pair(1, 4.0, 5.0) and sample.pairs["hours"].ratio == 1.25
    assert sample.pairs["new_tokens"] == Pair(2, 150.0, 150.0)
    assert found["pack"].pairs["hours"] == Pair(1, 1.0, 1.0)
    assert found["pack"].pairs["cpu_hours"] == Pair() and Pair().ratio is None
    assert found["expose"].pairs["hours"].ratio is None and "g" not in found


def test_hostile_text_is_inert_on_the_page():
    html = page.render(("<script>", [["a"], ["<img onerror=x>", "{{ 1 }}"]], "</p><b>"))
    assert "<script" not in html and "<img" not in html and "<b>" not in html
    assert "{{ 1 }}" in html
