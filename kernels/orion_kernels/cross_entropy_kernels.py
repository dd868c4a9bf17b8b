"""Triton kernels of linear_cross_entropy; `cross_entropy_configs` has their sizes, `cross_entropy_triton` launches them.

Inputs and outputs are pointers into contiguous rows. z is a logit after bias and softcap, r a row (a valid token), y its label,
m_r a reference near z_ry. The matmul stores powers E = exp(z - m_r) and, a vocabulary tile at a time, their sums without the
label, so that 1 - p_y is a quotient of sums and never a difference of two numbers near 1. Nothing to run.
"""

from __future__ import annotations

import triton
import triton.language as tl

LOG2E = tl.constexpr(1.4426950408889634)
LOWEST = tl.constexpr(
    -3.0e38
)  # finite stand-in for -inf, so that differences of references are never NaN
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
def _quarters(z, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr):
    # (BLOCK_M, BLOCK_N) -> its columns in four equal parts, from left to right
    left, right = tl.split(tl.permute(tl.reshape(z, (BLOCK_M, 2, BLOCK_N // 2)), (0, 2, 1)))
    a, b = tl.split(tl.permute(tl.reshape(left, (BLOCK_M, 2, BLOCK_N // 4)), (0, 2, 1)))
    c, d = tl.split(tl.permute(tl.reshape(right, (BLOCK_M, 2, BLOCK_N // 4)), (0, 2, 1)))
    return a, b, c, d


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
    reference_ptr,  # (n,) m_r for POWERS; for SLOPES (3, n): m_r, lse - m_r, 1 - p_y
    flag_ptr,  # (row tiles,) int32: with REPAIR, only flagged row tiles are computed
    out_ptr,  # (n, columns rounded up to 16) E or slopes, in the dtype of x
    label_ptr,  # (n,) out: z_ry
    part_ptr,  # (4, vocab tiles, n) out: largest z, sum of powers but the label's, the same times (z - reference), sum of z
    correct_ptr,  # (n,) out: 1 where the label has the largest z of its tile, the lowest column among equals
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
    row_mask = rows < n
    z = tl.zeros((BLOCK_M, BLOCK_N), ACC)
    for start in range(0, hidden, BLOCK_K):
        if TMA:
            a = x.load([row_tile * BLOCK_M, start])
            b = w.load([column_tile * BLOCK_N, start])
        else:
            k = start + tl.arange(0, BLOCK_K)
            inside = k[None, :] < hidden
            a_at = x + rows.to(tl.int64)[:, None] * x_stride + k[None, :]
            cols = column_tile * BLOCK_N + tl.arange(0, BLOCK_N)
            b_at = w + cols.to(tl.int64)[:, None] * w_stride + k[None, :]
            a = tl.load(a_at, mask=row_mask[:, None] & inside, other=0.0)
            b = tl.load(b_at, mask=(cols < columns)[:, None] & inside, other=0.0)
        if INTERPRET:
            a = a.to(ACC)
            b = b.to(ACC)
        z = tl.dot(a, tl.trans(b), z, input_precision="ieee", out_dtype=ACC)
    target = tl.load(target_ptr + rows, mask=row_mask, other=-1).to(tl.int32) - first_column
    reference = tl.full((BLOCK_M,), LOWEST, ACC)
    if MODE != 0:
        reference = tl.load(reference_ptr + rows, mask=row_mask, other=0.0)
    if MODE == 2:
        above = tl.load(reference_ptr + n + rows, mask=row_mask, other=0.0)
        miss = tl.load(reference_ptr + 2 * n + rows, mask=row_mask, other=0.0)
        lse = reference + above
        gain = 1 + 2 * Z_LOSS * lse
    label = tl.zeros((BLOCK_M,), ACC)
    top = tl.full((BLOCK_M,), LOWEST, ACC)
    best = tl.full((BLOCK_M,), -1, tl.int32)
    others = tl.zeros((BLOCK_M,), ACC)
    moment = tl.zeros((BLOCK_M,), ACC)
    total = tl.zeros((BLOCK_M,), ACC)
    # a quarter of the columns at a time: what follows would spill registers beside the accumulators of a whole tile
    quarters = _quarters(z, BLOCK_M, BLOCK_N)
    for quarter in tl.static_range(4):
        z = quarters[quarter]
        cols = column_tile * BLOCK_N + quarter * (BLOCK_N // 4) + tl.arange(0, BLOCK_N // 4)
        col_mask = cols < columns
        if HAS_BIAS:
            z += tl.load(bias_ptr + cols, mask=col_mask, other=0.0).to(ACC)[None, :]
        if SOFTCAP > 0:
            t = _tanh(z / SOFTCAP, ACC)
            z = SOFTCAP * t
        hit = cols[None, :] == target[:, None]

        if MODE == 2:
            # two differences, not one from a rounded sum; and the label's p - 1 as forward found it, not of near equals
            value = tl.exp2((z - reference[:, None] - above[:, None]) * LOG2E) * gain[:, None]
            value = tl.where(hit, (2 * Z_LOSS * lse + SMOOTHING - miss * gain)[:, None], value)
            if SMOOTHING > 0:
                value -= SMOOTHING / vocab.to(ACC)
            if SOFTCAP > 0:
                value *= 1 - t * t
            if Z_LOSS > 0 and SCALE > 1:
                # float16 has no room for a large 1 + 2 * z_loss * lse: backward multiplies it into the row's factor
                value /= tl.maximum(tl.abs(gain), 1.0)[:, None]
            value *= SCALE
        else:
            # beyond the last column a power of 0
            z = tl.where(col_mask[None, :], z, LOWEST)
            label += tl.sum(tl.where(hit, z, 0.0), 1)
            here = tl.max(z, 1)
            # which is the largest does not depend on the reference that a repair changes
            if METRICS and not REPAIR:
                first = tl.min(tl.where(z == here[:, None], cols[None, :], 2147483647), 1)
                best = tl.where(here > top, first, best)
            top = tl.maximum(top, here)
            if SMOOTHING > 0:
                total += tl.sum(tl.where(col_mask[None, :], z, 0.0), 1)
            if MODE == 0:
                # what was summed so far, against the new reference
                shift = tl.maximum(reference - top, LOWEST)
                factor = tl.exp2(shift * LOG2E)
                moment = (moment + others * shift) * factor
                others *= factor
                reference = top
            distance = z - reference[:, None]
            value = tl.exp2(distance * LOG2E)
            powers = tl.where(hit, 0.0, value)
            others += tl.sum(powers, 1)
            if METRICS:
                moment += tl.sum(powers * tl.maximum(distance, LOWEST), 1)
            if SOFTCAP > 0:
                value *= 1 - t * t
        if MODE != 0:
            out_at = out_ptr + rows.to(tl.int64)[:, None] * out_stride + cols[None, :]
            narrow = _narrow(value, out_ptr.dtype.element_ty, INTERPRET)
            # whole groups of 16, which the rows have room for: a mask that could end anywhere makes stores of 2 bytes of it
            wide = cols < tl.cdiv(columns, 16) * 16
            tl.store(out_at, narrow, mask=row_mask[:, None] & wide[None, :])
        # one after the other: the compiler must not keep the intermediates of two quarters in registers
        tl.debug_barrier()

    if MODE != 2:
        plane = column_tiles.to(tl.int64) * n
        at = column_tile.to(tl.int64) * n + rows
        tl.store(part_ptr + at, top, mask=row_mask)
        tl.store(part_ptr + plane + at, others, mask=row_mask)
        own = row_mask & (target >= column_tile * BLOCK_N) & (target < (column_tile + 1) * BLOCK_N)
        tl.store(label_ptr + rows, label, mask=own)
        if METRICS:
            tl.store(part_ptr + 2 * plane + at, moment, mask=row_mask)
            if not REPAIR:
                tl.store(correct_ptr + rows, tl.where(best == target, 1.0, 0.0), mask=own)
        if SMOOTHING > 0:
            tl.store(part_ptr + 3 * plane + at, total, mask=row_mask)


@triton.jit(do_not_specialize=["n", "tiles"])
def rows_kernel(
    part_ptr,  # (4, tiles, n) as logits_kernel left it
    target_ptr,  # (n,) int64
    label_ptr,  # (n,) z_ry
    reference_ptr,  # (n,) m_r: in for POWERS, out otherwise and where a row needs repair
    flag_ptr,  # (row tiles,) int32 out: 1 where a row of the tile needs repair
    total_ptr,  # (3, n) out: sum of powers but the label's, the same times (z - m), sum of z
    correct_ptr,  # (n,) in: as logits_kernel left it; out: 1 where the label has the largest z of all
    n,
    tiles,
    POWERS_MODE: tl.constexpr,
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
            correct = tl.load(correct_ptr + rows, mask=row_mask, other=0.0)
            tl.store(correct_ptr + rows, tl.where(beaten == 0, correct, 0.0), mask=row_mask)
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
    value_ptr,  # (n, columns), in rows of columns rounded up to 16
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
        mask = (rows < n)[:, None] & (cols < tl.cdiv(columns, 16) * 16)[None, :]
        at = value_ptr + rows.to(tl.int64)[:, None] * value_stride + cols[None, :]
        factor = tl.load(factor_ptr + rows, mask=rows < n, other=0.0)
        total += tl.sum(tl.load(at, mask=mask, other=0.0).to(ACC) * factor[:, None], 0)
    if ADD:
        total += tl.load(sum_ptr + cols, mask=col_mask, other=0.0)
    tl.store(sum_ptr + cols, total, mask=col_mask)
