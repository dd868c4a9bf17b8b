"""Time linear_cross_entropy against all logits in memory, Liger-Kernel and Cut Cross Entropy.

Measures forward and backward for shapes and regimes of data, and prints a table. Each provider is
first compared with float64 (on at most 2048 of the tokens). A provider with too large an error is
refused; one that cannot run here is listed with the reason.

Run from the repository root: python -m kernels.bench.linear_cross_entropy [--preset h200]
    [--shapes 2048,128,512 ...] [--ignored 0 0.5] [--regimes flat sft peaky]
    [--heads trained frozen] [--dtype float32] [--device cuda] [--rounds 3] [--json]

Shapes are tokens,hidden,vocab. With TRITON_INTERPRET=1 the Triton kernels run on the CPU, as a
smoke test: their times mean nothing then.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import inspect
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from orion_kernels import linear_cross_entropy
from torch import Tensor

from kernels.bench.loss_data import describe_data, make_data
from kernels.bench.protocol import (
    REFUSED,
    describe_environment,
    largest_relative_error,
    measure_peak_mib,
    print_table,
    time_providers,
    try_providers,
)

# Largest relative errors; a provider beyond them is wrong, not merely coarse. The goal for dX and
# dW in half precision is 3.5e-3, but bfloat16 logits alone cost up to 3.4e-2 on confident data, and
# filtered or bfloat16-accumulated gradients more
LIMITS = {torch.float32: 5e-5, torch.float16: 2e-2, torch.bfloat16: 1e-1}
CHECK_TOKENS = 2048
# H200, bfloat16, as measured on square products of 8192 (kernels/README.md)
FLOOR_TFLOPS = 790.0
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Row:
    case: str
    provider: str
    loss_error: float | None  # relative
    dx_error: float | None  # relative, in norm
    dw_error: float | None
    rare_error: float | None  # of the rows of dW that are no token's label
    milliseconds: float | None  # forward and backward, median
    spread: float | None  # (largest - smallest) / median
    # time / time of the matrix products alone (three, or two for a frozen head), measured in the
    # same run
    floor: float | None
    mib: float | None  # peak above the inputs, gradients included (CUDA only)
    note: str = ""


def run_eager(x: Tensor, w: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy((x @ w.t()).float(), y)


def make_liger_loss(accum_dtype: torch.dtype | None, chunk_mem_const: int | None) -> Loss:
    """Liger-Kernel's autograd function with its own defaults.

    Arguments are passed by name, because their list grows with versions.
    """
    from liger_kernel.ops.fused_linear_cross_entropy import (
        LigerFusedLinearCrossEntropyFunction as Function,
    )

    known = list(inspect.signature(Function.forward).parameters.values())[1:]
    requested = {"accum_dtype": accum_dtype, "chunk_mem_const": chunk_mem_const}

    def loss(x: Tensor, w: Tensor, y: Tensor) -> Tensor:
        given = {"_input": x, "weight": w, "target": y} | {
            k: v for k, v in requested.items() if v is not None
        }
        return Function.apply(*(given.get(p.name, p.default) for p in known))[0]

    return loss


def make_cut_loss(impl: str) -> Loss:
    from cut_cross_entropy import linear_cross_entropy as cce

    return lambda x, w, y: cce(x, w, y, impl=impl)


def list_providers(x: Tensor, w: Tensor) -> dict[str, Loss | str]:
    """Every provider by name: a function, or the reason why it cannot run here."""
    cuda = x.device.type == "cuda"
    found = {
        name: importlib.util.find_spec(name) is not None
        for name in ("triton", "liger_kernel", "cut_cross_entropy")
    }
    ways: dict[str, Loss | str] = {"all logits, eager": run_eager}
    ways["all logits, compiled"] = (
        torch.compile(run_eager, dynamic=False) if cuda else "CUDA only here"
    )
    native = getattr(F, "linear_cross_entropy", None)
    ways["torch's own"] = (
        native
        if native is not None and cuda
        else "not in this torch"
        if native is None
        else "CUDA only"
    )
    rows = 2048
    # the constant c for chunks of this many rows: Liger takes next_pow2(N / ceil(V / (c * H)))
    tuned = math.ceil(w.shape[0] / (w.shape[1] * max(1, x.shape[0] // rows)))
    for name, options in (
        ("Liger, default", (None, None)),
        ("Liger, float32 dW", (torch.float32, None)),
        ("Liger, 2048-row chunks", (None, tuned)),
    ):
        ways[name] = (
            "not installed"
            if not found["liger_kernel"]
            else make_liger_loss(*options)
            if cuda
            else "CUDA only"
        )
    for name, impl in (("CCE, default", "cce"), ("CCE, exact", "cce_exact")):
        if not found["cut_cross_entropy"]:
            ways[name] = "not installed"
        elif impl == "cce_exact" and not _cce_has_exact():
            ways[name] = "not in this version"
        else:
            ways[name] = make_cut_loss(impl) if cuda else "CUDA only"
    for name in ("reference", "torch"):
        ways[f"ours, {name}"] = functools.partial(linear_cross_entropy, impl=name)
    for memory in ("fast", "lean"):
        ways[f"ours, triton {memory}"] = (
            functools.partial(linear_cross_entropy, impl="triton", memory=memory)
            if found["triton"] and (cuda or _is_interpreted())
            else "needs CUDA or TRITON_INTERPRET=1"
        )
    if x.shape[0] * w.shape[0] > 2**31:
        for name in ("ours, reference", "all logits, eager", "all logits, compiled"):
            ways[name] = "logits of more than 2**31 elements"
    return ways


def _cce_has_exact() -> bool:
    from cut_cross_entropy import linear_cross_entropy as cce

    return "accum_e_fp32" in inspect.signature(cce).parameters


def _is_interpreted() -> bool:
    from orion_kernels.cross_entropy.triton_configs import is_interpreted

    return is_interpreted()


def run_step(loss_of: Loss, x: Tensor, w: Tensor, y: Tensor) -> tuple[Tensor, ...]:
    loss = loss_of(x, w, y)
    inputs = (x, w) if w.requires_grad else (x,)
    return loss.detach(), *torch.autograd.grad(loss, inputs)


def run_exact_step(x: Tensor, w: Tensor, y: Tensor) -> tuple[Tensor, ...]:
    """Loss and gradients by plain torch in float64, 128 rows at a time."""
    count, total = (y != -100).sum().clamp(min=1), x.new_zeros((), dtype=torch.float64)
    wide = w.detach().double().requires_grad_(w.requires_grad)
    dx, dw = [], torch.zeros_like(wide)
    for x_part, y_part in zip(x.detach().split(128), y.split(128), strict=True):
        leaf = x_part.double().requires_grad_()
        loss = F.cross_entropy(leaf @ wide.t(), y_part, reduction="sum") / count
        grads = torch.autograd.grad(loss, (leaf, wide) if w.requires_grad else (leaf,))
        total += loss.detach()
        dx.append(grads[0])
        if w.requires_grad:
            dw += grads[1]
    return (total, torch.cat(dx), dw) if w.requires_grad else (total, torch.cat(dx))


def measure_errors(
    loss_of: Loss, x: Tensor, w: Tensor, y: Tensor, want: tuple[Tensor, ...]
) -> tuple[float | None, ...]:
    """Relative errors of loss, dX, dW and the rows of dW that are no token's label."""
    got = run_step(loss_of, x, w, y)
    found: list[float | None] = [
        largest_relative_error([g], [t]) for g, t in zip(got, want, strict=True)
    ]
    if w.requires_grad:
        rare = torch.ones(w.shape[0], dtype=torch.bool, device=w.device)
        rare[y[y >= 0]] = False
        found.append(
            largest_relative_error([got[2][rare]], [want[2][rare]]) if rare.any() else None
        )
    return (*found, None, None)[:4]


def make_products(x: Tensor, w: Tensor, y: Tensor) -> Callable[[], object]:
    """The matrix products alone, on the valid tokens: logits, dX and, for a trained head, dW."""
    valid = x.detach()[y != -100]
    logits, head = valid @ w.detach().t(), w.detach()

    def run() -> None:
        torch.mm(valid, head.t())
        torch.mm(logits, head)
        if w.requires_grad:
            torch.mm(logits.t(), valid)

    return run


def check_providers(
    ways: dict[str, Loss | str], x: Tensor, w: Tensor, y: Tensor
) -> tuple[dict[str, tuple[float | None, ...]], dict[str, str]]:
    """Errors of every provider that runs, and the reason for each of the rest."""
    want, found = run_exact_step(x, w, y), {}

    def note(name: str, way: Loss) -> None:
        found[name] = measure_errors(way, x, w, y, want)

    _, broken = try_providers(
        {n: functools.partial(note, n, w) for n, w in ways.items() if not isinstance(w, str)}
    )
    return found, {**{n: w for n, w in ways.items() if isinstance(w, str)}, **broken}


def run_case(
    shape: tuple[int, int, int], regime: str, ignored: float, head: str, dtype: torch.dtype, args
) -> list[Row]:
    # each case compiles the same function again, and dynamo stops after eight compilations
    torch._dynamo.reset()
    x, w, y = make_data(shape, regime, ignored, head == "trained", dtype, args.device)
    label = (
        f"{shape[0]} tokens, hidden {shape[1]}, vocab {shape[2]}, "
        f"{regime}, {ignored:.0%} ignored, {head}"
    )
    print(f"{label}: {describe_data(x, w)}", flush=True)
    ways = list_providers(x, w)
    found, absent = check_providers(
        ways, x.detach()[:CHECK_TOKENS].requires_grad_(), w, y[:CHECK_TOKENS]
    )
    rows = {name: Row(label, name, *[None] * 8, note=absent.get(name, "")) for name in ways}
    good = {}
    for name, wrong in found.items():
        refused = max(e for e in wrong[:3] if e is not None) > LIMITS[dtype]
        rows[name] = Row(label, name, *wrong, *[None] * 4, note=REFUSED if refused else "")
        if not refused:
            good[name] = functools.partial(run_step, ways[name], x, w, y)
    good, broken = try_providers(good)
    for name, note in broken.items():
        rows[name] = replace(rows[name], note=note)
    timed = time_providers({**good, "": make_products(x, w, y)}, args.rounds, args.device)
    floor = timed.pop("")[0]
    for name, (ms, spread) in timed.items():
        memory = measure_peak_mib(good[name]) if args.device == "cuda" else None
        rows[name] = replace(
            rows[name], milliseconds=ms, spread=spread, floor=ms / floor, mib=memory
        )
    count = (3 if head == "trained" else 2) * 2 * int((y != -100).sum()) * shape[1] * shape[2]
    ideal = count / FLOOR_TFLOPS / 1e9
    print(
        f"{label}: the products alone {floor:.3f} ms; at {FLOOR_TFLOPS:.0f} TFLOP/s {ideal:.3f} ms"
    )
    return list(rows.values())


COLUMNS = {
    "loss_error": ".1e",
    "dx_error": ".1e",
    "dw_error": ".1e",
    "rare_error": ".1e",
    "milliseconds": ".3f",
    "spread": ".0%",
    "floor": ".2f",
    "mib": ".0f",
}


PRESETS = {
    "cpu": {
        "shapes": ["512,64,1024"],
        "ignored": [0.0, 0.5],
        "regimes": ["sft"],
        "heads": ["trained"],
        "dtype": "float32",
    },
    # about five minutes
    "h200": {
        "shapes": ["8192,896,151936", "8192,2048,151936", "8192,3584,151936"],
        "ignored": [0.0, 0.5],
        "regimes": ["flat", "sft", "peaky"],
        "heads": ["trained"],
        "dtype": "bfloat16",
    },
}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--preset", default="cpu", choices=PRESETS, help="defaults of the options below"
    )
    parser.add_argument("--shapes", nargs="+", help="tokens,hidden,vocab")
    parser.add_argument("--ignored", nargs="+", type=float, help="shares of ignored labels")
    parser.add_argument("--regimes", nargs="+", choices=["flat", "sft", "peaky"])
    parser.add_argument("--heads", nargs="+", choices=["trained", "frozen"])
    parser.add_argument("--dtype", choices=["float32", "float16", "bfloat16"])
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="also print one JSON line per row")
    args = parser.parse_args()
    for key, value in PRESETS[args.preset].items():
        if getattr(args, key) is None:
            setattr(args, key, value)
    torch.set_num_threads(args.threads)
    print(describe_environment(args.device))
    start, rows = time.perf_counter(), []
    for text in args.shapes:
        tokens, hidden, vocab = map(int, text.split(","))
        for regime in args.regimes:
            for ignored in args.ignored:
                for head in args.heads:
                    rows += run_case(
                        (tokens, hidden, vocab),
                        regime,
                        ignored,
                        head,
                        getattr(torch, args.dtype),
                        args,
                    )
    refused = print_table(rows, COLUMNS, args.json)
    print(f"{time.perf_counter() - start:.0f} s")
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main())
