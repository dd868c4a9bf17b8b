"""packed_attention with impl="triton" against a dense-mask oracle, interpreted or on a GPU."""

import functools

import pytest
import torch
from orion_kernels import Packing, packed_attention
from orion_kernels.attention import triton_configs, triton_kernels, triton_launch

from tests.helpers.kernels.attention import (
    TOLERANCE,
    assert_all_close,
    dense_attention,
    run_with_gradients,
)
from tests.helpers.kernels.triton_interpreter import CUDA, DEVICE

DTYPES = [torch.float16, torch.bfloat16] if CUDA else list(TOLERANCE)
EXACT = torch.float16 if CUDA else torch.float32  # of the tests that compare bit by bit
LENGTHS = {
    "one": [20],
    "single tokens": [1, 1, 1, 1],
    "empty documents": [0, 5, 0, 0, 7, 0],
    "around a tile": [63, 64, 65, 1],
    "around two tiles": [127, 129],
}


@pytest.fixture
def small_tiles(monkeypatch):
    """Tiles of 16, so that short documents have several of each kind."""
    tile = triton_configs.AttentionTile(16, 16, 4, 2)
    wide = triton_configs.AttentionTile(16, 32, 4, 2)
    if not CUDA:
        monkeypatch.setattr(
            triton_configs,
            "TILES",
            {key: triton_configs.KernelTiles(tile, wide, wide) for key in triton_configs.TILES},
        )


def inputs(randn, tokens, q_heads=4, kv_heads=2, head_dim=64, dtype=EXACT):
    return [
        randn(tokens, h, head_dim, dtype=dtype).to(DEVICE)
        for h in (q_heads, kv_heads, kv_heads, q_heads)
    ]


def attend_by_triton(packing, **kwargs):
    return lambda q, k, v: packed_attention(q, k, v, packing, impl="triton", **kwargs)


def oracle(packing, scale=None):
    return lambda q, k, v: dense_attention(q, k, v, packing, scale)


def run(function, q, k, v, upstream):
    return run_with_gradients(function, (q, k, v), upstream)


def packed(lengths):
    return Packing.from_seq_lengths(lengths, device=DEVICE)


def assert_matches(tensors, lengths, **kwargs):
    packing, dtype = packed(lengths), tensors[0].dtype
    got = run(attend_by_triton(packing, **kwargs), *tensors)
    want = run(oracle(packing, **kwargs), *(t.double() for t in tensors))
    assert_all_close(got, want, dtype, kwargs.get("scale", 0.0))


@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS.keys())
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_values_and_gradients(randn, lengths, dtype):
    assert_matches(inputs(randn, sum(lengths), 2, 1, dtype=dtype), lengths)


@pytest.mark.parametrize(("kv_heads", "ratio"), [(1, 1), (2, 2), (1, 4), (2, 7), (1, 8)])
@pytest.mark.parametrize("head_dim", [64, 96, 128])
def test_grouped_query_attention(randn, small_tiles, kv_heads, ratio, head_dim):
    assert_matches(inputs(randn, 15, kv_heads * ratio, kv_heads, head_dim), [9, 6])


@pytest.mark.parametrize(("documents", "longest"), [(12, 40), (40, 12)])
def test_many_random_documents(randn, small_tiles, documents, longest):
    lengths = torch.randint(0, longest, (documents,), generator=randn.generator).tolist()
    assert_matches(inputs(randn, sum(lengths), 2, 1), lengths)


@pytest.mark.parametrize("size", [10.0, 1e2])
def test_large_scores(randn, small_tiles, size):
    """Scores up to about 1e4: most rows attend to one key, a document's first row to itself."""
    q, k, v, upstream = inputs(randn, 27, 2, 1, dtype=EXACT)
    packing, tensors = packed([5, 22]), (q * size, k * size, v, upstream)
    got = run(attend_by_triton(packing), *tensors)
    want = run(oracle(packing), *(t.double() for t in tensors))
    assert torch.equal(got[0][[0, 5]], v[[0, 5]].repeat_interleave(2, dim=1))
    torch.testing.assert_close(got[0].double(), want[0], rtol=0, atol=2e-6 * size**2)
    assert all(t.isfinite().all() for t in got)


def test_a_documents_gradient_is_exactly_zero_outside_of_it(randn, small_tiles):
    packing = packed([17, 9, 30])
    q, k, v, upstream = inputs(randn, 56)
    for document in range(3):
        inside = packing.document_ids == document
        grads = run(
            attend_by_triton(packing), q, k, v, upstream.masked_fill(~inside[:, None, None], 0)
        )[1:]
        assert all((g[~inside] == 0).all() and (g[inside] != 0).any() for g in grads)


@pytest.mark.parametrize("scale", [1e-3, 0.3, 1e3])
def test_scale(randn, small_tiles, scale):
    assert_matches(inputs(randn, 27, 2, 1, dtype=DTYPES[0]), [5, 22], scale=scale)


@pytest.mark.parametrize("poison", [float("nan"), float("inf"), 1e4])
@pytest.mark.parametrize("poisoned", [0, 1, 2])
def test_no_leak_across_documents(randn, small_tiles, poison, poisoned):
    packing = packed([17, 9, 30])
    tensors = inputs(randn, 56)
    inside = packing.document_ids == poisoned
    dirty = [t.masked_fill(inside[:, None, None], poison) for t in tensors]
    clean, got = (run(attend_by_triton(packing), *ts) for ts in (tensors, dirty))
    for a, b in zip(clean, got, strict=True):
        assert torch.equal(a[~inside], b[~inside]) and not torch.equal(a[inside], b[inside])


@pytest.mark.parametrize("token", [1, 16, 29, 30, 46])
def test_earlier_tokens_do_not_see_later_ones(randn, small_tiles, token):
    packing = packed([30, 17])
    tensors = inputs(randn, 47)[:3]
    changed = [t.clone() for t in tensors]
    for t in changed:
        t[token] += 100.0
    before, after = (attend_by_triton(packing)(*ts) for ts in (tensors, changed))
    assert torch.equal(before[:token], after[:token]) and not torch.equal(
        before[token], after[token]
    )


def test_packed_equals_each_document_alone_in_any_order(randn, small_tiles, monkeypatch):
    # the split of a group's heads depends on the amount of work, and the order of the sums in dk
    # and dv depends on the split
    monkeypatch.setattr(triton_launch, "choose_group_parts", lambda *_: 1)
    lengths, order = [11, 1, 40, 30], [2, 0, 3, 1]
    tensors = inputs(randn, sum(lengths))
    parts = list(zip(*(t.split(lengths) for t in tensors), strict=True))
    whole = run(attend_by_triton(packed(lengths)), *tensors)
    alone = [
        run(attend_by_triton(packed([n])), *part) for n, part in zip(lengths, parts, strict=True)
    ]
    moved = [torch.cat([parts[i][j] for i in order]) for j in range(4)]
    permuted = run(attend_by_triton(packed([lengths[i] for i in order])), *moved)
    for index in range(4):
        assert torch.equal(whole[index], torch.cat([a[index] for a in alone]))
        assert torch.equal(permuted[index], torch.cat([alone[i][index] for i in order]))


def test_log_sum_exp_and_every_split_of_the_group(randn, small_tiles):
    packing = packed([37, 5, 0, 18])
    q, k, v, upstream = inputs(randn, 60, 7, 1)
    tables = packing.work_table(16, by_keys=False), packing.work_table(32, by_keys=True)
    if CUDA:
        tiles = triton_configs.select_tiles(64, True)
        tables = (
            packing.work_table(tiles.forward.block_q, by_keys=False),
            packing.work_table(tiles.key_value_gradient.block_k, by_keys=True),
        )
    out, lse = triton_launch._forward_operator(q, k, v, *tables, packing.lengths, 0.125, True)
    scores = torch.einsum("qhd,kd->hqk", q.double(), k[:, 0].double()) * 0.125
    want = scores.masked_fill(~packing.dense_mask(), float("-inf")).logsumexp(-1)
    torch.testing.assert_close(
        lse.double(), want, rtol=1e-3 if CUDA else 1e-6, atol=1e-3 if CUDA else 1e-6
    )
    grads = [
        triton_launch._backward_operator(
            upstream, q, k, v, out, lse, *tables, packing.lengths, 0.125, True, parts
        )
        for parts in (1, 2, 7)
    ]
    for other in grads[1:]:
        assert torch.equal(grads[0][0], other[0])
        for a, b in zip(grads[0][1:], other[1:], strict=True):
            assert (a - b).norm() <= TOLERANCE[EXACT] * a.norm()


def test_views_of_a_fused_projection_and_strided_upstream(randn, small_tiles, monkeypatch):
    packing = packed([19, 5])
    fused = randn(24, 4 + 2 + 2, 64, dtype=EXACT).to(DEVICE)
    upstream = randn(64, 4, 24, dtype=EXACT).to(DEVICE).permute(2, 1, 0)
    views = fused.split([4, 2, 2], dim=1)
    assert all(triton_launch._make_launchable(t) is t and not t.is_contiguous() for t in views)
    got = run(attend_by_triton(packing), *views, upstream)
    want = run(attend_by_triton(packing), *(t.contiguous() for t in (*views, upstream)))
    assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True))
    # a base that no descriptor can address is copied
    odd = fused.new_empty(24 * 4 * 64 + 1)[1:].view(24, 4, 64).copy_(views[0])
    assert torch.equal(attend_by_triton(packing)(odd, *views[1:]), want[0])


def test_no_tokens():
    q, k, v = (torch.zeros(0, h, 64, requires_grad=True, device=DEVICE) for h in (4, 2, 2))
    out = packed_attention(q, k, v, packed([0, 0]), impl="triton")
    out.sum().backward()
    assert out.shape == (0, 4, 64) and all(t.grad.shape == t.shape for t in (q, k, v))


@pytest.mark.skipif(CUDA, reason="float64 runs in the interpreter only")
def test_gradcheck(randn, small_tiles):
    leaves = [t.requires_grad_() for t in inputs(randn, 20, 2, 1, dtype=torch.float64)[:3]]
    assert torch.autograd.gradcheck(attend_by_triton(packed([17, 1, 2])), leaves, fast_mode=True)


def test_second_derivative_is_refused(randn, small_tiles):
    q, k, v = (t.requires_grad_() for t in inputs(randn, 5)[:3])
    (grad,) = torch.autograd.grad(
        attend_by_triton(packed([5]))(q, k, v).sum(), q, create_graph=True
    )
    with pytest.raises(RuntimeError, match="no second derivative"):
        grad.sum().backward()


def test_repeats_bitwise(randn, small_tiles):
    tensors = inputs(randn, 45)
    first, second = (run(attend_by_triton(packed([40, 5])), *tensors) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_unsupported_inputs_say_what_is_allowed(monkeypatch):
    q = torch.zeros(3, 2, 80, device=DEVICE)
    with pytest.raises(ValueError, match=r"head_dim must be one of \[64, 96, 128\] .* but is 80"):
        packed_attention(q, q, q, packed([3]), impl="triton")
    monkeypatch.setattr(triton_kernels, "INTERPRETED", False)
    q = torch.zeros(3, 2, 64)
    with pytest.raises(ValueError, match=r"needs CUDA tensors .* but q is on cpu"):
        packed_attention(q, q, q, Packing.from_seq_lengths([3]), impl="triton")


@pytest.mark.parametrize("impl", ["torch", "triton"])
def test_compiles_as_one_graph_for_all_packings(randn, small_tiles, impl):
    torch._dynamo.reset()
    graphs = []

    def backend(module, example_inputs):
        from torch._dynamo.backends.debugging import aot_eager

        graphs.append(module)
        return aot_eager(module, example_inputs)

    compiled = torch.compile(packed_attention, fullgraph=True, backend=backend, dynamic=True)
    for lengths in ([20, 4, 3], [9, 8, 7, 5], [3, 3, 11], [2, 9, 5, 7, 1]):
        *tensors, upstream = inputs(randn, sum(lengths))
        attend = functools.partial(compiled, packing=packed(lengths), impl=impl)
        got = run(attend, *tensors, upstream)
        want = run(oracle(packed(lengths)), *(t.double() for t in (*tensors, upstream)))
        for g, w in zip(got, want, strict=True):
            assert (g.double() - w).norm() <= 2 * TOLERANCE[EXACT] * w.norm()
    assert len(graphs) <= 2


@pytest.mark.gpu
def test_nothing_waits_for_the_device(randn):
    tensors = inputs(randn, 47, dtype=torch.bfloat16)
    packing = packed([30, 17])
    run(attend_by_triton(packing), *tensors)
    torch.cuda.set_sync_debug_mode("error")
    try:
        run(attend_by_triton(packing), *tensors)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_a_packing_elsewhere_is_refused(randn):
    q, k, v, _ = inputs(randn, 6, 2, 1)
    with pytest.raises(
        ValueError, match=r"packing is on meta, but q on .*packing\.to\(q\.device\)"
    ):
        packed_attention(q, k, v, packed([6]).to("meta"), impl="triton")
