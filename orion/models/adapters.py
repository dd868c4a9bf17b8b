"""LoRA adapters kept beside their base: save one, describe it in model.json, load it unmerged.

An adapter folder holds adapter_config.json and safetensors. Importing this module imports neither
torch nor peft.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from orion.errors import InputError
from orion.models import weights
from orion.models.document import AdapterDocument, ModelDocument
from orion.paths import relative_to_cwd
from orion.provenance import canonical_json, digest_file, digest_text

CONFIG = "adapter_config.json"
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
    rank = json.loads((folder / CONFIG).read_text(encoding="utf-8"))["r"]
    return replace(
        base,
        name=name,
        digest=digest_text(canonical_json({"base": base.digest, "adapter": files})),
        parameters=(base.parameters or 0) + weights.count_parameters([folder / WEIGHTS]),
        # a server of the base has no adapter
        served_name=None,
        adapter=AdapterDocument(relative_to_cwd(folder), files, rank),
    )


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
    from peft import PeftModel

    assert document.adapter is not None, f"{document.name} has no adapter"
    folder = verify_adapter_folder(document.adapter)
    # otherwise peft keeps the adapter in float32 and converts every activation there and back
    wrapped = PeftModel.from_pretrained(model, folder, autocast_adapter_dtype=False)
    return wrapped.get_base_model().to(model.dtype)
