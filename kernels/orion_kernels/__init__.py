"""Fused linear cross-entropy and packed-sequence attention, with a torch reference of both.

Inputs are torch tensors and a `Packing`; outputs are torch tensors. Nothing to run: see README.md for the API, the tests and the
benchmarks. `__version__` is the only place the version is written; it changes when numbers may.
"""

from typing import TYPE_CHECKING

__version__ = "0.2.0"

__all__ = ["Packing", "TokenMetrics", "__version__", "linear_cross_entropy", "packed_attention"]

_HOMES = {
    "Packing": "packing",
    "TokenMetrics": "reference",
    "linear_cross_entropy": "cross_entropy",
    "packed_attention": "attention",
}

if TYPE_CHECKING:
    from orion_kernels.attention import packed_attention
    from orion_kernels.cross_entropy import linear_cross_entropy
    from orion_kernels.packing import Packing
    from orion_kernels.reference import TokenMetrics


def __getattr__(name: str) -> object:
    # resolved on first use, so that reading the version (a digest, a packager) does not import torch
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
