"""The head of a transformers model: its weight, its rule for logits, and proof that both are right.

logits = softcap * tanh(z / softcap), z = scale * (hidden @ weight.T + bias); without a softcap, z.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# configuration keys that scale logits, and whether they multiply or divide
SCALES = {
    "logit_scale": "multiplies",
    "lm_head_multiplier": "multiplies",
    "output_multiplier": "multiplies",
    "logits_scaling": "divides",
}
# the model types whose logits_scaling multiplies
MULTIPLYING_TYPES = {"hyperclovax", "hyperclovax_vision_v2"}
# largest relative error of the head's logits, by the dtype in which the model computed them
TOLERANCE = {torch.bfloat16: 8e-3, torch.float16: 1e-3, torch.float32: 1e-5, torch.float64: 1e-5}
TF32_TOLERANCE = 1e-3

_CHECKED: WeakKeyDictionary[nn.Module, tuple[int, float, float | None]] = WeakKeyDictionary()


@dataclass(frozen=True)
class Head:
    """A linear head and its rule.

    The weight is read when it is used: FSDP puts another tensor in its place during forward.
    """

    module: nn.Linear
    scale: float
    softcap: float | None

    @property
    def weight(self) -> Tensor:
        """(vocab, hidden_size)."""
        return self.module.weight

    @property
    def bias(self) -> Tensor | None:
        """(vocab,), or None."""
        bias: Tensor | None = self.module.bias
        return bias

    def scale_hidden(self, hidden: Tensor) -> Tensor:
        """Hidden states whose plain logits are the scaled ones, up to `scaled_bias`."""
        return hidden if self.scale == 1 else hidden * self.scale

    def scaled_bias(self) -> Tensor | None:
        return self.bias if self.bias is None or self.scale == 1 else self.bias * self.scale

    def compute_logits(self, hidden: Tensor) -> Tensor:
        """(..., vocab), as the model computes them."""
        hidden = hidden.to(self.weight.dtype)
        logits = F.linear(hidden, self.weight, self.bias) * self.scale
        return logits if self.softcap is None else torch.tanh(logits / self.softcap) * self.softcap


def read_config(language_model: Any, name: str) -> Any:
    """A key of the model's configuration or, where that has none, of its text configuration."""
    config = language_model.config
    found = getattr(config, name, None)
    if found is None and hasattr(config, "get_text_config"):
        found = getattr(config.get_text_config(decoder=True), name, None)
    return found


def find_head(language_model: Any) -> Head:
    """The head of a causal language model.

    Raises ValueError for a head that is no plain linear layer, for an adapter on it, and for an
    adapter on an embedding that shares its weight.
    """
    head = language_model.get_output_embeddings()
    # peft keeps a fully trained copy of a head in modules_to_save behind a wrapper
    if hasattr(head, "modules_to_save") and hasattr(head, "active_adapters"):
        head = head.modules_to_save[head.active_adapters[0]]
    if hasattr(head, "base_layer"):
        name = _name_of(language_model, head)
        raise ValueError(
            f'there is an adapter on the head "{name}", which this loss does not reproduce; leave '
            f'"{name}" out of target_modules (LoRA then trains the layers, the head stays frozen)'
        )
    if type(head) is not nn.Linear:
        raise ValueError(
            f"the head must be a plain torch.nn.Linear, but is {type(head).__name__}; "
            "leave it out of every adapter"
        )
    embedding = language_model.get_input_embeddings()
    inner = getattr(embedding, "base_layer", getattr(embedding, "original_module", None))
    if inner is not None and getattr(inner, "weight", None) is head.weight:
        name = _name_of(language_model, embedding)
        raise ValueError(
            f'there is an adapter on the embedding "{name}", whose weight is also the head '
            "(tie_word_embeddings): trained, it changes the embedding alone, merged, the head "
            f'too; leave "{name}" out of target_modules and modules_to_save'
        )
    scale = _read_scale(language_model)
    softcap = read_config(language_model, "final_logit_softcapping")
    return Head(head, scale, softcap or None)


def check_head(language_model: nn.Module, head: Head, hidden: Tensor, logits: Tensor) -> None:
    """Compare the head's logits of the last position with those that the model computed.

    Done once per model object and rule, since it waits for the device; not while compiling.

    Args:
        language_model: the model, which remembers that it was checked as long as it lives.
        head: its head.
        hidden: (batch, length, hidden_size), the last hidden states.
        logits: (batch, 1, vocab) of the last position.

    Raises ValueError if they differ by more than rounding.

    """
    key = (id(head.module), head.scale, head.softcap)
    if torch.compiler.is_compiling() or _CHECKED.get(language_model) == key:
        return
    name = type(language_model).__name__
    with torch.no_grad(), torch.autocast(hidden.device.type, enabled=False):
        ours = head.compute_logits(hidden[:, -1:])
        if ours.shape != logits[:, -1:].shape:
            raise ValueError(
                f"{name} returns logits of shape {tuple(logits.shape)}, "
                f"but its head makes {tuple(ours.shape)}"
            )
        error, tolerance, finite = _compare(ours, logits.detach()[:, -1:])
    if not finite:
        # a model that has diverged says nothing about its head: to be compared another time
        return
    if not error <= tolerance:
        rule = f"scale {head.scale:g}, softcap {head.softcap}"
        raise ValueError(
            f"{name} does not compute its logits from the last hidden states and the weight of its "
            f"head ({rule}, read from its configuration): they differ by {error:.1e}, relative to "
            "their size, so the loss would be another one. This model is not supported"
        )
    _CHECKED[language_model] = key


def _compare(ours: Tensor, theirs: Tensor) -> tuple[float, float, bool]:
    """Relative error, its tolerance, and whether both are finite."""
    tolerance = TOLERANCE[theirs.dtype]
    if theirs.dtype == torch.float32:
        # a wrapper may have widened what the model computed in half precision
        for dtype in (torch.bfloat16, torch.float16):
            if bool((theirs.to(dtype) == theirs).all()):
                tolerance = max(tolerance, TOLERANCE[dtype])
        if theirs.is_cuda and torch.get_float32_matmul_precision() != "highest":
            tolerance = max(tolerance, TF32_TOLERANCE)
    tolerance = max(tolerance, TOLERANCE[ours.dtype])
    wide = theirs.double()
    error, size = float((ours.double() - wide).norm()), float(wide.norm())
    return error / max(size, 1e-30), tolerance, math.isfinite(error) and math.isfinite(size)


def _read_scale(language_model: Any) -> float:
    scale = 1.0
    for name, effect in SCALES.items():
        value = read_config(language_model, name)
        if not isinstance(value, int | float):
            continue  # absent, or a rule in words: the comparison with the model's logits decides
        if effect == "divides" and read_config(language_model, "model_type") in MULTIPLYING_TYPES:
            effect = "multiplies"
        scale = scale * value if effect == "multiplies" else scale / value
    return scale


def _name_of(language_model: nn.Module, module: nn.Module) -> str:
    names = (name for name, other in language_model.named_modules() if other is module)
    return next(names, type(module).__name__).rpartition(".")[2]
