"""One compiled form of a Triton kernel: argument types, compile-time values, warps and stages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class KernelConfig:
    """A kernel with everything that the compiler must know to build it without a GPU.

    `signature` gives the type of every argument that is not a constexpr: "*bf16" is a pointer
    aligned to 16 bytes, "*bf16:1" a pointer without known alignment, "i32" an integer, "i32:16" an
    integer known to be a multiple of 16, "tensordesc<bf16[128,64]>" a tensor descriptor.
    """

    name: str
    kernel: Any  # triton.JITFunction
    signature: dict[str, str]
    constexprs: dict[str, object]
    num_warps: int
    num_stages: int
    needs_tensor_cores: bool = True
