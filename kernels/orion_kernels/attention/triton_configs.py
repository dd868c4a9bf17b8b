"""Tile sizes of the attention kernels, for the launches and for the compilation ahead of time."""

from __future__ import annotations

from itertools import product
from typing import Any, NamedTuple

import triton
import triton.language as tl

from orion_kernels.attention import triton_kernels as kernels
from orion_kernels.kernel_config import KernelConfig

HEAD_DIMS = (64, 96, 128)
TOKENS_PER_PROGRAM = 64  # of delta_kernel
ELEMENTS_PER_PROGRAM = 2048  # of sum_parts_kernel


class AttentionTile(NamedTuple):
    """Sizes of one program of an attention kernel."""

    block_q: int  # queries per block
    block_k: int  # keys per block
    num_warps: int
    num_stages: int  # of the software pipeline


class KernelTiles(NamedTuple):
    """The tiles of the three kernels for one head_dim and one regime of document lengths."""

    forward: AttentionTile
    query_gradient: AttentionTile
    key_value_gradient: AttentionTile


# Half precision, by (head_dim, documents are short). Chosen by registers and shared memory of the
# code compiled for sm_90 by triton 3.6 and 3.7: the largest tiles that spill with neither, and two
# programs per processor if documents are short. All forward and query-gradient tiles of one
# head_dim have blocks of 64 keys, and its two key-value-gradient tiles have equal blocks of
# queries, so that both regimes sum a row in the same order
TILES = {
    (64, False): KernelTiles(
        AttentionTile(128, 64, 8, 3), AttentionTile(128, 64, 8, 3), AttentionTile(64, 128, 8, 3)
    ),
    (64, True): KernelTiles(
        AttentionTile(64, 64, 4, 3), AttentionTile(64, 64, 4, 3), AttentionTile(64, 64, 4, 3)
    ),
    (96, False): KernelTiles(
        AttentionTile(128, 64, 8, 3), AttentionTile(128, 64, 8, 2), AttentionTile(32, 128, 8, 2)
    ),
    (96, True): KernelTiles(
        AttentionTile(64, 64, 4, 2), AttentionTile(64, 64, 4, 2), AttentionTile(32, 64, 4, 2)
    ),
    (128, False): KernelTiles(
        AttentionTile(128, 64, 8, 3), AttentionTile(128, 64, 8, 2), AttentionTile(32, 128, 8, 3)
    ),
    (128, True): KernelTiles(
        AttentionTile(64, 64, 4, 2), AttentionTile(64, 64, 4, 2), AttentionTile(32, 64, 4, 3)
    ),
}


def select_tiles(head_dim: int, short: bool) -> KernelTiles:
    """The shipped tiles of a head_dim; `short`: for documents about as long as a tile."""
    return TILES[head_dim, short]


def list_shipped_configs() -> list[KernelConfig]:
    """Every configuration that the host code launches in half precision."""
    kernel_of_name = {
        "forward": kernels.forward_kernel,
        "query_gradient": kernels.query_gradient_kernel,
        "key_value_gradient": kernels.key_value_gradient_kernel,
    }
    configs = []
    for dtype, head_dim, short in product(("bf16", "fp16"), HEAD_DIMS, (False, True)):
        label = f"{dtype} d{head_dim} {'short' if short else 'long'}"
        for name, tile in select_tiles(head_dim, short)._asdict().items():
            # with partial sums the gradients of keys and values are float32
            for gradient in (dtype, "fp32") if name == "key_value_gradient" else (dtype,):
                kernel = kernel_of_name[name]
                constants = _head_constants(head_dim) | {
                    "BLOCK_Q": tile.block_q,
                    "BLOCK_K": tile.block_k,
                    "SCALE": head_dim**-0.5,
                }
                descriptor = f"tensordesc<{dtype}[1,{tile.block_k},{constants['DIM']}]>"
                parts = " parts" if gradient != dtype else ""
                configs.append(
                    KernelConfig(
                        f"packed_attention {name} {label}{parts}",
                        kernel,
                        _build_signature(kernel, dtype, gradient, descriptor),
                        constants,
                        tile.num_warps,
                        tile.num_stages,
                    )
                )
    return [*configs, *(_delta_config(head_dim) for head_dim in HEAD_DIMS), _sum_parts_config()]


def _delta_config(head_dim: int) -> KernelConfig:
    return KernelConfig(
        f"packed_attention delta bf16 d{head_dim}",
        kernels.delta_kernel,
        _build_signature(kernels.delta_kernel, "bf16", "bf16"),
        _head_constants(head_dim) | {"BLOCK": TOKENS_PER_PROGRAM},
        num_warps=4,
        num_stages=1,
        needs_tensor_cores=False,
    )


def _sum_parts_config() -> KernelConfig:
    return KernelConfig(
        "packed_attention sum_parts bf16",
        kernels.sum_parts_kernel,
        {"parts_ptr": "*fp32", "out_ptr": "*bf16", "size": "i32:16", "parts": "i32"},
        {"BLOCK": ELEMENTS_PER_PROGRAM, "ACC": tl.float32},
        num_warps=4,
        num_stages=1,
        needs_tensor_cores=False,
    )


def _head_constants(head_dim: int) -> dict[str, object]:
    return {"HEAD_DIM": head_dim, "DIM": triton.next_power_of_2(head_dim), "ACC": tl.float32}


def _build_signature(
    kernel: Any, dtype: str, gradient: str, descriptor: str = ""
) -> dict[str, str]:
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
            signature[name] = descriptor
        elif name.endswith("_stride"):
            signature[name] = "i32:16"
        elif not name.isupper():
            signature[name] = "i32"
    return signature
