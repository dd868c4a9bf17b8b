"""Packed sequences as rows of a torch data set on disk, and the micro-batches made of them."""

import errno
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from accelerate.data_loader import SeedableRandomSampler
from orion_kernels import Packing

from orion import tables
from orion.errors import InputError
from orion.paths import AtomicFile
from orion.progress import log
from orion.training.preference import mark_pairs
from orion.training.table_slices import read_slices

IGNORED = -100
COLUMNS = ("input_ids", "labels", "position_ids", "seq_lengths")
# 1 for the tokens that are key steps, in the tables of arms that weigh them
KEY_STEPS = "key_steps"
# in the work folder: the rows one after the other, int32, and where each of them is
ROWS, INDEX = "packed_rows.bin", "packed_rows.npy"
INDEX_TYPE = np.dtype(
    [
        ("start", "<i8"),  # in values of ROWS
        ("tokens", "<i8"),
        ("documents", "<i8"),
        ("trained", "<i8"),  # labels that are not IGNORED
        ("held_out", "?"),
        ("has_key_steps", "?"),
    ]
)
# rows of the packed table that are in memory at a time while they are copied
SLICE_ROWS = 64

Row = dict[str, npt.NDArray[np.int32]]
# a row without a target, for a process that has none of a pass's last rows
PADDING: Row = dict(zip(COLUMNS, np.array([[0], [IGNORED], [0], [1]], np.int32), strict=True))


class PackedRows(torch.utils.data.Dataset[Row]):
    """The packed sequences as one dictionary of arrays each, read from disk when asked for.

    ``index``: an entry of INDEX_TYPE per row, all that is in memory. The file is opened anew for
    each row, so that processes can share the data set. ``reference``: what each row has of it, of
    each document (``orion.training.preference``), (documents,) float64; None for other losses.
    """

    def __init__(self, path: Path, index: npt.NDArray[Any]):
        self.path, self.index = path, index
        self.reference: npt.NDArray[np.float64] | None = None

    def place_documents(self, number: int) -> slice:
        """Where the documents of a row are among those of all rows."""
        before = int(self.index["documents"][:number].sum())
        return slice(before, before + int(self.index["documents"][number]))

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, number: int | None) -> Row:
        if number is None:
            return PADDING
        entry = self.index[number : number + 1]
        start, tokens, documents = entry[["start", "tokens", "documents"]].item()
        count = _count_values(entry)
        values = np.fromfile(self.path, "<i4", count, offset=4 * start)
        assert len(values) == count, f"{self.path} is cut off"
        parts = np.split(values, [tokens, 2 * tokens, 3 * tokens, 3 * tokens + documents])
        row: dict[str, Any] = dict(zip(COLUMNS, parts, strict=False))
        if entry["has_key_steps"].item():
            row[KEY_STEPS] = parts[-1]
        if self.reference is not None:
            row["reference"] = self.reference[self.place_documents(number)]
        return row


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


def store_rows(packed: str | Path, work: Path) -> tuple[PackedRows, PackedRows]:
    """The rows to train on, and those held out, of a packed table.

    They are copied to the work folder once, 12 or 16 bytes per token, and found there by a run that
    is resumed. The index is written last and checked against the rows, so that half a copy is
    written anew. Raises InputError where the table is damaged or the disk is full.
    """
    index = _read_index(work)
    if index is None:
        try:
            _copy_rows(packed, work)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise
            raise InputError(
                f"{work}: the disk has no room for the packed rows, 12 or 16 bytes per token "
                f"({error.strerror}); make room and run again"
            ) from None
        index = _read_index(work)
        assert index is not None, f"{work}: the packed rows do not fit their index"
    held_out = index["held_out"]
    return PackedRows(work / ROWS, index[~held_out]), PackedRows(work / ROWS, index[held_out])


def _read_index(work: Path) -> npt.NDArray[Any] | None:
    """The index of the stored rows; None if there is none, or the rows are not all there."""
    try:
        index = np.load(work / INDEX)
        size = (work / ROWS).stat().st_size
    except (OSError, ValueError, EOFError):
        return None
    if index.dtype != INDEX_TYPE or size != 4 * _count_values(index):
        log(f"{work}: the packed rows are damaged, and written anew")
        return None
    return index


def _count_values(index: npt.NDArray[Any]) -> int:
    planes = 3 + index["has_key_steps"].astype(np.int64)
    return int((planes * index["tokens"]).sum() + index["documents"].sum())


def _copy_rows(packed: str | Path, work: Path) -> None:
    """Write ROWS, and INDEX behind it."""
    entries = [np.empty(0, INDEX_TYPE)]
    end = 0
    columns = [*COLUMNS, KEY_STEPS, "validation"]
    with AtomicFile(work / ROWS) as partial, open(partial, "wb", buffering=1 << 20) as file:
        for frame in read_slices(packed, tables.PACKED, columns, rows=SLICE_ROWS):
            has_key_steps = frame[KEY_STEPS].null_count() == 0
            names = [*COLUMNS, *([KEY_STEPS] if has_key_steps else [])]
            values = [frame[c].explode(empty_as_null=False).to_numpy() for c in names]
            counts = [frame[c].list.len().to_numpy().astype(np.int64) for c in names]
            places = [np.cumsum(count) - count for count in counts]
            for row in range(frame.height):
                for column, count, place in zip(values, counts, places, strict=True):
                    part = column[place[row] : place[row] + count[row]]
                    file.write(part.astype("<i4", copy=False).tobytes())
            entry = np.empty(frame.height, INDEX_TYPE)
            entry["tokens"], entry["documents"] = counts[0], counts[3]
            sizes = np.sum(counts, axis=0)
            entry["start"] = end + np.cumsum(sizes) - sizes
            end += int(sizes.sum())
            trained = np.concatenate([[0], np.cumsum(values[1] != IGNORED)])
            entry["trained"] = trained[places[1] + counts[1]] - trained[places[1]]
            entry["has_key_steps"] = has_key_steps
            entry["held_out"] = frame["validation"].fill_null(False).to_numpy()
            entries.append(entry)
    with AtomicFile(work / INDEX) as partial, open(partial, "wb") as file:
        np.save(file, np.concatenate(entries))


def collate_packed(
    rows: Sequence[dict[str, Any]],
    loss_average: str = "token",
    key_step_weight: float | None = None,
) -> dict[str, Any]:
    """The sequences of a micro-batch end to end in one row: (1, tokens) int64 each.

    Also seq_lengths, the documents' lengths, and valid_index (targets,) int64, the positions that
    predict a trained token. Both are computed on the host, where no device has to be waited for.
    ``loss_average``: for "document" there are weights too, see ``weigh_documents``, for "pair" what
    ``mark_pairs`` gives; there are weights with ``key_step_weight`` too, of rows that have the
    column KEY_STEPS. Padding is left out; where there is nothing else, the micro-batch has the key
    padding.
    """
    mark = {"padding": True} if all(row is PADDING for row in rows) else {}
    rows = [row for row in rows if row is not PADDING] or [PADDING]
    joined = {
        key: np.concatenate([row[key] for row in rows], dtype=np.int64, casting="same_kind")
        for key in COLUMNS
    }
    lengths = joined.pop("seq_lengths").tolist()
    row = {key: torch.from_numpy(values)[None] for key, values in joined.items()}
    packing = Packing.from_seq_lengths(lengths)
    targets = packing.shifted_labels(row["labels"])
    weights: dict[str, torch.Tensor] = {}
    if key_step_weight is not None:
        # padding has no targets, so that it needs no marks
        marks = np.concatenate([row.get(KEY_STEPS, np.zeros(1, np.int32)) for row in rows])
        raw = 1 + (key_step_weight - 1) * torch.from_numpy(marks).double()
        weights = weigh_documents(row["labels"], packing, loss_average, raw)
    elif loss_average == "document":
        weights = weigh_documents(row["labels"], packing)
    elif loss_average == "pair":
        weights = mark_pairs(rows)
    valid = targets.ne(IGNORED).nonzero().squeeze(1)
    return {**row, **weights, **mark, "seq_lengths": lengths, "valid_index": valid}


def weigh_documents(
    labels: torch.Tensor,
    packing: Packing,
    loss_average: str = "document",
    raw: torch.Tensor | None = None,
) -> dict[str, torch.Tensor]:
    """token_weights (1, tokens), aligned with ``labels``, and perhaps trained_documents.

    ``loss_average``: for "document" the weights of a document's targets sum to 1, for "token" to
    their number. ``raw``: (tokens,) float64, what they are in proportion to within a document; None
    for equal ones. For "document" there is trained_documents too, a label for each document:
    IGNORED where it has no target. The first label of each document is IGNORED, as `pack` writes
    it.
    """
    document = packing.document_ids  # (tokens,)
    trained = labels[0].ne(IGNORED).double()
    sums = torch.zeros(2, len(packing.lengths), dtype=torch.float64)
    sums[0].index_add_(0, document, trained)  # targets of each document
    sums[1].index_add_(0, document, trained if raw is None else trained * raw)
    counts, total = sums
    weights = trained if raw is None else trained * raw
    if loss_average == "token":
        total = total / counts.clamp(min=1)
    weights = weights / torch.where(counts > 0, total, 1.0)[document]
    found = {"token_weights": weights.float()[None]}
    if loss_average == "document":
        found["trained_documents"] = torch.where(counts > 0, 0, IGNORED)
    return found


def average_documents(
    values: torch.Tensor, is_target: torch.Tensor, packing: Packing
) -> torch.Tensor:
    """Each token's value, (tokens,), replaced by the mean over the targets of its document.

    ``values``: 0 where ``is_target``, (tokens,) bool, is not set. The sums are of float64.
    """
    document = packing.document_ids
    sums = torch.zeros(2, len(packing.lengths), dtype=torch.float64, device=values.device)
    sums[0].index_add_(0, document, values.double())
    sums[1].index_add_(0, document, is_target.double())
    return (sums[0] / sums[1].clamp(min=1))[document].to(values.dtype)
