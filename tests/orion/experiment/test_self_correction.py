"""Texts that take a wrong attempt back: which attempt, how much of it, and how they are read."""

import polars as pl
import pytest

from orion import prompts, tables
from orion.answers import api
from orion.answers.steps import check_steps, summary
from orion.errors import InputError
from orion.experiment.self_correction import Corrections, SelfCorrection
from tests.orion.stages.test_select import folder, run, steps  # noqa: F401

RIGHT = "12 - 5 = 7 ; 7 * 6 = 42 so \\boxed{ 42 }"
WRONG = "12 - 5 = 7 ; 7 * 6 = 41 ; 41 + 0 = 41 so \\boxed{ 41 }"
CUT = "12 - 5 = 7 ; 7 * 6 = 41"
TEXTS = {("a", 0): "no false step \\boxed{ 4 }", ("a", 1): WRONG, ("a", 2): " 1 + 1 = 3 ok "}


def make(form, ends):
    """``ends``: where the first false step of the samples at problem a ends."""
    samples = pl.DataFrame(
        [(p, s, text) for (p, s), text in TEXTS.items()],
        schema=["problem_id", "sample_id", "response"],
        orient="row",
    )
    found = steps(TEXTS).with_columns(
        first_false=pl.Series(
            [
                None if end is None else {"start": 0, "end": end, "text": "", "rule": "arithmetic"}
                for end in ends
            ],
            dtype=tables.STEPS.columns["first_false"],
        )
    )
    return Corrections(form, samples, samples.select("problem_id", "sample_id"), found, "demo")


ENDS = [None, len(CUT), len(" 1 + 1 = 3")]
DROP, WHOLE = SelfCorrection(), SelfCorrection(no_false_step="whole")


@pytest.mark.parametrize(
    ("form", "shown", "attempt"),
    [
        (DROP, [1], CUT),
        # the first of those in view that has a false step
        (DROP, [0, 1, 2], CUT),
        (DROP, [2, 1], "1 + 1 = 3"),
        (DROP, [0], None),
        (WHOLE, [0], TEXTS["a", 0]),
        (WHOLE, [0, 2], "1 + 1 = 3"),
        (SelfCorrection(attempt="whole"), [2, 1], "1 + 1 = 3 ok"),
    ],
)
def test_the_attempt_that_a_text_takes_back(form, shown, attempt):
    made = make(form, ENDS)
    text = made.write("a", shown, RIGHT)
    assert text == (None if attempt is None else f"{attempt} wrong {RIGHT}")
    kind = "without_false_step" if attempt is None else "cut"
    if attempt == TEXTS["a", 0] or form.attempt == "whole":
        kind = "whole"
    assert made.counts == {"cut": 0, "whole": 0, "without_false_step": 0} | {kind: 1}


@pytest.mark.parametrize(
    ("before", "behind", "kept"),
    [
        ("so $", "$, then", "$"),
        ("so $$", "$$ then", "$$"),
        ("so \\(", "\\) then", "\\)"),
        ("so \\[\n", "\n\\]\nthen", "\n\\]"),
        # what only looks like it: an amount of money, further words of the formula
        ("so ", " $5 are left", ""),
        ("so $", " + 0 = 41$", ""),
        # dollars that open the next formula
        ("so ", "\n$$6 * 4 = 24$$", ""),
        ("with $x$: ", "$y$ is left", ""),
        ("with $$x$$ and $", "$ then", "$"),
    ],
)
def test_a_formula_that_ends_with_the_step_is_closed(before, behind, kept):
    step = "7 * 6 = 41"
    text = f"{before}{step}{behind}"
    samples = pl.DataFrame({"problem_id": ["a"], "sample_id": [0], "response": [text]})
    first = {"start": len(before), "end": len(before + step), "text": step, "rule": "arithmetic"}
    found = steps([("a", 0)]).with_columns(
        first_false=pl.Series([first], dtype=tables.STEPS.columns["first_false"])
    )
    keys = samples.select("problem_id", "sample_id")
    made = Corrections(DROP, samples, keys, found, "demo")
    assert made.write("a", [0], RIGHT) == f"{before}{step}{kept} wrong {RIGHT}"


def test_an_error_that_is_no_sample_is_refused():
    one = pl.DataFrame({"problem_id": ["a"], "sample_id": [9]})
    samples = pl.DataFrame({"problem_id": ["a"], "sample_id": [0], "response": ["x"]})
    with pytest.raises(InputError, match=r"--errors: 1 of 1 wrong attempts are not among the sam"):
        Corrections(DROP, samples, one, steps([("a", 0)]), "demo")


def read(text):
    """The answer's verdict against 42, and the numbers of true and false steps."""
    found = summary(check_steps(text, timeout_s=5.0))
    return api.check(text, "42").verdict, found.true, found.false


@pytest.mark.parametrize("name", ["chat", "demo"])
def test_the_checker_reads_that_the_error_is_taken_back(name):
    """So a student that has learnt such texts is not charged with the errors that it corrects."""
    # another way to the answer, which does not write the false step again
    other = "12 * 6 = 72 ; 5 * 6 = 30 ; 72 - 30 = 42 so \\boxed{ 42 }"
    assert read(WRONG) == ("incorrect", 2, 1) and read(other) == ("correct", 3, 0)
    # without the words the error stands
    assert read(f"{CUT} . {other}") == ("correct", 4, 1)
    assert read(prompts.self_correction(name, CUT, other)) == ("correct", 4, 0)
    assert read(prompts.self_correction(name, WRONG, other)) == ("correct", 5, 0)


FORM = {"attempt": "to_false_step"}


def put(place, false):
    """Two wrong samples at problem a, the errors 0 and 1 of its reflections."""
    wrong = tables.read(place / "errors", tables.ERRORS)
    wrong = wrong.with_columns(sample_id=pl.col("rank"), own_sample_id=pl.col("rank"))
    tables.write(wrong, place / "errors", tables.ERRORS, {})
    keys = tables.read(place / "samples", tables.SAMPLES).select("problem_id", "sample_id")
    tables.write(steps(keys.iter_rows(), false), place / "steps", tables.STEPS, {})


def test_rows_without_a_false_step_follow_the_fallback(folder):  # noqa: F811
    put(folder, false={("a", 0)})
    rows, counts = run(folder, self_correction=FORM, fallback_all_filtered="own_correct")
    # problem a: three reflections pass, and the attempt behind the last two has no false step
    assert rows.filter(pl.col("target_kind") == "reflection")["completion"].to_list() == [
        "wrong a wrong one"
    ]
    assert counts["self_correction"] == {"cut": 1, "whole": 0, "without_false_step": 2}
    put(folder, false=())
    rows, counts = run(folder, self_correction=FORM, fallback_all_filtered="own_correct")
    assert dict(rows.select("problem_id", "completion").iter_rows())["a"] == "right a"
    assert counts["self_correction"]["without_false_step"] == 3
    assert counts["fallbacks"]["fallback_all_filtered"]["problems"] == 2


def test_too_few_rows_say_that_the_attempts_have_no_false_step(folder):  # noqa: F811
    put(folder, false=())
    with pytest.raises(InputError, match=r'self_correction: \{"cut": 0, .*_false_step": 3\}'):
        run(folder, self_correction=FORM, min_rows=1)


def test_other_arms_say_nothing_of_it(folder):  # noqa: F811
    put(folder, false={("a", 0)})
    rows, counts = run(folder)
    assert "self_correction" not in counts
    assert "one" in rows["completion"].to_list()
