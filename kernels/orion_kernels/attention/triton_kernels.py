"""Triton kernels of packed attention: forward, delta, and the gradients of q and of k and v.

Each program processes one tile of one document for one head. A row (document start, document
length, block, live) of a work table (`orion_kernels.attention.work_tables`) names the tile. Tiles
begin at document starts, so document numbers are never compared and nothing of another document is
read (a masked probability of 0 would not stop its NaN). Blocks wholly within the document are read
through tensor descriptors. A block in which the document may end is read through pointers, or
through a descriptor of that document alone; both give 0 beyond its end.

The algorithm is that of FlashAttention-2 (arXiv 2307.08691): an online softmax in base 2, and a
backward pass that recomputes the probabilities from the saved log-sum-exp. The backward pass is two
kernels without atomics, so that results repeat bit by bit.
"""

# no `from __future__ import annotations`: triton reads the constexpr annotations as objects
import torch
import triton
import triton.language as tl
from triton.runtime.interpreter import InterpretedFunction

LOG2E = tl.constexpr(1.4426950408889634)
LN2 = tl.constexpr(0.6931471805599453)


@triton.jit
def _load_rows(base, stride, offsets, dims, limit, HEAD_DIM: tl.constexpr, DIM: tl.constexpr):
    # (rows, DIM) at base; 0 in rows >= limit and in dims >= HEAD_DIM
    mask = (offsets < limit)[:, None]
    if HEAD_DIM < DIM:
        mask = mask & (dims < HEAD_DIM)[None, :]
    return tl.load(base + offsets[:, None] * stride + dims[None, :], mask=mask, other=0.0)


@triton.jit
def _store_rows(
    base, stride, offsets, dims, limit, tile, HEAD_DIM: tl.constexpr, DIM: tl.constexpr
):
    mask = (offsets < limit)[:, None]
    if HEAD_DIM < DIM:
        mask = mask & (dims < HEAD_DIM)[None, :]
    tl.store(
        base + offsets[:, None] * stride + dims[None, :], tile.to(base.dtype.element_ty), mask=mask
    )


@triton.jit
def _load_block(
    desc, base, stride, head, first, start, length,
    MASKED: tl.constexpr, BLOCK: tl.constexpr, HEAD_DIM: tl.constexpr, DIM: tl.constexpr,
):  # fmt: skip
    # (BLOCK, DIM): BLOCK rows from `start` of the document that begins at token `first`; MASKED if
    # the document may end within them
    if MASKED:
        at = base + tl.cast(start, tl.int64) * stride
        return _load_rows(
            at, stride, tl.arange(0, BLOCK), tl.arange(0, DIM), length - start, HEAD_DIM, DIM
        )
    return desc.load([head, first + start, 0]).reshape(BLOCK, DIM)


@triton.jit
def _accumulate_output(
    acc, largest, total, q, k_desc, v_desc, k_base, v_base, k_stride, v_stride,
    kv_head, first, length, row, low, high,
    SCALE: tl.constexpr, HEAD_DIM: tl.constexpr, DIM: tl.constexpr,
    BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr, MASKED: tl.constexpr,
):  # fmt: skip
    # one step of the online softmax for every key block from low to high
    offsets = tl.arange(0, BLOCK_K)
    rows = row + tl.arange(0, BLOCK_Q)
    for start in range(low, high, BLOCK_K):
        k = _load_block(
            k_desc, k_base, k_stride, kv_head, first, start, length, MASKED, BLOCK_K, HEAD_DIM, DIM
        )
        scores = tl.dot(q, tl.trans(k), input_precision="ieee")  # (BLOCK_Q, BLOCK_K)
        if MASKED:
            scores = tl.where(rows[:, None] >= (start + offsets)[None, :], scores, float("-inf"))
        new_largest = tl.maximum(largest, tl.max(scores, 1) * (SCALE * LOG2E))
        p = tl.exp2(scores * (SCALE * LOG2E) - new_largest[:, None])
        correction = tl.exp2(largest - new_largest)
        total = total * correction + tl.sum(p, 1)
        v = _load_block(
            v_desc, v_base, v_stride, kv_head, first, start, length, MASKED, BLOCK_K, HEAD_DIM, DIM
        )
        acc = tl.dot(
            p.to(v.dtype), v, acc * correction[:, None], input_precision="ieee", out_dtype=acc.dtype
        )
        largest = new_largest
    return acc, largest, total


@triton.jit
def forward_kernel(
    q_ptr, k_ptr, v_ptr, k_desc, v_desc, out_ptr, lse_ptr, items_ptr,
    q_stride, q_head_stride, k_stride, k_head_stride, v_stride, v_head_stride,
    num_tokens, q_heads, group,
    SCALE: tl.constexpr, HEAD_DIM: tl.constexpr, DIM: tl.constexpr,
    BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Write out (tokens, q_heads, HEAD_DIM), contiguous, and the natural lse (q_heads, tokens).

    One program per (q block, q head). It reads q and the keys and values of its document up to the
    end of the block, and writes each row of its block once.
    """
    # heads vary fastest: the heads of one group read the same keys and values at about the same
    # time
    item = tl.program_id(0) // q_heads
    head = tl.program_id(0) % q_heads
    first = tl.load(items_ptr + item * 4)
    length = tl.load(items_ptr + item * 4 + 1)
    row = tl.load(items_ptr + item * 4 + 2) * BLOCK_Q
    if tl.load(items_ptr + item * 4 + 3) == 0:
        return
    offsets = tl.arange(0, BLOCK_Q)
    dims = tl.arange(0, DIM)
    start = first.to(tl.int64)
    kv_head = head // group
    k_base = k_ptr + start * k_stride + kv_head.to(tl.int64) * k_head_stride
    v_base = v_ptr + start * v_stride + kv_head.to(tl.int64) * v_head_stride
    q_base = q_ptr + (start + row) * q_stride + head.to(tl.int64) * q_head_stride
    q = _load_rows(q_base, q_stride, offsets, dims, length - row, HEAD_DIM, DIM)
    acc = tl.zeros([BLOCK_Q, DIM], dtype=ACC)
    largest = tl.full([BLOCK_Q], float("-inf"), dtype=ACC)
    total = tl.zeros([BLOCK_Q], dtype=ACC)
    # blocks wholly before the tile's first query need no mask and lie inside the document
    diagonal = row // BLOCK_K * BLOCK_K
    end = tl.minimum(row + BLOCK_Q, length)
    acc, largest, total = _accumulate_output(
        acc, largest, total, q, k_desc, v_desc, k_base, v_base, k_stride, v_stride,
        kv_head, first, length, row, 0, diagonal, SCALE, HEAD_DIM, DIM, BLOCK_Q, BLOCK_K, False,
    )  # fmt: skip
    acc, largest, total = _accumulate_output(
        acc, largest, total, q, k_desc, v_desc, k_base, v_base, k_stride, v_stride,
        kv_head, first, length, row, diagonal, end, SCALE, HEAD_DIM, DIM, BLOCK_Q, BLOCK_K, True,
    )  # fmt: skip
    out_base = out_ptr + ((start + row) * q_heads + head) * HEAD_DIM
    _store_rows(
        out_base,
        q_heads * HEAD_DIM,
        offsets,
        dims,
        length - row,
        acc / total[:, None],
        HEAD_DIM,
        DIM,
    )
    lse_base = lse_ptr + head.to(tl.int64) * num_tokens + start + row
    tl.store(lse_base + offsets, (largest + tl.log2(total)) * LN2, mask=offsets < length - row)


@triton.jit
def delta_kernel(
    out_ptr, dout_ptr, delta_ptr, dout_stride, dout_head_stride, num_tokens, q_heads,
    HEAD_DIM: tl.constexpr, DIM: tl.constexpr, BLOCK: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Write delta (q_heads, tokens), the sum of out * dout over head_dim.

    The gradient of the softmax subtracts it from every entry of its row.
    """
    head = (tl.program_id(0) % q_heads).to(tl.int64)
    token = (tl.program_id(0) // q_heads).to(tl.int64) * BLOCK
    offsets = tl.arange(0, BLOCK)
    dims = tl.arange(0, DIM)
    out_base = out_ptr + (token * q_heads + head) * HEAD_DIM
    out = _load_rows(out_base, q_heads * HEAD_DIM, offsets, dims, num_tokens - token, HEAD_DIM, DIM)
    dout_base = dout_ptr + token * dout_stride + head * dout_head_stride
    dout = _load_rows(dout_base, dout_stride, offsets, dims, num_tokens - token, HEAD_DIM, DIM)
    delta = tl.sum(out.to(ACC) * dout.to(ACC), 1)
    tl.store(
        delta_ptr + head * num_tokens + token + offsets, delta, mask=offsets < num_tokens - token
    )


@triton.jit
def _accumulate_dq(
    dq, q, dout, lse, delta, k_desc, v_desc, k_base, v_base, k_stride, v_stride,
    kv_head, first, length, row, low, high,
    SCALE: tl.constexpr, HEAD_DIM: tl.constexpr, DIM: tl.constexpr,
    BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr, MASKED: tl.constexpr,
):  # fmt: skip
    # adds the key blocks from low to high to dq
    offsets = tl.arange(0, BLOCK_K)
    rows = row + tl.arange(0, BLOCK_Q)
    for start in range(low, high, BLOCK_K):
        k = _load_block(
            k_desc, k_base, k_stride, kv_head, first, start, length, MASKED, BLOCK_K, HEAD_DIM, DIM
        )
        v = _load_block(
            v_desc, v_base, v_stride, kv_head, first, start, length, MASKED, BLOCK_K, HEAD_DIM, DIM
        )
        scores = tl.dot(q, tl.trans(k), input_precision="ieee")  # (BLOCK_Q, BLOCK_K)
        p = tl.exp2(scores * (SCALE * LOG2E) - lse[:, None])
        if MASKED:
            p = tl.where(rows[:, None] >= (start + offsets)[None, :], p, 0.0)
        dp = tl.dot(dout, tl.trans(v), input_precision="ieee")
        ds = p * (dp - delta[:, None])
        dq = tl.dot(ds.to(k.dtype), k, dq, input_precision="ieee", out_dtype=dq.dtype)
    return dq


@triton.jit
def query_gradient_kernel(
    q_ptr, k_ptr, v_ptr, k_desc, v_desc, dout_ptr, lse_ptr, delta_ptr, dq_ptr, items_ptr,
    q_stride, q_head_stride, k_stride, k_head_stride, v_stride, v_head_stride,
    dout_stride, dout_head_stride, num_tokens, q_heads, group,
    SCALE: tl.constexpr, HEAD_DIM: tl.constexpr, DIM: tl.constexpr,
    BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Write dq (tokens, q_heads, HEAD_DIM), contiguous; programs as in the forward pass."""
    item = tl.program_id(0) // q_heads
    head = tl.program_id(0) % q_heads
    first = tl.load(items_ptr + item * 4)
    length = tl.load(items_ptr + item * 4 + 1)
    row = tl.load(items_ptr + item * 4 + 2) * BLOCK_Q
    if tl.load(items_ptr + item * 4 + 3) == 0:
        return
    offsets = tl.arange(0, BLOCK_Q)
    dims = tl.arange(0, DIM)
    start = first.to(tl.int64)
    kv_head = head // group
    k_base = k_ptr + start * k_stride + kv_head.to(tl.int64) * k_head_stride
    v_base = v_ptr + start * v_stride + kv_head.to(tl.int64) * v_head_stride
    q_base = q_ptr + (start + row) * q_stride + head.to(tl.int64) * q_head_stride
    q = _load_rows(q_base, q_stride, offsets, dims, length - row, HEAD_DIM, DIM)
    dout_base = dout_ptr + (start + row) * dout_stride + head.to(tl.int64) * dout_head_stride
    dout = _load_rows(dout_base, dout_stride, offsets, dims, length - row, HEAD_DIM, DIM)
    line = head.to(tl.int64) * num_tokens + start + row
    lse = tl.load(lse_ptr + line + offsets, mask=offsets < length - row, other=0.0) * LOG2E
    delta = tl.load(delta_ptr + line + offsets, mask=offsets < length - row, other=0.0)
    dq = tl.zeros([BLOCK_Q, DIM], dtype=ACC)
    diagonal = row // BLOCK_K * BLOCK_K
    end = tl.minimum(row + BLOCK_Q, length)
    dq = _accumulate_dq(
        dq, q, dout, lse, delta, k_desc, v_desc, k_base, v_base, k_stride, v_stride,
        kv_head, first, length, row, 0, diagonal, SCALE, HEAD_DIM, DIM, BLOCK_Q, BLOCK_K, False,
    )  # fmt: skip
    dq = _accumulate_dq(
        dq, q, dout, lse, delta, k_desc, v_desc, k_base, v_base, k_stride, v_stride,
        kv_head, first, length, row, diagonal, end, SCALE, HEAD_DIM, DIM, BLOCK_Q, BLOCK_K, True,
    )  # fmt: skip
    dq_base = dq_ptr + ((start + row) * q_heads + head) * HEAD_DIM
    _store_rows(dq_base, q_heads * HEAD_DIM, offsets, dims, length - row, dq * SCALE, HEAD_DIM, DIM)


@triton.jit
def _accumulate_dk_dv(
    dk, dv, k, v, q_desc, dout_desc, head, lse_base, delta_base, column, length,
    SCALE: tl.constexpr, DIM: tl.constexpr, BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    # scores are kept transposed, (BLOCK_K, BLOCK_Q), so that both products take them from registers
    # as their left operand. One loop that always masks: a second, unmasked loop costs registers
    # that these tiles do not have
    offsets = tl.arange(0, BLOCK_Q)
    columns = column + tl.arange(0, BLOCK_K)
    # BLOCK_Q divides BLOCK_K: the first block of queries starts at this tile's first key
    for start in range(column, length, BLOCK_Q):
        inside = offsets < length - start
        q = q_desc.load([head, start, 0]).reshape(BLOCK_Q, DIM)
        # an infinite log-sum-exp makes the probabilities of rows beyond the document exactly 0
        lse = tl.load(lse_base + start + offsets, mask=inside, other=float("inf")) * LOG2E
        scores = tl.dot(k, tl.trans(q), input_precision="ieee")
        p = tl.exp2(scores * (SCALE * LOG2E) - lse[None, :])
        # this order of the comparison makes the term that varies over a thread's many queries a
        # constant; the other order takes 20 to 40 more registers
        p = tl.where(offsets[None, :] >= (columns - start)[:, None], p, 0.0)
        dout = dout_desc.load([head, start, 0]).reshape(BLOCK_Q, DIM)
        dv = tl.dot(p.to(dout.dtype), dout, dv, input_precision="ieee", out_dtype=dv.dtype)
        delta = tl.load(delta_base + start + offsets, mask=inside, other=0.0)
        dp = tl.dot(v, tl.trans(dout), input_precision="ieee")
        ds = p * (dp - delta[None, :])
        dk = tl.dot(ds.to(q.dtype), q, dk, input_precision="ieee", out_dtype=dk.dtype)
    return dk, dv


@triton.jit
def key_value_gradient_kernel(
    q_ptr, k_ptr, v_ptr, dout_ptr, lse_ptr, delta_ptr, dk_ptr, dv_ptr, items_ptr,
    q_stride, q_head_stride, k_stride, k_head_stride, v_stride, v_head_stride,
    dout_stride, dout_head_stride, num_tokens, kv_heads, group, parts,
    SCALE: tl.constexpr, HEAD_DIM: tl.constexpr, DIM: tl.constexpr,
    BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Write dk and dv (parts, tokens, kv_heads, HEAD_DIM), contiguous.

    One program per (kv block, kv head, part of its group of q heads). With one part the result is
    final; with more parts each holds the sum over its share of the group, and `sum_parts_kernel`
    adds them up.
    """
    item = tl.program_id(0) // (kv_heads * parts)
    kv_head = tl.program_id(0) % (kv_heads * parts) // parts
    part = tl.program_id(0) % parts
    first = tl.load(items_ptr + item * 4)
    length = tl.load(items_ptr + item * 4 + 1)
    column = tl.load(items_ptr + item * 4 + 2) * BLOCK_K
    if tl.load(items_ptr + item * 4 + 3) == 0:
        return
    offsets = tl.arange(0, BLOCK_K)
    dims = tl.arange(0, DIM)
    start = first.to(tl.int64)
    k_base = k_ptr + (start + column) * k_stride + kv_head.to(tl.int64) * k_head_stride
    v_base = v_ptr + (start + column) * v_stride + kv_head.to(tl.int64) * v_head_stride
    k = _load_rows(k_base, k_stride, offsets, dims, length - column, HEAD_DIM, DIM)
    v = _load_rows(v_base, v_stride, offsets, dims, length - column, HEAD_DIM, DIM)
    # one descriptor per program for all heads of the document: each new descriptor costs a fence
    # before its first load
    heads = kv_heads * group
    q_desc = tl.make_tensor_descriptor(
        q_ptr + start * q_stride,
        [heads, length, HEAD_DIM],
        [q_head_stride, q_stride, 1],
        [1, BLOCK_Q, DIM],
    )
    dout_desc = tl.make_tensor_descriptor(
        dout_ptr + start * dout_stride,
        [heads, length, HEAD_DIM],
        [dout_head_stride, dout_stride, 1],
        [1, BLOCK_Q, DIM],
    )
    dk = tl.zeros([BLOCK_K, DIM], dtype=ACC)
    dv = tl.zeros([BLOCK_K, DIM], dtype=ACC)
    share = tl.cdiv(group, parts)
    lowest = kv_head * group + part * share
    for head in range(lowest, tl.minimum(lowest + share, (kv_head + 1) * group)):
        line = tl.cast(head, tl.int64) * num_tokens + start
        dk, dv = _accumulate_dk_dv(
            dk, dv, k, v, q_desc, dout_desc, head, lse_ptr + line, delta_ptr + line,
            column, length, SCALE, DIM, BLOCK_Q, BLOCK_K,
        )  # fmt: skip
    line = ((tl.cast(part, tl.int64) * num_tokens + start + column) * kv_heads + kv_head) * HEAD_DIM
    _store_rows(
        dk_ptr + line,
        kv_heads * HEAD_DIM,
        offsets,
        dims,
        length - column,
        dk * SCALE,
        HEAD_DIM,
        DIM,
    )
    _store_rows(
        dv_ptr + line, kv_heads * HEAD_DIM, offsets, dims, length - column, dv, HEAD_DIM, DIM
    )


@triton.jit
def sum_parts_kernel(parts_ptr, out_ptr, size, parts, BLOCK: tl.constexpr, ACC: tl.constexpr):
    """Write out (size,), the sum of parts (parts, size), always in the order of the parts."""
    offsets = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    total = tl.zeros([BLOCK], dtype=ACC)
    for part in range(0, parts):
        total += tl.load(
            parts_ptr + tl.cast(part, tl.int64) * size + offsets, mask=offsets < size, other=0.0
        )
    tl.store(out_ptr + offsets, total.to(out_ptr.dtype.element_ty), mask=offsets < size)


INTERPRETED = isinstance(forward_kernel, InterpretedFunction)
ACCUMULATORS = {torch.float32: tl.float32, torch.float64: tl.float64}
