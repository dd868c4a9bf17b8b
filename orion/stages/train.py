"""Fine-tune a checkpoint: packed sequences + model → checkpoint, model.json, train_log.jsonl.

``transformers.Trainer`` with the loss and the attention of ``orion_kernels``: the loss covers
completion tokens only, no attention crosses a document, no (tokens, vocabulary) logits are stored.
The method is full fine-tuning, or LoRA through peft. LoRA is merged before saving unless
``lora.merge_adapter`` is false: then the folder holds the adapter alone and model.json names its
base too. A killed run resumes from the last checkpoint in the work folder, which is named after the
run's content and is not an output. A loss, gradient norm or weight that is not finite stops the run
in the step where it shows: nothing is published, and the last good checkpoint stays in that folder.
Run: ``python -m orion.stages.train --config JSON --name NAME --packed P --model M --work DIR
--output-dir O --output-model J --log L [--preflight F] [--lineage DATASET MODEL ARM]
[--micro-batch N] [--kernels auto|torch|triton|triton-lean]``.
"""

import json
import math
import os
import shutil
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl
import torch
from orion_kernels import Packing
from orion_kernels.transformers_integration import causal_lm_loss, register_attention
from transformers import Trainer, TrainingArguments

from orion import provenance, tables
from orion.errors import InputError
from orion.models import adapters, checkpoints, preflight, training_checkpoints
from orion.models.document import ModelDocument, add_step, read_document
from orion.models.lora_targets import LoraUse, check_model_targets
from orion.paths import AtomicFile
from orion.progress import log
from orion.stages import command

SAVE_EVERY_STEPS = 100
# which implementation computes loss and attention; rounding and speed differ, nothing else
KERNELS: dict[str, dict[str, str]] = {
    "auto": {},
    "torch": {"impl": "torch", "attention_impl": "torch"},
    "triton": {"impl": "triton", "memory": "fast", "attention_impl": "triton"},
    "triton-lean": {"impl": "triton", "memory": "lean", "attention_impl": "triton"},
}
LOGGED = (
    "step",
    "loss",
    "learning_rate",
    "grad_norm",
    "tokens",
    "trained_tokens",
    "accuracy",
    "entropy",
)


@dataclass(frozen=True)
class LoraConfig:
    """The LoRA adapter: rank, alpha, dropout, and whether it is merged into the weights."""

    r: int
    alpha: int
    dropout: float
    target_modules: str | list[str]
    merge_adapter: bool = True


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


class PackedRows(torch.utils.data.Dataset[dict[str, list[int]]]):
    """The packed table as one dictionary of lists per sequence."""

    def __init__(self, packed: pl.DataFrame):
        self.rows = packed.select("input_ids", "labels", "position_ids", "seq_lengths").rows(
            named=True
        )

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, list[int]]:
        return self.rows[index]


def collate_packed(rows: list[dict[str, list[int]]]) -> dict[str, Any]:
    """The sequences of a micro-batch end to end in one row: (1, tokens) int64 each.

    Also seq_lengths, the documents' lengths, and valid_index (targets,) int64, the positions that
    predict a trained token. Both are computed on the host, where no device has to be waited for.
    """
    joined = {key: [value for row in rows for value in row[key]] for key in rows[0]}
    lengths = joined.pop("seq_lengths")
    row = {key: torch.tensor(values)[None] for key, values in joined.items()}
    targets = Packing.from_seq_lengths(lengths).shifted_labels(row["labels"])
    return {**row, "seq_lengths": lengths, "valid_index": targets.ne(-100).nonzero().squeeze(1)}


class PackedTrainer(Trainer):
    """Trainer with the fused linear cross-entropy over packed documents.

    ``kernels``: a key of KERNELS. Raises InputError in the step whose loss or gradient norm is not
    finite.
    """

    def __init__(self, *args: Any, kernels: str = "auto", **kwargs: Any):
        super().__init__(*args, **kwargs)
        # the loss is already divided by the target tokens of the whole optimiser step
        self.model_accepts_loss_kwargs = True
        self._kernels: dict[str, Any] = KERNELS[kernels]
        self._sums: dict[str, Any] = dict.fromkeys(("accuracy", "entropy", "trained_tokens"), 0)

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """The loss of one micro-batch, divided by the target tokens of the optimiser step."""
        row = {key: inputs[key] for key in ("input_ids", "position_ids", "labels", "valid_index")}
        packing = Packing.from_seq_lengths(inputs["seq_lengths"], device=row["labels"].device)
        loss, metrics = causal_lm_loss(
            model, **row, packing=packing, normalizer=num_items_in_batch, **self._kernels
        )
        # kept on the device until they are logged
        self._sums["trained_tokens"] += row["valid_index"].numel()
        self._sums["accuracy"] += metrics.accuracy.sum(dtype=torch.float64)
        self._sums["entropy"] += metrics.entropy.sum(dtype=torch.float64)
        return (loss, None) if return_outputs else loss

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
        elif self.is_world_process_zero() and (step - 1) % int(self.args.save_steps) == 0:
            training_checkpoints.keep_newest_checkpoint(Path(str(self.args.output_dir)))

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
    config: TrainConfig, work: str, micro_batch: int, sequences: int
) -> TrainingArguments:
    """The stage's keys as TrainingArguments.

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
        save_steps=SAVE_EVERY_STEPS,
        # the newest one, and the one before it until the newest has turned out to be good
        save_total_limit=2,
        include_num_input_tokens_seen="all",
        remove_unused_columns=False,
        report_to=[],
        use_cpu=not torch.cuda.is_available(),
        disable_tqdm=not sys.stderr.isatty(),
    )


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


def run_training(trainer: PackedTrainer, work: Path) -> None:
    """Train to the last step, from the last checkpoint of a killed run if there is one."""
    resumed = training_checkpoints.newest_checkpoint(work)
    if resumed:
        log(f"resuming from {resumed}")
    trainer.train(resume_from_checkpoint=str(resumed) if resumed else None)
    trainer.check_result()


def write_log(history: list[dict[str, Any]], path: str) -> None:
    """Write one JSON object per logged step, without durations: same run, same bytes."""
    steps = [entry for entry in history if "loss" in entry]
    with AtomicFile(path) as partial:
        lines = [json.dumps({key: entry[key] for key in LOGGED if key in entry}) for entry in steps]
        partial.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main(argv: list[str] | None = None) -> None:
    parser = command.make_parser(
        __doc__, "name", "packed", "model", "work", "output-dir", "output-model", "log"
    )
    parser.add_argument(
        "--micro-batch",
        type=int,
        default=1,
        help="sequences in memory at once; changes rounding only",
    )
    parser.add_argument(
        "--kernels", choices=KERNELS, default="auto", help="what computes loss and attention"
    )
    parser.add_argument("--lineage", nargs=3, help="DATASET MODEL ARM, which model.json keeps")
    preflight.add_option(parser)
    args = parser.parse_args(argv)
    config = command.read_config(TrainConfig, args.config)
    if "WORLD_SIZE" not in os.environ:
        # on a machine with several GPUs the Trainer would spread each batch over all of them
        first_gpu = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
        os.environ["CUDA_VISIBLE_DEVICES"] = first_gpu
    packed = tables.read(args.packed, tables.PACKED)
    document = read_document(args.model)
    inputs = {"packed": args.packed, "model": args.model}
    inputs |= preflight.required_inputs(args, document)
    record = provenance.record("orion.stages.train", args.config, inputs)
    content = provenance.digest_text(provenance.canonical_json(record))
    work = Path(args.work) / f"train-{content[:16]}"
    model = load_trainable_model(document, config)
    check_kernels(args.kernels, model, config)
    trainer = PackedTrainer(
        model=model,
        args=training_arguments(config, str(work), args.micro_batch, packed.height),
        train_dataset=PackedRows(packed),
        data_collator=collate_packed,
        kernels=args.kernels,
    )
    try:
        run_training(trainer, work)
    except InputError as error:
        raise InputError(f"{args.packed}: {error}") from None
    tokenizer = checkpoints.load_tokenizer(document)
    output, adapter = Path(args.output_dir), config.keeps_adapter
    training_checkpoints.publish(trainer.model, tokenizer, document, output, adapter=adapter)
    write_log(trainer.state.log_history, args.log)
    trained = training_checkpoints.trained_document(output, args.name, document, adapter=adapter)
    if args.lineage:
        trained = add_step(trained, *args.lineage, seed=config.seed, trained=document)
    tables.write_json(trained.as_json(), args.output_model, record)
    shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    command.run(main)
