"""Time linear_cross_entropy, forward and backward, against all logits in memory and torch's cross_entropy.

Inputs: shapes on the command line. Output: a table; a provider whose error against float64 is too large is refused.
Run: python kernels/bench/linear_cross_entropy.py [--shapes 2048,128,512 ...] [--ignored 0 0.5] [--dtype float32] [--json]
"""

from __future__ import annotations

import argparse
import functools
import sys

import torch
import torch.nn.functional as F
from orion_kernels import linear_cross_entropy
from protocol import Row, environment, measure, report
from torch import Tensor

# float32 products over a large vocabulary have errors of about 1e-5 of their own; half precision rounds the gradients
LIMITS = {torch.float32: 5e-5, torch.float16: 2e-3, torch.bfloat16: 1e-2}


def eager(x: Tensor, w: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy((x @ w.t()).float(), y)


def step(loss_of, x: Tensor, w: Tensor, y: Tensor) -> tuple[Tensor, ...]:
    loss = loss_of(x, w, y)
    return loss.detach(), *torch.autograd.grad(loss, (x, w))


def exact_step(x: Tensor, w: Tensor, y: Tensor) -> tuple[Tensor, ...]:
    count, total = (y != -100).sum(), x.new_zeros(())
    dx, dw = [], torch.zeros_like(w)
    for x_part, y_part in zip(x.detach().split(128), y.split(128), strict=True):
        leaf = x_part.requires_grad_()
        loss = F.cross_entropy(leaf @ w.t(), y_part, reduction="sum") / count
        grad_x, grad_w = torch.autograd.grad(loss, (leaf, w))
        total += loss.detach()
        dx.append(grad_x)
        dw += grad_w
    return total, torch.cat(dx), dw


def data(
    tokens: int, hidden: int, vocab: int, ignored: float, dtype: torch.dtype, device: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Hidden states and a head whose predictions are confident, targets drawn from them, a share of the labels ignored."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(tokens, hidden, generator=generator)
    w = torch.randn(vocab, hidden, generator=generator) * 3 / hidden**0.5
    rows = [torch.multinomial((part @ w.t()).softmax(1), 1, generator=generator) for part in x.split(256)]
    y = torch.cat(rows).squeeze(1)
    y[torch.rand(tokens, generator=generator) < ignored] = -100
    return x.to(device, dtype).requires_grad_(), w.to(device, dtype).requires_grad_(), y.to(device)


def case(shape: tuple[int, int, int], ignored: float, dtype: torch.dtype, device: str, rounds: int) -> list[Row]:
    x, w, y = data(*shape, ignored, dtype, device)
    exact = [t.detach().double().requires_grad_() for t in (x, w)]
    # plain torch in float64, a part of the rows at a time; independent of what is measured
    want = exact_step(*exact, y)
    losses = {"eager logits": eager}
    losses |= {name: functools.partial(linear_cross_entropy, impl=name) for name in ("reference", "torch")}
    providers = {name: functools.partial(step, loss, x, w, y) for name, loss in losses.items()}
    tokens, hidden, vocab = shape
    label = f"{tokens} tokens, hidden {hidden}, vocab {vocab}, {ignored:.0%} off"
    return measure(label, providers, want, LIMITS[dtype], rounds)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", default=["2048,128,512", "1024,256,8192"], help="tokens,hidden,vocab")
    parser.add_argument("--ignored", nargs="+", type=float, default=[0.0, 0.5], help="shares of ignored labels")
    parser.add_argument("--dtype", default="float32", choices=["float32", "float16", "bfloat16"])
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="also print one JSON line a row")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(environment(args.device))
    rows = []
    for text in args.shapes:
        tokens, hidden, vocab = map(int, text.split(","))
        for ignored in args.ignored:
            rows += case((tokens, hidden, vocab), ignored, getattr(torch, args.dtype), args.device, args.rounds)
    return 1 if report(rows, args.json) else 0


if __name__ == "__main__":
    sys.exit(main())
