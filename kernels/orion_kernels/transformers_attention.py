"""The attention implementation "orion_packed" for transformers: its keywords, its mask."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface

from orion_kernels.attention.api import packed_attention
from orion_kernels.packing import Packing

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
    allow_is_bidirectional_skip: bool | None = None,
    config: Any = None,
    **_kwargs: Any,
) -> WindowMask | None:
    """Mask function with the signature of transformers' AttentionMaskInterface: the window alone.

    Some models give the window to the mask only, not to the attention function.

    Raises ValueError if the caller gave an attention_mask, which would be ignored, and for masks
    that are neither causal nor a causal window: chunks, both directions, or a function that the
    model adds.
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
    if allow_is_bidirectional_skip is not None or not getattr(config, "is_causal", True):
        raise ValueError(f'attention "{ATTENTION_NAME}" is causal, but the model looks ahead')
    if local_size is None:
        return None
    if local_size == getattr(config, "attention_chunk_size", None):
        raise ValueError(
            f'attention "{ATTENTION_NAME}" has no chunks, but the model attends within chunks of '
            f"{local_size} tokens"
        )
    return WindowMask(local_size)
