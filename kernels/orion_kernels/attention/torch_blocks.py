"""One document's attention in blocks of queries: sliding window, softcap, sinks; forward, backward.

A block of queries meets only the keys that it can reach, so that the memory of a long document
grows with its length times the window and never holds a dense mask. Backward computes the
probabilities of each block again. Nothing here calls autograd: both are bodies of operators.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from orion_kernels.precision import accumulation_dtype

# bytes of the scores of one block of queries, all heads together, and the fewest queries in it;
# several tensors of this size exist at a time. Measured on CPU: larger blocks leave the cache. The
# value for other devices is an estimate: fewer launches
WORKSPACE_BYTES = {"cpu": 4 << 20}
OTHER_WORKSPACE_BYTES = 256 << 20
MIN_BLOCK_QUERIES = 16


class ScoreOptions(NamedTuple):
    """What turns products of queries and keys into probabilities."""

    scale: float
    window: int | None = None  # tokens that a query sees, itself included
    softcap: float | None = None


class _Block(NamedTuple):
    """Queries `rows` and the keys `columns` that they can reach, with what both directions need."""

    rows: slice
    columns: slice
    q: Tensor  # (kv_heads, group * rows, head_dim)
    probabilities: Tensor  # (kv_heads, group, rows, columns)
    capped: Tensor | None  # tanh(scaled scores / softcap), as probabilities
    sink: Tensor | None  # (kv_heads, group, rows) probability of the sink


def attend(q: Tensor, k: Tensor, v: Tensor, options: ScoreOptions, sinks: Tensor | None) -> Tensor:
    """Attention of one document.

    Args:
        q: (length, q_heads, head_dim).
        k: (length, kv_heads, head_dim).
        v: (length, kv_heads, value_dim).
        options: scale, window and softcap of the scores.
        sinks: (q_heads,), the score of a key without a value that every query sees.

    Returns (length, q_heads, value_dim) in the dtype of q.

    """
    wide_k, wide_v = (_heads_first(t) for t in (k, v))  # (kv_heads, length, dim)
    out = q.new_empty(*q.shape[:2], v.shape[2])
    for rows, columns in _list_blocks(q, options):
        block = _compute_block(q, wide_k, rows, columns, options, sinks)
        part = torch.matmul(block.probabilities.flatten(1, 2), wide_v[:, columns])
        out[rows] = _tokens_first(part, rows).to(out.dtype)
    return out


def differentiate(
    dout: Tensor, q: Tensor, k: Tensor, v: Tensor, options: ScoreOptions, sinks: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Gradients of q, k, v and sinks in the accumulation dtype, for dout (length, q_heads, dim)."""
    wide_k, wide_v = (_heads_first(t) for t in (k, v))
    dq = torch.empty(q.shape, dtype=wide_k.dtype, device=q.device)
    dk, dv = torch.zeros_like(wide_k), torch.zeros_like(wide_v)
    dsinks = None if sinks is None else dq.new_zeros(k.shape[1], q.shape[1] // k.shape[1])
    for rows, columns in _list_blocks(q, options):
        block = _compute_block(q, wide_k, rows, columns, options, sinks)
        upstream = _group_heads(dout[rows], k.shape[1])  # (kv_heads, group * rows, value_dim)
        p = block.probabilities
        dv[:, columns] += torch.matmul(p.flatten(1, 2).mT, upstream)
        dp = torch.matmul(upstream, wide_v[:, columns].mT).view_as(p)
        mean = (p * dp).sum(-1)  # (kv_heads, group, rows)
        # of the scores before the cap
        ds = dp.sub_(mean[..., None]).mul_(p)
        if block.capped is not None:
            ds.mul_(1 - block.capped.square())
        ds = ds.flatten(1, 2)
        dq[rows] = _tokens_first(torch.matmul(ds, wide_k[:, columns]), rows).mul_(options.scale)
        dk[:, columns] += torch.matmul(ds.mT, block.q).mul_(options.scale)
        if dsinks is not None and block.sink is not None:
            dsinks -= (block.sink * mean).sum(-1)
    dsinks = None if dsinks is None else dsinks.flatten()
    return dq, dk.transpose(0, 1), dv.transpose(0, 1), dsinks


def _list_blocks(q: Tensor, options: ScoreOptions) -> list[tuple[slice, slice]]:
    length, q_heads = q.shape[:2]
    window = min(options.window or length, length)
    workspace = WORKSPACE_BYTES.get(q.device.type, OTHER_WORKSPACE_BYTES)
    scores = workspace // (q_heads * accumulation_dtype(q).itemsize)
    # n queries meet up to n + window keys: the largest n with n * (n + window) <= scores
    step = max(MIN_BLOCK_QUERIES, (math.isqrt(window * window + 4 * scores) - window) // 2)
    blocks = []
    for start in range(0, length, step):
        end = min(start + step, length)
        blocks.append((slice(start, end), slice(max(0, start - window + 1), end)))
    return blocks


def _compute_block(
    q: Tensor,
    wide_k: Tensor,
    rows: slice,
    columns: slice,
    options: ScoreOptions,
    sinks: Tensor | None,
) -> _Block:
    kv_heads = wide_k.shape[0]
    grouped = _group_heads(q[rows], kv_heads)
    scores = torch.matmul(grouped, wide_k[:, columns].mT)  # (kv_heads, group * rows, columns)
    scores = scores.mul_(options.scale).unflatten(1, (-1, rows.stop - rows.start))
    capped = None
    if options.softcap is not None:
        capped = scores.div_(options.softcap).tanh_()
        scores = capped * options.softcap
    query = torch.arange(rows.start, rows.stop, device=q.device)[:, None]
    key = torch.arange(columns.start, columns.stop, device=q.device)[None, :]
    hidden = key > query
    if options.window is not None:
        hidden |= key <= query - options.window
    scores.masked_fill_(hidden, float("-inf"))
    if sinks is None:
        return _Block(rows, columns, grouped, scores.softmax(-1), capped, None)
    sink = sinks.to(scores.dtype).view(kv_heads, -1, 1)  # (kv_heads, group, 1)
    top = torch.maximum(scores.amax(-1), sink)
    exponentials = scores.sub_(top[..., None]).exp_()
    sink = (sink - top).exp_()
    total = exponentials.sum(-1) + sink
    return _Block(rows, columns, grouped, exponentials.div_(total[..., None]), capped, sink / total)


def _heads_first(tensor: Tensor) -> Tensor:
    """(length, heads, dim) -> (heads, length, dim) in the accumulation dtype."""
    return tensor.transpose(0, 1).to(accumulation_dtype(tensor)).contiguous()


def _group_heads(tensor: Tensor, kv_heads: int) -> Tensor:
    """(rows, q_heads, dim) -> (kv_heads, group * rows, dim) in the accumulation dtype."""
    return _heads_first(tensor).unflatten(0, (kv_heads, -1)).flatten(1, 2)


def _tokens_first(grouped: Tensor, rows: slice) -> Tensor:
    """(kv_heads, group * rows, dim) -> (rows, q_heads, dim)."""
    count = rows.stop - rows.start
    return grouped.unflatten(1, (-1, count)).flatten(0, 1).transpose(0, 1)
