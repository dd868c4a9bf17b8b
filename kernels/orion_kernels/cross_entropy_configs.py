"""In which sizes the kernels of linear_cross_entropy ship, for the launches and for the build ahead of time. Nothing to run.

Inputs: dtype, hidden size and options of a call. Outputs: tile sizes and compile-time arguments.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import triton
import triton.language as tl

from orion_kernels import cross_entropy_kernels as kernels
from orion_kernels.aot import Config

# what logits_kernel stores: row statistics against each tile's own maximum; those against m_r and E; or slopes from a known lse
SUMS, POWERS, SLOPES = 0, 1, 2


@dataclass(frozen=True)
class Tile:
    """Sizes of one program of logits_kernel."""

    rows: int
    columns: int
    depth: int
    num_warps: int
    num_stages: int
    group: int = 16


# reads least for a product: 48 bytes a clock of the tensor cores at their peak, where 128 x 128 reads 64 (by arithmetic)
WIDE = Tile(128, 256, 64, 8, 3)
# a softcap or a bias beside 128 accumulators a thread spills
NARROW = Tile(128, 128, 64, 8, 3)
# addresses of unaligned rows need registers
SMALL = Tile(64, 64, 64, 4, 3)
# without tensor cores (float32 products are exact here, not TF32)
SINGLE = Tile(64, 64, 16, 4, 2)
INTERPRETED = Tile(16, 32, 16, 4, 2)

# float16 has no exponents for small probabilities: slopes are stored times this, the largest power that 16 times a slope survives
HALF_SCALE = 4096.0

# one program a row: elements at a time; and the blocks of the kernels that reduce over tiles and over rows
ROW_BLOCK = 1024
ROW_WARPS = 4
STATISTICS_ROWS, STATISTICS_TILES = 16, 64
SUM_ROWS, SUM_COLUMNS = 64, 128


def interpreted() -> bool:
    """Whether the kernels are Python functions, run on the CPU by Triton's interpreter."""
    return not isinstance(kernels.logits_kernel, triton.JITFunction)


def tile_for(element_size: int, *, tma: bool, softcap: bool, bias: bool) -> Tile:
    """The tile of the logits kernel for inputs of element_size bytes, read through descriptors or not."""
    if interpreted():
        return INTERPRETED
    if element_size > 2:
        return SINGLE
    if not tma:
        return SMALL
    return NARROW if softcap or bias else WIDE


def logits_constexprs(
    tile: Tile,
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
    """The compile-time arguments of logits_kernel, for a launch and for a build ahead of time."""
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
        "INTERPRET": interpreted(),
        "BLOCK_M": tile.rows,
        "BLOCK_N": tile.columns,
        "BLOCK_K": tile.depth,
        "GROUP_M": tile.group,
    }


def logits_config(
    name: str, mode: int, *, tma: bool, element: str = "bf16", hidden: int = 16, **options: Any
) -> Config:
    """The logits kernel as it is launched with these options, for the build ahead of time; hidden: what divides that size."""
    size = 4 if element == "fp32" else 2
    tile = tile_for(
        size, tma=tma, softcap=bool(options.get("softcap")), bias=bool(options.get("bias"))
    )
    constexprs = logits_constexprs(tile, mode, tma=tma, **options)
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
    return Config(
        name,
        kernels.logits_kernel,
        signature,
        constexprs,
        tile.num_warps,
        tile.num_stages,
        element != "fp32",
    )


def shipped() -> list[Config]:
    """Every tile, with and without the options that cost most registers, through descriptors and through pointers."""
    everything: dict[str, Any] = {"softcap": 30.0, "bias": True}
    configs = []
    for tma in (True, False):
        configs += [
            logits_config("powers", POWERS, tma=tma),
            logits_config("powers, bias, repair", POWERS, tma=tma, bias=True, repair=True),
            logits_config("powers, metrics", POWERS, tma=tma, metrics=True),
            logits_config("powers, metrics, repair", POWERS, tma=tma, metrics=True, repair=True),
            logits_config("powers, all", POWERS, tma=tma, metrics=True, **everything),
            logits_config("sums", SUMS, tma=tma),
            logits_config("sums, metrics", SUMS, tma=tma, metrics=True),
            logits_config("sums, metrics, smoothing", SUMS, tma=tma, metrics=True, smoothing=0.1),
            logits_config("sums, all", SUMS, tma=tma, metrics=True, smoothing=0.1, **everything),
            logits_config("slopes", SLOPES, tma=tma),
            logits_config("slopes, smoothing, z-loss", SLOPES, tma=tma, smoothing=0.1, z_loss=1e-4),
            logits_config("slopes, all", SLOPES, tma=tma, smoothing=0.1, z_loss=1e-4, **everything),
            # code for float16 differs in the type of the product and in the scale of the slopes
            logits_config("sums, metrics", SUMS, tma=tma, element="fp16", metrics=True),
            logits_config(
                "slopes, z-loss", SLOPES, tma=tma, element="fp16", z_loss=1e-4, scale=HALF_SCALE
            ),
        ]
    configs += [
        logits_config(
            "powers, metrics, hidden of whole 8", POWERS, tma=True, hidden=8, metrics=True
        ),
        logits_config("powers", POWERS, tma=False, element="fp32"),
        logits_config("powers", POWERS, tma=True, element="fp32"),
        logits_config("slopes", SLOPES, tma=True, element="fp32"),
    ]
    return configs + _row_configs()


def _row_configs() -> list[Config]:
    reference = Config(
        "reference bf16",
        kernels.reference_kernel,
        {
            **{p: "*bf16" for p in ("x_ptr", "w_ptr", "bias_ptr")},
            "target_ptr": "*i64",
            "reference_ptr": "*fp32",
            **{i: "i32" for i in ("x_stride", "w_stride", "hidden")},
        },
        {"SOFTCAP": 30.0, "HAS_BIAS": True, "ACC": tl.float32, "BLOCK_H": ROW_BLOCK},
        ROW_WARPS,
        1,
        needs_tensor_cores=False,
    )
    rows = Config(
        "rows",
        kernels.rows_kernel,
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
            "POWERS_MODE": False,
            "CHECK": False,
            "METRICS": True,
            "SMOOTHING": True,
            "ACC": tl.float32,
            "BLOCK_M": 128,
        }
        | {"BLOCK_N": 256, "BLOCK_R": STATISTICS_ROWS, "BLOCK_T": STATISTICS_TILES},
        ROW_WARPS,
        1,
        needs_tensor_cores=False,
    )
    patch = Config(
        "patch bf16",
        kernels.patch_kernel,
        {
            **{p: "*bf16" for p in ("x_ptr", "power_ptr", "scaled_ptr")},
            "target_ptr": "*i64",
            **{
                p: "*fp32"
                for p in ("label_ptr", "reference_ptr", "others_ptr", "gradient_ptr", "factor_ptr")
            },
            **{i: "i32" for i in ("x_stride", "power_stride", "hidden")},
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
    columns = Config(
        "column sums bf16",
        kernels.column_sums_kernel,
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
    return [reference, rows, patch, columns]
