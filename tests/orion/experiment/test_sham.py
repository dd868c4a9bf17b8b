"""Sham errors: as many as the own ones, of like length, wrong, and independent of their steps."""

import polars as pl
import pytest

from orion import tables
from orion.answers import check
from orion.demo.error_coverage import first_wrong_step
from orion.demo.oracle import read_chain
from orion.demo.problems import generate, write_solution
from orion.experiment.candidates import join_checks
from orion.experiment.sham import sham_errors
from orion.stages import expose

LIMITS = {"policy": "math", "timeout_s": 5.0}
PROBLEMS = generate("train", 40, seed=21)


def write_wrong(problem, step: int, more: int) -> str:
    """The chain with its result off by ``more`` at a step; what follows is left as it was."""
    steps = read_chain(problem.meta)
    steps[step] = steps[step]._replace(result=steps[step].result + more)
    if step < len(steps) - 1:
        steps[-1] = steps[-1]._replace(result=steps[-1].result + more)
    return write_solution(steps)


def make_tables(answers, *, recorded=True, solution=None):
    """Own errors, checked samples, problems; ``answers``: texts with verdict and false steps."""
    rows, verdicts, steps = [], [], []
    for number, texts in enumerate(answers):
        for sample, (text, verdict, false) in enumerate(texts):
            key = {"problem_id": f"p{number:02}", "sample_id": sample}
            same = {"template": "solve", "finish_reason": "stop", "prompt_tokens": 1}
            same |= {"completion_tokens": 9, "completion": f"{number}/{sample}"}
            rows.append({**key, "response": text, **same})
            verdicts.append(
                {**key, "verdict": verdict, "extracted": str(sample), "reason": "", "rule": ""}
            )
            steps.append({**key, "true": 1, "false": false, "unknown": 0, "first_false": None})
    samples = tables.from_rows(rows, tables.SAMPLES)
    judged = tables.from_rows(verdicts, tables.VERDICTS)
    checked = join_checks(samples, judged, tables.from_rows(steps, tables.STEPS), files=["v", "s"])
    problems = pl.DataFrame(
        [
            {
                "problem_id": f"p{number:02}",
                "problem": problem.problem,
                "answer": problem.answer,
                "solution": solution,
                "meta": problem.meta if recorded else {"source_row": number},
            }
            for number, problem in enumerate(PROBLEMS[: len(answers)])
        ],
        schema_overrides={"solution": pl.String},
    )
    own = expose.own_errors(samples, judged, max_errors=2, selection="first")
    return own, checked, problems


def usual(number: int):
    """Two right samples, a short one and one with a step written out, and one or two wrong ones."""
    problem = PROBLEMS[number]
    chain = read_chain(problem.meta)
    texts = [(write_solution(chain), "correct", 0), (write_solution(chain, {1}), "correct", 0)]
    wrong = [
        (write_wrong(problem, number % 3, 1 + i), "incorrect", 1) for i in range(1 + number % 2)
    ]
    return [*texts, *wrong]


def test_as_many_as_the_own_errors_wrong_and_none_shown_twice():
    own, checked, problems = make_tables([usual(n) for n in range(40)])
    sham = sham_errors(own, checked, problems, **LIMITS)
    key = ["problem_id", "rank", "own_sample_id", "source_problem_id"]
    assert sham.select(key).equals(own.select(key))
    assert set(sham["source"]) == {"sham"}
    assert sham.select("problem_id", "response").is_unique().all()
    golds = dict(problems.select("problem_id", "answer").iter_rows())
    metas = {f"p{n:02}": problem.meta for n, problem in enumerate(PROBLEMS)}
    right = {(r["problem_id"], r["sample_id"]): r for r in checked.rows(named=True)}
    for row in sham.rows(named=True):
        found = check(row["response"], golds[row["problem_id"]], "math")
        assert (found.verdict, found.extracted) == ("incorrect", row["extracted"])
        assert first_wrong_step(metas[row["problem_id"]], row["response"]) is not None
        source = right[row["problem_id"], row["sample_id"]]
        assert source["verdict"] == "correct" and source["response"] != row["response"]
    tables.check(sham, tables.ERRORS)


def test_the_right_sample_nearest_in_length_is_made_wrong():
    own, checked, problems = make_tables([usual(n) for n in range(6)])
    lengths = {
        (r["problem_id"], r["sample_id"]): len(r["response"]) for r in checked.rows(named=True)
    }
    for longer, nearest in ((0, 0), (400, 1)):
        padded = own.with_columns(response=pl.col("response") + "x" * longer)
        sham = sham_errors(padded, checked, problems, **LIMITS)
        assert set(sham["sample_id"]) == {nearest}
        assert all(lengths[p, 0] < lengths[p, 1] for p in set(sham["problem_id"]))


def test_the_wrong_step_is_as_often_the_students_as_chance_has_it():
    # every student's error is at step 0; a sham that avoided it would never be
    answers = [
        [(PROBLEMS[n].solution, "correct", 0), (write_wrong(PROBLEMS[n], 0, 3), "incorrect", 1)]
        for n in range(40)
    ]
    own, checked, problems = make_tables(answers)
    sham = sham_errors(own, checked, problems, **LIMITS)
    metas = {f"p{n:02}": problem.meta for n, problem in enumerate(PROBLEMS)}
    at = [
        first_wrong_step(metas[p], r) for p, r in sham.select("problem_id", "response").iter_rows()
    ]
    # binomial(40, 1/3): both bounds are beyond four standard deviations
    assert 2 <= at.count(0) <= 25 and len(set(at)) == 3


def test_the_same_whatever_the_order_of_the_tables():
    own, checked, problems = make_tables([usual(n) for n in range(10)])
    mixed = [frame.sample(fraction=1, shuffle=True, seed=5) for frame in (own, checked, problems)]
    assert sham_errors(*mixed, **LIMITS).equals(sham_errors(own, checked, problems, **LIMITS))


@pytest.mark.parametrize(
    ("right", "recorded", "solution", "made"),
    [
        # no right sample: the solution, of embedded problems the recorded chain
        ([], True, None, True),
        ([], False, PROBLEMS[0].solution, True),
        ([], False, None, False),
        # a right answer over a false step is no right text
        ([(PROBLEMS[0].solution, "correct", 1)], False, None, False),
        # nothing in it can be falsified
        ([(f"\\boxed{{ {PROBLEMS[0].answer} }}", "correct", 0)], False, None, False),
    ],
)
def test_the_solution_is_the_last_resort_and_what_cannot_be_made_is_left_out(
    right, recorded, solution, made
):
    wrong = (write_wrong(PROBLEMS[0], 1, 2), "incorrect", 1)
    own, checked, problems = make_tables([[*right, wrong]], recorded=recorded, solution=solution)
    sham = sham_errors(own, checked, problems, **LIMITS)
    assert sham.height == made
    assert sham["sample_id"].to_list() == [None] * made
