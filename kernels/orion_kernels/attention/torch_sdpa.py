"""Packed attention in torch: one scaled_dot_product_attention per document.

Inputs and output are those of `orion_kernels.packed_attention`, which validates them. Under
torch.compile it is one operator, whose graph does not depend on the documents.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from orion_kernels.packing import Packing
from orion_kernels.precision import accumulation_dtype


def packed_attention(q: Tensor, k: Tensor, v: Tensor, packing: Packing, scale: float) -> Tensor:
    """Attention of q (tokens, q_heads, head_dim) over k and v (tokens, kv_heads, head_dim).

    Returns (tokens, q_heads, head_dim).
    """
    if torch.compiler.is_compiling():
        return _forward_operator(q, k, v, packing.lengths, scale)
    return _attend_per_document(q, k, v, packing.seq_lengths, scale)


def _attend_per_document(
    q: Tensor, k: Tensor, v: Tensor, lengths: tuple[int, ...], scale: float
) -> Tensor:
    # on CPU a loop over documents beats one padded batch and one dense mask: both compute pairs
    # that are then masked away
    outputs = []
    for q_doc, k_doc, v_doc in zip(
        q.split(lengths), k.split(lengths), v.split(lengths), strict=True
    ):
        if q_doc.shape[0]:
            # (1, heads, length, head_dim)
            q_doc, k_doc, v_doc = (t.transpose(0, 1).unsqueeze(0) for t in (q_doc, k_doc, v_doc))
            output = F.scaled_dot_product_attention(
                q_doc,
                k_doc,
                v_doc,
                is_causal=True,
                scale=scale,
                enable_gqa=q.shape[1] != k.shape[1],
            )
            outputs.append(output[0].transpose(0, 1))
    return torch.cat(outputs)


@torch.library.custom_op("orion_kernels::packed_attention_torch", mutates_args=())
def _forward_operator(q: Tensor, k: Tensor, v: Tensor, lengths: Tensor, scale: float) -> Tensor:
    return _attend_per_document(q, k, v, tuple(lengths.tolist()), scale)


@_forward_operator.register_fake
def _(q, k, v, lengths, scale):
    return q.new_empty(q.shape)


def _explicit_gradients(
    dout: Tensor, q: Tensor, k: Tensor, v: Tensor, lengths: Tensor, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    # explicit, because the implementation of an operator cannot call autograd; the probabilities of
    # one document at a time
    dtype, group, sizes = accumulation_dtype(q), q.shape[1] // k.shape[1], lengths.tolist()
    grads: list[list[Tensor]] = [[], [], []]
    for parts in zip(*(t.to(dtype).split(sizes) for t in (dout, q, k, v)), strict=True):
        do, q_doc, k_doc, v_doc = parts
        # (length, kv_heads, group, head_dim)
        do, q_doc = (t.unflatten(1, (k.shape[1], group)) for t in (do, q_doc))
        scores = torch.einsum("qhgd,khd->hgqk", q_doc, k_doc) * scale
        future = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).triu(1)
        p = torch.softmax(scores.masked_fill(future, float("-inf")), dim=-1)
        dp = torch.einsum("qhgd,khd->hgqk", do, v_doc)
        ds = p * (dp - (p * dp).sum(-1, keepdim=True)) * scale
        grads[0].append(torch.einsum("hgqk,khd->qhgd", ds, k_doc).flatten(1, 2))
        grads[1].append(torch.einsum("hgqk,qhgd->khd", ds, q_doc))
        grads[2].append(torch.einsum("hgqk,qhgd->khd", p, do))
    dq, dk, dv = (torch.cat(g).to(q.dtype) for g in grads)
    return dq, dk, dv


@torch.library.custom_op("orion_kernels::packed_attention_torch_backward", mutates_args=())
def _backward_operator(
    dout: Tensor, q: Tensor, k: Tensor, v: Tensor, lengths: Tensor, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    with torch.autocast(q.device.type, enabled=False):
        return _explicit_gradients(dout, q, k, v, lengths, scale)


@_backward_operator.register_fake
def _(dout, q, k, v, lengths, scale):
    return q.new_empty(q.shape), k.new_empty(k.shape), v.new_empty(v.shape)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, ctx.scale = inputs
    ctx.save_for_backward(*tensors)


def _backward(ctx: Any, dout: Tensor) -> tuple[Tensor | None, ...]:
    return (*_backward_operator(dout, *ctx.saved_tensors, ctx.scale), None, None)


def _refuse_second_derivative(*_unused: Any) -> None:
    raise RuntimeError(
        "packed_attention with impl='torch' has no second derivative; use impl='reference'"
    )


_forward_operator.register_autograd(_backward, setup_context=_setup_context)
_backward_operator.register_autograd(_refuse_second_derivative)
