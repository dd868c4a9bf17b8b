"""linear_cross_entropy in torch, one chunk of rows at a time: (tokens, vocab) logits never exist.

Inputs and outputs are those of `orion_kernels.reference.linear_cross_entropy`. For a weighted sum
the gradients are computed during forward, from the logits of each chunk. For per-row losses the
upstream gradients are not known then, so backward computes the logits again.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from orion_kernels.precision import accumulation_dtype, factor_dtype, matmul
from orion_kernels.reference import LossOptions, TokenLosses

# bytes of the logits of one chunk, by device, and its fewest rows. Every chunk reads weight and
# writes dW once, so that few rows per chunk are slow: measured on CPU at (1024, 576, 49152),
# forward and backward, 64 rows take 1.7 to 1.9 times as long as 256, and 512 are no faster. The
# values for other devices are an estimate: about 2,048 rows of a vocabulary of 151,936
WORKSPACE_BYTES = {"cpu": 32 << 20}
OTHER_WORKSPACE_BYTES = 1280 << 20
MIN_CHUNK_ROWS = 256


class NeedsGrad(NamedTuple):
    """Which inputs need a gradient."""

    x: bool
    weight: bool
    bias: bool


class Gradients(NamedTuple):
    """Gradients of the weighted sum, in the accumulation dtype; None if not needed."""

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
    """As `orion_kernels.reference.linear_cross_entropy`, but not twice differentiable."""
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
        ctx.is_weighted_sum = row_weights is not None
        ctx.options = options
        ctx.dtypes = (x.dtype, weight.dtype, None if bias is None else bias.dtype)
        needs_grad = NeedsGrad(*ctx.needs_input_grad[:3])
        losses, gradients = chunked_forward_backward(
            x, weight, bias, targets, row_weights, options, needs_grad, with_metrics
        )
        if ctx.is_weighted_sum:
            ctx.save_for_backward(*gradients)
        else:
            ctx.save_for_backward(x, weight, bias, targets)
        ctx.mark_non_differentiable(*(t for t in losses[1:] if t is not None))
        return tuple(losses)

    @staticmethod
    def backward(ctx: Any, grad_loss: Tensor, *_unused: Tensor | None) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            # create_graph=True: torch's once_differentiable would silently drop this term of the
            # second derivative if another term carries a graph
            raise RuntimeError(
                'linear_cross_entropy is not twice differentiable; impl="reference" is'
            )
        if ctx.is_weighted_sum:
            # a product, not an update in place: backward may run again over the same graph
            gradients = [None if g is None else g * grad_loss for g in ctx.saved_tensors]
        else:
            x, weight, bias, targets = ctx.saved_tensors
            needs_grad = NeedsGrad(*ctx.needs_input_grad[:3])
            _, found = chunked_forward_backward(
                x, weight, bias, targets, grad_loss, ctx.options, needs_grad, False
            )
            gradients = list(found)
        cast = [
            g if g is None else g.to(dtype) for g, dtype in zip(gradients, ctx.dtypes, strict=True)
        ]
        return (*cast, None, None, None, None)


@torch.no_grad()
def chunked_forward_backward(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    row_weights: Tensor | None,
    options: LossOptions,
    needs_grad: NeedsGrad,
    with_metrics: bool,
) -> tuple[TokenLosses, Gradients]:
    """Losses of all rows, chunk by chunk, and the gradients of their weighted sum.

    Without row weights no gradient is computed. Shapes as in
    `orion_kernels.reference.linear_cross_entropy`.
    """
    dtype = accumulation_dtype(x)
    n, vocab = x.shape[0], weight.shape[0]
    differentiate = row_weights is not None and any(needs_grad)
    gradients = Gradients(
        torch.empty(n, x.shape[1], dtype=dtype, device=x.device)
        if differentiate and needs_grad.x
        else None,
        torch.zeros(weight.shape, dtype=dtype, device=x.device)
        if differentiate and needs_grad.weight
        else None,
        torch.zeros(vocab, dtype=dtype, device=x.device)
        if differentiate and needs_grad.bias
        else None,
    )
    loss = torch.empty(n, dtype=dtype, device=x.device)
    metrics: list[Tensor | None] = [
        torch.empty_like(loss) if with_metrics else None for _ in range(3)
    ]
    factors = factor_dtype(x, options.rounded)
    with torch.autocast(x.device.type, enabled=False):
        factor_weight = weight.to(factors)
        for part in list_chunks(n, vocab, x):
            x_part = x[part].to(factors)
            logits = _product(x_part, factor_weight.t(), options.rounded)  # (rows, vocab)
            if bias is not None:
                logits += bias.to(dtype)
            scale = row_weights[part] if differentiate and row_weights is not None else None
            losses, dlogits = _loss_and_dlogits(logits, targets[part], scale, options, with_metrics)
            loss[part] = losses.loss
            for whole, values in zip(metrics, losses[1:], strict=True):
                if whole is not None and values is not None:
                    whole[part] = values
            if dlogits is not None:
                _accumulate_gradients(
                    gradients, part, dlogits, x_part, factor_weight, options.rounded
                )
    total = loss if row_weights is None else (loss * row_weights).sum()
    return TokenLosses(total, *metrics), gradients


def list_chunks(rows: int, vocab: int, x: Tensor) -> list[slice]:
    """The rows of each chunk of logits, for the device and dtype of x."""
    workspace = WORKSPACE_BYTES.get(x.device.type, OTHER_WORKSPACE_BYTES)
    step = max(MIN_CHUNK_ROWS, workspace // (vocab * accumulation_dtype(x).itemsize))
    return [slice(start, min(start + step, rows)) for start in range(0, rows, step)]


def _product(a: Tensor, b: Tensor, rounded: bool) -> Tensor:
    """a @ b in the accumulation dtype, rounded to the dtype of the factors before if asked for."""
    return torch.mm(a, b).to(accumulation_dtype(a)) if rounded else matmul(a, b)


def _accumulate_gradients(
    gradients: Gradients,
    part: slice,
    dlogits: Tensor,
    x_part: Tensor,
    weight: Tensor,
    rounded: bool,
) -> None:
    factor = dlogits.to(x_part.dtype)
    if gradients.x is not None:
        gradients.x[part] = _product(factor, weight, rounded)
    if gradients.weight is not None and rounded:
        gradients.weight.add_(torch.mm(factor.t(), x_part))
    elif gradients.weight is not None:
        matmul(factor.t(), x_part, add_to=gradients.weight)
    if gradients.bias is not None:
        gradients.bias.add_(dlogits.sum(dim=0))


def _loss_and_dlogits(
    logits: Tensor, targets: Tensor, scale: Tensor | None, options: LossOptions, with_metrics: bool
) -> tuple[TokenLosses, Tensor | None]:
    """Losses of one chunk and, if scale is given, the gradient of their scaled sum by the logits.

    The gradient is d(sum of scale * loss) / d(logits before softcap). Overwrites logits (rows,
    vocab). With p = softmax(z) and eps = label_smoothing,

        dz = scale * (p * (1 + 2 * z_loss * lse) - (1 - eps) * onehot - eps / vocab)

    which is multiplied by the derivative of the softcap, 1 - (z / softcap) ** 2.
    """
    eps, vocab = options.label_smoothing, logits.shape[1]
    softcap_derivative = None
    if options.softcap is not None:
        logits.div_(options.softcap).tanh_()
        softcap_derivative = 1 - logits.square() if scale is not None else None
        logits.mul_(options.softcap)
    # the largest value alone is several times cheaper than with its index
    top, best = logits.max(dim=1) if with_metrics else (logits.amax(dim=1), None)
    at_target = logits.gather(1, targets[:, None]).squeeze(1)
    mean = logits.mean(dim=1) if eps else None
    logits.sub_(top[:, None])
    exponentials = logits.exp() if with_metrics else logits.exp_()
    sums = exponentials.sum(dim=1)
    lse = top + sums.log()
    logprob = at_target - lse
    loss = -logprob
    if mean is not None:
        loss = (1 - eps) * loss + eps * (lse - mean)
    if options.z_loss:
        loss = loss + options.z_loss * lse.square()
    entropy = accuracy = None
    if best is not None:
        # the clamp turns 0 * -inf, from a logit of -inf, into 0
        entropy = (
            sums.log()
            - logits.clamp_(min=torch.finfo(logits.dtype).min).mul_(exponentials).sum(dim=1) / sums
        )
        accuracy = best == targets
    losses = TokenLosses(loss, logprob if with_metrics else None, entropy, accuracy)
    if scale is None:
        return losses, None
    dlogits = exponentials.mul_((scale * (1 + 2 * options.z_loss * lse) / sums)[:, None])
    dlogits.scatter_add_(1, targets[:, None], (-(1 - eps) * scale)[:, None])
    if eps:
        dlogits.sub_((scale * (eps / vocab))[:, None])
    if softcap_derivative is not None:
        dlogits.mul_(softcap_derivative)
    return losses, dlogits
