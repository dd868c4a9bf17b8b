"""The report's sentences on groups of students: the headline of each, and the warnings.

Input: the finished items of ``orion.report.groups``. Output: plain text. A sentence says over how
many students a test was made, and speaks of new students only where there are several.
"""

from collections.abc import Sequence
from typing import Any

from orion.report.positive_control import describe_control
from orion.report.summary import (
    METHOD,
    Words,
    describe_base_test,
    find_base_test,
    summarise_comparisons,
)

# the simulation's figures are in docs/statistics.md
TWO_STUDENTS = (
    "two students only. They hardly show the spread between students, so that only very large "
    "differences can be found (docs/statistics.md). Three students or more are better."
)


def write_headline(
    item: dict[str, Any], confidence: float, controls: Sequence[str]
) -> list[dict[str, Any]]:
    """Blocks of text and list items: the method against the untouched student, the comparisons.

    ``controls``: arms that are positive controls.
    """
    students, draws = item["students"], item["draws"]
    if students > 1:
        scope = f"over {students} students"
        words = Words("these students", "over students", scope)
        about = (
            f"All of this is about new students, and new draws of their data, of the same kind as "
            f"these {students}, on new problems of the same kind. Draws and training seeds are "
            "averaged within a student first."
        )
    else:
        scope = f"over {draws} draws of this student"
        words = Words("this student", "over draws", scope)
        about = (
            f"All of this is about this student: its {draws} draws differ in samples, reflections "
            "and training. It is no claim about the method on other students."
        )
    return [
        *_compare_with_base(item, scope),
        *describe_control(item["comparisons"], item["plan"], controls, scope),
        *summarise_comparisons(
            item["comparisons"], item["plan"], confidence, words, lambda rows: about
        ),
    ]


def _compare_with_base(item: dict[str, Any], scope: str) -> list[dict[str, Any]]:
    lines = []
    for benchmark in dict.fromkeys(row["benchmark"] for row in item["comparisons"]):
        row = find_base_test(item["comparisons"], benchmark)
        if row is not None:
            lines.append(f"{benchmark}: {describe_base_test(row, item['plan'])}")
    text = f"{METHOD} against the untouched student, {scope}:"
    return [{"text": text, "items": lines}] if lines else []


def write_warnings(doc: dict[str, Any]) -> list[str]:
    """What a reader should know of the groups before trusting their tests."""
    digests = {model["name"]: model["digest"] for model in doc["models"]}
    lines = []
    for item in doc["groups"]:
        place = f"{item['group']} on {item['dataset']}"
        if item["students"] == 2:
            lines.append(f"{place}: {TWO_STUDENTS}")
        first = [digests[entries[0]] for entries in item["entries"]]
        if len(set(first)) < len(first):
            lines.append(f"{place}: two of its students have the same weights, so they are one.")
        for entries in item["entries"]:
            if len({digests[name] for name in entries}) > 1:
                named = ", ".join(entries)
                lines.append(
                    f"{place}: the weights of {named} differ, so they are no draws of one."
                )
        lines += [f"{place}: {reason}" for reason in item["plan"]["reasons"]]
    return lines
