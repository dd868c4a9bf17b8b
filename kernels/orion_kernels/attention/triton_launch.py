"""Launch the attention kernels: one operator forward, one backward, and how the work is divided.

Importing this module imports triton.
"""

from __future__ import annotations

import contextvars
from typing import Any

import torch
import triton
from torch import Tensor
from triton.tools.tensor_descriptor import TensorDescriptor

from orion_kernels.attention import triton_configs as configs
from orion_kernels.attention import triton_kernels as kernels
from orion_kernels.packing import Packing
from orion_kernels.precision import accumulation_dtype


def unsupported_reason(
    q: Tensor,
    v: Tensor | None = None,
    window: int | None = None,
    softcap: float | None = None,
    sinks: Tensor | None = None,
) -> str | None:
    """Why these kernels cannot take otherwise valid inputs: the given and the allowed value.

    None if they can. The arguments are those of `orion_kernels.packed_attention`.
    """
    if window is not None:
        return f"impl='triton' has no sliding window, but window is {window}"
    if softcap is not None:
        return f"impl='triton' has no softcap, but softcap is {softcap}"
    if sinks is not None:
        return "impl='triton' has no sinks, but sinks are given"
    if v is not None and v.shape[-1] != q.shape[-1]:
        return (
            "impl='triton' needs one head_dim for q, k and v, "
            f"but they are {q.shape[-1]} and, for v, {v.shape[-1]}"
        )
    if q.shape[-1] not in configs.HEAD_DIMS:
        allowed = list(configs.HEAD_DIMS)
        return f"head_dim must be one of {allowed} for impl='triton', but is {q.shape[-1]}"
    if kernels.INTERPRETED:
        if q.device.type == "cpu":
            return None
        return f"Triton's interpreter needs CPU tensors, but q is on {q.device}"
    if q.device.type != "cuda":
        return f"impl='triton' needs CUDA tensors (or TRITON_INTERPRET=1), but q is on {q.device}"
    if q.dtype not in (torch.float16, torch.bfloat16):
        return f"dtype must be float16 or bfloat16 for impl='triton', but is {q.dtype}"
    return None


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
    """As `orion_kernels.packed_attention`, which validates the inputs.

    Raises ValueError with the `unsupported_reason`, and for a packing on another device.
    """
    reason = unsupported_reason(q, v, window, softcap, sinks)
    if reason:
        raise ValueError(reason)
    if packing.document_ids.device != q.device:
        raise ValueError(
            f"packing is on {packing.document_ids.device}, but q on {q.device}; "
            "use packing.to(q.device)"
        )
    short = packing.short
    tiles = configs.select_tiles(q.shape[-1], short)
    by_queries = packing.work_table(tiles.forward.block_q, by_keys=False)
    by_keys = packing.work_table(tiles.key_value_gradient.block_k, by_keys=True)
    return _forward_operator(q, k, v, by_queries, by_keys, packing.lengths, scale, short)[0]


def choose_group_parts(
    lengths: Tensor, block: int, kv_heads: int, group: int, processors: int
) -> int:
    """Number of parts to split a group's query heads into, in the gradient of keys and values.

    1, 2 or `group`. One part needs no partial sums. More parts are chosen if there would be fewer
    than four programs per processor, or if the largest program would be more than half of one
    processor's share of the work.

    Args:
        lengths: (documents,) on the CPU.
        block: keys per tile.
        kv_heads: number of key-value heads.
        group: query heads per key-value head.
        processors: multiprocessors of the device.

    """
    blocks = (lengths + block - 1) // block
    programs = int(blocks.sum()) * kv_heads
    # a tile of keys at token t of a document reads all tokens of the document from t
    work = int((blocks * lengths - block * (blocks * (blocks - 1) // 2)).sum()) * kv_heads * group
    largest = int(lengths.max()) * group
    for parts in sorted({1, min(2, group)}):
        share = -(-group // parts)
        if programs * parts >= 4 * processors and 2 * largest * share * processors <= group * work:
            return parts
    return group


@torch.library.custom_op("orion_kernels::packed_attention_triton", mutates_args=())
def _forward_operator(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    by_queries: Tensor,
    by_keys: Tensor,
    lengths: Tensor,
    scale: float,
    short: bool,
) -> tuple[Tensor, Tensor]:
    # returns the output like q and the log-sum-exp (q_heads, tokens); the work table by_keys and
    # the lengths are saved for the backward pass
    dtype = q.dtype
    q, k, v = (_make_launchable(t) for t in (q, k, v))
    tokens, q_heads, head_dim = q.shape
    out = torch.empty(q.shape, dtype=q.dtype, device=q.device)
    lse = torch.empty(q_heads, tokens, dtype=accumulation_dtype(q), device=q.device)
    tile = configs.select_tiles(head_dim, short).forward
    descriptors = _make_descriptors(tile.block_k, k, v)
    arguments = (
        q,
        k,
        v,
        *descriptors,
        out,
        lse,
        by_queries,
        *_token_head_strides(q, k, v),
        tokens,
        q_heads,
        q_heads // k.shape[1],
    )
    _launch_kernel(
        kernels.forward_kernel, by_queries.shape[0] * q_heads, arguments, q, tile, SCALE=scale
    )
    return out.to(dtype), lse


@_forward_operator.register_fake
def _(q, k, v, by_queries, by_keys, lengths, scale, short):
    lse = q.new_empty((q.shape[1], q.shape[0]), dtype=accumulation_dtype(q))
    return q.new_empty(q.shape), lse


@torch.library.custom_op("orion_kernels::packed_attention_triton_backward", mutates_args=())
def _backward_operator(
    dout: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor,
    by_queries: Tensor, by_keys: Tensor, lengths: Tensor, scale: float, short: bool, parts: int,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    # returns the gradients of q, k and v; parts=0 leaves the choice to choose_group_parts
    dtype = q.dtype
    dout, q, k, v, out = (_make_launchable(t) for t in (dout, q, k, v, out))
    tokens, q_heads, head_dim = q.shape
    kv_heads = k.shape[1]
    group = q_heads // kv_heads
    tiles = configs.select_tiles(head_dim, short)
    if not parts:
        parts = choose_group_parts(
            lengths, tiles.key_value_gradient.block_k, kv_heads, group, _count_processors(q)
        )
    delta = torch.empty_like(lse)
    constants = {"BLOCK": configs.TOKENS_PER_PROGRAM}
    programs = triton.cdiv(tokens, configs.TOKENS_PER_PROGRAM) * q_heads
    _launch_kernel(
        kernels.delta_kernel,
        programs,
        (out, dout, delta, *_token_head_strides(dout), tokens, q_heads),
        q,
        None,
        **constants,
    )

    dq = torch.empty(q.shape, dtype=q.dtype, device=q.device)
    inputs, strides = (dout, lse, delta), (*_token_head_strides(q, k, v, dout), tokens)
    tile = tiles.query_gradient
    arguments = (
        q,
        k,
        v,
        *_make_descriptors(tile.block_k, k, v),
        *inputs,
        dq,
        by_queries,
        *strides,
        q_heads,
        group,
    )
    _launch_kernel(
        kernels.query_gradient_kernel,
        by_queries.shape[0] * q_heads,
        arguments,
        q,
        tile,
        SCALE=scale,
    )

    partial = lse.dtype if parts > 1 else k.dtype
    dk, dv = (torch.empty(parts, *k.shape, dtype=partial, device=k.device) for _ in range(2))
    tile = tiles.key_value_gradient
    arguments = (q, k, v, *inputs, dk, dv, by_keys, *strides, kv_heads, group, parts)
    _launch_kernel(
        kernels.key_value_gradient_kernel,
        by_keys.shape[0] * kv_heads * parts,
        arguments,
        q,
        tile,
        SCALE=scale,
    )
    dk, dv = (_sum_parts(t, k.dtype) for t in (dk, dv))
    return dq.to(dtype), dk.to(dtype), dv.to(dtype)


@_backward_operator.register_fake
def _(dout, q, k, v, out, lse, by_queries, by_keys, lengths, scale, short, parts):
    return q.new_empty(q.shape), k.new_empty(k.shape), v.new_empty(v.shape)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    q, k, v, by_queries, by_keys, lengths, ctx.scale, ctx.short = inputs
    ctx.save_for_backward(q, k, v, *output, by_queries, by_keys, lengths)
    ctx.mark_non_differentiable(output[1])


def _backward(ctx: Any, dout: Tensor, _dlse: Tensor | None) -> tuple[Tensor | None, ...]:
    q, k, v, out, lse, by_queries, by_keys, lengths = ctx.saved_tensors
    grads = _backward_operator(
        dout, q, k, v, out, lse, by_queries, by_keys, lengths, ctx.scale, ctx.short, 0
    )
    return (*grads, None, None, None, None, None)


def _refuse_second_derivative(*_unused: Any) -> None:
    raise RuntimeError(
        "packed_attention with impl='triton' has no second derivative; use impl='reference'"
    )


_forward_operator.register_autograd(_backward, setup_context=_setup_context)
_backward_operator.register_autograd(_refuse_second_derivative)


def _sum_parts(parts: Tensor, dtype: torch.dtype) -> Tensor:
    if parts.shape[0] == 1:
        return parts[0]
    out = torch.empty(parts.shape[1:], dtype=dtype, device=parts.device)
    programs = triton.cdiv(out.numel(), configs.ELEMENTS_PER_PROGRAM)
    constants = {"BLOCK": configs.ELEMENTS_PER_PROGRAM}
    _launch_kernel(
        kernels.sum_parts_kernel,
        programs,
        (parts, out, out.numel(), parts.shape[0]),
        out,
        None,
        **constants,
    )
    return out


def _make_launchable(tensor: Tensor) -> Tensor:
    """The tensor itself if descriptors can address it, else a copy.

    The interpreter cannot compute in bfloat16, so it gets float32.
    """
    if kernels.INTERPRETED and tensor.dtype == torch.bfloat16:
        tensor = tensor.float()
    token, head, dim = tensor.stride()
    size = tensor.element_size()
    aligned = tensor.data_ptr() % 16 == 0 and token * size % 16 == 0 and head * size % 16 == 0
    # offsets inside a tile are 32-bit
    if dim == 1 and aligned and 0 < token < 2**23 and head > 0:
        return tensor
    return tensor.clone(memory_format=torch.contiguous_format)


def _count_processors(tensor: Tensor) -> int:
    if not tensor.is_cuda:
        return 1
    return torch.cuda.get_device_properties(tensor.device).multi_processor_count


def _make_descriptors(rows: int, *tensors: Tensor) -> list[TensorDescriptor]:
    """Descriptors of blocks (1, rows, head_dim) of tensors seen as (heads, tokens, head_dim)."""
    dim = triton.next_power_of_2(tensors[0].shape[-1])
    return [TensorDescriptor.from_tensor(t.transpose(0, 1), [1, rows, dim]) for t in tensors]


def _token_head_strides(*tensors: Tensor) -> list[int]:
    return [stride for t in tensors for stride in t.stride()[:2]]


def _launch_kernel(
    kernel: Any,
    programs: int,
    arguments: tuple[Any, ...],
    like: Tensor,
    tile: configs.AttentionTile | None,
    **constants: Any,
) -> None:
    constants["ACC"] = kernels.ACCUMULATORS[accumulation_dtype(like)]
    if kernel is not kernels.sum_parts_kernel:
        constants |= {"HEAD_DIM": like.shape[-1], "DIM": triton.next_power_of_2(like.shape[-1])}
    if tile is not None:
        constants |= {"BLOCK_Q": tile.block_q, "BLOCK_K": tile.block_k}
        constants |= {"num_warps": tile.num_warps, "num_stages": tile.num_stages}
    # triton asks an allocator for the memory of descriptors that a kernel creates. It is set in a
    # separate context, so that it does not replace the allocator of other users of triton
    context = contextvars.copy_context()
    context.run(triton.set_allocator, _allocate_workspace)
    # triton launches on the current device
    with torch.cuda.device_of(like):
        context.run(kernel[(programs,)], *arguments, **constants)


def _allocate_workspace(size: int, _alignment: int, _stream: int | None) -> Tensor:
    return torch.empty(size, device="cuda", dtype=torch.int8)
