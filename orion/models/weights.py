"""Weight files of a checkpoint folder (safetensors only) and the number of their parameters.

Importing this module imports neither torch nor safetensors.
"""

import json
from pathlib import Path

from orion.errors import InputError
from orion.paths import WEIGHT_FILES

# all weights once more, in the format of Mistral's own library
CONSOLIDATED = "consolidated*.safetensors"
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")


def list_weight_files(folder: Path) -> list[Path]:
    """The weight files that the transformers library reads from a checkpoint folder.

    They are ``model.safetensors``, or those that the index of the shards names. Other files, such
    as ``consolidated.safetensors``, which repeats all weights in Mistral's own format, are not
    among them. Raises InputError if all or some are missing.
    """
    found = sorted(folder.glob(WEIGHT_FILES))
    if not found:
        pickles = sorted(path.name for pattern in PICKLES for path in folder.glob(pattern))
        if pickles:
            raise InputError(
                f"{folder}: weights only as pickle ({', '.join(pickles)}), which can run code "
                "when read; convert them to safetensors (model.save_pretrained)"
            )
        raise InputError(f"{folder}: no weights (*.safetensors)")
    whole, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    shards = _list_shards(index, found) if index.exists() else []
    if whole in found:
        return [whole]
    if shards:
        return shards
    usable = [path for path in found if not path.match(CONSOLIDATED)]
    if not usable:
        raise InputError(
            f"{folder}: weights only in Mistral's own format ({found[0].name}), which transformers "
            "does not read; download model.safetensors, or the shards and their index, too"
        )
    return usable


def _list_shards(index: Path, found: list[Path]) -> list[Path]:
    """The files that an index names, all of which must be among ``found``."""
    try:
        wanted = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{index}: no readable index ({error!r}); download the file again"
        ) from None
    absent = sorted(wanted - {path.name for path in found})
    if absent:
        raise InputError(
            f"{index.parent}: {len(absent)} weight files are missing ({absent[0]}, ...); "
            "finish the download"
        )
    return [path for path in found if path.name in wanted]


def count_parameters(paths: list[Path]) -> int:
    """How many numbers these files store, tied ones once."""
    from math import prod

    from safetensors import SafetensorError, safe_open

    total = 0
    for path in paths:
        try:
            with safe_open(path, framework="numpy") as tensors:
                total += sum(prod(tensors.get_slice(key).get_shape()) for key in tensors.keys())  # noqa: SIM118
        except SafetensorError as error:
            raise InputError(
                f"{path}: not readable as safetensors ({error}); finish or repeat the download"
            ) from None
    return total
