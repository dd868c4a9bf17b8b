"""Time packed attention against torch's variable-length attention, FlexAttention and SDPA.

Measures forward and backward for regimes of document lengths and for numbers of heads, and prints a
table. Each provider is first compared with float64 on a short row of the same heads. A provider
with too large an error is refused; one that cannot run here is listed with the reason. Masks and
work tables are built outside the timer and reported separately.

Run from the repository root: python -m kernels.bench.packed_attention [--preset h200]
    [--tokens 512] [--regimes lognormal bimodal ...] [--heads 4,2,64 ...] [--dtype float32]
    [--device cuda] [--rounds 3] [--layers 24] [--json]

With TRITON_INTERPRET=1 the Triton kernels run on the CPU, as a smoke test: their times mean
nothing then.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import inspect
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from orion_kernels import Packing, packed_attention
from torch import Tensor

from kernels.bench.document_lengths import fill_row, regime_lengths
from kernels.bench.protocol import (
    REFUSED,
    describe_environment,
    largest_relative_error,
    measure_peak_mib,
    print_table,
    time_providers,
    try_providers,
)

LIMITS = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 2e-2}
# largest number of tokens whose dense mask and score matrix fit
DENSE_TOKENS = 4096
CHECK_TOKENS = 1024
Attend = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Row:
    case: str
    provider: str
    error: float | None  # largest relative error, in norm, of output and gradients
    forward_ms: float | None  # median
    both_ms: float | None  # forward and backward, median
    spread: float | None  # of both_ms: (largest - smallest) / median
    forward_tflops: float | None  # on the true area, sum of L (L + 1) / 2 pairs per head
    both_tflops: float | None  # counts five matrix products backward for every provider
    mib: float | None  # peak above the inputs (CUDA only)
    note: str = ""


def attend_equal_lengths(q: Tensor, k: Tensor, v: Tensor, length: int) -> Tensor:
    """SDPA on documents of equal length, an upper bound for any packing."""
    q, k, v = (t.unflatten(0, (-1, length)).transpose(1, 2) for t in (q, k, v))
    out = F.scaled_dot_product_attention(
        q, k, v, is_causal=True, enable_gqa=q.shape[1] != k.shape[1]
    )
    return out.transpose(1, 2).flatten(0, 1)


def attend_dense(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    heads_first = (t.transpose(0, 1).unsqueeze(0) for t in (q, k, v))
    out = F.scaled_dot_product_attention(*heads_first, attn_mask=mask, enable_gqa=True)
    return out[0].transpose(0, 1)


def make_varlen(packing: Packing) -> Attend:
    """torch.nn.attention.varlen; its arguments differ between versions (2.10 to 2.13 are known)."""
    from torch.nn.attention.varlen import varlen_attn

    known = inspect.signature(varlen_attn).parameters
    causal = {"window_size": (-1, 0)} if "window_size" in known else {"is_causal": True}
    longest = packing.max_seqlen

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        options = dict(causal)
        if q.shape[1] != k.shape[1]:
            if "enable_gqa" in known:
                options["enable_gqa"] = True
            else:
                k, v = (t.repeat_interleave(q.shape[1] // k.shape[1], dim=1) for t in (k, v))
        return varlen_attn(
            q, k, v, packing.cu_seqlens, packing.cu_seqlens, longest, longest, **options
        )

    return attend


def make_flex(packing: Packing) -> Attend:
    """FlexAttention, compiled, with the BlockMask that the packing builds from its lengths."""
    from torch.nn.attention.flex_attention import flex_attention

    compiled = torch.compile(flex_attention, dynamic=False)
    mask = packing.block_mask()

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k, v = (t.transpose(0, 1).unsqueeze(0) for t in (q, k, v))
        out = compiled(q, k, v, block_mask=mask, enable_gqa=q.shape[1] != k.shape[1])
        return out[0].transpose(0, 1)

    return attend


def list_providers(packing: Packing, q: Tensor) -> dict[str, Attend | str]:
    """Every provider by name: a function, or the reason why it cannot run here."""
    tokens, lengths, cuda = packing.num_tokens, set(packing.seq_lengths), q.device.type == "cuda"
    half = q.dtype in (torch.float16, torch.bfloat16)
    small = tokens <= DENSE_TOKENS
    ways: dict[str, Attend | str] = {}
    ways["torch varlen_attn"] = (
        make_varlen(packing) if cuda and half else "needs CUDA and half precision"
    )
    ways["FlexAttention"] = make_flex(packing) if cuda else "has no backward on CPUs"
    ways["SDPA, equal lengths"] = (
        functools.partial(attend_equal_lengths, length=lengths.copy().pop())
        if len(lengths) == 1
        else "lengths differ"
    )
    ways["SDPA, dense mask"] = (
        functools.partial(attend_dense, mask=packing.dense_mask())
        if small
        else f"more than {DENSE_TOKENS} tokens"
    )
    for name in ("reference", "torch", "triton"):
        ways[f"ours, {name}"] = functools.partial(packed_attention, packing=packing, impl=name)
    if not small:
        ways["ours, reference"] = f"more than {DENSE_TOKENS} tokens"
    if importlib.util.find_spec("triton") is None:
        ways["ours, triton"] = "triton is not installed"
        return ways
    from orion_kernels.attention.triton_launch import unsupported_reason

    ways["ours, triton"] = unsupported_reason(q) or ways["ours, triton"]
    return ways


def make_tensors(
    tokens: int, heads: tuple[int, int, int], dtype: torch.dtype, device: str
) -> list[Tensor]:
    """q, k and v, which require gradients, and the gradient of the output."""
    q_heads, kv_heads, dim = heads
    generator = torch.Generator().manual_seed(0)
    made = [
        torch.randn(tokens, n, dim, generator=generator).to(device, dtype)
        for n in (q_heads, kv_heads, kv_heads, q_heads)
    ]
    return [*(t.requires_grad_() for t in made[:3]), made[3]]


def run_step(
    attend: Attend, q: Tensor, k: Tensor, v: Tensor, upstream: Tensor
) -> tuple[Tensor, ...]:
    out = attend(q, k, v)
    return out.detach(), *torch.autograd.grad(out, (q, k, v), upstream)


@torch.no_grad()
def run_forward(attend: Attend, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return attend(q, k, v)


def measure_errors(
    lengths: list[int], heads: tuple[int, int, int], dtype: torch.dtype, device: str
) -> dict[str, float]:
    """Each provider's error against the reference in float64, on a short row of the documents."""
    shorter = fill_row(
        [min(n, CHECK_TOKENS // 2) for n in lengths], min(sum(lengths), CHECK_TOKENS)
    )
    if len(set(lengths)) == 1:
        shorter = [shorter[0]] * max(1, sum(shorter) // shorter[0])
    packing = Packing.from_seq_lengths(torch.tensor(shorter, device=device))
    given = make_tensors(packing.num_tokens, heads, dtype, device)
    exact = [t.detach().double().requires_grad_() for t in given[:3]]
    want = run_step(
        functools.partial(packed_attention, packing=packing, impl="reference"),
        *exact,
        given[3].double(),
    )
    found = {}
    for name, attend in list_providers(packing, given[0]).items():
        if not isinstance(attend, str):
            # a provider that raises gets no error here; the measurement reports its exception
            try_providers(
                {
                    name: lambda n=name, a=attend: found.update(
                        {n: largest_relative_error(run_step(a, *given), want)}
                    )
                }
            )
    return found


def time_preparation(lengths: list[int], device: str) -> str:
    """Microseconds to build, once per batch, the packing with its tables and both BlockMasks."""
    from torch.nn.attention.flex_attention import create_block_mask

    packing = Packing.from_seq_lengths(lengths, device=device)

    def build_tables() -> None:
        made = Packing.from_seq_lengths(lengths, device=device)
        for block in (64, 128):
            made.work_table(block, by_keys=False)
            made.work_table(block, by_keys=True)

    ways: dict[str, Callable[[], object]] = {
        "packing and work tables": build_tables,
        "our BlockMask": packing.block_mask,
    }
    mask_mod = packing.block_mask().mask_mod
    ways["create_block_mask"] = lambda: create_block_mask(
        mask_mod, None, None, sum(lengths), sum(lengths), device=device
    )
    found = time_providers(ways, 3, device)
    return ", ".join(f"{name} {1e3 * ms:,.0f} us" for name, (ms, _) in found.items())


def run_case(
    name: str, lengths: list[int], heads: tuple[int, int, int], dtype: torch.dtype, args
) -> list[Row]:
    device, tokens = args.device, sum(lengths)
    packing = Packing.from_seq_lengths(torch.tensor(lengths, device=device))
    given = make_tensors(tokens, heads, dtype, device)
    label = (
        f"{name}, {len(lengths)} docs, {tokens} tokens, heads {heads[0]}/{heads[1]} of {heads[2]}"
    )
    # each case compiles the same function again, and dynamo stops after eight compilations
    torch._dynamo.reset()
    found, ways = measure_errors(lengths, heads, dtype, device), list_providers(packing, given[0])
    rows = {
        n: Row(label, n, found.get(n), *[None] * 6, note=w if isinstance(w, str) else REFUSED)
        for n, w in ways.items()
    }
    good = {
        n: w
        for n, w in ways.items()
        if not isinstance(w, str) and found.get(n, 0.0) <= LIMITS[dtype]
    }
    runs, broken = try_providers(
        {n: functools.partial(run_step, w, *given) for n, w in good.items()}
    )
    for n, note in broken.items():
        rows[n] = Row(label, n, found.get(n), *[None] * 6, note=note)
    good = {n: good[n] for n in runs}
    both = time_providers(runs, args.rounds, device)
    ahead = time_providers(
        {n: functools.partial(run_forward, w, *given[:3]) for n, w in good.items()},
        args.rounds,
        device,
    )
    area = heads[0] * sum(n * (n + 1) / 2 for n in lengths)
    for n, way in good.items():
        rates = [
            products * 2 * heads[2] * area / (1e9 * ms)
            for products, ms in ((2, ahead[n][0]), (7, both[n][0]))
        ]
        memory = (
            measure_peak_mib(functools.partial(run_step, way, *given)) if device == "cuda" else None
        )
        rows[n] = Row(label, n, found[n], ahead[n][0], both[n][0], both[n][1], *rates, memory)
    if args.layers and "ours, triton" in good:
        others = {n: both[n][0] for n in ("torch varlen_attn", "FlexAttention") if n in good}
        saved = ", ".join(
            f"{args.layers * (ms - both['ours, triton'][0]):.1f} ms against {n}"
            for n, ms in others.items()
        )
        print(
            f"{label}: {args.layers} layers save {saved or 'nothing that could be measured here'}"
        )
    print(f"{label}: {time_preparation(lengths, device)}", flush=True)
    return list(rows.values())


COLUMNS = {
    "error": ".1e",
    "forward_ms": ".3f",
    "both_ms": ".3f",
    "spread": ".0%",
    "forward_tflops": ".3g",
    "both_tflops": ".3g",
    "mib": ".0f",
}


PRESETS = {
    "cpu": {
        "tokens": 384,
        "regimes": ["lognormal", "equal64"],
        "heads": ["4,2,64"],
        "dtype": "float32",
        "layers": 0,
    },
    # about four minutes (an estimate); use --tokens 8192 and 65536 and other seeds for a full table
    "h200": {
        "tokens": 32768,
        "regimes": [
            "lognormal0",
            "lognormal1",
            "equal512",
            "equal2048",
            "equal8192",
            "one",
            "short",
            "bimodal",
        ],
        "heads": ["14,2,64", "28,4,128"],
        "dtype": "bfloat16",
        "layers": 24,
    },
}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--preset", default="cpu", choices=PRESETS, help="defaults of the options below"
    )
    parser.add_argument("--tokens", type=int, help="of a packed row")
    parser.add_argument(
        "--regimes", nargs="+", help="lognormal[seed], equal<length>, one, short, bimodal"
    )
    parser.add_argument("--heads", nargs="+", help="q_heads,kv_heads,head_dim")
    parser.add_argument("--dtype", choices=["float32", "float16", "bfloat16"])
    parser.add_argument(
        "--layers", type=int, help="layers of the model whose saving is printed; 0: none"
    )
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
    for text in args.heads:
        heads = tuple(map(int, text.split(",")))
        for name in args.regimes:
            rows += run_case(
                name, regime_lengths(name, args.tokens), heads, getattr(torch, args.dtype), args
            )
    refused = print_table(rows, COLUMNS, args.json)
    print(f"{time.perf_counter() - start:.0f} s")
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main())
