"""``orion merge ADAPTER OUTPUT``: an adapter and its base as one ordinary checkpoint.

Inputs: the folder of a LoRA adapter; its base. Output: a folder with the merged weights, the
configuration and the tokenizer, for programs that read no adapters. Run: ``orion merge --help``.
"""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from orion.errors import InputError
from orion.models import adapters, checkpoints, registration, training_checkpoints
from orion.models.document import ModelDocument, read_document
from orion.paths import ADAPTER_CONFIG


def add(commands: Any) -> None:
    """Add the command ``merge`` to the subparsers of the console script."""
    parser = commands.add_parser("merge", help="merge an adapter into an ordinary checkpoint")
    parser.add_argument(
        "adapter",
        metavar="ADAPTER",
        help="folder of the adapter; model.json beside the folder, or adapter_config.json, "
        "names its base",
    )
    parser.add_argument("output", metavar="OUTPUT", help="a folder that does not exist yet")
    parser.add_argument("--base", metavar="FOLDER", help="the base, if it is now somewhere else")
    parser.set_defaults(run=_merge)


def _merge(args: argparse.Namespace) -> None:
    folder, output = Path(args.adapter), Path(args.output)
    if output.exists():
        raise InputError(f"{output}: exists already; name a new folder")
    if not adapters.is_adapter_folder(folder):
        raise InputError(
            f"{folder}: no adapter in peft's format ({ADAPTER_CONFIG} and safetensors)"
        )
    document = _find_document(folder, args.base)
    # the sum is rounded once, to the dtype of the checkpoint, as after a training
    base = replace(document, adapter=None, dtype="float32")
    model = adapters.merge_adapter(checkpoints.load_model(base, "cpu"), document)
    training_checkpoints.make_generation_config_savable(model)
    tokenizer = checkpoints.load_tokenizer(document)
    output.parent.mkdir(parents=True, exist_ok=True)
    training_checkpoints.publish(model, tokenizer, document, output, adapter=False)
    place = document.repo or document.path
    print(f"{output}: {folder} merged into {place}, in {document.dtype}")


def _find_document(folder: Path, base: str | None) -> ModelDocument:
    """The adapter on its base: from the model.json that the stage train wrote, or from the folder.

    With a model.json the files of both are verified. Raises InputError where no base is found.
    """
    place = folder.absolute().parent / "model.json"
    document = read_document(place) if place.is_file() else None
    if document is not None and document.adapter is not None:
        document = replace(document, adapter=replace(document.adapter, path=str(folder)))
        if base is not None:
            document = replace(document, path=base, repo=None, revision=None)
        if document.repo is None and not Path(document.path or "").is_dir():
            raise InputError(
                f"{place}: the base {document.path} is not there; give its folder with --base"
            )
        return document
    source = adapters.find_base(folder, {"kind": "path", "path": base} if base else None)
    settings = checkpoints.read_config(Path(source["path"]))
    dtype = settings.get("dtype") or settings.get("torch_dtype") or "float32"
    entry = registration.Entry(
        {"kind": "path", "path": str(folder), "base": source}, dtype, trust_remote_code=False
    )
    return registration.make_document(folder.name, entry)
