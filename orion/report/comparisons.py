"""The rows of the comparisons: those that were registered, and those that were added later.

Input: ``Results`` and the planned tests. Output: one row per test. The statistics are in
``orion.experiment.comparisons``; Holm's correction runs over the registered tests of one student on
one training set, also over those that were removed since. A test that was added after results is
not corrected and gets no verdict but "exploratory".
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

from orion.experiment.comparisons import PairedTest, compare_arms, correct_tests
from orion.experiment.hypotheses import judge_expectation
from orion.report.gather import Results
from orion.report.registration import ADDED, PlannedTest, Registration

NOT_RUN = "not run"
EXPLORATORY = "exploratory"


def comparison_rows(
    results: Results, registration: Registration, *, confidence: float, resamples: int
) -> list[dict]:
    """One row per test of one student."""
    found = [
        compare_planned(results, planned, confidence=confidence, resamples=resamples)
        for planned in registration.tests
    ]
    return make_rows(registration, found, columns=list_columns(PairedTest), alpha=1 - confidence)


def list_columns(test: type[PairedTest]) -> tuple[str, ...]:
    """The columns of the rows of such tests, beside those of the plan."""
    return (*(field.name for field in dataclasses.fields(test)), "p_holm", "reading")


def make_rows(
    registration: Registration,
    found: Sequence[PairedTest | None],
    *,
    columns: tuple[str, ...],
    alpha: float,
) -> list[dict]:
    """One row per test; one with an arm or benchmark outside the grid has the reading "not run".

    ``found``: in the order of the registered tests. ``outcome`` says whether a confirmatory test
    has confirmed what was expected of it.
    """
    family = [
        test
        for planned, test in zip(registration.tests, found, strict=True)
        if planned.status != ADDED
    ]
    corrected = iter(correct_tests(family, alpha=alpha))
    rows = []
    for planned, test in zip(registration.tests, found, strict=True):
        p_holm, reading = (None, EXPLORATORY) if planned.status == ADDED else next(corrected)
        reading = NOT_RUN if test is None else reading
        row: dict[str, Any] = {
            "arm": planned.arm,
            "against": planned.against,
            "benchmark": planned.benchmark,
            "status": planned.status,
            "evaluations": planned.evaluations,
            "expect": planned.expect,
            "outcome": None,
        }
        row |= dict.fromkeys(columns) if test is None else dataclasses.asdict(test)
        row |= {"kind": planned.hypothesis.kind, "margin": planned.hypothesis.margin or None}
        if planned.status != ADDED and not registration.reasons:
            row["outcome"] = judge_expectation(planned.hypothesis.kind, planned.expect, reading)
        rows.append(row | {"p_holm": p_holm, "reading": reading})
    return rows


def compare_planned(
    results: Results, planned: PlannedTest, *, confidence: float, resamples: int
) -> PairedTest | None:
    """The test of a planned comparison; None where the grid does not have it."""
    arms = results.arms
    if not {planned.arm, planned.against} <= arms.keys():
        return None
    if planned.benchmark not in {benchmark for benchmark, _ in arms[planned.arm].evaluations}:
        return None
    names = (planned.arm, planned.against, planned.benchmark)
    return compare_arms(
        arms[planned.arm].accuracies(planned.benchmark),
        arms[planned.against].accuracies(planned.benchmark),
        confidence=confidence,
        resamples=resamples,
        key=(results.dataset, results.model, *names),
        hypothesis=planned.hypothesis,
        clusters=results.clusters[planned.benchmark],
    )
