"""plan.json: versions are added and never lost, an edit is found, jobs wait for their plan."""

import argparse
import json
import threading

import pytest

from orion import tables
from orion.errors import InputError
from orion.experiment import plan as registered
from orion.provenance import canonical_json, digest_text
from orion.stages import plan
from tests.helpers.plans import write_plan

PLAN = write_plan({"arm": "orion", "against": "base", "kind": "superiority"})
OTHER = {**PLAN, "comparisons": []}


@pytest.fixture
def results(tmp_path):
    return tmp_path / "results"


def register(results, content=PLAN) -> list[registered.Version]:
    path = results / "plan.json"
    config, output = canonical_json(content), str(path)
    plan.main(["--config", config, "--results", str(results), "--output", output])
    return registered.read_history(path)


def evaluate(results, arm, record, model="m"):
    path = results / f"datasets/d/{model}/{arm}/seed-1/b/scores.json"
    path.parent.mkdir(parents=True)
    tables.write_json({"rows": []}, path, record)


def change(results, edit) -> list[registered.Version]:
    """Edit plan.json by hand."""
    path = results / "plan.json"
    document = json.loads(path.read_text())
    edit(document["versions"])
    path.write_text(json.dumps(document))
    return registered.read_history(path)


def test_a_plan_is_registered_once_and_a_change_is_a_new_version(results):
    [first] = register(results)
    assert first.plan == PLAN and first.evaluations == {"d/m": 0} and first.previous is None
    assert register(results) == [first]
    evaluate(results, "base", {"plan": first.digest})
    evaluate(results, "orion", {})
    # the demo beside it: another student, not of this plan
    evaluate(results, "orion", {}, model="other")
    before, second = register(results, OTHER)
    assert before == first and second.previous == first.digest
    assert second.evaluations == {"d/m": 2}
    assert second.recorded == {first.digest: 1, "none": 1}
    # what was dropped and comes back is a third version
    assert [v.plan for v in register(results)] == [PLAN, OTHER, PLAN]
    assert registered.find_edits(register(results)) == []


def test_a_fresh_plan_has_the_same_digest_on_every_day(results):
    history = plan.add_version([], PLAN, {"d/m": 0}, {}, date="2026-01-01")
    assert history[0].digest == register(results)[0].digest


def test_tables_that_a_job_is_making_again_still_count(results):
    [first] = register(results)
    evaluate(results, "base", {"plan": first.digest})
    folder = results / "datasets/d/m/base/seed-1/b"
    # Snakemake has removed the scores, the verdicts of the same evaluation are there
    (folder / "scores.json").rename(folder / "verdicts.parquet")
    assert register(results, OTHER)[1].evaluations == {"d/m": 1}


@pytest.mark.parametrize("key", ["plan", "evaluations", "recorded", "previous"])
def test_an_edit_of_a_version_is_found_whatever_follows(results, key):
    register(results)
    register(results, OTHER)
    values = {"plan": OTHER, "evaluations": {"d/m": 9}, "recorded": {"x": 1}, "previous": "x"}
    found = change(results, lambda versions: versions[0].update({key: values[key]}))
    assert registered.find_edits(found) == [1]
    # the stage goes on: the page says what was edited
    assert registered.find_edits(register(results)) == [1]


def test_a_version_that_was_cut_out_or_sealed_again_is_found(results):
    for content in (PLAN, OTHER, PLAN):
        register(results, content)
    saved = (results / "plan.json").read_text()
    assert registered.find_edits(change(results, lambda versions: versions.pop(1))) == [2]
    (results / "plan.json").write_text(saved)

    def seal_again(versions):
        first = versions[0]
        first["plan"] = OTHER
        parts = [first[key] for key in ("plan", "evaluations", "recorded", "previous")]
        first["digest"] = registered.seal(*parts)

    assert registered.find_edits(change(results, seal_again)) == [2]


def test_a_history_that_is_not_that_of_the_results_is_refused(results):
    [first] = register(results)
    evaluate(results, "base", {"plan": first.digest})
    (results / "plan.json").unlink()
    # lost: registered anew, after the results
    [lost] = register(results, OTHER)
    assert lost.evaluations == {"d/m": 1} and lost.recorded == {first.digest: 1}
    assert len(register(results)) == 2
    # brought from elsewhere, or written anew with good seals
    text = json.dumps({"versions": [vars(v) for v in plan.add_version([], OTHER, {}, {}, date="")]})
    (results / "plan.json").write_text(text)
    message = rf"plan\.json: .* does not hold the plan {first.digest[:12]}, under which 1"
    with pytest.raises(InputError, match=message):
        register(results)
    assert (results / "plan.json").read_text() == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        '{"versions": 3}',
        '{"versions": [{"plan": {}}]}',
        lambda version: version["plan"].pop("models"),
        lambda version: version["plan"].update(comparisons=[{"arm": "orion"}]),
        lambda version: version["plan"]["comparisons"][0].update(margin=2),
        lambda version: version.update(evaluations={"d/m": "none"}),
        lambda version: version.update(plan=[]),
    ],
)
def test_a_file_that_is_no_plan_is_an_error_with_its_cure(results, text):
    register(results)
    if callable(text):
        document = json.loads((results / "plan.json").read_text())
        text(document["versions"][0])
        text = json.dumps(document)
    (results / "plan.json").write_text(text)
    with pytest.raises(InputError, match=r"plan\.json: holds no history .*move it away"):
        register(results)


def test_a_job_waits_for_its_plan_and_refuses_without_it(results):
    digest = digest_text(canonical_json(OTHER))
    args = argparse.Namespace(plan=str(results / "plan.json"), plan_digest=digest)
    register(results)
    with pytest.raises(InputError, match=r"plan\.json: .*Register it first, with `snakemake"):
        registered.require_registered(args, wait_s=0.0)
    later = threading.Timer(0.3, register, (results, OTHER))
    later.start()
    assert registered.require_registered(args, wait_s=60.0) == {
        "plan": registered.read_history(results / "plan.json")[-1].digest
    }
    later.join()
    no_plan = argparse.Namespace(plan=None, plan_digest="")
    assert registered.require_registered(no_plan) == {}
