"""What is registered before any result: the comparisons, and all that decides how they are tested.

Input: a configuration. Output: the keys of ``results/plan.json`` (`orion.experiment.plan`).
"""

from typing import Any

from orion.config.models import Config

# what the report tests, and over which tests it corrects
MEASURE = "accuracy"
FAMILY = "the registered tests of one student on one training set, by Holm"
FAMILY_OF_GROUPS = "the registered tests of one student or group on one training set, by Holm"


def plan_keys(config: Config) -> dict[str, Any]:
    """The plan of a configuration, which the rule ``plan`` writes before any result."""
    runs = config.runs
    return {
        "comparisons": [comparison.model_dump(mode="json") for comparison in config.comparisons],
        "benchmarks": runs.benchmarks,
        "datasets": runs.datasets,
        "models": runs.models,
        "students": runs.students,
        "seeds": runs.seeds,
        "num_samples": {name: config.evaluation(name).num_samples for name in runs.benchmarks},
        "measure": MEASURE,
        # rounded, since 1 - 0.95 is not 0.05
        "alpha": round(1 - config.report.confidence, 10),
        "family": FAMILY if runs.students is None else FAMILY_OF_GROUPS,
    }
