"""`Packing`: where each document of a packed row begins and ends.

Build it once per batch from document lengths, cumulative lengths or position ids, and share it
between all layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from orion_kernels.attention import work_tables
from orion_kernels.block_mask import build_block_mask

# tokens; up to this length the kernels use small tiles. An estimate, not measured yet
SHORT_DOCUMENT = 512


@dataclass(frozen=True, eq=False)
class Packing:
    """Documents laid end to end in one row of `tokens` tokens.

    Document d owns the tokens cu_seqlens[d]:cu_seqlens[d + 1]. Build a packing with one of the
    `from_*` constructors, which validate. Empty documents are allowed and own no token.
    """

    cu_seqlens: Tensor  # (documents + 1,) int32, starts at 0, never decreases, ends at tokens
    document_ids: Tensor  # (tokens,) int32
    position_ids: Tensor  # (tokens,) int64, restarts at 0 in each document
    # (documents,) on the host, so that no layer has to read cu_seqlens back from the device
    seq_lengths: tuple[int, ...]
    max_seqlen: int
    # number of non-empty documents that work tables have room for; None: as many as there are
    max_documents: int | None = None
    # (documents,) int64 on the CPU: seq_lengths for operators, which take tensors only
    lengths: Tensor = field(init=False, repr=False)
    # the document of the average token has at most SHORT_DOCUMENT tokens
    short: bool = field(init=False, repr=False)
    _tables: dict[tuple[int, bool], Tensor] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        tokens = sum(self.seq_lengths)
        object.__setattr__(
            self, "lengths", torch.tensor(self.seq_lengths, dtype=torch.int64, device="cpu")
        )
        # a bool, not a length: torch.compile makes it a constant of the graph
        object.__setattr__(
            self, "short", sum(n * n for n in self.seq_lengths) <= SHORT_DOCUMENT * tokens
        )
        filled = sum(n > 0 for n in self.seq_lengths)
        if self.max_documents is not None and filled > self.max_documents:
            raise ValueError(
                f"max_documents is {self.max_documents}, but {filled} documents are not empty"
            )

    @classmethod
    def from_seq_lengths(
        cls,
        seq_lengths: Sequence[int] | Tensor,
        *,
        device: torch.device | str | None = None,
        max_documents: int | None = None,
    ) -> Packing:
        """Packing of documents of the given lengths, in order.

        Args:
            seq_lengths: (documents,) non-negative integers.
            device: device of the tensors, by default that of seq_lengths (CPU for a list).
            max_documents: fixes the shape of the work tables at a given token count, for CUDA
                graphs.

        Raises ValueError for more than max_documents non-empty documents, a negative or non-integer
        length, or a tensor that is not one-dimensional.

        """
        if isinstance(seq_lengths, Tensor):
            _check_integers("seq_lengths", seq_lengths, ndims=(1,))
            device = seq_lengths.device if device is None else device
            seq_lengths = seq_lengths.tolist()
        lengths = tuple(int(n) for n in seq_lengths)
        for index, (given, length) in enumerate(zip(seq_lengths, lengths, strict=True)):
            if given != length or length < 0:
                raise ValueError(
                    "seq_lengths must be non-negative integers, "
                    f"but seq_lengths[{index}] is {given!r}"
                )
        # on the host whatever the default device is
        sizes = torch.tensor(lengths, dtype=torch.int64, device="cpu")
        ends = sizes.cumsum(0)
        if lengths and int(ends[-1]) > torch.iinfo(torch.int32).max:
            raise ValueError(
                "a packed row holds at most 2**31 - 1 tokens, "
                f"but seq_lengths add up to {int(ends[-1])}"
            )
        tokens = int(ends[-1]) if lengths else 0
        document_ids = torch.repeat_interleave(torch.arange(len(lengths), device="cpu"), sizes)
        position_ids = torch.arange(tokens, device="cpu") - (ends - sizes)[document_ids]
        return cls(
            cu_seqlens=torch.cat([ends.new_zeros(1), ends]).to(device, torch.int32),
            document_ids=document_ids.to(device, torch.int32),
            position_ids=position_ids.to(device),
            seq_lengths=lengths,
            max_seqlen=max(lengths, default=0),
            max_documents=max_documents,
        )

    @classmethod
    def from_cu_seqlens(cls, cu_seqlens: Tensor | Sequence[int], num_tokens: int) -> Packing:
        """Packing from cumulative lengths, as FlashAttention's variable-length functions take them.

        Args:
            cu_seqlens: (documents + 1,) integers.
            num_tokens: length of the packed row.

        Raises ValueError if cu_seqlens is not one-dimensional, does not start at 0, decreases, or
        does not end at num_tokens.

        """
        cu_seqlens = torch.as_tensor(cu_seqlens)
        _check_integers("cu_seqlens", cu_seqlens, ndims=(1,))
        values = cu_seqlens.tolist()
        if not values or values[0] != 0:
            raise ValueError(f"cu_seqlens must start at 0, but it is {values[:1] or 'empty'}")
        lengths = [end - start for start, end in pairwise(values)]
        if min(lengths, default=0) < 0:
            at = next(i for i, n in enumerate(lengths) if n < 0)
            raise ValueError(
                f"cu_seqlens must not decrease, but entries {at} and {at + 1} "
                f"are {values[at]} and {values[at + 1]}"
            )
        if values[-1] != num_tokens:
            raise ValueError(
                f"cu_seqlens must end at the token count {num_tokens}, but it ends at {values[-1]}"
            )
        return cls.from_seq_lengths(lengths, device=cu_seqlens.device)

    @classmethod
    def from_position_ids(cls, position_ids: Tensor) -> Packing:
        """Packing from position ids that restart at 0 at every document.

        transformers' flattening collators make such ids.

        Args:
            position_ids: (tokens,) or (batch, length) integers. Rows of a batch are laid end to
                end; a row always begins a new document. Padding with position 0 becomes documents
                of one token.

        Raises ValueError for other shapes or dtypes, and if a document does not start at position
        0.

        """
        _check_integers("position_ids", position_ids, ndims=(1, 2))
        rows = (
            position_ids.reshape(-1, position_ids.shape[-1])
            if position_ids.numel()
            else position_ids.new_zeros(0, 1)
        )
        starts = torch.ones_like(rows, dtype=torch.bool)
        starts[:, 1:] = rows[:, 1:] != rows[:, :-1] + 1
        flat = rows.reshape(-1)
        begin = starts.reshape(-1).nonzero().squeeze(1)
        broken = flat[begin].ne(0).nonzero().squeeze(1)
        if broken.numel():
            token = int(begin[broken[0]])
            raise ValueError(
                "position_ids must restart at 0 at every document and count up by 1 within it, "
                f"but token {token} (of {flat.numel()}, rows laid end to end) "
                f"starts a document at position {int(flat[token])}"
            )
        ends = torch.cat([begin[1:], begin.new_tensor([flat.numel()])]) if begin.numel() else begin
        return cls.from_seq_lengths(ends - begin, device=position_ids.device)

    @property
    def num_tokens(self) -> int:
        # from a tensor's shape: torch.compile would make the lengths themselves constants of the
        # graph
        return self.document_ids.shape[0]

    @property
    def num_documents(self) -> int:
        return len(self.seq_lengths)

    def to(self, device: torch.device | str) -> Packing:
        """The same packing with its tensors on `device`."""
        return replace(
            self,
            cu_seqlens=self.cu_seqlens.to(device),
            document_ids=self.document_ids.to(device),
            position_ids=self.position_ids.to(device),
        )

    def work_table(self, block: int, *, by_keys: bool) -> Tensor:
        """The tiles that a Triton kernel processes, built once and shared by all layers.

        `orion_kernels.attention.work_tables.build_work_table` describes the rows.

        Args:
            block: tokens per tile.
            by_keys: tiles of keys instead of queries.

        Returns (ceil(tokens / block) + max_documents, 4) int32 on the packing's device;
        max_documents defaults to the number of documents. Nothing waits for the device.

        """
        max_documents = self.max_documents
        if max_documents is None:
            max_documents = self.lengths.shape[0]
        device = self.document_ids.device
        if torch.compiler.is_compiling():
            # one operator, so that the table is no constant of the graph; the compiler merges
            # repetitions
            return work_tables.work_table_operator(
                self.lengths, block, by_keys, self.num_tokens, max_documents, device
            )
        if (block, by_keys) not in self._tables:
            table = work_tables.build_work_table(
                self.lengths,
                block,
                by_keys=by_keys,
                tokens=self.num_tokens,
                max_documents=max_documents,
            )
            self._tables[block, by_keys] = work_tables.copy_to_device(table, device)
        return self._tables[block, by_keys]

    def block_mask(self, block_size: int = 128) -> Any:
        """FlexAttention's BlockMask (1, 1, tokens, tokens) of this packing, from the lengths alone.

        Raises ValueError for an empty packing.
        """
        return build_block_mask(self.lengths, self.document_ids, self.position_ids, block_size)

    def dense_mask(self) -> Tensor:
        """(tokens, tokens) bool, true where a query (row) may attend to a key (column).

        For debugging: its size grows with the square of the tokens.
        """
        same = self.document_ids[:, None] == self.document_ids[None, :]
        return same & (self.position_ids[:, None] >= self.position_ids[None, :])

    def shifted_labels(self, labels: Tensor, ignore_index: int = -100) -> Tensor:
        """Next-token targets that never cross a document.

        target[t] = labels[t + 1], and ignore_index at the last token of each document.

        Args:
            labels: (tokens,) or any shape with that many elements, one label per input token.
            ignore_index: the target of tokens that predict nothing.

        Returns (tokens,) of the dtype of labels.
        Raises ValueError if the number of labels is not the token count.

        """
        if labels.numel() != self.num_tokens:
            shape = tuple(labels.shape)
            raise ValueError(
                f"labels must have one entry for each of {self.num_tokens} packed tokens, "
                f"but have shape {shape}"
            )
        flat = labels.reshape(-1)
        targets = torch.full_like(flat, ignore_index)
        targets[:-1] = torch.where(
            self.document_ids[1:] == self.document_ids[:-1], flat[1:], targets[:-1]
        )
        return targets


def _check_integers(name: str, tensor: Tensor, ndims: tuple[int, ...]) -> None:
    if tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool:
        raise ValueError(f"{name} must hold integers, but has dtype {tensor.dtype}")
    if tensor.ndim not in ndims:
        allowed = " or ".join(map(str, ndims))
        raise ValueError(
            f"{name} must have {allowed} dimensions, but has shape {tuple(tensor.shape)}"
        )
