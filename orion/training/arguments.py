"""The stage's keys as the arguments of ``transformers.Trainer``."""

import torch
from transformers import TrainingArguments

from orion.training import processes
from orion.training.settings import OPTIMIZERS, TrainConfig, split_batch

SAVE_EVERY_STEPS = 100


def training_arguments(
    config: TrainConfig, work: str, micro_batch: int, sequences: int, *, validates: bool = False
) -> TrainingArguments:
    """The stage's keys as TrainingArguments.

    ``sequences``: packed rows to train on. ``validates``: whether there are rows held out.
    Raises InputError where the processes or the micro-batch do not divide the batch.
    """
    batch, world = config.batch_sequences, processes.world_size()
    micro_batch, accumulated = split_batch(batch, micro_batch, world)
    steps_per_epoch = -(-sequences // batch)
    steps = config.max_steps or max(1, round(config.epochs * steps_per_epoch))
    return TrainingArguments(
        output_dir=work,
        per_device_train_batch_size=micro_batch,
        gradient_accumulation_steps=accumulated,
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
        ddp_backend="gloo" if world > 1 and not torch.cuda.is_available() else None,
        ddp_timeout=int(processes.TIMEOUT.total_seconds()),
        # a row reaches some of a model's experts only. The buckets also stay as they are, while
        # others are made anew behind the first step, and a resumed run would round differently
        ddp_find_unused_parameters=True if world > 1 else None,
        # Report prints the progress
        disable_tqdm=True,
    )
