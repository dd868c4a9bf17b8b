"""Synthetic hidden states, heads and labels for the benchmark of linear_cross_entropy.

The data of all regimes are synthetic, which matters for Cut Cross Entropy: the part that its filter
drops depends on the data.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def make_data(
    shape: tuple[int, int, int],
    regime: str,
    ignored: float,
    trained: bool,
    dtype: torch.dtype,
    device: str,
) -> tuple[Tensor, Tensor, Tensor]:
    """Hidden states (tokens, hidden), a head (vocab, hidden) and labels (tokens,).

    Labels are drawn from the predictions of the head (sft, peaky) or uniformly (flat).

    flat: entropy about ln vocab. sft: entropy of one to two nats, and a Zipf popularity of tokens
    along a common direction, so that sorting the vocabulary can help. peaky: nearly certain
    predictions.
    """
    tokens, hidden, vocab = shape
    generator = torch.Generator(device).manual_seed(0)
    x = torch.randn(tokens, hidden, generator=generator, device=device)
    w = torch.randn(vocab, hidden, generator=generator, device=device)
    if regime == "flat":
        w *= 0.05 / hidden**0.5
        y = torch.randint(vocab, (tokens,), generator=generator, device=device)
    else:
        likely = torch.randint(vocab, (tokens,), generator=generator, device=device)
        if regime == "sft":
            # tokens are drawn by popularity 1 / rank
            ranks = torch.arange(1, vocab + 1, device=device, dtype=torch.float32)
            likely = torch.multinomial(1 / ranks, tokens, replacement=True, generator=generator)
            common = F.normalize(torch.randn(hidden, generator=generator, device=device), dim=0)
            w += common * (3 - ranks.log())[:, None] / 2
            x += common * 2
        w /= hidden**0.5
        x += w[likely] * (9 if regime == "sft" else 25)
        y = torch.cat(
            [
                torch.multinomial((p @ w.t()).softmax(1), 1, generator=generator)
                for p in x.split(256)
            ]
        ).squeeze(1)
    y[torch.rand(tokens, generator=generator, device=device) < ignored] = -100
    return x.to(dtype).requires_grad_(), w.to(dtype).requires_grad_(trained), y


def describe_data(x: Tensor, w: Tensor) -> str:
    """Entropy in nats, and the share of probabilities above 2^-12.

    Cut Cross Entropy's filter keeps these in bfloat16.
    """
    p = (x[:256].float() @ w.float().t()).softmax(1)
    entropy = -torch.xlogy(p, p).sum(1).mean()
    return f"entropy {entropy:.2f} nats, p > 2^-12: {(p > 2**-12).float().mean():.2e}"
