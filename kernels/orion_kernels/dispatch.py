"""Where the Triton kernels are the default. Inputs: tensors. Outputs: yes or no, or a clear error. Imports torch only."""

from __future__ import annotations

import functools
import importlib.util
import warnings

import torch
from torch import Tensor

# major compute capabilities of GPUs on which bench/gpu_session.sh has passed: none yet. Until then the kernels are asked for by
# name, since what only a GPU can show has not been seen. The tiles want 227 KB of shared memory: 9 and 10, not 8 or 12
PROVEN: tuple[int, ...] = ()


def triton_by_default(tensor: Tensor, what: str) -> bool:
    """Whether a call on this tensor should take its Triton kernels; warns once where only the package triton is missing."""
    if (
        tensor.device.type != "cuda"
        or torch.cuda.get_device_capability(tensor.device)[0] not in PROVEN
    ):
        return False
    if not installed():
        _warn(what)
        return False
    return True


def require_triton() -> None:
    """Raises ValueError where the package triton is not installed."""
    if not installed():
        raise ValueError('impl="triton" needs the package triton, which is not installed')


def installed() -> bool:
    return importlib.util.find_spec("triton") is not None


@functools.cache
def _warn(what: str) -> None:
    warnings.warn(
        f"triton is not installed: {what} uses its torch implementation, which is slower",
        stacklevel=5,
    )
