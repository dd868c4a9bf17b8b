"""Clusters above the problem: problems that are variants of one another, by ``meta.cluster``.

Input: the table problems. Output: the number of each problem's cluster, for the estimators of
``orion.experiment.statistics`` and ``two_way``.
"""

import polars as pl

from orion.experiment.statistics import Integers, number_clusters

CLUSTER = "cluster"


def find_clusters(problems: pl.DataFrame) -> Integers | None:
    """The cluster of each problem, ``(problems,)``, in the order of problem_id.

    ``problems`` has the columns problem_id and meta. A problem without a cluster is one of its own.
    None where ``meta`` does not have the field, or every cluster is one problem.
    """
    fields = [field.name for field in problems.schema["meta"].fields]  # type: ignore[attr-defined]
    if CLUSTER not in fields:
        return None
    ordered = problems.sort("problem_id")
    return number_clusters(ordered["meta"].struct.field(CLUSTER).to_list())


def count_clusters(clusters: Integers | None) -> int | None:
    """The number of clusters; None where there are none above the problem."""
    return None if clusters is None else int(clusters.max()) + 1
