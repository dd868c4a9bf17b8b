"""The comparisons over groups of students, and the same for each student alone.

Input: the accuracies of all students on one training set, and the planned tests. Output: one item
of report.json per group. Only what runs.students declares is pooled, and a student's own rows have
no verdict: they show what the mean is made of.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from orion.experiment.comparisons import PairedTest, Settings, compare_arms
from orion.experiment.statistics import Floats, Integers
from orion.experiment.students import GroupTest, compare_students
from orion.report.comparisons import list_columns, make_rows
from orion.report.gather import Results
from orion.report.registration import PlannedTest, Registration

# of one student on one training set: (arm, benchmark) → (seeds, problems)
Accuracies = dict[tuple[str, str], Floats]
ALONE = ("problems", "seeds", "difference", "low", "high", "low_runs", "high_runs", "detectable")


@dataclasses.dataclass(frozen=True)
class Grid:
    """What the groups of one training set are made of.

    ``accuracies``: by student. ``clusters``: of each benchmark's problems.
    """

    dataset: str
    accuracies: Mapping[str, Accuracies]
    clusters: Mapping[str, Integers | None]


def collect_accuracies(results: Results, benchmarks: list[str]) -> Accuracies:
    """The accuracies of one student by arm and benchmark."""
    return {
        (arm.name, benchmark): arm.accuracies(benchmark)
        for arm in results.arms.values()
        for benchmark in benchmarks
    }


def describe_group(
    grid: Grid,
    group: str,
    students: Sequence[Sequence[str]],
    registered: Registration,
    *,
    confidence: float,
    resamples: int,
) -> dict[str, Any]:
    """The item of one group: its students, its plan, its tests, and each student alone."""
    found: list[GroupTest | None] = []
    alone: list[dict[str, Any]] = []
    for planned in registered.tests:
        settings = Settings(
            confidence,
            resamples,
            (grid.dataset, group, planned.arm, planned.against, planned.benchmark),
            planned.hypothesis,
            grid.clusters.get(planned.benchmark),
        )
        found.append(_compare(grid, planned, settings))
        if found[-1] is not None:
            rows = (_describe_student(grid, planned, s, settings) for s in planned.students)
            alone += [{"test": len(found) - 1, **row} for row in rows]
    return {
        "dataset": grid.dataset,
        "group": group,
        "entries": [list(entries) for entries in students],
        "students": len(students),
        "draws": min(map(len, students)),
        "plan": registered.as_json(),
        "comparisons": make_rows(
            registered, found, columns=list_columns(GroupTest), alpha=1 - confidence
        ),
        "alone": alone,
    }


def _compare(grid: Grid, planned: PlannedTest, settings: Settings) -> GroupTest | None:
    """The test over the students; None where the grid does not have all that it needs."""
    wanted = [
        (name, arm)
        for entries in planned.students
        for name in entries
        for arm in (planned.arm, planned.against)
    ]
    known = all((arm, planned.benchmark) in grid.accuracies.get(name, {}) for name, arm in wanted)
    if not known or len(wanted) < 4:
        return None
    tables = [
        [_stack(grid, entries, arm, planned.benchmark) for entries in planned.students]
        for arm in (planned.arm, planned.against)
    ]
    return compare_students(tables[0], tables[1], settings)


def _stack(grid: Grid, entries: Sequence[str], arm: str, benchmark: str) -> Floats:
    """The accuracies of one student, ``(draws, seeds, problems)``."""
    return np.stack([grid.accuracies[name][arm, benchmark] for name in entries])


def _describe_student(
    grid: Grid, planned: PlannedTest, entries: Sequence[str], settings: Settings
) -> dict[str, Any]:
    """A row of one student: over its draws if it has several, else over its training seeds."""
    arm, against = (
        _stack(grid, entries, name, planned.benchmark) for name in (planned.arm, planned.against)
    )
    own = dataclasses.replace(settings, key=(*settings.key, entries[0]))
    test: PairedTest
    if len(entries) > 1:
        test = compare_students([arm], [against], own)
    else:
        test = compare_arms(arm[0], against[0], **vars(own))
    return {
        "arm": planned.arm,
        "against": planned.against,
        "benchmark": planned.benchmark,
        "kind": planned.hypothesis.kind,
        "student": entries[0],
        "draws": len(entries),
        **{name: getattr(test, name) for name in ALONE},
    }
