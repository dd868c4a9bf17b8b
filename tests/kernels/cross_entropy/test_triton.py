"""linear_cross_entropy with impl="triton" against a float64 oracle, interpreted or on a GPU."""

import math

import pytest
import torch
import torch._dynamo.testing
from orion_kernels import linear_cross_entropy
from orion_kernels.cross_entropy import triton_chunked
from orion_kernels.cross_entropy.triton_launch import can_describe

from tests.helpers.kernels.losses import (
    OPTIONS,
    assert_close,
    compute_gradients,
    oracle_losses,
)
from tests.helpers.kernels.triton_interpreter import CUDA, DEVICE

MEMORY = ["fast", "lean"]
# (loss, gradients), relative to the norm of the oracle
TOLERANCE = {
    torch.float32: (1e-6, 2e-6),
    torch.float16: (1e-6, 4e-4),
    torch.bfloat16: (1e-6, 3.5e-3),
}
if not CUDA:
    TOLERANCE[torch.float64] = (1e-14, 1e-13)


@pytest.fixture(autouse=True)
def several_chunks(monkeypatch):
    monkeypatch.setattr(triton_chunked, "CHUNK_ROWS", 16)
    monkeypatch.setattr(triton_chunked, "LEAN_ROWS", 16)
    monkeypatch.setattr(triton_chunked, "SLAB_COLUMNS", (32, 32))


def run_triton(x, w, y, **kwargs):
    return linear_cross_entropy(x, w, y, impl="triton", **kwargs)


def check(tensors, y, dtype, options=None, upstream=None, **kwargs):
    options, y = options or {}, y.to(DEVICE)
    tensors = [None if t is None else t.to(DEVICE) for t in tensors]
    factor = 1 if upstream is None else upstream.to(DEVICE)
    loss, got = compute_gradients(
        lambda x, w, b: run_triton(x, w, y, bias=b, **options, **kwargs) * factor, tensors
    )
    wide = [None if t is None else t.double() for t in tensors]
    want_loss, want = compute_gradients(
        lambda x, w, b: oracle_losses(x, w, b, y, **options) * factor, wide
    )
    assert_close(loss.sum(), want_loss.sum(), TOLERANCE[dtype][0])
    for g, ref in zip(got, want, strict=True):
        assert g.dtype == dtype
        assert_close(g, ref, TOLERANCE[dtype][1])


@pytest.mark.parametrize("memory", MEMORY)
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_values_and_gradients(case, memory, options, dtype):
    x, w, b, y = case(n=70, dtype=dtype)
    check((x, w, b), y, dtype, options, reduction="sum", memory=memory)


@pytest.mark.parametrize("memory", MEMORY)
@pytest.mark.parametrize("vocab", [1, 2, 33, 129])
@pytest.mark.parametrize(("n", "hidden"), [(1, 7), (17, 1), (40, 31)])
def test_odd_shapes(case, memory, vocab, n, hidden):
    x, w, b, y = case(n=n, hidden=hidden, vocab=vocab, ignored=0.0, dtype=torch.float32)
    y[-1] = vocab - 1
    if vocab == 1:
        # one class: loss and gradients are 0, not small
        loss, got = compute_gradients(
            lambda *t: run_triton(*t, y.to(DEVICE), memory=memory), (x.to(DEVICE), w.to(DEVICE))
        )
        assert loss == 0 and all((g == 0).all() for g in got)
    else:
        check((x, w, b), y, torch.float32, reduction="sum", memory=memory)


def test_none_with_any_upstream_gradient(case, randn):
    x, w, b, y = case(dtype=torch.float32)
    upstream = randn(len(y))
    upstream[::4] = 0
    check((x, w, b), y, torch.float32, OPTIONS["all"], upstream=upstream.float(), reduction="none")


@pytest.mark.parametrize("memory", MEMORY)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_all_ignored_is_zero_and_connected(case, memory, reduction):
    x, w, b, _ = (t.to(DEVICE) for t in case())
    x, w, b = x.float(), w.float(), b.float()
    for n in (len(x), 0):
        leaves = [t.clone().requires_grad_() for t in (x[:n], w, b)]
        y = torch.full((n,), -100, device=DEVICE)
        loss, metrics = run_triton(
            *leaves[:2], y, bias=leaves[2], reduction=reduction, return_metrics=True, memory=memory
        )
        loss.sum().backward()
        assert (loss == 0).all() and all(torch.equal(t.grad, torch.zeros_like(t)) for t in leaves)
        assert all(v == 0 for v in metrics.means().values())


@pytest.mark.parametrize("memory", MEMORY)
@pytest.mark.parametrize("fill", [float("nan"), float("inf")])
def test_ignored_rows_change_nothing_and_runs_repeat(case, memory, fill):
    x, w, b, y = (t.to(DEVICE) for t in case(n=60, dtype=torch.float32))
    dirty = x.clone()
    dirty[y == -100] = fill
    index = (y != -100).nonzero().squeeze(1)
    runs = [
        compute_gradients(
            lambda *t, i=i: run_triton(t[0], t[1], y, bias=t[2], memory=memory, valid_index=i),
            (rows, w, b),
        )
        for rows, i in ((x, None), (x, None), (dirty, None), (dirty, index))
    ]
    for loss, grads in runs[1:]:
        assert torch.equal(loss, runs[0][0])
        assert all(torch.equal(a, c) for a, c in zip(grads, runs[0][1], strict=True))
    assert (runs[2][1][0][y == -100] == 0).all()


@pytest.mark.parametrize(
    "options", [OPTIONS["plain"], {"softcap": 3.0, "z_loss": 0.01}], ids=["plain", "some"]
)
def test_chunks_and_both_ways_agree(case, monkeypatch, options):
    """One chunk, several chunks and slabs of the vocabulary agree up to the order of their sums."""
    # more rows than twice the hidden size: several chunks
    x, w, b, y = (t.to(DEVICE) for t in case(n=70, dtype=torch.float32))

    def run(memory):
        return compute_gradients(
            lambda *t: run_triton(t[0], t[1], y, bias=t[2], memory=memory, **options), (x, w, b)
        )

    many, lean = run("fast"), run("lean")
    monkeypatch.setattr(triton_chunked, "CHUNK_ROWS", 1000)
    monkeypatch.setattr(triton_chunked, "LEAN_ROWS", 1000)
    monkeypatch.setattr(triton_chunked, "SLAB_COLUMNS", (1024, 8192))
    for loss, grads in (run("fast"), lean, run("lean")):
        assert_close(loss, many[0], 2e-7)
        for g, ref in zip(grads, many[1], strict=True):
            assert_close(g, ref, 1e-6)


@pytest.mark.parametrize("memory", MEMORY)
def test_descriptors_and_pointers_agree(case, memory):
    """A head with an unaligned base is read through pointers, with the same result."""
    x, w, b, y = (t.to(DEVICE) for t in case(n=40, hidden=64, dtype=torch.float32))
    odd_w = torch.empty(w.numel() + 1, device=DEVICE)[1:].view(w.shape).copy_(w)
    assert can_describe(w) and not can_describe(odd_w)

    def step(weight):
        # valid rows are gathered, which aligns the hidden states: the head decides
        return compute_gradients(
            lambda *t: run_triton(t[0], weight, y, bias=t[1], memory=memory), (x, b)
        )

    (loss, want), (other, got) = step(w), step(odd_w)
    exact = {} if CUDA else {"rtol": 0, "atol": 0}
    torch.testing.assert_close(other, loss, **exact)
    torch.testing.assert_close(got, want, **exact)


@pytest.mark.parametrize("memory", MEMORY)
def test_extreme_logits_and_repair(memory):
    w = torch.eye(4, device=DEVICE).requires_grad_()
    x = torch.tensor(
        [[1e4, -1e4, 0, 0], [0, 0, 0, 0], [3e38, 0, 0, 0], [120.0, 0, 0, 0]], device=DEVICE
    )
    x.requires_grad_()
    y = torch.tensor([0, 2, 0, 3], device=DEVICE)
    loss, metrics = run_triton(x, w, y, reduction="sum", return_metrics=True, memory=memory)
    want = torch.tensor([0.0, math.log(4), 0.0, 120.0])
    torch.testing.assert_close(-metrics.logprob.cpu(), want)
    loss.backward()
    torch.testing.assert_close(x.grad[3].cpu(), torch.tensor([1.0, 0.0, 0.0, -1.0]))
    torch.testing.assert_close(metrics.accuracy.cpu(), torch.tensor([1.0, 0.0, 1.0, 0.0]))


def test_layouts(case):
    x, w, b, y = (t.to(DEVICE) for t in case(n=24, dtype=torch.float32))
    want = run_triton(x, w, y, bias=b)
    shifted = torch.empty(x.numel() + 1, device=DEVICE)[1:].view(x.shape).copy_(x)
    for hidden in (
        torch.stack([x, x], dim=2)[:, :, 0],
        x.t().contiguous().t(),
        x.view(2, 3, 4, 16),
        shifted,
    ):
        got = run_triton(hidden, w.t().contiguous().t(), y.view(hidden.shape[:-1]).int(), bias=b)
        torch.testing.assert_close(got, want)


@pytest.mark.parametrize("memory", MEMORY)
def test_backward_twice_scaled_and_never_twice_differentiable(case, memory):
    x, w, _, y = case(dtype=torch.float32)
    x, w, y = x.to(DEVICE).requires_grad_(), w.to(DEVICE).requires_grad_(), y.to(DEVICE)
    loss = run_triton(x, w, y, memory=memory)
    first = torch.autograd.grad(loss, (x, w), retain_graph=True)
    again = torch.autograd.grad(-2.5 * loss, (x, w), retain_graph=True)
    for a, c in zip(first, again, strict=True):
        torch.testing.assert_close(-2.5 * a, c)
    with pytest.raises(RuntimeError, match="not twice differentiable"):
        torch.autograd.grad(loss, x, create_graph=True)


@pytest.mark.parametrize("impl", ["torch", "triton"])
@pytest.mark.parametrize("kwargs", [{}, {"reduction": "none"}, {"memory": "lean"}], ids=str)
def test_compiled_whole_without_recompiling(case, impl, kwargs):
    x, w, _, y = (t.to(DEVICE) for t in case(n=31, dtype=torch.float32))
    x, w = x.float(), w.float()
    counter = torch._dynamo.testing.CompileCounterWithBackend("aot_eager")

    def loss(*tensors):
        return linear_cross_entropy(*tensors, impl=impl, **kwargs)

    compiled = torch.compile(loss, fullgraph=True, backend=counter, dynamic=True)
    compiled_for = []
    for n in (31, 20, 17):
        value, got = compute_gradients(lambda a, b, n=n: compiled(a, b, y[:n].clone()), (x[:n], w))
        want_value, want = compute_gradients(lambda a, b, n=n: loss(a, b, y[:n]), (x[:n], w))
        torch.testing.assert_close(value, want_value)
        torch.testing.assert_close(got, want)
        compiled_for.append(counter.frame_count)
    # other sizes compile nothing beyond what the first size compiles
    assert compiled_for == compiled_for[:1] * 3, compiled_for


def test_valid_index_must_name_the_valid_labels(case):
    x, w, _, y = (t.to(DEVICE) for t in case(ignored=0.0, dtype=torch.float32))
    if not CUDA:
        with pytest.raises(ValueError, match="position of every label"):
            run_triton(x, w, y, valid_index=torch.arange(len(y) - 1))
    with pytest.raises(ValueError, match="1-D int64"):
        run_triton(x, w, y, valid_index=torch.arange(len(y), device=DEVICE, dtype=torch.int32))


@pytest.mark.gpu
@pytest.mark.parametrize("memory", MEMORY)
def test_nothing_waits_for_the_device(case, memory):
    x, w, _, y = (t.to(DEVICE) for t in case(dtype=torch.bfloat16))
    x, w = x.requires_grad_(), w.requires_grad_()
    index = (y != -100).nonzero().squeeze(1)
    run_triton(x, w, y, memory=memory, valid_index=index).backward()
    torch.cuda.set_sync_debug_mode("error")
    try:
        run_triton(x, w, y, memory=memory, valid_index=index).backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_float16_has_room_for_a_large_z_loss(case):
    """1 + 2 * z_loss * lse of about 40: the scaled gradients would overflow float16."""
    x, w, b, y = case(n=20, dtype=torch.float16, spread=40.0)
    check((x, w, b), y, torch.float16, {"z_loss": 0.2}, reduction="sum")
