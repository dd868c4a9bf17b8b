"""A tiny language model, packed batches and losses for the training tests of the kernels."""

import torch
from orion_kernels import Packing
from orion_kernels.transformers_integration import causal_lm_loss, register_attention
from torch import nn
from transformers import Qwen2Config, Qwen2ForCausalLM

from tests.helpers.kernels.triton_interpreter import DEVICE

VOCAB, LENGTHS = 67, [9, 1, 17, 6]


def build_model(**changes) -> Qwen2ForCausalLM:
    """A model of two layers with head_dim 64, which the Triton kernels support."""
    config = {
        "vocab_size": VOCAB,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 64,
        "max_position_embeddings": 64,
        "tie_word_embeddings": True,
    }
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Qwen2ForCausalLM(Qwen2Config(**{**config, **changes}))
        for parameter in model.parameters():
            nn.init.normal_(parameter, std=0.1)
    model.set_attn_implementation(register_attention())
    return model.to(DEVICE)


def make_batches(generator):
    """Three packed rows with a third of the labels ignored."""
    packing = Packing.from_seq_lengths(LENGTHS, device=DEVICE)
    made = []
    for _ in range(3):
        ids = torch.randint(VOCAB, (1, sum(LENGTHS)), generator=generator)
        labels = ids.masked_fill(torch.rand(ids.shape, generator=generator) < 0.3, -100)
        row = {
            "input_ids": ids.to(DEVICE),
            "position_ids": packing.position_ids[None],
            "labels": labels.to(DEVICE),
        }
        made.append(row | {"packing": packing})
    return made


def loss_by_triton(model, batch):
    return causal_lm_loss(model, **batch, impl="triton", attention_impl="triton")[0]


def loss_by_torch(model, batch):
    return causal_lm_loss(model, **batch, impl="torch", attention_impl="torch")[0]
