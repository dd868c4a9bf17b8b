"""Which dtypes the kernels compute in. Inputs and outputs are tensors and dtypes; nothing to run."""

from __future__ import annotations

import torch
from torch import Tensor


def accumulation_dtype(tensor: Tensor) -> torch.dtype:
    """float32, or float64 for float64 inputs."""
    return torch.float64 if tensor.dtype == torch.float64 else torch.float32


def under_autocast(*tensors: Tensor) -> tuple[Tensor, ...]:
    """The tensors in the dtype of the active autocast of the first one's device, or as they are where none is active."""
    device = tensors[0].device.type
    if not torch.is_autocast_enabled(device):
        return tensors
    dtype = torch.get_autocast_dtype(device)
    return tuple(t.to(dtype) for t in tensors)
