"""The conditions of ``where``: equality, inequality, membership, ranges, patterns."""

from decimal import Decimal
from typing import Any

from orion.data.row_paths import ABSENT, RowPath
from orion.data.text_rules import check_pattern, matches

Row = dict[str, Any]


class Conditions:
    """All conditions of one ``where``; ``paths``: where each looks, by its text."""

    def __init__(self, where: dict[str, Any]):
        self.paths = {text: RowPath(text) for text in where}
        self._wanted = {text: _read(wanted) for text, wanted in where.items()}
        for text, tests in self._wanted.items():
            if "matches" in tests:
                check_pattern(tests["matches"], f"where.{text}.matches")

    def hold(self, row: Row) -> bool:
        """Whether a row meets them all; a row without the value meets ``not`` and ``not_in``."""
        return all(_meets(self.paths[text].get(row), tests) for text, tests in self._wanted.items())


def _read(wanted: Any) -> dict[str, Any]:
    if isinstance(wanted, dict):
        return {key: value for key, value in wanted.items() if value is not None}
    return {"in": wanted if isinstance(wanted, list) else [wanted]}


def _meets(value: Any, tests: dict[str, Any]) -> bool:
    given = None if value is ABSENT else value
    for test, wanted in tests.items():
        if test == "in":
            met = any(_equal(given, each) for each in wanted)
        elif test == "not_in":
            met = not any(_equal(given, each) for each in wanted)
        elif test == "not":
            met = not _equal(given, wanted)
        elif test == "matches":
            met = given is not None and matches(str(given), wanted)
        else:
            number = _number(given)
            met = number is not None and (
                number >= wanted if test == "at_least" else number <= wanted
            )
        if not met:
            return False
    return True


def _equal(value: Any, wanted: Any) -> bool:
    """Equality; a value of a CSV file is a text, so it equals a number that is written the same."""
    if isinstance(value, str) and not isinstance(wanted, str) and wanted is not None:
        shown = str(wanted).lower() if isinstance(wanted, bool) else str(wanted)
        return value.strip().lower() == shown
    if isinstance(value, bool) != isinstance(wanted, bool):
        return False
    return bool(value == wanted)


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        return None
    try:
        return float(value)
    except ValueError:
        return None
