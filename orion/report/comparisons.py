"""The rows of the comparisons that were listed in the configuration before the run.

Input: ``Results`` and the listed pairs. Output: one row per pair and benchmark. The statistics are
in ``orion.experiment.comparisons``; Holm's correction runs over the tests of one student on
one training set that know the runs.
"""

import dataclasses
from typing import Any

from orion.experiment.comparisons import PairedTest, compare_arms, correct_tests
from orion.report.gather import Results

NOT_RUN = "not run"
COLUMNS = (*(field.name for field in dataclasses.fields(PairedTest)), "p_holm", "reading")


def comparison_rows(
    results: Results,
    pairs: list[tuple[str, str]],
    benchmarks: list[str],
    *,
    confidence: float,
    resamples: int,
) -> list[dict]:
    """Rows in the order listed; a pair with an arm outside the grid has the reading "not run"."""
    rows = []
    tested: list[tuple[dict, PairedTest]] = []
    for arm, against in pairs:
        for benchmark in benchmarks:
            row: dict[str, Any] = {"arm": arm, "against": against, "benchmark": benchmark}
            row |= {**dict.fromkeys(COLUMNS), "reading": NOT_RUN}
            rows.append(row)
            if arm in results.arms and against in results.arms:
                test = compare_arms(
                    results.arms[arm].accuracies(benchmark),
                    results.arms[against].accuracies(benchmark),
                    confidence=confidence,
                    resamples=resamples,
                    key=(results.dataset, results.model, arm, against, benchmark),
                )
                tested.append((row, test))
    corrected = correct_tests([test for _, test in tested], alpha=1 - confidence)
    for (row, test), (p_holm, reading) in zip(tested, corrected, strict=True):
        row |= {**dataclasses.asdict(test), "p_holm": p_holm, "reading": reading}
    return rows
