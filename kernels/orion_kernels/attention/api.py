"""`packed_attention`: validate the inputs and choose an implementation."""

from __future__ import annotations

import torch
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
    window: int | None = None,
    softcap: float | None = None,
    sinks: Tensor | None = None,
    impl: str | None = None,
) -> Tensor:
    """Causal attention within the documents of a packed row, differentiable.

    Each token attends to itself and to the earlier tokens of its own document. Other documents
    cannot influence it, not even through NaN.

    Args:
        q: (tokens, q_heads, head_dim) floating point.
        k: (tokens, kv_heads, head_dim), dtype and device of q (under autocast any floating dtype).
            q_heads is a multiple of kv_heads (grouped-query attention: query head h reads key head
            h // (q_heads // kv_heads)).
        v: (tokens, kv_heads, value_dim), dtype and device of q as k.
        packing: the documents, of exactly `tokens` tokens.
        scale: positive factor on the scores, default head_dim ** -0.5.
        window: number of tokens that a query sees, itself included, as `sliding_window` of
            transformers; None for all.
        softcap: scaled scores become softcap * tanh(scores / softcap), as in Gemma 2; positive.
        sinks: (q_heads,) floating point of any dtype, differentiable: the score of one more key per
            head that every query sees and whose value is 0, as `s_aux` of gpt-oss.
        impl: "triton" (float16 or bfloat16, one head_dim of 64, 96 or 128, no window shorter than a
            document, no softcap, no sinks; the default for these on GPUs in
            `dispatch.PROVEN_CAPABILITIES`, which is empty), "torch" (one
            scaled_dot_product_attention per document, or blocks of queries where it has a window,
            a softcap or sinks; the default otherwise) or "reference" (explicit softmax).

    Returns (tokens, q_heads, value_dim) in the dtype of q.
    Raises ValueError for shapes, dtypes, devices, options or an impl that do not fit. A second
    derivative (create_graph=True) needs impl="reference"; the other implementations raise
    RuntimeError.

    """
    q, k, v = cast_to_autocast_dtype(q, k, v)
    _check_tensors(q, k, v, packing)
    _check_options(q, scale, window, softcap, sinks)
    if impl not in (None, "reference", "torch", "triton"):
        raise ValueError(
            f"impl must be None or one of ['reference', 'torch', 'triton'], but is {impl!r}"
        )
    if not q.shape[0]:
        # no token at all: still depends on the inputs, so that backward runs
        total = q.sum() + k.sum() + v.sum() + (0 if sinks is None else sinks.sum().to(q.dtype))
        return q.new_zeros(0, q.shape[1], v.shape[2]) + total
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    # compiled code would depend on the longest document: only where the choice needs it
    known = impl == "triton" or not torch.compiler.is_compiling()
    if window is not None and known and window >= packing.max_seqlen:
        window = None
    name = impl or _choose_default(q, v, window, softcap, sinks)
    if name == "triton":
        dispatch.require_triton()
        from orion_kernels.attention import triton_launch

        return triton_launch.packed_attention(q, k, v, packing, scale, window, softcap, sinks)
    function = reference.packed_attention if name == "reference" else torch_sdpa.packed_attention
    return function(q, k, v, packing, scale, window, softcap, sinks)


def _choose_default(
    q: Tensor, v: Tensor, window: int | None, softcap: float | None, sinks: Tensor | None
) -> str:
    if not dispatch.uses_triton_by_default(q, "packed_attention"):
        return "torch"
    from orion_kernels.attention import triton_launch

    unsupported = triton_launch.unsupported_reason(q, v, window, softcap, sinks)
    return "torch" if unsupported else "triton"


def _check_options(
    q: Tensor,
    scale: float | None,
    window: int | None,
    softcap: float | None,
    sinks: Tensor | None,
) -> None:
    # torch's kernels mask with -inf before they scale: 0 would give NaN, and a negative factor
    # would attend to the future
    if scale is not None and not scale > 0:
        raise ValueError(f"scale must be positive, but is {scale}")
    if window is not None and (not isinstance(window, int | torch.SymInt) or window < 1):
        raise ValueError(f"window must be a positive integer or None, but is {window!r}")
    if softcap is not None and not softcap > 0:
        raise ValueError(f"softcap must be positive or None, but is {softcap}")
    if sinks is None:
        return
    if sinks.shape != q.shape[1:2] or not sinks.is_floating_point():
        raise ValueError(
            f"sinks must be ({q.shape[1]},) floating point, one per query head, "
            f"but are {tuple(sinks.shape)} {sinks.dtype}"
        )
    if sinks.device != q.device:
        raise ValueError(f"sinks must be on the device of q, {q.device}, but are on {sinks.device}")


def _check_tensors(q: Tensor, k: Tensor, v: Tensor, packing: Packing) -> None:
    shapes = f"q {tuple(q.shape)}, k {tuple(k.shape)}, v {tuple(v.shape)}"
    if q.ndim != 3 or k.ndim != 3 or v.ndim != 3 or k.shape[:2] != v.shape[:2]:
        expected = (
            "q must be (tokens, q_heads, head_dim), k (tokens, kv_heads, head_dim) "
            "and v (tokens, kv_heads, value_dim)"
        )
        raise ValueError(f"{expected}, but the shapes are {shapes}")
    if q.shape[0] != k.shape[0] or q.shape[2] != k.shape[2]:
        raise ValueError(f"q and k must agree in tokens and head_dim, but the shapes are {shapes}")
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
