"""Tiny models of families whose attention or head is not Llama's, and their own eager loss."""

import copy
import inspect

import torch
import transformers
from orion_kernels.transformers_integration import register_attention
from torch import nn

from tests.helpers.kernels.models import LENGTHS, SMALL, VOCAB, copy_gradients, count_targets

ROUTER = {"num_experts_per_tok": 2, "output_router_logits": True, "router_aux_loss_coef": 0.7}
MLA = {
    "q_lora_rank": 16,
    "kv_lora_rank": 8,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 4,
    "v_head_dim": 6,
    "head_dim": 4,
    "num_key_value_heads": 4,
}
# family: configuration keys beside SMALL; windows are shorter than the longest document
FAMILIES = {
    "Gemma2": {
        "attn_logit_softcapping": 2.0,
        "final_logit_softcapping": 3.0,
        "sliding_window": 5,
        "query_pre_attn_scalar": 8,
    },
    "GptOss": {
        "sliding_window": 4,
        "num_local_experts": 4,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
        **ROUTER,
    },
    "Mistral": {"sliding_window": 6},
    "Granite": {
        "logits_scaling": 8.0,
        "attention_multiplier": 0.3,
        "residual_multiplier": 0.5,
        "embedding_multiplier": 3.0,
    },
    "Cohere2": {"logit_scale": 0.25, "sliding_window": 5, "layer_types": None},
    "Mixtral": {"num_local_experts": 4, "sliding_window": None, **ROUTER},
    "DeepseekV3": {
        "n_routed_experts": 4,
        "num_experts_per_tok": 2,
        "n_group": 2,
        "topk_group": 1,
        "first_k_dense_replace": 1,
        "moe_intermediate_size": 16,
        **MLA,
    },
    "Phi3": {"sliding_window": 5, "pad_token_id": 0},
    # the window is in the mask alone
    "Qwen2Moe": {
        "use_sliding_window": True,
        "sliding_window": 4,
        "max_window_layers": 0,
        "layer_types": ["sliding_attention", "full_attention"],
        "num_experts": 4,
        "moe_intermediate_size": 16,
        "shared_expert_intermediate_size": 16,
        **ROUTER,
    },
    "MiniCPM3": {"dim_model_base": 8, **MLA},
    "HyperCLOVAX": {"logits_scaling": 0.125},
}


def build_family(name, **changes):
    """A tiny model with random weights, whose attention is "orion_packed"."""
    settings = {**SMALL, **FAMILIES.get(name, {}), **changes}
    settings = {key: value for key, value in settings.items() if key != "layer_types" or value}
    config = getattr(transformers, f"{name}Config")(**settings)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = getattr(transformers, f"{name}ForCausalLM")(config)
        for parameter in model.parameters():
            nn.init.normal_(parameter, std=0.2)
    model.set_attn_implementation(register_attention())
    return model.eval()


def run_eager_alone(model, batch):
    """Logarithms of the labels' probabilities, and gradients, by eager attention per document.

    The router's auxiliary loss, where the configuration asks for it, is that of all tokens.
    """
    eager = copy.deepcopy(model)
    eager.set_attn_implementation("eager")
    rows, routers = [], []
    for ids, labels in zip(
        batch["input_ids"].split(LENGTHS, 1), batch["labels"].split(LENGTHS, 1), strict=True
    ):
        output = eager(ids, use_cache=False)
        targets = torch.cat([labels[0, 1:], labels.new_tensor([-100])])
        rows.append(-nn.functional.cross_entropy(output.logits[0], targets, reduction="none"))
        routers.append(getattr(output, "router_logits", None))
    logprob = torch.cat(rows)
    loss = -logprob.sum() / count_targets(batch)
    if getattr(model.config, "output_router_logits", False):
        balance = inspect.getmodule(type(eager)).load_balancing_loss_func
        layers = tuple(torch.cat(parts) for parts in zip(*routers, strict=True))
        auxiliary = balance(layers, eager.num_experts, eager.num_experts_per_tok)
        loss = loss + eager.router_aux_loss_coef * auxiliary
    loss.backward()
    return loss.detach(), logprob.detach(), copy_gradients(eager)


def relative_error(got, want):
    return float((got.double() - want.double()).norm() / want.double().norm().clamp(min=1e-30))


__all__ = ["FAMILIES", "VOCAB", "build_family", "relative_error", "run_eager_alone"]
