"""The plan of one student, training set and benchmark, as the stage `plan` gets it."""


def write_plan(*comparisons: dict, **others) -> dict:
    """``others``: keys that differ."""
    plan = {
        "comparisons": [*comparisons],
        "benchmarks": ["b"],
        "datasets": ["d"],
        "models": ["m"],
        "seeds": [1, 2],
        "num_samples": {"b": 4},
        "measure": "accuracy",
        "alpha": 0.05,
        "family": "all",
    }
    return plan | others
