"""Which dtypes the kernels compute in, and products that accumulate in them. Inputs and outputs are tensors; nothing to run."""

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


def product(a: Tensor, b: Tensor, add_to: Tensor | None = None, keep_dtype: bool = False) -> Tensor:
    """a @ b with float32 accumulation, in float32 (float64 for float64) or a's own dtype; added in place where a sum is given."""
    dtype = accumulation_dtype(a)
    if a.dtype == dtype:
        return torch.mm(a, b) if add_to is None else add_to.addmm_(a, b)
    if a.device.type == "cpu":
        half, a, b = a.dtype, a.to(dtype), b.to(dtype)
        result = torch.mm(a, b) if add_to is None else add_to.addmm_(a, b)
        return result.to(half) if keep_dtype else result
    if add_to is None:
        return torch.mm(a, b) if keep_dtype else torch.mm(a, b, out_dtype=dtype)
    if _ADDMM_TAKES_WIDE_SUMS:
        return torch.addmm(add_to, a, b, out_dtype=dtype, out=add_to)
    return add_to.add_(torch.mm(a, b, out_dtype=dtype))


# before 2.10, addmm with an out_dtype refused a sum wider than the factors
_ADDMM_TAKES_WIDE_SUMS = tuple(int(part) for part in torch.__version__.split(".")[:2]) >= (2, 10)
