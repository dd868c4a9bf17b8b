"""Packed attention by torch's own kernels: one scaled_dot_product_attention a document.

Inputs and output are those of `orion_kernels.packed_attention`, which validates. Under torch.compile it is one operator, whose
graph does not depend on the documents. Nothing to run.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from orion_kernels.packing import Packing
from orion_kernels.precision import accumulation_dtype


def packed_attention(q: Tensor, k: Tensor, v: Tensor, packing: Packing, scale: float) -> Tensor:
    """Args: q: (tokens, q_heads, head_dim); k, v: (tokens, kv_heads, head_dim). Returns (tokens, q_heads, head_dim)."""
    if torch.compiler.is_compiling():
        return _operator(q, k, v, packing.lengths, scale)
    return _per_document(q, k, v, packing.seq_lengths, scale)


def _per_document(
    q: Tensor, k: Tensor, v: Tensor, lengths: tuple[int, ...], scale: float
) -> Tensor:
    # a loop over documents beats one padded batch and a dense mask on CPU: neither spends time on pairs that are masked away
    outputs = []
    for q_doc, k_doc, v_doc in zip(
        q.split(lengths), k.split(lengths), v.split(lengths), strict=True
    ):
        if q_doc.shape[0]:
            q_doc, k_doc, v_doc = (
                t.transpose(0, 1).unsqueeze(0) for t in (q_doc, k_doc, v_doc)
            )  # (1, heads, length, dim)
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
def _operator(q: Tensor, k: Tensor, v: Tensor, lengths: Tensor, scale: float) -> Tensor:
    return _per_document(q, k, v, tuple(lengths.tolist()), scale)


@_operator.register_fake
def _(q, k, v, lengths, scale):  # type: ignore[no-untyped-def]
    return q.new_empty(q.shape)


def _written_out(
    dout: Tensor, q: Tensor, k: Tensor, v: Tensor, lengths: Tensor, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    # written out, because an operator's implementation cannot differentiate; one document's probabilities at a time
    dtype, group, sizes = accumulation_dtype(q), q.shape[1] // k.shape[1], lengths.tolist()
    grads: list[list[Tensor]] = [[], [], []]
    for parts in zip(*(t.to(dtype).split(sizes) for t in (dout, q, k, v)), strict=True):
        do, q_doc, k_doc, v_doc = parts
        do, q_doc = (
            t.unflatten(1, (k.shape[1], group)) for t in (do, q_doc)
        )  # (length, kv_heads, group, dim)
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
def _operator_backward(
    dout: Tensor, q: Tensor, k: Tensor, v: Tensor, lengths: Tensor, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    with torch.autocast(q.device.type, enabled=False):
        return _written_out(dout, q, k, v, lengths, scale)


@_operator_backward.register_fake
def _(dout, q, k, v, lengths, scale):  # type: ignore[no-untyped-def]
    return q.new_empty(q.shape), k.new_empty(k.shape), v.new_empty(v.shape)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, ctx.scale = inputs
    ctx.save_for_backward(*tensors)


def _gradients(ctx: Any, dout: Tensor) -> tuple[Tensor | None, ...]:
    return (*_operator_backward(dout, *ctx.saved_tensors, ctx.scale), None, None)


def _no_second_order(*_unused: Any) -> None:
    raise RuntimeError(
        "packed_attention with impl='torch' has no second derivative; use impl='reference'"
    )


_operator.register_autograd(_gradients, setup_context=_save)
_operator_backward.register_autograd(_no_second_order)
