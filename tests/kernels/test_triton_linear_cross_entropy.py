"""linear_cross_entropy(impl="triton") against a float64 oracle: options, shapes, layouts, hygiene. On CPU in the interpreter."""

import math

import pytest
import torch
import torch._dynamo.testing
import torch.nn.functional as F
from orion_kernels import linear_cross_entropy

pytest.importorskip("triton")
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
MEMORY = ["fast", "lean"]
# relative to the norm of the oracle: (loss, gradients)
TOLERANCE = {
    torch.float32: (1e-6, 2e-6),
    torch.float16: (1e-6, 4e-4),
    torch.bfloat16: (1e-6, 3.5e-3),
}
if DEVICE == "cpu":
    TOLERANCE[torch.float64] = (1e-14, 1e-13)
OPTIONS = {
    "plain": {},
    "smoothing": {"label_smoothing": 0.1},
    "softcap": {"softcap": 3.0},
    "z_loss": {"z_loss": 0.01},
    "all": {"label_smoothing": 0.2, "softcap": 2.0, "z_loss": 0.05},
}


@pytest.fixture(autouse=True)
def several_chunks(monkeypatch):
    from orion_kernels import cross_entropy_triton

    monkeypatch.setattr(cross_entropy_triton, "CHUNK_ROWS", 16)
    monkeypatch.setattr(cross_entropy_triton, "LEAN_ROWS", 16)
    monkeypatch.setattr(cross_entropy_triton, "SLAB_COLUMNS", (32, 32))


def triton(x, w, y, **kwargs):
    return linear_cross_entropy(x, w, y, impl="triton", **kwargs)


def oracle(x, w, b, y, label_smoothing=0.0, softcap=None, z_loss=0.0):
    keep = y != -100
    z = F.linear(x.double()[keep], w.double(), None if b is None else b.double())
    z = z if softcap is None else softcap * torch.tanh(z / softcap)
    rows = F.cross_entropy(z, y[keep].long(), reduction="none", label_smoothing=label_smoothing)
    rows = rows + z_loss * z.logsumexp(1) ** 2
    return torch.zeros(y.shape, dtype=torch.float64, device=y.device).masked_scatter(keep, rows)


def gradients(loss_of, tensors):
    leaves = [None if t is None else t.detach().clone().requires_grad_() for t in tensors]
    loss = loss_of(*leaves)
    return loss.detach(), torch.autograd.grad(loss.sum(), [t for t in leaves if t is not None])


def near(got, want, tolerance):
    error = (got.double() - want.double()).norm() / want.double().norm().clamp(min=1e-30)
    assert error <= tolerance, f"relative error {error:.2e} > {tolerance:.0e}"


def check(tensors, y, dtype, options=None, upstream=None, **kwargs):
    options, tensors, y = (
        options or {},
        [None if t is None else t.to(DEVICE) for t in tensors],
        y.to(DEVICE),
    )
    factor = 1 if upstream is None else upstream.to(DEVICE)
    loss, got = gradients(
        lambda x, w, b: triton(x, w, y, bias=b, **options, **kwargs) * factor, tensors
    )
    wide = [None if t is None else t.double() for t in tensors]
    want_loss, want = gradients(lambda x, w, b: oracle(x, w, b, y, **options) * factor, wide)
    near(loss.sum(), want_loss.sum(), TOLERANCE[dtype][0])
    for g, ref in zip(got, want, strict=True):
        assert g.dtype == dtype
        near(g, ref, TOLERANCE[dtype][1])


@pytest.mark.parametrize("memory", MEMORY)
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_values_and_gradients(case, memory, options, dtype):
    x, w, b, y = case(n=70, dtype=dtype)
    check((x, w, b), y, dtype, options, reduction="sum", memory=memory)


@pytest.mark.parametrize("memory", MEMORY)
@pytest.mark.parametrize("vocab", [1, 2, 33, 129])
@pytest.mark.parametrize("n, hidden", [(1, 7), (17, 1), (40, 31)])
def test_odd_shapes(case, memory, vocab, n, hidden):
    x, w, b, y = case(n=n, hidden=hidden, vocab=vocab, ignored=0.0, dtype=torch.float32)
    y[-1] = vocab - 1
    if vocab == 1:
        # one class: loss and slopes are 0, not small
        loss, got = gradients(
            lambda *t: triton(*t, y.to(DEVICE), memory=memory), (x.to(DEVICE), w.to(DEVICE))
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
        loss, metrics = triton(
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
        gradients(
            lambda *t, i=i: triton(t[0], t[1], y, bias=t[2], memory=memory, valid_index=i),
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
    """One chunk, several, and a slab of the vocabulary at a time compute the same numbers but for the order of their sums."""
    from orion_kernels import cross_entropy_triton

    # more rows than twice the hidden size: several chunks
    x, w, b, y = (t.to(DEVICE) for t in case(n=70, dtype=torch.float32))

    def run(memory):
        return gradients(
            lambda *t: triton(t[0], t[1], y, bias=t[2], memory=memory, **options), (x, w, b)
        )

    many, lean = run("fast"), run("lean")
    monkeypatch.setattr(cross_entropy_triton, "CHUNK_ROWS", 1000)
    monkeypatch.setattr(cross_entropy_triton, "LEAN_ROWS", 1000)
    monkeypatch.setattr(cross_entropy_triton, "SLAB_COLUMNS", (1024, 8192))
    for loss, grads in (run("fast"), lean, run("lean")):
        near(loss, many[0], 2e-7)
        for g, ref in zip(grads, many[1], strict=True):
            near(g, ref, 1e-6)


@pytest.mark.parametrize("memory", MEMORY)
def test_descriptors_and_pointers_agree(case, memory):
    """A head that no descriptor can read (its base is odd) goes through pointers, to the same numbers."""
    from orion_kernels import cross_entropy_triton

    x, w, b, y = (t.to(DEVICE) for t in case(n=40, hidden=64, dtype=torch.float32))
    odd_w = torch.empty(w.numel() + 1, device=DEVICE)[1:].view(w.shape).copy_(w)
    assert cross_entropy_triton._describable(w) and not cross_entropy_triton._describable(odd_w)

    def step(weight):
        # rows that count are gathered, which aligns hidden states: the head decides
        return gradients(lambda *t: triton(t[0], weight, y, bias=t[1], memory=memory), (x, b))

    (loss, want), (other, got) = step(w), step(odd_w)
    exact = {} if DEVICE == "cuda" else {"rtol": 0, "atol": 0}
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
    loss, metrics = triton(x, w, y, reduction="sum", return_metrics=True, memory=memory)
    want = torch.tensor([0.0, math.log(4), 0.0, 120.0])
    torch.testing.assert_close(-metrics.logprob.cpu(), want)
    loss.backward()
    torch.testing.assert_close(x.grad[3].cpu(), torch.tensor([1.0, 0.0, 0.0, -1.0]))
    torch.testing.assert_close(metrics.accuracy.cpu(), torch.tensor([1.0, 0.0, 1.0, 0.0]))


def test_layouts(case):
    x, w, b, y = (t.to(DEVICE) for t in case(n=24, dtype=torch.float32))
    want = triton(x, w, y, bias=b)
    shifted = torch.empty(x.numel() + 1, device=DEVICE)[1:].view(x.shape).copy_(x)
    for hidden in (
        torch.stack([x, x], dim=2)[:, :, 0],
        x.t().contiguous().t(),
        x.view(2, 3, 4, 16),
        shifted,
    ):
        got = triton(hidden, w.t().contiguous().t(), y.view(hidden.shape[:-1]).int(), bias=b)
        torch.testing.assert_close(got, want)


@pytest.mark.parametrize("memory", MEMORY)
def test_backward_twice_scaled_and_never_twice_differentiable(case, memory):
    x, w, _, y = case(dtype=torch.float32)
    x, w, y = x.to(DEVICE).requires_grad_(), w.to(DEVICE).requires_grad_(), y.to(DEVICE)
    loss = triton(x, w, y, memory=memory)
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
        value, got = gradients(lambda a, b, n=n: compiled(a, b, y[:n].clone()), (x[:n], w))
        want_value, want = gradients(lambda a, b, n=n: loss(a, b, y[:n]), (x[:n], w))
        torch.testing.assert_close(value, want_value)
        torch.testing.assert_close(got, want)
        compiled_for.append(counter.frame_count)
    # whatever the first size compiles, other sizes add nothing
    assert compiled_for == compiled_for[:1] * 3, compiled_for


def test_valid_index_must_name_the_valid_labels(case):
    x, w, _, y = (t.to(DEVICE) for t in case(ignored=0.0, dtype=torch.float32))
    if DEVICE == "cpu":
        with pytest.raises(ValueError, match="position of every label"):
            triton(x, w, y, valid_index=torch.arange(len(y) - 1))
    with pytest.raises(ValueError, match="1-D int64"):
        triton(x, w, y, valid_index=torch.arange(len(y), device=DEVICE, dtype=torch.int32))


@pytest.mark.gpu
@pytest.mark.parametrize("memory", MEMORY)
def test_nothing_waits_for_the_device(case, memory):
    x, w, _, y = (t.to(DEVICE) for t in case(dtype=torch.bfloat16))
    x, w = x.requires_grad_(), w.requires_grad_()
    index = (y != -100).nonzero().squeeze(1)
    triton(x, w, y, memory=memory, valid_index=index).backward()
    torch.cuda.set_sync_debug_mode("error")
    try:
        triton(x, w, y, memory=memory, valid_index=index).backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_float16_has_room_for_a_large_z_loss(case):
    """1 + 2 * z_loss * lse of about 40: slopes that float16 could not hold at the scale of small ones."""
    x, w, b, y = case(n=20, dtype=torch.float16, spread=40.0)
    check((x, w, b), y, torch.float16, {"z_loss": 0.2}, reduction="sum")
