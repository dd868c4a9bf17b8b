"""Weight files: safetensors only. Which a checkpoint folder holds, and how many numbers are in them.

Input: a folder or paths. Output: paths, a count. Importing this module imports neither torch nor safetensors.
"""

import json
from pathlib import Path

from orion.errors import InputError
from orion.paths import WEIGHT_FILES

PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")


def list_weight_files(folder: Path) -> list[Path]:
    """The weight files of a checkpoint folder; raises InputError if there are none or some are missing."""
    weights = sorted(folder.glob(WEIGHT_FILES))
    if not weights:
        pickles = sorted(path.name for pattern in PICKLES for path in folder.glob(pattern))
        if pickles:
            raise InputError(
                f"{folder}: weights only as pickle ({', '.join(pickles)}), which can run code when read; "
                "convert them to safetensors (model.save_pretrained)"
            )
        raise InputError(f"{folder}: no weights (*.safetensors)")
    index = folder / "model.safetensors.index.json"
    if index.exists():
        wanted = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        absent = sorted(wanted - {path.name for path in weights})
        if absent:
            raise InputError(
                f"{folder}: {len(absent)} weight files are missing ({absent[0]}, ...); finish the download"
            )
    return weights


def count_parameters(paths: list[Path]) -> int:
    """Numbers stored in these files (tied ones once)."""
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
