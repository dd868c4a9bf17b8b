"""The configuration keys of a training, typed, and the names of the implementations of kernels."""

import importlib.util
from dataclasses import dataclass

from orion.errors import InputError

# which implementation computes loss and attention; rounding and speed differ, nothing else
KERNELS: dict[str, dict[str, str]] = {
    "auto": {},
    "torch": {"impl": "torch", "attention_impl": "torch"},
    "triton": {"impl": "triton", "memory": "fast", "attention_impl": "triton"},
    "triton-lean": {"impl": "triton", "memory": "lean", "attention_impl": "triton"},
}

# train.loss: of each target token the cross-entropy, or this times the model's own probability of
# the token (DFT), or of its whole document, as the geometric mean over the document's targets; or
# that of pairs of documents (`orion.training.preference`)
CROSS_ENTROPY, DFT, CORRECTNESS, DPO = "cross_entropy", "dft", "correctness", "dpo"
LOSSES = (CROSS_ENTROPY, DFT, CORRECTNESS, DPO)

# what several processes spread over them: nothing, or weights, gradients and optimiser states
SHARDING = ("none", "full")

# train.optimizer → its name in the transformers library; None is the library's default, AdamW,
# which muon has for what is no matrix of a hidden layer
OPTIMIZERS = {
    "adamw": None,
    "adafactor": "adafactor",
    "adamw_8bit": "adamw_bnb_8bit",
    "muon": None,
}


def check_optimizer(name: str, key: str = "train.optimizer", method: str = "full") -> None:
    """Raise InputError for an optimiser that cannot train here, or not by this method."""
    if name not in OPTIMIZERS:
        raise InputError(f"{key} = {name}: choose one of {', '.join(OPTIMIZERS)}")
    if name == "adamw_8bit" and importlib.util.find_spec("bitsandbytes") is None:
        raise InputError(
            f"{key} = {name} needs the package bitsandbytes, which is not installed in this "
            "environment; install it (`pip install bitsandbytes`), or set adamw or adafactor"
        )
    if name == "muon":
        if method != "full":
            raise InputError(f"{key} = {name} is for method: full; set adamw for method: {method}")
        # torch is slow to import, and `muon` alone asks for it
        import torch

        if not hasattr(torch.optim, "Muon"):
            raise InputError(
                f"{key} = {name} needs torch 2.9 or newer, and this environment has "
                f"{torch.__version__}; install it, or set adamw or adafactor"
            )


def check_loss(name: str) -> None:
    """Raise InputError for a loss that is none of LOSSES."""
    if name not in LOSSES:
        raise InputError(f"train.loss = {name}: choose one of {', '.join(LOSSES)}")


def check_sharding(config: "TrainConfig", sharding: str, processes: int) -> None:
    """Raise InputError where the model cannot be spread over the processes."""
    if sharding == "none":
        return
    key = f"sharding = {sharding} (the resource of the rule train)"
    if processes == 1:
        raise InputError(f"{key} needs several processes (resources processes and nodes)")
    if config.optimizer != "adamw":
        raise InputError(
            f"{key} trains with adamw only: train.optimizer = {config.optimizer} looks at whole "
            "weights, or has states that cannot be split; set sharding = none or adamw"
        )


def split_batch(batch: int, micro_batch: int, processes: int) -> tuple[int, int]:
    """The micro-batch of each process, and how many of them are an optimiser step.

    ``micro_batch`` is lowered to what a process has of a step. Raises InputError where the
    processes, or the micro-batch on each of them, do not divide ``batch``.
    """
    if batch % processes:
        raise InputError(
            f"{processes} processes (resources processes and nodes of the rule train) do not "
            f"divide train.batch_sequences = {batch}, the sequences of an optimiser step; choose "
            f"a divisor of {batch}, or a multiple of {processes} for train.batch_sequences"
        )
    micro_batch = min(micro_batch, batch // processes)
    if batch % (micro_batch * processes):
        several = f" on each of {processes} processes" if processes > 1 else ""
        what = f" of {batch // processes}" if processes > 1 else ""
        raise InputError(
            f"micro_batch = {micro_batch}{several} does not divide train.batch_sequences = "
            f"{batch}; choose a divisor{what}"
        )
    return micro_batch, batch // (micro_batch * processes)


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
class Preference:
    """The keys of the loss of pairs, see ``orion.training.preference``.

    ``beta``: how much leaving the reference counts. ``nll_weight``: of the preferred text's own
    negative log-likelihood.
    """

    beta: float = 0.1
    nll_weight: float = 1.0


@dataclass(frozen=True)
class TrainConfig:
    """The configuration keys of the stage; ``lora`` is absent under full fine-tuning.

    ``batch_sequences``: packed sequences per optimiser step, of all processes together.
    ``max_steps``: optimiser steps; if absent, ``epochs`` passes over the packed sequences.
    ``loss``: one of LOSSES.
    ``loss_average``: over target tokens, or over documents, each of which then counts equally.
    ``dpo_beta`` and ``dpo_nll_weight``: of the loss of pairs, which is an average over pairs.
    ``neftune_noise_alpha``: of noise on the embeddings. ``validation_steps``: optimiser steps
    between validations where rows are held out; if absent, one pass over the packed sequences.
    ``keep_best``: whether the result is that of the lowest validation loss. ``key_step_weight``: of
    the tokens that are marked in the packed rows, in proportion to the others of their document.
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
    optimizer: str = "adamw"
    loss_average: str = "token"
    loss: str = CROSS_ENTROPY
    neftune_noise_alpha: float | None = None
    validation_steps: int | None = None
    keep_best: bool = False
    key_step_weight: float | None = None
    dpo_beta: float = Preference.beta
    dpo_nll_weight: float = Preference.nll_weight

    @property
    def average(self) -> str:
        """What the loss of an optimiser step is divided by the number of."""
        return "pair" if self.loss == DPO else self.loss_average

    @property
    def preference(self) -> Preference | None:
        """The keys of the loss of pairs; None for the other losses."""
        return Preference(self.dpo_beta, self.dpo_nll_weight) if self.loss == DPO else None

    @property
    def keeps_adapter(self) -> bool:
        """Whether the result is saved as an adapter beside its base."""
        return self.method == "lora" and self.lora is not None and not self.lora.merge_adapter
