"""Packed attention and the loss for models of the transformers library.

Provides an attention implementation named "orion_packed" and a causal language-model loss, for a
model that is plain or wrapped by peft. Uses transformers' AttentionInterface and
AttentionMaskInterface and torch's forward hooks; no class or module is patched.
"""

from __future__ import annotations

import inspect
from typing import Any, NamedTuple

from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface

from orion_kernels.attention.api import packed_attention
from orion_kernels.cross_entropy.api import linear_cross_entropy
from orion_kernels.packing import Packing
from orion_kernels.reference import TokenMetrics

ATTENTION_NAME = "orion_packed"


def register_attention() -> str:
    """Register attn_implementation="orion_packed" with transformers and return that name.

    Registering again changes nothing. Call a model that uses it as model(input_ids,
    position_ids=..., packing=packing), with input_ids (batch, length), batch * length =
    packing.num_tokens, rows laid end to end, and no attention_mask.
    """
    AttentionInterface.register(ATTENTION_NAME, packed_attention_forward)
    AttentionMaskInterface.register(ATTENTION_NAME, make_mask)
    return ATTENTION_NAME


# keywords that transformers passes on to every attention call and that change nothing here
HARMLESS_KEYWORDS = {
    "position_ids": "the rotation of q and k is done before the call",
    "cache_position": "there is no cache",
    "use_cache": "there is no cache",
    "cu_seq_lens_q": "the documents are those of packing",
    "cu_seq_lens_k": "the documents are those of packing",
    "max_length_q": "the documents are those of packing",
    "max_length_k": "the documents are those of packing",
    "seq_idx": "the documents are those of packing",
    "output_hidden_states": "about the model's output",
    "output_router_logits": "about the model's output",
    "return_dict": "about the model's output",
    "num_items_in_batch": "about the model's loss",
    "deterministic": "about FlashAttention's backward",
}


class WindowMask(NamedTuple):
    """What stands for a sliding-window mask between transformers and the attention function."""

    window: int


def packed_attention_forward(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: WindowMask | None,
    *,
    packing: Packing | None = None,
    attention_impl: str | None = None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    is_causal: bool | None = None,
    output_attentions: bool | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """Attention function with the signature of transformers' AttentionInterface.

    Args:
        module: the attention layer, asked only whether it is causal.
        query: (batch, q_heads, length, head_dim).
        key: (batch, kv_heads, length, head_dim).
        value: (batch, kv_heads, length, value_dim).
        attention_mask: None, or the window that `make_mask` found.
        packing: the documents of the batch's rows, laid end to end.
        attention_impl: the `impl` of `packed_attention`.
        scaling: factor on the scores.
        dropout: refused if not 0.
        sliding_window, softcap, s_aux: `window`, `softcap` and `sinks` of `packed_attention`.
        is_causal, output_attentions: refused if they would change the result.
        others: HARMLESS_KEYWORDS, or None.

    Returns ((batch, length, q_heads, value_dim), None).
    Raises ValueError without a packing, and with a mask, a key-value cache, attention dropout,
    attention in both directions, or a keyword that is not known here.

    """
    if packing is None:
        raise ValueError(
            f'attention "{ATTENTION_NAME}" needs model(..., packing=Packing); '
            'for padded batches or generation call model.set_attn_implementation("sdpa")'
        )
    unknown = [name for name, given in others.items() if given is not None]
    unknown = sorted(set(unknown) - HARMLESS_KEYWORDS.keys())
    if unknown:
        raise ValueError(
            f"{type(module).__name__} passes {', '.join(unknown)} to its attention, "
            "which packed attention does not compute; train it with another attention"
        )
    if attention_mask is not None and not isinstance(attention_mask, WindowMask):
        raise ValueError(
            f'attention "{ATTENTION_NAME}" takes no attention_mask; '
            "it attends within the documents of packing"
        )
    if query.shape[2] != key.shape[2]:
        raise ValueError(
            "a key-value cache does not work with packing: "
            f"{query.shape[2]} queries, {key.shape[2]} keys"
        )
    if dropout:
        raise ValueError(
            f"packed attention has no dropout, but the model asks for {dropout}; "
            "set config.attention_dropout = 0"
        )
    if is_causal is False or (is_causal is None and getattr(module, "is_causal", True) is False):
        raise ValueError(
            f"{type(module).__name__} attends in both directions, packed attention is causal"
        )
    if output_attentions:
        raise ValueError("packed attention returns no attention weights; output_attentions is set")
    window = _choose_window(module, attention_mask, sliding_window)
    batch, _, length, _ = query.shape
    q, k, v = (
        t.transpose(1, 2).flatten(0, 1) for t in (query, key, value)
    )  # (tokens, heads, head_dim)
    output = packed_attention(
        q,
        k,
        v,
        packing,
        scale=scaling,
        window=window,
        softcap=softcap,
        sinks=s_aux,
        impl=attention_impl,
    )
    return output.unflatten(0, (batch, length)), None


def _choose_window(module: nn.Module, mask: WindowMask | None, given: int | None) -> int | None:
    """The window of the layer's mask, which eager attention reads, or of its keyword."""
    if mask is None:
        return given
    if given is not None and given != mask.window:
        raise ValueError(
            f"{type(module).__name__} asks for a sliding window of {given}, "
            f"but its mask has {mask.window}"
        )
    return mask.window


def make_mask(
    *_args: Any,
    attention_mask: Tensor | None = None,
    local_size: int | None = None,
    use_vmap: bool = False,
    config: Any = None,
    **_kwargs: Any,
) -> WindowMask | None:
    """Mask function with the signature of transformers' AttentionMaskInterface: the window alone.

    Some models give the window to the mask only, not to the attention function.

    Raises ValueError if the caller gave an attention_mask, which would be ignored, and for masks
    that are neither causal nor a causal window: chunks, or a function that the model adds.
    """
    if attention_mask is not None:
        raise ValueError(
            f'attention "{ATTENTION_NAME}" takes no attention_mask; '
            "leave padding out of the packed row or give it a document of its own"
        )
    if use_vmap:
        raise ValueError(
            f'attention "{ATTENTION_NAME}" does not compute the mask that this model adds'
        )
    if local_size is None:
        return None
    if local_size == getattr(config, "attention_chunk_size", None):
        raise ValueError(
            f'attention "{ATTENTION_NAME}" has no chunks, but the model attends within chunks of '
            f"{local_size} tokens"
        )
    return WindowMask(local_size)


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
    predicts. Raises ValueError if the model's attention, head or logits cannot be reproduced from
    its hidden states and head weight.

    """
    language_model = _unwrap_language_model(model)
    if packing is not None:
        attention = language_model.config._attn_implementation
        if attention != ATTENTION_NAME:
            raise ValueError(
                f'with packing the attention must be "{ATTENTION_NAME}", '
                f'but is "{attention}", which ignores it; '
                f'call register_attention() and model.set_attn_implementation("{ATTENTION_NAME}")'
            )
        model_kwargs["packing"] = packing
        if attention_impl is not None:
            model_kwargs["attention_impl"] = attention_impl
    head = _find_head(language_model)
    documents = packing
    if documents is None:
        documents = Packing.from_seq_lengths(
            [labels.shape[-1]] * labels.shape[0], device=labels.device
        )
    targets = documents.shifted_labels(labels, ignore_index)
    if token_weights is not None:
        token_weights = documents.shifted_labels(token_weights, 0)

    hidden = _last_hidden_state(
        model, language_model, input_ids=input_ids, position_ids=position_ids, **model_kwargs
    )
    if hidden.shape[:-1] != labels.shape:
        raise ValueError(
            f"the model returned hidden states of shape {tuple(hidden.shape)} "
            f"for labels {tuple(labels.shape)}"
        )
    loss, metrics = linear_cross_entropy(
        hidden.flatten(0, 1),
        head.weight,
        targets,
        bias=head.bias,
        ignore_index=ignore_index,
        token_weights=token_weights,
        normalizer=normalizer,
        label_smoothing=label_smoothing,
        softcap=getattr(language_model.config, "final_logit_softcapping", None),
        z_loss=z_loss,
        return_metrics=True,
        impl=impl,
        memory=memory,
        valid_index=valid_index,
    )
    return loss, metrics


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
    for name in ("logits_scaling", "logit_scale"):
        if getattr(inner.config, name, None) not in (None, 1, 1.0):
            raise ValueError(
                f"{type(inner).__name__} scales its logits (config.{name}), "
                "which this loss does not reproduce"
            )
    return inner


def _find_head(language_model: Any) -> nn.Linear:
    head = language_model.get_output_embeddings()
    # peft keeps a fully trained copy of a head in modules_to_save behind a wrapper
    if hasattr(head, "modules_to_save") and hasattr(head, "active_adapters"):
        head = head.modules_to_save[head.active_adapters[0]]
    if type(head) is not nn.Linear:
        raise ValueError(
            f"the head must be a plain torch.nn.Linear, but is {type(head).__name__}; "
            "adapters on the head are not supported, "
            "train it whole (peft's modules_to_save) or leave it frozen"
        )
    return head


def _last_hidden_state(model: nn.Module, language_model: Any, **inputs: Any) -> Tensor:
    seen: list[Tensor] = []
    handle = language_model.base_model.register_forward_hook(
        lambda _module, _args, output: seen.append(output[0])
    )
    try:
        model(**inputs, use_cache=False, logits_to_keep=1)
    finally:
        handle.remove()
    if len(seen) != 1:
        raise ValueError(
            f"the backbone of {type(language_model).__name__} ran {len(seen)} times "
            "in one forward; expected once"
        )
    return seen[0]
