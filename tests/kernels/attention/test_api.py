"""packed_attention in torch and the reference: gradients, isolation of documents, bad inputs."""

import pytest
import torch
from orion_kernels import Packing, packed_attention

from tests.helpers.kernels.attention import (
    TOLERANCE,
    assert_all_close,
    dense_attention,
    run_with_gradients,
)

IMPLEMENTATIONS = ["torch", "reference"]
LENGTHS = {
    "one": [20],
    "single tokens": [1, 1, 1, 1],
    "ragged": [3, 1, 17, 8],
    "empty documents": [0, 5, 0, 0, 7, 0],
    "equal": [6, 6, 6],
    "around a tile": [63, 64, 65, 1],
    "around two tiles": [127, 129],
}


def inputs(randn, tokens, q_heads=4, kv_heads=2, head_dim=8, dtype=torch.float64):
    return tuple(
        randn(tokens, heads, head_dim, dtype=dtype) for heads in (q_heads, kv_heads, kv_heads)
    )


def assert_matches(tensors, packing, upstream, impl, dtype, **kwargs):
    got = run_with_gradients(
        lambda *t: packed_attention(*t, packing, impl=impl, **kwargs), tensors, upstream
    )
    wide = [t.double() for t in tensors]
    want = run_with_gradients(lambda *t: dense_attention(*t, packing, **kwargs), wide, upstream)
    assert_all_close(got, want, dtype, kwargs.get("scale", 0.0))


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS.keys())
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_values_and_gradients(randn, impl, lengths, dtype):
    tensors = inputs(randn, sum(lengths), dtype=dtype)
    upstream = randn(*tensors[0].shape, dtype=dtype)
    assert_matches(tensors, Packing.from_seq_lengths(lengths), upstream, impl, dtype)


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
@pytest.mark.parametrize(("kv_heads", "ratio"), [(1, 1), (2, 1), (2, 2), (1, 4), (2, 7), (1, 8)])
@pytest.mark.parametrize("head_dim", [5, 64, 96, 128])
def test_grouped_query_attention(randn, impl, kv_heads, ratio, head_dim):
    tensors = inputs(randn, 15, kv_heads * ratio, kv_heads, head_dim, torch.float32)
    upstream = randn(*tensors[0].shape)
    assert_matches(tensors, Packing.from_seq_lengths([9, 6]), upstream, impl, torch.float32)


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_many_random_documents(randn, impl):
    lengths = torch.randint(0, 12, (40,), generator=randn.generator).tolist()
    tensors = inputs(randn, sum(lengths))
    assert_matches(
        tensors, Packing.from_seq_lengths(lengths), randn(*tensors[0].shape), impl, torch.float64
    )


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
@pytest.mark.parametrize("scale", [1e-3, 0.3, 1e4])
def test_scale(randn, impl, scale):
    tensors = inputs(randn, 12)
    assert_matches(
        tensors,
        Packing.from_seq_lengths([5, 7]),
        randn(*tensors[0].shape),
        impl,
        torch.float64,
        scale=scale,
    )


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
@pytest.mark.parametrize("poison", [float("nan"), float("inf"), -float("inf"), 1e30])
@pytest.mark.parametrize("poisoned", [0, 1, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_no_leak_across_documents(randn, impl, poison, poisoned, dtype):
    lengths = [17, 9, 30]
    packing = Packing.from_seq_lengths(lengths)
    tensors = inputs(randn, sum(lengths), dtype=dtype)
    upstream = randn(*tensors[0].shape, dtype=dtype)
    inside = packing.document_ids == poisoned
    dirty = [t.masked_fill(inside[:, None, None], poison) for t in (*tensors, upstream)]
    clean = run_with_gradients(
        lambda *t: packed_attention(*t, packing, impl=impl), tensors, upstream
    )
    got = run_with_gradients(
        lambda *t: packed_attention(*t, packing, impl=impl), dirty[:3], dirty[3]
    )
    for a, b in zip(clean, got, strict=True):
        assert torch.equal(a[~inside], b[~inside])
        assert not torch.equal(a[inside], b[inside])


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_jacobian_between_documents_is_exactly_zero(randn, impl):
    packing = Packing.from_seq_lengths([3, 4])
    tensors = inputs(randn, 7, 2, 1, 4)
    for jacobian in torch.autograd.functional.jacobian(
        lambda *t: packed_attention(*t, packing, impl=impl), tensors
    ):
        # (tokens, heads, dim, tokens, heads, dim)
        assert (jacobian[:3, :, :, 3:] == 0).all() and (jacobian[3:, :, :, :3] == 0).all()
        assert (jacobian[:3, :, :, :3] != 0).any()


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
@pytest.mark.parametrize("token", [1, 6, 29, 30, 46])
def test_earlier_tokens_do_not_see_later_ones(randn, impl, token):
    packing = Packing.from_seq_lengths([30, 17])
    tensors = inputs(randn, 47, dtype=torch.float32)
    changed = [t.clone() for t in tensors]
    for t in changed:
        t[token] += 100.0
    before, after = (packed_attention(*ts, packing, impl=impl) for ts in (tensors, changed))
    assert torch.equal(before[:token], after[:token]) and not torch.equal(
        before[token], after[token]
    )


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_packed_equals_each_document_alone_in_any_order(randn, impl):
    lengths = [11, 1, 64, 30]
    tensors = inputs(randn, sum(lengths), dtype=torch.float32)
    upstream = randn(*tensors[0].shape, dtype=torch.float32)
    packing = Packing.from_seq_lengths(lengths)
    packed = run_with_gradients(
        lambda *t: packed_attention(*t, packing, impl=impl), tensors, upstream
    )
    parts = list(zip(*(t.split(lengths) for t in (*tensors, upstream)), strict=True))
    alone = [
        run_with_gradients(
            lambda *t: packed_attention(*t, Packing.from_seq_lengths([t[0].shape[0]]), impl=impl),
            part[:3],
            part[3],
        )
        for part in parts
    ]
    for index, whole in enumerate(packed):
        assert torch.equal(whole, torch.cat([a[index] for a in alone]))
    order = [2, 0, 3, 1]
    moved = [torch.cat([parts[i][j] for i in order]) for j in range(4)]
    reordered = Packing.from_seq_lengths([lengths[i] for i in order])
    permuted = run_with_gradients(
        lambda *t: packed_attention(*t, reordered, impl=impl), moved[:3], moved[3]
    )
    for index, whole in enumerate(permuted):
        assert torch.equal(whole, torch.cat([alone[i][index] for i in order]))


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_a_single_token_returns_its_value(randn, impl):
    q, k, v = inputs(randn, 3)
    got = packed_attention(q, k, v, Packing.from_seq_lengths([1, 1, 1]), impl=impl)
    torch.testing.assert_close(got, v.repeat_interleave(2, dim=1), rtol=1e-15, atol=0)


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_no_tokens(impl):
    q, k, v = (torch.zeros(0, heads, 8, requires_grad=True) for heads in (4, 2, 2))
    out = packed_attention(q, k, v, Packing.from_seq_lengths([0, 0]), impl=impl)
    assert out.shape == (0, 4, 8)
    out.sum().backward()
    assert all(t.grad.shape == t.shape for t in (q, k, v))


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_slices_of_a_fused_projection_and_strided_upstream(randn, impl):
    fused = randn(14, 4 + 2 + 2, 8)
    views = fused.split([4, 2, 2], dim=1)
    upstream = randn(8, 4, 14).permute(2, 1, 0)
    assert not any(t.is_contiguous() for t in (*views, upstream))
    packing = Packing.from_seq_lengths([9, 5])
    leaf = fused.clone().requires_grad_()
    out = packed_attention(*leaf.split([4, 2, 2], dim=1), packing, impl=impl)
    out.backward(upstream)
    want = run_with_gradients(lambda *t: dense_attention(*t, packing), views, upstream)
    torch.testing.assert_close(out, want[0], rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(leaf.grad, torch.cat(want[1:], dim=1), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_gradcheck(randn, impl):
    packing = Packing.from_seq_lengths([3, 1, 2])
    leaves = [t.requires_grad_() for t in inputs(randn, 6, 2, 1, 3)]
    assert torch.autograd.gradcheck(lambda *t: packed_attention(*t, packing, impl=impl), leaves)


def test_repeats_bitwise(randn):
    packing = Packing.from_seq_lengths([40, 25])
    tensors = inputs(randn, 65, dtype=torch.float32)
    upstream = randn(*tensors[0].shape, dtype=torch.float32)
    runs = [
        run_with_gradients(lambda *t: packed_attention(*t, packing), tensors, upstream)
        for _ in range(5)
    ]
    assert all(torch.equal(a, b) for again in runs[1:] for a, b in zip(runs[0], again, strict=True))


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_autocast_brings_mixed_dtypes_together(randn, impl):
    q, k, v = inputs(randn, 9, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = packed_attention(q, k, v.bfloat16(), Packing.from_seq_lengths([4, 5]), impl=impl)
    assert out.dtype == torch.bfloat16


def zeros(*shape, **kwargs):
    return torch.zeros(*shape, **kwargs)


BAD = {
    "impl": (
        (zeros(3, 4, 8), zeros(3, 2, 8), zeros(3, 2, 8)),
        {"impl": "flash"},
        "one of .*, but is 'flash'",
    ),
    "batched": ((zeros(1, 3, 4, 8), zeros(3, 2, 8), zeros(3, 2, 8)), {}, "q must be"),
    "k and v": ((zeros(3, 4, 8), zeros(3, 2, 8), zeros(3, 1, 8)), {}, "q must be"),
    "tokens": (
        (zeros(4, 4, 8), zeros(3, 2, 8), zeros(3, 2, 8)),
        {},
        "agree in tokens and head_dim",
    ),
    "value heads": (
        (zeros(3, 4, 8), zeros(3, 2, 8), zeros(3, 4, 6)),
        {},
        "v .tokens, kv_heads, value_dim.",
    ),
    "window": (
        (zeros(3, 2, 8), zeros(3, 2, 8), zeros(3, 2, 8)),
        {"window": 0},
        "window must be a positive integer or None, but is 0",
    ),
    "softcap": (
        (zeros(3, 2, 8), zeros(3, 2, 8), zeros(3, 2, 8)),
        {"softcap": 0.0},
        "softcap must be positive or None, but is 0.0",
    ),
    "sinks": (
        (zeros(3, 4, 8), zeros(3, 2, 8), zeros(3, 2, 8)),
        {"sinks": zeros(2)},
        r"sinks must be \(4,\) floating point",
    ),
    "sinks elsewhere": (
        (zeros(3, 4, 8), zeros(3, 2, 8), zeros(3, 2, 8)),
        {"sinks": zeros(4, device="meta")},
        "sinks must be on the device of q",
    ),
    "heads": (
        (zeros(3, 3, 8), zeros(3, 2, 8), zeros(3, 2, 8)),
        {},
        "multiple of kv_heads, but they are 3 and 2",
    ),
    "packing": (
        (zeros(4, 4, 8), zeros(4, 2, 8), zeros(4, 2, 8)),
        {},
        "packing covers 3 tokens, but q, k and v hold 4",
    ),
    "dtype": (
        (zeros(3, 4, 8).half(), zeros(3, 2, 8), zeros(3, 2, 8)),
        {},
        "share one floating dtype",
    ),
    "integers": (tuple(zeros(3, 2, 8).int() for _ in range(3)), {}, "share one floating dtype"),
    "scale": (
        (zeros(3, 2, 8), zeros(3, 2, 8), zeros(3, 2, 8)),
        {"scale": -1.0},
        "scale must be positive, but is -1.0",
    ),
    "device": (
        (zeros(3, 4, 8), zeros(3, 2, 8, device="meta"), zeros(3, 2, 8)),
        {},
        "must be on one device",
    ),
}


@pytest.mark.parametrize(("tensors", "kwargs", "message"), BAD.values(), ids=BAD.keys())
def test_bad_input_says_what_is_wrong(tensors, kwargs, message):
    with pytest.raises(ValueError, match=message):
        packed_attention(*tensors, Packing.from_seq_lengths([2, 1]), **kwargs)
