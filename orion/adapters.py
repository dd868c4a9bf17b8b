"""LoRA adapters kept beside their base: write one, describe it in model.json, load it unmerged.

Input: a peft model, or an adapter folder and its base's document. Output: an adapter folder (adapter_config.json and
safetensors), a document, a model. Importing this module imports neither torch nor peft.
"""

import json
from pathlib import Path
from typing import Any

from orion import checkpoints, weights
from orion.errors import InputError
from orion.provenance import canonical_json, digest_file, digest_text

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"


def save(model: Any, folder: Path) -> None:
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


def describe(folder: str | Path, base: dict, *, name: str) -> dict:
    """The model.json document of an adapter on a base: the base's, with ``adapter`` and a digest that covers both."""
    folder = Path(folder)
    absent = [file for file in (CONFIG, WEIGHTS) if not (folder / file).is_file()]
    if absent:
        raise InputError(f"{folder}: no {absent[0]}; this is no adapter in peft's format")
    files = {file: digest_file(folder / file) for file in (CONFIG, WEIGHTS)}
    # a server of the base answers as the base
    document = {
        key: value for key, value in base.items() if key not in ("served_model", "provenance")
    }
    return {
        **document,
        "model": name,
        "digest": digest_text(canonical_json({"base": base["digest"], "adapter": files})),
        "parameters": base["parameters"] + weights.count([folder / WEIGHTS]),
        "adapter": {
            "path": checkpoints.relative(folder),
            "files": files,
            "rank": json.loads((folder / CONFIG).read_text(encoding="utf-8"))["r"],
        },
    }


def folder(model_doc: dict) -> Path:
    """The adapter's folder; raises InputError if it no longer holds the files that the document describes."""
    place = Path(model_doc["adapter"]["path"])
    for name, digest in model_doc["adapter"]["files"].items():
        if not (place / name).is_file() or digest_file(place / name) != digest:
            raise InputError(f"{place / name}: not the file that model.json describes; train again")
    return place


def attached(model: Any, model_doc: dict) -> Any:
    """The base model with the document's adapter in its layers, unmerged; still a model of the base's class."""
    from peft import PeftModel

    # peft would hold the adapter in float32 and convert every activation to it and back
    wrapped = PeftModel.from_pretrained(model, folder(model_doc), autocast_adapter_dtype=False)
    return wrapped.get_base_model().to(model.dtype)
