"""linear_cross_entropy as one operator that torch.compile does not look into, over the torch or the Triton implementation.

Inputs and outputs are tensors over all tokens, so that their shapes never depend on labels; dropping ignored rows happens inside.
Nothing to run. The annotations here are the operators' schemas, hence no postponed evaluation.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from orion_kernels import chunked
from orion_kernels.chunked import Gradients, Wanted
from orion_kernels.precision import accumulation_dtype
from orion_kernels.reference import LossOptions


def valid_rows(labels: Tensor, ignore_index: int, valid_index: Tensor | None) -> Tensor:
    """Positions (n,) of the labels that count; waits for the device unless they are given."""
    return labels.ne(ignore_index).nonzero().squeeze(1) if valid_index is None else valid_index


def row_factors(
    labels: Tensor,
    token_weights: Tensor | None,
    normalizer: Tensor | None,
    valid: Tensor,
    mean: bool,
    dtype: torch.dtype,
) -> Tensor:
    """(n,) factor of every valid token in the result; for a mean without a normalizer divided by their number."""
    if token_weights is None:
        factors = torch.ones(valid.shape[0], dtype=dtype, device=labels.device)
    else:
        factors = token_weights.index_select(0, valid).to(dtype)
    if not mean:
        return factors
    if normalizer is None:
        return factors / valid.shape[0]
    # one on the host divides as the number it is: to copy it would wait for the device
    return factors / (
        normalizer if normalizer.device.type == "cpu" else normalizer.to(labels.device)
    ).to(dtype)


def _defers(dtype: torch.dtype, reduction: str, smoothing: float, impl: str, memory: str) -> bool:
    """Whether gradients are computed in backward.

    The Triton implementation does so for memory="lean", and where its fast way has no formula: reduction="none" does not know its
    upstream gradients in forward, smoothing is not a row factor of the powers, and float16 does not have their range.
    """
    if impl == "torch":
        return reduction == "none"
    return memory == "lean" or reduction == "none" or smoothing > 0 or dtype == torch.float16


def _options(label_smoothing: float, softcap: float, z_loss: float) -> LossOptions:
    return LossOptions(label_smoothing, softcap or None, z_loss)


@torch.library.custom_op("orion_kernels::linear_cross_entropy", mutates_args=())
def loss_operator(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    labels: Tensor,
    token_weights: Tensor | None,
    normalizer: Tensor | None,
    valid_index: Tensor | None,
    ignore_index: int,
    reduction: str,
    label_smoothing: float,
    softcap: float,
    z_loss: float,
    metrics: bool,
    wanted: Sequence[bool],
    impl: str,
    memory: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """(loss, logprob, entropy, accuracy, saved, dx, dw, db) of hidden (tokens, hidden), weight, bias, labels (tokens,).

    softcap 0 is none. loss is () or, for reduction="none", (tokens,); saved (3, tokens) is for a deferred backward in Triton.
    What was not asked for is empty.
    """
    dtype, tokens = accumulation_dtype(hidden), labels.shape[0]
    valid = valid_rows(labels, ignore_index, valid_index)
    x, targets = _gather(hidden, labels, valid)
    factors = row_factors(labels, token_weights, normalizer, valid, reduction == "mean", dtype)
    options = _options(label_smoothing, softcap, z_loss)
    deferred = _defers(hidden.dtype, reduction, label_smoothing, impl, memory)
    want = Wanted(*wanted) if not deferred else Wanted(False, False, False)
    row_weights = None if reduction == "none" else factors
    with torch.autocast(hidden.device.type, enabled=False), torch.cuda.device_of(hidden):
        if impl == "triton":
            from orion_kernels import cross_entropy_triton

            losses, saved, gradients = cross_entropy_triton.forward(
                x, weight, bias, targets, row_weights, options, want, metrics
            )
        else:
            losses, gradients = chunked.walk(
                x, weight, bias, targets, row_weights, options, want, metrics
            )
            saved = None
    loss = losses.loss if reduction != "none" else _spread(losses.loss * factors, valid, tokens)
    rows = [
        _spread(v.to(dtype), valid, tokens) if v is not None else factors.new_empty(0)
        for v in losses[1:]
    ]
    saved = (
        _spread(saved, valid, tokens) if saved is not None and deferred else factors.new_empty(3, 0)
    )
    grads = _outputs(gradients, want, hidden, weight, bias, valid)
    return loss, rows[0], rows[1], rows[2], saved, *grads


@loss_operator.register_fake
def _(
    hidden,
    weight,
    bias,
    labels,
    token_weights,
    normalizer,
    valid_index,
    ignore_index,
    reduction,
    label_smoothing,
    softcap,
    z_loss,
    metrics,
    wanted,
    impl,
    memory,
):
    dtype = accumulation_dtype(hidden)
    tokens = labels.shape[0]
    loss = hidden.new_empty(tokens if reduction == "none" else (), dtype=dtype)
    rows = [hidden.new_empty(tokens if metrics else 0, dtype=dtype) for _ in range(3)]
    deferred = _defers(hidden.dtype, reduction, label_smoothing, impl, memory)
    grads = [
        hidden.new_empty(t.shape if want and not deferred else 0)
        for t, want in zip((hidden, weight, bias), wanted, strict=True)
    ]
    saved = hidden.new_empty(3, tokens if deferred and impl == "triton" else 0, dtype=dtype)
    return loss, *rows, saved, *grads


@torch.library.custom_op("orion_kernels::linear_cross_entropy_backward", mutates_args=())
def gradient_operator(
    upstream: Tensor,
    saved: Tensor,
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    labels: Tensor,
    token_weights: Tensor | None,
    normalizer: Tensor | None,
    valid_index: Tensor | None,
    ignore_index: int,
    reduction: str,
    label_smoothing: float,
    softcap: float,
    z_loss: float,
    wanted: Sequence[bool],
    impl: str,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients (dx, dw, db) of the loss for upstream () or (tokens,), from saved (3, tokens); empty where not wanted."""
    valid = valid_rows(labels, ignore_index, valid_index)
    x, targets = _gather(hidden, labels, valid)
    dtype = accumulation_dtype(hidden)
    factors = row_factors(labels, token_weights, normalizer, valid, reduction == "mean", dtype)
    factors = factors * (upstream.index_select(0, valid) if reduction == "none" else upstream)
    options, want = _options(label_smoothing, softcap, z_loss), Wanted(*wanted)
    with torch.autocast(hidden.device.type, enabled=False), torch.cuda.device_of(hidden):
        if impl == "triton":
            from orion_kernels import cross_entropy_triton

            saved = saved.index_select(1, valid)
            gradients = cross_entropy_triton.backward(
                x, weight, bias, targets, factors, saved, options, want
            )
        else:
            _, gradients = chunked.walk(x, weight, bias, targets, factors, options, want, False)
    return _outputs(gradients, want, hidden, weight, bias, valid)


@gradient_operator.register_fake
def _(
    upstream,
    saved,
    hidden,
    weight,
    bias,
    labels,
    token_weights,
    normalizer,
    valid_index,
    ignore_index,
    reduction,
    label_smoothing,
    softcap,
    z_loss,
    wanted,
    impl,
):
    return tuple(
        hidden.new_empty(t.shape if want else 0)
        for t, want in zip((hidden, weight, bias), wanted, strict=True)
    )


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    hidden, weight, bias, labels, token_weights, normalizer, valid_index, *rest = inputs
    ignore_index, reduction, smoothing, softcap, z_loss, _, wanted, impl, memory = rest
    ctx.wanted = list(wanted)
    ctx.deferred = _defers(hidden.dtype, reduction, smoothing, impl, memory)
    ctx.options = (ignore_index, reduction, smoothing, softcap, z_loss)
    ctx.impl = impl
    if ctx.deferred:
        ctx.save_for_backward(
            output[4], hidden, weight, bias, labels, token_weights, normalizer, valid_index
        )
    else:
        ctx.save_for_backward(*output[5:])
    ctx.mark_non_differentiable(*output[1:])


def _backward(ctx: Any, grad_loss: Tensor, *_unused: Tensor | None) -> tuple[Tensor | None, ...]:
    if torch.is_grad_enabled():
        # create_graph=True: torch's once_differentiable would drop this term silently where others carry a graph
        raise RuntimeError('linear_cross_entropy is not twice differentiable; impl="reference" is')
    if ctx.deferred:
        gradients = gradient_operator(
            grad_loss, *ctx.saved_tensors, *ctx.options, ctx.wanted, ctx.impl
        )
    else:
        # a product, not an update in place: the graph may be walked again
        gradients = [
            (g * grad_loss).to(g.dtype) if want else g
            for g, want in zip(ctx.saved_tensors, ctx.wanted, strict=True)
        ]
    found = [g if want else None for g, want in zip(gradients, ctx.wanted, strict=True)]
    return (*found, *[None] * 13)


loss_operator.register_autograd(_backward, setup_context=_setup_context)


def _gather(hidden: Tensor, labels: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    return hidden.index_select(0, valid), labels.index_select(0, valid).long()


def _spread(values: Tensor, valid: Tensor, tokens: int) -> Tensor:
    """(..., n) -> (..., tokens), 0 where ignored."""
    return values.new_zeros(*values.shape[:-1], tokens).index_copy(-1, valid, values)


def _outputs(
    gradients: Gradients,
    want: Wanted,
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    valid: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients in the shapes and dtypes of the inputs; none of them shares memory with another."""
    dx, dw, db = (hidden.new_empty(0) for _ in range(3))
    if want.x and gradients.x is not None:
        dx = hidden.new_zeros(hidden.shape).index_copy_(0, valid, gradients.x.to(hidden.dtype))
    if want.weight and gradients.weight is not None:
        dw = gradients.weight.to(weight.dtype)
    if want.bias and gradients.bias is not None and bias is not None:
        db = gradients.bias.to(bias.dtype)
    return dx, dw, db
