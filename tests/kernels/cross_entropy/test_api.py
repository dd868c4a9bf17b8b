"""Metrics, layouts, extreme numbers, memory, autocast, refused inputs of linear_cross_entropy."""

import math

import pytest
import torch
import torch.nn.functional as F
from orion_kernels import linear_cross_entropy
from orion_kernels.precision import has_bfloat16_products
from torch.utils._python_dispatch import TorchDispatchMode

from tests.helpers.kernels.losses import IMPLEMENTATIONS, compute_gradients

pytestmark = pytest.mark.usefixtures("small_chunks")
HAS_BFLOAT16 = has_bfloat16_products()


def rounded_to_half(tensor):
    """In float64, as rounded to bfloat16."""
    return tensor.bfloat16().double()


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_metrics(case, impl):
    x, w, b, y = case(n=40, vocab=7, dtype=torch.float32)
    w[3], b[3] = w[5], b[5]
    loss, metrics = linear_cross_entropy(
        x, w, y, bias=b, softcap=5.0, return_metrics=True, **IMPLEMENTATIONS[impl]
    )
    z = 5.0 * torch.tanh(F.linear(x.double(), w.double(), b.double()) / 5.0)
    logp, keep = torch.log_softmax(z, 1), y != -100
    want = logp.gather(1, y.clamp(min=0)[:, None]).squeeze(1)
    torch.testing.assert_close(metrics.logprob[keep].double(), want[keep], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(
        metrics.entropy[keep].double(), -(logp.exp() * logp).sum(1)[keep], rtol=1e-5, atol=1e-6
    )
    # classes 3 and 5 tie exactly: the lower index wins
    assert not ((y == 5) & (metrics.accuracy == 1)).any()
    torch.testing.assert_close(metrics.accuracy[keep], (z[keep].argmax(1) == y[keep]).float())
    assert torch.equal(metrics.valid, keep) and not any(t.requires_grad for t in metrics)
    assert all((t[~keep] == 0).all() for t in metrics[:3])
    torch.testing.assert_close(-metrics.means()["logprob"], loss.detach())
    assert metrics.means()["tokens"] == keep.sum()


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_extreme_logits(impl):
    w = torch.eye(4)
    x = torch.tensor([[1e4, -1e4, 0, 0], [0, 0, 0, 0], [3e38, 0, 0, 0], [120.0, 0, 0, 0]])
    y = torch.tensor([0, 2, 0, 3])
    loss, metrics = linear_cross_entropy(
        x, w, y, reduction="none", return_metrics=True, **IMPLEMENTATIONS[impl]
    )
    torch.testing.assert_close(loss, torch.tensor([0.0, math.log(4), 0.0, 120.0]))
    torch.testing.assert_close(metrics.entropy, torch.tensor([0.0, math.log(4), 0.0, 0.0]))
    # an entry masked away by a bias of -inf has probability 0 and leaves every number finite
    masked = torch.tensor([0.0, float("-inf"), 0.0, 0.0])
    loss, metrics = linear_cross_entropy(
        x[1:2], w, y[1:2], bias=masked, return_metrics=True, **IMPLEMENTATIONS[impl]
    )
    torch.testing.assert_close(loss, torch.tensor(3.0).log())
    torch.testing.assert_close(metrics.entropy, torch.tensor([3.0]).log())


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_layouts_and_label_forms(case, impl):
    x, w, b, y = case(n=24, dtype=torch.float32)
    want = linear_cross_entropy(x, w, y, bias=b, **IMPLEMENTATIONS[impl])
    wide = torch.stack([x, x], dim=2)[:, :, 0]
    assert not wide.is_contiguous()
    for hidden in (wide, x.t().contiguous().t(), x.view(2, 12, 16), x.view(2, 3, 4, 16)):
        labels = y.view(hidden.shape[:-1])
        got = linear_cross_entropy(
            hidden, w.t().contiguous().t(), labels.int(), bias=b, **IMPLEMENTATIONS[impl]
        )
        torch.testing.assert_close(got, want)
        assert (
            linear_cross_entropy(hidden, w, labels, reduction="none", **IMPLEMENTATIONS[impl]).shape
            == labels.shape
        )
    broadcast = x[0].expand(6, 16)
    torch.testing.assert_close(
        linear_cross_entropy(broadcast, w, y[:6].clamp(min=0), **IMPLEMENTATIONS[impl]),
        linear_cross_entropy(
            broadcast.contiguous(), w, y[:6].clamp(min=0), **IMPLEMENTATIONS[impl]
        ),
    )


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
@pytest.mark.parametrize("ignore_index", [-1, 3, 36])
def test_other_ignore_index(case, impl, ignore_index):
    x, w, b, y = case()
    relabelled = y.where(y != ignore_index, torch.tensor(-100))
    moved = relabelled.where(relabelled != -100, torch.tensor(ignore_index))
    got = linear_cross_entropy(
        x, w, moved, bias=b, ignore_index=ignore_index, **IMPLEMENTATIONS[impl]
    )
    torch.testing.assert_close(
        got, linear_cross_entropy(x, w, relabelled, bias=b, **IMPLEMENTATIONS[impl])
    )


class _RecordShapes(TorchDispatchMode):
    """Records the shapes of all tensors that operations return."""

    def __init__(self):
        super().__init__()
        self.shapes = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple | list) else [out]:
            if isinstance(tensor, torch.Tensor):
                self.shapes.add(tuple(tensor.shape))
        return out


@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize("frozen", [False, True])
def test_never_all_logits_and_no_gradient_of_a_frozen_head(case, reduction, frozen):
    x, w, _, y = case(n=50, hidden=3, vocab=91, ignored=0.0)
    x.requires_grad_()
    w.requires_grad_(not frozen)
    with _RecordShapes() as seen:
        linear_cross_entropy(x, w, y, reduction=reduction, return_metrics=True)[0].sum().backward()
    assert (5, 91) in seen.shapes
    assert max(s[0] for s in seen.shapes if len(s) == 2 and s[1] == 91) == 5
    # (vocab, hidden) appears only as the weight's gradient
    assert ((91, 3) in seen.shapes) is (not frozen)


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_gradient_adds_to_an_existing_one(case, impl):
    x, w, _, y = case()
    w.requires_grad_()
    w.grad = torch.ones_like(w)
    linear_cross_entropy(x, w, y, **IMPLEMENTATIONS[impl]).backward()
    fresh = w.detach().clone().requires_grad_()
    linear_cross_entropy(x, fresh, y, **IMPLEMENTATIONS[impl]).backward()
    torch.testing.assert_close(w.grad, fresh.grad + 1)


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_tied_embeddings_and_a_float32_main_grad(case, randn, impl):
    """A tied head gets both gradients; a hook sums those of micro-batches in float32."""
    x, w, _, y = case(dtype=torch.bfloat16, ignored=0.0)
    tokens = torch.randint(len(w), (len(y),), generator=randn.generator)

    def loss(weight, part):
        hidden = (weight[tokens] + x)[part]
        return linear_cross_entropy(
            hidden, weight, y[part], normalizer=len(y), **IMPLEMENTATIONS[impl]
        )

    leaf = w.clone().requires_grad_()
    main = torch.zeros(w.shape)

    def add(parameter):
        main.add_(parameter.grad.float())
        parameter.grad = None

    leaf.register_post_accumulate_grad_hook(add)
    parts = torch.arange(len(y)).split(5)
    for part in parts:
        loss(leaf, part).backward()
    wide = w.double().requires_grad_()
    # the sum as rounded to bfloat16, whose gradient reaches both terms
    hidden = (w[tokens] + x).double() - w.double()[tokens]
    F.cross_entropy((wide[tokens] + hidden) @ wide.t(), y).backward()
    assert leaf.grad is None
    assert (main.double() - wide.grad).norm() <= 6e-3 * wide.grad.norm()


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_autocast_keeps_the_softmax_in_float32(case, impl):
    x, w, b, y = case(dtype=torch.float32, spread=8.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = linear_cross_entropy(x.bfloat16(), w, y, bias=b, **IMPLEMENTATIONS[impl])
    rounded = IMPLEMENTATIONS[impl]["impl"] == "torch" and HAS_BFLOAT16
    logits = (
        x.bfloat16() @ w.bfloat16().t()
        if rounded
        else x.bfloat16().double() @ rounded_to_half(w).t()
    )
    want = F.cross_entropy(logits.double() + rounded_to_half(b), y)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss.double(), want, rtol=1e-6, atol=0)


@pytest.mark.skipif(not HAS_BFLOAT16, reason="this CPU has no instructions for bfloat16")
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_products_under_autocast_are_rounded_as_those_of_torch(case, reduction):
    """As near to the float64 loss and gradients as the library's own head and loss under autocast.

    Without autocast nothing is rounded before the gradients are (test_gradients.py).
    """
    x, w, b, y = case(n=60, dtype=torch.float32, spread=8.0)

    def own(x, w, b):
        logits = F.linear(x, w, b).float()
        return F.cross_entropy(logits, y, reduction=reduction).sum()

    def ours(x, w, b):
        return linear_cross_entropy(x, w, y, bias=b, reduction=reduction, impl="torch").sum()

    def run(function, *tensors, autocast=True):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            return compute_gradients(function, tensors)

    want_loss, want = run(own, *(t.bfloat16().double() for t in (x, w, b)), autocast=False)
    library_loss, library = run(own, x, w, b)
    loss, found = run(ours, x, w, b)
    assert loss != want_loss  # rounded, since the exact product would take four times as long
    assert abs(loss - want_loss) <= 2 * abs(library_loss - want_loss) + 1e-3 * abs(want_loss)
    for got, peer, exact in zip(found, library, want, strict=True):
        assert got.dtype == torch.float32
        assert (got - exact).norm() <= 2 * (peer - exact).norm()


BAD = {
    "unknown impl": (
        {"impl": "cuda"},
        r"impl must be None or one of \['reference', 'torch', 'triton'\]",
    ),
    "reduction": ({"reduction": "avg"}, "'mean', 'sum' or 'none', but is 'avg'"),
    "normalizer of a sum": (
        {"reduction": "sum", "normalizer": 3},
        "normalizer divides the mean only",
    ),
    "normalizer zero": ({"normalizer": 0}, "normalizer must be positive"),
    "normalizer vector": ({"normalizer": torch.ones(2)}, "must hold one element"),
    "smoothing": ({"label_smoothing": 1.0}, r"in \[0, 1\), but is 1.0"),
    "softcap": ({"softcap": 0.0}, "softcap must be positive"),
    "z_loss": ({"z_loss": -1.0}, "z_loss must not be negative"),
    "label above": (
        {"labels": torch.tensor([0, 5, 1])},
        r"labels must be in \[0, 5\) or -100 \(ignored\), but one is 5",
    ),
    "label below": ({"labels": torch.tensor([0, -1, 1])}, "but one is -1"),
    "float labels": ({"labels": torch.zeros(3)}, "labels must be int32 or int64"),
    "labels shape": (
        {"labels": torch.zeros(4, dtype=torch.long)},
        r"labels must have shape \(3,\)",
    ),
    "labels device": (
        {"labels": torch.zeros(3, dtype=torch.long, device="meta")},
        "labels must be on the device of hidden",
    ),
    "hidden size": ({"weight": torch.zeros(5, 3)}, r"they are \(3, 2\) and \(5, 3\)"),
    "weight dtype": ({"weight": torch.zeros(5, 2).half()}, "must share one floating dtype"),
    "bias": ({"bias": torch.zeros(4)}, r"bias must have shape \(5,\)"),
    "token weights": (
        {"token_weights": torch.zeros(2)},
        r"token_weights must have the shape of labels \(3,\)",
    ),
    "no vocabulary": ({"weight": torch.zeros(0, 2)}, "at least one vocabulary row"),
}


@pytest.mark.parametrize(("changes", "message"), BAD.values(), ids=BAD.keys())
def test_bad_input_says_what_is_wrong(changes, message):
    good = {
        "hidden": torch.zeros(3, 2),
        "weight": torch.zeros(5, 2),
        "labels": torch.tensor([0, 1, -100]),
    }
    linear_cross_entropy(**good)
    with pytest.raises(ValueError, match=message):
        linear_cross_entropy(**{**good, **changes})
