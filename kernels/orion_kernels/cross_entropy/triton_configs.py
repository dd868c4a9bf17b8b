"""Tile sizes of the cross-entropy kernels, for launches and for compilation ahead of time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import triton
import triton.language as tl

from orion_kernels.cross_entropy import triton_kernels as kernels
from orion_kernels.cross_entropy import triton_row_kernels as row_kernels
from orion_kernels.kernel_config import KernelConfig

# what logits_kernel writes (its MODE): row statistics relative to each tile's own maximum; row
# statistics relative to m_r, and the exponentials E; the gradient of the logits from a known
# logsumexp
LOGSUMEXP, EXPONENTIALS, DLOGITS = 0, 1, 2


@dataclass(frozen=True)
class LogitsTile:
    """Sizes of one program of logits_kernel."""

    rows: int
    columns: int
    depth: int  # of hidden per step of the product
    num_warps: int
    num_stages: int
    group: int = 16  # row tiles that share a vocabulary tile in the L2 cache


# the tile that reads least per product: 48 bytes per clock of the tensor cores at their peak, where
# 128 x 128 reads 64 (computed)
WIDE = LogitsTile(128, 256, 64, 8, 3)
# for a softcap or a bias, which would spill beside the 128 accumulators per thread of the wide tile
NARROW = LogitsTile(128, 128, 64, 8, 3)
# for unaligned rows, whose addresses need registers
SMALL = LogitsTile(64, 64, 64, 4, 3)
# for float32, without tensor cores (products are exact here, not TF32)
SINGLE = LogitsTile(64, 64, 16, 4, 2)
INTERPRETED = LogitsTile(16, 32, 16, 4, 2)

# float16 has no exponents for small probabilities: dlogits are stored times this factor, the
# largest power of two with which 16 times a dlogit does not overflow
HALF_SCALE = 4096.0

# elements per step of the kernels with one program per row
ROW_BLOCK = 1024
ROW_WARPS = 4
# blocks of reduce_tiles_kernel and of column_sums_kernel
STATISTICS_ROWS, STATISTICS_TILES = 16, 64
SUM_ROWS, SUM_COLUMNS = 64, 128


def is_interpreted() -> bool:
    """Whether Triton's interpreter runs the kernels as Python functions on the CPU."""
    return not isinstance(kernels.logits_kernel, triton.JITFunction)


def select_tile(element_size: int, *, tma: bool, softcap: bool, bias: bool) -> LogitsTile:
    """The tile of logits_kernel for inputs of element_size bytes.

    tma: whether the inputs are read through tensor descriptors.
    """
    if is_interpreted():
        return INTERPRETED
    if element_size > 2:
        return SINGLE
    if not tma:
        return SMALL
    return NARROW if softcap or bias else WIDE


def build_logits_constexprs(
    tile: LogitsTile,
    mode: int,
    *,
    tma: bool,
    softcap: float = 0.0,
    z_loss: float = 0.0,
    smoothing: float = 0.0,
    scale: float = 1.0,
    bias: bool = False,
    metrics: bool = False,
    repair: bool = False,
    acc: Any = tl.float32,
) -> dict[str, object]:
    """The compile-time arguments of logits_kernel, for a launch and for the compilation ahead."""
    return {
        "SOFTCAP": softcap,
        "Z_LOSS": z_loss,
        "SMOOTHING": smoothing,
        "SCALE": scale,
        "HAS_BIAS": bias,
        "MODE": mode,
        "METRICS": metrics,
        "REPAIR": repair,
        "TMA": tma,
        "ACC": acc,
        "INTERPRET": is_interpreted(),
        "BLOCK_M": tile.rows,
        "BLOCK_N": tile.columns,
        "BLOCK_K": tile.depth,
        "GROUP_M": tile.group,
    }


def _logits_config(
    name: str, mode: int, *, tma: bool, element: str = "bf16", hidden: int = 16, **options: Any
) -> KernelConfig:
    """logits_kernel as it is launched with these options; hidden: a divisor of the hidden size."""
    size = 4 if element == "fp32" else 2
    tile = select_tile(
        size, tma=tma, softcap=bool(options.get("softcap")), bias=bool(options.get("bias"))
    )
    constexprs = build_logits_constexprs(tile, mode, tma=tma, **options)
    signature = {
        "x": f"tensordesc<{element}[{tile.rows},{tile.depth}]>" if tma else f"*{element}:1",
        "w": f"tensordesc<{element}[{tile.columns},{tile.depth}]>" if tma else f"*{element}:1",
        "bias_ptr": f"*{element}",
        "out_ptr": f"*{element}",
        "target_ptr": "*i64",
        "flag_ptr": "*i32",
        **{p: "*fp32" for p in ("reference_ptr", "label_ptr", "part_ptr", "correct_ptr")},
        **{i: "i32" for i in ("n", "columns", "first_column", "vocab")},
        **{
            i: "i32:16" if tma and hidden == 16 else "i32"
            for i in ("hidden", "x_stride", "w_stride")
        },
        "out_stride": "i32:16",
    }
    name = f"logits {element} {name}, {'descriptors' if tma else 'pointers'}"
    return KernelConfig(
        name,
        kernels.logits_kernel,
        signature,
        constexprs,
        tile.num_warps,
        tile.num_stages,
        element != "fp32",
    )


def list_shipped_configs() -> list[KernelConfig]:
    """Every tile, with and without the options that cost most registers, by either way to read."""
    everything: dict[str, Any] = {"softcap": 30.0, "bias": True}
    configs = []
    for tma in (True, False):
        configs += [
            _logits_config("exponentials", EXPONENTIALS, tma=tma),
            _logits_config(
                "exponentials, bias, repair", EXPONENTIALS, tma=tma, bias=True, repair=True
            ),
            _logits_config("exponentials, metrics", EXPONENTIALS, tma=tma, metrics=True),
            _logits_config(
                "exponentials, metrics, repair", EXPONENTIALS, tma=tma, metrics=True, repair=True
            ),
            _logits_config("exponentials, all", EXPONENTIALS, tma=tma, metrics=True, **everything),
            _logits_config("logsumexp", LOGSUMEXP, tma=tma),
            _logits_config("logsumexp, metrics", LOGSUMEXP, tma=tma, metrics=True),
            _logits_config(
                "logsumexp, metrics, smoothing", LOGSUMEXP, tma=tma, metrics=True, smoothing=0.1
            ),
            _logits_config(
                "logsumexp, all", LOGSUMEXP, tma=tma, metrics=True, smoothing=0.1, **everything
            ),
            _logits_config("dlogits", DLOGITS, tma=tma),
            _logits_config(
                "dlogits, smoothing, z-loss", DLOGITS, tma=tma, smoothing=0.1, z_loss=1e-4
            ),
            _logits_config(
                "dlogits, all", DLOGITS, tma=tma, smoothing=0.1, z_loss=1e-4, **everything
            ),
            # code for float16 differs in the type of the product and in the scale of the dlogits
            _logits_config("logsumexp, metrics", LOGSUMEXP, tma=tma, element="fp16", metrics=True),
            _logits_config(
                "dlogits, z-loss", DLOGITS, tma=tma, element="fp16", z_loss=1e-4, scale=HALF_SCALE
            ),
        ]
    configs += [
        _logits_config(
            "exponentials, metrics, hidden a multiple of 8",
            EXPONENTIALS,
            tma=True,
            hidden=8,
            metrics=True,
        ),
        _logits_config("exponentials", EXPONENTIALS, tma=False, element="fp32"),
        _logits_config("exponentials", EXPONENTIALS, tma=True, element="fp32"),
        _logits_config("dlogits", DLOGITS, tma=True, element="fp32"),
    ]
    return [
        *configs,
        _reference_config(),
        _reduce_tiles_config(),
        _label_entry_config(),
        _column_sums_config(),
    ]


def _reference_config() -> KernelConfig:
    return KernelConfig(
        "reference bf16",
        row_kernels.reference_kernel,
        {
            **{p: "*bf16" for p in ("x_ptr", "w_ptr", "bias_ptr")},
            "target_ptr": "*i64",
            "reference_ptr": "*fp32",
            **{i: "i32" for i in ("x_stride", "w_stride", "hidden", "vocab")},
        },
        {"SOFTCAP": 30.0, "HAS_BIAS": True, "ACC": tl.float32, "BLOCK_H": ROW_BLOCK},
        ROW_WARPS,
        1,
        needs_tensor_cores=False,
    )


def _reduce_tiles_config() -> KernelConfig:
    return KernelConfig(
        "reduce_tiles",
        row_kernels.reduce_tiles_kernel,
        {
            **{
                p: "*fp32"
                for p in ("part_ptr", "label_ptr", "reference_ptr", "total_ptr", "correct_ptr")
            },
            "flag_ptr": "*i32",
            "target_ptr": "*i64",
            "n": "i32",
            "tiles": "i32",
        },
        {
            "EXPONENTIALS_MODE": False,
            "CHECK": False,
            "METRICS": True,
            "SMOOTHING": True,
            "ACC": tl.float32,
            "BLOCK_M": 128,
            "BLOCK_N": 256,
            "BLOCK_R": STATISTICS_ROWS,
            "BLOCK_T": STATISTICS_TILES,
        },
        ROW_WARPS,
        1,
        needs_tensor_cores=False,
    )


def _label_entry_config() -> KernelConfig:
    return KernelConfig(
        "set_label_entry bf16",
        row_kernels.set_label_entry_kernel,
        {
            **{p: "*bf16" for p in ("x_ptr", "exponential_ptr", "scaled_ptr")},
            "target_ptr": "*i64",
            **{
                p: "*fp32"
                for p in ("label_ptr", "reference_ptr", "others_ptr", "gradient_ptr", "factor_ptr")
            },
            **{i: "i32" for i in ("x_stride", "exponential_stride", "hidden", "vocab")},
        },
        {
            "SOFTCAP": 30.0,
            "Z_LOSS": 1e-4,
            "SCALED": True,
            "INTERPRET": False,
            "ACC": tl.float32,
            "BLOCK_H": ROW_BLOCK,
        },
        ROW_WARPS,
        1,
        needs_tensor_cores=False,
    )


def _column_sums_config() -> KernelConfig:
    return KernelConfig(
        "column sums bf16",
        row_kernels.column_sums_kernel,
        {
            "value_ptr": "*bf16",
            "factor_ptr": "*fp32",
            "sum_ptr": "*fp32",
            "n": "i32",
            "columns": "i32",
            "value_stride": "i32:16",
        },
        {"ADD": True, "ACC": tl.float32, "BLOCK_R": SUM_ROWS, "BLOCK_C": SUM_COLUMNS},
        ROW_WARPS,
        1,
        needs_tensor_cores=False,
    )
