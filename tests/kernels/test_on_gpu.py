"""Checks that need a GPU: sizes beyond 32 bits, races, waits, graphs, memory, half precision."""

import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from orion_kernels import Packing, linear_cross_entropy, packed_attention
from orion_kernels.attention import torch_varlen

from tests.helpers.kernels.triton_interpreter import DEVICE

pytestmark = pytest.mark.gpu
MEMORY = ["fast", "lean"]


def head(n, hidden, vocab, dtype=torch.bfloat16, ignored=0.3):
    generator = torch.Generator(DEVICE).manual_seed(0)
    x = torch.randn(n, hidden, generator=generator, device=DEVICE, dtype=dtype)
    w = (
        torch.randn(vocab, hidden, generator=generator, device=DEVICE, dtype=dtype)
        * 2
        / hidden**0.5
    )
    y = torch.randint(vocab - 1, (n,), generator=generator, device=DEVICE)
    y[torch.rand(n, generator=generator, device=DEVICE) < ignored] = -100
    y[-1] = vocab - 1
    return x.requires_grad_(), w.requires_grad_(), y


def heads(tokens, q_heads=4, kv_heads=2, head_dim=64, dtype=torch.bfloat16):
    generator = torch.Generator(DEVICE).manual_seed(0)
    shapes = [(tokens, h, head_dim) for h in (q_heads, kv_heads, kv_heads, q_heads)]
    return [torch.randn(s, generator=generator, device=DEVICE, dtype=dtype) for s in shapes]


def loss_step(x, w, y, **kwargs):
    loss = linear_cross_entropy(x, w, y, impl="triton", **kwargs)
    return (loss.detach(), *torch.autograd.grad(loss.sum(), [t for t in (x, w) if t.requires_grad]))


def attention_step(q, k, v, upstream, packing, impl="triton"):
    leaves = [t.detach().requires_grad_() for t in (q, k, v)]
    out = packed_attention(*leaves, packing, impl=impl)
    return (out.detach(), *torch.autograd.grad(out, leaves, upstream))


def relative(got, want):
    return float((got.double() - want.double()).norm() / want.double().norm())


@pytest.mark.parametrize("memory", MEMORY)
@pytest.mark.parametrize("regime", ["flat", "confident"])
def test_bfloat16_is_within_its_bound_of_float64(memory, regime):
    x, w, y = head(512, 896, 50257)
    if regime == "confident":
        with torch.no_grad():
            x += w[y.clamp(min=0)] * 4
    loss, dx, dw = loss_step(x, w, y, memory=memory)
    wide = [t.detach().double().requires_grad_() for t in (x, w)]
    exact = F.cross_entropy(wide[0] @ wide[1].t(), y)
    want_dx, want_dw = torch.autograd.grad(exact, wide)
    assert abs(float(loss) / float(exact.detach()) - 1) < 1e-5
    assert relative(dx, want_dx) < 3.5e-3 and relative(dw, want_dw) < 3.5e-3


@pytest.mark.parametrize("memory", MEMORY)
def test_more_than_two_to_the_31_logits_and_weights(memory):
    """The valid rows of 16,400 over 262,208 classes: about 3e9 logits; a head of 2.15e9 weights."""
    x, w, y = head(16_400, 8_200, 262_208)
    assert int((y != -100).sum()) * w.shape[0] > 2**31 and w.numel() > 2**31
    loss, dx, dw = loss_step(x, w, y, memory=memory, reduction="sum")
    rows = torch.cat(
        [torch.arange(8, device=DEVICE), torch.arange(len(y) - 8, len(y), device=DEVICE)]
    )
    logits = x.detach()[rows].double() @ w.detach().double().t()
    leaf = logits.requires_grad_()
    (dlogits,) = torch.autograd.grad(F.cross_entropy(leaf, y[rows], reduction="sum"), leaf)
    assert relative(dx[rows], dlogits @ w.detach().double()) < 5e-3
    # the last class is the label of the last row: its gradient is dominated by that row
    assert (
        dw[-1].isfinite().all()
        and relative(dw[-1], dlogits[-1, -1] * x.detach()[-1].double()) < 0.2
    )
    assert loss.isfinite()


@pytest.mark.parametrize("memory", MEMORY)
def test_a_sum_over_150_000_classes_is_exact_to_float32(memory):
    x, w, y = head(64, 64, 151_936, ignored=0.0)
    loss, *_ = loss_step(x, w, y, memory=memory, reduction="sum")
    exact = F.cross_entropy(x.detach().double() @ w.detach().double().t(), y, reduction="sum")
    assert abs(float(loss) / float(exact) - 1) < 1e-6


@pytest.mark.parametrize("memory", MEMORY)
def test_finite_differences_along_a_direction(memory):
    x, w, y = head(256, 256, 4096)
    _, dx, _ = loss_step(x, w, y, memory=memory, reduction="sum")
    step = dx.sign() * 2**-6
    with torch.no_grad():
        ahead, behind = x + step, x - step
        width = ahead.double() - behind.double()
        rise = [
            linear_cross_entropy(t, w, y, impl="triton", reduction="sum").double()
            for t in (ahead, behind)
        ]
    assert float((rise[0] - rise[1]) / (dx.double() * width).sum()) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("memory", MEMORY)
def test_twenty_runs_repeat_bitwise_beside_other_work(memory):
    x, w, y = head(2_100, 512, 32_000)
    first = loss_step(x, w, y, memory=memory)
    other, noise = torch.cuda.Stream(), torch.randn(4096, 4096, device=DEVICE)
    for _ in range(20):
        with torch.cuda.stream(other):
            noise = noise @ noise.t() / 4096
        again = loss_step(x, w, y, memory=memory)
        assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


def test_twenty_runs_of_attention_repeat_bitwise_beside_other_work():
    packing = Packing.from_seq_lengths([900, 17, 1, 500, 64], device=DEVICE)
    tensors = heads(packing.num_tokens, 14, 2)
    first = attention_step(*tensors, packing)
    other, noise = torch.cuda.Stream(), torch.randn(4096, 4096, device=DEVICE)
    for _ in range(20):
        with torch.cuda.stream(other):
            noise = noise @ noise.t() / 4096
        again = attention_step(*tensors, packing)
        assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


@pytest.mark.parametrize("window", [None, 100])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_attention_without_proven_kernels_is_one_exact_call(monkeypatch, dtype, window):
    """Against float64: the output within two units of rounding, gradients within four."""
    if window is not None and not torch_varlen.can_run(*heads(8, 4, 4, dtype=dtype)[:2], window):
        pytest.skip("this torch has no window in varlen_attn")
    packing = Packing.from_seq_lengths([1, 63, 129, 0, 300, 1100], device=DEVICE)
    tensors = heads(packing.num_tokens, 8, 2, 64, dtype)
    calls = []
    real = torch_varlen.packed_attention
    monkeypatch.setattr(
        torch_varlen, "packed_attention", lambda *args: calls.append(1) or real(*args)
    )

    def step(q, k, v, impl):
        leaves = [t.detach().requires_grad_() for t in (q, k, v)]
        out = packed_attention(*leaves, packing, window=window, impl=impl)
        return out.detach(), *torch.autograd.grad(out, leaves, tensors[3].to(out.dtype))

    got = step(*tensors[:3], "torch")
    want = step(*(t.double() for t in tensors[:3]), "reference")
    assert calls == [1]
    rounding = torch.finfo(dtype).eps
    for name, a, exact, limit in zip(
        ("out", "dq", "dk", "dv"), got, want, (2, 4, 4, 4), strict=True
    ):
        assert relative(a, exact) <= limit * rounding, name


@pytest.mark.parametrize("head_dim", [64, 96, 128])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_attention_is_as_exact_as_torch(head_dim, dtype):
    """Output and gradients have at most twice the error of torch's attention in the same dtype.

    The lengths cover both regimes of tiles.
    """
    for lengths in ([1, 63, 64, 65, 127, 128, 129, 0, 300], [1100, 900]):
        packing = Packing.from_seq_lengths(lengths, device=DEVICE)
        tensors = heads(packing.num_tokens, 8, 2, head_dim, dtype)
        wide = [t.double() for t in tensors]
        want = attention_step(*wide, packing, impl="reference")
        ours, theirs = (
            attention_step(*tensors, packing, impl=impl) for impl in ("triton", "torch")
        )
        for name, a, b, exact in zip(("output", "dq", "dk", "dv"), ours, theirs, want, strict=True):
            assert relative(a, exact) <= 2 * relative(b, exact) + 1e-5, name


@pytest.mark.parametrize("frozen", ["weight", "hidden"])
def test_a_frozen_input_costs_no_memory(frozen):
    x, w, y = head(4_096, 1_024, 65_536)

    def peak(**kwargs):
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        loss_step(x, w, y, **kwargs)
        return torch.cuda.max_memory_allocated() - before

    peak()
    both = peak(memory="lean")
    (w if frozen == "weight" else x).requires_grad_(False)
    alone = peak(memory="lean")
    spared = w.numel() * 2 if frozen == "weight" else x.numel() * 2
    assert alone <= both - spared * 0.9


def test_no_wait_and_no_compilation_over_fifty_batches():
    shapes = [
        [int(n) for n in torch.randint(1, 300, (5,), generator=torch.Generator().manual_seed(i))]
        for i in range(50)
    ]
    attend = torch.compile(packed_attention, fullgraph=True, dynamic=True)
    counters = torch._dynamo.utils.counters
    for index, lengths in enumerate(shapes):
        packing = Packing.from_seq_lengths(lengths, device=DEVICE, max_documents=8)
        q, k, v, upstream = heads(packing.num_tokens)
        q.requires_grad_()
        if index == 10:
            seen = dict(counters["stats"])
        if index >= 10:
            torch.cuda.set_sync_debug_mode("error")
        try:
            attend(q, k, v, packing, impl="triton").backward(upstream)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    assert dict(counters["stats"]) == seen


def test_a_cuda_graph_replays_with_new_tables_in_place():
    first, second = ([300, 20, 180], [11, 400, 89])
    captured = Packing.from_seq_lengths(first, device=DEVICE, max_documents=4)
    q, k, v, _ = heads(500)
    out = packed_attention(q, k, v, captured, impl="triton")
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = packed_attention(q, k, v, captured, impl="triton")
    graph.replay()
    assert torch.equal(out, packed_attention(q, k, v, captured, impl="triton"))
    other = Packing.from_seq_lengths(second, device=DEVICE, max_documents=4)
    for (block, by_keys), table in captured._tables.items():
        table.copy_(other.work_table(block, by_keys=by_keys))
    graph.replay()
    assert torch.equal(out, packed_attention(q, k, v, other, impl="triton"))


def test_offsets_beyond_32_bits_with_gradients():
    """600,000 tokens of 28 heads of 128: 2.15e9 elements."""
    packing = Packing.from_seq_lengths([1000] * 600, device=DEVICE)
    tensors = heads(packing.num_tokens, 28, 4, 128)
    got = attention_step(*tensors, packing)
    want = attention_step(
        *(t[-1000:] for t in tensors), Packing.from_seq_lengths([1000], device=DEVICE), impl="torch"
    )
    for name, a, b in zip(("output", "dq", "dk", "dv"), got, want, strict=True):
        assert relative(a[-1000:], b) < 1.6e-2, name


@pytest.mark.parametrize("impl", ["torch", "triton"])
@pytest.mark.parametrize("label", [-1, 500, 1 << 40])
def test_a_bad_label_stops_the_process_by_an_assertion(impl, label):
    """In a process of its own: an assertion of the device ends all work on it."""
    lines = [
        "import torch",
        "from orion_kernels import linear_cross_entropy",
        "x, w = (torch.randn(n, 64, device='cuda').bfloat16() for n in (32, 500))",
        f"y = torch.full((32,), {label}, device='cuda')",
        "index = torch.arange(32, device='cuda')",
        f"linear_cross_entropy(x, w, y, impl={impl!r}, valid_index=index)",
        "torch.cuda.synchronize()",
    ]
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True)
    assert done.returncode and "assert" in done.stderr
