"""The comparisons that the configuration listed before the run, tested as listed.

Input: a ``Street`` and the listed pairs. Output: one row a pair and benchmark with the paired difference, both intervals,
the permutation p value and its Holm correction over all rows of this student on this training set.
"""

import numpy as np

from orion.experiment import statistics
from orion.report.gather import Street

SUPPORTED = ("above", "below")


def comparison_rows(
    street: Street,
    pairs: list[tuple[str, str]],
    benchmarks: list[str],
    *,
    confidence: float,
    resamples: int,
) -> list[dict]:
    """Rows in the order listed; a pair with an arm that the grid leaves out has the reading "not run"."""
    rows = []
    for arm, against in pairs:
        for benchmark in benchmarks:
            head = {"arm": arm, "against": against, "benchmark": benchmark}
            if arm in street.arms and against in street.arms:
                rows.append(
                    {**head, **_tested(street, head, confidence=confidence, resamples=resamples)}
                )
            else:
                rows.append({**head, **dict.fromkeys(COLUMNS), "reading": "not run"})
    tested = [row for row in rows if row["p"] is not None]
    for row, adjusted in zip(tested, statistics.holm([row["p"] for row in tested]), strict=True):
        row["p_holm"] = adjusted
        row["reading"] = reading(row, alpha=1 - confidence)
    return rows


COLUMNS = (
    *("problems", "seeds", "difference", "low", "high", "low_seeds", "high_seeds"),
    *("lowest_seed", "highest_seed", "spread", "better", "worse", "tied", "p", "p_holm", "reading"),
)


def _tested(street: Street, head: dict, *, confidence: float, resamples: int) -> dict:
    arm, against = (
        street.arms[head[side]].accuracies(head["benchmark"]) for side in ("arm", "against")
    )
    key = (street.dataset, street.model, *head.values())
    found = statistics.paired_difference(
        arm, against, confidence=confidence, resamples=resamples, key=("difference", *key)
    )
    pairs = arm.mean(axis=0) - against.mean(axis=0)  # (problems,)
    by_seed = found.by_seed or ()
    return {
        "problems": pairs.size,
        "seeds": arm.shape[0],
        "difference": found.value,
        "low": found.low,
        "high": found.high,
        "low_seeds": found.low_seeds,
        "high_seeds": found.high_seeds,
        "lowest_seed": min(by_seed, default=None),
        "highest_seed": max(by_seed, default=None),
        "spread": found.spread,
        # means over seeds are compared, so rounding must not turn a tie into a win
        "better": int((pairs > 1e-9).sum()),
        "worse": int((pairs < -1e-9).sum()),
        "tied": int((np.abs(pairs) <= 1e-9).sum()),
        "p": statistics.sign_flip(np.where(np.abs(pairs) <= 1e-9, 0.0, pairs), key=("p", *key)),
        "p_holm": None,
        "reading": None,
    }


def excludes_zero(low: float | None, high: float | None) -> bool:
    """Whether an interval exists and lies on one side of zero."""
    return low is not None and high is not None and (low > 0 or high < 0)


def reading(row: dict, *, alpha: float) -> str:
    """above, below or unclear: a side is named only if the intervals over problems and over seeds and Holm's p agree.

    With one seed there is no interval over seeds, and no side is named: one training run is an anecdote.
    """
    agreed = (
        excludes_zero(row["low"], row["high"])
        and excludes_zero(row["low_seeds"], row["high_seeds"])
        and row["p_holm"] <= alpha
    )
    return "unclear" if not agreed else "above" if row["difference"] > 0 else "below"
