"""linear_cross_entropy in plain torch, a chunk of rows at a time, so that [tokens, vocab] never exists.

Inputs and outputs are those of `orion_kernels.reference.linear_cross_entropy`. A weighted sum computes its gradients during
forward, while a chunk's logits are at hand; per-row losses, whose upstream gradients are unknown then, compute the logits
again in backward. Nothing to run.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from orion_kernels.precision import accumulation_dtype
from orion_kernels.reference import LossOptions, TokenLosses

# bytes of one chunk's logits; measured on CPU, where larger chunks leave the cache and smaller ones write dW more often
WORKSPACE_BYTES = 16 << 20
MIN_CHUNK_ROWS = 64


class Wanted(NamedTuple):
    x: bool
    weight: bool
    bias: bool


class Gradients(NamedTuple):
    """Of the weighted sum, in the accumulation dtype; None where not wanted."""

    x: Tensor | None  # (n, hidden)
    weight: Tensor | None  # (vocab, hidden)
    bias: Tensor | None  # (vocab,)


def linear_cross_entropy(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    row_weights: Tensor | None,
    options: LossOptions,
    with_metrics: bool,
) -> TokenLosses:
    """Arguments and result as `orion_kernels.reference.linear_cross_entropy`; not twice differentiable."""
    loss, logprob, entropy, accuracy = _ChunkedLoss.apply(
        x, weight, bias, targets, row_weights, options, with_metrics
    )
    return TokenLosses(loss, logprob, entropy, accuracy)


class _ChunkedLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        row_weights: Tensor | None,
        options: LossOptions,
        with_metrics: bool,
    ) -> tuple[Tensor | None, ...]:
        ctx.summed = row_weights is not None
        ctx.options = options
        ctx.dtypes = (x.dtype, weight.dtype, None if bias is None else bias.dtype)
        wanted = Wanted(*ctx.needs_input_grad[:3])
        losses, gradients = walk(
            x, weight, bias, targets, row_weights, options, wanted, with_metrics
        )
        if ctx.summed:
            ctx.save_for_backward(*gradients)
        else:
            ctx.save_for_backward(x, weight, bias, targets)
        ctx.mark_non_differentiable(*(t for t in losses[1:] if t is not None))
        return tuple(losses)

    @staticmethod
    def backward(ctx: Any, grad_loss: Tensor, *_unused: Tensor | None) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            # create_graph=True: torch's once_differentiable would drop this term silently where others carry a graph
            raise RuntimeError(
                'linear_cross_entropy is not twice differentiable; impl="reference" is'
            )
        if ctx.summed:
            # a product, not an update in place: the graph may be walked again
            gradients = [None if g is None else g * grad_loss for g in ctx.saved_tensors]
        else:
            x, weight, bias, targets = ctx.saved_tensors
            wanted = Wanted(*ctx.needs_input_grad[:3])
            gradients = list(
                walk(x, weight, bias, targets, grad_loss, ctx.options, wanted, False)[1]
            )
        cast = [
            g if g is None else g.to(dtype) for g, dtype in zip(gradients, ctx.dtypes, strict=True)
        ]
        return (*cast, None, None, None, None)


@torch.no_grad()
def walk(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    row_weights: Tensor | None,
    options: LossOptions,
    wanted: Wanted,
    with_metrics: bool,
) -> tuple[TokenLosses, Gradients]:
    """Losses of all rows and, where row weights are given, the wanted gradients of their weighted sum, chunk by chunk."""
    dtype = accumulation_dtype(x)
    n, vocab = x.shape[0], weight.shape[0]
    differentiate = row_weights is not None and any(wanted)
    gradients = Gradients(
        torch.empty(n, x.shape[1], dtype=dtype, device=x.device)
        if differentiate and wanted.x
        else None,
        torch.zeros(weight.shape, dtype=dtype, device=x.device)
        if differentiate and wanted.weight
        else None,
        torch.zeros(vocab, dtype=dtype, device=x.device) if differentiate and wanted.bias else None,
    )
    loss = torch.empty(n, dtype=dtype, device=x.device)
    metrics: list[Tensor | None] = [
        torch.empty_like(loss) if with_metrics else None for _ in range(3)
    ]
    with torch.autocast(x.device.type, enabled=False):
        # products of half-precision inputs are exact in float32, so the logits are those of a float32 accumulator
        wide_weight = weight.to(dtype)
        rows = max(MIN_CHUNK_ROWS, WORKSPACE_BYTES // (vocab * dtype.itemsize))
        for start in range(0, n, rows):
            part = slice(start, min(start + rows, n))
            x_part = x[part].to(dtype)
            logits = torch.mm(x_part, wide_weight.t())  # (rows, vocab)
            if bias is not None:
                logits += bias.to(dtype)
            scale = row_weights[part] if differentiate and row_weights is not None else None
            losses, slopes = _chunk(logits, targets[part], scale, options, with_metrics)
            loss[part] = losses.loss
            for whole, values in zip(metrics, losses[1:], strict=True):
                if whole is not None and values is not None:
                    whole[part] = values
            if slopes is not None:
                _accumulate(gradients, part, slopes, x_part, wide_weight)
    total = loss if row_weights is None else (loss * row_weights).sum()
    return TokenLosses(total, *metrics), gradients


def _accumulate(
    gradients: Gradients, part: slice, slopes: Tensor, x_part: Tensor, weight: Tensor
) -> None:
    if gradients.x is not None:
        torch.mm(slopes, weight, out=gradients.x[part])
    if gradients.weight is not None:
        gradients.weight.addmm_(slopes.t(), x_part)
    if gradients.bias is not None:
        gradients.bias.add_(slopes.sum(dim=0))


def _chunk(
    logits: Tensor, targets: Tensor, scale: Tensor | None, options: LossOptions, with_metrics: bool
) -> tuple[TokenLosses, Tensor | None]:
    """Losses of one chunk and, where scale is given, d(sum of scale * loss) / d(logits before softcap). Overwrites logits.

    With p = softmax(z): dz = scale * (p * (1 + 2 * z_loss * lse) - (1 - eps) * onehot - eps / vocab), and the softcap's own slope
    1 - (z / softcap) ** 2.
    """
    eps, vocab = options.label_smoothing, logits.shape[1]
    cap_slope = None
    if options.softcap is not None:
        logits.div_(options.softcap).tanh_()
        cap_slope = 1 - logits.square() if scale is not None else None
        logits.mul_(options.softcap)
    # the largest value alone is several times cheaper than with its index
    top, best = logits.max(dim=1) if with_metrics else (logits.amax(dim=1), None)
    at_target = logits.gather(1, targets[:, None]).squeeze(1)
    mean = logits.mean(dim=1) if eps else None
    logits.sub_(top[:, None])
    powers = logits.exp() if with_metrics else logits.exp_()
    sums = powers.sum(dim=1)
    lse = top + sums.log()
    logprob = at_target - lse
    loss = -logprob
    if mean is not None:
        loss = (1 - eps) * loss + eps * (lse - mean)
    if options.z_loss:
        loss = loss + options.z_loss * lse.square()
    entropy = accuracy = None
    if best is not None:
        # the clamp turns 0 * -inf, a logit masked away, into 0
        entropy = (
            sums.log()
            - logits.clamp_(min=torch.finfo(logits.dtype).min).mul_(powers).sum(dim=1) / sums
        )
        accuracy = best == targets
    losses = TokenLosses(loss, logprob if with_metrics else None, entropy, accuracy)
    if scale is None:
        return losses, None
    slopes = powers.mul_((scale * (1 + 2 * options.z_loss * lse) / sums)[:, None])
    slopes.scatter_add_(1, targets[:, None], (-(1 - eps) * scale)[:, None])
    if eps:
        slopes.sub_((scale * (eps / vocab))[:, None])
    if cap_slope is not None:
        slopes.mul_(cap_slope)
    return losses, slopes
