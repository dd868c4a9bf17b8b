"""In which sizes the kernels of packed attention ship, for the launches and for the build ahead of time. Nothing to run.

Inputs: head_dim, whether documents are short. Outputs: tile sizes and compile-time arguments.
"""

from __future__ import annotations

from itertools import product
from typing import Any, NamedTuple

import triton
import triton.language as tl

from orion_kernels import attention_kernels as kernels
from orion_kernels.aot import Config

HEAD_DIMS = (64, 96, 128)
TOKENS_A_PROGRAM = 64  # of delta_kernel
ELEMENTS_A_PROGRAM = 2048  # of sum_parts_kernel


class Tile(NamedTuple):
    """How a kernel is cut: queries and keys a block, warps a program, stages of its pipeline."""

    block_q: int
    block_k: int
    num_warps: int
    num_stages: int


class Tiles(NamedTuple):
    """The three kernels for one head_dim and one regime of document lengths."""

    forward: Tile
    query_gradient: Tile
    key_value_gradient: Tile


# half precision, by (head_dim, documents are short); chosen by registers and shared memory of the code compiled for sm_90 by
# triton 3.6 and 3.7: the largest tiles that spill in neither, and two programs a processor where documents are short. Blocks of
# 64 keys in every forward and query-gradient tile of one head_dim, and of as many queries in both key-value-gradient tiles: both
# regimes add up a row in the same order
TILES = {
    (64, False): Tiles(Tile(128, 64, 8, 3), Tile(128, 64, 8, 3), Tile(64, 128, 8, 3)),
    (64, True): Tiles(Tile(64, 64, 4, 3), Tile(64, 64, 4, 3), Tile(64, 64, 4, 3)),
    (96, False): Tiles(Tile(128, 64, 8, 3), Tile(128, 64, 8, 2), Tile(32, 128, 8, 2)),
    (96, True): Tiles(Tile(64, 64, 4, 2), Tile(64, 64, 4, 2), Tile(32, 64, 4, 2)),
    (128, False): Tiles(Tile(128, 64, 8, 3), Tile(128, 64, 8, 2), Tile(32, 128, 8, 3)),
    (128, True): Tiles(Tile(64, 64, 4, 2), Tile(64, 64, 4, 2), Tile(32, 64, 4, 3)),
}


def tiles(head_dim: int, short: bool) -> Tiles:
    """The shipped tiles of a head_dim; `short`: for documents about as long as a tile."""
    return TILES[head_dim, short]


def shipped() -> list[Config]:
    """Every configuration that the host code launches in half precision."""
    configurations = []
    for dtype, head_dim, short in product(("bf16", "fp16"), HEAD_DIMS, (False, True)):
        label = f"{dtype} d{head_dim} {'short' if short else 'long'}"
        for name, tile in tiles(head_dim, short)._asdict().items():
            for gradient in (dtype, "fp32") if name == "key_value_gradient" else (dtype,):
                kernel = {
                    "forward": kernels.forward_kernel,
                    "query_gradient": kernels.query_gradient_kernel,
                    "key_value_gradient": kernels.key_value_gradient_kernel,
                }[name]
                constants = _constants(head_dim) | {
                    "BLOCK_Q": tile.block_q,
                    "BLOCK_K": tile.block_k,
                }
                constants["SCALE"] = head_dim**-0.5
                described = f"tensordesc<{dtype}[1,{tile.block_k},{constants['DIM']}]>"
                parts = " parts" if gradient != dtype else ""
                configurations.append(
                    Config(
                        f"packed_attention {name} {label}{parts}",
                        kernel,
                        _signature(kernel, dtype, gradient, described),
                        constants,
                        tile.num_warps,
                        tile.num_stages,
                    )
                )
    for head_dim in HEAD_DIMS:
        constants = _constants(head_dim) | {"BLOCK": TOKENS_A_PROGRAM}
        signature = _signature(kernels.delta_kernel, "bf16", "bf16")
        name = f"packed_attention delta bf16 d{head_dim}"
        configurations.append(
            Config(name, kernels.delta_kernel, signature, constants, 4, 1, needs_tensor_cores=False)
        )
    signature = {"parts_ptr": "*fp32", "out_ptr": "*bf16", "size": "i32:16", "parts": "i32"}
    constants = {"BLOCK": ELEMENTS_A_PROGRAM, "ACC": tl.float32}
    name = "packed_attention sum_parts bf16"
    return [
        *configurations,
        Config(
            name, kernels.sum_parts_kernel, signature, constants, 4, 1, needs_tensor_cores=False
        ),
    ]


def _constants(head_dim: int) -> dict[str, object]:
    return {"HEAD_DIM": head_dim, "DIM": triton.next_power_of_2(head_dim), "ACC": tl.float32}


def _signature(kernel: Any, dtype: str, gradient: str, described: str = "") -> dict[str, str]:
    special = {
        "items_ptr": "*i32",
        "lse_ptr": "*fp32",
        "delta_ptr": "*fp32",
        "dk_ptr": f"*{gradient}",
        "dv_ptr": f"*{gradient}",
    }
    signature = {}
    for name in kernel.arg_names:
        if name.endswith("_ptr"):
            signature[name] = special.get(name, f"*{dtype}")
        elif name.endswith("_desc"):
            signature[name] = described
        elif name.endswith("_stride"):
            signature[name] = "i32:16"
        elif not name.isupper():
            signature[name] = "i32"
    return signature
