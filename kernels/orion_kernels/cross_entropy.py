"""Cross-entropy of a linear head without its logits in memory: `linear_cross_entropy`.

Inputs: hidden states, the head's weight, labels. Outputs: the loss, differentiable, and per-token metrics. Nothing to run.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch
from torch import Tensor

from orion_kernels import chunked, dispatch, reference
from orion_kernels.cross_entropy_op import loss_operator
from orion_kernels.precision import accumulation_dtype, under_autocast
from orion_kernels.reference import LossOptions, TokenLosses, TokenMetrics

_IMPLEMENTATIONS = {
    "reference": reference.linear_cross_entropy,
    "torch": chunked.linear_cross_entropy,
}
_TRITON_DTYPES = (torch.float16, torch.bfloat16, torch.float32)


def linear_cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    labels: Tensor,
    *,
    bias: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    token_weights: Tensor | None = None,
    normalizer: float | Tensor | None = None,
    label_smoothing: float = 0.0,
    softcap: float | None = None,
    z_loss: float = 0.0,
    return_metrics: bool = False,
    impl: str | None = None,
    memory: str = "auto",
    valid_index: Tensor | None = None,
) -> Tensor | tuple[Tensor, TokenMetrics]:
    """Cross-entropy of softmax(hidden @ weight.T + bias) against labels; the softmax is taken in float32 whatever the inputs.

    Args:
        hidden: (..., hidden_size) floating point. Rows whose label is ignored are dropped before the product: they cost nothing,
            may hold anything (NaN too) and get an exactly zero gradient.
        weight: (vocab, hidden_size), dtype and device of hidden (under autocast any floating dtype: both are cast).
        labels: (...) int32 or int64 in [0, vocab), or ignore_index. Not shifted here. Checked on CPU always, on other devices
            only where the environment variable ORION_KERNELS_DEBUG is set, because the check waits for the device.
        bias: (vocab,).
        reduction: "mean" (sum over valid tokens / normalizer), "sum" or "none" (the shape of labels, 0 where ignored).
        token_weights: (...) factor on each token's loss, a constant (gets no gradient).
        normalizer: with "mean" only, the divisor as a positive number or a one-element tensor (num_items_in_batch under gradient
            accumulation); default the number of valid tokens, whatever their weights.
        label_smoothing: in [0, 1), as in torch.nn.functional.cross_entropy.
        softcap: logits become softcap * tanh(logits / softcap); positive.
        z_loss: adds z_loss * logsumexp(logits) ** 2; not negative.
        return_metrics: also return `TokenMetrics`, detached, of the logits after softcap.
        impl: "triton" (the default on GPUs in `dispatch.PROVEN`, none yet, not for float64), "torch" (the default elsewhere:
            chunks of rows, gradients computed in forward) or "reference" (plain autograd, all logits).
        memory: for impl="triton", "fast" ("auto" is the same: three products; a chunk of 2048 rows of powers and a float32
            gradient of weight beside the results) or "lean" (four products; neither of these). reduction="none", label_smoothing
            and float16 take the lean way always. The other implementations accept and ignore it.
        valid_index: (n,) int64, the positions in labels.reshape(-1) of the labels that are not ignored, each once, on the device
            of labels. A collator knows them; with them nothing waits for the device. Checked where labels are.

    Returns the loss in float32 (float64 for float64 inputs), or (loss, TokenMetrics). With every label ignored the loss is 0, is
    connected to its inputs, and their gradients are 0.
    Raises ValueError for shapes, dtypes, devices, ranges or an impl that do not fit; RuntimeError from a backward with
    create_graph=True unless impl="reference".

    """
    hidden, weight = under_autocast(hidden, weight)
    if bias is not None:
        (bias,) = under_autocast(bias)
    _check_tensors(hidden, weight, labels, bias, token_weights)
    if valid_index is not None and (valid_index.ndim != 1 or valid_index.dtype != torch.int64):
        raise ValueError(
            f"valid_index must be 1-D int64, but is {valid_index.dtype}, {tuple(valid_index.shape)}"
        )
    if valid_index is not None and valid_index.device != hidden.device:
        raise ValueError(
            f"valid_index must be on the device of hidden, {hidden.device}, but is on {valid_index.device}"
        )
    _check_options(reduction, normalizer, label_smoothing, softcap, z_loss)
    name = _choose(impl, memory, hidden)
    if not torch.compiler.is_compiling():
        _check_range(labels, ignore_index, weight.shape[0], valid_index)
    call = _Call(
        hidden=hidden.reshape(-1, hidden.shape[-1]),
        weight=weight,
        bias=bias,
        labels=labels,
        ignore_index=ignore_index,
        valid_index=valid_index,
        reduction=reduction,
        token_weights=None if token_weights is None else token_weights.detach().reshape(-1),
        normalizer=normalizer,
        options=LossOptions(label_smoothing, softcap, z_loss),
        metrics=return_metrics,
    )
    if name == "triton" or (name == "torch" and torch.compiler.is_compiling()):
        return _through_operator(call, name, memory)
    return _through_autograd(call, name)


@dataclass(frozen=True)
class _Call:
    """A checked call, rows laid end to end."""

    hidden: Tensor  # (tokens, hidden)
    weight: Tensor  # (vocab, hidden)
    bias: Tensor | None  # (vocab,)
    labels: Tensor  # (...) of tokens elements
    ignore_index: int
    valid_index: Tensor | None  # (n,)
    reduction: str
    token_weights: Tensor | None  # (tokens,)
    normalizer: float | Tensor | None
    options: LossOptions
    metrics: bool

    def valid(self) -> Tensor:
        """(n,) positions of the labels that count; waits for the device unless they were given."""
        if self.valid_index is not None:
            return self.valid_index
        return self.labels.reshape(-1).ne(self.ignore_index).nonzero().squeeze(1)


def _through_operator(call: _Call, name: str, memory: str) -> Tensor | tuple[Tensor, TokenMetrics]:
    """One operator for everything that depends on which labels are valid: compiled code never sees their number."""
    hidden, labels, normalizer, options = call.hidden, call.labels, call.normalizer, call.options
    # found once, for forward and backward
    valid_index = call.valid_index if torch.compiler.is_compiling() else call.valid()
    if normalizer is not None and not isinstance(normalizer, Tensor):
        normalizer = torch.full(
            (), float(normalizer), dtype=accumulation_dtype(hidden), device=hidden.device
        )
    grad = torch.is_grad_enabled()
    wanted = [t is not None and t.requires_grad and grad for t in (hidden, call.weight, call.bias)]
    loss, logprob, entropy, accuracy, *_ = loss_operator(
        hidden,
        call.weight,
        call.bias,
        labels.reshape(-1),
        call.token_weights,
        None if normalizer is None else normalizer.detach().reshape(()),
        valid_index,
        call.ignore_index,
        call.reduction,
        options.label_smoothing,
        options.softcap or 0.0,
        options.z_loss,
        call.metrics,
        wanted,
        name,
        memory,
    )
    loss = loss.view(labels.shape) if call.reduction == "none" else loss
    if not call.metrics:
        return loss
    shaped = [t.detach().view(labels.shape) for t in (logprob, entropy, accuracy)]
    return loss, TokenMetrics(shaped[0], shaped[1], shaped[2], labels.ne(call.ignore_index))


def _through_autograd(call: _Call, name: str) -> Tensor | tuple[Tensor, TokenMetrics]:
    dtype, rows, valid, weights = (
        accumulation_dtype(call.hidden),
        call.hidden,
        call.valid(),
        call.token_weights,
    )
    if call.valid_index is not None or valid.numel() < rows.shape[0]:
        rows = rows.index_select(0, valid)  # (n, hidden_size)
    row_weights = weights.index_select(0, valid).to(dtype) if weights is not None else None
    if call.reduction != "none":
        row_weights = (
            rows.new_ones(rows.shape[0], dtype=dtype) if row_weights is None else row_weights
        )
        if call.reduction == "mean":
            row_weights = row_weights / _divisor(call.normalizer, valid, dtype)
    targets = call.labels.reshape(-1).index_select(0, valid).long()
    given = None if call.reduction == "none" else row_weights
    with torch.autocast(rows.device.type, enabled=False):
        result = _IMPLEMENTATIONS[name](
            rows, call.weight, call.bias, targets, given, call.options, call.metrics
        )
    loss = result.loss
    if call.reduction == "none":
        loss = _scatter(loss if row_weights is None else loss * row_weights, valid, call.labels)
    return (loss, _metrics(result, valid, call.labels, call.ignore_index)) if call.metrics else loss


def _choose(impl: str | None, memory: str, hidden: Tensor) -> str:
    """The implementation to run; ValueError where the one asked for cannot."""
    names = sorted([*_IMPLEMENTATIONS, "triton"])
    if impl is not None and impl not in names:
        raise ValueError(f"impl must be None or one of {names}, but is {impl!r}")
    if memory not in ("auto", "fast", "lean"):
        raise ValueError(f"memory must be 'auto', 'fast' or 'lean', but is {memory!r}")
    if impl is None:
        fits = hidden.dtype in _TRITON_DTYPES and dispatch.triton_by_default(
            hidden, "linear_cross_entropy"
        )
        return "triton" if fits else "torch"
    if impl == "triton":
        dispatch.require_triton()
        from orion_kernels import cross_entropy_configs

        if hidden.device.type != "cuda" and not cross_entropy_configs.interpreted():
            raise ValueError(f'impl="triton" needs CUDA tensors, but hidden is on {hidden.device}')
        if hidden.dtype not in _TRITON_DTYPES and not cross_entropy_configs.interpreted():
            raise ValueError(
                f'impl="triton" computes float16, bfloat16 and float32, but hidden is {hidden.dtype}'
            )
    return impl


def _divisor(
    normalizer: float | Tensor | None, valid: Tensor, dtype: torch.dtype
) -> float | Tensor:
    if normalizer is None:
        return valid.numel()
    if isinstance(normalizer, Tensor):
        return normalizer.detach().reshape(()).to(valid.device, dtype)
    return float(normalizer)


def _scatter(values: Tensor, valid: Tensor, labels: Tensor) -> Tensor:
    return values.new_zeros(labels.numel()).index_copy(0, valid, values).view(labels.shape)


def _metrics(result: TokenLosses, valid: Tensor, labels: Tensor, ignore_index: int) -> TokenMetrics:
    assert result.logprob is not None and result.entropy is not None and result.accuracy is not None
    return TokenMetrics(
        logprob=_scatter(result.logprob, valid, labels),
        entropy=_scatter(result.entropy, valid, labels),
        accuracy=_scatter(result.accuracy, valid, labels),
        valid=labels.ne(ignore_index),
    )


def _check_tensors(
    hidden: Tensor,
    weight: Tensor,
    labels: Tensor,
    bias: Tensor | None,
    token_weights: Tensor | None,
) -> None:
    if hidden.ndim < 1 or weight.ndim != 2 or hidden.shape[-1] != weight.shape[1]:
        raise ValueError(
            "hidden must be (..., hidden_size) and weight (vocab, hidden_size), "
            f"but they are {tuple(hidden.shape)} and {tuple(weight.shape)}"
        )
    if labels.shape != hidden.shape[:-1]:
        wanted = tuple(hidden.shape[:-1])
        raise ValueError(
            f"labels must have shape {wanted}, that of hidden's rows, but have {tuple(labels.shape)}"
        )
    if labels.dtype not in (torch.int32, torch.int64):
        raise ValueError(f"labels must be int32 or int64, but are {labels.dtype}")
    if weight.shape[0] < 1:
        raise ValueError("weight must have at least one vocabulary row, but has none")
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(
            f"bias must have shape {tuple(weight.shape[:1])}, but has {tuple(bias.shape)}"
        )
    if token_weights is not None and token_weights.shape != labels.shape:
        wanted = tuple(labels.shape)
        raise ValueError(
            f"token_weights must have the shape of labels {wanted}, but have {tuple(token_weights.shape)}"
        )
    given = {
        "hidden": hidden,
        "weight": weight,
        "labels": labels,
        "bias": bias,
        "token_weights": token_weights,
    }
    for name, tensor in given.items():
        if tensor is not None and tensor.device != hidden.device:
            raise ValueError(
                f"{name} must be on the device of hidden, {hidden.device}, but is on {tensor.device}"
            )
        if tensor is not None and hasattr(tensor, "full_tensor"):
            raise ValueError(f"{name} is a DTensor; pass the local, unsharded tensor instead")
    if not hidden.is_floating_point() or any(
        t is not None and t.dtype != hidden.dtype for t in (weight, bias)
    ):
        dtypes = [None if t is None else t.dtype for t in (hidden, weight, bias)]
        raise ValueError(
            f"hidden, weight and bias must share one floating dtype outside autocast, but have {dtypes}"
        )


def _check_options(
    reduction: str,
    normalizer: float | Tensor | None,
    label_smoothing: float,
    softcap: float | None,
    z_loss: float,
) -> None:
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"reduction must be 'mean', 'sum' or 'none', but is {reduction!r}")
    if normalizer is not None and reduction != "mean":
        raise ValueError(f"normalizer divides the mean only, but reduction is {reduction!r}")
    if isinstance(normalizer, Tensor):
        if normalizer.numel() != 1:
            raise ValueError(
                f"normalizer must hold one element, but has shape {tuple(normalizer.shape)}"
            )
    elif normalizer is not None and not normalizer > 0:
        raise ValueError(f"normalizer must be positive, but is {normalizer}")
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"label_smoothing must be in [0, 1), but is {label_smoothing}")
    if softcap is not None and not softcap > 0:
        raise ValueError(f"softcap must be positive or None, but is {softcap}")
    if not z_loss >= 0:
        raise ValueError(f"z_loss must not be negative, but is {z_loss}")


def _check_range(labels: Tensor, ignore_index: int, vocab: int, valid_index: Tensor | None) -> None:
    if labels.device.type != "cpu" and not os.environ.get("ORION_KERNELS_DEBUG"):
        return
    outside = ((labels < 0) | (labels >= vocab)) & (labels != ignore_index)
    if outside.any():
        raise ValueError(
            f"labels must be in [0, {vocab}) or {ignore_index} (ignored), but one is {int(labels[outside][0])}"
        )
    if valid_index is not None:
        expected = labels.reshape(-1).ne(ignore_index).nonzero().squeeze(1)
        if not torch.equal(valid_index.sort().values, expected):
            raise ValueError(
                "valid_index must hold the position of every label that is not ignored, and no other"
            )
