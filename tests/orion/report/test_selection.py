"""The table of training rows says what matching removed, kind by kind."""

from orion.experiment.matching import match_problems
from orion.report.measures import MATCHING, count_removed
from orion.stages.match import Waterfall
from tests.orion.experiment.test_matching import make_rows


def test_rows_removed_by_matching_and_none_for_an_arm_that_is_not_matched():
    found = Waterfall(make_rows({"a": 2, "b": 1, "c": 3}))
    found.take("other_problem", match_problems(found.rows, [make_rows({"a": 1, "c": 1})]))
    found.take("over_budget", found.rows.head(3))
    removed = count_removed({"matching": {"waterfall": found.steps}})
    assert removed == {
        "removed_by_matching": 3,
        "removed_other_problem": 1,
        "removed_more_rows": None,
        "removed_over_budget": 2,
    }
    assert set(removed) == {"removed_by_matching", *(f"removed_{name}" for name in MATCHING)}
    assert set(count_removed({}).values()) == {None}
