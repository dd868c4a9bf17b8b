"""Work tables: every tile exactly once, the most expensive first."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from orion_kernels import Packing


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.lists(st.integers(0, 70), max_size=8),
    st.sampled_from([1, 16, 64]),
    st.booleans(),
    st.integers(0, 3),
)
def test_every_tile_once_and_the_most_expensive_first(lengths, block, by_keys, spare):
    packing = Packing.from_seq_lengths(lengths, max_documents=len(lengths) + spare)
    table = packing.work_table(block, by_keys=by_keys)
    assert (
        table.shape == (-(-sum(lengths) // block) + len(lengths) + spare, 4)
        and table.dtype == torch.int32
    )
    starts = [sum(lengths[:d]) for d in range(len(lengths))]
    tiles = {
        (s, n, b, 1) for s, n in zip(starts, lengths, strict=True) for b in range(-(-n // block))
    }
    live = [tuple(row) for row in table.tolist() if row[3]]
    assert len(live) == len(tiles) and set(live) == tiles
    costs = [n - b * block if by_keys else min((b + 1) * block, n) for _, n, b, _ in live]
    assert costs == sorted(costs, reverse=True)
    assert not table[len(live) :].any()
    assert packing.work_table(block, by_keys=by_keys) is table


def test_too_many_documents():
    with pytest.raises(ValueError, match="max_documents is 1, but 2 documents are not empty"):
        Packing.from_seq_lengths([3, 0, 4], max_documents=1)
