"""Packed attention in torch: `torch_varlen` on GPUs, else one call per document or query block.

Inputs and output are those of `orion_kernels.packed_attention`, which validates them. Under
torch.compile, and with a sliding window, a softcap or sinks, it is one operator with explicit
gradients, whose graph does not depend on the documents. The annotations here are the operators'
schemas, so they are not postponed.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from orion_kernels.attention import torch_varlen
from orion_kernels.attention.torch_blocks import ScoreOptions, attend, differentiate
from orion_kernels.packing import Packing
from orion_kernels.precision import accumulation_dtype


def packed_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    packing: Packing,
    scale: float,
    window: int | None = None,
    softcap: float | None = None,
    sinks: Tensor | None = None,
) -> Tensor:
    """Attention of q (tokens, q_heads, head_dim) over k and v (tokens, kv_heads, ...).

    Returns (tokens, q_heads, value_dim).
    """
    if softcap is sinks is None and torch_varlen.can_run(q, v, window):
        return torch_varlen.packed_attention(q, k, v, packing, scale, window)
    if torch.compiler.is_compiling() or not (window is softcap is sinks is None):
        return _forward_operator(q, k, v, sinks, packing.lengths, scale, window, softcap)
    return _attend_per_document(
        q, k, v, None, packing.seq_lengths, ScoreOptions(scale, window, softcap)
    )


def _attend_per_document(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    sinks: Tensor | None,
    lengths: tuple[int, ...],
    options: ScoreOptions,
) -> Tensor:
    # on CPU a loop over documents beats one padded batch and one dense mask: both compute pairs
    # that are then masked away. Its backward in bfloat16 takes five times as long as in float32
    dtype = q.dtype
    if q.device.type == "cpu":
        q, k, v = (t.to(accumulation_dtype(t)) for t in (q, k, v))
    outputs = []
    for q_doc, k_doc, v_doc in zip(
        q.split(lengths), k.split(lengths), v.split(lengths), strict=True
    ):
        length = q_doc.shape[0]
        if not length:
            continue
        plain = options.softcap is None and sinks is None
        if plain and (options.window is None or options.window >= length):
            outputs.append(_attend_fused(q_doc, k_doc, v_doc, options.scale))
        else:
            outputs.append(attend(q_doc, k_doc, v_doc, options, sinks))
    return torch.cat(outputs).to(dtype)


def _attend_fused(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    value_dim, dim = v.shape[2], max(q.shape[2], v.shape[2])
    # torch's fused kernels take one head_dim: zeros do not change the products
    q, k, v = (F.pad(t, (0, dim - t.shape[2])) if t.shape[2] < dim else t for t in (q, k, v))
    # (1, heads, length, head_dim)
    q, k, v = (t.transpose(0, 1).unsqueeze(0) for t in (q, k, v))
    # the inputs have their dtype; autocast would change it again
    with torch.autocast(q.device.type, enabled=False):
        output = F.scaled_dot_product_attention(
            q, k, v, is_causal=True, scale=scale, enable_gqa=q.shape[1] != k.shape[1]
        )
    # no index where none is needed: its backward would fill a tensor with zeros
    output = output.squeeze(0).transpose(0, 1)
    return output if value_dim == dim else output[..., :value_dim]


@torch.library.custom_op("orion_kernels::packed_attention_torch", mutates_args=())
def _forward_operator(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    sinks: Tensor | None,
    lengths: Tensor,
    scale: float,
    window: int | None,
    softcap: float | None,
) -> Tensor:
    with torch.autocast(q.device.type, enabled=False):
        options = ScoreOptions(scale, window, softcap)
        return _attend_per_document(q, k, v, sinks, tuple(lengths.tolist()), options)


@_forward_operator.register_fake
def _(q, k, v, sinks, lengths, scale, window, softcap):
    return q.new_empty(*q.shape[:2], v.shape[2])


@torch.library.custom_op("orion_kernels::packed_attention_torch_backward", mutates_args=())
def _backward_operator(
    dout: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    sinks: Tensor | None,
    lengths: Tensor,
    scale: float,
    window: int | None,
    softcap: float | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    # explicit, because the implementation of an operator cannot call autograd. Without sinks their
    # gradient is empty
    options, sizes = ScoreOptions(scale, window, softcap), lengths.tolist()
    dsinks = q.new_empty(0) if sinks is None else torch.zeros_like(sinks, dtype=torch.float64)
    grads: list[list[Tensor]] = [[], [], []]
    with torch.autocast(q.device.type, enabled=False):
        documents = zip(*(t.split(sizes) for t in (dout, q, k, v)), strict=True)
        for do_doc, q_doc, k_doc, v_doc in documents:
            if not do_doc.shape[0]:
                continue
            *found, dsink = differentiate(do_doc, q_doc, k_doc, v_doc, options, sinks)
            for parts, part in zip(grads, found, strict=True):
                parts.append(part.to(q.dtype))
            if dsink is not None:
                dsinks += dsink
    dq, dk, dv = (torch.cat(parts) for parts in grads)
    return dq, dk, dv, dsinks if sinks is None else dsinks.to(sinks.dtype)


@_backward_operator.register_fake
def _(dout, q, k, v, sinks, lengths, scale, window, softcap):
    grads = [t.new_empty(t.shape) for t in (q, k, v)]
    return *grads, q.new_empty(0) if sinks is None else sinks.new_empty(sinks.shape)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, ctx.scale, ctx.window, ctx.softcap = inputs
    ctx.save_for_backward(*tensors)


def _backward(ctx: Any, dout: Tensor) -> tuple[Tensor | None, ...]:
    # read once: under checkpointing they may be unpacked one time only
    tensors = ctx.saved_tensors
    *grads, dsinks = _backward_operator(dout, *tensors, ctx.scale, ctx.window, ctx.softcap)
    return *grads, None if tensors[3] is None else dsinks, None, None, None, None


def _refuse_second_derivative(*_unused: Any) -> None:
    raise RuntimeError(
        "packed_attention with impl='torch' has no second derivative; use impl='reference'"
    )


_forward_operator.register_autograd(_backward, setup_context=_setup_context)
_backward_operator.register_autograd(_refuse_second_derivative)
