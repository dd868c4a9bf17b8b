"""Packed attention by `torch.nn.attention.varlen`, FlashAttention for documents of any lengths.

What a GPU runs where the Triton kernels are not proven: one call for all documents, where
`torch_sdpa` needs one per document. Its signature has grown: torch 2.10 and 2.11 know `is_causal`,
later versions a window and groups of query heads.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from orion_kernels.packing import Packing

# largest head_dim of FlashAttention
MAX_HEAD_DIM = 256


@cache
def find_function() -> Callable[..., Tensor] | None:
    """`torch.nn.attention.varlen.varlen_attn`; None in a torch before 2.10."""
    try:
        module = importlib.import_module("torch.nn.attention.varlen")
    except ImportError:
        return None
    function: Callable[..., Tensor] = module.varlen_attn
    return function


def can_run(q: Tensor, v: Tensor, window: int | None) -> bool:
    """Whether the function takes these inputs of `packed_attention` (no softcap and no sinks)."""
    if not q.is_cuda or torch.compiler.is_compiling():
        return False
    function = find_function()
    return (
        function is not None
        and q.dtype in (torch.float16, torch.bfloat16)
        and q.shape[2] == v.shape[2] <= MAX_HEAD_DIM
        and q.shape[2] % 8 == 0
        and (window is None or "window_size" in inspect.signature(function).parameters)
    )


def packed_attention(
    q: Tensor, k: Tensor, v: Tensor, packing: Packing, scale: float, window: int | None = None
) -> Tensor:
    """Attention of q (tokens, q_heads, head_dim) over k and v (tokens, kv_heads, head_dim).

    Returns (tokens, q_heads, head_dim) in the dtype of q.
    """
    function = find_function()
    assert function is not None, "can_run was asked"
    known = inspect.signature(function).parameters
    options: dict[str, object] = {}
    if "window_size" in known:
        # keys to the left and to the right of a query; ours counts the query itself
        options["window_size"] = (-1 if window is None else window - 1, 0)
    else:
        options["is_causal"] = True
    if "scale" in known:
        options["scale"] = scale
    else:
        q = q * (scale * q.shape[2] ** 0.5)
    groups = q.shape[1] // k.shape[1]
    if groups > 1 and "enable_gqa" in known:
        options["enable_gqa"] = True
    elif groups > 1:
        k, v = (t.repeat_interleave(groups, dim=1) for t in (k, v))
    ends, longest = packing.cu_seqlens, packing.max_seqlen
    return function(q, k, v, ends, ends, longest, longest, **options)
