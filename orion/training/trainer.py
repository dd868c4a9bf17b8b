"""transformers.Trainer with the loss and the attention of ``orion_kernels`` over packed rows."""

import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from orion_kernels import Packing
from orion_kernels.transformers_integration import causal_lm_loss
from transformers import PrinterCallback, Trainer

from orion.errors import InputError
from orion.models import training_checkpoints
from orion.training import processes
from orion.training.loading import check_reached
from orion.training.muon import MuonWithAdamW
from orion.training.noise import embedding_noise
from orion.training.packed_rows import (
    IGNORED,
    PADDING,
    PaddedOrder,
    average_documents,
    collate_packed,
)
from orion.training.preference import weigh_pairs
from orion.training.settings import CORRECTNESS, CROSS_ENTROPY, DFT, KERNELS, Preference
from orion.training.sharding import gather_trained

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
    "preferred",
    "validation_loss",
)


class PackedTrainer(Trainer):
    """Trainer with the fused linear cross-entropy over packed documents.

    ``kernels``: a key of KERNELS. ``optimizer``: one of OPTIMIZERS. ``noise_alpha``: of
    ``embedding_noise``. ``keep_best``: whether the weights of the lowest validation loss are kept.
    ``targets``: of the adapters, each of which the first step has to reach. ``loss``: one of
    LOSSES; ``preference``: the keys of that of pairs, None for the others. Raises InputError in
    the step whose loss or gradient norm is not finite.
    """

    def __init__(
        self,
        *args: Any,
        kernels: str = "auto",
        optimizer: str = "adamw",
        noise_alpha: float | None = None,
        keep_best: bool = False,
        targets: str | list[str] | None = None,
        loss: str = CROSS_ENTROPY,
        preference: Preference | None = None,
        **kwargs: Any,
    ):
        super().__init__(*args, **kwargs)
        self._loss, self.preference = loss, preference
        # the loss is already divided by what is counted in the whole optimiser step
        self.model_accepts_loss_kwargs = True
        self._noise_alpha, self._keep_best, self._targets = noise_alpha, keep_best, targets
        self._kernels: dict[str, Any] = KERNELS[kernels]
        self._is_muon = optimizer == "muon"
        summed = ("accuracy", "entropy", "trained_tokens", "pairs", "preferred")
        self._sums: dict[str, Any] = dict.fromkeys(summed, 0)
        self._order: PaddedOrder | None = None
        # the step of the newest checkpoint, until the step behind it shows that it is good
        self.unproven_step: int | None = None
        # it prints every step on standard output
        self.remove_callback(PrinterCallback)

    def create_optimizer(self, model: Any = None) -> Any:
        """The library's, or Muon, which is none of them."""
        if self._is_muon and self.optimizer is None:
            of: Any = self.model if model is None else model
            _, adamw = self.get_optimizer_cls_and_kwargs(self.args, of)
            decay = set(self.get_decay_parameter_names(of))
            self.optimizer = MuonWithAdamW(
                of, decay=decay, weight_decay=self.args.weight_decay, **adamw
            )
        return super().create_optimizer(model)

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        """With several processes, the order of one process, in equal parts for each of them."""
        if self.args.world_size == 1:
            return super()._get_train_sampler(train_dataset)
        rows: Any = self.train_dataset
        size = self.args.per_device_train_batch_size * self.args.world_size
        self._order = PaddedOrder(len(rows), size, int(self.args.data_seed or 0))
        return self._order

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """The loss of one micro-batch, divided by the target tokens of the optimiser step.

        With token_weights among the inputs, by its documents that have a target; that of pairs, by
        its pairs. Several processes average their gradients, so that theirs is multiplied by their
        number; padding counts zero.
        """
        missing: Any = 0
        if self._loss in (DFT, CORRECTNESS) and model.training:
            inputs = self._weigh_by_probability(model, inputs)
        elif self.preference is not None and model.training:
            inputs, missing = self._weigh_by_preference(model, inputs, self.preference)
        loss, metrics = self._forward(model, inputs, num_items_in_batch)
        if self.preference is not None and model.training:
            loss = loss + (missing / num_items_in_batch).to(loss.dtype)
        if self.args.world_size > 1:
            loss = loss * (0 if "padding" in inputs else self.args.world_size)
        # kept on the device until they are logged
        self._sums["trained_tokens"] += inputs["valid_index"].numel()
        self._sums["accuracy"] += metrics.accuracy.sum(dtype=torch.float64)
        self._sums["entropy"] += metrics.entropy.sum(dtype=torch.float64)
        return (loss, None) if return_outputs else loss

    def _weigh_by_probability(self, model: Any, inputs: dict[str, Any]) -> dict[str, Any]:
        """The micro-batch with the model's own probability of each target as its weight.

        The loss of DFT (arXiv 2508.05629): its gradient does not pass through the weight. For
        CORRECTNESS the weight is the geometric mean over the targets of the document, so that
        texts in which chain and answer fit what the model knows count more (after the idea of
        CoPeD, arXiv 2509.05602; the weight is ours).
        """
        labels = inputs["labels"]  # (1, tokens)
        is_target = labels[0].ne(IGNORED)
        logprob = self.read_ahead(model, inputs).float().where(is_target, 0.0)
        if self._loss == CORRECTNESS:
            packing = Packing.from_seq_lengths(inputs["seq_lengths"], device=labels.device)
            logprob = average_documents(logprob, is_target, packing)
        weights = (logprob.exp() * is_target)[None]
        if "token_weights" in inputs:
            weights = weights * inputs["token_weights"]
        return {**inputs, "token_weights": weights}

    def _weigh_by_preference(
        self, model: Any, inputs: dict[str, Any], preference: Preference
    ) -> tuple[dict[str, Any], torch.Tensor]:
        """The micro-batch with the weights of its pairs, and what its loss lacks, a constant."""
        found = weigh_pairs(self.read_ahead(model, inputs), inputs, preference)
        self._sums["pairs"] += found.margins.numel()
        self._sums["preferred"] += found.margins.gt(0).sum()
        return {**inputs, "token_weights": found.token_weights}, found.missing

    def read_ahead(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        """The log-probability of each target, (tokens,), aligned with labels; 0 for the others.

        This reading has the dropout and the noise of the one that is trained on behind it.
        """
        labels = inputs["labels"]  # (1, tokens)
        devices = [labels.device] if labels.device.type == "cuda" else []
        with torch.random.fork_rng(devices), torch.no_grad():
            _, metrics = self._forward(model, inputs, 1.0)
        # the metrics are aligned with the position that predicts
        return metrics.logprob.roll(1)

    def _forward(self, model: Any, inputs: dict[str, Any], normalizer: Any) -> tuple[Any, Any]:
        """The loss of one micro-batch and its metrics."""
        row = {key: inputs[key] for key in ROW if key in inputs}
        noise = embedding_noise(self.model, self._noise_alpha, inputs["seq_lengths"])
        packing = Packing.from_seq_lengths(inputs["seq_lengths"], device=row["labels"].device)
        # accelerate puts autocast around the model's own forward only, and the loss's products with
        # the head are as large as those of several layers
        with self.accelerator.autocast(), noise:
            return self._call_loss(
                model, **row, packing=packing, normalizer=normalizer, **self._kernels
            )

    def _call_loss(self, model: Any, **inputs: Any) -> Any:
        return causal_lm_loss(model, **inputs)

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
        if self._keep_best:
            processes.agree(lambda: self._keep_if_best(step, loss))
        metrics = {"eval_loss": loss}
        # else the end of the pass would ask for the same validation once more
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        return metrics

    def _keep_if_best(self, step: int, loss: float) -> None:
        work, first = Path(str(self.args.output_dir)), self.is_world_process_zero()
        if processes.gather(first and training_checkpoints.is_best(work, loss))[0]:
            weights = gather_trained(self.model)
            if first:
                training_checkpoints.keep_best(weights, work, step, loss)

    @torch.no_grad()
    def _validation_loss(self) -> float:
        """The loss of the rows that are held out, each process taking its part of them."""
        rows: Any = self.eval_dataset
        size = int(self.args.per_device_train_batch_size)
        total, count = 0.0, 0.0
        first, everywhere = size * self.args.process_index, size * self.args.world_size
        for start in range(first, first + len(rows), everywhere):
            # as many times in each process, in the end with padding
            chosen = [rows[i] for i in range(start, min(start + size, len(rows)))] or [PADDING]
            batch = self.data_collator(chosen)
            marks = batch.get("trained_documents")
            count += batch["valid_index"].numel() if marks is None else int(marks.ne(-100).sum())
            loss, _ = self._forward(self.model, self._prepare_inputs(batch), 1.0)
            total += float(loss)
        total, count = processes.sum_up([total, count], self.args.device)
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
        if self._order is not None:
            # behind the steps that a resumed run leaves out, accelerate forgets the pass
            epoch = kwargs["epoch"] if "epoch" in kwargs else args[1]
            self._order.set_epoch(epoch)
        if self.state.global_step < self.state.max_steps:
            super()._run_epoch(*args, **kwargs)  # type: ignore[no-untyped-call]

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "loss" in logs:
            sums = [float(self._sums[key]) for key in self._sums]
            self._sums = dict(
                zip(self._sums, processes.sum_up(sums, self.args.device), strict=True)
            )
        if "loss" in logs and self._sums["trained_tokens"]:
            count = int(self._sums["trained_tokens"])
            logged = (entry.get("trained_tokens") for entry in reversed(self.state.log_history))
            before = next((tokens for tokens in logged if tokens is not None), 0)
            logs = {
                **logs,
                "accuracy": float(self._sums["accuracy"]) / count,
                "entropy": float(self._sums["entropy"]) / count,
                "trained_tokens": before + count,
                "tokens": int(self.state.num_input_tokens_seen),
            }
            if self._sums["pairs"]:
                logs["preferred"] = float(self._sums["preferred"]) / self._sums["pairs"]
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

    def _track_num_input_tokens(self, inputs: dict[str, Any]) -> None:
        """The library's count of tokens, without padding."""
        if "padding" in inputs:
            inputs = {"input_ids": inputs["input_ids"][:, :0]}
        super()._track_num_input_tokens(inputs)  # type: ignore[no-untyped-call]

    def _save_rng_state(self, output_dir: str) -> None:
        """The library's; each of several processes has saved its state before."""
        if self.args.world_size == 1:
            super()._save_rng_state(output_dir)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Save, and keep the checkpoint before this one: the next step shows whether it is good.

        Raises InputError where the disk refuses to hold it.
        """
        step, work = self.state.global_step, Path(str(self.args.output_dir))
        folder = work / f"checkpoint-{step}"

        def save(part: Callable[[], None], *, shared: bool = False) -> None:
            with training_checkpoints.explain_failed_write(folder, work, shared=shared):
                part()

        if self.args.world_size > 1:
            # what makes a checkpoint complete is written when all of them are there
            own = super()._save_rng_state
            try:
                processes.agree(lambda: save(lambda: own(str(folder)), shared=True))
            except InputError:
                # the first process comes here when all have ended their parts
                shutil.rmtree(folder, ignore_errors=True)
                raise
        whole = super()._save_checkpoint
        processes.agree(lambda: save(lambda: whole(model, trial)))  # type: ignore[no-untyped-call]
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
            loss = self.compute_loss(model, self._prepare_inputs(batch), num_items_in_batch=targets)
        names = processes.gather(training_checkpoints.first_non_finite_weight(model))
        name = next((name for name in names if name is not None), None)
        wrong = [] if math.isfinite(float(loss)) else [f"the loss is {float(loss)}"]
        wrong += [] if name is None else [f"{name} is not finite"]
        if wrong:
            last = self.state.global_step
            self._stop(f"ended with step {last}, but spoiled the model", wrong, bad=last)

    def _stop(self, what: str, wrong: list[str], *, bad: int) -> None:
        """Raise InputError that names the last good checkpoint, one of a step before ``bad``.

        Every process comes here, since what they look at is the same in each.
        """
        work = Path(str(self.args.output_dir))
        first = self.is_world_process_zero()
        good = training_checkpoints.last_good_checkpoint(work, bad) if first else None
        place = f"the last good checkpoint is {good}" if good else "there is no good checkpoint yet"
        processes.raise_once(
            InputError(
                f"the training {what}: {', '.join(wrong)}. Nothing is published; {place}. Lower "
                f"train.learning_rate ({self.args.learning_rate:g}), raise train.warmup_fraction, "
                "or look at the rows (preview.jsonl of the arm)"
            )
        )
