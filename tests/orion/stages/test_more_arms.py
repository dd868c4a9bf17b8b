"""Each arm of config/arms.yaml trains on what its name says, from the samples to the rows.

The tables and the invented student are those of test_arms. What a prefix leaves of a row is in
test_pack_prefix, what makes a trace shorter in test_reflect_texts and test_select_texts.
"""

import copy
import json
import re
from functools import partial
from pathlib import Path

import polars as pl
import pytest
import yaml

from orion import config, tables
from orion.stages import check, expose
from tests.helpers.configurations import read_one_student
from tests.orion.stages import test_arms
from tests.orion.stages.test_arms import (
    NO_ERROR,
    NO_RIGHT,
    PROBLEMS,
    ROOT,
    SAMPLES,
    WRONG_TRACE,
    check_reflections,
    find_words,
    is_right,
    make_rows,
    make_solving,
    write_answer,
)

STEP = re.compile(r"(\d+) ([-+*]) (\d+) = (\d+)")
KEYS = {"dataset": "chains", "model": "tiny"}


def load():
    """One student with the arms, and the prompt set that has all prompts."""
    raw = read_one_student(ROOT)
    more = yaml.safe_load((ROOT / "config/arms.yaml").read_text())
    raw["arms"] |= more["arms"]
    raw["runs"]["arms"] = list(raw["arms"])
    raw["models"]["teacher"] = {"source": {"kind": "embedded", "student": "two"}}
    source = {"kind": "arm", "dataset": "chains", "model": "tiny", "arm": "exposure", "seed": 1}
    raw["models"]["exposed"] = {"source": source}
    return config.validate(raw | {"prompts": "chat", "comparisons": []}), set(more["arms"])


LOADED, MORE = load()


def check_hint(rows):
    """The answer and nothing else was in view; without an error it is the student's own sample."""
    assert {r["problem_id"] for r in rows} == set(PROBLEMS)
    for row in rows:
        words = find_words(row)
        if row["problem_id"] in NO_ERROR:
            assert words == [("right", row["problem_id"], row["sample_id"])]
        else:
            assert row["target_kind"] == "reflection" and words == []
            assert row["error_sample_ids"]


def check_mix(rows):
    """One row in five is the trace of a problem that gives no row of its own."""
    traces = [r for r in rows if r["target_kind"] == "teacher_trace"]
    own = [r for r in rows if r["target_kind"] == "own_correct"]
    assert len(traces) + len(own) == len(rows) and len(traces) == round(0.2 * len(rows)) > 0
    giving = {r["problem_id"] for r in traces}
    assert not giving & WRONG_TRACE and not giving & {r["problem_id"] for r in own}
    assert all(r["completion"] == f"trace-{r['problem_id']}" for r in traces)
    for row in own:
        assert find_words(row) == [("right", row["problem_id"], row["sample_id"])]


def check_unchecked(rows):
    """The first sample of every problem, right or wrong."""
    assert [(r["problem_id"], r["sample_id"]) for r in rows] == [(p, 0) for p in sorted(PROBLEMS)]
    for row in rows:
        kind = "right" if is_right(row["problem_id"], 0) else "slip"
        assert find_words(row) == [(kind, row["problem_id"], 0)]
    assert {find_words(r)[0][0] for r in rows} == {"right", "slip"}


def check_pairs(rows):
    """A wrong sample, then a right one of the same problem, each in their order."""
    assert {r["problem_id"] for r in rows} == set(PROBLEMS) - NO_ERROR - NO_RIGHT
    assert [r["row"] for r in rows] == [0, 1, 2, 3] * (len(rows) // 4)
    for n, row in enumerate(rows):
        # of the samples 0 to 4 the odd ones are wrong
        number = [1, 0, 3, 2][n % 4]
        kind = "right" if number % 2 == 0 else "slip"
        assert find_words(row) == [(kind, row["problem_id"], number)]
        assert row["target_kind"] == ("own_correct" if kind == "right" else "own_wrong")


def check_traces(rows):
    assert {r["problem_id"] for r in rows} == set(PROBLEMS) - WRONG_TRACE
    assert all(r["completion"] == f"trace-{r['problem_id']}" for r in rows)


BRIDGE = "\n\nWait, that is not right. Let me solve the problem again from the start.\n\n"


def check_self_correction(rows, show):
    """An own wrong attempt, as ``show`` gives it, is taken back, then the reflection on it."""
    reflected = [r for r in rows if r["target_kind"] == "reflection"]
    assert reflected
    for row in reflected:
        attempt, bridge, chain = row["completion"].partition(BRIDGE)
        assert bridge
        (sample_id,) = row["error_sample_ids"]
        assert not is_right(row["problem_id"], sample_id)
        assert attempt == show(write_answer(row["problem_id"], sample_id)).strip()
        row["completion"] = chain
    # behind the attempt it is a row of orion: its own error and the trace were in view
    with_own_errors(rows)


def check_preferred(rows):
    """One reflection per problem, of its last prompt; all pass.

    Of `make_surprisals` each preference takes the last text, where `first` and the other one take
    the first. The four texts of a prompt are equal here, so that its first stands for all.
    """
    with_own_errors(rows)
    for row in rows:
        if row["target_kind"] == "reflection":
            assert row["sample_id"] == 4
    assert len({r["problem_id"] for r in rows}) == len(rows)


def check_confident(rows):
    """The error in view is the last wrong attempt, which surprises the student least."""
    with_own_errors(rows)
    reflected = [r for r in rows if r["target_kind"] == "reflection"]
    assert reflected
    for row in reflected:
        wrong = [s for s in range(SAMPLES) if not is_right(row["problem_id"], s)]
        assert row["error_sample_ids"] == wrong[-1:]


with_own_errors = partial(check_reflections, config_=LOADED, teacher=True, errors="own")
CHECKS = {
    "answer_hint": check_hint,
    "mix_long": check_mix,
    "upft": check_unchecked,
    # the rows are whole, and the packing cuts them
    "p_align": check_traces,
    "sft_teacher_dft": check_traces,
    "orion_correctness": with_own_errors,
    "orion_key_steps": with_own_errors,
    "exposure": check_pairs,
    "lemma": lambda rows: check_self_correction(rows, cut_at_false_step),
    "lemma_whole": lambda rows: check_self_correction(rows, str),
    # whoever writes it, the attempt is the student's
    "super_correct": partial(check_reflections, config_=LOADED, teacher=False, errors="own"),
    "teacher_refine": with_own_errors,
    "orion_first": with_own_errors,
    "orion_shortest": with_own_errors,
    "orion_lowest_surprisal": lambda rows: check_preferred(rows),
    "orion_rank_surprisal": lambda rows: check_preferred(rows),
    "orion_majority": with_own_errors,
    "orion_random": with_own_errors,
    "orion_most_confident": lambda rows: check_confident(rows),
}


def test_every_arm_of_the_file_is_described_here_or_named():
    others = {"long2short", "long2short_teacher", "orion_cut", "orion_answer_only"}
    others |= {"orion_euler"}
    assert set(CHECKS) | others == MORE


@pytest.mark.parametrize("arm", CHECKS)
def test_an_arm_trains_on_what_its_name_says(arm, tmp_path):
    CHECKS[arm](make_rows(LOADED, arm, tmp_path, find_steps()).to_dicts())


def find_steps():
    """The steps of the samples, as `check` finds them."""
    return check.count_steps(make_solving()[1], timeout_s=5.0)


def run_expose(folder: Path, arm: str) -> list[dict]:
    """The arm's errors by the stage itself, with the steps that `check` finds."""
    _, samples, verdicts = make_solving()
    written = {
        "samples": (samples, tables.SAMPLES),
        "verdicts": (verdicts, tables.VERDICTS),
        "steps": (find_steps(), tables.STEPS),
    }
    argv = ["--config", config.params(LOADED, "expose", **KEYS, arm=arm)]
    for name, (frame, table) in written.items():
        tables.write(frame, folder / name, table, {})
        if name != "steps" or config.reads_steps(LOADED, arm):
            argv += [f"--{name}", str(folder / name)]
    expose.main([*argv, "--output", str(folder / "errors")])
    return tables.read(folder / "errors", tables.ERRORS).rows(named=True)


def cut_at_false_step(text: str) -> str:
    """The text up to its first wrong result, by arithmetic alone."""
    for match in STEP.finditer(text):
        left, operator, right, result = match.groups()
        if {"+": int.__add__, "-": int.__sub__, "*": int.__mul__}[operator](
            int(left), int(right)
        ) != int(result):
            return text[: match.end()]
    raise AssertionError(f"no step of {text} is false")


def test_an_attempt_that_is_cut_ends_with_its_first_false_step(tmp_path):
    whole = {(r["problem_id"], r["sample_id"]): r for r in run_expose(tmp_path, "orion")}
    cut = run_expose(tmp_path, "orion_cut")
    assert len(cut) == len(whole) > len(PROBLEMS)
    for row in cut:
        text = whole[row["problem_id"], row["sample_id"]]["response"]
        assert row["response"] == cut_at_false_step(text) != text
    assert "steps" in tables.read_provenance(tmp_path / "errors")["inputs"]


def test_an_attempt_of_which_the_answer_is_shown_is_nothing_else(tmp_path):
    whole = run_expose(tmp_path, "orion")
    shown = run_expose(tmp_path, "orion_answer_only")
    assert [r["response"] for r in shown] == [
        f"The final answer is \\boxed{{{r['extracted']}}}." for r in whole
    ]
    assert "steps" not in tables.read_provenance(tmp_path / "errors")["inputs"]


def test_a_problem_shows_one_attempt_where_the_arm_says_so(tmp_path):
    wrong = [p for p in sorted(PROBLEMS) if p not in NO_ERROR]
    for arm in ("orion_majority", "orion_random"):
        assert [r["problem_id"] for r in run_expose(tmp_path, arm)] == wrong
    # of p5, all of whose answers are wrong and differ, any one may be chosen
    assert "p5" in NO_RIGHT


def test_the_trace_stands_with_each_wrong_sample_where_it_is_rejected(tmp_path):
    changed = copy.deepcopy(LOADED)
    changed.arms["exposure"].pairs.rejected = "teacher"
    assert changed.arms["exposure"].needs_traces
    rows = make_rows(changed, "exposure", tmp_path, find_steps()).to_dicts()
    assert {r["problem_id"] for r in rows} == set(PROBLEMS) - NO_ERROR - WRONG_TRACE
    for wrong, right in zip(rows[::2], rows[1::2], strict=True):
        assert find_words(wrong) == [("slip", wrong["problem_id"], wrong["sample_id"])]
        assert right["completion"] == f"trace-{wrong['problem_id']}"
        assert right["target_kind"] == "teacher_trace"
    counted = json.loads((tmp_path / "out-filters").read_text())["pairs"]
    assert counted == {
        "rejected": "teacher",
        "pairs": len(rows) // 2,
        "problems_without_wrong": len(NO_ERROR),
        "problems_without_right": len(WRONG_TRACE),
    }


def test_a_wrong_sample_that_was_cut_off_is_in_no_pair(tmp_path, monkeypatch):
    real = make_solving

    def cut():
        problems, samples, verdicts = real()
        ended = pl.when(pl.col("sample_id") == 1).then(pl.lit("length")).otherwise("finish_reason")
        return problems, samples.with_columns(finish_reason=ended), verdicts

    monkeypatch.setattr(test_arms, "make_solving", cut)
    rows = make_rows(LOADED, "exposure", tmp_path, find_steps()).to_dicts()
    assert {r["sample_id"] for r in rows if r["target_kind"] == "own_wrong"} == {3}
    assert len(rows) == 2 * len(set(PROBLEMS) - NO_ERROR - NO_RIGHT)


def test_an_error_of_another_model_has_no_sample_of_the_student_behind_it(tmp_path):
    own, other = (run_expose(tmp_path, arm) for arm in ("orion", "orion_euler"))
    changed = ("source", "own_sample_id")
    assert [{k: v for k, v in row.items() if k not in changed} for row in other] == [
        {k: v for k, v in row.items() if k not in changed} for row in own
    ]
    assert {row["source"] for row in own} == {"own"}
    assert {(row["source"], row["own_sample_id"]) for row in other} == {("exposed", None)}
