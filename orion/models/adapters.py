"""LoRA adapters kept beside their base: save one, describe it in model.json, load it unmerged.

An adapter folder holds adapter_config.json and safetensors. Importing this module imports neither
torch nor peft.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from orion.errors import InputError
from orion.models import weights
from orion.models.document import AdapterDocument, ModelDocument
from orion.paths import ADAPTER_CONFIG as CONFIG
from orion.paths import WEIGHT_FILES, relative_to_cwd
from orion.provenance import canonical_json, digest_file, digest_text

WEIGHTS = "adapter_model.safetensors"


def save_adapter(model: Any, folder: Path) -> None:
    """Write the adapter of a peft model, without a model card and without the base's folder."""
    for settings in model.peft_config.values():
        # model.json names the base; with None peft would write the base's folder on this machine
        settings.base_model_name_or_path = ""
        if isinstance(settings.target_modules, set):
            # the order of a set differs between processes, and the bytes must not
            settings.target_modules = sorted(settings.target_modules)
    # the default "auto" would ask the hub about the base
    model.save_pretrained(folder, save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)


def adapter_document(folder: str | Path, base: ModelDocument, *, name: str) -> ModelDocument:
    """The document of an adapter on a base: the base's, with ``adapter`` and a digest of both.

    Raises InputError for a folder without an adapter in peft's format.
    """
    folder = Path(folder)
    absent = [file for file in (CONFIG, WEIGHTS) if not (folder / file).is_file()]
    if absent:
        raise InputError(f"{folder}: no {absent[0]}; not an adapter in peft's format")
    files = {file: digest_file(folder / file) for file in (CONFIG, WEIGHTS)}
    rank = _read_settings(folder)["r"]
    return replace(
        base,
        name=name,
        digest=digest_text(canonical_json({"base": base.digest, "adapter": files})),
        parameters=(base.parameters or 0) + weights.count_parameters([folder / WEIGHTS]),
        # a server of the base has no adapter
        served_name=None,
        adapter=AdapterDocument(relative_to_cwd(folder), files, rank),
    )


def is_adapter_folder(folder: Path) -> bool:
    """Whether a folder holds an adapter and no weights of a model."""
    stored = {path.name for path in folder.glob(WEIGHT_FILES)}
    return (folder / CONFIG).is_file() and stored <= {WEIGHTS}


def find_base(folder: Path, base: Mapping[str, Any] | None) -> dict[str, Any]:
    """The source (kind, and path or repo and revision) of the base of an adapter folder.

    It is ``base``, as configured, or else a folder that adapter_config.json names. Raises
    InputError where neither names one.
    """
    if base is not None:
        return dict(base)
    named = _read_settings(folder).get("base_model_name_or_path") or ""
    for place in (Path(named), folder / named) if named else ():
        if (place / "config.json").is_file():
            return {"kind": "path", "path": str(place)}
    what = f"names {named}, which is no folder here" if named else "names none"
    raise InputError(
        f"{folder} is an adapter, and its {CONFIG} {what}; give the base beside `path:` of the "
        "model, as base: {kind: path, path: ...} or base: {kind: huggingface, repo: ..., "
        "revision: <full commit hash>}"
    )


def check_folder_template(folder: Path, template: str) -> None:
    """Raise InputError where an adapter folder brings another chat template than ``template``."""
    own = _read_own_template(folder)
    if own is not None and own != template:
        raise InputError(
            f"{folder}: the adapter brings a chat template that is not its base's; set the "
            "model's `chat_template:` to a file with the one that it was trained with"
        )


def _read_own_template(folder: Path) -> str | None:
    file, settings = folder / "chat_template.jinja", folder / "tokenizer_config.json"
    if file.is_file():
        return file.read_text(encoding="utf-8")
    if not settings.is_file():
        return None
    found = json.loads(settings.read_text(encoding="utf-8")).get("chat_template")
    return found if isinstance(found, str) else None


def _read_settings(folder: Path) -> dict[str, Any]:
    """adapter_config.json of a LoRA adapter; raises InputError for anything else."""
    try:
        found = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        kind = found.get("peft_type", "LORA")
        rank = found["r"]
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise InputError(
            f"{folder / CONFIG}: not the settings of a LoRA adapter ({error!r}); save it again "
            "with peft"
        ) from None
    if kind != "LORA" or not isinstance(rank, int):
        raise InputError(
            f"{folder / CONFIG}: an adapter of the kind {kind}; only LoRA adapters are read, so "
            "merge it into its base with peft and give the merged folder"
        )
    return cast(dict[str, Any], found)


def verify_adapter_folder(adapter: AdapterDocument) -> Path:
    """The adapter's folder; raises InputError if it no longer holds the described files."""
    folder = Path(adapter.path)
    for name, digest in adapter.files.items():
        if not (folder / name).is_file() or digest_file(folder / name) != digest:
            raise InputError(
                f"{folder / name}: not the file that model.json describes; train again"
            )
    return folder


def attach_adapter(model: Any, document: ModelDocument) -> Any:
    """The base model with the adapter in its layers, unmerged; it keeps the base's class."""
    return cast_weights(_wrap(model, document).get_base_model(), model.dtype)


def merge_adapter(model: Any, document: ModelDocument) -> Any:
    """The base model with the adapter added to its weights, in the dtype of the base's."""
    merged = cast_weights(_wrap(model, document).merge_and_unload(), model.dtype)
    # peft has frozen the base
    return merged.requires_grad_(True)


def cast_weights(model: Any, dtype: Any) -> Any:
    """The model with its weights in a torch dtype.

    Buffers stay: in bfloat16 the frequencies of the positions would be others.
    """
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)
    return model


def _wrap(model: Any, document: ModelDocument) -> Any:
    from peft import PeftModel

    assert document.adapter is not None, f"{document.name} has no adapter"
    folder = verify_adapter_folder(document.adapter)
    # otherwise peft keeps the adapter in float32 and converts every activation there and back
    return PeftModel.from_pretrained(model, folder, autocast_adapter_dtype=False)
