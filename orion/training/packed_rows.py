"""Packed sequences as rows of a torch data set, and the micro-batches made of them."""

from typing import Any

import polars as pl
import torch
from orion_kernels import Packing


class PackedRows(torch.utils.data.Dataset[dict[str, list[int]]]):
    """The packed table as one dictionary of lists per sequence.

    The table stays in Arrow, 12 bytes per token; as Python lists it would take 80.
    """

    def __init__(self, packed: pl.DataFrame):
        self.packed = packed.select("input_ids", "labels", "position_ids", "seq_lengths")

    def __len__(self) -> int:
        return self.packed.height

    def __getitem__(self, index: int) -> dict[str, list[int]]:
        return self.packed.row(index, named=True)


def collate_packed(rows: list[dict[str, list[int]]]) -> dict[str, Any]:
    """The sequences of a micro-batch end to end in one row: (1, tokens) int64 each.

    Also seq_lengths, the documents' lengths, and valid_index (targets,) int64, the positions that
    predict a trained token. Both are computed on the host, where no device has to be waited for.
    """
    joined = {key: [value for row in rows for value in row[key]] for key in rows[0]}
    lengths = joined.pop("seq_lengths")
    row = {key: torch.tensor(values)[None] for key, values in joined.items()}
    targets = Packing.from_seq_lengths(lengths).shifted_labels(row["labels"])
    return {**row, "seq_lengths": lengths, "valid_index": targets.ne(-100).nonzero().squeeze(1)}
