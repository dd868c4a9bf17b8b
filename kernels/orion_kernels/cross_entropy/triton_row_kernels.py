"""Triton kernels of linear_cross_entropy before and after the product with the head.

The notation is that of `triton_kernels`: z is a logit after bias and softcap, r a row, y its label,
m_r a reference near z_ry, and E = exp(z - m_r).
"""

from __future__ import annotations

import triton
import triton.language as tl

from orion_kernels.cross_entropy.triton_kernels import LOG2E, LOWEST, cast_to, tanh

# a row with a larger sum is computed again from its true maximum, so that the product of 1 / sum
# and a hidden state remains a normal bfloat16
LARGEST_SUM = tl.constexpr(2.0**64)


@triton.jit
def reference_kernel(
    x_ptr,  # (n, hidden)
    w_ptr,  # (vocab, hidden)
    bias_ptr,  # (vocab,)
    target_ptr,  # (n,) int64
    reference_ptr,  # (n,) out: the label's logit, 0 if not finite
    x_stride,
    w_stride,
    hidden,
    vocab,
    SOFTCAP: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    ACC: tl.constexpr,
    BLOCK_H: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    target = tl.load(target_ptr + row)
    known = (target >= 0) & (target < vocab)
    total = tl.zeros((BLOCK_H,), ACC)
    for start in range(0, hidden, BLOCK_H):
        h = start + tl.arange(0, BLOCK_H)
        x = tl.load(x_ptr + row * x_stride + h, mask=h < hidden, other=0.0).to(ACC)
        mask = (h < hidden) & known
        total += x * tl.load(w_ptr + target * w_stride + h, mask=mask, other=0.0).to(ACC)
    z = tl.sum(total, 0)
    if HAS_BIAS:
        z += tl.load(bias_ptr + target, mask=known, other=0.0).to(ACC)
    if SOFTCAP > 0:
        z = SOFTCAP * tanh(z / SOFTCAP, ACC)
    tl.store(reference_ptr + row, tl.where(tl.abs(z) < 3.0e38, z, 0.0))


@triton.jit(do_not_specialize=["n", "tiles"])
def reduce_tiles_kernel(  # noqa: C901 (compile-time options; a split would change the code)
    part_ptr,  # (4, tiles, n) in: as logits_kernel writes it
    target_ptr,  # (n,) int64
    label_ptr,  # (n,) z_ry
    reference_ptr,  # (n,) m_r: in for EXPONENTIALS; out otherwise, and for rows that need repair
    flag_ptr,  # (row tiles,) int32 out: 1 where a row of the tile needs repair
    # (3, n) out: sum of the exponentials without the label; the same times (z - m_r); sum of z
    total_ptr,
    # (n,) in: as logits_kernel writes it; out: 1 where the label has the largest z of all
    correct_ptr,
    n,
    tiles,
    EXPONENTIALS_MODE: tl.constexpr,
    CHECK: tl.constexpr,
    METRICS: tl.constexpr,
    SMOOTHING: tl.constexpr,
    ACC: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_R: tl.constexpr,
    BLOCK_T: tl.constexpr,
):
    rows = tl.program_id(0) * BLOCK_R + tl.arange(0, BLOCK_R)
    row_mask = rows < n
    plane = tiles.to(tl.int64) * n
    top = tl.full((BLOCK_R,), LOWEST, ACC)
    if METRICS:
        target = tl.load(target_ptr + rows, mask=row_mask, other=-1)
        label = tl.load(label_ptr + rows, mask=row_mask, other=0.0)
        beaten = tl.zeros((BLOCK_R,), tl.int32)
    for first in range(0, tiles, BLOCK_T):
        t = first + tl.arange(0, BLOCK_T)
        mask = (t < tiles)[:, None] & row_mask[None, :]
        at = t.to(tl.int64)[:, None] * n + rows[None, :]
        tops = tl.load(part_ptr + at, mask=mask, other=LOWEST)
        top = tl.maximum(top, tl.max(tops, 0))
        if METRICS:
            earlier = t[:, None] < target[None, :] // BLOCK_N
            above = (tops > label[None, :]) | (earlier & (tops == label[None, :]))
            beaten = tl.maximum(beaten, tl.max((above & mask).to(tl.int32), 0))
    reference = top
    if EXPONENTIALS_MODE:
        reference = tl.load(reference_ptr + rows, mask=row_mask, other=0.0)
    others = tl.zeros((BLOCK_R,), ACC)
    moment = tl.zeros((BLOCK_R,), ACC)
    total = tl.zeros((BLOCK_R,), ACC)
    for first in range(0, tiles, BLOCK_T):
        t = first + tl.arange(0, BLOCK_T)
        mask = (t < tiles)[:, None] & row_mask[None, :]
        at = t.to(tl.int64)[:, None] * n + rows[None, :]
        sums = tl.load(part_ptr + plane + at, mask=mask, other=0.0)
        if METRICS:
            moments = tl.load(part_ptr + 2 * plane + at, mask=mask, other=0.0)
        if not EXPONENTIALS_MODE:
            shift = tl.load(part_ptr + at, mask=mask, other=LOWEST) - reference[None, :]
            factor = tl.exp2(shift * LOG2E)
            if METRICS:
                moments = tl.where(factor > 0, (moments + sums * shift) * factor, 0.0)
            sums = tl.where(factor > 0, sums * factor, 0.0)
        others += tl.sum(sums, 0)
        if METRICS:
            moment += tl.sum(moments, 0)
        if SMOOTHING:
            total += tl.sum(tl.load(part_ptr + 3 * plane + at, mask=mask, other=0.0), 0)
    if CHECK:
        # a NaN compares false: its row is computed again, with the same result
        good = (others <= LARGEST_SUM) | (row_mask == 0)
        tl.store(reference_ptr + rows, tl.where(good, reference, top), mask=row_mask)
        if tl.min(good.to(tl.int32), 0) == 0:
            tl.store(flag_ptr + tl.program_id(0) * BLOCK_R // BLOCK_M, 1)
    elif not EXPONENTIALS_MODE:
        tl.store(reference_ptr + rows, reference, mask=row_mask)
    if not CHECK:
        tl.store(total_ptr + rows, others, mask=row_mask)
        if METRICS:
            tl.store(total_ptr + n + rows, moment, mask=row_mask)
            correct = tl.load(correct_ptr + rows, mask=row_mask, other=0.0)
            tl.store(correct_ptr + rows, tl.where(beaten == 0, correct, 0.0), mask=row_mask)
        if SMOOTHING:
            tl.store(total_ptr + 2 * n + rows, total, mask=row_mask)


@triton.jit
def set_label_entry_kernel(
    x_ptr,  # (n, hidden)
    target_ptr,  # (n,) int64
    label_ptr,  # (n,) z_ry
    reference_ptr,  # (n,) m_r
    others_ptr,  # (n,) sum of the exponentials without the label
    gradient_ptr,  # (n,) d total / d loss_r
    # (n, vocab) in: E times d z / d logit; out: the label's entry changed such that dlogits =
    # factor * E
    exponential_ptr,
    factor_ptr,  # (n,) out
    scaled_ptr,  # (n, hidden) out: factor * x, in the dtype of x
    x_stride,
    exponential_stride,
    hidden,
    vocab,
    SOFTCAP: tl.constexpr,
    Z_LOSS: tl.constexpr,
    SCALED: tl.constexpr,
    INTERPRET: tl.constexpr,
    ACC: tl.constexpr,
    BLOCK_H: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    target = tl.load(target_ptr + row)
    known = (target >= 0) & (target < vocab)
    z = tl.load(label_ptr + row)
    reference = tl.load(reference_ptr + row)
    others = tl.load(others_ptr + row)
    exponential = tl.exp2((z - reference) * LOG2E)
    total = others + exponential
    # dlogits = g * (a * p - onehot) with a = 1 + 2 * z_loss * lse, and p = E / total
    a = 1 + 2 * Z_LOSS * (reference + tl.log(total))
    a = tl.where(tl.abs(a) < 1e-6, 1e-6, a)
    factor = tl.load(gradient_ptr + row) * a / total
    # a label that does not exist is written nowhere, and its row has no gradient that is a number
    factor = tl.where(known, factor, float("nan"))
    entry = exponential * (1 - 1 / a) - others / a
    if SOFTCAP > 0:
        entry *= 1 - (z / SOFTCAP) * (z / SOFTCAP)
    entry = cast_to(entry, exponential_ptr.dtype.element_ty, INTERPRET)
    tl.store(exponential_ptr + row * exponential_stride + target, entry, mask=known)
    tl.store(factor_ptr + row, factor)
    if SCALED:
        for start in range(0, hidden, BLOCK_H):
            h = start + tl.arange(0, BLOCK_H)
            x = tl.load(x_ptr + row * x_stride + h, mask=h < hidden, other=0.0).to(ACC)
            narrow = cast_to(factor * x, scaled_ptr.dtype.element_ty, INTERPRET)
            tl.store(scaled_ptr + row * hidden + h, narrow, mask=h < hidden)


@triton.jit(do_not_specialize=["n", "columns"])
def column_sums_kernel(
    value_ptr,  # (n, columns), in rows padded to a multiple of 16
    factor_ptr,  # (n,)
    sum_ptr,  # (columns,) out: sum over rows of factor * value; ADD adds it to the present content
    n,
    columns,
    value_stride,
    ADD: tl.constexpr,
    ACC: tl.constexpr,
    BLOCK_R: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    cols = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)
    col_mask = cols < columns
    total = tl.zeros((BLOCK_C,), ACC)
    for first in range(0, n, BLOCK_R):
        rows = first + tl.arange(0, BLOCK_R)
        mask = (rows < n)[:, None] & (cols < tl.cdiv(columns, 16) * 16)[None, :]
        at = value_ptr + rows.to(tl.int64)[:, None] * value_stride + cols[None, :]
        factor = tl.load(factor_ptr + rows, mask=rows < n, other=0.0)
        total += tl.sum(tl.load(at, mask=mask, other=0.0).to(ACC) * factor[:, None], 0)
    if ADD:
        total += tl.load(sum_ptr + cols, mask=col_mask, other=0.0)
    tl.store(sum_ptr + cols, total, mask=col_mask)
