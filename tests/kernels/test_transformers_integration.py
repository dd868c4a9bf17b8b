"""Whole models: packed rows give the loss and gradients of single documents; misuse is refused."""

import pytest
import torch
from orion_kernels import Packing
from orion_kernels.transformers_integration import (
    ATTENTION_NAME,
    causal_lm_loss,
    register_attention,
)
from torch import nn
from transformers import DataCollatorWithFlattening, Qwen2Config, Qwen2ForCausalLM

from tests.helpers.kernels.models import (
    LENGTHS,
    MODELS,
    SMALL,
    VOCAB,
    assert_same_gradients,
    build_model,
    copy_gradients,
    count_targets,
    make_batch,
    run_documents_alone,
)


@pytest.fixture
def batch(randn):
    return make_batch(randn)


@pytest.mark.parametrize("family", MODELS)
@pytest.mark.parametrize("tied", [False, True])
def test_packed_row_equals_each_document_alone(batch, family, tied):
    model = build_model(family, tie_word_embeddings=tied)
    loss, metrics = causal_lm_loss(model, **batch)
    loss.backward()
    want_loss, want = run_documents_alone(model, batch)
    torch.testing.assert_close(loss.detach(), want_loss, rtol=2e-6, atol=0)
    assert_same_gradients(copy_gradients(model), want)
    assert ("lm_head.weight" in want) is (not tied)
    assert metrics.means()["tokens"] == count_targets(batch)
    torch.testing.assert_close(-metrics.means()["logprob"], loss.detach())


def test_a_batch_of_packed_rows_is_one_longer_row(batch):
    model = build_model()
    want, _ = causal_lm_loss(model, **batch)
    rows = {k: v.view(2, 12) for k, v in batch.items() if k != "packing"}
    # both rows begin with position 0 once documents are cut at the row's end
    rows["position_ids"] = Packing.from_seq_lengths([7, 1, 4, 8, 4]).position_ids.view(2, 12)
    packing = Packing.from_position_ids(rows["position_ids"])
    got, _ = causal_lm_loss(model, **rows, packing=packing)
    flat, _ = causal_lm_loss(model, **{k: v.view(1, 24) for k, v in rows.items()}, packing=packing)
    torch.testing.assert_close(got, flat)
    assert not torch.isclose(got, want)


def test_what_collators_of_packed_rows_make(randn):
    """transformers' flattening collator, with cumulative lengths and without.

    Without them its batches have the form of trl's padding-free collator.
    """
    documents = [torch.randint(VOCAB, (n,), generator=randn.generator).tolist() for n in LENGTHS]
    examples = [{"input_ids": d, "labels": d} for d in documents]
    plain = DataCollatorWithFlattening()(examples)
    full = DataCollatorWithFlattening(return_flash_attn_kwargs=True, return_seq_idx=True)(examples)
    assert set(plain) == {"input_ids", "labels", "position_ids"}
    packings = (
        Packing.from_position_ids(plain["position_ids"]),
        Packing.from_cu_seqlens(full["cu_seq_lens_q"], 24),
    )
    for packing in packings:
        assert packing.seq_lengths == tuple(LENGTHS) and torch.equal(
            packing.document_ids, full["seq_idx"][0]
        )
    model = build_model()
    losses = [
        causal_lm_loss(model, **b, packing=p)[0]
        for b, p in zip((plain, full), packings, strict=True)
    ]
    assert torch.equal(*losses)
    # no target is a token of another document: the collator marks the start of each document, and
    # the shift leaves these labels out
    targets = packings[0].shifted_labels(plain["labels"])
    assert targets[packings[0].cu_seqlens[1:].long() - 1].eq(-100).all()
    assert int(targets.ne(-100).sum()) == sum(n - 1 for n in LENGTHS)


def test_positions_known_to_a_collator_change_nothing(batch):
    model = build_model()
    index = batch["packing"].shifted_labels(batch["labels"]).ne(-100).nonzero().squeeze(1)
    assert torch.equal(
        causal_lm_loss(model, **batch)[0], causal_lm_loss(model, **batch, valid_index=index)[0]
    )
    with pytest.raises(ValueError, match="position of every label"):
        causal_lm_loss(model, **batch, valid_index=index[1:])


def test_other_documents_leave_no_trace(batch):
    model = build_model()
    inside = batch["packing"].document_ids == 2

    def hidden_of(ids):
        out = model.model(
            ids, position_ids=batch["position_ids"], packing=batch["packing"], use_cache=False
        )
        return out.last_hidden_state[0]

    before = hidden_of(batch["input_ids"])
    after = hidden_of(torch.where(inside, (batch["input_ids"] + 1) % VOCAB, batch["input_ids"]))
    # attention is isolated bit by bit; a matrix product over all rows may group its sums by their
    # number, which is unchanged
    assert torch.equal(before[~inside], after[~inside]) and not torch.equal(
        before[inside], after[inside]
    )


def test_without_packing_the_loss_is_the_models_own(batch):
    model = build_model(tie_word_embeddings=False)
    # a head with a bias, as some models have
    model.lm_head = nn.Linear(32, VOCAB)
    with torch.no_grad():
        model.lm_head.bias.copy_(torch.linspace(-2, 2, VOCAB))
        model.lm_head.weight.copy_(model.model.embed_tokens.weight)
    model.set_attn_implementation("sdpa")
    rows = {k: batch[k].view(2, 12) for k in ("input_ids", "labels")}
    want = model(**rows).loss
    got, _ = causal_lm_loss(model, rows["input_ids"], None, rows["labels"], None)
    torch.testing.assert_close(got, want, rtol=2e-6, atol=0)


def test_token_weights_follow_the_label_they_weigh(batch):
    model = build_model()
    only = torch.zeros(batch["labels"].shape)
    only[0, 10] = 2.0
    batch["labels"] = batch["input_ids"]
    loss, metrics = causal_lm_loss(model, **batch, token_weights=only, normalizer=1)
    torch.testing.assert_close(loss.detach(), -2.0 * metrics.logprob[9])


def test_autocast_reaches_the_model(batch):
    model = build_model("qwen3")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss, _ = causal_lm_loss(model, **batch)
    loss.backward()
    exact, _ = causal_lm_loss(model, **batch)
    assert (
        loss.dtype == torch.float32
        and loss.item() == pytest.approx(exact.item(), rel=2e-2)
        and loss.item() != exact.item()
    )


def test_the_model_computes_the_logits_of_one_position_only(batch):
    model = build_model()
    shapes = []
    model.lm_head.register_forward_hook(
        lambda _module, _args, logits: shapes.append(tuple(logits.shape))
    )
    causal_lm_loss(model, **batch)
    assert shapes == [(1, 1, VOCAB)]
    assert not model.model._forward_hooks


def test_registering_twice_is_harmless_and_at_construction_works():
    assert register_attention() == register_attention() == ATTENTION_NAME
    model = Qwen2ForCausalLM(Qwen2Config(**SMALL, attn_implementation=ATTENTION_NAME))
    assert model.config._attn_implementation == ATTENTION_NAME


def test_misuse_is_refused(batch):
    model = build_model()
    ids, position_ids, packing = batch["input_ids"], batch["position_ids"], batch["packing"]
    with pytest.raises(ValueError, match=r"needs model.*packing=Packing"):
        model(ids, position_ids=position_ids)
    with pytest.raises(ValueError, match="takes no attention_mask"):
        model(ids, position_ids=position_ids, packing=packing, attention_mask=torch.ones_like(ids))
    with pytest.raises(ValueError, match="takes no attention_mask"):
        model(
            ids,
            position_ids=position_ids,
            packing=packing,
            attention_mask=torch.zeros(1, 1, 24, 24),
        )
    with pytest.raises(ValueError, match="packing covers 24 tokens, but q, k and v hold 23"):
        model(ids[:, :-1], position_ids=position_ids[:, :-1], packing=packing)
    with pytest.raises(ValueError, match="labels must have one entry for each of 24"):
        causal_lm_loss(model, ids, position_ids, batch["labels"][:, :-1], packing)
    dropping = build_model(attention_dropout=0.1).train()
    with pytest.raises(ValueError, match="no dropout"):
        causal_lm_loss(dropping, **batch)
    model.set_attn_implementation("sdpa")
    with pytest.raises(ValueError, match='attention must be "orion_packed", but is "sdpa"'):
        causal_lm_loss(model, **batch)
    with pytest.raises(ValueError, match="no logits_to_keep"):
        causal_lm_loss(model.model, **batch)
