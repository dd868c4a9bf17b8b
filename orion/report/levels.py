"""Accuracy by level and tag of the problems, where a benchmark's ``meta`` has any.

Input: ``Results``. Output: rows. `orion.experiment.levels` says which fields are levels.
"""

from orion.experiment import statistics
from orion.report.gather import Results


def level_rows(results: Results, benchmarks: list[str], *, confidence: float) -> list[dict]:
    """One row per benchmark, field, arm and value; the interval is over problems or clusters."""
    rows = []
    for benchmark in benchmarks:
        levels = results.levels[benchmark]
        clusters = results.clusters[benchmark]
        for field in dict.fromkeys(level.field for level in levels):
            for arm in results.arms.values():
                values = arm.accuracies(benchmark)  # (seeds, problems)
                samples = arm.count_samples(benchmark)
                for level in (level for level in levels if level.field == field):
                    own = None
                    if clusters is not None:
                        own = statistics.number_clusters(clusters[level.problems].tolist())
                    interval = statistics.share_interval(
                        values[:, level.problems].sum(axis=0) * samples,
                        values.shape[0] * samples,
                        confidence=confidence,
                        clusters=own,
                    )
                    rows.append(
                        {
                            "benchmark": benchmark,
                            "field": field,
                            "arm": arm.name,
                            "value": level.value,
                            "problems": level.problems.size,
                            "accuracy": interval.value,
                            "low": interval.low,
                            "high": interval.high,
                        }
                    )
    return rows
