"""Checks of the arms against the datasets that they are trained on.

``find_fault`` is called while the configuration is validated, when its models have no fault.
"""

from collections.abc import Iterator

from orion.config.arm_models import Config, list_source_runs


def list_trainings(config: Config) -> list[tuple[str, str]]:
    """(dataset, arm) of all that the run trains, the trainings that its models come from last."""
    pairs = [(dataset, arm) for dataset in config.runs.datasets for arm in config.runs.arms]
    pairs += [(run.dataset, run.arm) for run in list_source_runs(config)]
    return [*dict.fromkeys(pairs)]


def find_fault(config: Config) -> str | None:
    """What is wrong with an arm that the run trains, with its cure; None if nothing is."""
    return next(_list_faults(config), None)


def _list_faults(config: Config) -> Iterator[str]:
    for dataset, name in list_trainings(config):
        arm = config.arms[name]
        if arm.trained_on == "oracle":
            yield from _list_oracle_faults(config, name, dataset)


def _list_oracle_faults(config: Config, name: str, dataset: str) -> Iterator[str]:
    block, select = config.datasets[dataset], config.arm_block("select", name)
    if block.source.kind != "demo":
        yield (
            f"arms.{name}.trained_on: oracle needs the true steps of every problem, which only the "
            f"embedded problems record (source.kind demo), and datasets.{dataset} is of the kind "
            f"{block.source.kind}; leave the arm out, or train it on another text"
        )
    for key in ("fallback_no_error", "fallback_all_filtered"):
        if getattr(select, key) == "rewrite":
            yield (
                f"arms.{name}.select.{key}: rewrite asks the student, which an arm trained on "
                "oracle does not; set own_correct, teacher or drop for this arm"
            )
