"""What the run does with a model: whether it is trained, and with which adapters."""

from typing import Any

from orion.config.blocks import Train
from orion.config.models import Config


def is_trained(config: Config, model: str) -> bool:
    """Whether an arm of the run is trained on the model."""
    return model in config.runs.models and bool(_trained_arms(config))


def _trained_arms(config: Config) -> list[str]:
    return [arm for arm in config.runs.arms if config.arms[arm].trained_on != "nothing"]


def list_lora(config: Config, model: str) -> dict[str, dict[str, Any]]:
    """Key of the configuration → targets, rank and merge_adapter of each adapter to be trained."""
    found: dict[str, dict[str, Any]] = {}
    for arm in _trained_arms(config) if model in config.runs.models else ():
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
    for arm in _trained_arms(config) if model in config.runs.models else ():
        block = config.arm_block("train", arm)
        assert isinstance(block, Train)
        own = "optimizer" in config.arms[arm].train
        found[f"arms.{arm}.train.optimizer" if own else "train.optimizer"] = block.optimizer
    return found
