"""Oracle, options and comparisons for the tests of linear_cross_entropy."""

import torch
import torch.nn.functional as F

# keyword arguments of every implementation that runs on this machine; on a GPU
# tests/kernels/cross_entropy/test_triton.py runs the Triton kernels, here the interpreter does
IMPLEMENTATIONS = {"torch": {"impl": "torch"}, "reference": {"impl": "reference"}}
if not torch.cuda.is_available():
    IMPLEMENTATIONS |= {m: {"impl": "triton", "memory": m} for m in ("fast", "lean")}

OPTIONS = {
    "plain": {},
    "smoothing": {"label_smoothing": 0.1},
    "softcap": {"softcap": 3.0},
    "z_loss": {"z_loss": 0.01},
    "all": {"label_smoothing": 0.2, "softcap": 2.0, "z_loss": 0.05},
}


def oracle_losses(x, w, b, y, label_smoothing=0.0, softcap=None, z_loss=0.0):
    """Per-token losses in float64 by torch's own cross_entropy; 0 where the label is ignored."""
    keep = y != -100
    z = F.linear(x.double()[keep], w.double(), None if b is None else b.double())
    if softcap is not None:
        z = softcap * torch.tanh(z / softcap)
    rows = F.cross_entropy(z, y[keep].long(), reduction="none", label_smoothing=label_smoothing)
    rows = rows + z_loss * torch.log(torch.exp(z).sum(1)) ** 2
    return torch.zeros(y.shape, dtype=torch.float64, device=y.device).masked_scatter(keep, rows)


def compute_gradients(loss_of, tensors):
    """The loss, and the gradients of its sum by all tensors that are not None."""
    leaves = [None if t is None else t.detach().clone().requires_grad_() for t in tensors]
    loss = loss_of(*leaves)
    return loss.detach(), torch.autograd.grad(loss.sum(), [t for t in leaves if t is not None])


def assert_close(got, want, tolerance, name="value", size=None):
    """Compare in norm, relative to the norm of `size` (default: of `want`)."""
    size = want if size is None else size
    error = (got.double() - want.double()).norm() / size.double().norm().clamp(min=1e-30)
    assert error <= tolerance, f"{name}: relative error {error:.2e} > {tolerance:.0e}"
