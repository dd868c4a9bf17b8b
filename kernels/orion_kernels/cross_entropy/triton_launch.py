"""Launch the cross-entropy kernels on one chunk of rows; `triton_chunked` runs all chunks."""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.tools.tensor_descriptor import TensorDescriptor

from orion_kernels.cross_entropy import triton_configs as configs
from orion_kernels.cross_entropy import triton_kernels as kernels
from orion_kernels.cross_entropy import triton_row_kernels as row_kernels
from orion_kernels.cross_entropy.triton_configs import DLOGITS, EXPONENTIALS, LOGSUMEXP
from orion_kernels.precision import accumulation_dtype
from orion_kernels.reference import LossOptions, TokenLosses


class RowStatistics:
    """What one pass over the logits computes per row, (n,) each, in the accumulation dtype."""

    def __init__(self, n: int, dtype: torch.dtype, device: torch.device) -> None:
        self.reference = torch.zeros(n, dtype=dtype, device=device)
        self.label = torch.zeros_like(self.reference)  # logit of the label
        # (3, n) sum of the exponentials without the label, its first moment, sum of the logits:
        # total_ptr of reduce_tiles_kernel
        self.totals = torch.zeros(3, n, dtype=dtype, device=device)
        self.correct = torch.zeros_like(self.reference)

    def compute_losses(
        self, options: LossOptions, with_metrics: bool, vocab: int
    ) -> tuple[TokenLosses, Tensor]:
        """Losses (n,), and for a deferred backward (3, n): reference, lse - reference, 1 - p."""
        others, moment, total = self.totals
        distance = self.label - self.reference
        exponential = distance.exp()
        sums = others + exponential
        above = sums.log()  # lse - reference
        # the exponential of a label far below the reference underflows; otherwise the quotient is
        # exact to the last bits
        ratio = torch.where(exponential > 1e-30, others / exponential, 0)
        nll = torch.where(exponential > 1e-30, ratio.log1p(), above - distance)
        lse = self.reference + above
        saved = torch.stack([self.reference, above, -torch.expm1(-nll)])
        loss = nll
        if options.label_smoothing:
            eps = options.label_smoothing
            loss = (1 - eps) * nll + eps * (lse - total / vocab)
        if options.z_loss:
            loss = loss + options.z_loss * lse.square()
        if not with_metrics:
            return TokenLosses(loss, None, None, None), saved
        own = torch.where(exponential > 0, exponential * distance, 0)
        entropy = above - (moment + own) / sums
        return TokenLosses(loss, -nll, entropy, self.correct), saved


class ChunkLauncher:
    """One chunk of rows against some rows of the head: chooses tiles and launches kernels."""

    def __init__(
        self,
        x: Tensor,  # (n, hidden)
        weight: Tensor,  # (columns, hidden)
        bias: Tensor | None,  # (columns,)
        targets: Tensor,  # (n,)
        options: LossOptions,
        metrics: bool,
    ) -> None:
        self.x, self.weight, self.targets = x, weight, targets
        self.bias = bias if bias is None else bias.contiguous()
        self.options, self.metrics = options, metrics
        self.n, self.columns = x.shape[0], weight.shape[0]
        self.dtype = accumulation_dtype(x)
        self.acc = tl.float64 if self.dtype == torch.float64 else tl.float32
        self.tma = can_describe(x) and can_describe(weight)
        self.tile = configs.select_tile(
            x.element_size(),
            tma=self.tma,
            softcap=options.softcap is not None,
            bias=bias is not None,
        )

    def compute_logsumexp(self, state: RowStatistics, part: slice) -> None:
        """Fill the statistics of the rows `part`."""
        parts = self._allocate_parts()
        self._launch_statistics(LOGSUMEXP, state, part, parts, None)
        self._reduce_tiles(state, part, parts, LOGSUMEXP, None)

    def compute_exponentials(
        self, state: RowStatistics, part: slice, out: Tensor, upstream: Tensor, scaled: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Fill the statistics of the rows `part`, and out (n, vocab) with E.

        The entries of the labels are changed such that dlogits = factor * out. Returns factor (n,)
        and, if `scaled`, factor * x (n, hidden).
        """
        cap = self.options.softcap or 0.0
        row_kernels.reference_kernel[(self.n,)](
            self.x,
            self.weight,
            self._bias_or_placeholder(),
            self.targets,
            state.reference[part],
            self.x.stride(0),
            self.weight.stride(0),
            self.x.shape[1],
            self.columns,
            SOFTCAP=cap,
            HAS_BIAS=self.bias is not None,
            ACC=self.acc,
            BLOCK_H=configs.ROW_BLOCK,
            num_warps=configs.ROW_WARPS,
        )
        parts = self._allocate_parts()
        flags = torch.zeros(self.n // 16 + 1, dtype=torch.int32, device=self.x.device)
        self._launch_statistics(EXPONENTIALS, state, part, parts, out)
        self._reduce_tiles(state, part, parts, EXPONENTIALS, flags)
        # repair rows whose label is far below their largest logit; if there are none, every
        # program of this launch returns at once
        self._launch_statistics(EXPONENTIALS, state, part, parts, out, flags=flags)
        self._reduce_tiles(state, part, parts, EXPONENTIALS, None)
        factor = torch.empty(self.n, dtype=self.dtype, device=self.x.device)
        scaled_x = None
        if scaled:
            scaled_x = torch.empty(self.x.shape, dtype=self.x.dtype, device=self.x.device)
        row_kernels.set_label_entry_kernel[(self.n,)](
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
            self.columns,
            SOFTCAP=cap,
            Z_LOSS=self.options.z_loss,
            SCALED=scaled,
            INTERPRET=configs.is_interpreted(),
            ACC=self.acc,
            BLOCK_H=configs.ROW_BLOCK,
            num_warps=configs.ROW_WARPS,
        )
        return factor, scaled_x

    def compute_dlogits(
        self, saved: Tensor, out: Tensor, first: int, vocab: int, scale: float
    ) -> None:
        """Fill out (n, columns) with d loss / d logits, times scale, from column `first`."""
        self._launch_logits(
            DLOGITS, saved, saved, saved, saved, out, self.targets, first, vocab, scale, False
        )

    def _allocate_parts(self) -> Tensor:
        tiles = triton.cdiv(self.columns, self.tile.columns)
        planes = 4 if self.options.label_smoothing else 3 if self.metrics else 2
        return torch.empty(planes, tiles, self.n, dtype=self.dtype, device=self.x.device)

    def _launch_statistics(
        self,
        mode: int,
        state: RowStatistics,
        part: slice,
        parts: Tensor,
        out: Tensor | None,
        flags: Tensor | None = None,
    ) -> None:
        out = self.x if out is None else out
        reference, label, correct = state.reference[part], state.label[part], state.correct[part]
        given = self.targets if flags is None else flags
        self._launch_logits(
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

    def _launch_logits(
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
        constexprs: dict[str, Any] = configs.build_logits_constexprs(
            tile,
            mode,
            tma=self.tma,
            softcap=self.options.softcap or 0.0,
            z_loss=self.options.z_loss if mode == DLOGITS else 0.0,
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
            self._bias_or_placeholder(),
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

    def _reduce_tiles(
        self, state: RowStatistics, part: slice, parts: Tensor, mode: int, flags: Tensor | None
    ) -> None:
        # a separate array for the totals of one chunk, because the kernel takes n as their stride
        totals = torch.zeros(3, self.n, dtype=self.dtype, device=self.x.device)
        row_kernels.reduce_tiles_kernel[(triton.cdiv(self.n, configs.STATISTICS_ROWS),)](
            parts,
            self.targets,
            state.label[part],
            state.reference[part],
            self.targets if flags is None else flags,
            totals,
            state.correct[part],
            self.n,
            parts.shape[1],
            EXPONENTIALS_MODE=mode == EXPONENTIALS,
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

    def _bias_or_placeholder(self) -> Tensor:
        # without a bias any valid pointer will do: the kernels do not read it
        return self.weight if self.bias is None else self.bias


def add_column_sums(total: Tensor, values: Tensor, factor: Tensor, add: bool) -> None:
    """Set total (columns,) to the sum over rows of factor (n,) * values (n, columns), or add it."""
    n, columns = values.shape
    row_kernels.column_sums_kernel[(triton.cdiv(columns, configs.SUM_COLUMNS),)](
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


def can_describe(tensor: Tensor) -> bool:
    """Whether descriptors can address its rows: base and row stride are multiples of 16 bytes."""
    step = tensor.stride(0) * tensor.element_size()
    return (
        tensor.data_ptr() % 16 == 0
        and step % 16 == 0
        and tensor.element_size() <= 4
        and tensor.shape[0] > 0
    )
