"""Attention of one new token: against float64, in every layout that the engine's cache has."""

import pytest
import torch

from orion.engines import attention


def make(rows, groups, share, places, width, dtype, seed=0):
    """query, key, value; the keys are a part of larger buffers, as in the engine's cache."""
    randn = torch.Generator().manual_seed(seed)
    query = torch.randn(rows, groups * share, 1, width, generator=randn).to(dtype)
    key, value = (
        torch.randn(rows, groups, places + 7, width, generator=randn).to(dtype)[:, :, :places]
        for _ in range(2)
    )
    return query, key, value


def reference(query, key, value, mask, scale):
    """In float64, with each group's keys repeated, written out."""
    share = query.shape[1] // key.shape[1]
    key, value = (each.double().repeat_interleave(share, 1) for each in (key, value))
    scores = (query.double()[:, :, 0, None] * key).sum(-1) * scale  # (rows, heads, places)
    if mask is not None:
        hidden = mask[:, :, 0]
        scores = (
            scores.masked_fill(~hidden, -torch.inf)
            if mask.dtype == torch.bool
            else scores + hidden.double()
        )
    weights = scores.softmax(-1)
    return (weights[..., None] * value).sum(-2)[:, None]  # (rows, 1, heads, width)


def hide_beginnings(rows, places):
    """(rows, 1, 1, places): each row begins at another place, as with padding at the left."""
    starts = torch.arange(rows) * 3 % places
    return (torch.arange(places) >= starts[:, None])[:, None, None]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("masked", ["no", "bool", "additive", "shared"])
@pytest.mark.parametrize("shape", [(5, 2, 3, 33, 16), (3, 1, 4, 1, 8), (7, 3, 1, 20, 64)])
@pytest.mark.parametrize("converted", [1, 1000, 1 << 20])
def test_one_new_token(monkeypatch, dtype, masked, shape, converted):
    monkeypatch.setattr(attention, "CONVERTED", converted)
    query, key, value = make(*shape, dtype)
    mask = None if masked == "no" else hide_beginnings(shape[0], shape[3])
    if masked == "shared":
        mask = mask[:1]
    if masked == "additive":
        mask = torch.zeros(mask.shape, dtype=dtype).masked_fill(~mask, torch.finfo(dtype).min)
    scale = 0.3
    found, _ = attention.attend(None, query, key, value, mask, scaling=scale)
    wanted = reference(query, key, value, mask, scale)
    assert found.dtype == dtype
    assert found.is_contiguous()
    assert found.shape == (shape[0], 1, shape[1] * shape[2], shape[4])
    # half a unit in the last place of a value below 4, and what float32 adds
    bound = {torch.bfloat16: 2**-7, torch.float16: 2**-10, torch.float32: 1e-5}[dtype]
    assert (found.double() - wanted).abs().max() <= bound


def test_the_default_scale_is_the_librarys():
    query, key, value = make(4, 2, 2, 9, 32, torch.bfloat16)
    found, _ = attention.attend(None, query, key, value, None)
    wanted = reference(query, key, value, None, 32**-0.5)
    assert (found.double() - wanted).abs().max() <= 2**-7


def test_half_precision_is_nearer_to_float64_than_the_librarys_kernel():
    query, key, value = make(16, 3, 3, 600, 64, torch.bfloat16)
    mask = hide_beginnings(16, 600)
    exact = reference(query, key, value, mask, 0.125)
    own = attention.attend(None, query, key, value, mask, scaling=0.125)[0]
    library = torch.nn.functional.scaled_dot_product_attention(
        query, key, value, attn_mask=mask, scale=0.125, enable_gqa=True
    ).transpose(1, 2)
    errors = [(each.double() - exact).abs().mean().item() for each in (own, library)]
    assert errors[0] <= errors[1]


def test_several_new_tokens_are_the_librarys():
    class Module:
        is_causal, training, num_key_value_groups = True, False, 1

    query, key, value = (torch.randn(2, 3, 5, 8, dtype=torch.bfloat16) for _ in range(3))
    found, _ = attention.attend(Module(), query, key, value, None)
    wanted, _ = attention.SDPA(Module(), query, key, value, None)
    assert torch.equal(found, wanted)
