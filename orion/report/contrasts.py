"""The one figure of all comparisons: groups first, then students, registered apart from added.

Input: the finished document. Output: the blocks of rows, their axis, and the sentence that comes
first of each group and of each student that is in none.
"""

from typing import Any

from markupsafe import Markup

from orion.report import lanes
from orion.report.figures import colour

# readings without a verdict are grey
GREY = ("unclear", "exploratory", "not run")
ADDED = "added"


def make_figure(doc: dict[str, Any], most: int) -> dict[str, Any]:
    """``leads``, ``blocks``, ``axis``, ``unit`` and ``left_out``, for the template.

    A block has a title, rows with their ``number`` in the table, the table's place in the document,
    and ``ticks``: the differences of single students by number. ``most``: rows in all.
    """
    blocks: list[dict[str, Any]] = []
    for kind, items in (("groups", doc["groups"]), ("results", doc["results"])):
        for index, item in enumerate(items):
            blocks += _divide(item, f"{kind}/{index}/comparisons/", len(doc["results"]) > 1)
    total = sum(len(block["rows"]) for block in blocks)
    left = most
    for block in blocks:
        block["rows"] = block["rows"][: max(0, left)]
        left -= len(block["rows"])
    blocks = [block for block in blocks if block["rows"]]
    rows = [row for block in blocks for row in block["rows"]]
    return {
        "leads": list(_list_leads(doc))[:most],
        "blocks": blocks,
        "axis": lanes.make_contrast_axis(rows),
        "unit": _name_unit(doc),
        "left_out": total > most,
    }


def _name_unit(doc: dict[str, Any]) -> str:
    """What the thin lines are about."""
    students = any(item["students"] > 1 and item["comparisons"] for item in doc["groups"])
    alone = any(item["comparisons"] for item in doc["results"])
    draws = any(item["students"] == 1 and item["comparisons"] for item in doc["groups"])
    named = {"students": students, "draws": draws, "runs": alone}
    return " or ".join(name for name, is_there in named.items() if is_there) or "runs"


def _list_leads(doc: dict[str, Any]) -> Any:
    for item in doc["groups"]:
        if item["headline"]:
            yield {
                "title": f"{item['group']} on {item['dataset']}",
                "lead": item["headline"][0],
            }
    for item in doc["results"]:
        if not item["groups"] and item["headline"]:
            title = f"{item['model']} on {item['dataset']}"
            yield {"title": title, "lead": item["headline"][0]}


def _divide(item: dict[str, Any], place: str, is_named: bool) -> list[dict[str, Any]]:
    """The registered rows of one group or student, and those that were added after results."""
    ticks: dict[int, list[float]] = {}
    for row in item.get("alone", ()):
        ticks.setdefault(row["test"], []).append(row["difference"])
    numbered = [{**row, "number": number} for number, row in enumerate(item["comparisons"])]
    found = []
    since = "registered before any result"
    if not item["plan"]["is_reliable"]:
        since = "registered by an unreliable plan"
    for title, rows in (
        (since, [row for row in numbered if row["status"] != ADDED]),
        ("added after results: exploratory", [row for row in numbered if row["status"] == ADDED]),
    ):
        if rows:
            whose = _name_item(item) if is_named or "group" in item else ""
            whole = f"{whose}: {title}" if whose else title[0].upper() + title[1:]
            found.append({"title": whole, "rows": rows, "place": place, "ticks": ticks})
    return found


def _name_item(item: dict[str, Any]) -> str:
    if "group" not in item:
        return f"{item['model']} on {item['dataset']}"
    students = item["students"]
    what = f"{students} students" if students > 1 else f"{item['draws']} draws of one student"
    return f"{item['group']} on {item['dataset']}, over {what}"


def draw_row(axis: lanes.Axis, row: dict[str, Any], ticks: list[float]) -> Markup:
    """The lane of a row."""
    return lanes.draw_contrast(
        axis, row, None if row["reading"] in GREY else colour(row["arm"]), ticks
    )
