"""Oracle, tolerances and comparisons for the tests of packed_attention."""

import torch

# relative to the norm of the oracle. Half precision keeps its inputs exactly and rounds outputs,
# gradients and, in torch's kernel, the probabilities
TOLERANCE = {torch.float64: 1e-14, torch.float32: 1e-6, torch.float16: 1e-3, torch.bfloat16: 8e-3}


def dense_attention(q, k, v, packing, scale=None, window=None, softcap=None, sinks=None):
    """Softmax over one dense mask of the whole row, in float64: an independent computation."""
    q, k, v = (t.double() for t in (q, k, v))
    group = q.shape[1] // k.shape[1]
    grouped = q.unflatten(1, (k.shape[1], group))  # (tokens, kv_heads, group, head_dim)
    scores = torch.einsum("qhgd,khd->hgqk", grouped, k)
    scores = scores * (q.shape[-1] ** -0.5 if scale is None else scale)
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    seen = packing.dense_mask()
    if window is not None:
        seen = seen & (packing.position_ids[:, None] - packing.position_ids[None, :] < window)
    scores = scores.masked_fill(~seen, float("-inf"))
    if sinks is not None:
        sink = sinks.double().view(k.shape[1], group, 1, 1)
        scores = torch.cat([scores, sink.expand(-1, -1, len(q), 1)], dim=-1)
    probabilities = scores.softmax(-1)[..., : len(q)]
    return torch.einsum("hgqk,khd->qhgd", probabilities, v).flatten(1, 2)


def run_with_gradients(function, tensors, upstream):
    """The output of function(*tensors), and the gradients of its product with upstream."""
    leaves = [t.detach().requires_grad_() for t in tensors]  # strides stay as they are
    out = function(*leaves)
    return (out.detach(), *torch.autograd.grad(out, leaves, upstream.to(out.dtype)))


def assert_all_close(got, want, dtype, scale=0.0):
    """Compare output, dq, dk and dv with the oracle, at the tolerance of dtype."""
    for name, g, w in zip(("output", "dq", "dk", "dv"), got, want, strict=True):
        assert g.dtype == dtype and g.shape == w.shape
        # a document of one token has no gradient in q and k: measured against that of v
        error = (g.double() - w).norm() / torch.maximum(w.norm(), want[3].norm())
        # the rounding of a score grows with it and ends up in its exponential
        assert error <= TOLERANCE[dtype] * max(1.0, scale), f"{name}: relative error {error:.2e}"
