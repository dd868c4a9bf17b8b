"""What GPUs run without proven kernels: torch's varlen_attn and half-precision products.

Here both are computed on the CPU, varlen_attn by a stand-in with its signature; tests/kernels/
test_on_gpu.py runs the real ones.
"""

import itertools

import pytest
import torch
from orion_kernels import Packing, linear_cross_entropy, packed_attention
from orion_kernels.attention import torch_varlen
from orion_kernels.cross_entropy import torch_chunked

from tests.helpers.kernels.attention import dense_attention, run_with_gradients
from tests.helpers.kernels.losses import OPTIONS, compute_gradients, oracle_losses

LENGTHS = [40, 1, 3, 17, 0, 24]


def per_document(q, k, v, ends, window, scale):
    assert ends.dtype == torch.int32
    bounds = ends.tolist()
    packing = Packing.from_seq_lengths([b - a for a, b in itertools.pairwise(bounds)])
    return dense_attention(q, k, v, packing, scale=scale, window=window)


def varlen_of_torch_2_11(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, is_causal=False):
    assert is_causal and max_q == max_k == max(LENGTHS) and cu_seq_q is cu_seq_k
    assert query.shape == key.shape == value.shape
    return per_document(query, key, value, cu_seq_q, None, query.shape[-1] ** -0.5)


def varlen_of_torch_2_13(
    query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, *, scale=None, window_size=(-1, -1),
    enable_gqa=False,
):  # fmt: skip
    assert window_size[1] == 0 and enable_gqa and max_q == max_k == max(LENGTHS)
    assert cu_seq_q is cu_seq_k
    window = None if window_size[0] == -1 else window_size[0] + 1
    return per_document(query, key, value, cu_seq_q, window, scale)


@pytest.mark.parametrize(
    ("function", "options"),
    [
        (varlen_of_torch_2_11, {}),
        (varlen_of_torch_2_11, {"scale": 0.6}),
        (varlen_of_torch_2_13, {"scale": 0.6}),
        (varlen_of_torch_2_13, {"window": 5}),
        (varlen_of_torch_2_13, {"window": 1}),
    ],
)
def test_the_call_gives_what_the_operator_promises(randn, monkeypatch, function, options):
    tensors = [randn(sum(LENGTHS), heads, 8, dtype=torch.float64) for heads in (4, 2, 2)]
    upstream = randn(sum(LENGTHS), 4, 8, dtype=torch.float64)
    packing = Packing.from_seq_lengths(LENGTHS)
    monkeypatch.setattr(torch_varlen, "find_function", lambda: function)
    monkeypatch.setattr(torch_varlen, "can_run", lambda q, v, window: True)

    def ours(q, k, v):
        return packed_attention(q, k, v, packing, impl="torch", **options)

    def oracle(q, k, v):
        return dense_attention(q, k, v, packing, **options)

    found = run_with_gradients(ours, tensors, upstream)
    for got, want in zip(found, run_with_gradients(oracle, tensors, upstream), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)


def test_torch_has_the_function_that_is_called():
    """A name that torch changes would silently bring back one call per document."""
    function = torch_varlen.find_function()
    assert function is not None
    q = torch.empty(4, 2, 64, dtype=torch.bfloat16, device="meta")
    assert not torch_varlen.can_run(q, q, None)  # for CUDA only


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("rows", [5, 2048])
def test_half_products_with_wide_sums_are_within_their_bound(case, monkeypatch, options, rows):
    """The factors of the products stay in bfloat16, the sums are float32, as on a GPU.

    The gradient of the logits is rounded before its products: as in the Triton kernels, an error of
    up to 3.5e-3 relative to the norm.
    """
    monkeypatch.setattr(torch_chunked, "factor_dtype", lambda x, rounded: x.dtype)
    monkeypatch.setattr(torch_chunked, "MIN_CHUNK_ROWS", rows)
    monkeypatch.setitem(torch_chunked.WORKSPACE_BYTES, "cpu", 1)
    x, w, b, y = case(n=60, dtype=torch.bfloat16)
    kwargs = OPTIONS[options]

    def ours(x, w, b):
        return linear_cross_entropy(x, w, y, bias=b, impl="torch", reduction="sum", **kwargs)

    def oracle(x, w, b):
        return oracle_losses(x, w, b, y, **kwargs).sum()

    loss, found = compute_gradients(ours, (x, w, b))
    want_loss, want = compute_gradients(oracle, [t.double() for t in (x, w, b)])
    torch.testing.assert_close(loss.double(), want_loss, rtol=1e-6, atol=0)
    for got, exact in zip(found, want, strict=True):
        assert (got.double() - exact).norm() <= 3.5e-3 * exact.norm()
