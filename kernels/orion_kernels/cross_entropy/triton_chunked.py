"""linear_cross_entropy in Triton: chunks of rows forward, slabs of the vocabulary backward.

Inputs and outputs are those of `torch_chunked`, for valid rows only. memory="fast" takes three
matrix products: one Triton product stores the exponentials E = exp(logits - reference) of a chunk
of rows, and two library products (cuBLAS) make dX and dW from it, without a separate pass for the
softmax. memory="lean" takes four products and less memory: a Triton product computes only the
logsumexp; backward computes the gradient of the logits again from it, one slab of the vocabulary at
a time, and writes each row of dW once. All sums have a fixed order; nothing waits for the device.
"""

from __future__ import annotations

import torch
from torch import Tensor

from orion_kernels.cross_entropy import triton_configs as configs
from orion_kernels.cross_entropy.torch_chunked import Gradients, NeedsGrad
from orion_kernels.cross_entropy.triton_launch import ChunkLauncher, RowStatistics, add_column_sums
from orion_kernels.precision import accumulation_dtype, matmul
from orion_kernels.reference import LossOptions, TokenLosses

# rows of one chunk of exponentials: 2 * rows * vocab bytes, 0.6 GB at a vocabulary of 152 000. dW
# is read and written once per chunk
CHUNK_ROWS = 2048
# rows of one lean forward: bounds the statistics of its tiles
LEAN_ROWS = 8192
# bytes of one slab of dlogits, and the bounds of its number of columns
SLAB_BYTES = 64 << 20
SLAB_COLUMNS = (1024, 8192)


@torch.no_grad()
def forward(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    row_weights: Tensor | None,
    options: LossOptions,
    needs_grad: NeedsGrad,
    with_metrics: bool,
) -> tuple[TokenLosses, Tensor, Gradients]:
    """Losses of all rows and, if row weights are given, the gradients of their weighted sum.

    Between them it returns what `backward` needs: (3, n) a reference near the largest logit of the
    row, the logsumexp minus that reference, and 1 - p of the label. The gradients of x and weight
    have the dtype of their tensors, rounded once from float32; the gradient of bias has the
    accumulation dtype.
    """
    x, weight = _make_rows_contiguous(x), _make_rows_contiguous(weight)
    n, vocab, dtype = x.shape[0], weight.shape[0], accumulation_dtype(x)
    fast = row_weights is not None and any(needs_grad)
    state = RowStatistics(n, dtype, x.device)
    gradients = Gradients(
        torch.empty(n, x.shape[1], dtype=x.dtype, device=x.device)
        if fast and needs_grad.x
        else None,
        torch.zeros(weight.shape, dtype=weight.dtype, device=x.device)
        if fast and needs_grad.weight and not n
        else None,
        torch.zeros(vocab, dtype=dtype, device=x.device) if fast and needs_grad.bias else None,
    )
    # up to 2 * hidden rows, one chunk of exponentials is smaller than a float32 dW, and dW is
    # rounded once without a buffer
    rows = max(1, n if n <= 2 * x.shape[1] else CHUNK_ROWS) if fast else LEAN_ROWS
    wide = None  # (vocab, hidden) dW in the accumulation dtype, summed over several chunks
    exponentials = _allocate_padded_rows(min(n, rows), vocab, x) if fast else None
    for start in range(0, n, rows):
        part = slice(start, min(start + rows, n))
        launcher = ChunkLauncher(x[part], weight, bias, targets[part], options, with_metrics)
        if exponentials is None or row_weights is None:
            launcher.compute_logsumexp(state, part)
            continue
        factor, scaled = launcher.compute_exponentials(
            state, part, exponentials, row_weights[part], needs_grad.weight
        )
        block = exponentials[: factor.shape[0], :vocab]
        if gradients.x is not None:
            gradients.x[part] = matmul(block, weight).mul_(factor[:, None])
        if gradients.bias is not None:
            add_column_sums(gradients.bias, block, factor, start > 0)
        if scaled is None:
            continue
        if n <= rows:
            gradients = gradients._replace(weight=matmul(block.t(), scaled, keep_dtype=True))
        else:
            wide = matmul(block.t(), scaled, wide)
    exponentials = None
    if wide is not None:
        gradients = gradients._replace(weight=wide.to(weight.dtype))
    losses, saved = state.compute_losses(options, with_metrics, vocab)
    if row_weights is not None:
        losses = losses._replace(loss=(losses.loss * row_weights).sum())
    return losses, saved, gradients


@torch.no_grad()
def backward(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    upstream: Tensor,
    saved: Tensor,
    options: LossOptions,
    needs_grad: NeedsGrad,
) -> Gradients:
    """Gradients of sum(upstream * loss), with the dtypes of forward.

    upstream is (n,) and saved (3, n), as forward returns it, in the accumulation dtype.
    """
    x, weight = _make_rows_contiguous(x), _make_rows_contiguous(weight)
    (n, hidden), vocab, dtype = x.shape, weight.shape[0], accumulation_dtype(x)
    # small factors underflow in float16: rows are scaled by upstream / largest, and the result by
    # largest
    scale = configs.HALF_SCALE if x.dtype == torch.float16 else 1.0
    if scale > 1 and options.z_loss:
        upstream = upstream * (1 + 2 * options.z_loss * (saved[0] + saved[1])).abs().clamp(min=1)
    largest = (
        upstream.abs().amax().clamp(min=torch.finfo(dtype).tiny) if n else upstream.new_ones(())
    )
    factor = upstream / largest
    dx = torch.zeros(n, hidden, dtype=dtype, device=x.device) if needs_grad.x else None
    dw = torch.zeros_like(weight) if needs_grad.weight else None
    db = torch.zeros(vocab, dtype=dtype, device=x.device) if needs_grad.bias else None
    if n:
        scaled = (x * factor[:, None]).to(x.dtype) if needs_grad.weight else None
        columns = SLAB_BYTES // (n * x.element_size()) // 256 * 256
        columns = min(max(columns, SLAB_COLUMNS[0]), SLAB_COLUMNS[1])
        dlogits = _allocate_padded_rows(n, min(columns, vocab), x)
        for first in range(0, vocab, columns):
            slab = slice(first, min(first + columns, vocab))
            launcher = ChunkLauncher(
                x, weight[slab], None if bias is None else bias[slab], targets, options, False
            )
            block = dlogits[:, : slab.stop - first]
            launcher.compute_dlogits(saved, block, first, vocab, scale)
            if dx is not None:
                matmul(block, weight[slab], dx)
            if dw is not None and scaled is not None:
                dw[slab] = matmul(block.t(), scaled).mul_(largest / scale)
            if db is not None:
                add_column_sums(db[slab], block, upstream / scale, False)
    if dx is not None:
        dx = dx.mul_((upstream / scale)[:, None]).to(x.dtype)
    return Gradients(dx, dw, db)


def _allocate_padded_rows(rows: int, columns: int, like: Tensor) -> Tensor:
    # rows padded to a multiple of 16 elements: cuBLAS is fast on aligned rows only, whatever the
    # vocabulary
    return torch.empty(rows, (columns + 15) // 16 * 16, dtype=like.dtype, device=like.device)


def _make_rows_contiguous(tensor: Tensor) -> Tensor:
    return (
        tensor
        if tensor.stride(1) == 1 and tensor.stride(0) >= tensor.shape[1]
        else tensor.contiguous()
    )
