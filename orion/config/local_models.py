"""Checkpoint folders that exist already, against what the run does with them, before any work.

Input: the validated configuration. ``check_local_models`` reads config.json and the names of stored
tensors only, so that Snakemake may call it whenever it starts; ``check_without_weights`` adds all
checks of preflight.json that need no weights. What is wrong with a folder that is not there yet, or
with a model on the hub, the rule that registers the model says.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from orion.config.models import Config
from orion.config.sources import LocalModel, Model
from orion.config.token_limits import check_contexts, list_token_limits, weights_folder
from orion.config.uses import is_trained, list_lora
from orion.errors import InputError
from orion.models import adapters, lora_targets, registration, weights
from orion.models.lora_targets import LoraUse
from orion.models.preflight import Uses, stop_if_failed
from orion.models.preflight_checks import check_adapter_kept
from orion.models.preflight_checks import check_without_weights as run_checks


def check_local_models(config: Config) -> None:
    """Raise InputError for a limit, an adapter or LoRA targets that a folder does not allow."""
    check_contexts(config)
    for name, source in _existing_folders(config):
        try:
            _check_folder(source, list_lora_uses(config, name))
        except InputError as error:
            raise InputError(f"models.{name}: {error}") from None


def is_used(config: Config, name: str) -> bool:
    """Whether a stage of the run reads the model."""
    return bool(list_token_limits(config, name))


def list_lora_uses(config: Config, name: str) -> tuple[LoraUse, ...]:
    """The adapters that the run trains on a model."""
    return tuple(LoraUse(key, **settings) for key, settings in list_lora(config, name).items())


def _existing_folders(config: Config) -> Iterator[tuple[str, LocalModel]]:
    """The models that a stage reads and that are folders here already."""
    for name, model in config.models.items():
        source = model.source
        is_folder = isinstance(source, LocalModel) and Path(source.path).is_dir()
        if is_folder and is_used(config, name):
            assert isinstance(source, LocalModel)
            yield name, source


def _check_folder(source: LocalModel, uses: tuple[LoraUse, ...]) -> None:
    for use in uses:
        check_adapter_kept(adapters.is_adapter_folder(Path(source.path)), use)
    folder = weights_folder(source)
    if adapters.is_adapter_folder(folder):
        # its base is on the hub
        return
    weights.refuse_adapter_beside(folder)
    try:
        settings: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        tensors = weights.list_tensors(folder)
        tied = bool(settings.get("tie_word_embeddings", _has_no_head(tensors)))
    except (InputError, OSError, ValueError, AttributeError):
        # the rule that registers the model says what is wrong with the folder
        return
    for use in uses:
        modules = lora_targets.modules_of_weights(tensors)
        lora_targets.check_targets(use, modules, tied=tied)


def _has_no_head(tensors: list[str]) -> bool:
    modules = lora_targets.modules_of_weights(tensors)
    return lora_targets.HEAD not in modules.values()


def check_without_weights(config: Config) -> list[str]:
    """The used models whose folders exist and pass the checks that need no weights.

    Raises InputError for the first one that fails.
    """
    passed = []
    for name, _ in _existing_folders(config):
        model = config.models[name]
        uses = Uses(
            is_trained=is_trained(config, name),
            prompts=config.prompts,
            enable_thinking=model.enable_thinking,
            token_limits=list_token_limits(config, name),
            lora=list_lora_uses(config, name),
        )
        document = registration.make_document(name, _entry(model), with_digests=False)
        stop_if_failed(name, run_checks(document, uses))
        passed.append(name)
    return passed


def _entry(model: Model) -> registration.Entry:
    return registration.Entry(
        source=model.source.model_dump(mode="json"),
        dtype=model.dtype,
        trust_remote_code=model.trust_remote_code,
        chat_template=model.chat_template,
        prompt_date=model.prompt_date,
        context_length=model.context_length,
    )
