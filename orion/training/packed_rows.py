"""Packed sequences as rows of a torch data set, and the micro-batches made of them."""

from collections.abc import Iterator
from typing import Any

import polars as pl
import torch
from accelerate.data_loader import SeedableRandomSampler
from orion_kernels import Packing

IGNORED = -100
# a row without a target, for a process that has none of a pass's last rows
PADDING = {"input_ids": [0], "labels": [IGNORED], "position_ids": [0], "seq_lengths": [1]}


class PackedRows(torch.utils.data.Dataset[dict[str, list[int]]]):
    """The packed table as one dictionary of lists per sequence.

    The table stays in Arrow, 12 bytes per token; as Python lists it would take 80.
    """

    def __init__(self, packed: pl.DataFrame):
        self.packed = packed.select("input_ids", "labels", "position_ids", "seq_lengths")

    def __len__(self) -> int:
        return self.packed.height

    def __getitem__(self, index: int | None) -> dict[str, list[int]]:
        return PADDING if index is None else self.packed.row(index, named=True)


class PaddedOrder(torch.utils.data.Sampler[int | None]):
    """The order of the rows in each pass, the same as with one process, then padding.

    ``multiple``: sequences that all processes take at once. A pass is padded (None) to a multiple
    of it, where accelerate would repeat its first rows.
    """

    def __init__(self, rows: int, multiple: int, seed: int):
        self.order = SeedableRandomSampler(range(rows), data_seed=seed)
        self.padding = -rows % multiple

    def __len__(self) -> int:
        return len(self.order) + self.padding

    def __iter__(self) -> Iterator[int | None]:
        yield from self.order
        yield from [None] * self.padding

    def set_epoch(self, epoch: int) -> None:
        self.order.set_epoch(epoch)


def collate_packed(rows: list[dict[str, list[int]]], loss_average: str = "token") -> dict[str, Any]:
    """The sequences of a micro-batch end to end in one row: (1, tokens) int64 each.

    Also seq_lengths, the documents' lengths, and valid_index (targets,) int64, the positions that
    predict a trained token. Both are computed on the host, where no device has to be waited for.
    ``loss_average``: for "document" there are weights too, see ``weigh_documents``. Padding is left
    out; where there is nothing else, the micro-batch has the key padding.
    """
    mark = {"padding": True} if all(row is PADDING for row in rows) else {}
    rows = [row for row in rows if row is not PADDING] or [PADDING]
    joined = {key: [value for row in rows for value in row[key]] for key in rows[0]}
    lengths = joined.pop("seq_lengths")
    row = {key: torch.tensor(values)[None] for key, values in joined.items()}
    packing = Packing.from_seq_lengths(lengths)
    targets = packing.shifted_labels(row["labels"])
    weights = weigh_documents(row["labels"], packing) if loss_average == "document" else {}
    valid = targets.ne(IGNORED).nonzero().squeeze(1)
    return {**row, **weights, **mark, "seq_lengths": lengths, "valid_index": valid}


def weigh_documents(labels: torch.Tensor, packing: Packing) -> dict[str, torch.Tensor]:
    """token_weights (1, tokens), aligned with ``labels``: those of a document's targets sum to 1.

    Also trained_documents, a label for each document: IGNORED where it has no target. The first
    label of each document is IGNORED, as `pack` writes it.
    """
    document = packing.document_ids  # (tokens,)
    trained = labels[0].ne(IGNORED).double()
    counts = torch.zeros(len(packing.lengths), dtype=torch.float64)
    counts.index_add_(0, document, trained)  # targets of each document
    weights = trained / counts[document].clamp(min=1)
    marks = torch.where(counts > 0, 0, IGNORED)
    return {"token_weights": weights.float()[None], "trained_documents": marks}
