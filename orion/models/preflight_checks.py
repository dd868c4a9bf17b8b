"""The checks of preflight.json, in their order: what needs no weights comes first.

Input: a model's document and what the run does with it. Output: a ``Preflight`` of passed checks,
or an InputError with every failed check of the first part that has one. What the model is not used
for is not checked: a served model has a context, a model that is only sampled needs no loss.
"""

from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

from orion.errors import InputError
from orion.models import checkpoints, preflight_rows, training_checkpoints, weights
from orion.models.document import ModelDocument
from orion.models.families import check_family
from orion.models.lora_targets import ALL_LINEAR, LoraUse, check_targets
from orion.models.preflight import Check, Preflight, Uses, run_check, stop_if_failed
from orion.models.token_limits import check_token_limits
from orion.progress import log

NOT_LOADED = (
    "the transformers library cannot load this checkpoint; repair it, or take another model"
)
NOT_RENDERED = "give a chat template that the model was trained with as its `chat_template:`"


def run_preflight(document: ModelDocument, uses: Uses, work: Path) -> Preflight:
    """The passed checks of a model; raises InputError, with the cures, where one fails.

    ``work``: a folder in which the probe may be saved for a moment.
    """
    checks = check_without_weights(document, uses)
    stop_if_failed(document.name, checks)
    if uses.is_trained and not document.is_served:
        checks += _check_weights(document, uses, work)
        stop_if_failed(document.name, checks)
    log(f"{document.name}: passed {len(checks)} checks")
    return Preflight(document.name, document.digest, tuple(checks))


def check_without_weights(document: ModelDocument, uses: Uses) -> list[Check]:
    """The checks that read no weights."""
    checks = [run_check("context", "", lambda: _check_context(document, uses))]
    if document.is_served:
        return checks
    tokenizer = checkpoints.load_tokenizer(document)
    checks.append(Check("files", True, _describe_files(document, tokenizer)))
    checks.append(
        run_check(
            "end_token",
            "name the model's end token in generation_config.json as eos_token_id",
            lambda: preflight_rows.check_end_token(
                checkpoints.eos_ids(document, tokenizer), int(document.vocab_size or 0)
            ),
        )
    )
    if not uses.is_trained or not checks[-1].passed:
        return checks
    config = checkpoints.read_checkpoint_json(document, "config.json")
    cure = "take a model of a family in docs/models.md"
    checks.append(run_check("family", cure, lambda: _family(config)))
    if not checks[-1].passed:
        return checks
    cure = "correct generation_config.json or delete it, and delete model.json"
    checks += [
        run_check("positions", "", lambda: _check_positions(config, uses)),
        run_check("documents", NOT_RENDERED, lambda: _check_documents(document, tokenizer, uses)),
        run_check("generation_config", cure, lambda: _check_generation_config(document)),
    ]
    # the library reads that file with the model
    return checks + (_check_skeleton(document, uses) if checks[-1].passed else [])


def _check_context(document: ModelDocument, uses: Uses) -> str:
    check_token_limits(document.name, document.context_length, uses.token_limits)
    return f"{document.context_length} tokens"


def _describe_files(document: ModelDocument, tokenizer: Any) -> str:
    """What making the document has checked already."""
    names = len(document.files) + len(document.adapter.files if document.adapter else ())
    return (
        f"{names} files in the digest, {document.parameters:,} parameters, "
        f"{len(tokenizer)} of {document.vocab_size} tokens in the tokenizer"
    )


def _family(config: dict[str, Any]) -> str:
    family = check_family(config)
    return f"{family.model_type}: {', '.join(family.layers)}"


def _check_positions(config: dict[str, Any], uses: Uses) -> str:
    """A packed row may not be longer than positions keep their meaning in a batch."""
    limit = check_family(config).uniform_positions
    if limit is None:
        return "the same in every batch"
    keys = [
        f"{key} = {tokens}"
        for key, tokens in uses.token_limits.items()
        if key.endswith("max_length") and tokens > limit
    ]
    if keys:
        raise InputError(
            f"{', '.join(keys)}: beyond {limit} tokens this model stretches the positions of all "
            f"rows of a batch, so a packed row is not what is served; lower it to {limit}"
        )
    return f"the same in every batch of rows of up to {limit} tokens"


def _encode(document: ModelDocument, tokenizer: Any, uses: Uses) -> Any:
    eos = checkpoints.eos_ids(document, tokenizer)
    return preflight_rows.encode_documents(tokenizer, eos, uses.prompts, uses.enable_thinking)


def _check_documents(document: ModelDocument, tokenizer: Any, uses: Uses) -> str:
    documents, thinking = _encode(document, tokenizer, uses)
    return f"{preflight_rows.check_tokens(document, documents)}; {thinking}"


def _check_generation_config(document: ModelDocument) -> str:
    """generation_config.json can be saved beside a trained checkpoint."""
    from transformers import GenerationConfig

    folder = checkpoints.document_folder(document)
    if not (folder / "generation_config.json").is_file():
        return "none"
    settings = GenerationConfig.from_pretrained(folder, local_files_only=True)
    model = SimpleNamespace(
        generation_config=settings, config=SimpleNamespace(name_or_path=str(folder))
    )
    training_checkpoints.make_generation_config_savable(model)
    return "can be saved"


def _check_skeleton(document: ModelDocument, uses: Uses) -> list[Check]:
    """The parts of the model against its files, and the LoRA targets against its parts."""
    from orion.models.preflight_weights import Skeleton

    found: list[Skeleton] = []

    def check_tensors() -> str:
        found.append(Skeleton(document))
        return found[0].check_tensors()

    checks = [run_check("tensors", NOT_LOADED, check_tensors)]
    if found:
        checks.append(run_check("lora_targets", "", lambda: _check_lora(document, uses, found[0])))
    return checks


def _check_lora(document: ModelDocument, uses: Uses, skeleton: Any) -> str:
    """What an adapter may have as targets, which does not depend on the configured ones."""
    for use in uses.lora:
        check_adapter_kept(document.adapter is not None, use)
        check_targets(use, skeleton.modules, tied=skeleton.tied, sides=skeleton.sides)
    return check_targets(LoraUse("", ALL_LINEAR), skeleton.modules, tied=skeleton.tied)


def check_adapter_kept(is_adapter: bool, use: LoraUse) -> None:
    """Raise InputError where an adapter would be kept on a base that is an adapter itself."""
    if is_adapter and not use.merge_adapter:
        key = use.key.removesuffix("target_modules") + "merge_adapter"
        raise InputError(
            f"{key}: false would keep an adapter on a base that is an adapter itself; set it to "
            "true"
        )


def _check_finite(document: ModelDocument) -> str:
    """All stored numbers are finite; those of an adapter show in the loss, once it is merged."""
    count = weights.check_finite(checkpoints.document_folder(document))
    return f"{count} tensors"


def _check_weights(document: ModelDocument, uses: Uses, work: Path) -> list[Check]:
    """The checks that run the model."""
    from orion.models import preflight_weights as probe

    documents, _ = _encode(document, checkpoints.load_tokenizer(document), uses)
    ids = [document_ids for document_ids, _ in documents]
    loaded: list[Any] = []

    def load() -> str:
        model, part = probe.load_probe(document)
        loaded.append(model)
        return f"{part} in float32"

    checks = [run_check("finite", NOT_LOADED, lambda: _check_finite(document))]
    if not checks[0].passed:
        return checks
    checks.append(run_check("weights", NOT_LOADED, load))
    if not loaded:
        return checks
    [model] = loaded
    work.mkdir(parents=True, exist_ok=True)
    words = preflight_rows.list_texts(uses.prompts)
    checks += [
        run_check("packed", probe.NOT_COMPUTED, lambda: probe.compare_packed(model, ids)),
        run_check("loss", probe.NOT_COMPUTED, lambda: probe.compare_loss(model, ids[0])),
    ]
    with TemporaryDirectory(prefix=".preflight-", dir=work) as folder:
        checks.append(
            run_check(
                "save_and_load",
                NOT_LOADED,
                lambda: probe.save_and_load(model, document, Path(folder), words),
            )
        )
    return checks
