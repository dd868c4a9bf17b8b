"""Work tables: which tile of which document a kernel's programs take, and the same arithmetic as a FlexAttention BlockMask.

Inputs: document lengths on the host. Outputs: an int32 table, or a `BlockMask`. Only integer operations on the host; the table
travels to the device in one copy. Nothing to run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from orion_kernels.packing import Packing


def capacity(tokens: int, documents: int, block: int) -> int:
    """Rows of a table: no packing of so many tokens into so many documents has more blocks."""
    return -(-tokens // block) + documents


def work_table(
    lengths: Tensor, block: int, *, by_keys: bool, tokens: int, max_documents: int
) -> Tensor:
    """One row (document start, document length, block, 1) for every block of every document, the most expensive first.

    Args: lengths: (documents,) integers on the CPU; block: tokens a block; by_keys: True for blocks of keys, which every later
        token of the document reads, False for blocks of queries, which read every earlier one; tokens: their sum;
        max_documents: non-empty documents that the table must be able to hold.

    Returns (capacity(tokens, max_documents, block), 4) int32 on the CPU. Rows beyond the last block are 0 and mean no work, so
    that the shape depends on tokens and max_documents only. Equal costs keep the order of the documents.
    Raises ValueError where there are more than max_documents non-empty documents.
    """
    lengths = lengths.long()
    filled = int((lengths > 0).sum())
    if filled > max_documents:
        raise ValueError(f"max_documents is {max_documents}, but {filled} documents are not empty")
    starts = lengths.cumsum(0) - lengths
    counts = (lengths + block - 1) // block
    document = torch.repeat_interleave(counts)
    index = torch.arange(document.numel(), device="cpu") - (counts.cumsum(0) - counts)[document]
    length = lengths[document]
    cost = length - index * block if by_keys else torch.minimum((index + 1) * block, length)
    order = cost.argsort(descending=True, stable=True)
    table = torch.zeros(capacity(tokens, max_documents, block), 4, dtype=torch.int32, device="cpu")
    rows = torch.stack([starts[document], length, index, torch.ones_like(index)], dim=1)[order]
    table[: rows.shape[0]] = rows.int()
    return table


def to_device(table: Tensor, device: torch.device | str) -> Tensor:
    """The table on `device`, without waiting for it."""
    if torch.device(device).type == "cuda":
        return table.pin_memory().to(device, non_blocking=True)
    return table.to(device)


@torch.library.custom_op("orion_kernels::work_table", mutates_args=())
def work_table_op(
    lengths: Tensor,
    block: int,
    by_keys: bool,
    tokens: int,
    max_documents: int,
    device: torch.device,
) -> Tensor:
    """`work_table` on `device`, as one operator that torch.compile does not look into."""
    table = work_table(lengths, block, by_keys=by_keys, tokens=tokens, max_documents=max_documents)
    return to_device(table, device)


@work_table_op.register_fake
def _(lengths, block, by_keys, tokens, max_documents, device):  # type: ignore[no-untyped-def]
    return torch.empty(capacity(tokens, max_documents, block), 4, dtype=torch.int32, device=device)


def block_mask(packing: Packing, block_size: int = 128) -> Any:
    """FlexAttention's BlockMask of a packing, from its lengths alone: no mask function is evaluated over pairs or blocks.

    Documents own contiguous columns, so a row of blocks reads the contiguous blocks from its first token's document on to the
    diagonal; of those the ones wholly inside that document and before the diagonal need no mask, if no other document begins in
    the row. Every row of blocks is covered, the last ragged one included.

    Returns a BlockMask of shape (1, 1, tokens, tokens) on the packing's device. Raises ValueError for an empty packing.
    """
    from torch.nn.attention.flex_attention import BlockMask

    tokens, device = packing.num_tokens, packing.document_ids.device
    if not tokens:
        raise ValueError("a BlockMask needs at least one token")
    lengths = packing.lengths.long()
    starts = lengths.cumsum(0) - lengths
    document = torch.repeat_interleave(lengths)  # (tokens,)
    blocks = -(-tokens // block_size)
    row = torch.arange(blocks, device="cpu")
    first = row * block_size
    last = torch.clamp(first + block_size, max=tokens) - 1
    begin = starts[document[first]]  # where the document of the row's first token begins
    low = begin // block_size
    # a ragged last row counts as full only where torch's own construction does: never, its padding is outside the mask
    whole = (document[first] == document[last]) & (first + block_size <= tokens)
    low_full = torch.where(whole, -(-begin // block_size), row)
    full_count = torch.where(whole, row - low_full, 0).clamp(min=0)
    partial_count = row - low + 1 - full_count
    column = torch.arange(blocks, device="cpu")[None, :]
    # the partial blocks: those before the first full one, then the diagonal (or all, where none is full)
    ahead = (partial_count - 1)[:, None]
    partial = torch.where(column < ahead, low[:, None] + column, row[:, None])
    full = low_full[:, None] + column
    indices = [
        torch.where(column < count[:, None], block, 0)
        for block, count in ((partial, partial_count), (full, full_count))
    ]
    documents, positions = packing.document_ids, packing.position_ids

    def same_document_and_causal(_batch: Tensor, _head: Tensor, q: Tensor, kv: Tensor) -> Tensor:
        return (documents[q] == documents[kv]) & (positions[q] >= positions[kv])

    kv_count, kv_index, full_kv_count, full_kv_index = (
        to_device(t.int()[None, None], device)
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
