"""linear_cross_entropy in Triton and cuBLAS: three products a call (fast), or four and less memory (lean).

Inputs and outputs are those of `orion_kernels.chunked`, for valid rows only. Fast: one Triton product stores the powers
E = exp(logits - reference) of a chunk of rows, from which two library products take dX and dW; the softmax is never a pass of its
own. Lean: a Triton product finds the logsumexp alone; backward recomputes a slab of the vocabulary at a time from it and writes
each row of dW once. All sums have a fixed order; nothing waits for the device. Nothing to run.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.tools.tensor_descriptor import TensorDescriptor

from orion_kernels import cross_entropy_configs as configs
from orion_kernels import cross_entropy_kernels as kernels
from orion_kernels.chunked import Gradients, Wanted
from orion_kernels.cross_entropy_configs import POWERS, SLOPES, SUMS
from orion_kernels.precision import accumulation_dtype, product
from orion_kernels.reference import LossOptions, TokenLosses

# rows of one chunk of powers: 2 * rows * vocab bytes, 0.6 GB at a vocabulary of 152 000; dW is read and written once a chunk
CHUNK_ROWS = 2048
# rows of one lean forward: bounds the statistics of its tiles
LEAN_ROWS = 8192
# bytes of a slab of slopes, and the bounds of its columns
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
    wanted: Wanted,
    with_metrics: bool,
) -> tuple[TokenLosses, Tensor, Gradients]:
    """Losses of all rows, what `backward` needs of them (3, n) and, where row weights are given, the wanted gradients of the sum.

    The three numbers of a row: a reference near its largest logit, the logsumexp above that, and 1 - p of the label.

    Gradients of x and weight come in their own dtype, rounded once from float32; that of bias in the accumulation dtype.
    """
    x, weight = _rows_contiguous(x), _rows_contiguous(weight)
    n, vocab, dtype = x.shape[0], weight.shape[0], accumulation_dtype(x)
    fast = row_weights is not None and any(wanted)
    state = _Statistics(n, dtype, x.device)
    gradients = Gradients(
        torch.empty(n, x.shape[1], dtype=x.dtype, device=x.device) if fast and wanted.x else None,
        torch.zeros(weight.shape, dtype=weight.dtype, device=x.device)
        if fast and wanted.weight and not n
        else None,
        torch.zeros(vocab, dtype=dtype, device=x.device) if fast and wanted.bias else None,
    )
    # up to 2 * hidden rows, one chunk of powers is smaller than a float32 dW, and dW is rounded once without a buffer
    rows = max(1, n if n <= 2 * x.shape[1] else CHUNK_ROWS) if fast else LEAN_ROWS
    wide = None  # (vocab, hidden) dW in the accumulation dtype, over several chunks
    powers = _powers_buffer(min(n, rows), vocab, x) if fast else None
    for start in range(0, n, rows):
        part = slice(start, min(start + rows, n))
        call = _Call(x[part], weight, bias, targets[part], options, with_metrics)
        if powers is None or row_weights is None:
            call.sums(state, part)
            continue
        factor, scaled = call.powers(state, part, powers, row_weights[part], wanted.weight)
        block = powers[: factor.shape[0], :vocab]
        if gradients.x is not None:
            gradients.x[part] = product(block, weight).mul_(factor[:, None])
        if gradients.bias is not None:
            _add_column_sums(gradients.bias, block, factor, start > 0)
        if scaled is None:
            continue
        if n <= rows:
            gradients = gradients._replace(weight=product(block.t(), scaled, keep_dtype=True))
        else:
            wide = product(block.t(), scaled, wide)
    powers = None
    if wide is not None:
        gradients = gradients._replace(weight=wide.to(weight.dtype))
    losses, saved = state.losses(options, with_metrics, vocab)
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
    wanted: Wanted,
) -> Gradients:
    """Gradients of sum(upstream * loss), dtypes as in forward; upstream (n,) and saved (3, n) in the accumulation dtype."""
    x, weight = _rows_contiguous(x), _rows_contiguous(weight)
    (n, hidden), vocab, dtype = x.shape, weight.shape[0], accumulation_dtype(x)
    # float16 loses small factors: rows are scaled by upstream / its largest, and the result by that
    scale = configs.HALF_SCALE if x.dtype == torch.float16 else 1.0
    if scale > 1 and options.z_loss:
        upstream = upstream * (1 + 2 * options.z_loss * (saved[0] + saved[1])).abs().clamp(min=1)
    largest = (
        upstream.abs().amax().clamp(min=torch.finfo(dtype).tiny) if n else upstream.new_ones(())
    )
    factor = upstream / largest
    dx = torch.zeros(n, hidden, dtype=dtype, device=x.device) if wanted.x else None
    dw = torch.zeros_like(weight) if wanted.weight else None
    db = torch.zeros(vocab, dtype=dtype, device=x.device) if wanted.bias else None
    if n:
        scaled = (x * factor[:, None]).to(x.dtype) if wanted.weight else None
        columns = SLAB_BYTES // (n * x.element_size()) // 256 * 256
        columns = min(max(columns, SLAB_COLUMNS[0]), SLAB_COLUMNS[1])
        slopes = _powers_buffer(n, min(columns, vocab), x)
        for first in range(0, vocab, columns):
            slab = slice(first, min(first + columns, vocab))
            call = _Call(
                x, weight[slab], None if bias is None else bias[slab], targets, options, False
            )
            block = slopes[:, : slab.stop - first]
            call.slopes(saved, block, first, vocab, scale)
            if dx is not None:
                product(block, weight[slab], dx)
            if dw is not None and scaled is not None:
                dw[slab] = product(block.t(), scaled).mul_(largest / scale)
            if db is not None:
                _add_column_sums(db[slab], block, upstream / scale, False)
    if dx is not None:
        dx = dx.mul_((upstream / scale)[:, None]).to(x.dtype)
    return Gradients(dx, dw, db)


class _Statistics:
    """What one pass over the logits leaves of every row, (n,) each, in the accumulation dtype."""

    def __init__(self, n: int, dtype: torch.dtype, device: torch.device) -> None:
        self.reference = torch.zeros(n, dtype=dtype, device=device)
        self.label = torch.zeros_like(self.reference)  # logit of the label
        self.totals = torch.zeros(
            3, n, dtype=dtype, device=device
        )  # others, moment, sum, as rows_kernel leaves them
        self.correct = torch.zeros_like(self.reference)

    def losses(
        self, options: LossOptions, with_metrics: bool, vocab: int
    ) -> tuple[TokenLosses, Tensor]:
        others, moment, total = self.totals
        distance = self.label - self.reference
        power = distance.exp()
        sums = others + power
        above = sums.log()  # lse - reference
        # a label far below the reference has no power left; everywhere else the quotient is exact to the last bits
        ratio = torch.where(power > 1e-30, others / power, 0)
        nll = torch.where(power > 1e-30, ratio.log1p(), above - distance)
        lse = self.reference + above
        saved = torch.stack([self.reference, above, -torch.expm1(-nll)])
        loss = nll
        if options.label_smoothing:
            loss = (1 - options.label_smoothing) * nll + options.label_smoothing * (
                lse - total / vocab
            )
        if options.z_loss:
            loss = loss + options.z_loss * lse.square()
        if not with_metrics:
            return TokenLosses(loss, None, None, None), saved
        own = torch.where(power > 0, power * distance, 0)
        entropy = above - (moment + own) / sums
        return TokenLosses(loss, -nll, entropy, self.correct), saved


class _Call:
    """One chunk of rows against some rows of the head: chooses a configuration and launches."""

    def __init__(
        self,
        x: Tensor,  # (n, hidden)
        weight: Tensor,  # (columns, hidden)
        bias: Tensor | None,
        targets: Tensor,
        options: LossOptions,
        metrics: bool,
    ) -> None:
        self.x, self.weight, self.targets, self.options, self.metrics = (
            x,
            weight,
            targets,
            options,
            metrics,
        )
        self.bias = bias if bias is None else bias.contiguous()
        self.n, self.columns = x.shape[0], weight.shape[0]
        self.dtype = accumulation_dtype(x)
        self.acc = tl.float64 if self.dtype == torch.float64 else tl.float32
        self.tma = _describable(x) and _describable(weight)
        self.tile = configs.tile_for(
            x.element_size(),
            tma=self.tma,
            softcap=options.softcap is not None,
            bias=bias is not None,
        )

    def sums(self, state: _Statistics, part: slice) -> None:
        parts = self._parts()
        self._logits(SUMS, state, part, parts, None)
        self._reduce(state, part, parts, SUMS, None)

    def powers(
        self, state: _Statistics, part: slice, out: Tensor, upstream: Tensor, scaled: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Fill out with E, patched such that slopes = factor * out; returns factor (n,) and factor * x, where wanted."""
        cap = self.options.softcap or 0.0
        kernels.reference_kernel[(self.n,)](
            self.x,
            self.weight,
            self._bias(),
            self.targets,
            state.reference[part],
            self.x.stride(0),
            self.weight.stride(0),
            self.x.shape[1],
            SOFTCAP=cap,
            HAS_BIAS=self.bias is not None,
            ACC=self.acc,
            BLOCK_H=configs.ROW_BLOCK,
            num_warps=configs.ROW_WARPS,
        )
        parts = self._parts()
        flags = torch.zeros(self.n // 16 + 1, dtype=torch.int32, device=self.x.device)
        self._logits(POWERS, state, part, parts, out)
        self._reduce(state, part, parts, POWERS, flags)
        # rows whose label is far below their largest logit; without any, every program of this launch returns at once
        self._logits(POWERS, state, part, parts, out, flags=flags)
        self._reduce(state, part, parts, POWERS, None)
        factor = torch.empty(self.n, dtype=self.dtype, device=self.x.device)
        scaled_x = (
            torch.empty(self.x.shape, dtype=self.x.dtype, device=self.x.device) if scaled else None
        )
        kernels.patch_kernel[(self.n,)](
            self.x,
            self.targets,
            state.label[part],
            state.reference[part],
            state.totals[0, part],
            upstream,
            out,
            factor,
            self.x if scaled_x is None else scaled_x,
            self.x.stride(0),
            out.stride(0),
            self.x.shape[1],
            SOFTCAP=cap,
            Z_LOSS=self.options.z_loss,
            SCALED=scaled,
            INTERPRET=configs.interpreted(),
            ACC=self.acc,
            BLOCK_H=configs.ROW_BLOCK,
            num_warps=configs.ROW_WARPS,
        )
        return factor, scaled_x

    def slopes(self, saved: Tensor, out: Tensor, first: int, vocab: int, scale: float) -> None:
        """Fill out (n, columns) with d loss / d logits, times scale, of the columns from first on."""
        self._launch(
            SLOPES, saved, saved, saved, saved, out, self.targets, first, vocab, scale, False
        )

    def _parts(self) -> Tensor:
        tiles = triton.cdiv(self.columns, self.tile.columns)
        planes = 4 if self.options.label_smoothing else 3 if self.metrics else 2
        return torch.empty(planes, tiles, self.n, dtype=self.dtype, device=self.x.device)

    def _logits(
        self,
        mode: int,
        state: _Statistics,
        part: slice,
        parts: Tensor,
        out: Tensor | None,
        flags: Tensor | None = None,
    ) -> None:
        out = self.x if out is None else out
        reference, label, correct = state.reference[part], state.label[part], state.correct[part]
        given = self.targets if flags is None else flags
        self._launch(
            mode,
            reference,
            label,
            parts,
            correct,
            out,
            given,
            0,
            self.columns,
            1.0,
            flags is not None,
        )

    def _launch(
        self,
        mode: int,
        reference: Tensor,
        label: Tensor,
        parts: Tensor,
        correct: Tensor,
        out: Tensor,
        flags: Tensor,
        first: int,
        vocab: int,
        scale: float,
        repair: bool,
    ) -> None:
        tile = self.tile
        constexprs: dict[str, Any] = configs.logits_constexprs(
            tile,
            mode,
            tma=self.tma,
            softcap=self.options.softcap or 0.0,
            z_loss=self.options.z_loss if mode == SLOPES else 0.0,
            smoothing=self.options.label_smoothing,
            scale=scale,
            bias=self.bias is not None,
            metrics=self.metrics,
            repair=repair,
            acc=self.acc,
        )
        grid = (triton.cdiv(self.n, tile.rows) * triton.cdiv(self.columns, tile.columns),)
        kernels.logits_kernel[grid](
            TensorDescriptor.from_tensor(self.x, [tile.rows, tile.depth]) if self.tma else self.x,
            TensorDescriptor.from_tensor(self.weight, [tile.columns, tile.depth])
            if self.tma
            else self.weight,
            self._bias(),
            self.targets,
            reference,
            flags,
            out,
            label,
            parts,
            correct,
            self.n,
            self.columns,
            self.x.shape[1],
            self.x.stride(0),
            self.weight.stride(0),
            out.stride(0),
            first,
            vocab,
            **constexprs,
            num_warps=tile.num_warps,
            num_stages=tile.num_stages,
        )

    def _reduce(
        self, state: _Statistics, part: slice, parts: Tensor, mode: int, flags: Tensor | None
    ) -> None:
        # the totals of a chunk are rows of an array of their own: the kernel knows one stride
        totals = torch.zeros(3, self.n, dtype=self.dtype, device=self.x.device)
        kernels.rows_kernel[(triton.cdiv(self.n, configs.STATISTICS_ROWS),)](
            parts,
            self.targets,
            state.label[part],
            state.reference[part],
            self.targets if flags is None else flags,
            totals,
            state.correct[part],
            self.n,
            parts.shape[1],
            POWERS_MODE=mode == POWERS,
            CHECK=flags is not None,
            METRICS=self.metrics,
            SMOOTHING=self.options.label_smoothing > 0,
            ACC=self.acc,
            BLOCK_M=self.tile.rows,
            BLOCK_N=self.tile.columns,
            BLOCK_R=configs.STATISTICS_ROWS,
            BLOCK_T=configs.STATISTICS_TILES,
            num_warps=configs.ROW_WARPS,
        )
        if flags is None:
            state.totals[:, part] = totals

    def _bias(self) -> Tensor:
        return self.weight if self.bias is None else self.bias


def _add_column_sums(total: Tensor, values: Tensor, factor: Tensor, add: bool) -> None:
    n, columns = values.shape
    kernels.column_sums_kernel[(triton.cdiv(columns, configs.SUM_COLUMNS),)](
        values,
        factor,
        total,
        n,
        columns,
        values.stride(0),
        ADD=add,
        ACC=tl.float64 if total.dtype == torch.float64 else tl.float32,
        BLOCK_R=configs.SUM_ROWS,
        BLOCK_C=configs.SUM_COLUMNS,
        num_warps=configs.ROW_WARPS,
    )


def _powers_buffer(rows: int, columns: int, like: Tensor) -> Tensor:
    # a leading dimension of whole 16 bytes, for the library's fast products at any vocabulary
    return torch.empty(rows, (columns + 15) // 16 * 16, dtype=like.dtype, device=like.device)


def _rows_contiguous(tensor: Tensor) -> Tensor:
    return (
        tensor
        if tensor.stride(1) == 1 and tensor.stride(0) >= tensor.shape[1]
        else tensor.contiguous()
    )


def _describable(tensor: Tensor) -> bool:
    """Whether the tensor memory accelerator can read its rows: base and row distance in whole 16 bytes."""
    step = tensor.stride(0) * tensor.element_size()
    return (
        tensor.data_ptr() % 16 == 0
        and step % 16 == 0
        and tensor.element_size() <= 4
        and tensor.shape[0] > 0
    )
