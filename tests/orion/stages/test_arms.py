"""Each arm of the configurations trains on what its name says, from the samples to the rows.

Every text of the invented tables holds a word of its own: `trace-p`, `slip-p-s`, `right-p-s`,
`solution-p`; what the student answers is a chain besides, with one wrong step in a slip. An
invented student answers a reflection prompt with all the words that it sees there, so a training
row tells what stood in the prompt behind it.
"""

import json
import re
from pathlib import Path

import polars as pl
import pytest

from orion import config, prompts, tables
from orion.demo.error_coverage import detailed_steps
from orion.demo.exact_check import is_wholly_true
from orion.demo.oracle import read_chain
from orion.demo.problems import Step, compute, generate, write_solution
from orion.experiment.candidates import join_checks
from orion.experiment.sham import sham_errors
from orion.experiment.surprise import SURPRISALS
from orion.experiment.traces import with_correct_traces
from orion.stages import expose, match, reflect, select
from tests.helpers.counted_model import write_model
from tests.helpers.mechanisms import MECHANISMS
from tests.helpers.template_table import build_tokenizer

ROOT = Path(__file__).parents[3]
PROBLEMS = [f"p{i}" for i in range(12)]
# problems without a wrong sample, without a right one, and whose trace is wrong
NO_ERROR, NO_RIGHT, WRONG_TRACE = {"p3"}, {"p5"}, {"p7"}
SAMPLES = 5
# trained tokens that an arm is cut to
BUDGET = 33
WORD = re.compile(r"\b(trace|slip|right|solution)-(p\d+)(?:-(\d))?\b")
FILES = {
    "embedded": ("config/config.yaml", "config/one-student.yaml"),
    "paper": ("config/config.yaml", "config/paper.yaml"),
}
GENERATED = dict(zip(PROBLEMS, generate("train", len(PROBLEMS), seed=5), strict=True))
LOADED = {name: config.load(*(str(ROOT / f) for f in files)) for name, files in FILES.items()}


def is_right(problem: str, sample: int) -> bool:
    if problem in NO_ERROR | NO_RIGHT:
        return problem in NO_ERROR
    return sample % 2 == 0


def wrong_step(sample: int) -> int:
    """The step that a slip of this number gets wrong."""
    return sample // 2 % 3


def write_answer(problem: str, sample: int) -> str:
    """The chain of a sample, with its word behind it."""
    steps, kind = read_chain(GENERATED[problem].meta), "right"
    if not is_right(problem, sample):
        kind, at = "slip", wrong_step(sample)
        value = steps[at].result + 1 + sample
        steps[at] = steps[at]._replace(result=value)
        for i in range(at + 1, len(steps)):
            value = compute(value, steps[i].op, steps[i].operand)
            steps[i] = Step(steps[i - 1].result, steps[i].op, steps[i].operand, value)
    return write_solution(steps).replace("\\boxed", f"{kind}-{problem}-{sample} \\boxed")


def make_solving() -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Problems, samples, verdicts."""
    problems = [
        {
            "problem_id": p,
            "problem": f"Question {p} : {GENERATED[p].problem}",
            "answer": GENERATED[p].answer,
            "solution": f"solution-{p}",
            "teacher_trace": f"trace-{p}",
        }
        for p in PROBLEMS
    ]
    keys = [(p, s, is_right(p, s)) for p in PROBLEMS for s in range(SAMPLES)]
    texts = [(p, s, write_answer(p, s)) for p, s, _ in keys]
    judged = [(p, s, "correct" if right else "incorrect", str(s)) for p, s, right in keys]
    meta = pl.Series("meta", [GENERATED[p].meta for p in PROBLEMS])
    frame = pl.DataFrame(problems).with_columns(meta)
    return frame, make_texts(texts, tables.SAMPLES, template="solve"), make_verdicts(judged)


def make_texts(rows, table, **columns) -> pl.DataFrame:
    same = {"finish_reason": "stop", "prompt_tokens": 9, "completion_tokens": 9}
    return tables.from_rows(
        (
            {"problem_id": p, "sample_id": s, "response": r, "completion": f"{p}{s}"}
            | same
            | {name: v[n] if isinstance(v, list) else v for name, v in columns.items()}
            for n, (p, s, r) in enumerate(rows)
        ),
        table,
    )


def make_verdicts(rows) -> pl.DataFrame:
    columns = ("problem_id", "sample_id", "verdict", "extracted")
    blank = {"reason": "", "rule": ""}
    made = ({**dict(zip(columns, row, strict=True)), **blank} for row in rows)
    return tables.from_rows(made, tables.VERDICTS)


def make_steps(keys) -> pl.DataFrame:
    counts = {"true": 1, "false": 0, "unknown": 0, "first_false": None}
    made = ({"problem_id": p, "sample_id": s, **counts} for p, s in keys)
    return tables.from_rows(made, tables.STEPS)


def make_surprisals(texts: pl.DataFrame, prefer: str = "lowest_surprisal") -> pl.DataFrame:
    """Numbers by which the last text is preferred, and by the other preference the first."""
    later = 1 + pl.col("sample_id")
    made = texts.select(
        "problem_id",
        "sample_id",
        tokens=pl.lit(9, pl.Int64),
        surprise=1 / later if prefer == "lowest_surprisal" else later.cast(pl.Float64),
        rank=pl.lit(2.0),
    )
    return made.select(list(SURPRISALS.columns))


def make_rows(loaded, arm: str, folder: Path, steps: pl.DataFrame | None = None) -> pl.DataFrame:
    """The arm's training rows, by its own stages and keys.

    ``steps``: those of the samples; without them no step is false.
    """
    keys = {"dataset": loaded.runs.datasets[0], "model": loaded.runs.models[0], "arm": arm}
    problems, samples, verdicts = make_solving()
    traces = make_verdicts(
        [(p, 0, "incorrect" if p in WRONG_TRACE else "correct", "7") for p in PROBLEMS]
    )
    written = {
        "problems": (problems, tables.PROBLEMS),
        "trace-verdicts": (traces, tables.VERDICTS),
        "trace-steps": (make_steps([(p, 0) for p in PROBLEMS]), tables.STEPS),
        "samples": (samples, tables.SAMPLES),
        "verdicts": (verdicts, tables.VERDICTS),
    }
    if steps is None:
        steps = make_steps(samples.select("problem_id", "sample_id").iter_rows())
    written["steps"] = (steps, tables.STEPS)
    if loaded.arms[arm].needs_errors:
        errors = expose_all(loaded, keys, problems, samples, verdicts)
        written["errors"] = (errors, tables.ERRORS)
    if loaded.arms[arm].trained_on == "reflection":
        written |= reflect_all(loaded, keys, problems, traces, errors)
    for kind in ("sample", "reflection"):
        if config.selects_by_surprisal(loaded, arm, f"{kind}s"):
            made = make_surprisals(written[f"{kind}s"][0], loaded.arm_block("select", arm).prefer)
            written[f"{kind}-surprisal"] = (made, SURPRISALS)
    for name, (frame, table) in written.items():
        tables.write(frame, folder / name, table, {})
    outputs = {name: folder / f"out-{name}" for name in ("output", "filters", "preview")}
    argv = ["--config", config.params(loaded, "select", **keys), "--arm", arm]
    for name, path in {**{name: folder / name for name in written}, **outputs}.items():
        argv += [f"--{name}", str(path)]
    select.main(argv)
    if config.is_matched(loaded, arm):
        outputs = match_all(loaded, keys, folder, outputs)
    return tables.read(outputs["output"], tables.TRAIN)


def match_all(loaded, keys, folder: Path, selected: dict) -> dict:
    """The files of an arm that is matched with others, whose rows are made too."""
    outputs = {name: folder / f"matched-{name}" for name in ("output", "filters", "preview")}
    argv = ["--config", config.params(loaded, "match", **keys), "--arm", keys["arm"]]
    argv += ["--rows", str(selected["output"]), "--rows-filters", str(selected["filters"])]
    argv.append("--others")
    for other in config.list_matched_arms(loaded, keys["arm"]):
        (folder / other).mkdir()
        make_rows(loaded, other, folder / other)
        argv.append(str(folder / other / "out-output"))
    model = write_model(folder)
    tables.write_json({"trained_tokens": BUDGET}, folder / "stats.json", {})
    argv += ["--budget", str(folder / "stats.json"), "--model", str(model)]
    match.main(
        [*argv, *(word for name, path in outputs.items() for word in (f"--{name}", str(path)))]
    )
    return outputs


def expose_all(loaded, keys, problems, samples, verdicts) -> pl.DataFrame:
    """The arm's table of errors."""
    settings = config.stage_config(loaded, "expose", **keys)
    errors = expose.own_errors(
        samples,
        verdicts,
        max_errors=settings["max_errors"],
        selection=settings["selection"],
        seed=settings["seed"] or 0,
        surprisals=make_surprisals(samples),
    )
    if settings["error_source"] == "other_problem":
        errors = expose.other_problem_errors(errors)
    if settings["error_source"] == "sham":
        steps = make_steps(samples.select("problem_id", "sample_id").iter_rows())
        checked = join_checks(samples, verdicts, steps, files=["v", "s"])
        limits = {name: settings[name] for name in ("policy", "timeout_s")}
        errors = sham_errors(errors, checked, problems, **limits)
    return errors


def reflect_all(loaded, keys, problems, traces, errors) -> dict:
    """Tables of a student whose reflection names every word of its prompt."""
    settings = config.stage_config(loaded, "reflect", **keys)
    checked = with_correct_traces(problems, traces)
    planned = reflect.plan_prompts(
        checked,
        errors,
        prompt_includes=settings["prompt_includes"],
        rewrite=settings["rewrite"],
        errors_per_prompt=settings["errors_per_prompt"],
    )
    requests = reflect.make_requests(
        planned,
        checked,
        build_tokenizer(MECHANISMS["words as they are"]),
        prompt_set=prompts.load(loaded.prompts),
        num_samples=settings["generation"]["num_samples"],
        enable_thinking=None,
        task=settings["task"] or "refine",
    )
    marker = prompts.load(loaded.prompts).marker
    rows = [
        (p, s, f"{marker}\n{' '.join(m[0] for m in WORD.finditer(prompt))} done so \\boxed{{ 7 }}")
        for p, s, prompt in requests.select("problem_id", "sample_id", "prompt").iter_rows()
    ]
    named = {name: requests[name].to_list() for name in ("template", "error_ranks")}
    places = [(p, s) for p, s, _ in rows]
    return {
        "reflections": (make_texts(rows, tables.REFLECTIONS, **named), tables.REFLECTIONS),
        "reflection-verdicts": (
            make_verdicts([(*key, "correct", "7") for key in places]),
            tables.VERDICTS,
        ),
        "reflection-steps": (make_steps(places), tables.STEPS),
    }


def find_words(row: dict) -> list[tuple[str, str, int | None]]:
    """Kind, problem and sample of each word in a row's completion."""
    found = WORD.finditer(row["completion"])
    return [(kind, p, int(s) if s else None) for kind, p, s in (m.groups() for m in found)]


def check_solution(rows, config_):
    assert [r["problem_id"] for r in rows] == sorted(PROBLEMS)
    for row in rows:
        assert find_words(row) == [("solution", row["problem_id"], None)]
        stated = f"\\boxed{{{GENERATED[row['problem_id']].answer}}}"
        assert row["target_kind"] == "solution"
        assert stated in row["completion"].replace(" ", "")


def check_teacher(rows, config_):
    assert {r["problem_id"] for r in rows} == set(PROBLEMS) - WRONG_TRACE
    assert all(r["completion"] == f"trace-{r['problem_id']}" for r in rows)


def check_matched(rows, config_):
    """Whole traces, of ORION's problems, within one row of the budget."""
    assert {r["problem_id"] for r in rows} < set(PROBLEMS) - WRONG_TRACE
    assert all(r["completion"] == f"trace-{r['problem_id']}" for r in rows)
    # a trace is one token and one for each digit here, and a token ends it
    tokens = [2 + len(r["problem_id"].removeprefix("p")) for r in rows]
    assert BUDGET - max(tokens) < sum(tokens) <= BUDGET


def check_own(rows, config_):
    assert {r["problem_id"] for r in rows} == set(PROBLEMS) - NO_RIGHT
    for row in rows:
        assert find_words(row) == [("right", row["problem_id"], row["sample_id"])]
        assert row["target_kind"] == "own_correct"


def check_reflections(rows, config_, *, teacher, errors):
    """``errors``: which attempts were in view.

    Own ones, those of ``other`` problems, ``sham``: own right ones made wrong, or none.
    """
    kind = "right" if errors == "sham" else "slip"
    policy = config_.select.fallback_no_error
    seen = {r["problem_id"] for r in rows if r["target_kind"] == "reflection"}
    assert seen >= set(PROBLEMS) - NO_ERROR - (WRONG_TRACE if teacher else set())
    shown: list[tuple[str, int | None]] = []
    for row in rows:
        p, words = row["problem_id"], find_words(row)
        if p in NO_ERROR:
            # the fallback that the configuration names, and nothing of an arm's own
            expected = {
                "own_correct": [("right", p, row["sample_id"])],
                "rewrite": [("trace", p, None)],
            }
            assert words == expected[policy]
            continue
        assert row["target_kind"] == "reflection"
        traces = [w for w in words if w[0] == "trace"]
        attempts = [w for w in words if w[0] == kind]
        assert len(words) == len(traces) + len(attempts)
        assert traces == ([("trace", p, None)] if teacher else [])
        # without a right sample it is the solution that is made wrong, which has no word
        assert bool(attempts) == (errors != "none" and not (errors == "sham" and p in NO_RIGHT))
        assert all((q == p) == (errors != "other") for _, q, _ in attempts)
        if errors != "none":
            assert row["error_sample_ids"] == [s for _, _, s in attempts]
        shown += [(q, s) for _, q, s in attempts]
    # no attempt is shown to two rows; a right one may be made wrong in two ways
    assert errors == "sham" or len(shown) == len(set(shown))


def check_oracle(rows, config_):
    """The true chain, with exactly the steps written out that the errors behind the row got wrong.

    As many rows as there are different sets of such steps, up to the arm's limit.
    """
    select, exposed = config_.arm_block("select", "oracle"), config_.arm_block("expose", "oracle")
    assert {r["problem_id"] for r in rows} == set(PROBLEMS)
    for p in PROBLEMS:
        own = [r for r in rows if r["problem_id"] == p]
        if p in NO_ERROR:
            assert all(find_words(r) == [("right", p, r["sample_id"])] for r in own)
            continue
        slips = [s for s in range(SAMPLES) if not is_right(p, s)][: exposed.max_errors]
        assert len(own) == min(select.max_per_problem, len(set(map(wrong_step, slips))))
        for row in own:
            assert row["target_kind"] == "oracle" and find_words(row) == []
            assert set(row["error_sample_ids"]) <= set(slips)
            assert is_wholly_true(row["completion"])
            corrected = set(map(wrong_step, row["error_sample_ids"]))
            assert detailed_steps(row["completion"]) == corrected


CHECKS = {
    "sft_answer": (check_solution, {}),
    "sft_teacher": (check_teacher, {}),
    "sft_own": (check_own, {}),
    "sft_rewrite": (check_reflections, {"teacher": True, "errors": "none"}),
    "orion_no_teacher": (check_reflections, {"teacher": False, "errors": "own"}),
    "orion_placebo": (check_reflections, {"teacher": True, "errors": "other"}),
    "orion": (check_reflections, {"teacher": True, "errors": "own"}),
    "sft_teacher_matched": (check_matched, {}),
    "orion_sham": (check_reflections, {"teacher": True, "errors": "sham"}),
    "oracle": (check_oracle, {}),
}
# the arms that a configuration can train: only embedded problems record their steps
TRAINED = [(name, arm) for name in FILES for arm in CHECKS if (name, arm) != ("paper", "oracle")]


@pytest.mark.parametrize("name", LOADED)
def test_every_arm_of_the_grid_is_described_here_and_the_base_is_trained_on_nothing(name):
    arms = LOADED[name].arms
    assert {arm for arm in arms if arms[arm].trained_on == "nothing"} == {"base"}
    assert set(CHECKS) == set(arms) - {"base"}


@pytest.mark.parametrize(("name", "arm"), TRAINED)
def test_an_arm_trains_on_what_its_name_says(name, arm, tmp_path):
    loaded = LOADED[name]
    rows = make_rows(loaded, arm, tmp_path).to_dicts()
    most = loaded.arm_block("select", arm).max_per_problem
    by_problem = [r["problem_id"] for r in rows]
    assert max(map(by_problem.count, by_problem)) <= most
    for row in rows:
        assert f"Question {row['problem_id']}" in row["prompt"]
        # what the student is shown to learn from is in the target, never in the prompt
        assert not WORD.search(row["prompt"])
    check, options = CHECKS[arm]
    check(rows, loaded, **options)


def test_the_check_of_an_arm_sees_another_arms_rows(tmp_path):
    loaded = LOADED["embedded"]
    rows = {}
    for arm in CHECKS:
        (tmp_path / arm).mkdir()
        rows[arm] = make_rows(loaded, arm, tmp_path / arm).to_dicts()
    for arm, (check, options) in CHECKS.items():
        for other in set(CHECKS) - {arm}:
            with pytest.raises(AssertionError):
                check(rows[other], loaded, **options)
    assert json.dumps(rows["orion"]) != json.dumps(rows["sft_rewrite"])
