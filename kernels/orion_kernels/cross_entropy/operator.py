"""linear_cross_entropy as one operator that torch.compile does not trace into.

Runs the torch or the Triton implementation. Inputs and outputs are tensors over all tokens, so that
their shapes never depend on the labels; ignored rows are dropped inside. The annotations here are
the operators' schemas, so they are not postponed.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from orion_kernels.cross_entropy.torch_chunked import (
    Gradients,
    NeedsGrad,
    chunked_forward_backward,
)
from orion_kernels.cross_entropy.validation import replace_bad_targets
from orion_kernels.precision import accumulation_dtype
from orion_kernels.reference import LossOptions


def find_valid_rows(labels: Tensor, ignore_index: int, valid_index: Tensor | None) -> Tensor:
    """Positions (n,) of the labels that are not ignored.

    Waits for the device unless they are given.
    """
    return labels.ne(ignore_index).nonzero().squeeze(1) if valid_index is None else valid_index


def compute_row_factors(
    labels: Tensor,
    token_weights: Tensor | None,
    normalizer: Tensor | None,
    valid: Tensor,
    mean: bool,
    dtype: torch.dtype,
) -> Tensor:
    """(n,) factor of every valid token in the result.

    For a mean it is divided by the normalizer or, without one, by the number of valid tokens.
    """
    if token_weights is None:
        factors = torch.ones(valid.shape[0], dtype=dtype, device=labels.device)
    else:
        factors = token_weights.index_select(0, valid).to(dtype)
    if not mean:
        return factors
    if normalizer is None:
        return factors / valid.shape[0]
    # a normalizer on the host divides as a number: copying it to the device would wait for the
    # device
    return factors / (
        normalizer if normalizer.device.type == "cpu" else normalizer.to(labels.device)
    ).to(dtype)


def _has_deferred_gradients(
    dtype: torch.dtype, reduction: str, smoothing: float, impl: str, memory: str
) -> bool:
    """Whether gradients are computed in backward instead of forward.

    The torch implementation defers them for reduction="none", whose upstream gradients are not
    known in forward. The Triton implementation reads `memory` here. "fast" (and "auto") computes
    the gradients in forward: three matrix products, and a buffer of up to 2048 rows of
    exponentials. "lean" computes only the logsumexp in forward and the logits again in backward:
    four products, no such buffer and no float32 gradient of the weight. It is always lean where the
    fast way has no formula: for reduction="none", for label smoothing (which is no factor of a row
    of exponentials) and for float16 (whose range is too small for them).
    """
    if impl == "torch":
        return reduction == "none"
    return memory == "lean" or reduction == "none" or smoothing > 0 or dtype == torch.float16


def _loss_options(label_smoothing: float, softcap: float, z_loss: float) -> LossOptions:
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
    needs_grad: Sequence[bool],
    impl: str,
    memory: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """(loss, logprob, entropy, accuracy, saved, dx, dw, db) of a call.

    hidden is (tokens, hidden), weight (vocab, hidden), bias (vocab,), labels (tokens,). A softcap
    of 0 means none. loss is () or, for reduction="none", (tokens,). saved (3, tokens) is for a
    deferred backward in Triton. Outputs that are not needed are empty.
    """
    dtype, tokens = accumulation_dtype(hidden), labels.shape[0]
    valid = find_valid_rows(labels, ignore_index, valid_index)
    x, targets, bad = _gather_valid(hidden, labels, valid, weight.shape[0])
    factors = compute_row_factors(
        labels, token_weights, normalizer, valid, reduction == "mean", dtype
    ).masked_fill(bad, float("nan"))
    options = _loss_options(label_smoothing, softcap, z_loss)
    deferred = _has_deferred_gradients(hidden.dtype, reduction, label_smoothing, impl, memory)
    needed_now = NeedsGrad(False, False, False) if deferred else NeedsGrad(*needs_grad)
    row_weights = None if reduction == "none" else factors
    with torch.autocast(hidden.device.type, enabled=False), torch.cuda.device_of(hidden):
        if impl == "triton":
            from orion_kernels.cross_entropy import triton_chunked

            losses, saved, gradients = triton_chunked.forward(
                x, weight, bias, targets, row_weights, options, needed_now, metrics
            )
        else:
            losses, gradients = chunked_forward_backward(
                x, weight, bias, targets, row_weights, options, needed_now, metrics
            )
            saved = None
    loss = (
        losses.loss
        if reduction != "none"
        else _scatter_to_tokens(losses.loss * factors, valid, tokens)
    )
    rows = [
        _scatter_to_tokens(v.to(dtype).masked_fill(bad, float("nan")), valid, tokens)
        if v is not None
        else factors.new_empty(0)
        for v in losses[1:]
    ]
    saved = (
        _scatter_to_tokens(saved, valid, tokens)
        if saved is not None and deferred
        else factors.new_empty(3, 0)
    )
    grads = _shape_gradients(gradients, needed_now, hidden, weight, bias, valid)
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
    needs_grad,
    impl,
    memory,
):
    dtype = accumulation_dtype(hidden)
    tokens = labels.shape[0]
    loss = hidden.new_empty(tokens if reduction == "none" else (), dtype=dtype)
    rows = [hidden.new_empty(tokens if metrics else 0, dtype=dtype) for _ in range(3)]
    deferred = _has_deferred_gradients(hidden.dtype, reduction, label_smoothing, impl, memory)
    grads = [
        hidden.new_empty(t.shape if needed and not deferred else 0)
        for t, needed in zip((hidden, weight, bias), needs_grad, strict=True)
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
    needs_grad: Sequence[bool],
    impl: str,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients (dx, dw, db) of the loss for upstream () or (tokens,), from saved (3, tokens).

    Gradients that are not needed are empty.
    """
    valid = find_valid_rows(labels, ignore_index, valid_index)
    x, targets, bad = _gather_valid(hidden, labels, valid, weight.shape[0])
    dtype = accumulation_dtype(hidden)
    factors = compute_row_factors(
        labels, token_weights, normalizer, valid, reduction == "mean", dtype
    ).masked_fill(bad, float("nan"))
    factors = factors * (upstream.index_select(0, valid) if reduction == "none" else upstream)
    options, needed = _loss_options(label_smoothing, softcap, z_loss), NeedsGrad(*needs_grad)
    with torch.autocast(hidden.device.type, enabled=False), torch.cuda.device_of(hidden):
        if impl == "triton":
            from orion_kernels.cross_entropy import triton_chunked

            saved = saved.index_select(1, valid)
            gradients = triton_chunked.backward(
                x, weight, bias, targets, factors, saved, options, needed
            )
        else:
            _, gradients = chunked_forward_backward(
                x, weight, bias, targets, factors, options, needed, False
            )
    return _shape_gradients(gradients, needed, hidden, weight, bias, valid)


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
    needs_grad,
    impl,
):
    return tuple(
        hidden.new_empty(t.shape if needed else 0)
        for t, needed in zip((hidden, weight, bias), needs_grad, strict=True)
    )


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    hidden, weight, bias, labels, token_weights, normalizer, valid_index, *rest = inputs
    ignore_index, reduction, smoothing, softcap, z_loss, _, needs_grad, impl, memory = rest
    ctx.needs_grad = list(needs_grad)
    ctx.is_deferred = _has_deferred_gradients(hidden.dtype, reduction, smoothing, impl, memory)
    ctx.options = (ignore_index, reduction, smoothing, softcap, z_loss)
    ctx.impl = impl
    if ctx.is_deferred:
        ctx.save_for_backward(
            output[4], hidden, weight, bias, labels, token_weights, normalizer, valid_index
        )
    else:
        ctx.save_for_backward(*output[5:])
    ctx.mark_non_differentiable(*output[1:])


def _backward(ctx: Any, grad_loss: Tensor, *_unused: Tensor | None) -> tuple[Tensor | None, ...]:
    if torch.is_grad_enabled():
        # create_graph=True: torch's once_differentiable would silently drop this term of the second
        # derivative if another term carries a graph
        raise RuntimeError('linear_cross_entropy is not twice differentiable; impl="reference" is')
    if ctx.is_deferred:
        gradients = gradient_operator(
            grad_loss, *ctx.saved_tensors, *ctx.options, ctx.needs_grad, ctx.impl
        )
    else:
        # a product, not an update in place: backward may run again over the same graph
        gradients = [
            (g * grad_loss).to(g.dtype) if needed else g
            for g, needed in zip(ctx.saved_tensors, ctx.needs_grad, strict=True)
        ]
    found = [g if needed else None for g, needed in zip(gradients, ctx.needs_grad, strict=True)]
    return (*found, *[None] * 13)


loss_operator.register_autograd(_backward, setup_context=_setup_context)


def _gather_valid(
    hidden: Tensor, labels: Tensor, valid: Tensor, vocab: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Rows and targets of the valid tokens, and where a target was outside the vocabulary."""
    targets, bad = replace_bad_targets(labels.index_select(0, valid).long(), vocab)
    return hidden.index_select(0, valid), targets, bad


def _scatter_to_tokens(values: Tensor, valid: Tensor, tokens: int) -> Tensor:
    """(..., n) -> (..., tokens), 0 where ignored."""
    return values.new_zeros(*values.shape[:-1], tokens).index_copy(-1, valid, values)


def _shape_gradients(
    gradients: Gradients,
    needed: NeedsGrad,
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    valid: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients in the shapes and dtypes of the inputs; no two share memory."""
    dx, dw, db = (hidden.new_empty(0) for _ in range(3))
    if needed.x and gradients.x is not None:
        dx = hidden.new_zeros(hidden.shape).index_copy_(0, valid, gradients.x.to(hidden.dtype))
    if needed.weight and gradients.weight is not None:
        dw = gradients.weight.to(weight.dtype)
    if needed.bias and gradients.bias is not None and bias is not None:
        db = gradients.bias.to(bias.dtype)
    return dx, dw, db
