"""packed_attention with a window, a softcap, sinks and values of their own head_dim."""

import pytest
import torch
import torch._dynamo.testing
from orion_kernels import Packing, packed_attention
from orion_kernels.attention import torch_blocks
from torch.utils._python_dispatch import TorchDispatchMode

from tests.helpers.kernels.attention import TOLERANCE, dense_attention, run_with_gradients

IMPLEMENTATIONS = ["torch", "compiled", "reference"]
LENGTHS = [40, 1, 3, 17, 0, 24]
OPTIONS = {
    "window": {"window": 5},
    "window of one token": {"window": 1},
    "window longer than some documents": {"window": 20},
    "softcap": {"softcap": 1.5},
    "window, softcap and scale": {"window": 7, "softcap": 0.8, "scale": 0.6},
}


@pytest.fixture(autouse=True)
def blocks_of_six_queries(monkeypatch):
    monkeypatch.setattr(torch_blocks, "MIN_BLOCK_QUERIES", 6)
    monkeypatch.setitem(torch_blocks.WORKSPACE_BYTES, "cpu", 1)
    # each test compiles anew, within dynamo's limit of graphs for one function
    torch._dynamo.reset()


def make_inputs(randn, tokens, dtype, value_dim=8):
    """q, k, v and sinks, with two query heads per key head."""
    q, k = randn(tokens, 4, 8, dtype=dtype), randn(tokens, 2, 8, dtype=dtype)
    return [q, k, randn(tokens, 2, value_dim, dtype=dtype), randn(4, dtype=dtype)]


def attend(packing, impl, **options):
    """A function of (q, k, v[, sinks])."""
    function = packed_attention
    if impl == "compiled":
        function, impl = torch.compile(function, fullgraph=True, backend="aot_eager"), "torch"

    def call(q, k, v, sinks=None):
        return function(q, k, v, packing, sinks=sinks, impl=impl, **options)

    return call


def check(tensors, upstream, impl, dtype, **options):
    packing = Packing.from_seq_lengths(LENGTHS)
    got = run_with_gradients(attend(packing, impl, **options), tensors, upstream)

    def oracle(q, k, v, sinks=None):
        return dense_attention(q, k, v, packing, sinks=sinks, **options)

    want = run_with_gradients(oracle, [t.double() for t in tensors], upstream)
    for name, g, w in zip(("output", "dq", "dk", "dv", "dsinks"), got, want, strict=False):
        assert g.dtype == dtype and g.shape == w.shape
        # a window of one token has no gradient in q and k
        error = (g.double() - w).norm() / torch.maximum(w.norm(), want[3].norm())
        assert error <= TOLERANCE[dtype], f"{name}: relative error {error:.2e}"


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
@pytest.mark.parametrize("sinks", [False, True])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_values_and_gradients(randn, impl, options, sinks, dtype):
    tensors = make_inputs(randn, sum(LENGTHS), dtype)[: 4 if sinks else 3]
    check(tensors, randn(*tensors[0].shape, dtype=dtype), impl, dtype, **options)


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
@pytest.mark.parametrize("value_dim", [3, 13])
@pytest.mark.parametrize("options", [{}, {"window": 4, "softcap": 2.0}], ids=str)
def test_values_with_their_own_head_dim(randn, impl, value_dim, options):
    tensors = make_inputs(randn, sum(LENGTHS), torch.float32, value_dim)[: 4 if options else 3]
    upstream = randn(sum(LENGTHS), 4, value_dim, dtype=torch.float32)
    check(tensors, upstream, impl, torch.float32, **options)


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_sinks_alone_take_probability_away(randn, impl):
    tensors = make_inputs(randn, sum(LENGTHS), torch.float64)
    tensors[3][0], tensors[3][1] = -float("inf"), 60.0
    packing = Packing.from_seq_lengths(LENGTHS)
    out, *_, dsinks = run_with_gradients(
        attend(packing, impl), tensors, torch.ones_like(tensors[0])
    )
    plain = packed_attention(*tensors[:3], packing)
    torch.testing.assert_close(out[:, 0], plain[:, 0], rtol=1e-12, atol=1e-13)
    assert dsinks[0] == 0 and out[:, 1].abs().max() < 1e-20
    assert (dsinks[1:] != 0).all() and dsinks.isfinite().all()


@pytest.mark.parametrize("impl", ["torch", "reference"])
def test_gradcheck(randn, impl):
    packing = Packing.from_seq_lengths([8, 1, 2])
    leaves = [t.requires_grad_() for t in make_inputs(randn, 11, torch.float64, 3)]
    function = attend(packing, impl, window=3, softcap=1.2)
    assert torch.autograd.gradcheck(function, leaves)


@pytest.mark.parametrize("impl", ["torch", "reference"])
@pytest.mark.parametrize("poisoned", [0, 3, 5])
def test_no_leak_across_documents(randn, impl, poisoned):
    packing = Packing.from_seq_lengths(LENGTHS)
    tensors = make_inputs(randn, sum(LENGTHS), torch.float32)[:3]
    upstream = randn(*tensors[0].shape, dtype=torch.float32)
    inside = packing.document_ids == poisoned
    dirty = [t.masked_fill(inside[:, None, None], float("nan")) for t in (*tensors, upstream)]
    function = attend(packing, impl, window=6, softcap=2.0)
    clean = run_with_gradients(function, tensors, upstream)
    got = run_with_gradients(function, dirty[:3], dirty[3])
    for a, b in zip(clean, got, strict=True):
        assert torch.equal(a[~inside], b[~inside]) and b[inside].isnan().any()


def test_packed_equals_each_document_alone_bitwise(randn):
    tensors = make_inputs(randn, sum(LENGTHS), torch.float32)
    upstream = randn(*tensors[0].shape, dtype=torch.float32)
    options = {"window": 6, "softcap": 2.0}
    whole = run_with_gradients(
        attend(Packing.from_seq_lengths(LENGTHS), "torch", **options), tensors, upstream
    )
    parts = zip(*(t.split(LENGTHS) for t in (*tensors[:3], upstream)), strict=True)
    alone = [
        run_with_gradients(
            attend(Packing.from_seq_lengths([len(part[0])]), "torch", **options),
            [*part[:3], tensors[3]],
            part[3],
        )
        for part in parts
        if len(part[0])
    ]
    for index in range(4):
        assert torch.equal(whole[index], torch.cat([a[index] for a in alone]))


@pytest.mark.parametrize("impl", ["torch", "reference"])
def test_a_token_outside_the_window_has_no_influence(randn, impl):
    packing = Packing.from_seq_lengths([30])
    tensors = make_inputs(randn, 30, torch.float32)[:3]
    changed = [t.clone() for t in tensors]
    for t in changed:
        t[10] += 3.0
    function = attend(packing, impl, window=4)
    before, after = function(*tensors), function(*changed)
    same = [i for i in range(30) if torch.equal(before[i], after[i])]
    assert same == [i for i in range(30) if not 10 <= i < 14]


def test_a_window_that_reaches_every_key_changes_nothing(randn):
    packing = Packing.from_seq_lengths(LENGTHS)
    tensors = make_inputs(randn, sum(LENGTHS), torch.float32)[:3]
    assert torch.equal(
        packed_attention(*tensors, packing, window=40), packed_attention(*tensors, packing)
    )
    assert not torch.equal(
        packed_attention(*tensors, packing, window=39), packed_attention(*tensors, packing)
    )


def test_compiled_code_is_one_graph_for_all_packings(randn):
    counter = torch._dynamo.testing.CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(packed_attention, fullgraph=True, backend=counter, dynamic=True)
    for lengths in ([20, 4, 3], [9, 8, 7, 5], [3, 3, 11], [2, 9, 5, 7, 1]):
        tensors = make_inputs(randn, sum(lengths), torch.float32)
        packing = Packing.from_seq_lengths(lengths)
        options = {"window": 6, "softcap": 2.0, "sinks": tensors.pop()}
        got = compiled(*tensors, packing, **options)
        torch.testing.assert_close(got, packed_attention(*tensors, packing, **options))
    assert counter.frame_count <= 2


class _LargestTensor(TorchDispatchMode):
    """Records the number of elements of the largest tensor that an operation returns."""

    def __init__(self):
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple | list) else [out]:
            if isinstance(tensor, torch.Tensor):
                self.elements = max(self.elements, tensor.numel())
        return out


def test_a_long_document_needs_no_dense_mask(randn, monkeypatch):
    length, window = 1500, 50
    monkeypatch.setitem(torch_blocks.WORKSPACE_BYTES, "cpu", 1 << 16)
    tensors = make_inputs(randn, length, torch.float32)[:3]
    with _LargestTensor() as largest:
        # a mode does not see into operators, so their bodies are measured
        options = torch_blocks.ScoreOptions(0.5, window)
        out = torch_blocks.attend(*tensors, options, None)
        torch_blocks.differentiate(out, *tensors, options, None)
    assert largest.elements <= max(t.numel() for t in tensors) < length * length


def test_triton_says_what_it_has_not(randn):
    q, k, v = (t.half() for t in (randn(8, 4, 64), randn(8, 2, 64), randn(8, 2, 64)))
    packing = Packing.from_seq_lengths([5, 3])
    cases = {
        "no sliding window, but window is 4": {"window": 4},
        "no softcap, but softcap is 2.0": {"softcap": 2.0},
        "no sinks": {"sinks": torch.zeros(4)},
    }
    for message, options in cases.items():
        with pytest.raises(ValueError, match=message):
            packed_attention(q, k, v, packing, impl="triton", **options)
        packed_attention(q, k, v, packing, **options)
    with pytest.raises(ValueError, match="one head_dim for q, k and v, but they are 64 and, for"):
        packed_attention(q, k, v[..., :32], packing, impl="triton")
    # a window that hides nothing is no window
    packed_attention(q, k, v, packing, impl="triton", window=5)


def test_the_default_falls_back_where_the_kernels_lack_an_option(randn, monkeypatch):
    q, k, v = (t.half() for t in (randn(8, 4, 64), randn(8, 2, 64), randn(8, 2, 64)))
    packing = Packing.from_seq_lengths([5, 3])
    monkeypatch.setattr("orion_kernels.dispatch.uses_triton_by_default", lambda *_: True)
    chosen = []
    monkeypatch.setattr(
        "orion_kernels.attention.triton_launch.packed_attention",
        lambda *_: chosen.append("triton"),
    )
    packed_attention(q, k, v, packing)
    assert chosen == ["triton"]
    want = dense_attention(q, k, v, packing, window=2)
    got = packed_attention(q, k, v, packing, window=2)
    torch.testing.assert_close(got.double(), want, rtol=1e-3, atol=1e-3)
    assert chosen == ["triton"]
