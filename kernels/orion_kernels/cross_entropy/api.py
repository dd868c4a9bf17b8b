"""`linear_cross_entropy`: validate the inputs and choose an implementation."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from orion_kernels import dispatch, reference
from orion_kernels.cross_entropy import torch_chunked
from orion_kernels.cross_entropy.operator import loss_operator
from orion_kernels.cross_entropy.validation import (
    check_label_range,
    check_options,
    check_tensors,
    check_valid_index,
    replace_bad_targets,
)
from orion_kernels.precision import (
    accumulation_dtype,
    cast_to_autocast_dtype,
    rounds_products,
)
from orion_kernels.reference import LossOptions, TokenLosses, TokenMetrics

_IMPLEMENTATIONS = {
    "reference": reference.linear_cross_entropy,
    "torch": torch_chunked.linear_cross_entropy,
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
    """Cross-entropy of softmax(hidden @ weight.T + bias) against labels.

    The softmax is taken in float32 for any dtype of the inputs. So are the sums of the products,
    but for one case: under torch.autocast to bfloat16 on a CPU that has instructions for it,
    impl="torch" rounds the logits and the products of the gradients to bfloat16, as autocast rounds
    those of the model's own head.

    Args:
        hidden: (..., hidden_size) floating point. Rows with an ignored label are dropped before the
            product: they cost nothing, may hold anything (NaN too) and get a gradient of exactly
            zero.
        weight: (vocab, hidden_size), dtype and device of hidden (under autocast any floating dtype:
            both are cast).
        labels: (...) int32 or int64 in [0, vocab), or ignore_index. Not shifted here. A label out
            of range is an error on CPU and an assertion of the device elsewhere, for which nothing
            waits; its row is NaN. With the environment variable ORION_KERNELS_DEBUG the error comes
            at once on every device.
        bias: (vocab,).
        ignore_index: the label of tokens that do not count.
        reduction: "mean" (sum over valid tokens / normalizer), "sum" or "none" (the shape of
            labels, 0 where ignored).
        token_weights: (...) factor on each token's loss, a constant (gets no gradient).
        normalizer: with "mean" only, the divisor as a positive number or a one-element tensor
            (num_items_in_batch under gradient accumulation); default the number of valid tokens,
            independent of their weights.
        label_smoothing: in [0, 1), as in torch.nn.functional.cross_entropy.
        softcap: logits become softcap * tanh(logits / softcap); positive.
        z_loss: adds z_loss * logsumexp(logits) ** 2; not negative.
        return_metrics: also return `TokenMetrics`, detached, of the logits after softcap.
        impl: "triton" (float16, bfloat16 and float32; the default on GPUs in
            `dispatch.PROVEN_CAPABILITIES`, which is empty), "torch" (the default otherwise: chunks
            of rows, gradients computed in forward) or "reference" (plain autograd, all logits).
        memory: for impl="triton" only, the other implementations ignore it. "fast" ("auto" is the
            same) computes the gradients in forward with three matrix products; beside the results
            it holds a chunk of 2048 rows of exponentials and a float32 gradient of weight. "lean"
            computes the logits again in backward, four products, and holds neither of these.
            reduction="none", label_smoothing and float16 are always lean.
        valid_index: (n,) int64, the positions in labels.reshape(-1) of the labels that are not
            ignored, each once, on the device of labels. A collator knows them; with them nothing
            waits for the device. Checked where labels are checked.

    Returns the loss in float32 (float64 for float64 inputs), or (loss, TokenMetrics). With every
    label ignored the loss is 0, is connected to its inputs, and their gradients are 0.

    Raises ValueError for shapes, dtypes, devices, ranges or an impl that do not fit; RuntimeError
    from a backward with create_graph=True unless impl="reference".

    """
    hidden, weight = cast_to_autocast_dtype(hidden, weight)
    if bias is not None:
        (bias,) = cast_to_autocast_dtype(bias)
    check_tensors(hidden, weight, labels, bias, token_weights)
    check_valid_index(valid_index, hidden)
    check_options(reduction, normalizer, label_smoothing, softcap, z_loss)
    name = _choose_implementation(impl, memory, hidden)
    if not torch.compiler.is_compiling():
        check_label_range(labels, ignore_index, weight.shape[0], valid_index)
    inputs = _CheckedInputs(
        hidden=hidden.reshape(-1, hidden.shape[-1]),
        weight=weight,
        bias=bias,
        labels=labels,
        ignore_index=ignore_index,
        valid_index=valid_index,
        reduction=reduction,
        token_weights=None if token_weights is None else token_weights.detach().reshape(-1),
        normalizer=normalizer,
        options=LossOptions(label_smoothing, softcap, z_loss, rounds_products(hidden)),
        metrics=return_metrics,
    )
    if name == "triton" or (name == "torch" and torch.compiler.is_compiling()):
        return _run_operator(inputs, name, memory)
    return _run_autograd(inputs, name)


@dataclass(frozen=True)
class _CheckedInputs:
    """The validated inputs of one call, with rows laid end to end."""

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

    def find_valid(self) -> Tensor:
        """(n,) positions of the labels that are not ignored; waits unless they were given."""
        if self.valid_index is not None:
            return self.valid_index
        return self.labels.reshape(-1).ne(self.ignore_index).nonzero().squeeze(1)


def _run_operator(
    inputs: _CheckedInputs, name: str, memory: str
) -> Tensor | tuple[Tensor, TokenMetrics]:
    """Run one operator, in which everything depends on the valid labels.

    Compiled code therefore never depends on their number.
    """
    hidden, labels, normalizer, options = (
        inputs.hidden,
        inputs.labels,
        inputs.normalizer,
        inputs.options,
    )
    # found once, for forward and backward
    valid_index = inputs.valid_index if torch.compiler.is_compiling() else inputs.find_valid()
    if normalizer is not None and not isinstance(normalizer, Tensor):
        normalizer = torch.full(
            (), float(normalizer), dtype=accumulation_dtype(hidden), device=hidden.device
        )
    grad = torch.is_grad_enabled()
    needs_grad = [
        t is not None and t.requires_grad and grad for t in (hidden, inputs.weight, inputs.bias)
    ]
    loss, logprob, entropy, accuracy, *_ = loss_operator(
        hidden,
        inputs.weight,
        inputs.bias,
        labels.reshape(-1),
        inputs.token_weights,
        None if normalizer is None else normalizer.detach().reshape(()),
        valid_index,
        inputs.ignore_index,
        inputs.reduction,
        options.label_smoothing,
        options.softcap or 0.0,
        options.z_loss,
        inputs.metrics,
        needs_grad,
        name,
        memory,
    )
    loss = loss.view(labels.shape) if inputs.reduction == "none" else loss
    if not inputs.metrics:
        return loss
    shaped = [t.detach().view(labels.shape) for t in (logprob, entropy, accuracy)]
    return loss, TokenMetrics(shaped[0], shaped[1], shaped[2], labels.ne(inputs.ignore_index))


def _run_autograd(inputs: _CheckedInputs, name: str) -> Tensor | tuple[Tensor, TokenMetrics]:
    dtype = accumulation_dtype(inputs.hidden)
    rows, valid, weights = inputs.hidden, inputs.find_valid(), inputs.token_weights
    if inputs.valid_index is not None or valid.numel() < rows.shape[0]:
        rows = rows.index_select(0, valid)  # (n, hidden_size)
    targets, bad = replace_bad_targets(
        inputs.labels.reshape(-1).index_select(0, valid).long(), inputs.weight.shape[0]
    )
    if weights is None:
        row_weights = rows.new_ones(rows.shape[0], dtype=dtype)
    else:
        row_weights = weights.index_select(0, valid).to(dtype)
    if inputs.reduction == "mean":
        row_weights = row_weights / _mean_divisor(inputs.normalizer, valid, dtype)
    row_weights = row_weights.masked_fill(bad, float("nan"))
    given = None if inputs.reduction == "none" else row_weights
    with torch.autocast(rows.device.type, enabled=False):
        result = _IMPLEMENTATIONS[name](
            rows, inputs.weight, inputs.bias, targets, given, inputs.options, inputs.metrics
        )
    loss = result.loss
    if inputs.reduction == "none":
        loss = _scatter_to_labels(loss * row_weights, valid, inputs.labels)
    if not inputs.metrics:
        return loss
    marked = [None if t is None else t.masked_fill(bad, float("nan")) for t in result[1:]]
    result = TokenLosses(loss, *marked)
    return loss, _build_metrics(result, valid, inputs.labels, inputs.ignore_index)


def _choose_implementation(impl: str | None, memory: str, hidden: Tensor) -> str:
    """The implementation to run; ValueError if the requested one cannot."""
    names = sorted([*_IMPLEMENTATIONS, "triton"])
    if impl is not None and impl not in names:
        raise ValueError(f"impl must be None or one of {names}, but is {impl!r}")
    if memory not in ("auto", "fast", "lean"):
        raise ValueError(f"memory must be 'auto', 'fast' or 'lean', but is {memory!r}")
    if impl is None:
        fits = hidden.dtype in _TRITON_DTYPES and dispatch.uses_triton_by_default(
            hidden, "linear_cross_entropy"
        )
        return "triton" if fits else "torch"
    if impl == "triton":
        dispatch.require_triton()
        from orion_kernels.cross_entropy.triton_configs import is_interpreted

        if hidden.device.type != "cuda" and not is_interpreted():
            raise ValueError(f'impl="triton" needs CUDA tensors, but hidden is on {hidden.device}')
        if hidden.dtype not in _TRITON_DTYPES and not is_interpreted():
            raise ValueError(
                'impl="triton" computes float16, bfloat16 and float32, '
                f"but hidden is {hidden.dtype}"
            )
    return impl


def _mean_divisor(
    normalizer: float | Tensor | None, valid: Tensor, dtype: torch.dtype
) -> float | Tensor:
    if normalizer is None:
        return valid.numel()
    if isinstance(normalizer, Tensor):
        return normalizer.detach().reshape(()).to(valid.device, dtype)
    return float(normalizer)


def _scatter_to_labels(values: Tensor, valid: Tensor, labels: Tensor) -> Tensor:
    return values.new_zeros(labels.numel()).index_copy(0, valid, values).view(labels.shape)


def _build_metrics(
    result: TokenLosses, valid: Tensor, labels: Tensor, ignore_index: int
) -> TokenMetrics:
    assert result.logprob is not None and result.entropy is not None and result.accuracy is not None
    return TokenMetrics(
        logprob=_scatter_to_labels(result.logprob, valid, labels),
        entropy=_scatter_to_labels(result.entropy, valid, labels),
        accuracy=_scatter_to_labels(result.accuracy, valid, labels),
        valid=labels.ne(ignore_index),
    )
