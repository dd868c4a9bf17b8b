"""The dtypes in which ``Trainer.train()`` computes the loss and the attention, and of weights."""

from dataclasses import replace

import pytest
import torch
from orion_kernels.attention import torch_sdpa
from orion_kernels.cross_entropy import torch_chunked

from orion.errors import InputError
from orion.models import checkpoints
from orion.training.arguments import training_arguments
from orion.training.loading import load_trainable_model, restore_base
from orion.training.packed_rows import collate_packed
from orion.training.settings import LoraConfig, TrainConfig
from orion.training.trainer import PackedTrainer
from tests.helpers.packing import stored_rows

LORA = LoraConfig(r=4, alpha=8, dropout=0.0, target_modules="all-linear")


@pytest.fixture
def seen(monkeypatch):
    """The dtypes of what the two operators compute with."""
    found: dict[str, set] = {"loss": set(), "attention": set()}
    loss, attention = torch_chunked.chunked_forward_backward, torch_sdpa.packed_attention

    def record_loss(x, weight, *rest):
        found["loss"] |= {x.dtype, weight.dtype}
        return loss(x, weight, *rest)

    def record_attention(q, k, v, *rest):
        found["attention"] |= {q.dtype, k.dtype, v.dtype}
        return attention(q, k, v, *rest)

    monkeypatch.setattr(torch_chunked, "chunked_forward_backward", record_loss)
    monkeypatch.setattr(torch_sdpa, "packed_attention", record_attention)
    return found


def make_config(method, dtype, checkpointing=False, lora=LORA):
    return TrainConfig(
        method=method,
        learning_rate=1e-3,
        betas=[0.9, 0.95],
        weight_decay=0.0,
        epochs=1.0,
        batch_sequences=2,
        warmup_fraction=0.0,
        schedule="linear",
        max_grad_norm=1.0,
        dtype=dtype,
        gradient_checkpointing=checkpointing,
        seed=1,
        max_steps=2,
        lora=lora if method == "lora" else None,
    )


@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("stored", ["float32", "bfloat16"])
def test_loss_and_attention_compute_in_the_training_dtype(
    tmp_path, student, seen, method, dtype, checkpointing, stored
):
    document, packed = replace(student[0], dtype=stored), student[1]
    config = make_config(method, dtype, checkpointing)
    trainer = PackedTrainer(
        model=load_trainable_model(document, config),
        args=training_arguments(config, str(tmp_path), 1, packed.height),
        train_dataset=stored_rows(packed, tmp_path),
        data_collator=collate_packed,
        kernels="torch",
    )
    trainer.train()
    wanted = {getattr(torch, dtype)}
    assert seen == {"loss": wanted, "attention": wanted}
    trained = {p.dtype for p in trainer.model.parameters() if p.requires_grad}
    assert trained == {torch.float32}  # what the optimiser changes keeps its small steps
    frozen = {p.dtype for p in trainer.model.parameters() if not p.requires_grad}
    assert frozen == (wanted if method == "lora" else set())
    # in bfloat16 the positions' frequencies would be others
    assert {b.dtype for b in trainer.model.buffers()} == {torch.float32}


@pytest.mark.parametrize("variant", [{}, {"use_dora": True}])
@pytest.mark.parametrize("stored", ["float32", "bfloat16"])
def test_what_a_bfloat16_base_merges_into_is_the_model_itself(student, stored, variant):
    """The base is rounded for the training only: merged, each weight is rounded once at most."""
    document = replace(student[0], dtype=stored)
    config = make_config("lora", "bfloat16", lora=replace(LORA, **variant))
    model = load_trainable_model(document, config)
    exact = dict(checkpoints.load_model(document, "cpu").named_parameters())
    torch.manual_seed(1)
    deltas = {}
    for name, module in model.get_base_model().named_modules():
        if hasattr(module, "lora_B"):
            module.lora_B["default"].weight.data.normal_(std=1e-3)
            deltas[f"{name}.weight"] = module.get_delta_weight("default")
    restore_base(model, document, config)
    merged = dict(model.merge_and_unload().named_parameters())
    assert merged.keys() == exact.keys() and deltas
    for name, weight in exact.items():
        if name not in deltas:
            assert torch.equal(merged[name], weight)
        elif not variant:
            assert torch.equal(merged[name], (weight.float() + deltas[name]).to(weight.dtype))
        else:
            # DoRA keeps the length of each row, which the training knows from the rounded base
            got, want = merged[name].float().norm(dim=1), weight.float().norm(dim=1)
            torch.testing.assert_close(got, want, rtol=2e-3, atol=0)


def test_an_untrained_dora_adapter_changes_nothing(student):
    document = replace(student[0], dtype="bfloat16")
    lora = replace(LORA, use_dora=True)
    model = load_trainable_model(document, make_config("lora", "bfloat16", lora=lora))
    merged = dict(model.merge_and_unload().named_parameters())
    for name, weight in checkpoints.load_model(document, "cpu").named_parameters():
        assert torch.equal(merged[name], weight), name


def test_rslora_scales_by_the_root_of_the_rank(student):
    model = load_trainable_model(
        student[0], make_config("lora", "float32", lora=replace(LORA, use_rslora=True))
    )
    scales = {m.scaling["default"] for m in model.modules() if hasattr(m, "lora_B")}
    assert scales == {8 / 4**0.5}


@pytest.mark.parametrize(
    ("targets", "rank", "message"),
    [
        ("all-linear", 40, r"train\.lora\.r = 40: the smaller side of .*[kv]_proj has 16"),
        (["q_proj"], 33, r"train\.lora\.r = 33: the smaller side of .*q_proj has 32.*leave that"),
        (["q_proj"], 32, None),
        (["q_proj", "router"], 4, r"train\.lora\.target_modules: router matches no layer"),
    ],
)
def test_a_rank_beyond_a_layer_and_a_lost_target_are_refused(student, targets, rank, message):
    lora = replace(LORA, r=rank, target_modules=targets)
    config = make_config("lora", "float32", lora=lora)
    if message is None:
        load_trainable_model(student[0], config)
    else:
        with pytest.raises(InputError, match=message):
            load_trainable_model(student[0], config)
