"""The block ``train``: how an arm is trained."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from orion.config.sources import Block, Count, Fraction, NonNegative, Positive, ReadExponents


class Lora(Block):
    r: Count = 16
    alpha: Count = 16
    dropout: Fraction = 0.05
    target_modules: str | list[str] = "all-linear"
    merge_adapter: bool = Field(
        True,
        description="merge the adapter into the weights; false saves it beside its base",
    )
    use_rslora: bool = Field(False, description="scale by alpha / sqrt(r) instead of alpha / r")
    use_dora: bool = Field(
        False, description="train the size of each row of a weight apart from its direction"
    )


class Train(Block):
    method: Literal["full", "lora"] = "full"
    lora: Lora = Lora()
    optimizer: Literal["adamw", "adafactor", "adamw_8bit", "muon"] = Field(
        "adamw",
        description="adamw_8bit needs the package bitsandbytes; muon is for method: full",
    )
    learning_rate: Positive
    betas: list[Fraction] = Field([0.9, 0.999], min_length=2, max_length=2)
    weight_decay: NonNegative = 0.0
    epochs: Positive = Field(
        3.0, description="passes over the packed sequences; ignored where max_steps is set"
    )
    max_steps: Count | None = Field(None, description="optimiser steps, the same for every arm")
    batch_sequences: Count = Field(description="packed sequences per optimiser step")
    warmup_fraction: Fraction = 0.1
    schedule: Literal["linear", "cosine", "constant_with_warmup"] = "cosine"
    max_grad_norm: Positive = 1.0
    dtype: Literal["float32", "bfloat16"] = Field(
        "bfloat16",
        description="of the computation and of a LoRA base; what is trained stays float32",
    )
    gradient_checkpointing: bool = False
    loss: Literal["cross_entropy", "dft", "correctness", "dpo"] = Field(
        "cross_entropy",
        description="dft: each target weighted by the model's probability of it; correctness: each "
        "document by that of its targets; dpo: of pairs",
    )
    key_step_weight: Positive | None = Field(
        None,
        description="of the tokens in which a text differs from the student's wrong attempt; the "
        "others have 1",
    )
    dpo_beta: Positive | None = Field(
        None, description="of loss: dpo, how much leaving the student as it was counts; null: 0.1"
    )
    dpo_nll_weight: NonNegative | None = Field(
        None, description="of loss: dpo, weight of the preferred text's own loss; null: 1"
    )
    loss_average: Literal["token", "document"] = Field(
        "token", description="what counts equally in the loss of a step: target tokens or documents"
    )
    neftune_noise_alpha: Positive | None = Field(
        None, description="size of the noise on the embeddings (NEFTune); null: none"
    )
    validation_fraction: Annotated[float, Field(gt=0, lt=1), ReadExponents] | None = Field(
        None, description="part of the problems whose rows are held out for a validation loss"
    )
    validation_steps: Count | None = Field(
        None, description="optimiser steps between validations; null: one pass over the sequences"
    )
    keep_best: bool = Field(
        False, description="publish the weights of the lowest validation loss, not the last ones"
    )

    @model_validator(mode="after")
    def _check_optimizer(self) -> "Train":
        if self.optimizer == "muon" and self.method == "lora":
            raise ValueError("optimizer: muon is for method: full; set adamw for method: lora")
        return self

    @model_validator(mode="after")
    def _check_loss(self) -> "Train":
        if self.loss != "dpo":
            named = "dpo_beta" if self.dpo_beta is not None else "dpo_nll_weight"
            if getattr(self, named) is not None:
                raise ValueError(f"{named} is for loss: dpo, and loss is {self.loss}; drop it")
        elif self.validation_fraction is not None:
            raise ValueError(
                "loss: dpo has no validation loss; set validation_fraction: null for this arm, "
                "validation_steps: null and keep_best: false"
            )
        elif self.loss_average != "token":
            raise ValueError(
                "loss: dpo is an average over pairs; set loss_average: token for this arm, which "
                "it does not read"
            )
        return self

    @model_validator(mode="after")
    def _check_validation(self) -> "Train":
        named = "validation_steps" if self.validation_steps is not None else "keep_best"
        if self.validation_fraction is None and (self.validation_steps or self.keep_best):
            raise ValueError(
                f"{named} needs validation_fraction, the part of the problems held out"
            )
        return self
