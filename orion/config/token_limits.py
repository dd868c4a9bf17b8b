"""Token limits of the stages against the models' contexts, before any work.

A context is known here if it is configured, or if the model is a folder that exists. For others
the rule that registers the model gets the limits.
"""

import json
from pathlib import Path

from orion.config.arm_models import find_writer, list_exposures, list_used, needs_samples
from orion.config.models import Config
from orion.config.sources import Block, LocalModel, Model
from orion.config.uses import list_trained_arms
from orion.errors import InputError
from orion.models import adapters
from orion.models.contexts import native_context_length
from orion.models.token_limits import check_token_limits


def list_token_limits(config: Config, model: str) -> dict[str, int]:
    """Key of the configuration → tokens, for the stages of the run that read this model."""
    limits: dict[str, int] = {}
    for dataset in list_used(config)["datasets"]:
        if config.datasets[dataset].teacher == model and config.teacher is not None:
            limits["teacher.max_tokens"] = config.teacher.max_tokens
    arms = list_trained_arms(config, model)
    is_student = model in config.runs.models
    is_exposed = model in [name for _, name in list_exposures(config)]
    if is_student or is_exposed or any(needs_samples(config, arm) for arm in arms):
        limits["sample.max_tokens"] = config.sample.max_tokens
    for arm in arms:
        if config.arms[arm].trained_on == "reflection" and find_writer(config, arm, model) == model:
            limits |= _arm_limit(config, arm, "reflect", "max_tokens")
        limits |= _arm_limit(config, arm, "pack", "max_length")
    for arm in list_used(config)["arms"]:
        if config.arms[arm].trained_on == "reflection" and find_writer(config, arm, "") == model:
            limits |= _arm_limit(config, arm, "reflect", "max_tokens")
    judge = config.report.judge
    if judge is not None and judge.model == model:
        limits["report.judge.max_tokens"] = judge.max_tokens
    if is_student:
        for benchmark in config.runs.benchmarks:
            own = config.benchmarks[benchmark].evaluate.max_tokens
            where = "evaluate" if own is None else f"benchmarks.{benchmark}.evaluate"
            limits[f"{where}.max_tokens"] = config.evaluation(benchmark).max_tokens
    return limits


def _arm_limit(config: Config, arm: str, stage: str, key: str) -> dict[str, int]:
    own = key in getattr(config.arms[arm], stage)
    block: Block = config.arm_block(stage, arm)
    return {f"arms.{arm}.{stage}.{key}" if own else f"{stage}.{key}": getattr(block, key)}


def check_contexts(config: Config) -> None:
    """Raise InputError where a stage of the run cannot work within a model's context."""
    for name, model in config.models.items():
        limits = list_token_limits(config, name)
        context = _known_context(model) if limits else None
        if context is not None:
            check_token_limits(name, context, limits)


def weights_folder(source: LocalModel) -> Path:
    """The folder with the weights: the one of the source, or its base's if it is an adapter.

    The folder of a base on the hub is not known here, and the adapter's is returned. Raises
    InputError for an adapter without a base.
    """
    folder = Path(source.path)
    if not adapters.is_adapter_folder(folder):
        return folder
    configured = None if source.base is None else source.base.model_dump(mode="json")
    return Path(adapters.find_base(folder, configured).get("path", folder))


def _known_context(model: Model) -> int | None:
    """The tokens of a model's context as far as they are known without a download."""
    if model.context_length is not None:
        return model.context_length
    if not isinstance(model.source, LocalModel):
        return None
    try:
        folder = weights_folder(model.source)
        text = (folder / "config.json").read_text(encoding="utf-8")
        return native_context_length(json.loads(text))
    except (InputError, OSError, ValueError, TypeError, AttributeError):
        # the rule that registers the model says what is wrong with the folder
        return None
