"""Real rollouts and traces through every stage up to the page: what each row says is true."""

import pytest

from orion import paths, tables
from orion.experiment.candidates import Rows, join_checks
from orion.experiment.reflected import Reflections
from orion.experiment.traces import with_correct_traces
from orion.report import gather
from orion.report.examples import example_rows
from orion.stages import select
from tests.helpers import real_results
from tests.helpers.real_results import KINDS, MODEL, RowSet

pytestmark = [pytest.mark.data, pytest.mark.slow]

OPENING = "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant."
WHOLE = ("orion", "orion_placebo", "orion_sham", "orion_cut")
TEACHING = (*WHOLE, "orion_answer_only", "long2short")
SHOWING = (*WHOLE, "orion_no_teacher")
ARMS = ("base", *WHOLE, "orion_answer_only", "long2short", "orion_no_teacher", "answer_hint")


@pytest.fixture(scope="module")
def run(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("real")
    maker = real_results.make(folder, data, RowSet(("oai-gsm8k",), 4, True, ARMS), limit=3)
    maker.root = folder / "results"
    return maker


@pytest.fixture
def read(run):
    def table(template, kind, arm="orion"):
        return tables.read(run.path(template, dataset="real", model=MODEL, arm=arm), kind)

    return table


def test_verdicts_are_those_of_the_rows_and_the_answer_is_a_value(run, read):
    samples = read(paths.SAMPLES, tables.SAMPLES)
    verdicts = read(paths.VERDICTS, tables.VERDICTS)
    assert samples.height == verdicts.height == 4 * len(run.groups) == 12
    for sample, found in zip(
        samples.iter_rows(named=True), verdicts.iter_rows(named=True), strict=True
    ):
        row = run.groups[sample["problem_id"]].rollouts[sample["sample_id"]]
        assert sample["response"] == row["response"]
        assert (found["verdict"] == "correct") is row["correct"]
        # the letter before it is GPT-3's word for the answer
        assert found["extracted"] is not None and not found["extracted"].startswith("A:")


def test_every_prompt_is_one_turn_that_shows_what_the_arm_shows(run, read):
    problems = {row["problem_id"]: row for row in read(paths.PROBLEMS, tables.PROBLEMS).to_dicts()}
    assert set(run.asked) == {"", *TEACHING, *SHOWING, "orion_answer_only", "answer_hint"}
    for arm, requests in run.asked.items():
        errors = {} if not arm else read(paths.ERRORS, tables.ERRORS, arm).to_dicts()
        shown = {(row["problem_id"], row["rank"]): row for row in errors}
        for row in requests.iter_rows(named=True):
            prompt, problem = row["prompt"], problems[row["problem_id"]]
            assert prompt.startswith(f"{OPENING}<|im_end|>\n<|im_start|>user\n")
            assert prompt.endswith("<|im_end|>\n<|im_start|>assistant\n")
            assert prompt.count("<|im_start|>") == 3
            assert problem["problem"] in prompt and problem["solution"] not in prompt
            traces = [problem["teacher_trace"], *(problem["further_traces"] or [])]
            assert any(trace in prompt for trace in traces) == (arm in TEACHING), arm
            stated = f"## Reference answer\n{problem['answer']}\n" in prompt
            assert stated == (arm == "answer_hint")
            attempts = [shown[row["problem_id"], rank] for rank in row.get("error_ranks") or ()]
            assert prompt.count("## Your attempt") == (
                len(attempts) if arm in (*SHOWING, "orion_answer_only") else 0
            )
            if arm in SHOWING:
                assert all(f"wrong)\n{each['response']}\n" in prompt for each in attempts)
            if arm == "orion_answer_only":
                answers = [each["extracted"] for each in attempts]
                assert all(f"The final answer is \\boxed{{{text}}}." in prompt for text in answers)


def test_an_attempt_is_cut_at_the_first_false_step(read):
    errors, steps = read(paths.ERRORS, tables.ERRORS, "orion_cut"), read(paths.STEPS, tables.STEPS)
    samples = read(paths.SAMPLES, tables.SAMPLES)
    for row in errors.iter_rows(named=True):
        key = {"problem_id": row["problem_id"], "sample_id": row["sample_id"]}
        [whole], [false] = samples.filter(**key)["response"], steps.filter(**key)["first_false"]
        assert row["response"] == (whole if false is None else whole[: false["end"]])


@pytest.mark.parametrize("arm", ["orion", "orion_no_teacher", "long2short"])
def test_a_filter_removes_what_its_name_says(run, read, arm):
    config = run.read_settings(select.SelectConfig, "select", dataset="real", model=MODEL, arm=arm)
    reflections = read(paths.REFLECTIONS, tables.REFLECTIONS, arm)
    verdicts = read(paths.REFLECTION_VERDICTS, tables.VERDICTS, arm)
    steps = read(paths.REFLECTION_STEPS, tables.STEPS, arm)
    checked = join_checks(reflections, verdicts, steps, files=["", ""])
    problems = with_correct_traces(
        read(paths.PROBLEMS, tables.PROBLEMS), read(paths.TRACE_VERDICTS, tables.VERDICTS)
    )
    found = Reflections(
        checked,
        read(paths.ERRORS, tables.ERRORS, arm),
        Rows(problems, "problem_id"),
        names=config.filters,
        limits=config.limits,
    ).objections
    labels = {}
    for group in run.groups.values():
        labels |= {row["response"]: row["correct"] for row in (*group.rollouts, *group.traces)}
        labels |= {trace["final"]: trace["correct"] for trace in group.traces}
    chosen = problems.filter(trace_rank=0)["problem_id"].to_list()
    for row, objections in zip(reflections.to_dicts(), found, strict=True):
        kind = KINDS[row["sample_id"] % len(KINDS)]
        _, marker, text = row["response"].partition("### Refined solution\n")
        if kind == "unmarked":
            assert not marker and set(objections) <= {"no_refined_part", "too_long"}
            assert "no_refined_part" in objections
            continue
        assert ("wrong_answer" in objections) != labels[text]
        assert not {"leak", "answer_first", "several_answers"} & {*objections} or kind == "trace"
        # the whole trace is a copy of itself, and no shorter than itself
        if kind == "trace" and row["problem_id"] in chosen and arm != "orion_no_teacher":
            assert {"long2short": "not_shorter"}.get(arm, "copy") in objections


def test_the_page_shows_the_attempt_of_each_prompt(run, read):
    results = gather.load_results(run.config, run.root, "real", MODEL)
    examples = example_rows(results, "chat", 24)
    assert len(examples) == read(paths.ERRORS, tables.ERRORS)["problem_id"].n_unique()
    seen = set()
    for example in examples:
        for each in example["reflections"]:
            errors = read(paths.ERRORS, tables.ERRORS, each["arm"])
            [shown] = errors.filter(problem_id=example["problem_id"], rank=0)["response"]
            assert (each["foreign_attempt"] or example["attempt"]) == shown
            seen |= {each["arm"]} if each["foreign_attempt"] else set()
    assert {"orion_answer_only", "orion_sham", "orion_placebo"} <= seen
    assert "orion" not in seen
