"""LoRA adapters kept beside their base: write one, describe it in model.json, load it unmerged.

Input: a peft model, or an adapter folder and its base's document. Output: an adapter folder (adapter_config.json and
safetensors), a document, a model. Importing this module imports neither torch nor peft.
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
    """Write a peft model's adapter; what peft adds (a model card, the place of the base) stays out."""
    for settings in model.peft_config.values():
        # model.json names the base; for None peft would write the base's folder on this machine
        settings.base_model_name_or_path = ""
        if isinstance(settings.target_modules, set):
            # a set's order differs between processes: same run, same bytes
            settings.target_modules = sorted(settings.target_modules)
    # "auto" would ask the hub about the base
    model.save_pretrained(folder, save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)


def adapter_document(folder: str | Path, base: ModelDocument, *, name: str) -> ModelDocument:
    """The document of an adapter on a base: the base's, with ``adapter`` and a digest of both.

    Raises InputError for a folder without an adapter in peft's format.
    """
    folder = Path(folder)
    absent = [file for file in (CONFIG, WEIGHTS) if not (folder / file).is_file()]
    if absent:
        raise InputError(f"{folder}: no {absent[0]}; this is no adapter in peft's format")
    files = {file: digest_file(folder / file) for file in (CONFIG, WEIGHTS)}
    rank = json.loads((folder / CONFIG).read_text(encoding="utf-8"))["r"]
    return replace(
        base,
        name=name,
        digest=digest_text(canonical_json({"base": base.digest, "adapter": files})),
        parameters=(base.parameters or 0) + weights.count_parameters([folder / WEIGHTS]),
        # a server of the base would answer as the base
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
    """The base model with the adapter in its layers, unmerged; still of the base's class."""
    from peft import PeftModel

    assert document.adapter is not None, f"{document.name} has no adapter"
    folder = verify_adapter_folder(document.adapter)
    # peft would hold the adapter in float32 and convert every activation to it and back
    wrapped = PeftModel.from_pretrained(model, folder, autocast_adapter_dtype=False)
    return wrapped.get_base_model().to(model.dtype)
