"""Decide whether the Triton kernels are the default for a tensor. Imports torch only."""

from __future__ import annotations

import functools
import importlib.util
import warnings

import torch
from torch import Tensor

from orion_kernels.precision import has_bfloat16_products

# major compute capabilities of GPUs on which bench/gpu_session.sh has passed: none yet. Until then
# the kernels run only with impl="triton", since the interpreter and the compiler cannot show
# everything. The tiles need 227 KB of shared memory: capability 9 or 10, not 8 or 12
PROVEN_CAPABILITIES: tuple[int, ...] = ()


def uses_triton_by_default(tensor: Tensor, operator: str) -> bool:
    """Whether `operator` runs its Triton kernels on this tensor if the caller names no `impl`.

    Warns once per operator if only the package triton is missing.
    """
    if (
        tensor.device.type != "cuda"
        or torch.cuda.get_device_capability(tensor.device)[0] not in PROVEN_CAPABILITIES
    ):
        return False
    if not is_triton_installed():
        _warn_triton_missing(operator)
        return False
    return True


def describe_default(device: torch.device, dtype: torch.dtype) -> str:
    """One line: what both operators run on a device if the caller names no `impl`, and why."""
    if device.type != "cuda":
        rounds = device.type == "cpu" and dtype == torch.bfloat16 and has_bfloat16_products()
        products = "products rounded to bfloat16" if rounds else "products in float32 or wider"
        return f"the torch implementation on {device.type}: {products}, one call per document"
    capability = torch.cuda.get_device_capability(device)
    where = f"{torch.cuda.get_device_name(device)} (capability {capability[0]}.{capability[1]})"
    if capability[0] not in PROVEN_CAPABILITIES:
        reason = "the Triton kernels have not been proven on its capability"
    elif not is_triton_installed():
        reason = "the package triton is not installed"
    else:
        return f"the Triton kernels on {where}"
    from orion_kernels.attention import torch_varlen

    half = dtype in (torch.float16, torch.bfloat16)
    varlen = half and torch_varlen.find_function() is not None
    attention = "torch.nn.attention.varlen" if varlen else "one call per document"
    products = f"{dtype} products with float32 sums".removeprefix("torch.")
    return f"the torch implementation on {where}: {products}, attention by {attention}; {reason}"


def require_triton() -> None:
    """Raises ValueError if the package triton is not installed."""
    if not is_triton_installed():
        raise ValueError('impl="triton" needs the package triton, which is not installed')


def is_triton_installed() -> bool:
    return importlib.util.find_spec("triton") is not None


@functools.cache
def _warn_triton_missing(operator: str) -> None:
    warnings.warn(
        f"triton is not installed: {operator} uses its torch implementation, which is slower",
        stacklevel=5,
    )
