"""Time packed_attention, forward and backward, against scaled_dot_product_attention with a dense mask.

Inputs: lengths and heads on the command line. Output: a table; a provider whose error against float64 is too large is refused.
Run: python kernels/bench/packed_attention.py [--documents 20] [--lengths 20 250] [--heads 4,2,32 ...] [--dtype float32] [--json]
"""

from __future__ import annotations

import argparse
import functools
import sys

import torch
import torch.nn.functional as F
from orion_kernels import Packing, packed_attention
from protocol import Row, environment, measure, report
from torch import Tensor

LIMITS = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 2e-2}


def dense(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    heads_first = (t.transpose(0, 1).unsqueeze(0) for t in (q, k, v))
    return F.scaled_dot_product_attention(*heads_first, attn_mask=mask, enable_gqa=True)[0].transpose(0, 1)


def step(attend, q: Tensor, k: Tensor, v: Tensor, upstream: Tensor) -> tuple[Tensor, ...]:
    out = attend(q, k, v)
    return out.detach(), *torch.autograd.grad(out, (q, k, v), upstream)


def case(packing: Packing, heads: tuple[int, int, int], dtype: torch.dtype, device: str, rounds: int) -> list[Row]:
    q_heads, kv_heads, dim = heads
    generator = torch.Generator().manual_seed(0)
    tensors = [
        torch.randn(packing.num_tokens, n, dim, generator=generator).to(device, dtype).requires_grad_()
        for n in (q_heads, kv_heads, kv_heads)
    ]
    upstream = torch.randn(packing.num_tokens, q_heads, dim, generator=generator).to(device, dtype)
    exact = [t.detach().double().requires_grad_() for t in tensors]
    want = step(functools.partial(packed_attention, packing=packing, impl="reference"), *exact, upstream.double())
    # the mask is made outside the timer, as a training step would make it once for all layers
    ways = {"dense mask": functools.partial(dense, mask=packing.dense_mask())}
    ways |= {name: functools.partial(packed_attention, packing=packing, impl=name) for name in ("reference", "torch")}
    providers = {name: functools.partial(step, attend, *tensors, upstream) for name, attend in ways.items()}
    label = f"{packing.num_documents} docs, {packing.num_tokens} tokens, heads {q_heads}/{kv_heads} of {dim}"
    return measure(label, providers, want, LIMITS[dtype], rounds)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=20)
    parser.add_argument("--lengths", nargs=2, type=int, default=[20, 250], help="shortest and longest document")
    parser.add_argument("--heads", nargs="+", default=["4,2,32", "14,2,64"], help="q_heads,kv_heads,head_dim")
    parser.add_argument("--dtype", default="float32", choices=["float32", "float16", "bfloat16"])
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="also print one JSON line a row")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(environment(args.device))
    low, high = args.lengths
    lengths = torch.randint(low, high + 1, (args.documents,), generator=torch.Generator().manual_seed(0)).to(
        args.device
    )
    rows = []
    for text in args.heads:
        q_heads, kv_heads, dim = map(int, text.split(","))
        packing = Packing.from_seq_lengths(lengths)
        rows += case(packing, (q_heads, kv_heads, dim), getattr(torch, args.dtype), args.device, args.rounds)
    return 1 if report(rows, args.json) else 0


if __name__ == "__main__":
    sys.exit(main())
