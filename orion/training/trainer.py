"""transformers.Trainer with the loss and the attention of ``orion_kernels`` over packed rows."""

import math
from pathlib import Path
from typing import Any

import torch
from orion_kernels import Packing
from orion_kernels.transformers_integration import causal_lm_loss
from transformers import PrinterCallback, Trainer, TrainingArguments

from orion.errors import InputError
from orion.models import training_checkpoints
from orion.training.loading import check_reached
from orion.training.noise import embedding_noise
from orion.training.packed_rows import collate_packed
from orion.training.settings import KERNELS, OPTIMIZERS, TrainConfig

SAVE_EVERY_STEPS = 100
# what causal_lm_loss takes of a collated micro-batch
ROW = ("input_ids", "position_ids", "labels", "valid_index", "token_weights")
LOGGED = (
    "step",
    "loss",
    "learning_rate",
    "grad_norm",
    "tokens",
    "trained_tokens",
    "accuracy",
    "entropy",
    "validation_loss",
)


class PackedTrainer(Trainer):
    """Trainer with the fused linear cross-entropy over packed documents.

    ``kernels``: a key of KERNELS. ``noise_alpha``: of ``embedding_noise``. ``keep_best``: whether
    the weights of the lowest validation loss are kept. ``targets``: of the adapters, each of which
    the first step has to reach. Raises InputError in the step whose loss or gradient norm is not
    finite.
    """

    def __init__(
        self,
        *args: Any,
        kernels: str = "auto",
        noise_alpha: float | None = None,
        keep_best: bool = False,
        targets: str | list[str] | None = None,
        **kwargs: Any,
    ):
        super().__init__(*args, **kwargs)
        # the loss is already divided by what is counted in the whole optimiser step
        self.model_accepts_loss_kwargs = True
        self._noise_alpha, self._keep_best, self._targets = noise_alpha, keep_best, targets
        self._kernels: dict[str, Any] = KERNELS[kernels]
        self._sums: dict[str, Any] = dict.fromkeys(("accuracy", "entropy", "trained_tokens"), 0)
        # the step of the newest checkpoint, until the step behind it shows that it is good
        self.unproven_step: int | None = None
        # it prints every step on standard output
        self.remove_callback(PrinterCallback)

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """The loss of one micro-batch, divided by the target tokens of the optimiser step.

        With token_weights among the inputs, by its documents that have a target.
        """
        loss, metrics = self._forward(model, inputs, num_items_in_batch)
        # kept on the device until they are logged
        self._sums["trained_tokens"] += inputs["valid_index"].numel()
        self._sums["accuracy"] += metrics.accuracy.sum(dtype=torch.float64)
        self._sums["entropy"] += metrics.entropy.sum(dtype=torch.float64)
        return (loss, None) if return_outputs else loss

    def _forward(self, model: Any, inputs: dict[str, Any], normalizer: Any) -> tuple[Any, Any]:
        """The loss of one micro-batch and its metrics."""
        row = {key: inputs[key] for key in ROW if key in inputs}
        noise = embedding_noise(self.model, self._noise_alpha, inputs["seq_lengths"])
        packing = Packing.from_seq_lengths(inputs["seq_lengths"], device=row["labels"].device)
        # accelerate puts autocast around the model's own forward only, and the loss's products with
        # the head are as large as those of several layers
        with self.accelerator.autocast(), noise:
            return causal_lm_loss(
                model, **row, packing=packing, normalizer=normalizer, **self._kernels
            )

    def evaluate(self, *_args: Any, **_kwargs: Any) -> dict[str, float]:
        """Log the loss of the rows that are held out, and keep the weights if it is the lowest.

        It is an average of the same kind as the training loss, without dropout and noise.
        """
        model: Any = self.model
        was_training = model.training
        model.eval()
        loss = self._validation_loss()
        model.train(was_training)
        step = self.state.global_step
        if not math.isfinite(loss):
            self._stop(f"stopped at step {step}", [f"the validation loss is {loss}"], bad=step)
        self.log({"validation_loss": loss})
        if self._keep_best and self.is_world_process_zero():
            training_checkpoints.keep_if_best(model, Path(str(self.args.output_dir)), step, loss)
        metrics = {"eval_loss": loss}
        # else the end of the pass would ask for the same validation once more
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        return metrics

    @torch.no_grad()
    def _validation_loss(self) -> float:
        rows: Any = self.eval_dataset
        size = int(self.args.per_device_train_batch_size)
        total, count = 0.0, 0
        for start in range(0, len(rows), size):
            chosen = [rows[i] for i in range(start, min(start + size, len(rows)))]
            batch = self.data_collator(chosen)
            marks = batch.get("trained_documents")
            count += batch["valid_index"].numel() if marks is None else int(marks.ne(-100).sum())
            loss, _ = self._forward(self.model_wrapped, self._prepare_inputs(batch), 1.0)
            total += float(loss)
        return total / max(1, count)

    def training_step(self, *args: Any, **kwargs: Any) -> Any:
        """The library's step on a micro-batch; after the first, whether it reached all targets."""
        loss = super().training_step(*args, **kwargs)
        if self._targets is not None:
            targets, self._targets = self._targets, None
            check_reached(self.model, targets)
        return loss

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: Any) -> Any:
        """The divisor of an optimiser step's loss: its target tokens, or its trained documents."""
        if batch_samples and "trained_documents" in batch_samples[0]:
            # the library counts what is not ignored, over all devices
            marks = [batch["trained_documents"] for batch in batch_samples]
            batch_samples = [{"labels": each, "shift_labels": each} for each in marks]
        return super()._get_num_items_in_batch(batch_samples, device)

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        """No step beyond the last one, which the library would add to a run that ended."""
        if self.state.global_step < self.state.max_steps:
            super()._run_epoch(*args, **kwargs)  # type: ignore[no-untyped-call]

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "loss" in logs and self._sums["trained_tokens"]:
            count = self._sums["trained_tokens"]
            logged = (entry.get("trained_tokens") for entry in reversed(self.state.log_history))
            before = next((tokens for tokens in logged if tokens is not None), 0)
            logs = {
                **logs,
                "accuracy": float(self._sums["accuracy"]) / count,
                "entropy": float(self._sums["entropy"]) / count,
                "trained_tokens": before + count,
                "tokens": int(self.state.num_input_tokens_seen),
            }
            self._sums = dict.fromkeys(self._sums, 0)
            self._check_step(logs)
        super().log(logs, start_time)

    def _check_step(self, logs: dict[str, float]) -> None:
        """Stop where a logged number is not finite; else the checkpoint before this step is good.

        The library logs before it saves, so no checkpoint is written behind such a step.
        """
        step = self.state.global_step
        wrong = [f"{key} is {logs[key]}" for key in LOGGED if not math.isfinite(logs.get(key, 0.0))]
        if wrong:
            self._stop(f"stopped at step {step} of {self.args.max_steps}", wrong, bad=step - 1)
        elif self.is_world_process_zero() and self.unproven_step == step - 1:
            training_checkpoints.keep_newest_checkpoints(Path(str(self.args.output_dir)))

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Save, and keep the checkpoint before this one: the next step shows whether it is good.

        Raises InputError where the disk refuses to hold it.
        """
        step, work = self.state.global_step, Path(str(self.args.output_dir))
        with training_checkpoints.explain_failed_write(work / f"checkpoint-{step}", work):
            super()._save_checkpoint(model, trial)  # type: ignore[no-untyped-call]
        self.unproven_step = step
        if self.is_world_process_zero():
            training_checkpoints.keep_newest_checkpoints(work, 2)

    def check_result(self) -> None:
        """Raise InputError where the last step has spoiled the model: its loss or a weight.

        No step follows the last one, so the first packed sequence is read once more.
        """
        model: Any = self.model
        model.eval()
        batch = collate_packed([self.train_dataset[0]])  # type: ignore[index]
        targets = max(1, batch["valid_index"].numel())
        with torch.no_grad():
            loss = self.compute_loss(
                self.model_wrapped, self._prepare_inputs(batch), num_items_in_batch=targets
            )
        name = training_checkpoints.first_non_finite_weight(model)
        wrong = [] if math.isfinite(float(loss)) else [f"the loss is {float(loss)}"]
        wrong += [] if name is None else [f"{name} is not finite"]
        if wrong:
            last = self.state.global_step
            self._stop(f"ended with step {last}, but spoiled the model", wrong, bad=last)

    def _stop(self, what: str, wrong: list[str], *, bad: int) -> None:
        """Raise InputError that names the last good checkpoint, one of a step before ``bad``."""
        work = Path(str(self.args.output_dir))
        good = training_checkpoints.last_good_checkpoint(work, bad)
        place = f"the last good checkpoint is {good}" if good else "there is no good checkpoint yet"
        raise InputError(
            f"the training {what}: {', '.join(wrong)}. Nothing is published; {place}. Lower "
            f"train.learning_rate ({self.args.learning_rate:g}), raise train.warmup_fraction, or "
            "look at the rows (preview.jsonl of the arm)"
        )


def training_arguments(
    config: TrainConfig, work: str, micro_batch: int, sequences: int, *, validates: bool = False
) -> TrainingArguments:
    """The stage's keys as TrainingArguments.

    ``sequences``: packed rows to train on. ``validates``: whether there are rows held out.
    Raises InputError where the micro-batch does not divide the batch.
    """
    batch = config.batch_sequences
    micro_batch = min(micro_batch, batch)
    if batch % micro_batch:
        raise InputError(
            f"micro_batch = {micro_batch} does not divide train.batch_sequences = {batch}; "
            "choose a divisor"
        )
    steps_per_epoch = -(-sequences // batch)
    steps = config.max_steps or max(1, round(config.epochs * steps_per_epoch))
    return TrainingArguments(
        output_dir=work,
        per_device_train_batch_size=micro_batch,
        gradient_accumulation_steps=batch // micro_batch,
        max_steps=steps,
        optim=OPTIMIZERS[config.optimizer] or TrainingArguments.optim,
        learning_rate=config.learning_rate,
        adam_beta1=config.betas[0],
        adam_beta2=config.betas[1],
        weight_decay=config.weight_decay,
        warmup_steps=round(config.warmup_fraction * steps),
        lr_scheduler_type=config.schedule,
        max_grad_norm=config.max_grad_norm,
        bf16=config.dtype == "bfloat16",
        gradient_checkpointing=config.gradient_checkpointing,
        seed=config.seed,
        data_seed=config.seed,
        logging_steps=1,
        logging_strategy="steps",
        # a NaN is an error (PackedTrainer) and not left out of the log
        logging_nan_inf_filter=False,
        # the library adds a validation behind the last step
        eval_strategy="steps" if validates else "no",
        eval_steps=config.validation_steps or steps_per_epoch,
        save_steps=SAVE_EVERY_STEPS,
        include_num_input_tokens_seen="all",
        remove_unused_columns=False,
        report_to=[],
        use_cpu=not torch.cuda.is_available(),
        # Report prints the progress
        disable_tqdm=True,
    )
