"""FlexAttention's BlockMask of packed documents, computed from their lengths alone."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from orion_kernels.attention.work_tables import copy_to_device


def build_block_mask(
    lengths: Tensor, document_ids: Tensor, position_ids: Tensor, block_size: int = 128
) -> Any:
    """The BlockMask (1, 1, tokens, tokens) of packed documents, on the device of document_ids.

    No mask function is evaluated over pairs or blocks. Documents own contiguous columns, so a row
    of blocks reads the contiguous blocks from the start of its first token's document up to the
    diagonal. Blocks wholly inside that document and before the diagonal need no mask, if no other
    document begins in the row. Every row of blocks is covered, a shorter last one included.

    Args:
        lengths: (documents,) integers on the CPU.
        document_ids, position_ids: (tokens,), the document of each token and its position within.
        block_size: tokens per block.

    Raises ValueError if there is no token.

    """
    from torch.nn.attention.flex_attention import BlockMask

    tokens, device = document_ids.shape[0], document_ids.device
    if not tokens:
        raise ValueError("a BlockMask needs at least one token")
    lengths = lengths.long()
    starts = lengths.cumsum(0) - lengths
    document = torch.repeat_interleave(lengths)  # (tokens,)
    blocks = -(-tokens // block_size)
    row = torch.arange(blocks, device="cpu")
    first = row * block_size
    last = torch.clamp(first + block_size, max=tokens) - 1
    begin = starts[document[first]]  # where the document of the row's first token begins
    low = begin // block_size
    # torch's own construction never counts a shorter last row as full: its padding is masked
    whole = (document[first] == document[last]) & (first + block_size <= tokens)
    low_full = torch.where(whole, -(-begin // block_size), row)
    full_count = torch.where(whole, row - low_full, 0).clamp(min=0)
    partial_count = row - low + 1 - full_count
    column = torch.arange(blocks, device="cpu")[None, :]
    # the partial blocks: those before the first full one, then the diagonal (or all, if none is
    # full)
    ahead = (partial_count - 1)[:, None]
    partial = torch.where(column < ahead, low[:, None] + column, row[:, None])
    full = low_full[:, None] + column
    indices = [
        torch.where(column < count[:, None], block, 0)
        for block, count in ((partial, partial_count), (full, full_count))
    ]

    def same_document_and_causal(_batch: Tensor, _head: Tensor, q: Tensor, kv: Tensor) -> Tensor:
        return (document_ids[q] == document_ids[kv]) & (position_ids[q] >= position_ids[kv])

    kv_count, kv_index, full_kv_count, full_kv_index = (
        copy_to_device(t.int()[None, None], device)
        for t in (partial_count, indices[0], full_count, indices[1])
    )
    return BlockMask.from_kv_blocks(
        kv_count,
        kv_index,
        full_kv_count,
        full_kv_index,
        block_size,
        same_document_and_causal,
        (tokens, tokens),
    )
