"""What is wrong with the wrong answers: their cohorts, and where the first false step is.

Input: ``Results``. Output: rows that count answers over all seeds. `orion.experiment.cohorts` says
which answer belongs where.
"""

import polars as pl

from orion.experiment.cohorts import COHORTS, THIRDS
from orion.report.gather import Results


def cohort_rows(results: Results, benchmarks: list[str]) -> list[dict]:
    """One row per arm, benchmark and cohort; the counts of an arm sum to its wrong answers.

    ``share``: of the wrong answers, null where there are none.
    """
    rows = []
    for arm in results.arms.values():
        for benchmark in benchmarks:
            checked = arm.collect_checked(benchmark)
            counts = dict(checked["cohort"].drop_nulls().value_counts().iter_rows())
            wrong = checked.filter(pl.col("verdict") != "correct").height
            rows += [
                {
                    "arm": arm.name,
                    "benchmark": benchmark,
                    "answers": checked.height,
                    "wrong": wrong,
                    "cohort": cohort,
                    "count": counts.get(cohort, 0),
                    "share": counts.get(cohort, 0) / wrong if wrong else None,
                }
                for cohort in COHORTS
            ]
    return rows


def first_false_rows(results: Results, benchmarks: list[str]) -> list[dict]:
    """One row per arm, benchmark and rule: the answers of the cohort ``false_step``.

    ``rule`` found the first false step (``orion answers rules``). ``first``, ``middle`` and
    ``last``: in which third of the text, by characters, it begins. Most frequent rules come first.
    """
    rows = []
    for arm in results.arms.values():
        for benchmark in benchmarks:
            found = arm.collect_checked(benchmark).filter(pl.col("cohort") == "false_step")
            counts = found.group_by(pl.col("rule").cast(pl.String)).agg(
                pl.len().alias("answers"),
                *((pl.col("third") == third).sum().alias(third) for third in THIRDS),
            )
            ordered = counts.sort("answers", "rule", descending=[True, False])
            rows += [
                {"arm": arm.name, "benchmark": benchmark, **row}
                for row in ordered.iter_rows(named=True)
            ]
    return rows
