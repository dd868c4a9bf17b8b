"""What the run does with a model and a dataset: what is trained, with which adapters, on what.

A model is trained in the run's grid, or so that its checkpoint can be another model's source.
"""

from typing import Any

from orion.config.arm_models import list_source_runs
from orion.config.models import Config
from orion.config.training import Train
from orion.errors import InputError


def is_trained(config: Config, model: str) -> bool:
    """Whether an arm is trained on the model."""
    return bool(list_trained_arms(config, model))


def list_trained_arms(config: Config, model: str) -> list[str]:
    """The arms that are trained on the model, those of the grid first."""
    grid = config.runs.arms if model in config.runs.models else []
    arms = [arm for arm in grid if config.arms[arm].trained_on != "nothing"]
    arms += [run.arm for run in list_source_runs(config) if run.model == model]
    return [*dict.fromkeys(arms)]


def list_lora(config: Config, model: str) -> dict[str, dict[str, Any]]:
    """Key of the configuration → targets, rank and merge_adapter of each adapter to be trained."""
    found: dict[str, dict[str, Any]] = {}
    for arm in list_trained_arms(config, model):
        block = config.arm_block("train", arm)
        assert isinstance(block, Train)
        if block.method != "lora":
            continue
        own = "lora" in config.arms[arm].train
        key = "train.lora.target_modules"
        found[f"arms.{arm}.{key}" if own else key] = {
            "targets": block.lora.target_modules,
            "merge_adapter": block.lora.merge_adapter,
            "rank": block.lora.r,
        }
    return found


def list_optimizers(config: Config, model: str) -> dict[str, str]:
    """Key of the configuration → optimiser, of the arms that are trained on the model."""
    found: dict[str, str] = {}
    for arm in list_trained_arms(config, model):
        block = config.arm_block("train", arm)
        assert isinstance(block, Train)
        own = "optimizer" in config.arms[arm].train
        found[f"arms.{arm}.train.optimizer" if own else "train.optimizer"] = block.optimizer
    return found


def check_traces(config: Config) -> None:
    """Raise InputError where an arm of the run needs teacher traces and a dataset has none.

    Apart from the rest of the configuration, since a mapping that is not finished can be previewed.
    """
    needing = [name for name in config.runs.arms if config.arms[name].needs_traces]
    for name in config.runs.datasets if needing else ():
        if not config.datasets[name].has_traces:
            raise InputError(
                f"datasets.{name} has no teacher traces, which the arms {', '.join(needing)} of "
                f"runs.arms need: map datasets.{name}.fields.teacher_trace, or name traces or a "
                "teacher, or drop these arms"
            )
