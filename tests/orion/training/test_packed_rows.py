"""The packed rows on disk, and the micro-batches made of them."""

import copy
import pickle

import numpy as np
import polars as pl
import pytest
import torch

from orion import tables
from orion.errors import InputError
from orion.training import packed_rows
from orion.training.packed_rows import collate_packed, store_rows


@pytest.fixture
def table(student, tmp_path):
    """The student's packed rows, the third of them held out."""
    frame = student[1].with_columns(validation=pl.col("row") == 2)
    tables.write(frame, tmp_path / "packed", tables.PACKED, {})
    return frame, tmp_path / "packed", tmp_path / "work"


def as_lists(rows):
    return [{key: values.tolist() for key, values in row.items()} for row in rows]


@pytest.mark.parametrize("slice_rows", [1, 3, 64])
def test_the_stored_rows_are_those_of_the_table(table, monkeypatch, slice_rows):
    frame, packed, work = table
    monkeypatch.setattr(packed_rows, "SLICE_ROWS", slice_rows)
    rows, held_out = store_rows(packed, work)
    want = frame.select(packed_rows.COLUMNS)
    assert (
        as_lists(rows[i] for i in range(len(rows))) == want.filter(~frame["validation"]).to_dicts()
    )
    assert as_lists([held_out[0]]) == want[2].to_dicts() and len(held_out) == 1
    assert as_lists([pickle.loads(pickle.dumps(rows))[1]]) == want[1].to_dicts()
    labels = frame.filter(~pl.col("validation"))["labels"].explode()
    assert rows.index["trained"].sum() == (labels != -100).sum()


def test_the_batch_is_that_of_plain_lists(table):
    frame, packed, work = table
    rows, _ = store_rows(packed, work)
    batch = collate_packed([rows[0], rows[1]])
    for key in ("input_ids", "labels", "position_ids"):
        want = torch.tensor([[*frame[key][0], *frame[key][1]]])
        assert batch[key].dtype == torch.int64 and torch.equal(batch[key], want)
    lengths = [*frame["seq_lengths"][0], *frame["seq_lengths"][1]]
    assert batch["seq_lengths"] == lengths and type(batch["seq_lengths"][0]) is int
    ends = np.cumsum(lengths).tolist()
    labels = batch["labels"][0].tolist()
    valid = [i for i in range(ends[-1]) if i + 1 not in ends and labels[i + 1] != -100]
    assert batch["valid_index"].tolist() == valid and batch["valid_index"].dtype == torch.int64


def test_a_resumed_run_takes_the_rows_that_are_there(table, monkeypatch):
    _, packed, work = table
    before, _ = store_rows(packed, work)
    monkeypatch.setattr(packed_rows, "_copy_rows", lambda *_: pytest.fail("copied again"))
    after, _ = store_rows(packed, work)
    assert as_lists([after[0]]) == as_lists([before[0]])


@pytest.mark.parametrize("damage", ["no index", "cut index", "cut rows", "killed"])
def test_half_a_copy_is_written_anew(table, monkeypatch, damage):
    _, packed, work = table
    want = [copy.deepcopy(store_rows(packed, work)[0][i]) for i in range(3)]
    rows, index = work / packed_rows.ROWS, work / packed_rows.INDEX
    if damage == "no index":
        index.unlink()
    elif damage == "killed":
        index.unlink()
        with monkeypatch.context() as patch:
            patch.setattr(np, "save", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
            with pytest.raises(KeyboardInterrupt):
                store_rows(packed, work)
        assert not index.exists()
    else:
        path = index if damage == "cut index" else rows
        path.write_bytes(path.read_bytes()[:-40])
    found, _ = store_rows(packed, work)
    assert as_lists(found[i] for i in range(3)) == as_lists(want)
    assert sorted(work.iterdir()) == [rows, index]


def test_a_damaged_table_is_named(table):
    _, packed, work = table
    content = packed.read_bytes()
    middle = len(content) // 3
    packed.write_bytes(content[:middle] + bytes(64) + content[middle + 64 :])
    with pytest.raises(InputError, match=r"packed: not a readable parquet file .*delete it"):
        store_rows(packed, work)
    assert not list(work.iterdir())
