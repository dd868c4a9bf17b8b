"""Readable torch reference of both operators: plain autograd, every option, all logits in memory.

Inputs and outputs are those of `orion_kernels.linear_cross_entropy` and
`orion_kernels.packed_attention`, which validate them and pass normalised arguments on. The other
implementations are tested against this module in float64.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from orion_kernels.packing import Packing
from orion_kernels.precision import accumulation_dtype


class TokenMetrics(NamedTuple):
    """Detached per-token quantities of a `linear_cross_entropy` call, each in the shape of labels.

    All are 0 where the label is ignored; logprob, entropy and accuracy are float32 (float64 for
    float64 inputs).
    """

    logprob: Tensor  # natural logarithm of the probability of the label
    entropy: Tensor  # entropy of the prediction in nats
    accuracy: Tensor  # 1 where the label has the largest logit (lowest index among equals), else 0
    valid: Tensor  # bool, false where the label is ignored

    def means(self) -> dict[str, Tensor]:
        """Scalar tensors: the mean of each quantity over valid tokens, and their count `tokens`.

        The means are 0 if no token is valid.
        """
        tokens = self.valid.sum()
        count = tokens.clamp(min=1)
        return {
            "logprob": self.logprob.sum() / count,
            "entropy": self.entropy.sum() / count,
            "accuracy": self.accuracy.sum() / count,
            "tokens": tokens,
        }


@dataclass(frozen=True)
class LossOptions:
    """Options that enter the loss of one token.

    ``rounded``: products in half precision are rounded to it, as torch's autocast does on CPU.
    """

    label_smoothing: float = 0.0
    softcap: float | None = None
    z_loss: float = 0.0
    rounded: bool = False


class TokenLosses(NamedTuple):
    """What an implementation returns for n valid tokens."""

    # (n,) unweighted losses, or () the weighted sum if the weights were given to the implementation
    loss: Tensor
    logprob: Tensor | None  # (n,)
    entropy: Tensor | None  # (n,)
    accuracy: Tensor | None  # (n,)


def linear_cross_entropy(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    row_weights: Tensor | None,
    options: LossOptions,
    with_metrics: bool,
) -> TokenLosses:
    """Loss of every valid token with all logits in memory.

    With logits z (after softcap * tanh(z / softcap)), eps = label_smoothing and lse = log sum exp
    z, the loss of one token is

        (1 - eps) * (lse - z[target]) + eps * (lse - mean(z)) + z_loss * lse ** 2

    with smoothing as in torch.nn.functional.cross_entropy and the z-loss of PaLM (arXiv 2204.02311,
    section 5).

    Args:
        x: (n, hidden), valid rows only.
        weight: (vocab, hidden).
        bias: (vocab,).
        targets: (n,) int64 in [0, vocab).
        row_weights: (n,) factors of a weighted sum, or None for one loss per row.
        options: label smoothing, softcap and z-loss.
        with_metrics: also compute logprob, entropy and accuracy.

    """
    dtype = accumulation_dtype(x)
    logits = x.to(dtype) @ weight.to(dtype).t()  # (n, vocab)
    if bias is not None:
        logits = logits + bias.to(dtype)
    if options.softcap is not None:
        logits = options.softcap * torch.tanh(logits / options.softcap)
    lse = logits.logsumexp(dim=1)
    logprob = logits.gather(1, targets[:, None]).squeeze(1) - lse
    loss = -logprob
    if options.label_smoothing:
        eps = options.label_smoothing
        loss = (1 - eps) * loss + eps * (lse - logits.mean(dim=1))
    if options.z_loss:
        loss = loss + options.z_loss * lse.square()
    if row_weights is not None:
        loss = (loss * row_weights).sum()
    if not with_metrics:
        return TokenLosses(loss, None, None, None)
    probabilities = torch.softmax(logits.detach(), dim=1)
    entropy = -torch.xlogy(probabilities, probabilities).sum(dim=1)
    accuracy = (logits.detach().argmax(dim=1) == targets).to(dtype)
    return TokenLosses(loss, logprob.detach(), entropy, accuracy)


def packed_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    packing: Packing,
    scale: float,
    window: int | None = None,
    softcap: float | None = None,
    sinks: Tensor | None = None,
) -> Tensor:
    """Explicit masked softmax, one document at a time, in float32 (float64 for float64 inputs).

    One dense mask over the whole row would give the same finite numbers, but 0 * NaN is NaN: a
    masked probability of 0 would still carry a NaN of another document into the output and into the
    gradients.

    Args:
        q: (tokens, q_heads, head_dim).
        k: (tokens, kv_heads, head_dim).
        v: (tokens, kv_heads, value_dim).
        packing: the documents.
        scale: factor on the scores.
        window: tokens that a query sees, itself included.
        softcap: scores become softcap * tanh(scores / softcap).
        sinks: (q_heads,), the score of one more key per head, whose value is 0.

    Returns (tokens, q_heads, value_dim).

    """
    dtype = accumulation_dtype(q)
    group = q.shape[1] // k.shape[1]
    outputs = []
    for q_doc, k_doc, v_doc in zip(
        *(t.to(dtype).split(packing.seq_lengths) for t in (q, k, v)), strict=True
    ):
        length = q_doc.shape[0]
        k_doc = k_doc.repeat_interleave(group, dim=1)  # (length, q_heads, head_dim)
        v_doc = v_doc.repeat_interleave(group, dim=1)
        scores = torch.einsum("qhd,khd->hqk", q_doc, k_doc) * scale
        if softcap is not None:
            scores = softcap * torch.tanh(scores / softcap)
        ones = torch.ones(length, length, dtype=torch.bool, device=q.device)
        hidden = ones.triu(1) if window is None else ones.triu(1) | ones.tril(-window)
        scores = scores.masked_fill(hidden, float("-inf"))
        if sinks is not None:
            column = sinks.to(dtype)[:, None, None].expand(-1, length, 1)
            scores = torch.cat([scores, column], dim=-1)
        probabilities = torch.softmax(scores, dim=-1)[..., :length]
        outputs.append(torch.einsum("hqk,khd->qhd", probabilities, v_doc))
    return torch.cat(outputs).to(q.dtype)
