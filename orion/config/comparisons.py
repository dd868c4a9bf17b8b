"""Pydantic model of an entry of ``comparisons``, and its checks against the grid."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from orion.config.base import Block
from orion.experiment import hypotheses


def _read_margin(value: Any) -> Any:
    # one text per margin, so that `2.0 points` is no other plan than `2 points`
    return value if value is None else f"{100 * hypotheses.parse_margin(value):g} points"


class Comparison(Block):
    arm: str
    against: str
    kind: Literal["superiority", "non-inferiority", "equivalence"] = Field(
        "superiority", description="what the test is to show of arm"
    )
    margin: Annotated[str, BeforeValidator(_read_margin)] | None = Field(
        None, description="for the other kinds, with its unit, such as `2 points` of accuracy"
    )
    expect: Literal["above", "below", "equal"] | None = Field(
        None, description="the outcome expected of arm; equal needs the kind equivalence"
    )
    benchmarks: Annotated[list[str], Field(min_length=1)] | None = Field(
        None, description="of runs.benchmarks, those that it is tested on; null: all"
    )
    group: str | None = Field(
        None, description="of runs.students: one test over its students; null: one for each student"
    )
    students: Annotated[int, Field(ge=2)] | None = Field(
        None, description="students that the group, or else runs.models, must have at least"
    )

    @model_validator(mode="after")
    def _check_hypothesis(self) -> "Comparison":
        if self.arm == self.against:
            raise ValueError(f"{self.arm} is compared with itself")
        fault = hypotheses.find_fault(self.kind, self.margin, self.expect)
        if fault is not None:
            raise ValueError(fault)
        return self


def find_fault(
    comparisons: list[Comparison],
    *,
    arms: set[str],
    run_arms: list[str],
    benchmarks: list[str],
    students: int,
    groups: dict[str, int],
) -> str | None:
    """Why the comparisons cannot be tested in the grid, with the cure; None if they can.

    ``arms``: those defined; ``run_arms``, ``benchmarks`` and ``students``: those of the grid, and
    the number of students.
    ``groups``: the number of students in each.
    """
    seen: list[tuple[str, str, str, str | None, str]] = []
    for number, comparison in enumerate(comparisons):
        place = f"comparisons.{number}"
        for name in (comparison.arm, comparison.against):
            if name not in arms:
                return f"{place} names the unknown arm {name}; define it under arms"
            if name not in run_arms:
                return (
                    f"{place}: no run has the arm {name}; add it to runs.arms, or drop the "
                    "comparison"
                )
        wanted, group = comparison.students or 1, comparison.group
        if group is not None and group not in groups:
            return f"{place} names the unknown group {group}; define it under runs.students"
        where = "runs.models" if group is None else f"runs.students.{group}"
        found = students if group is None else groups[group]
        if found < wanted:
            return (
                f"{place}: needs {wanted} students, and {where} has {found}; add students, "
                "or drop the comparison"
            )
        for name in comparison.benchmarks or []:
            if name not in benchmarks:
                return (
                    f"{place}.benchmarks: no run has {name}; add it to runs.benchmarks, or drop it"
                )
        said = (comparison.arm, comparison.against, comparison.kind, group)
        for name in comparison.benchmarks or benchmarks:
            if (*said, name) in seen:
                return (
                    f"{place}: {said[0]} against {said[1]} is listed twice for {said[2]} on {name};"
                    " keep one"
                )
            seen.append((*said, name))
    return None
