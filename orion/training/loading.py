"""The model to train, and whether the chosen kernels can train it here."""

import os
from dataclasses import replace
from typing import Any

import torch
from orion_kernels import dispatch
from orion_kernels.transformers_integration import register_attention
from torch.distributed.tensor import DTensor

from orion.errors import InputError
from orion.models import adapters, checkpoints, training_checkpoints
from orion.models.document import ModelDocument
from orion.models.lora_targets import ALL_LINEAR, LoraUse, check_model_targets
from orion.training import processes
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
    """The model to train, with packed attention: its float32 weights, or adapters on a frozen base.

    The adapters are float32, the base is in ``config.dtype``, without a copy in float32.
    Raises InputError for targets that cannot be adapted, and for a rank that is too large for one.
    """
    if document.adapter is not None and config.keeps_adapter:
        raise InputError(
            f"{document.name} is an adapter on its base, and train.lora.merge_adapter: false would "
            "keep another one on it; set it to true"
        )
    is_lora = config.method == "lora"
    model = _load_base(document, config.dtype if is_lora else "float32")
    model.set_attn_implementation(register_attention())
    model.config.use_cache = False
    training_checkpoints.make_generation_config_savable(model)
    return _add_adapters(model, config) if is_lora else model


def _load_base(document: ModelDocument, dtype: str) -> Any:
    """The model's weights in ``dtype``, an adapter of its own merged into them in float32."""
    base = replace(document, adapter=None)
    if document.adapter is None and dtype != "float32":
        return checkpoints.load_model(replace(base, dtype=dtype))
    model = checkpoints.load_model(base).float()
    if document.adapter is not None:
        model = adapters.merge_adapter(model, document)
    return adapters.cast_weights(model, getattr(torch, dtype))


def _add_adapters(model: Any, config: TrainConfig) -> Any:
    """The model as the frozen base of new adapters."""
    import peft

    lora = config.lora
    assert lora is not None, "orion.config gives the lora block to method lora"
    use = LoraUse("train.lora.target_modules", lora.target_modules, rank=lora.r)
    check_model_targets(use, model)
    torch.manual_seed(config.seed)
    settings = peft.LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=lora.target_modules,
        use_rslora=lora.use_rslora,
        use_dora=lora.use_dora,
        task_type="CAUSAL_LM",
    )
    # peft makes adapters float32 even on a base in bfloat16, its default
    model = peft.get_peft_model(model, settings)
    if lora.use_dora:
        _set_magnitudes(model)
    model.enable_input_require_grads()
    return model


def _set_magnitudes(model: Any) -> None:
    """The length of each row of a DoRA layer's weight, in float32.

    peft rounds it to the base's dtype and compares it with lengths in float32, so that an untrained
    adapter on a base in bfloat16 would already change it.
    """
    for module in model.modules():
        base = getattr(module, "base_layer", None)
        if isinstance(base, torch.nn.Linear):
            magnitude = module.lora_magnitude_vector["default"].weight
            magnitude.data = base.weight.detach().float().norm(dim=1)


def check_reached(model: Any, targets: str | list[str]) -> None:
    """Raise InputError for named targets whose adapters have no gradient after a backward pass.

    Layers of one name count together, since a row reaches some of a model's experts only; so do
    the processes.
    """
    reached: dict[str, bool] = {}
    for name, parameter in model.named_parameters():
        layer, is_adapter, _ = name.partition(".lora_")
        if is_adapter and parameter.requires_grad:
            last = layer.rpartition(".")[2]
            reached[last] = reached.get(last, False) or _has_gradient(parameter)
    everywhere = processes.gather({name for name, is_reached in reached.items() if not is_reached})
    lost = sorted(set.intersection(*everywhere))
    if lost and targets != ALL_LINEAR:
        processes.raise_once(
            InputError(
                f"train.lora.target_modules: no row reaches {', '.join(lost)} of the model, so the "
                "adapters there learn nothing; leave them out"
            )
        )


def _has_gradient(parameter: torch.nn.Parameter) -> bool:
    """Whether a backward pass has reached a weight; one in shards gets zeros otherwise."""
    gradient = parameter.grad
    if isinstance(gradient, DTensor):
        return bool(gradient.to_local().any())
    return gradient is not None


def restore_base(model: Any, document: ModelDocument, config: TrainConfig) -> None:
    """Put the weights of a float32 model back under its adapters where they were rounded to train.

    So that a merged checkpoint is that model's and not the rounded one's.
    """
    if config.method != "lora" or config.keeps_adapter or document.dtype == config.dtype:
        return
    weights = dict(_load_base(document, str(document.dtype)).named_parameters())
    for name, parameter in model.get_base_model().named_parameters():
        exact = weights.get(name.replace(".base_layer.", "."))
        if exact is not None:
            parameter.data = exact.data
