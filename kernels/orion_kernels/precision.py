"""The dtypes that the kernels compute in, and matrix products that accumulate in them."""

from __future__ import annotations

import torch
from torch import Tensor


def accumulation_dtype(tensor: Tensor) -> torch.dtype:
    """float32, or float64 for float64 inputs."""
    return torch.float64 if tensor.dtype == torch.float64 else torch.float32


def cast_to_autocast_dtype(*tensors: Tensor) -> tuple[Tensor, ...]:
    """The tensors in the dtype of the active autocast of the first one's device.

    Without an active autocast they are returned unchanged.
    """
    device = tensors[0].device.type
    if not torch.is_autocast_enabled(device):
        return tensors
    dtype = torch.get_autocast_dtype(device)
    return tuple(t.to(dtype) for t in tensors)


def has_bfloat16_products() -> bool:
    """Whether this CPU has instructions for products in bfloat16."""
    return torch.backends.mkldnn.is_available() and bool(
        torch.ops.mkldnn._is_mkldnn_bf16_supported()
    )


def rounds_products(tensor: Tensor) -> bool:
    """Whether an active autocast asks for products that are rounded to bfloat16, as its own are.

    On a CPU with instructions for bfloat16 they take a quarter of the time, but torch has no such
    product with a float32 result there. GPUs have one, so that nothing needs to be rounded.
    """
    return (
        tensor.device.type == "cpu"
        and tensor.dtype == torch.bfloat16
        and torch.is_autocast_enabled("cpu")
        and has_bfloat16_products()
    )


def factor_dtype(tensor: Tensor, rounded: bool) -> torch.dtype:
    """The dtype of the factors of products whose results are wanted in the accumulation dtype.

    rounded: the products may be rounded to the dtype of the tensor, see `rounds_products`.
    """
    keep = rounded or tensor.device.type == "cuda"
    return tensor.dtype if keep else accumulation_dtype(tensor)


def matmul(a: Tensor, b: Tensor, add_to: Tensor | None = None, keep_dtype: bool = False) -> Tensor:
    """a @ b, accumulated in float32 (float64 for float64 inputs).

    Args:
        a: (m, k).
        b: (k, n).
        add_to: (m, n) in the accumulation dtype; the product is added to it in place.
        keep_dtype: round the product to a's dtype instead of returning the accumulation dtype.

    """
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


# before torch 2.10, addmm with an out_dtype refused a sum wider than the factors
_ADDMM_TAKES_WIDE_SUMS = tuple(int(part) for part in torch.__version__.split(".")[:2]) >= (2, 10)
