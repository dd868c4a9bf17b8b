"""Attention of one new token per row to its cached keys, for the engine transformers.

Input: the tensors that the library's attention functions get. Output: what they return. The library
repeats the whole cache for each query head where there is a mask; this does not. Prompts, which
have many new tokens, are read by the library's own function. `GROUPED` is the name to choose it by.
"""

from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface

GROUPED = "orion_grouped_sdpa"
SDPA = AttentionInterface()["sdpa"]  # type: ignore[no-untyped-call]
# keys or values that are in float32 at a time, about what a processor's cache holds
CONVERTED = 1 << 20


def attend(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **kwargs: Any,
) -> Any:
    """The library's sdpa attention; query ``(rows, heads, new, width)``, with ``new`` mostly 1.

    ``key``, ``value``: ``(rows, groups, places, width)``; ``attention_mask``: ``(rows, 1, new,
    places)``. Torch's CUDA kernel needs a copy of the keys per query head, its CPU kernel does not.
    """
    if query.shape[2] > 1 or kwargs.get("position_bias") is not None:
        return SDPA(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
    if query.device.type == "cpu" and query.dtype in (torch.bfloat16, torch.float16):
        output = attend_in_float32(query, key, value, attention_mask, scaling)
    else:
        output = torch.nn.functional.scaled_dot_product_attention(
            query, key, value, attn_mask=attention_mask, scale=scaling, enable_gqa=True
        )
    return output.transpose(1, 2).contiguous(), None  # (rows, 1, heads, width)


def attend_in_float32(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    scaling: float | None = None,
) -> torch.Tensor:
    """The same for one new token in half precision on a CPU, ``(rows, heads, 1, width)``.

    Torch's CPU kernel is slow for a single query in half precision, and reads a group's keys once
    per head. This converts some rows' keys at a time and multiplies in float32: 2 to 9
    times as fast in bfloat16, and nearer to float64 (LOG.md, 2026-11-30 has the shapes).
    """
    rows, heads, _, width = query.shape
    groups, places = key.shape[1:3]
    scale = width**-0.5 if scaling is None else scaling
    grouped = (query.float() * scale).view(rows, groups, heads // groups, width)
    mask = None if mask is None else mask.expand(rows, -1, -1, -1)
    step = max(1, CONVERTED // max(1, groups * places * width))
    parts = []
    for first in range(0, rows, step):
        some = slice(first, first + step)
        scores = grouped[some] @ key[some].float().transpose(-1, -2)
        if mask is not None and mask.dtype == torch.bool:
            scores = scores.masked_fill(~mask[some], float("-inf"))
        elif mask is not None:
            scores = scores + mask[some]
        parts.append(torch.softmax(scores, dim=-1) @ value[some].float())
    return torch.cat(parts).to(query.dtype).view(rows, heads, 1, width)


AttentionInterface.register(GROUPED, attend)
AttentionMaskInterface.register(
    GROUPED,
    AttentionMaskInterface()["sdpa"],  # type: ignore[no-untyped-call]
)
