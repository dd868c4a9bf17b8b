"""The BlockMask of a packing equals the one that torch builds, and runs in FlexAttention."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from orion_kernels import Packing
from torch.nn.attention.flex_attention import create_block_mask, flex_attention


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    st.lists(st.sampled_from([0, 1, 5, 16, 17, 32, 40, 100]), min_size=1, max_size=7),
    st.sampled_from([16, 32, 128]),
)
def test_block_mask_is_the_one_torch_builds(lengths, size):
    packing = Packing.from_seq_lengths([*lengths, 3])
    got = packing.block_mask(size)
    tokens = packing.num_tokens
    want = create_block_mask(
        got.mask_mod, None, None, tokens, tokens, device="cpu", BLOCK_SIZE=size
    )
    for name in ("kv_num_blocks", "full_kv_num_blocks", "q_num_blocks", "full_q_num_blocks"):
        assert torch.equal(getattr(got, name), getattr(want, name))
    for index, count in (
        ("kv_indices", "kv_num_blocks"),
        ("full_kv_indices", "full_kv_num_blocks"),
    ):
        for a, b, n in zip(
            *(getattr(m, index)[0, 0] for m in (got, want)), getattr(got, count)[0, 0], strict=True
        ):
            assert a[:n].tolist() == sorted(b[:n].tolist())


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_block_mask_runs_in_flex_attention(randn):
    packing = Packing.from_seq_lengths([40, 1, 55])
    q, k, v = (randn(1, 2, 96, 16, dtype=torch.float32) for _ in range(3))
    got = flex_attention(q, k, v, block_mask=packing.block_mask(32))
    want = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=packing.dense_mask())
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)


def test_an_empty_packing_has_no_block_mask():
    with pytest.raises(ValueError, match="at least one token"):
        Packing.from_seq_lengths([0]).block_mask()
