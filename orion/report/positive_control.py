"""What the positive control says: whether the run could have shown an effect at all.

Input: the rows of comparisons of a student or group, and the arms that are trained on the
generator's own refinements. Output: blocks of text. Where even these do not lift the untouched
student, a tie of the method says nothing about the method.
"""

from collections.abc import Sequence
from typing import Any

from orion.report.comparisons import NOT_RUN
from orion.report.summary import METHOD, RELATIONS, UNTOUCHED, format_points

SHOWN = "so this test bed can show what refinement does"
NOT_SHOWN = (
    f"so this test bed is not shown to be able to show an effect, and a tie of {METHOD} says "
    "nothing about the method"
)


def describe_control(
    rows: Sequence[dict[str, Any]], plan: dict[str, Any], controls: Sequence[str], scope: str
) -> list[dict[str, Any]]:
    """A block with one item per benchmark; none where no control was compared with the base.

    ``controls``: names of arms. ``scope``: whom the tests are about, such as "over 3 students".
    """
    found = [
        row
        for row in rows
        if row["arm"] in controls and row["against"] == UNTOUCHED and row["reading"] != NOT_RUN
    ]
    items = [_describe_test(row, plan) for row in found]
    return [{"text": f"Positive control, {scope}:", "items": items}] if items else []


def _describe_test(row: dict[str, Any], plan: dict[str, Any]) -> str:
    points = f"{format_points(row['difference'])} points"
    place = f"{row['arm']} against the untouched student on {row['benchmark']}"
    if row["reading"] == "above" and not plan["reasons"]:
        return f"{place}: {RELATIONS['above']} it, {points}, {SHOWN}"
    return f"{place}: {points}, not confirmed to be above it, {NOT_SHOWN}"
