"""Labels outside the vocabulary: an error on every path, NaN where nothing can raise."""

import pytest
import torch
import torch._dynamo
from orion_kernels import linear_cross_entropy
from orion_kernels.cross_entropy import api, validation
from orion_kernels.cross_entropy.triton_launch import ChunkLauncher, RowStatistics
from orion_kernels.reference import LossOptions

from tests.helpers.kernels.losses import IMPLEMENTATIONS, compute_gradients
from tests.helpers.kernels.triton_interpreter import CUDA

pytestmark = [
    pytest.mark.usefixtures("small_chunks"),
    pytest.mark.skipif(CUDA, reason="on a GPU the assertion ends the process: test_on_gpu.py"),
]
BAD = [-1, 37, 1 << 20, -(1 << 40)]


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
@pytest.mark.parametrize("label", BAD)
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_an_error_names_the_label(case, impl, label, reduction):
    x, w, b, y = case(dtype=torch.float32)
    y[4] = label
    with pytest.raises(ValueError, match=f"but one is {label}"):
        linear_cross_entropy(x, w, y, bias=b, reduction=reduction, **IMPLEMENTATIONS[impl])


@pytest.mark.parametrize("impl", [None, "torch", "triton"])
@pytest.mark.parametrize("label", BAD)
def test_compiled_code_raises_too(case, impl, label):
    torch._dynamo.reset()
    x, w, _, y = case(dtype=torch.float32)
    compiled = torch.compile(linear_cross_entropy, fullgraph=True, backend="aot_eager")
    assert compiled(x, w, y, impl=impl).isfinite()
    y[4] = label
    with pytest.raises(ValueError, match=f"labels must be in .0, 37. .*: {label}"):
        compiled(x, w, y, impl=impl)


def test_a_compiled_reference_asserts(case):
    torch._dynamo.reset()
    x, w, _, y = case(dtype=torch.float32, ignored=0.0)
    compiled = torch.compile(linear_cross_entropy, backend="aot_eager")
    index = torch.arange(len(y))
    assert compiled(x, w, y, impl="reference", valid_index=index).isfinite()
    y[4] = 37
    with pytest.raises(RuntimeError, match=r"labels must be in .0, 37. or ignored"):
        compiled(x, w, y, impl="reference", valid_index=index)


@pytest.fixture
def silent(monkeypatch):
    """As on a device whose assertion has not been read yet."""
    monkeypatch.setattr(validation, "_report_bad_targets", lambda *_: None)
    monkeypatch.setattr(api, "check_label_range", lambda *_: None)


@pytest.mark.usefixtures("silent")
@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
@pytest.mark.parametrize("label", BAD)
def test_the_row_is_nan_and_the_others_are_as_before(case, impl, label):
    x, w, b, y = case(dtype=torch.float32)
    y[4] = 5

    def losses(labels, **kwargs):
        return compute_gradients(
            lambda *t: linear_cross_entropy(
                *t[:2], labels, bias=t[2], reduction="none", **kwargs, **IMPLEMENTATIONS[impl]
            ),
            (x, w, b),
        )

    want, want_grads = losses(y)
    _, metrics = linear_cross_entropy(x, w, y, return_metrics=True, **IMPLEMENTATIONS[impl])
    wrong = y.clone()
    wrong[4] = label
    got, got_grads = losses(wrong)
    others = torch.arange(len(y)) != 4
    assert got[4].isnan() and torch.equal(got[others], want[others])
    assert got_grads[0][4].isnan().all() and got_grads[1].isnan().any()
    assert want_grads[0].isfinite().all() and metrics.logprob.isfinite().all()
    for reduction in ("mean", "sum"):
        options = {"reduction": reduction, **IMPLEMENTATIONS[impl]}
        assert linear_cross_entropy(x, w, wrong, bias=b, **options).isnan()


@pytest.mark.usefixtures("silent")
def test_metrics_of_the_row_are_nan_too(case):
    x, w, _, y = case(dtype=torch.float32)
    y[4] = 37
    for kwargs in IMPLEMENTATIONS.values():
        _, metrics = linear_cross_entropy(x, w, y, return_metrics=True, **kwargs)
        assert metrics.logprob[4].isnan()
        assert metrics.logprob[torch.arange(len(y)) != 4].isfinite().all()


@pytest.mark.parametrize("label", [-3, 37, 60])
def test_the_kernels_write_nothing_outside_a_row(case, label):
    """The launcher alone, whose labels are not replaced: the buffer goes on behind each row."""
    x, w, b, y = case(n=12, ignored=0.0, dtype=torch.float32)
    y[4] = label
    launcher = ChunkLauncher(x, w, b, y, LossOptions(), False)
    whole = torch.full((14, 64), 7.0)
    state = RowStatistics(12, torch.float32, x.device)
    upstream = torch.ones(12)
    factor, scaled = launcher.compute_exponentials(
        state, slice(0, 12), whole[1:13, :37], upstream, True
    )
    assert (whole[0] == 7).all() and (whole[13] == 7).all()
    assert (whole[1:13, 48:] == 7).all()
    assert factor[4].isnan() and scaled[4].isnan().all()
    others = torch.arange(12) != 4
    assert factor[others].isfinite().all() and scaled[others].isfinite().all()
