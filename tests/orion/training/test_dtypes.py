"""The dtypes in which ``Trainer.train()`` computes the loss and the attention."""

import pytest
import torch
from orion_kernels.attention import torch_sdpa
from orion_kernels.cross_entropy import torch_chunked
from transformers import Qwen2Config, Qwen2ForCausalLM

from orion import tables
from orion.demo.tokenizer import build_tokenizer
from orion.models import checkpoints
from orion.models.training_documents import DocumentEncoder
from orion.stages import pack
from orion.training.loading import load_trainable_model
from orion.training.packed_rows import PackedRows, collate_packed
from orion.training.settings import LoraConfig, TrainConfig
from orion.training.trainer import PackedTrainer, training_arguments

LORA = LoraConfig(r=4, alpha=8, dropout=0.0, target_modules="all-linear")


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    """The document of a random one-layer student, and its packed rows."""
    folder = tmp_path_factory.mktemp("dtypes")
    tokenizer = build_tokenizer()
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id,
    )
    Qwen2ForCausalLM(config).save_pretrained(folder / "student")
    tokenizer.save_pretrained(folder / "student")
    document = checkpoints.checkpoint_document(
        folder / "student", name="student", dtype="float32", trust_remote_code=False
    )
    encoder = DocumentEncoder(tokenizer, eos={tokenizer.eos_token_id}, enable_thinking=None)
    pairs = [(f"Question: Sam has {n} pens", f"{n} + 1 = {n + 1}") for n in range(10, 30)]
    path = folder / "packed"
    documents = [encoder.encode(*pair) for pair in pairs]
    tables.write(pack.pack_sequences(documents, 160), path, tables.PACKED, {})
    return document, tables.read(str(path), tables.PACKED)


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


@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_loss_and_attention_compute_in_the_training_dtype(
    tmp_path, student, seen, method, dtype, checkpointing
):
    document, packed = student
    config = TrainConfig(
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
        lora=LORA if method == "lora" else None,
    )
    trainer = PackedTrainer(
        model=load_trainable_model(document, config),
        args=training_arguments(config, str(tmp_path), 1, packed.height),
        train_dataset=PackedRows(packed),
        data_collator=collate_packed,
        kernels="torch",
    )
    trainer.train()
    wanted = {getattr(torch, dtype)}
    assert seen == {"loss": wanted, "attention": wanted}
    trained = {p.dtype for p in trainer.model.parameters() if p.requires_grad}
    assert trained == {torch.float32}  # what the optimiser changes keeps its small steps
