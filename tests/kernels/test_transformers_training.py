"""Training transformers models on packed rows: checkpointing, accumulation, LoRA, the Trainer."""

import copy

import pytest
import torch
from orion_kernels import Packing
from orion_kernels.transformers_integration import causal_lm_loss
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import Trainer, TrainingArguments

from tests.helpers.kernels.models import (
    LENGTHS,
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


@pytest.mark.parametrize("use_reentrant", [False, True])
def test_gradient_checkpointing(batch, use_reentrant):
    model = build_model()
    causal_lm_loss(model, **batch)[0].backward()
    want = copy_gradients(model)
    model.zero_grad()
    model.gradient_checkpointing_enable(
        gradient_checkpointing_kwargs={"use_reentrant": use_reentrant}
    )
    model.train()
    model.enable_input_require_grads()
    causal_lm_loss(model, **batch)[0].backward()
    assert_same_gradients(copy_gradients(model), want)


def test_gradient_accumulation_with_a_normalizer(batch):
    model = build_model()
    loss, _ = causal_lm_loss(model, **batch)
    loss.backward()
    want = copy_gradients(model)
    model.zero_grad()
    total = 0.0
    for document in range(len(LENGTHS)):
        keep = batch["packing"].document_ids == document
        part = {k: v[:, keep] for k, v in batch.items() if k != "packing"}
        packing = Packing.from_position_ids(part["position_ids"])
        piece, _ = causal_lm_loss(
            model, **part, packing=packing, normalizer=torch.tensor(count_targets(batch))
        )
        piece.backward()
        total += piece.item()
    assert total == pytest.approx(loss.item(), rel=1e-6)
    assert_same_gradients(copy_gradients(model), want)


def add_lora(model, **kwargs):
    adapted = get_peft_model(model, LoraConfig(r=4, target_modules=["q_proj", "v_proj"], **kwargs))
    with torch.random.fork_rng():
        torch.manual_seed(1)
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                nn.init.normal_(parameter, std=0.1)
    return adapted


@pytest.mark.parametrize("tied", [False, True])
def test_lora_trains_adapters_only(batch, tied):
    adapted = add_lora(build_model(tie_word_embeddings=tied))
    loss, _ = causal_lm_loss(adapted, **batch)
    loss.backward()
    got = copy_gradients(adapted)
    assert got and all("lora_" in name for name in got)
    # the same through peft's own forward, logits and all
    adapted.zero_grad()
    packed = {k: batch[k] for k in ("input_ids", "position_ids", "packing")}
    logits = adapted(**packed, use_cache=False).logits[0]
    want = nn.functional.cross_entropy(logits, batch["packing"].shifted_labels(batch["labels"]))
    want.backward()
    torch.testing.assert_close(loss.detach(), want.detach(), rtol=2e-6, atol=0)
    assert_same_gradients(got, copy_gradients(adapted))


def test_peft_head_saved_whole_is_trained_and_an_adapted_head_is_refused(batch):
    whole = add_lora(build_model(tie_word_embeddings=False), modules_to_save=["lm_head"])
    causal_lm_loss(whole, **batch)[0].backward()
    assert any("lm_head.modules_to_save" in name for name in copy_gradients(whole))
    adapted = get_peft_model(
        build_model(tie_word_embeddings=False),
        LoraConfig(r=2, target_modules=["q_proj", "lm_head"]),
    )
    with pytest.raises(ValueError, match="adapter on the head"):
        causal_lm_loss(adapted, **batch)


def packed_step(model, batch):
    loss, _ = causal_lm_loss(model, **batch)
    loss.backward()
    return loss.detach()


def unpacked_step(model, batch):
    loss, grads = run_documents_alone(model, batch)
    for name, parameter in model.named_parameters():
        parameter.grad = grads[name]
    return loss


def test_a_short_training_run_follows_the_unpacked_one(batch):
    start = build_model(tie_word_embeddings=True)
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
        model = build_model(tie_word_embeddings=True)
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
