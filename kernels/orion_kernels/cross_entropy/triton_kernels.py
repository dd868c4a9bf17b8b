"""The Triton kernel of linear_cross_entropy that multiplies hidden states with the head.

`triton_configs` has its sizes, `triton_launch` launches it, `triton_row_kernels` has the kernels
around it.

Inputs and outputs are pointers into contiguous rows. z is a logit after bias and softcap, r a row
(a valid token), y its label and m_r a reference near z_ry. The matrix product stores the
exponentials E = exp(z - m_r) and, per vocabulary tile, their sums without the label. Therefore 1 -
p_y is a quotient of sums and never a difference of two numbers near 1.
"""

from __future__ import annotations

import triton
import triton.language as tl

LOG2E = tl.constexpr(1.4426950408889634)
# finite substitute for -inf, so that differences of references are never NaN
LOWEST = tl.constexpr(-3.0e38)


@triton.jit
def cast_to(value, like: tl.constexpr, INTERPRET: tl.constexpr):
    if INTERPRET and like == tl.bfloat16:
        # the interpreter truncates to bfloat16: round to nearest even, as the hardware does
        bits = value.to(tl.float32).to(tl.int32, bitcast=True)
        bits += 0x7FFF + ((bits >> 16) & 1)
        value = (bits & -65536).to(tl.float32, bitcast=True)
    return value.to(like)


@triton.jit
def tanh(u, ACC: tl.constexpr):
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
def _split_columns(z, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr):
    # (BLOCK_M, BLOCK_N) -> four equal parts of its columns, from left to right
    left, right = tl.split(tl.permute(tl.reshape(z, (BLOCK_M, 2, BLOCK_N // 2)), (0, 2, 1)))
    a, b = tl.split(tl.permute(tl.reshape(left, (BLOCK_M, 2, BLOCK_N // 4)), (0, 2, 1)))
    c, d = tl.split(tl.permute(tl.reshape(right, (BLOCK_M, 2, BLOCK_N // 4)), (0, 2, 1)))
    return a, b, c, d


# A size of 1 would be specialised to a constant without .to(), and a multiple of 16 would compile
# again for some batches: neither is specialised
@triton.jit(do_not_specialize=["n", "columns", "first_column", "vocab"])
def logits_kernel(  # noqa: C901 (compile-time options; a split would change the code)
    x,  # (n, hidden): a tensor descriptor where TMA, else a pointer
    w,  # (columns, hidden): likewise; rows first_column to first_column + columns of the head
    bias_ptr,  # (columns,)
    target_ptr,  # (n,) int64
    reference_ptr,  # EXPONENTIALS: (n,) m_r; DLOGITS: (3, n) m_r, lse - m_r, 1 - p_y
    flag_ptr,  # (row tiles,) int32: with REPAIR, only flagged row tiles are computed
    out_ptr,  # (n, columns rounded up to 16) E or dlogits, in the dtype of x
    label_ptr,  # (n,) out: z_ry
    # (4, vocab tiles, n) out: largest z; sum of the exponentials without the label; sum of the same
    # times (z - reference); sum of z
    part_ptr,
    # (n,) out: 1 where the label has the largest z of its tile (the lowest column among equals)
    correct_ptr,
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
    # 0: statistics relative to each tile's maximum; 1: statistics relative to m_r, and E; 2:
    # dlogits from a known lse
    MODE: tl.constexpr,
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
        lse_minus_reference = tl.load(reference_ptr + n + rows, mask=row_mask, other=0.0)
        one_minus_p = tl.load(reference_ptr + 2 * n + rows, mask=row_mask, other=0.0)
        lse = reference + lse_minus_reference
        lse_factor = 1 + 2 * Z_LOSS * lse
    label = tl.zeros((BLOCK_M,), ACC)
    top = tl.full((BLOCK_M,), LOWEST, ACC)
    best = tl.full((BLOCK_M,), -1, tl.int32)
    others = tl.zeros((BLOCK_M,), ACC)
    moment = tl.zeros((BLOCK_M,), ACC)
    total = tl.zeros((BLOCK_M,), ACC)
    # a quarter of the columns at a time: on the whole tile, the code below would spill registers
    # beside the accumulators
    quarters = _split_columns(z, BLOCK_M, BLOCK_N)
    for quarter in tl.static_range(4):
        z = quarters[quarter]
        cols = column_tile * BLOCK_N + quarter * (BLOCK_N // 4) + tl.arange(0, BLOCK_N // 4)
        col_mask = cols < columns
        if HAS_BIAS:
            z += tl.load(bias_ptr + cols, mask=col_mask, other=0.0).to(ACC)[None, :]
        if SOFTCAP > 0:
            t = tanh(z / SOFTCAP, ACC)
            z = SOFTCAP * t
        hit = cols[None, :] == target[:, None]

        if MODE == 2:
            # two differences instead of one with a rounded sum; the label's p - 1 is taken from
            # forward, not from near equals
            value = (
                tl.exp2((z - reference[:, None] - lse_minus_reference[:, None]) * LOG2E)
                * lse_factor[:, None]
            )
            value = tl.where(
                hit, (2 * Z_LOSS * lse + SMOOTHING - one_minus_p * lse_factor)[:, None], value
            )
            if SMOOTHING > 0:
                value -= SMOOTHING / vocab.to(ACC)
            if SOFTCAP > 0:
                value *= 1 - t * t
            if Z_LOSS > 0 and SCALE > 1:
                # a large 1 + 2 * z_loss * lse overflows float16: backward multiplies it into the
                # row's factor instead
                value /= tl.maximum(tl.abs(lse_factor), 1.0)[:, None]
            value *= SCALE
        else:
            # the exponential is 0 beyond the last column
            z = tl.where(col_mask[None, :], z, LOWEST)
            label += tl.sum(tl.where(hit, z, 0.0), 1)
            here = tl.max(z, 1)
            # the position of the largest does not depend on the reference, which is all that a
            # repair changes
            if METRICS and not REPAIR:
                first = tl.min(tl.where(z == here[:, None], cols[None, :], 2147483647), 1)
                best = tl.where(here > top, first, best)
            top = tl.maximum(top, here)
            if SMOOTHING > 0:
                total += tl.sum(tl.where(col_mask[None, :], z, 0.0), 1)
            if MODE == 0:
                # rescale the sums so far to the new reference
                shift = tl.maximum(reference - top, LOWEST)
                factor = tl.exp2(shift * LOG2E)
                moment = (moment + others * shift) * factor
                others *= factor
                reference = top
            distance = z - reference[:, None]
            value = tl.exp2(distance * LOG2E)
            exponentials = tl.where(hit, 0.0, value)
            others += tl.sum(exponentials, 1)
            if METRICS:
                moment += tl.sum(exponentials * tl.maximum(distance, LOWEST), 1)
            if SOFTCAP > 0:
                value *= 1 - t * t
        if MODE != 0:
            out_at = out_ptr + rows.to(tl.int64)[:, None] * out_stride + cols[None, :]
            narrow = cast_to(value, out_ptr.dtype.element_ty, INTERPRET)
            # whole groups of 16, for which the rows are padded: a mask that could end anywhere
            # would split the store into 2-byte ones
            wide = cols < tl.cdiv(columns, 16) * 16
            tl.store(out_at, narrow, mask=row_mask[:, None] & wide[None, :])
        # the barrier keeps the compiler from holding the intermediates of two quarters in
        # registers
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
