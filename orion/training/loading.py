"""The model to train, and whether the chosen kernels can train it here."""

import os
from dataclasses import replace
from typing import Any

import torch
from orion_kernels import dispatch
from orion_kernels.transformers_integration import register_attention

from orion.errors import InputError
from orion.models import adapters, checkpoints, training_checkpoints
from orion.models.document import ModelDocument
from orion.models.lora_targets import LoraUse, check_model_targets
from orion.training.settings import TrainConfig


def check_kernels(kernels: str, model: Any, config: TrainConfig) -> None:
    """Raise InputError where the chosen Triton kernels cannot train this model on this machine."""
    if not kernels.startswith("triton"):
        return
    instead = (
        f"--kernels {kernels} (the resource kernels of the rule train); "
        "auto or torch train anywhere"
    )
    if not torch.cuda.is_available() and os.environ.get("TRITON_INTERPRET") != "1":
        raise InputError(f"no CUDA device for {instead}")
    from orion_kernels.attention.triton_configs import HEAD_DIMS

    settings = model.config
    head_dim = (
        getattr(settings, "head_dim", None) or settings.hidden_size // settings.num_attention_heads
    )
    if head_dim not in HEAD_DIMS:
        raise InputError(
            f"heads of {head_dim} dimensions, but only {list(HEAD_DIMS)} with {instead}"
        )
    if config.dtype != "bfloat16" and torch.cuda.is_available():
        raise InputError(f"train.dtype = {config.dtype}, but only bfloat16 with {instead}")


def describe_kernels(kernels: str, config: TrainConfig) -> str:
    """One line for the log: which implementation computes loss and attention, and why."""
    if kernels != "auto":
        return f"kernels: {kernels}, as asked for"
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    default = dispatch.describe_default(device, getattr(torch, config.dtype))
    return f"kernels: {default} (auto), in {config.dtype}"


def load_trainable_model(document: ModelDocument, config: TrainConfig) -> Any:
    """The model to train: float32 weights, packed attention, LoRA adapters where asked for."""
    if document.adapter is not None and config.keeps_adapter:
        raise InputError(
            f"{document.name} is an adapter on its base, and train.lora.merge_adapter: false would "
            "keep another one on it; set it to true"
        )
    model = checkpoints.load_model(replace(document, adapter=None)).float()
    if document.adapter is not None:
        model = adapters.merge_adapter(model, document)
    model.set_attn_implementation(register_attention())
    model.config.use_cache = False
    training_checkpoints.make_generation_config_savable(model)
    if config.method == "lora":
        import peft

        lora = config.lora
        assert lora is not None, "orion.config gives the lora block to method lora"
        check_model_targets(LoraUse("train.lora.target_modules", lora.target_modules), model)
        torch.manual_seed(config.seed)
        settings = peft.LoraConfig(
            r=lora.r,
            lora_alpha=lora.alpha,
            lora_dropout=lora.dropout,
            target_modules=lora.target_modules,
            task_type="CAUSAL_LM",
        )
        model = peft.get_peft_model(model, settings)
        model.enable_input_require_grads()
    return model
