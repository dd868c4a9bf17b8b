"""Accuracy under a second answer policy, and the band between the two.

Input: ``Results`` of a run with ``report.second_policy``. Output: rows. Every answer was checked
again under that policy by the rule evaluate_recheck.
"""

import polars as pl

from orion.report.gather import Results


def policy_rows(results: Results, policies: dict[str, str], second: str | None) -> list[dict]:
    """One row per arm and benchmark, over all seeds; no rows without a second policy.

    ``policies``: the policy of each benchmark. ``disputed`` answers are correct under one of the
    two policies only; ``low`` and ``high`` are the accuracy if all of them are wrong, and if all
    are right.
    """
    if second is None:
        return []
    rows = []
    for arm in results.arms.values():
        for benchmark, policy in policies.items():
            checked = arm.collect_checked(benchmark)
            first, other = pl.col("verdict") == "correct", pl.col("second_verdict") == "correct"
            counts = checked.select(
                correct=first.sum(),
                second_correct=other.sum(),
                both=(first & other).sum(),
                either=(first | other).sum(),
            ).row(0, named=True)
            answers = checked.height
            rows.append(
                {
                    "arm": arm.name,
                    "benchmark": benchmark,
                    "policy": policy,
                    "second_policy": second,
                    "answers": answers,
                    "accuracy": counts["correct"] / answers,
                    "second_accuracy": counts["second_correct"] / answers,
                    "difference": (counts["second_correct"] - counts["correct"]) / answers,
                    "disputed": counts["either"] - counts["both"],
                    "low": counts["both"] / answers,
                    "high": counts["either"] / answers,
                }
            )
    return rows
