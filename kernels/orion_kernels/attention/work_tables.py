"""Work tables: which tile of which document each program of an attention kernel processes.

Computed from document lengths with integer operations on the host. A table reaches the device in
one copy.
"""

from __future__ import annotations

import torch
from torch import Tensor


def table_rows(tokens: int, documents: int, block: int) -> int:
    """Rows of a table: an upper bound on the blocks of any packing of this many tokens."""
    return -(-tokens // block) + documents


def build_work_table(
    lengths: Tensor, block: int, *, by_keys: bool, tokens: int, max_documents: int
) -> Tensor:
    """One row (document start, document length, block, 1) per block of each document.

    The most expensive blocks come first; equal costs keep the order of the documents.

    Args:
        lengths: (documents,) integers on the CPU.
        block: tokens per block.
        by_keys: True for blocks of keys, which every later token of the document reads; False for
            blocks of queries, which read every earlier token.
        tokens: the sum of lengths.
        max_documents: number of non-empty documents that the table must be able to hold.

    Returns (table_rows(tokens, max_documents, block), 4) int32 on the CPU. Rows beyond the last
    block are 0 and mean no work, so that the shape depends on tokens and max_documents only. Raises
    ValueError for more than max_documents non-empty documents.

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
    shape = (table_rows(tokens, max_documents, block), 4)
    table = torch.zeros(shape, dtype=torch.int32, device="cpu")
    rows = torch.stack([starts[document], length, index, torch.ones_like(index)], dim=1)[order]
    table[: rows.shape[0]] = rows.int()
    return table


def copy_to_device(table: Tensor, device: torch.device | str) -> Tensor:
    """The table on `device`, without waiting for the copy."""
    if torch.device(device).type == "cuda":
        return table.pin_memory().to(device, non_blocking=True)
    return table.to(device)


@torch.library.custom_op("orion_kernels::work_table", mutates_args=())
def work_table_operator(
    lengths: Tensor,
    block: int,
    by_keys: bool,
    tokens: int,
    max_documents: int,
    device: torch.device,
) -> Tensor:
    """`build_work_table` on `device`, as one operator that torch.compile does not trace into."""
    table = build_work_table(
        lengths, block, by_keys=by_keys, tokens=tokens, max_documents=max_documents
    )
    return copy_to_device(table, device)


@work_table_operator.register_fake
def _(lengths, block, by_keys, tokens, max_documents, device):
    shape = (table_rows(tokens, max_documents, block), 4)
    return torch.empty(shape, dtype=torch.int32, device=device)
