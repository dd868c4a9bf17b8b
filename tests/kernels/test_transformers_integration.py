"""Whole models: packed rows give the loss and gradients of single documents; misuse is refused."""

import copy

import pytest
import torch
from orion_kernels import Packing
from orion_kernels.transformers_integration import (
    ATTENTION_NAME,
    causal_lm_loss,
    register_attention,
)
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import (
    DataCollatorWithFlattening,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    Trainer,
    TrainingArguments,
)

VOCAB = 61
LENGTHS = [7, 1, 12, 4]
SMALL = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
}
MODELS = {
    "qwen2": lambda **kw: Qwen2ForCausalLM(Qwen2Config(**SMALL, **kw)),
    "qwen3": lambda **kw: Qwen3ForCausalLM(Qwen3Config(**SMALL, **kw)),
    "llama": lambda **kw: LlamaForCausalLM(LlamaConfig(**SMALL, **kw)),
}


def build(family="qwen2", **config):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = MODELS[family](**config)
        for parameter in model.parameters():
            # larger than the library's initial weights, so that attention is far from uniform
            nn.init.normal_(parameter, std=0.2)
    model.set_attn_implementation(register_attention())
    return model


@pytest.fixture
def batch(randn):
    packing = Packing.from_seq_lengths(LENGTHS)
    input_ids = torch.randint(VOCAB, (1, sum(LENGTHS)), generator=randn.generator)
    labels = input_ids.masked_fill(
        torch.rand(input_ids.shape, generator=randn.generator) < 0.3, -100
    )
    return {
        "input_ids": input_ids,
        "position_ids": packing.position_ids[None],
        "labels": labels,
        "packing": packing,
    }


def targets_in(batch):
    return int((batch["packing"].shifted_labels(batch["labels"]) != -100).sum())


def each_document_alone(model, batch):
    """Loss and gradients of the model's own loss, sdpa attention, one document after the other."""
    plain = copy.deepcopy(model)
    plain.set_attn_implementation("sdpa")
    total = torch.zeros(())
    for ids, labels in zip(
        batch["input_ids"].split(LENGTHS, 1), batch["labels"].split(LENGTHS, 1), strict=True
    ):
        if ids.shape[1] > 1:
            total = total + plain(ids, labels=labels, num_items_in_batch=targets_in(batch)).loss
    total.backward()
    return total.detach(), gradients(plain)


def gradients(model):
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def assert_same(got, want):
    assert got.keys() == want.keys()
    for name, gradient in want.items():
        torch.testing.assert_close(
            got[name],
            gradient,
            rtol=1e-4,
            atol=2e-6 * float(gradient.norm() + 1),
            msg=lambda m, n=name: f"{n}: {m}",
        )


@pytest.mark.parametrize("family", MODELS)
@pytest.mark.parametrize("tied", [False, True])
def test_packed_row_equals_each_document_alone(batch, family, tied):
    model = build(family, tie_word_embeddings=tied)
    loss, metrics = causal_lm_loss(model, **batch)
    loss.backward()
    want_loss, want = each_document_alone(model, batch)
    torch.testing.assert_close(loss.detach(), want_loss, rtol=2e-6, atol=0)
    assert_same(gradients(model), want)
    assert ("lm_head.weight" in want) is (not tied)
    assert metrics.means()["tokens"] == targets_in(batch)
    torch.testing.assert_close(-metrics.means()["logprob"], loss.detach())


def test_a_batch_of_packed_rows_is_one_longer_row(batch):
    model = build()
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
    model = build()
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
    model = build()
    index = batch["packing"].shifted_labels(batch["labels"]).ne(-100).nonzero().squeeze(1)
    assert torch.equal(
        causal_lm_loss(model, **batch)[0], causal_lm_loss(model, **batch, valid_index=index)[0]
    )
    with pytest.raises(ValueError, match="position of every label"):
        causal_lm_loss(model, **batch, valid_index=index[1:])


def test_other_documents_leave_no_trace(batch):
    model = build()
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


@pytest.mark.parametrize("use_reentrant", [False, True])
def test_gradient_checkpointing(batch, use_reentrant):
    model = build()
    causal_lm_loss(model, **batch)[0].backward()
    want = gradients(model)
    model.zero_grad()
    model.gradient_checkpointing_enable(
        gradient_checkpointing_kwargs={"use_reentrant": use_reentrant}
    )
    model.train()
    model.enable_input_require_grads()
    causal_lm_loss(model, **batch)[0].backward()
    assert_same(gradients(model), want)


def test_gradient_accumulation_with_a_normalizer(batch):
    model = build()
    loss, _ = causal_lm_loss(model, **batch)
    loss.backward()
    want = gradients(model)
    model.zero_grad()
    total = 0.0
    for document in range(len(LENGTHS)):
        keep = batch["packing"].document_ids == document
        part = {k: v[:, keep] for k, v in batch.items() if k != "packing"}
        packing = Packing.from_position_ids(part["position_ids"])
        piece, _ = causal_lm_loss(
            model, **part, packing=packing, normalizer=torch.tensor(targets_in(batch))
        )
        piece.backward()
        total += piece.item()
    assert total == pytest.approx(loss.item(), rel=1e-6)
    assert_same(gradients(model), want)


def lora(model, **kwargs):
    adapted = get_peft_model(model, LoraConfig(r=4, target_modules=["q_proj", "v_proj"], **kwargs))
    with torch.random.fork_rng():
        torch.manual_seed(1)
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                nn.init.normal_(parameter, std=0.1)
    return adapted


@pytest.mark.parametrize("tied", [False, True])
def test_lora_trains_adapters_only(batch, tied):
    adapted = lora(build(tie_word_embeddings=tied))
    loss, _ = causal_lm_loss(adapted, **batch)
    loss.backward()
    got = gradients(adapted)
    assert got and all("lora_" in name for name in got)
    # the same through peft's own forward, logits and all
    adapted.zero_grad()
    packed = {k: batch[k] for k in ("input_ids", "position_ids", "packing")}
    logits = adapted(**packed, use_cache=False).logits[0]
    want = nn.functional.cross_entropy(logits, batch["packing"].shifted_labels(batch["labels"]))
    want.backward()
    torch.testing.assert_close(loss.detach(), want.detach(), rtol=2e-6, atol=0)
    assert_same(got, gradients(adapted))


def test_peft_head_saved_whole_is_trained_and_an_adapted_head_is_refused(batch):
    whole = lora(build(tie_word_embeddings=False), modules_to_save=["lm_head"])
    causal_lm_loss(whole, **batch)[0].backward()
    assert any("lm_head.modules_to_save" in name for name in gradients(whole))
    adapted = get_peft_model(
        build(tie_word_embeddings=False), LoraConfig(r=2, target_modules=["q_proj", "lm_head"])
    )
    with pytest.raises(ValueError, match=r"the head must be a plain torch\.nn\.Linear"):
        causal_lm_loss(adapted, **batch)


def test_without_packing_the_loss_is_the_models_own(batch):
    model = build(tie_word_embeddings=False)
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
    model = build()
    only = torch.zeros(batch["labels"].shape)
    only[0, 10] = 2.0
    batch["labels"] = batch["input_ids"]
    loss, metrics = causal_lm_loss(model, **batch, token_weights=only, normalizer=1)
    torch.testing.assert_close(loss.detach(), -2.0 * metrics.logprob[9])


def test_autocast_reaches_the_model(batch):
    model = build("qwen3")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss, _ = causal_lm_loss(model, **batch)
    loss.backward()
    exact, _ = causal_lm_loss(model, **batch)
    assert (
        loss.dtype == torch.float32
        and loss.item() == pytest.approx(exact.item(), rel=2e-2)
        and loss.item() != exact.item()
    )


def packed_step(model, batch):
    loss, _ = causal_lm_loss(model, **batch)
    loss.backward()
    return loss.detach()


def unpacked_step(model, batch):
    loss, grads = each_document_alone(model, batch)
    for name, parameter in model.named_parameters():
        parameter.grad = grads[name]
    return loss


def test_a_short_training_run_follows_the_unpacked_one(batch):
    start = build(tie_word_embeddings=True)
    curves = []
    for step in (packed_step, unpacked_step):
        model = copy.deepcopy(start)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
        losses = []
        for _ in range(8):
            optimizer.zero_grad()
            losses.append(step(model, batch).item())
            optimizer.step()
        curves.append(losses)
    assert curves[0] == pytest.approx(curves[1], rel=1e-4)
    assert curves[0][-1] < 0.8 * curves[0][0]


class PackedTrainer(Trainer):
    """The smallest Trainer for packed rows; kernels/README.md shows the same lines."""

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        packing = Packing.from_position_ids(inputs["position_ids"])
        loss, metrics = causal_lm_loss(
            model, **inputs, packing=packing, normalizer=num_items_in_batch
        )
        return (loss, {"metrics": metrics}) if return_outputs else loss


def test_trainer_with_gradient_accumulation(batch, tmp_path):
    rows = []
    for lengths in ([5, 7], [12], [3, 3, 6], [1, 11]):
        start = 6 * len(rows)
        ids = (torch.arange(12) * 7 + start) % VOCAB
        labels = ids.clone()
        labels[: 2 * len(rows)] = -100
        position_ids = Packing.from_seq_lengths(lengths).position_ids
        # the first token of a document is no target: Trainer counts all labels but -100
        labels[position_ids == 0] = -100
        rows.append({"input_ids": ids, "labels": labels, "position_ids": position_ids})
    results = []
    for size, accumulate in ((1, 4), (4, 1)):
        model = build(tie_word_embeddings=True)
        arguments = TrainingArguments(
            str(tmp_path),
            per_device_train_batch_size=size,
            gradient_accumulation_steps=accumulate,
            max_steps=1,
            use_cpu=True,
            learning_rate=0.1,
            optim="sgd",
            report_to=[],
            save_strategy="no",
            remove_unused_columns=False,
            disable_tqdm=True,
            max_grad_norm=0.0,
            logging_steps=1,
            lr_scheduler_type="constant",
        )
        trainer = PackedTrainer(model=model, args=arguments, train_dataset=rows)
        trainer.train()
        results.append(
            (
                trainer.state.log_history[0]["loss"],
                {n: p.detach() for n, p in model.named_parameters()},
            )
        )
    assert results[0][0] == pytest.approx(results[1][0], rel=1e-5)
    for name, value in results[0][1].items():
        torch.testing.assert_close(value, results[1][1][name], rtol=1e-4, atol=1e-6)


def test_the_model_computes_the_logits_of_one_position_only(batch):
    model = build()
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
    model = build()
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
    dropping = build(attention_dropout=0.1).train()
    with pytest.raises(ValueError, match="no dropout"):
        causal_lm_loss(dropping, **batch)
    windowed = build(use_sliding_window=True, sliding_window=4, max_window_layers=0)
    with pytest.raises(ValueError, match="window 4, longest document 12"):
        causal_lm_loss(windowed, **batch)
    model.set_attn_implementation("sdpa")
    with pytest.raises(ValueError, match='attention must be "orion_packed", but is "sdpa"'):
        causal_lm_loss(model, **batch)
    with pytest.raises(ValueError, match="no logits_to_keep"):
        causal_lm_loss(model.model, **batch)
