"""Fine-tune a checkpoint: packed sequences + model → checkpoint, model.json, train_log.jsonl.

``transformers.Trainer`` with the loss and the attention of ``orion_kernels``: the loss covers
completion tokens only, no attention crosses a document, no (tokens, vocabulary) logits are stored.
The method is full fine-tuning, or LoRA through peft. LoRA is merged before saving unless
``lora.merge_adapter`` is false: then the folder holds the adapter alone and model.json names its
base too. A killed run resumes from the last checkpoint in the work folder, which is named after the
run's content and is not an output. A loss, gradient norm or weight that is not finite stops the run
in the step where it shows: nothing is published, and the last good checkpoint stays in that folder.
Where `pack` has held rows out, their loss is in the log, and ``keep_best`` publishes the weights
with the lowest one.
Run: ``python -m orion.stages.train --config JSON --name NAME --packed P --model M --work DIR
--output-dir O --output-model J --log L [--preflight F] [--lineage DATASET MODEL ARM]
[--micro-batch N] [--kernels auto|torch|triton|triton-lean]``.
"""

import json
import os
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from orion import provenance, tables
from orion.errors import InputError
from orion.models import checkpoints, preflight, training_checkpoints
from orion.models.document import add_step, read_document
from orion.paths import AtomicFile
from orion.progress import log
from orion.stages import command
from orion.training.loading import (
    check_kernels,
    describe_kernels,
    load_trainable_model,
    restore_base,
)
from orion.training.packed_rows import PackedRows, collate_packed
from orion.training.settings import KERNELS, TrainConfig, check_optimizer
from orion.training.trainer import LOGGED, PackedTrainer, training_arguments


def run_training(trainer: PackedTrainer, work: Path) -> None:
    """Train to the last step, from the last checkpoint of a killed run if there is one.

    The model then has the weights of the lowest validation loss where these were kept.
    """
    resumed = training_checkpoints.newest_checkpoint(work)
    if resumed:
        log(f"resuming from {resumed}")
    trainer.train(resume_from_checkpoint=str(resumed) if resumed else None)
    best = training_checkpoints.read_best(work)
    if best is not None:
        log(f"the lowest validation loss, {best[1]:.6f}, is that of step {best[0]}")
        training_checkpoints.load_best(trainer.model, work)
    trainer.check_result()


def write_log(history: list[dict[str, Any]], path: str) -> None:
    """Write one JSON object per logged step, without durations: same run, same bytes."""
    steps: dict[int, dict[str, Any]] = {}
    for entry in history:
        if "loss" in entry or "validation_loss" in entry:
            steps.setdefault(entry["step"], {}).update(entry)
    with AtomicFile(path) as partial:
        lines = [
            json.dumps({key: entry[key] for key in LOGGED if key in entry})
            for entry in steps.values()
        ]
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
    check_optimizer(config.optimizer)
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
    held_out = pl.col("validation").fill_null(False)
    rows, validation = packed.filter(~held_out), packed.filter(held_out)
    model = load_trainable_model(document, config)
    check_kernels(args.kernels, model, config)
    log(describe_kernels(args.kernels, config))
    trainer = PackedTrainer(
        model=model,
        args=training_arguments(
            config, str(work), args.micro_batch, rows.height, validates=validation.height > 0
        ),
        train_dataset=PackedRows(rows),
        eval_dataset=PackedRows(validation),
        data_collator=partial(collate_packed, loss_average=config.loss_average),
        kernels=args.kernels,
        noise_alpha=config.neftune_noise_alpha,
        keep_best=config.keep_best,
        targets=config.lora.target_modules if config.method == "lora" and config.lora else None,
    )
    try:
        run_training(trainer, work)
    except InputError as error:
        raise InputError(f"{args.packed}: {error}") from None
    tokenizer = checkpoints.load_tokenizer(document)
    output, adapter = Path(args.output_dir), config.keeps_adapter
    restore_base(trainer.model, document, config)
    training_checkpoints.publish(trainer.model, tokenizer, document, output, adapter=adapter)
    write_log(trainer.state.log_history, args.log)
    trained = training_checkpoints.trained_document(output, args.name, document, adapter=adapter)
    if args.lineage:
        trained = add_step(trained, *args.lineage, seed=config.seed, trained=document)
    tables.write_json(trained.as_json(), args.output_model, record)
    shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    command.run(main)
