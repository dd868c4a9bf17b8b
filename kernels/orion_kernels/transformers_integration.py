"""Packed attention and the loss for models of the transformers library.

Provides an attention implementation named "orion_packed" and a causal language-model loss, for a
model that is plain or wrapped by peft. Uses transformers' AttentionInterface and
AttentionMaskInterface and torch's forward hooks; no class or module is patched.
"""

from __future__ import annotations

import inspect
from typing import Any

from torch import Tensor, nn

from orion_kernels.cross_entropy.api import linear_cross_entropy
from orion_kernels.packing import Packing
from orion_kernels.reference import TokenMetrics
from orion_kernels.transformers_attention import (
    ATTENTION_NAME,
    packed_attention_forward,
    register_attention,
)
from orion_kernels.transformers_head import check_head, find_head, read_config

__all__ = ["ATTENTION_NAME", "causal_lm_loss", "packed_attention_forward", "register_attention"]

# layers that packed attention isolates; state spaces, convolutions and the like carry a state from
# one document into the next
LAYER_TYPES = {"full_attention", "sliding_attention"}
# factors of the router's auxiliary loss, by the names of the models
ROUTER_LOSS_FACTORS = ("router_aux_loss_coef", "aux_loss_coef")


def causal_lm_loss(
    model: nn.Module,
    input_ids: Tensor,
    position_ids: Tensor | None,
    labels: Tensor,
    packing: Packing | None,
    *,
    normalizer: float | Tensor | None = None,
    token_weights: Tensor | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    impl: str | None = None,
    memory: str = "auto",
    attention_impl: str | None = None,
    valid_index: Tensor | None = None,
    **model_kwargs: Any,
) -> tuple[Tensor, TokenMetrics]:
    """Next-token loss of a causal language model without its logits.

    The model itself is called, so that its wrappers (autocast, DistributedDataParallel,
    checkpointing) take part, but it computes the logits of one position only. The last hidden
    states of its backbone and the weight of its head go to `linear_cross_entropy`. A frozen head
    costs no weight gradient; a tied head adds its gradient to the embedding's.

    Args:
        model: a transformers causal language model, or one wrapped by peft (adapters inside the
            backbone) or DistributedDataParallel.
        input_ids, position_ids, labels: (batch, length), with a packing of batch * length tokens.
            Labels are aligned with input_ids and shifted here, never across documents; ignore_index
            marks tokens that are not trained.
        packing: the documents; the model's attention must be "orion_packed". None for ordinary
            padded or single-document rows, where each row is one document (pass attention_mask
            among model_kwargs if there is padding).
        normalizer: the divisor of the summed loss, e.g. the Trainer's num_items_in_batch; default
            the number of targets.
        token_weights: (batch, length) factor of the loss of predicting each token, aligned with
            labels (shifted with them).
        ignore_index, label_smoothing, z_loss, impl, memory: as in `linear_cross_entropy`.
        attention_impl: the impl of `packed_attention`, with packing only.
        valid_index: (n,) int64, the positions in packing.shifted_labels(labels) that are trained. A
            collator, whose labels are on the host, computes them as
            .ne(ignore_index).nonzero().squeeze(1); then nothing here waits for the device.
        model_kwargs: passed on to the model.

    Returns (loss, metrics); metrics of shape (batch * length,), aligned with the position that
    predicts. A router's auxiliary loss is added as the model adds it: whole, whatever the
    normalizer, where config.output_router_logits asks for it. The metrics do not contain it.

    Raises ValueError if the model's attention, layers, head or loss cannot be reproduced. The
    head's rule (factor, softcap) is read from the configuration, and in the first call with a model
    its logits are compared with those that the model computed; that call waits for the device.

    """
    language_model = _unwrap_language_model(model)
    if packing is not None:
        _check_packable(language_model)
        model_kwargs["packing"] = packing
        if attention_impl is not None:
            model_kwargs["attention_impl"] = attention_impl
    head = find_head(language_model)
    documents = packing
    if documents is None:
        documents = Packing.from_seq_lengths(
            [labels.shape[-1]] * labels.shape[0], device=labels.device
        )
    targets = documents.shifted_labels(labels, ignore_index)
    if token_weights is not None:
        token_weights = documents.shifted_labels(token_weights, 0)

    hidden, output = _run_model(
        model, language_model, input_ids=input_ids, position_ids=position_ids, **model_kwargs
    )
    if hidden.shape[:-1] != labels.shape:
        raise ValueError(
            f"the model returned hidden states of shape {tuple(hidden.shape)} "
            f"for labels {tuple(labels.shape)}"
        )
    check_head(language_model, head, hidden, output.logits)
    loss, metrics = linear_cross_entropy(
        head.scale_hidden(hidden.flatten(0, 1)),
        head.weight,
        targets,
        bias=head.scaled_bias(),
        ignore_index=ignore_index,
        token_weights=token_weights,
        normalizer=normalizer,
        label_smoothing=label_smoothing,
        softcap=head.softcap,
        z_loss=z_loss,
        return_metrics=True,
        impl=impl,
        memory=memory,
        valid_index=valid_index,
    )
    extra = _auxiliary_loss(language_model, output)
    if extra is not None and loss.requires_grad and not extra.requires_grad:
        raise ValueError(
            f"the router's auxiliary loss of {type(language_model).__name__} carries no gradient; "
            'checkpoint with gradient_checkpointing_kwargs={"use_reentrant": False}, '
            "or set config.output_router_logits = False"
        )
    return (loss if extra is None else loss + extra.to(loss.device)), metrics


def _unwrap_language_model(model: nn.Module) -> Any:
    inner: Any = model.module if isinstance(model, nn.parallel.DistributedDataParallel) else model
    inner = getattr(inner, "_orig_mod", inner)
    if hasattr(inner, "get_base_model"):
        inner = inner.get_base_model()
    if "logits_to_keep" not in inspect.signature(inner.forward).parameters:
        name = type(inner).__name__
        raise ValueError(
            f"{name}.forward has no logits_to_keep; "
            "a causal language model of transformers is needed"
        )
    return inner


def _check_packable(language_model: Any) -> None:
    attention = language_model.config._attn_implementation
    if attention != ATTENTION_NAME:
        raise ValueError(
            f'with packing the attention must be "{ATTENTION_NAME}", '
            f'but is "{attention}", which ignores it; '
            f'call register_attention() and model.set_attn_implementation("{ATTENTION_NAME}")'
        )
    others = sorted(set(read_config(language_model, "layer_types") or ()) - LAYER_TYPES)
    if others:
        raise ValueError(
            f"{type(language_model).__name__} has layers of type {', '.join(others)}, "
            "which would carry one document of a packed row into the next; train it without packing"
        )


def _run_model(model: nn.Module, language_model: Any, **inputs: Any) -> tuple[Tensor, Any]:
    """The last hidden states (batch, length, hidden_size) and the model's output."""
    seen: list[Tensor] = []
    handle = language_model.base_model.register_forward_hook(
        lambda _module, _args, output: seen.append(output[0])
    )
    try:
        output = model(**inputs, use_cache=False, logits_to_keep=1)
    finally:
        handle.remove()
    name = type(language_model).__name__
    if len(seen) != 1:
        raise ValueError(
            f"the backbone of {name} ran {len(seen)} times in one forward; expected once"
        )
    if not hasattr(output, "logits"):
        raise ValueError(f"{name} returned a tuple without names; set config.return_dict = True")
    return seen[0], output


def _auxiliary_loss(language_model: Any, output: Any) -> Tensor | None:
    """What the model itself adds to its loss: the router's loss times its factor."""
    name = type(language_model).__name__
    for key in output:
        if key.endswith("loss") and key not in ("loss", "aux_loss") and output[key] is not None:
            raise ValueError(f"{name} has a loss of its own, {key}, which is not reproduced here")
    loss = getattr(output, "aux_loss", None)
    if not isinstance(loss, Tensor):
        return None
    for key in ROUTER_LOSS_FACTORS:
        factor = getattr(language_model, key, None)
        factor = read_config(language_model, key) if factor is None else factor
        if factor is not None:
            return loss * factor
    raise ValueError(
        f"{name} returns an auxiliary loss of its router, but has no factor for it "
        f"({' or '.join(ROUTER_LOSS_FACTORS)})"
    )
