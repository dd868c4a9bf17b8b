"""Packing: its constructors, masks and shifted labels; bad input is refused."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from orion_kernels import Packing

FIELDS = ("cu_seqlens", "document_ids", "position_ids")


def same(a: Packing, b: Packing) -> bool:
    return (
        a.seq_lengths == b.seq_lengths
        and a.max_seqlen == b.max_seqlen
        and all(torch.equal(getattr(a, f), getattr(b, f)) for f in FIELDS)
    )


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.integers(0, 9), max_size=8))
def test_constructors_agree_and_describe_the_documents(lengths):
    packing = Packing.from_seq_lengths(lengths)
    tokens = [(d, p) for d, n in enumerate(lengths) for p in range(n)]
    assert packing.document_ids.tolist() == [d for d, _ in tokens]
    assert packing.position_ids.tolist() == [p for _, p in tokens]
    assert packing.cu_seqlens.tolist() == [sum(lengths[:i]) for i in range(len(lengths) + 1)]
    assert packing.cu_seqlens.dtype == packing.document_ids.dtype == torch.int32
    assert packing.max_seqlen == max(lengths, default=0) and type(packing.max_seqlen) is int
    assert (packing.num_tokens, packing.num_documents) == (len(tokens), len(lengths))
    assert same(packing, Packing.from_cu_seqlens(packing.cu_seqlens, len(tokens)))
    assert same(packing, Packing.from_seq_lengths(torch.tensor(lengths, dtype=torch.int64)))
    # empty documents leave no trace in position ids
    without_empty = Packing.from_seq_lengths([n for n in lengths if n])
    assert same(without_empty, Packing.from_position_ids(packing.position_ids))
    mask = [[a == c and p >= q for c, q in tokens] for a, p in tokens]
    assert packing.dense_mask().tolist() == mask
    targets = [
        i + 1 if i + 1 < len(tokens) and tokens[i + 1][0] == tokens[i][0] else -100
        for i in range(len(tokens))
    ]
    assert packing.shifted_labels(torch.arange(len(tokens))).tolist() == targets


def test_rows_of_a_batch_are_laid_end_to_end():
    position_ids = torch.tensor([[0, 1, 2, 0, 1], [0, 1, 2, 3, 4], [0, 0, 0, 1, 2]])
    packing = Packing.from_position_ids(position_ids)
    assert packing.seq_lengths == (3, 2, 5, 1, 1, 3)
    assert torch.equal(packing.position_ids, position_ids.flatten())


def test_a_row_that_continues_counting_is_still_a_new_document_and_refused():
    with pytest.raises(ValueError, match=r"token 2 .* starts a document at position 2"):
        Packing.from_position_ids(torch.tensor([[0, 1], [2, 3]]))


def test_shifted_labels_of_a_batch_with_another_ignore_index():
    packing = Packing.from_seq_lengths([2, 2])
    assert packing.shifted_labels(torch.tensor([[5, 6], [7, 8]]), ignore_index=-1).tolist() == [
        6,
        -1,
        8,
        -1,
    ]


def test_to_keeps_everything():
    packing = Packing.from_seq_lengths([2, 3])
    assert same(packing, packing.to("cpu"))
    assert packing.to("meta").cu_seqlens.device.type == "meta"


BAD = {
    "cu end": (
        lambda: Packing.from_cu_seqlens(torch.tensor([0, 4]), 5),
        "must end at the token count 5, but it ends at 4",
    ),
    "cu start": (
        lambda: Packing.from_cu_seqlens(torch.tensor([1, 4]), 4),
        r"must start at 0, but it is \[1\]",
    ),
    "cu empty": (
        lambda: Packing.from_cu_seqlens(torch.tensor([], dtype=torch.int32), 0),
        "must start at 0, but it is empty",
    ),
    "cu decreases": (lambda: Packing.from_cu_seqlens([0, 4, 2], 2), "entries 1 and 2 are 4 and 2"),
    "cu float": (
        lambda: Packing.from_cu_seqlens(torch.tensor([0.0, 4.0]), 4),
        "must hold integers, but has dtype torch.float32",
    ),
    "cu shape": (
        lambda: Packing.from_cu_seqlens(torch.zeros(2, 2, dtype=torch.int32), 0),
        r"has shape \(2, 2\)",
    ),
    "length negative": (lambda: Packing.from_seq_lengths([3, -1]), r"seq_lengths\[1\] is -1"),
    "length fraction": (lambda: Packing.from_seq_lengths([2.5]), r"seq_lengths\[0\] is 2.5"),
    "too long": (lambda: Packing.from_seq_lengths([0, 2**31]), "at most"),
    "positions start": (
        lambda: Packing.from_position_ids(torch.tensor([1, 2])),
        "token 0 .* starts a document at position 1",
    ),
    "positions gap": (
        lambda: Packing.from_position_ids(torch.tensor([0, 1, 3])),
        "token 2 .* at position 3",
    ),
    "positions shape": (
        lambda: Packing.from_position_ids(torch.zeros(1, 1, 1, dtype=torch.long)),
        "1 or 2 dimensions",
    ),
    "labels": (
        lambda: Packing.from_seq_lengths([3]).shifted_labels(torch.zeros(1, 4)),
        "each of 3 packed tokens",
    ),
}


@pytest.mark.parametrize(("make", "message"), BAD.values(), ids=BAD.keys())
def test_bad_input_says_what_is_wrong(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_metadata_is_made_on_the_host_whatever_the_default_device_is():
    before = Packing.from_seq_lengths([3, 0, 5])
    with torch.device("meta"):
        made = Packing.from_seq_lengths([3, 0, 5], device="cpu")
        tables = [p.work_table(4, by_keys=True) for p in (before, made)]
    assert torch.equal(*tables) and made.cu_seqlens.device.type == "cpu"
