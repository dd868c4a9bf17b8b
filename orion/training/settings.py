"""The configuration keys of a training, typed, and the names of the implementations of kernels."""

from dataclasses import dataclass

# which implementation computes loss and attention; rounding and speed differ, nothing else
KERNELS: dict[str, dict[str, str]] = {
    "auto": {},
    "torch": {"impl": "torch", "attention_impl": "torch"},
    "triton": {"impl": "triton", "memory": "fast", "attention_impl": "triton"},
    "triton-lean": {"impl": "triton", "memory": "lean", "attention_impl": "triton"},
}


@dataclass(frozen=True)
class LoraConfig:
    """The LoRA adapter: rank, alpha, dropout, and whether it is merged into the weights.

    ``use_rslora`` scales it by alpha / sqrt(r) instead of alpha / r; ``use_dora`` trains the size
    of each row of a weight apart from its direction.
    """

    r: int
    alpha: int
    dropout: float
    target_modules: str | list[str]
    merge_adapter: bool = True
    use_rslora: bool = False
    use_dora: bool = False


@dataclass(frozen=True)
class TrainConfig:
    """The configuration keys of the stage; ``lora`` is absent under full fine-tuning.

    ``batch_sequences``: packed sequences per optimiser step. ``max_steps``: optimiser steps; if
    absent, ``epochs`` passes over the packed sequences.
    """

    method: str
    learning_rate: float
    betas: list[float]
    weight_decay: float
    epochs: float
    batch_sequences: int
    warmup_fraction: float
    schedule: str
    max_grad_norm: float
    dtype: str
    gradient_checkpointing: bool
    seed: int
    max_steps: int | None = None
    lora: LoraConfig | None = None

    @property
    def keeps_adapter(self) -> bool:
        """Whether the result is saved as an adapter beside its base."""
        return self.method == "lora" and self.lora is not None and not self.lora.merge_adapter
