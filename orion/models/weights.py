"""Weight files of a checkpoint folder (safetensors only) and the number of their parameters.

Importing this module imports neither torch nor safetensors.
"""

import json
from pathlib import Path

from orion.errors import InputError
from orion.paths import ADAPTER_CONFIG, WEIGHT_FILES

# all weights once more, in the format of Mistral's own library
CONSOLIDATED = "consolidated*.safetensors"
# bytes; the safetensors library refuses longer ones
MAX_HEADER = 100_000_000
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")


def refuse_adapter_beside(folder: Path) -> None:
    """Raise InputError for an adapter beside a checkpoint's own weights.

    The transformers library would apply it in silence, outside the digest.
    """
    if (folder / ADAPTER_CONFIG).exists():
        raise InputError(
            f"{folder / ADAPTER_CONFIG}: an adapter beside a checkpoint's own weights, which the "
            "transformers library would apply in silence. Move both adapter files to a folder of "
            "their own and give that as `path:` with this checkpoint as `base:`, or delete them if "
            "the adapter is merged already"
        )


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


def list_tensors(folder: Path) -> list[str]:
    """The names of all tensors of a checkpoint folder, read from indexes and headers only."""
    names: list[str] = []
    for path in list_weight_files(folder):
        try:
            with open(path, "rb") as handle:
                size = int.from_bytes(handle.read(8), "little")
                if size > MAX_HEADER:
                    raise ValueError("its header is too long")
                names += json.loads(handle.read(size))
        except (OSError, ValueError, TypeError) as error:
            raise InputError(
                f"{path}: not readable as safetensors ({error}); finish or repeat the download"
            ) from None
    return [name for name in names if name != "__metadata__"]


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


def check_finite(folder: Path) -> int:
    """The number of stored tensors of a checkpoint folder, all of whose numbers are finite.

    Reads one tensor at a time. Raises InputError with the first tensor that holds NaN or infinity:
    it may be a row of the embedding that only a rare token reaches.
    """
    from safetensors import safe_open

    count = 0
    for path in list_weight_files(folder):
        with safe_open(path, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118
                tensor, count = tensors.get_tensor(name), count + 1
                wrong = int((~tensor.isfinite()).sum()) if tensor.is_floating_point() else 0
                if wrong:
                    raise InputError(
                        f"{path}: {name} holds {wrong} numbers that are not finite (NaN or "
                        "infinity); the weights are damaged: repeat the download or the training "
                        "that made them"
                    )
    return count
