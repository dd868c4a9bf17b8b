"""Values and gradients of linear_cross_entropy against a float64 oracle, every implementation."""

import pytest
import torch
import torch.nn.functional as F
from orion_kernels import linear_cross_entropy
from orion_kernels.cross_entropy import torch_chunked

from tests.helpers.kernels.losses import (
    IMPLEMENTATIONS,
    OPTIONS,
    assert_close,
    compute_gradients,
    oracle_losses,
)

pytestmark = pytest.mark.usefixtures("small_chunks")
# (loss, gradients), relative to the norm of the oracle. The softmax is taken in float32 or better,
# so only the rounding of the gradients to the dtype of the inputs remains
TOLERANCE = {
    torch.float64: (1e-14, 1e-13),
    torch.float32: (1e-6, 2e-6),
    torch.float16: (1e-6, 4e-4),
    torch.bfloat16: (1e-6, 3e-3),
}


def sizes_of_terms(tensors, y, options):
    """Per gradient, the sum over rows of the absolute values of its terms.

    The error of a rounded sum is measured against it if the terms cancel.
    """
    given = [t for t in tensors if t is not None]

    def rows(*found):
        return oracle_losses(*found, *[None] * (3 - len(found)), y, **options)

    return [j.abs().sum(0) for j in torch.autograd.functional.jacobian(rows, tuple(given))]


def check(tensors, y, kwargs, options, impl, dtype, reduce, few_rows=False):
    loss_tol, grad_tol = TOLERANCE[dtype]
    if dtype == torch.bfloat16 and IMPLEMENTATIONS[impl]["impl"] == "triton":
        # the exponentials are rounded too, before the products: an error of 2.9e-3 on average
        grad_tol = 3.5e-3
    loss, got = compute_gradients(
        lambda *t: linear_cross_entropy(
            t[0], t[1], y, bias=t[2], **IMPLEMENTATIONS[impl], **kwargs, **options
        ),
        tensors,
    )
    wide = [None if t is None else t.double() for t in tensors]
    want_loss, want = compute_gradients(lambda *t: reduce(oracle_losses(*t, y, **options)), wide)
    assert loss.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert_close(loss, want_loss, loss_tol, "loss")
    sizes = sizes_of_terms(wide, y, options) if few_rows else want
    for name, g, ref, size in zip(("dx", "dw", "db"), got, want, sizes, strict=False):
        assert g.dtype == dtype
        assert_close(g, ref, grad_tol, name, size)


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_values_and_gradients(case, impl, options, dtype):
    x, w, b, y = case(dtype=dtype)
    check((x, w, b), y, {"reduction": "sum"}, options, impl, dtype, torch.sum)


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
@pytest.mark.parametrize("vocab", [1, 2, 127, 128, 129, 1000])
@pytest.mark.parametrize(("n", "hidden"), [(1, 7), (5, 1), (6, 31), (64, 8)])
def test_odd_shapes(case, impl, vocab, n, hidden):
    x, w, b, y = case(n=n, hidden=hidden, vocab=vocab, ignored=0.0, dtype=torch.float32)
    y[-1] = vocab - 1
    # with one class and no smoothing the terms of the gradient cancel: it must be 0, not small
    options = OPTIONS["all"] if vocab > 1 else OPTIONS["softcap"]
    check(
        (x, w, b), y, {"reduction": "sum"}, options, impl, torch.float32, torch.sum, few_rows=True
    )


def test_large_vocabulary_is_as_exact_as_plain_torch(case):
    x, w, _, y = case(n=12, hidden=8, vocab=50257, dtype=torch.float32, bias=False, ignored=0.0)
    _, exact = compute_gradients(
        lambda *t: oracle_losses(*t, None, y).sum(), (x.double(), w.double())
    )
    _, plain = compute_gradients(
        lambda *t: F.cross_entropy(F.linear(*t), y, reduction="sum"), (x, w)
    )
    loss, got = compute_gradients(lambda *t: linear_cross_entropy(*t, y, reduction="sum"), (x, w))
    assert_close(loss, oracle_losses(x, w, None, y).sum(), 1e-6, "loss")
    for g, p, want in zip(got, plain, exact, strict=True):
        # a float32 product over 50257 classes has an error in both implementations
        assert (g - want).norm() <= 1.2 * (p - want).norm()


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_mean_divides_by_valid_tokens(case, impl):
    x, w, b, y = case()
    count = (y != -100).sum()
    check((x, w, b), y, {}, {}, impl, torch.float64, lambda rows: rows.sum() / count)


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
@pytest.mark.parametrize("options", [OPTIONS["plain"], OPTIONS["all"]], ids=["plain", "all"])
def test_none_with_any_upstream_gradient(case, randn, impl, options):
    x, w, b, y = case()
    upstream = randn(len(y))
    upstream[::4] = 0.0
    got = linear_cross_entropy(
        x, w, y, bias=b, reduction="none", **IMPLEMENTATIONS[impl], **options
    )
    torch.testing.assert_close(got, oracle_losses(x, w, b, y, **options), rtol=1e-13, atol=1e-13)
    assert (got[y == -100] == 0).all()
    _, grads = compute_gradients(
        lambda *t: (
            linear_cross_entropy(
                t[0], t[1], y, bias=t[2], reduction="none", **IMPLEMENTATIONS[impl], **options
            )
            * upstream
        ).sum(),
        (x, w, b),
    )
    _, want = compute_gradients(
        lambda *t: (oracle_losses(*t, y, **options) * upstream).sum(), (x, w, b)
    )
    for g, ref in zip(grads, want, strict=True):
        assert_close(g, ref, 1e-13, "gradient")


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_all_ignored_is_zero_and_connected(case, impl, reduction):
    x, w, b, y = case()
    for n in (len(y), 0):
        leaves = [t.clone().requires_grad_() for t in (x[:n], w, b)]
        ignored = torch.full((n,), -100)
        loss, metrics = linear_cross_entropy(
            leaves[0],
            leaves[1],
            ignored,
            bias=leaves[2],
            reduction=reduction,
            return_metrics=True,
            **IMPLEMENTATIONS[impl],
        )
        assert (loss == 0).all() and loss.requires_grad
        loss.sum().backward()
        for leaf in leaves:
            assert torch.equal(leaf.grad, torch.zeros_like(leaf))
        assert all(v == 0 for v in metrics.means().values())


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
@pytest.mark.parametrize("position", [0, 11, 22])
def test_one_valid_token(case, impl, position):
    x, w, b, y = case(ignored=0.0)
    only = torch.full_like(y, -100)
    only[position] = y[position]
    check((x, w, b), only, {}, {}, impl, torch.float64, torch.sum)


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize("fill", [float("nan"), float("inf"), 7.0])
def test_ignored_rows_change_nothing(case, impl, reduction, fill):
    x, w, b, y = case(dtype=torch.float32)
    dirty = x.clone()
    dirty[y == -100] = fill

    def run(hidden):
        return compute_gradients(
            lambda *t: linear_cross_entropy(
                t[0], t[1], y, bias=t[2], reduction=reduction, **IMPLEMENTATIONS[impl]
            ).sum(),
            (hidden, w, b),
        )

    (loss, clean), (dirty_loss, got) = run(x), run(dirty)
    assert torch.equal(loss, dirty_loss)
    assert all(torch.equal(a, c) for a, c in zip(clean, got, strict=True))
    assert (got[0][y == -100] == 0).all()


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_moving_the_ignored_rows_changes_nothing(case, randn, impl):
    """Only the order of the valid rows matters to loss and gradients, bit by bit."""
    x, w, b, y = case(n=40, dtype=torch.float32)
    places = torch.randperm(40, generator=randn.generator)
    keep = (y != -100).sum()
    order = torch.empty(40, dtype=torch.long)
    order[places[:keep].sort().values] = (y != -100).nonzero().squeeze(1)
    order[places[keep:]] = (y == -100).nonzero().squeeze(1)

    def run(rows, labels):
        return compute_gradients(
            lambda *t: linear_cross_entropy(t[0], t[1], labels, bias=t[2], **IMPLEMENTATIONS[impl]),
            (rows, w, b),
        )

    (loss, want), (moved, got) = run(x, y), run(x[order], y[order])
    assert torch.equal(loss, moved) and torch.equal(got[0], want[0][order])
    assert torch.equal(got[1], want[1]) and torch.equal(got[2], want[2])


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_class_weights_are_token_weights(case, randn, impl):
    x, w, b, y = case()
    classes = randn(len(w)).abs()
    weights = classes[y.clamp(min=0)]
    normalizer = weights[y != -100].sum()
    _, got = compute_gradients(
        lambda *t: linear_cross_entropy(
            t[0],
            t[1],
            y,
            bias=t[2],
            token_weights=weights,
            normalizer=normalizer,
            **IMPLEMENTATIONS[impl],
        ),
        (x, w, b),
    )
    _, want = compute_gradients(
        lambda *t: F.cross_entropy(F.linear(t[0], t[1], t[2]), y, weight=classes), (x, w, b)
    )
    for g, ref in zip(got, want, strict=True):
        assert_close(g, ref, 1e-13, "gradient")


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
@pytest.mark.parametrize("smoothing", [0.0, 0.2])  # with smoothing, fast is lean
def test_everything_at_once(case, randn, impl, smoothing):
    x, w, b, y = case(n=40)
    weights = randn(40).abs()
    kwargs = {"token_weights": weights, "normalizer": 7.5}
    options = {**OPTIONS["all"], "label_smoothing": smoothing}
    check(
        (x, w, b),
        y,
        kwargs,
        options,
        impl,
        torch.float64,
        lambda rows: (rows * weights).sum() / 7.5,
    )


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])  # with smoothing, and for "none", fast is lean
def test_every_element_is_written(case, impl, reduction, smoothing):
    """Allocations full of NaN reveal elements that are not written, also with an odd vocabulary."""
    x, w, b, y = case(n=40, dtype=torch.float32)
    options = {**OPTIONS["all"], "label_smoothing": smoothing}

    def run():
        def loss(*t):
            kwargs = {
                "bias": t[2],
                "reduction": reduction,
                "return_metrics": True,
                **options,
                **IMPLEMENTATIONS[impl],
            }
            found, metrics = linear_cross_entropy(t[0], t[1], y, **kwargs)
            seen.extend(metrics[:3])
            return found.sum()

        seen: list[torch.Tensor] = []
        value, grads = compute_gradients(loss, (x, w, b))
        return [value, *grads, *seen]

    want = run()
    # torch then fills its allocations with NaN, because fill_uninitialized_memory is on by default
    torch.use_deterministic_algorithms(True)
    try:
        assert torch.empty(3).isnan().all()
        got = run()
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(torch.equal(a, c) for a, c in zip(got, want, strict=True))


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_no_gradient_is_filtered(case, impl):
    """Rows of the head that are no label get their full gradient, at probabilities below 2**-12."""
    x, w, _, _ = case(n=6, vocab=9000, dtype=torch.float32, bias=False, spread=0.01)
    y = torch.arange(6)
    _, (_, got) = compute_gradients(
        lambda *t: linear_cross_entropy(*t, y, **IMPLEMENTATIONS[impl]), (x, w)
    )
    _, (_, want) = compute_gradients(
        lambda *t: oracle_losses(*t, None, y).mean(), (x.double(), w.double())
    )
    assert (got[6:] != 0).all()
    assert_close(got[6:], want[6:], 2e-6, "rows that are no label")


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_token_weights(case, randn, impl, reduction):
    x, w, b, y = case()
    weights = randn(len(y)).clamp(min=-0.5).requires_grad_()
    divisor = (y != -100).sum() if reduction == "mean" else 1
    _, got = compute_gradients(
        lambda *t: linear_cross_entropy(
            t[0],
            t[1],
            y,
            bias=t[2],
            reduction=reduction,
            token_weights=weights,
            **IMPLEMENTATIONS[impl],
        ).sum(),
        (x, w, b),
    )
    _, want = compute_gradients(
        lambda *t: (oracle_losses(*t, y) * weights.detach()).sum() / divisor, (x, w, b)
    )
    for g, ref in zip(got, want, strict=True):
        assert_close(g, ref, 1e-13, "gradient")
    assert weights.grad is None


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
@pytest.mark.parametrize("as_tensor", [False, True])
def test_micro_batches_with_a_common_normalizer_equal_one_batch(case, impl, as_tensor):
    x, w, b, y = case()
    count = int((y != -100).sum())
    normalizer = torch.tensor([count]) if as_tensor else count
    whole, want = compute_gradients(
        lambda *t: linear_cross_entropy(t[0], t[1], y, bias=t[2], **IMPLEMENTATIONS[impl]),
        (x, w, b),
    )

    def parts(xx, ww, bb):
        cuts = zip(xx.split([3, 9, 11]), y.split([3, 9, 11]), strict=True)
        return sum(
            linear_cross_entropy(a, ww, c, bias=bb, normalizer=normalizer, **IMPLEMENTATIONS[impl])
            for a, c in cuts
        )

    total, got = compute_gradients(parts, (x, w, b))
    torch.testing.assert_close(total, whole, rtol=1e-13, atol=0)
    for g, ref in zip(got, want, strict=True):
        assert_close(g, ref, 1e-13, "gradient")


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_gradcheck(case, impl, reduction):
    x, w, b, y = case(n=7, hidden=3, vocab=5)
    leaves = [t.requires_grad_() for t in (x, w, b)]

    def loss(xx, ww, bb):
        return linear_cross_entropy(
            xx, ww, y, bias=bb, reduction=reduction, **IMPLEMENTATIONS[impl], **OPTIONS["all"]
        )

    assert torch.autograd.gradcheck(loss, leaves)


@pytest.mark.parametrize("reduction", ["sum", "none"])
def test_backward_twice_scaled_and_never_twice_differentiable(case, reduction):
    x, w, _, y = case()
    x.requires_grad_()
    w.requires_grad_()
    loss = linear_cross_entropy(x, w, y, reduction=reduction, impl="torch").sum()
    first = torch.autograd.grad(loss, (x, w), retain_graph=True)
    again = torch.autograd.grad(-2.5 * loss, (x, w), retain_graph=True)
    for a, c in zip(first, again, strict=True):
        torch.testing.assert_close(-2.5 * a, c, rtol=1e-14, atol=1e-15)
    with pytest.raises(RuntimeError, match="not twice differentiable"):
        torch.autograd.grad(loss, x, create_graph=True)


def test_chunks_change_nothing_but_rounding(case, monkeypatch):
    x, w, b, y = case(n=60)
    kwargs = {"bias": b, "return_metrics": True, **OPTIONS["all"]}
    many, many_metrics = linear_cross_entropy(x, w, y, **kwargs)
    monkeypatch.setattr(torch_chunked, "MIN_CHUNK_ROWS", 1000)
    one, one_metrics = linear_cross_entropy(x, w, y, **kwargs)
    torch.testing.assert_close(many, one, rtol=1e-14, atol=0)
    for a, c in zip(many_metrics, one_metrics, strict=True):
        torch.testing.assert_close(a, c, rtol=1e-12, atol=1e-14)


def test_repeats_bitwise(case):
    x, w, b, y = case(n=60, dtype=torch.float32)
    runs = [
        compute_gradients(lambda *t: linear_cross_entropy(t[0], t[1], y, bias=t[2]), (x, w, b))
        for _ in range(5)
    ]
    for loss, grads in runs[1:]:
        assert torch.equal(loss, runs[0][0])
        assert all(torch.equal(a, c) for a, c in zip(grads, runs[0][1], strict=True))
