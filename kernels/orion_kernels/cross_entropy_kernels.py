"""Triton kernels of linear_cross_entropy; `cross_entropy_configs` has their sizes, `cross_entropy_triton` launches them.

Inputs and outputs are pointers into contiguous rows. z is a logit after bias and softcap, r a row (a valid token), y its label,
m_r a reference near z_ry. The matmul stores powers E = exp(z - m_r) and, a vocabulary tile at a time, their sums without the
label, so that 1 - p_y is a quotient of sums and never a difference of two numbers near 1. Nothing to run.
"""

from __future__ import annotations

import triton
import triton.language as tl

LOG2E = tl.constexpr(1.4426950408889634)
LOWEST = tl.constexpr(-3.0e38)  # finite stand-in for -inf, so that differences of references are never NaN
# above this sum a row is computed again from its true maximum: the product of 1 / sum and a hidden state stays a normal bfloat16
LARGEST_SUM = tl.constexpr(2.0**64)


@triton.jit
def _narrow(value, like: tl.constexpr, INTERPRET: tl.constexpr):
    if INTERPRET and like == tl.bfloat16:
        # the interpreter truncates to bfloat16; round to nearest even as the hardware does
        bits = value.to(tl.float32).to(tl.int32, bitcast=True)
        bits += 0x7FFF + ((bits >> 16) & 1)
        value = (bits & -65536).to(tl.float32, bitcast=True)
    return value.to(like)


@triton.jit
def _tanh(u, ACC: tl.constexpr):
    e = tl.exp(-2 * tl.abs(u))
    t = (1 - e) / (1 + e)
    t = tl.where(u < 0, -t, t)
    if tl.float32 == ACC:
        # 1 - e cancels near 0; the Taylor series has a relative error of 1e-8 at 0.25
        s = u * u
        series = u * (1 + s * (-1 / 3 + s * (2 / 15 + s * (-17 / 315 + s * (62 / 2835)))))
        t = tl.where(tl.abs(u) < 0.25, series, t)
    return t


@triton.jit
def reference_kernel(
    x_ptr,  # (n, hidden)
    w_ptr,  # (vocab, hidden)
    bias_ptr,  # (vocab,)
    target_ptr,  # (n,) int64
    reference_ptr,  # (n,) out: the label's logit, 0 where it is not finite
    x_stride,
    w_stride,
    hidden,
    SOFTCAP: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    ACC: tl.constexpr,
    BLOCK_H: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    target = tl.load(target_ptr + row)
    total = tl.zeros((BLOCK_H,), ACC)
    for start in range(0, hidden, BLOCK_H):
        h = start + tl.arange(0, BLOCK_H)
        x = tl.load(x_ptr + row * x_stride + h, mask=h < hidden, other=0.0).to(ACC)
        total += x * tl.load(w_ptr + target * w_stride + h, mask=h < hidden, other=0.0).to(ACC)
    z = tl.sum(total, 0)
    if HAS_BIAS:
        z += tl.load(bias_ptr + target).to(ACC)
    if SOFTCAP > 0:
        z = SOFTCAP * _tanh(z / SOFTCAP, ACC)
    tl.store(reference_ptr + row, tl.where(tl.abs(z) < 3.0e38, z, 0.0))


# specialising on a size of 1 would make it a constant without .to(), and on multiples of 16 compile once more for some batches
@triton.jit(do_not_specialize=["n", "columns", "first_column", "vocab"])
def logits_kernel(
    x,  # (n, hidden): a tensor descriptor where TMA, else a pointer
    w,  # (columns, hidden): likewise; the rows of the head from first_column on
    bias_ptr,  # (columns,)
    target_ptr,  # (n,) int64
    reference_ptr,  # (n,) m_r for POWERS, lse for SLOPES
    flag_ptr,  # (row tiles,) int32: with REPAIR, only flagged row tiles are computed
    out_ptr,  # (n, columns) E or slopes, in the dtype of x
    label_ptr,  # (n,) out: z_ry
    part_ptr,  # (4, vocab tiles, n) out: largest z, sum of powers but the label's, the same times (z - reference), sum of z
    best_ptr,  # (vocab tiles, n) int32 out: column of the largest z
    n,
    columns,
    hidden,
    x_stride,
    w_stride,
    out_stride,
    first_column,
    vocab,
    SOFTCAP: tl.constexpr,
    Z_LOSS: tl.constexpr,
    SMOOTHING: tl.constexpr,
    SCALE: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    MODE: tl.constexpr,  # 0 statistics against each tile's maximum, 1 statistics against m_r and E, 2 slopes from a known lse
    METRICS: tl.constexpr,
    REPAIR: tl.constexpr,
    TMA: tl.constexpr,
    ACC: tl.constexpr,
    INTERPRET: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    GROUP_M: tl.constexpr,
):
    # GROUP_M row tiles share a vocabulary tile while it is in L2
    row_tiles = tl.cdiv(n, BLOCK_M)
    column_tiles = tl.cdiv(columns, BLOCK_N)
    pid = tl.program_id(0)
    group = pid // (GROUP_M * column_tiles)
    group_size = tl.minimum(row_tiles - group * GROUP_M, GROUP_M)
    within = pid % (GROUP_M * column_tiles)
    row_tile = group * GROUP_M + within % group_size
    column_tile = within // group_size
    if REPAIR and tl.load(flag_ptr + row_tile) == 0:
        return
    rows = row_tile * BLOCK_M + tl.arange(0, BLOCK_M)
    cols = column_tile * BLOCK_N + tl.arange(0, BLOCK_N)
    row_mask = rows < n
    col_mask = cols < columns
    z = tl.zeros((BLOCK_M, BLOCK_N), ACC)
    for start in range(0, hidden, BLOCK_K):
        if TMA:
            a = x.load([row_tile * BLOCK_M, start])
            b = w.load([column_tile * BLOCK_N, start])
        else:
            k = start + tl.arange(0, BLOCK_K)
            inside = k[None, :] < hidden
            a_at = x + rows.to(tl.int64)[:, None] * x_stride + k[None, :]
            b_at = w + cols.to(tl.int64)[:, None] * w_stride + k[None, :]
            a = tl.load(a_at, mask=row_mask[:, None] & inside, other=0.0)
            b = tl.load(b_at, mask=col_mask[:, None] & inside, other=0.0)
        if INTERPRET:
            a = a.to(ACC)
            b = b.to(ACC)
        z = tl.dot(a, tl.trans(b), z, input_precision="ieee", out_dtype=ACC)
    if HAS_BIAS:
        z += tl.load(bias_ptr + cols, mask=col_mask, other=0.0).to(ACC)[None, :]
    if SOFTCAP > 0:
        t = _tanh(z / SOFTCAP, ACC)
        z = SOFTCAP * t
    target = tl.load(target_ptr + rows, mask=row_mask, other=-1).to(tl.int32) - first_column
    hit = cols[None, :] == target[:, None]

    if MODE == 2:
        lse = tl.load(reference_ptr + rows, mask=row_mask, other=0.0)
        value = tl.exp2((z - lse[:, None]) * LOG2E) * (1 + 2 * Z_LOSS * lse)[:, None]
        value = tl.where(hit, value - (1 - SMOOTHING), value)
        if SMOOTHING > 0:
            value -= SMOOTHING / vocab.to(ACC)
        if SOFTCAP > 0:
            value *= 1 - t * t
        if Z_LOSS > 0 and SCALE > 1:
            # float16 has no room for a large 1 + 2 * z_loss * lse: backward multiplies it into the row's factor
            value /= tl.maximum(tl.abs(1 + 2 * Z_LOSS * lse), 1.0)[:, None]
        value *= SCALE
    else:
        masked = tl.where(col_mask[None, :], z, LOWEST)
        tiles = column_tiles.to(tl.int64)
        plane = tiles * n
        at = column_tile.to(tl.int64) * n + rows
        if METRICS:
            top, best = tl.max(masked, 1, return_indices=True)
            tl.store(best_ptr + at, column_tile * BLOCK_N + best, mask=row_mask)
        else:
            top = tl.max(masked, 1)
        tl.store(part_ptr + at, top, mask=row_mask)
        inside_tile = (target >= column_tile * BLOCK_N) & (target < column_tile * BLOCK_N + BLOCK_N)
        tl.store(label_ptr + rows, tl.sum(tl.where(hit, z, 0.0), 1), mask=row_mask & inside_tile)
        if MODE == 1:  # noqa: SIM108  (a constexpr branch: the other side is not compiled)
            reference = tl.load(reference_ptr + rows, mask=row_mask, other=0.0)
        else:
            reference = tl.maximum(top, LOWEST)
        if SMOOTHING > 0:
            tl.store(part_ptr + 3 * plane + at, tl.sum(tl.where(col_mask[None, :], z, 0.0), 1), mask=row_mask)
        distance = z - reference[:, None]
        value = tl.exp2(distance * LOG2E)
        others = tl.where(hit | (col_mask[None, :] == 0), 0.0, value)
        tl.store(part_ptr + plane + at, tl.sum(others, 1), mask=row_mask)
        if METRICS:
            moment = tl.sum(others * tl.maximum(distance, LOWEST), 1)
            tl.store(part_ptr + 2 * plane + at, moment, mask=row_mask)
        if SOFTCAP > 0:
            value *= 1 - t * t
    if MODE != 0:
        out_at = out_ptr + rows.to(tl.int64)[:, None] * out_stride + cols[None, :]
        narrow = _narrow(value, out_ptr.dtype.element_ty, INTERPRET)
        tl.store(out_at, narrow, mask=row_mask[:, None] & col_mask[None, :])


@triton.jit(do_not_specialize=["n", "tiles"])
def rows_kernel(
    part_ptr,  # (4, tiles, n) as logits_kernel left it
    best_ptr,  # (tiles, n)
    target_ptr,  # (n,) int64
    reference_ptr,  # (n,) m_r: in for POWERS, out otherwise and where a row needs repair
    flag_ptr,  # (row tiles,) int32 out: 1 where a row of the tile needs repair
    total_ptr,  # (3, n) out: sum of powers but the label's, the same times (z - m), sum of z
    correct_ptr,  # (n,) out: 1 where the label has the largest z, the lowest column among equals
    n,
    tiles,
    POWERS_MODE: tl.constexpr,
    CHECK: tl.constexpr,
    METRICS: tl.constexpr,
    SMOOTHING: tl.constexpr,
    ACC: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_R: tl.constexpr,
    BLOCK_T: tl.constexpr,
):
    rows = tl.program_id(0) * BLOCK_R + tl.arange(0, BLOCK_R)
    row_mask = rows < n
    plane = tiles.to(tl.int64) * n
    top = tl.full((BLOCK_R,), LOWEST, ACC)
    best = tl.zeros((BLOCK_R,), tl.int32)
    for first in range(0, tiles, BLOCK_T):
        t = first + tl.arange(0, BLOCK_T)
        mask = (t < tiles)[:, None] & row_mask[None, :]
        at = t.to(tl.int64)[:, None] * n + rows[None, :]
        tops = tl.load(part_ptr + at, mask=mask, other=LOWEST)
        here = tl.max(tops, 0)
        if METRICS:
            columns = tl.load(best_ptr + at, mask=mask, other=0)
            column = tl.min(tl.where(tops == here[None, :], columns, 2147483647), 0)
            best = tl.where(here > top, column, best)
        top = tl.maximum(top, here)
    reference = top
    if POWERS_MODE:
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
        if not POWERS_MODE:
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
        # a NaN compares false and is computed again, to the same NaN
        good = (others <= LARGEST_SUM) | (row_mask == 0)
        tl.store(reference_ptr + rows, tl.where(good, reference, top), mask=row_mask)
        if tl.min(good.to(tl.int32), 0) == 0:
            tl.store(flag_ptr + tl.program_id(0) * BLOCK_R // BLOCK_M, 1)
    elif not POWERS_MODE:
        tl.store(reference_ptr + rows, reference, mask=row_mask)
    if not CHECK:
        tl.store(total_ptr + rows, others, mask=row_mask)
        if METRICS:
            tl.store(total_ptr + n + rows, moment, mask=row_mask)
            target = tl.load(target_ptr + rows, mask=row_mask, other=-1)
            tl.store(correct_ptr + rows, tl.where(best == target, 1.0, 0.0), mask=row_mask)
        if SMOOTHING:
            tl.store(total_ptr + 2 * n + rows, total, mask=row_mask)


@triton.jit
def patch_kernel(
    x_ptr,  # (n, hidden)
    target_ptr,  # (n,) int64
    label_ptr,  # (n,) z_ry
    reference_ptr,  # (n,) m_r
    others_ptr,  # (n,) sum of powers but the label's
    gradient_ptr,  # (n,) d total / d loss_r
    power_ptr,  # (n, vocab) E in, with d z / d logit; out: the label's entry such that slopes = factor * E
    factor_ptr,  # (n,) out
    scaled_ptr,  # (n, hidden) out: factor * x, in the dtype of x
    x_stride,
    power_stride,
    hidden,
    SOFTCAP: tl.constexpr,
    Z_LOSS: tl.constexpr,
    SCALED: tl.constexpr,
    INTERPRET: tl.constexpr,
    ACC: tl.constexpr,
    BLOCK_H: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    target = tl.load(target_ptr + row)
    z = tl.load(label_ptr + row)
    reference = tl.load(reference_ptr + row)
    others = tl.load(others_ptr + row)
    power = tl.exp2((z - reference) * LOG2E)
    total = others + power
    # slopes = g * (a * p - onehot) with a = 1 + 2 * z_loss * lse, and p = E / total
    a = 1 + 2 * Z_LOSS * (reference + tl.log(total))
    a = tl.where(tl.abs(a) < 1e-6, 1e-6, a)
    factor = tl.load(gradient_ptr + row) * a / total
    entry = power * (1 - 1 / a) - others / a
    if SOFTCAP > 0:
        entry *= 1 - (z / SOFTCAP) * (z / SOFTCAP)
    entry = _narrow(entry, power_ptr.dtype.element_ty, INTERPRET)
    tl.store(power_ptr + row * power_stride + target, entry)
    tl.store(factor_ptr + row, factor)
    if SCALED:
        for start in range(0, hidden, BLOCK_H):
            h = start + tl.arange(0, BLOCK_H)
            x = tl.load(x_ptr + row * x_stride + h, mask=h < hidden, other=0.0).to(ACC)
            narrow = _narrow(factor * x, scaled_ptr.dtype.element_ty, INTERPRET)
            tl.store(scaled_ptr + row * hidden + h, narrow, mask=h < hidden)


@triton.jit(do_not_specialize=["n", "columns"])
def column_sums_kernel(
    value_ptr,  # (n, columns)
    factor_ptr,  # (n,)
    sum_ptr,  # (columns,) out: sum over rows of factor * value, added to what is there where ADD
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
        mask = (rows < n)[:, None] & col_mask[None, :]
        at = value_ptr + rows.to(tl.int64)[:, None] * value_stride + cols[None, :]
        factor = tl.load(factor_ptr + rows, mask=rows < n, other=0.0)
        total += tl.sum(tl.load(at, mask=mask, other=0.0).to(ACC) * factor[:, None], 0)
    if ADD:
        total += tl.load(sum_ptr + cols, mask=col_mask, other=0.0)
    tl.store(sum_ptr + cols, total, mask=col_mask)
