"""Checks of the inputs of linear_cross_entropy; each names the given and the allowed value."""

from __future__ import annotations

import os

import torch
from torch import Tensor


def check_tensors(
    hidden: Tensor,
    weight: Tensor,
    labels: Tensor,
    bias: Tensor | None,
    token_weights: Tensor | None,
) -> None:
    """Raises ValueError for shapes, dtypes or devices that do not fit together."""
    if hidden.ndim < 1 or weight.ndim != 2 or hidden.shape[-1] != weight.shape[1]:
        raise ValueError(
            "hidden must be (..., hidden_size) and weight (vocab, hidden_size), "
            f"but they are {tuple(hidden.shape)} and {tuple(weight.shape)}"
        )
    if labels.shape != hidden.shape[:-1]:
        expected = tuple(hidden.shape[:-1])
        raise ValueError(
            f"labels must have shape {expected}, that of hidden's rows, "
            f"but have {tuple(labels.shape)}"
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
        expected = tuple(labels.shape)
        raise ValueError(
            f"token_weights must have the shape of labels {expected}, "
            f"but have {tuple(token_weights.shape)}"
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
                f"{name} must be on the device of hidden, {hidden.device}, "
                f"but is on {tensor.device}"
            )
        if tensor is not None and hasattr(tensor, "full_tensor"):
            raise ValueError(f"{name} is a DTensor; pass the local, unsharded tensor instead")
    if not hidden.is_floating_point() or any(
        t is not None and t.dtype != hidden.dtype for t in (weight, bias)
    ):
        dtypes = [None if t is None else t.dtype for t in (hidden, weight, bias)]
        raise ValueError(
            "hidden, weight and bias must share one floating dtype outside autocast, "
            f"but have {dtypes}"
        )


def check_valid_index(valid_index: Tensor | None, hidden: Tensor) -> None:
    """Raises ValueError for a dtype, shape or device that does not fit."""
    if valid_index is not None and (valid_index.ndim != 1 or valid_index.dtype != torch.int64):
        raise ValueError(
            f"valid_index must be 1-D int64, but is {valid_index.dtype}, {tuple(valid_index.shape)}"
        )
    if valid_index is not None and valid_index.device != hidden.device:
        raise ValueError(
            f"valid_index must be on the device of hidden, {hidden.device}, "
            f"but is on {valid_index.device}"
        )


def check_options(
    reduction: str,
    normalizer: float | Tensor | None,
    label_smoothing: float,
    softcap: float | None,
    z_loss: float,
) -> None:
    """Raises ValueError for an option outside its range."""
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


def replace_bad_targets(targets: Tensor, vocab: int) -> tuple[Tensor, Tensor]:
    """Targets that are safe to use as an index, and where they are not the given ones.

    Args:
        targets: (n,) labels of the tokens that count, each to be in [0, vocab).
        vocab: rows of the head.

    Returns (n,) targets with 0 in the place of those outside the range, and (n,) bool, true there;
    the loss of such a row is to be NaN. Raises ValueError on CPU (RuntimeError in code that
    torch.compile traces); a CUDA device stops with an assertion, for which nothing waits.

    """
    bad = (targets < 0) | (targets >= vocab)
    _report_bad_targets(targets, bad, vocab)
    return targets.masked_fill(bad, 0), bad


def _report_bad_targets(targets: Tensor, bad: Tensor, vocab: int) -> None:
    message = f"labels must be in [0, {vocab}) or ignored, but one is not"
    traced = torch.compiler.is_compiling()
    if targets.device.type == "cuda" or (traced and targets.device.type == "cpu"):
        torch._assert_async((~bad).all(), message)
    elif targets.device.type == "cpu" and bad.any():
        raise ValueError(f"{message}: {int(targets[bad][0])}")


def check_label_range(
    labels: Tensor, ignore_index: int, vocab: int, valid_index: Tensor | None
) -> None:
    """Raises ValueError for a label outside [0, vocab), and for a valid_index that does not fit.

    On devices other than the CPU only if ORION_KERNELS_DEBUG is set, because it waits for the
    device; `replace_bad_targets` catches the labels everywhere.
    """
    if labels.device.type != "cpu" and not os.environ.get("ORION_KERNELS_DEBUG"):
        return
    outside = ((labels < 0) | (labels >= vocab)) & (labels != ignore_index)
    if outside.any():
        raise ValueError(
            f"labels must be in [0, {vocab}) or {ignore_index} (ignored), "
            f"but one is {int(labels[outside][0])}"
        )
    if valid_index is not None:
        expected = labels.reshape(-1).ne(ignore_index).nonzero().squeeze(1)
        if not torch.equal(valid_index.sort().values, expected):
            raise ValueError(
                "valid_index must hold the position of every label that is not ignored, "
                "and no other"
            )
