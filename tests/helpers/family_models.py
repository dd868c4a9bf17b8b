"""Tiny random checkpoints of model families, each with its own configuration class and template."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, GenerationConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from tests.helpers.mechanisms import conversation
from tests.helpers.template_table import build_tokenizer

VENDORS = Path(__file__).parents[3] / "shared" / "data" / "chat_templates"
WINDOW = 8  # tokens; shorter than any document
SMALL = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 4096,
}
ONE_OF_EACH = ["sliding_attention", "full_attention"]
ALTERNATING = {"layer_types": ONE_OF_EACH, "sliding_window": WINDOW}
EXPERTS = {"num_experts_per_tok": 2, "moe_intermediate_size": 24}
ROUTER_LOSS = {"output_router_logits": True, "router_aux_loss_coef": 0.1}
ROUTED = {"n_routed_experts": 4, "n_group": 2, "topk_group": 1, "first_k_dense_replace": 1}

# in the vendors' form, for families whose template the folder does not hold
CHATML = conversation("{{ '<|im_start|>assistant\\n' + m.content + '<|im_end|>\\n' }}")
ROLES = (
    "{{% for m in messages %}}{{{{ '{0}' + m.role + '{1}' + m.content }}}}"
    "{{{{ '{2}' if m.role == 'assistant' else '{3}' }}}}{{% endfor %}}"
    "{{% if add_generation_prompt %}}{{{{ '{0}assistant{1}' }}}}{{% endif %}}"
)
OLMO = ROLES.format("<|", "|>\\n", "<|endoftext|>", "\\n")
GRANITE = ROLES.format(
    "<|start_of_role|>", "<|end_of_role|>", "<|end_of_text|>\\n", "<|end_of_text|>\\n"
)
MISTRAL = (
    "{{ bos_token }}{% for m in messages %}{{ '[INST] ' + m.content + ' [/INST]' "
    "if m.role == 'user' else ' ' + m.content + eos_token }}{% endfor %}"
)


@dataclass(frozen=True)
class Sample:
    """A checkpoint of the matrix; ``vendor``: the template's name in the vendors' folder.

    ``fallback``: the template where there is no such folder, or the vendor's is not in it.
    """

    model_type: str
    settings: dict[str, Any] = field(default_factory=dict)
    vendor: str | None = None
    fallback: str = CHATML

    @property
    def template(self) -> str:
        path = VENDORS / f"{self.vendor}.jinja"
        return path.read_text(encoding="utf-8") if self.vendor and path.is_file() else self.fallback


LATENT = {  # DeepSeek's attention; head_dim is not the width of its heads
    "num_key_value_heads": 4,
    "q_lora_rank": 16,
    "kv_lora_rank": 8,
    "qk_rope_head_dim": 4,
    "qk_nope_head_dim": 8,
    "v_head_dim": 6,
    "head_dim": None,
}
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 1e4,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
GRANITES = {
    "logits_scaling": 4.0,
    "attention_multiplier": 0.2,
    "residual_multiplier": 0.5,
    "embedding_multiplier": 3.0,
}
GEMMA2 = {"query_pre_attn_scalar": 8, "attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0}

SAMPLES = [
    Sample("apertus"),
    Sample("arcee"),
    Sample("cohere", {"logit_scale": 0.25}, "cohere"),
    Sample("cohere2", {**ALTERNATING, "logit_scale": 0.25}, "cohere2"),
    Sample("deepseek_v2", {**EXPERTS, **ROUTED, **LATENT, "topk_method": "greedy"}, "deepseekv3"),
    Sample("deepseek_v3", {**EXPERTS, **ROUTED, **LATENT, "num_mtp_layers": 0}, "deepseekv3"),
    Sample("dots1", {**EXPERTS, **ROUTED, **ALTERNATING, "n_shared_experts": 1}),
    Sample("ernie4_5"),
    Sample(
        "ernie4_5_moe",
        {**ROUTER_LOSS, "moe_num_experts": 4, "moe_k": 2, "moe_intermediate_size": 24},
    ),
    Sample("exaone4", ALTERNATING),
    Sample("gemma", {}, "gemma"),
    Sample("gemma2", {**ALTERNATING, **GEMMA2}, "gemma"),
    Sample("gemma3_text", {**ALTERNATING, "query_pre_attn_scalar": 8}, "gemma3"),
    Sample("glm", {}, "glm4moe"),
    Sample("glm4", {}, "glm4moe"),
    Sample("glm4_moe", {**EXPERTS, **ROUTED, "use_qk_norm": True}, "glm4moe"),
    Sample("gpt_neox"),
    Sample(
        "gpt_oss",
        {**ALTERNATING, **ROUTER_LOSS, "num_local_experts": 4, "num_experts_per_tok": 2},
        "gptoss",
    ),
    Sample("granite", GRANITES, fallback=GRANITE),
    Sample(
        "granitemoe",
        {**GRANITES, **ROUTER_LOSS, "num_local_experts": 4, "num_experts_per_tok": 2},
        fallback=GRANITE,
    ),
    Sample("helium"),
    Sample("hunyuan_v1_dense"),
    Sample("llama", {"rope_parameters": LLAMA3_ROPE}, "llama3_2"),
    Sample("ministral", ALTERNATING, fallback=MISTRAL),
    Sample("ministral3", fallback=MISTRAL),
    Sample("mistral", {"sliding_window": WINDOW}, fallback=MISTRAL),
    Sample(
        "mixtral",
        {**ROUTER_LOSS, "num_local_experts": 4, "num_experts_per_tok": 2},
        fallback=MISTRAL,
    ),
    Sample("olmo", fallback=OLMO),
    Sample("olmo2", fallback=OLMO),
    Sample("olmo3", ALTERNATING),
    Sample("olmoe", {**ROUTER_LOSS, "num_experts": 4, "num_experts_per_tok": 2}, fallback=OLMO),
    Sample("phi"),
    Sample("phi3", {"sliding_window": WINDOW, "partial_rotary_factor": 0.5}, "phi3"),
    Sample("qwen2", {"tie_word_embeddings": True}, "qwen2_5"),
    Sample(
        "qwen2_moe",
        {**EXPERTS, **ROUTER_LOSS, "num_experts": 4, "shared_expert_intermediate_size": 24},
        "qwen2_5",
    ),
    Sample("qwen3", {}, "qwen3"),
    Sample(
        "qwen3_moe",
        {**EXPERTS, **ROUTER_LOSS, "num_experts": 4, "use_sliding_window": True}
        | {"sliding_window": WINDOW},
        "qwen3_instruct_2507",
    ),
    Sample("smollm3", {"no_rope_layers": [1, 0]}),
    Sample("starcoder2", {"sliding_window": WINDOW, "attention_dropout": 0.0}),
]  # fmt: skip


def write_checkpoint(sample: Sample, folder: Path, base: Any = None) -> None:
    """A random checkpoint with the tokenizer of its template: bytes, or ``base``'s vocabulary."""
    tokenizer = build_tokenizer(sample.template)
    if base is not None:
        base.add_tokens(list(tokenizer.added_tokens_decoder.values()))
        base.add_special_tokens({"bos_token": tokenizer.bos_token})
        base.add_special_tokens({"eos_token": tokenizer.eos_token})
        base.chat_template = sample.template
        tokenizer = base
    ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    settings = {**SMALL, **sample.settings, **ids, "pad_token_id": 0}
    kept = {key: value for key, value in settings.items() if value is not None}
    config = CONFIG_MAPPING[sample.model_type](**kept, vocab_size=len(tokenizer))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        for parameter in model.parameters():
            # larger than the library's initial weights, so that attention is far from uniform; not
            # the norms' weights
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=0.2)
            elif not parameter.detach().eq(1).all():
                torch.nn.init.normal_(parameter, std=0.5)
    model.generation_config = GenerationConfig(eos_token_id=ids["eos_token_id"], pad_token_id=0)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
