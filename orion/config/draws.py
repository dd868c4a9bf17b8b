"""Draws of data and groups of students: what may be another draw, and what is a group.

An entry of ``models`` is one student with one draw of its data. ``draw`` moves the seeds of all
that is drawn for it. The functions take the whole configuration.
"""

from collections import Counter
from collections.abc import Mapping
from itertools import combinations
from typing import Any, Protocol

from orion.config.sources import Model

# a draw moves the seeds by so much, so that no draw meets another one's training seeds
STRIDE = 10_000
Group = list[str | list[str]]


class Config(Protocol):
    """What these functions read of ``orion.config.models.Config``, which imports this module."""

    @property
    def runs(self) -> Any: ...
    @property
    def models(self) -> Mapping[str, Model]: ...


def shift_seed(config: Config, model: str) -> int:
    """What is added to the seeds of sampling, reflecting, training and evaluating this entry."""
    return STRIDE * config.models[model].draw


def list_students(group: Group) -> list[list[str]]:
    """The students of a group, each with its entries of ``models``, one per draw."""
    return [[entry] if isinstance(entry, str) else entry for entry in group]


def find_fault(config: Config) -> str | None:
    """Why the draws or groups are not what they are said to be, with the cure; None if they are."""
    if any(config.models[name].draw for name in config.runs.models):
        large = [seed for seed in config.runs.seeds if seed >= STRIDE]
        if large:
            return f"runs.seeds: {large[0]} must be below {STRIDE}, since models have draws"
    groups = config.runs.students or {}
    places = [
        (name, group)
        for group, students in groups.items()
        for entries in list_students(students)
        for name in entries
    ]
    for name, group in places:
        if name not in config.runs.models:
            return (
                f"runs.students.{group} names {name}, which no run has; add it to runs.models, or "
                f"set runs.students.{group} to null"
            )
    for name, count in Counter(name for name, _ in places).items():
        if count > 1:
            named = ", ".join(dict.fromkeys(group for other, group in places if other == name))
            return (
                f"runs.students: {name} is named {count} times (in {named}); an entry belongs to "
                "one student of one group"
            )
    for group, students in groups.items():
        fault = _find_fault_of_group(config, list_students(students))
        if fault is not None:
            return f"runs.students.{group}: {fault}"
    return None


def _find_fault_of_group(config: Config, students: list[list[str]]) -> str | None:
    if not students or not all(students):
        return "a student without an entry; name its entries of models, or drop it"
    if len(students) == 1 and len(students[0]) == 1:
        return "one student with one draw is no group; add students, or draws of this one"
    for entries in students:
        for first, other in combinations(entries, 2):
            differing = _list_differences(config, first, other)
            if differing:
                return (
                    f"{other} is no draw of {first}, since they differ in {', '.join(differing)}; "
                    "let them differ in `draw` only, or name them as two students"
                )
            if config.models[first].draw == config.models[other].draw:
                return f"{first} and {other} are the same draw; give one of them another `draw`"
    for first, other in combinations([entries[0] for entries in students], 2):
        if not _list_differences(config, first, other):
            return (
                f"{first} and {other} have the same source and settings, so they are one student; "
                f"write [{first}, {other}], with different draws"
            )
    return None


def _list_differences(config: Config, first: str, other: str) -> list[str]:
    """The keys that make two entries different students."""
    blocks = [
        config.models[name].model_dump(mode="json", exclude={"draw", "server"})
        for name in (first, other)
    ]
    return [key for key in blocks[0] if blocks[0][key] != blocks[1][key]]
