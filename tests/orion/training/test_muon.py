"""Which weights Muon moves, and how."""

import copy

import pytest
import torch
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, MixtralConfig, Qwen2Config

from orion import config
from orion.errors import InputError
from orion.training.muon import PART, MuonWithAdamW, split_weights
from orion.training.settings import check_optimizer
from tests.orion.training.test_switches import make_trainer, train_losses

SIZES = {
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
ATTENTION = {f"self_attn.{name}_proj.weight" for name in "qkvo"}
MLP = {f"mlp.{name}_proj.weight" for name in ("gate", "up", "down")}
# kind → configuration, and the names behind the layer of what Muon moves. The experts of a
# mixture are stacked, and its router is no linear layer
KINDS = {
    "tied": (Qwen2Config(**SIZES, tie_word_embeddings=True), ATTENTION | MLP),
    "untied": (LlamaConfig(**SIZES, tie_word_embeddings=False), ATTENTION | MLP),
    "experts": (MixtralConfig(**SIZES, num_local_experts=4), ATTENTION),
    "gpt2": (
        GPT2Config(vocab_size=96, n_embd=32, n_layer=1, n_head=4),
        {"attn.c_attn.weight", "attn.c_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight"},
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_muon_has_the_matrices_of_the_layers_and_adamw_all_else(kind):
    settings, expected = KINDS[kind]
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(settings)
    names = {id(each): name for name, each in model.named_parameters()}
    muon, others = split_weights(model)
    assert {names[id(each)].split(".0.", 1)[1] for each in muon} == expected
    assert {id(each) for each in muon}.isdisjoint(id(each) for each in others)
    assert len(muon) + len(others) == len(names)
    next(iter(muon)).requires_grad = False
    assert len(split_weights(model)[0]) == len(muon) - 1


def test_a_step_turns_a_matrix_by_the_learning_rate_and_the_loss_falls(student, tmp_path):
    before = make_trainer(student, tmp_path / "1", optimizer="muon", weight_decay=0.1, max_steps=1)
    weights = copy.deepcopy(before.model.state_dict())
    before.train()
    group = before.optimizer.param_groups[0]
    # the schedule has ended, and the first step had the whole rate
    rate, decay = group["initial_lr"], group["weight_decay"]
    assert (group[PART], rate, decay) == ("muon", 1e-2, 0.1)
    for name in ("self_attn.k_proj.weight", "mlp.up_proj.weight"):
        old = weights[f"model.layers.0.{name}"]
        new = before.model.state_dict()[f"model.layers.0.{name}"]
        size = rate * 0.2 * max(new.shape) ** 0.5
        turned = torch.linalg.svdvals(new - old * (1 - rate * decay)) / size
        # five iterations bring all but the smallest singular values near one
        assert 0.7 < turned.median() < 1.2 and turned.max() < 1.25

    after = make_trainer(student, tmp_path / "2", optimizer="muon", max_steps=6)
    losses = train_losses(after)
    assert losses[-1] < 0.9 * losses[0]
    made = after.optimizer.optimizer
    assert isinstance(made, MuonWithAdamW)
    states = [set(made.state[each]) for each in after.model.parameters()]
    assert {"momentum_buffer"} in states and {"step", "exp_avg", "exp_avg_sq"} in states
    decayed = {group[PART]: [] for group in made.param_groups}
    for group in made.param_groups:
        decayed[group[PART]] += [(group["weight_decay"], each.ndim) for each in group["params"]]
    assert set(decayed["muon"]) == {(0.0, 2)} and {ndim for _, ndim in decayed["adamw"]} == {1, 2}


def test_muon_under_lora_is_refused(student, tmp_path):
    with pytest.raises(InputError, match=r"optimizer = muon is for method: full; set adamw"):
        check_optimizer("muon", method="lora")
    block = {"learning_rate": 1e-3, "batch_sequences": 2, "optimizer": "muon"}
    assert config.training.Train(**block).optimizer == "muon"
    with pytest.raises(ValueError, match="optimizer: muon is for method: full"):
        config.training.Train(**block, method="lora")
