"""Fused linear cross-entropy and packed-sequence attention, each with a readable torch reference.

Inputs are torch tensors and a `Packing`; outputs are torch tensors. README.md describes the API,
the tests and the benchmarks. `__version__` is the only place where the version is written; it
changes whenever a computed number may change.
"""

from typing import TYPE_CHECKING

__version__ = "0.3.0"

__all__ = ["Packing", "TokenMetrics", "__version__", "linear_cross_entropy", "packed_attention"]

_MODULE_OF_NAME = {
    "Packing": "packing",
    "TokenMetrics": "reference",
    "linear_cross_entropy": "cross_entropy.api",
    "packed_attention": "attention.api",
}

if TYPE_CHECKING:
    from orion_kernels.attention.api import packed_attention
    from orion_kernels.cross_entropy.api import linear_cross_entropy
    from orion_kernels.packing import Packing
    from orion_kernels.reference import TokenMetrics


def __getattr__(name: str) -> object:
    # resolved on first use, so that reading the version (a digest, a packager) does not import
    # torch
    if name not in _MODULE_OF_NAME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_MODULE_OF_NAME[name]}"), name)
