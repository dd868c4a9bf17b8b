"""`packed_attention`: validate the inputs and choose an implementation."""

from __future__ import annotations

from torch import Tensor

from orion_kernels import dispatch, reference
from orion_kernels.attention import torch_sdpa
from orion_kernels.packing import Packing
from orion_kernels.precision import cast_to_autocast_dtype


def packed_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    packing: Packing,
    *,
    scale: float | None = None,
    impl: str | None = None,
) -> Tensor:
    """Causal attention within the documents of a packed row, differentiable.

    Each token attends to itself and to the earlier tokens of its own document. Other documents
    cannot influence it, not even through NaN.

    Args:
        q: (tokens, q_heads, head_dim) floating point.
        k, v: (tokens, kv_heads, head_dim), dtype and device of q (under autocast any floating
            dtype). q_heads is a multiple of kv_heads (grouped-query attention: query head h reads
            key head h // (q_heads // kv_heads)).
        packing: the documents, of exactly `tokens` tokens.
        scale: positive factor on the scores, default head_dim ** -0.5.
        impl: "triton" (float16 or bfloat16, head_dim 64, 96 or 128; the default for these on GPUs
            in `dispatch.PROVEN_CAPABILITIES`, which is empty), "torch" (one
            scaled_dot_product_attention per document; the default otherwise) or "reference"
            (explicit softmax).

    Returns (tokens, q_heads, head_dim) in the dtype of q.
    Raises ValueError for shapes, dtypes, devices, a scale or an impl that do not fit. A second
    derivative (create_graph=True) needs impl="reference"; the other implementations raise
    RuntimeError.

    """
    q, k, v = cast_to_autocast_dtype(q, k, v)
    _check_tensors(q, k, v, packing)
    # torch's kernels mask with -inf before they scale: 0 would give NaN, and a negative factor
    # would attend to the future
    if scale is not None and not scale > 0:
        raise ValueError(f"scale must be positive, but is {scale}")
    if impl not in (None, "reference", "torch", "triton"):
        raise ValueError(
            f"impl must be None or one of ['reference', 'torch', 'triton'], but is {impl!r}"
        )
    if not q.shape[0]:
        # no token at all: still depends on the inputs, so that backward runs
        return q * (k.sum() + v.sum())
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    name = impl or _choose_default(q)
    if name == "triton":
        dispatch.require_triton()
        from orion_kernels.attention import triton_launch

        return triton_launch.packed_attention(q, k, v, packing, scale)
    function = reference.packed_attention if name == "reference" else torch_sdpa.packed_attention
    return function(q, k, v, packing, scale)


def _choose_default(q: Tensor) -> str:
    if not dispatch.uses_triton_by_default(q, "packed_attention"):
        return "torch"
    from orion_kernels.attention import triton_launch

    return "torch" if triton_launch.unsupported_reason(q) else "triton"


def _check_tensors(q: Tensor, k: Tensor, v: Tensor, packing: Packing) -> None:
    shapes = f"q {tuple(q.shape)}, k {tuple(k.shape)}, v {tuple(v.shape)}"
    if q.ndim != 3 or k.ndim != 3 or k.shape != v.shape:
        expected = "q must be (tokens, q_heads, head_dim), k and v (tokens, kv_heads, head_dim)"
        raise ValueError(f"{expected}, but the shapes are {shapes}")
    if q.shape[0] != k.shape[0] or q.shape[2] != k.shape[2]:
        raise ValueError(
            f"q, k and v must agree in tokens and head_dim, but the shapes are {shapes}"
        )
    if k.shape[1] == 0 or q.shape[1] % k.shape[1]:
        raise ValueError(
            f"q_heads must be a multiple of kv_heads, but they are {q.shape[1]} and {k.shape[1]}"
        )
    if packing.num_tokens != q.shape[0]:
        raise ValueError(
            f"packing covers {packing.num_tokens} tokens, but q, k and v hold {q.shape[0]}"
        )
    if not q.is_floating_point() or not q.dtype == k.dtype == v.dtype:
        raise ValueError(
            f"q, k and v must share one floating dtype, but have {q.dtype}, {k.dtype}, {v.dtype}"
        )
    if not q.device == k.device == v.device:
        raise ValueError(
            f"q, k and v must be on one device, but are on {q.device}, {k.device}, {v.device}"
        )
