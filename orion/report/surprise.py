"""How unexpected the texts of each arm are to the untrained student.

Input: ``Results`` of a run with ``report.surprise``. Output: rows.
"""

from orion.experiment.surprise import average
from orion.report.gather import Results


def surprise_rows(results: Results) -> list[dict]:
    """One row per trained arm, over the documents that are trained on; none without the key."""
    return [
        {"arm": arm.name, "trained_on": arm.trained_on, **average(arm.surprise)}
        for arm in results.arms.values()
        if arm.surprise is not None
    ]
