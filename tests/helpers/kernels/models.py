"""Tiny transformers models, a packed batch, and the same step on unpacked documents."""

import copy

import torch
from orion_kernels import Packing
from orion_kernels.transformers_integration import register_attention
from torch import nn
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
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


def build_model(family="qwen2", **config):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = MODELS[family](**config)
        for parameter in model.parameters():
            # larger than the library's initial weights, so that attention is far from uniform
            nn.init.normal_(parameter, std=0.2)
    model.set_attn_implementation(register_attention())
    return model


def make_batch(randn):
    """One packed row of the documents of LENGTHS, with a third of the labels ignored."""
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


def count_targets(batch):
    return int((batch["packing"].shifted_labels(batch["labels"]) != -100).sum())


def run_documents_alone(model, batch):
    """The model's own loss with sdpa attention, one document at a time; and the gradients."""
    plain = copy.deepcopy(model)
    plain.set_attn_implementation("sdpa")
    total = torch.zeros(())
    for ids, labels in zip(
        batch["input_ids"].split(LENGTHS, 1), batch["labels"].split(LENGTHS, 1), strict=True
    ):
        if ids.shape[1] > 1:
            total = total + plain(ids, labels=labels, num_items_in_batch=count_targets(batch)).loss
    total.backward()
    return total.detach(), copy_gradients(plain)


def copy_gradients(model):
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def assert_same_gradients(got, want):
    assert got.keys() == want.keys()
    for name, gradient in want.items():
        torch.testing.assert_close(
            got[name],
            gradient,
            rtol=1e-4,
            atol=2e-6 * float(gradient.norm() + 1),
            msg=lambda m, n=name: f"{n}: {m}",
        )
