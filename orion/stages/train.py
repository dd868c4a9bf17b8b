"""Fine-tune a checkpoint: packed sequences + model → checkpoint, model.json, train_log.jsonl.

``transformers.Trainer`` with the loss and the attention of ``orion_kernels``: the loss covers
completion tokens only, no attention crosses a document, no (tokens, vocabulary) logits are stored.
The method is full fine-tuning, or LoRA through peft. LoRA is merged before saving unless
``lora.merge_adapter`` is false: then the folder holds the adapter alone and model.json names its
base too. A killed run resumes from the last checkpoint in the work folder, which is named after the
run's content and is not an output. A loss, gradient norm or weight that is not finite stops the run
in the step where it shows: nothing is published, and the last good checkpoint stays in that folder.
With ``loss: dpo`` the rows are pairs of texts; the student before the first step is the reference.
Where `pack` has held rows out, their loss is in the log, and ``keep_best`` publishes the weights
with the lowest one.
SIGTERM and SIGUSR1 let the running step end, save a checkpoint and exit with 143 or 138. README.md
in the published folder is a model card.
With ``--processes`` or ``--nodes`` above 1 torchrun starts the stage in that many processes, which
share each optimiser step's sequences; the first one logs, saves and publishes. ``--sharding full``
splits weights, gradients and optimiser states among them (FSDP2).
Run: ``python -m orion.stages.train --config JSON --name NAME --packed P --model M --work DIR
--output-dir O --output-model J --log L [--preflight F] [--lineage DATASET MODEL ARM]
[--micro-batch N] [--processes P] [--nodes N] [--sharding none|full] [--save-minutes M]
[--kernels auto|torch|triton|triton-lean] [--plan P --plan-digest D] [--ceiling JSON]``.
"""

import argparse
import json
import math
import os
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from orion import provenance, tables
from orion.errors import InputError
from orion.experiment import plan
from orion.models import checkpoints, preflight, training_checkpoints
from orion.models.document import ModelDocument, add_step, read_document
from orion.models.model_card import TrainingFacts, write_card
from orion.paths import AtomicFile
from orion.processes import keep_freed_memory
from orion.spending import ceiling
from orion.spending.stop import refuse_training, watch_training
from orion.stages import command
from orion.training import launch, processes
from orion.training.arguments import training_arguments
from orion.training.callbacks import Report, SaveAndStop, StopSignals
from orion.training.loading import (
    check_kernels,
    describe_kernels,
    load_trainable_model,
    restore_base,
)
from orion.training.order_of_sums import fix_order_of_sums
from orion.training.packed_rows import PackedRows, collate_packed, store_rows
from orion.training.processes import say
from orion.training.reference import read_reference
from orion.training.settings import (
    DPO,
    KERNELS,
    SHARDING,
    TrainConfig,
    check_loss,
    check_optimizer,
    check_sharding,
    split_batch,
)
from orion.training.sharded_trainer import ShardedTrainer
from orion.training.sharding import gather_trained
from orion.training.trainer import LOGGED, PackedTrainer

# apart from each other, seeds of runs are small numbers
RANK_SEED = 1_000_003


@dataclass(frozen=True)
class Job:
    """What is trained: the typed keys, the student, the provenance, and the work folder."""

    config: TrainConfig
    document: ModelDocument
    record: dict[str, Any]
    work: Path


def run_training(trainer: PackedTrainer, work: Path, signals: StopSignals) -> None:
    """Train to the last step, from the last checkpoint of a stopped run if there is one.

    Exits where a signal comes, after the running step and its checkpoint. The model then has the
    weights of the lowest validation loss where these were kept.
    """
    step, resumed = processes.gather(find_checkpoint(work))[0]
    steps = trainer.args.max_steps
    if resumed:
        say(f"resuming from {resumed}: step {step} of {steps}")
    trainer.unproven_step = step
    if trainer.args.world_size > 1:
        # else all of them would draw the same dropout and noise
        torch.manual_seed(trainer.args.seed + RANK_SEED * trainer.args.process_index)
    if trainer.preference is not None:
        # from the weights of the start, which a resumed run has until it loads its checkpoint
        read_reference(trainer)
    with signals.defer():
        trainer.train(resume_from_checkpoint=str(resumed) if resumed else None)
    if signals.number is not None:
        newest = training_checkpoints.newest_checkpoint(work) if processes.is_first() else None
        signals.exit(f"after step {trainer.state.global_step} of {steps}, saved in {newest}")
    best = training_checkpoints.read_best(work)
    if best is not None:
        say(f"the lowest validation loss, {best[1]:.6f}, is that of step {best[0]}")
        training_checkpoints.load_best(trainer.model, work)
    trainer.check_result()


def put_weights(model: Any, weights: dict[str, torch.Tensor]) -> None:
    """Give a model that is loaded anew its trained weights."""
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            parameter.data = weights[name]


def find_checkpoint(work: Path) -> tuple[int, Path | None]:
    """The last complete checkpoint and its step; the first process removes all that are not."""
    if not processes.is_first():
        return 0, None
    training_checkpoints.remove_cut_checkpoints(work)
    found = training_checkpoints.complete_checkpoints(work)
    step, newest = list(found.items())[-1] if found else (0, None)
    states = [*newest.glob("rng_state*.pth")] if newest else []
    if newest and len(states) != processes.world_size():
        say(
            f"{newest} was saved by {len(states)} processes, and {processes.world_size()} go on: "
            "rounding differs, and the dropout and noise of the steps to come"
        )
    return step, newest


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


def count_data(rows: PackedRows, history: list[dict[str, Any]]) -> dict[str, int]:
    """What was trained on, for the model card: the packed rows, and the sums over all steps."""
    last = [entry for entry in history if "loss" in entry][-1]
    return {
        "documents": int(rows.index["documents"].sum()),
        "packed sequences": len(rows),
        "tokens in one pass": int(rows.index["tokens"].sum()),
        "trained tokens in one pass": int(rows.index["trained"].sum()),
        "optimiser steps": int(last["step"]),
        "tokens read in all steps": int(last["tokens"]),
        "tokens trained in all steps": int(last["trained_tokens"]),
    }


def parse_minutes(text: str) -> float:
    """The value of ``--save-minutes``; 0 saves after every step."""
    minutes = float(text)
    if not (math.isfinite(minutes) and minutes >= 0):
        raise argparse.ArgumentTypeError(f"{text} is no number of minutes")
    return minutes


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = command.make_parser(
        __doc__, "name", "packed", "model", "work", "output-dir", "output-model", "log"
    )
    parser.add_argument(
        "--micro-batch",
        type=int,
        default=1,
        help="sequences in memory at once in each process; changes rounding only",
    )
    parser.add_argument(
        "--processes",
        type=int,
        default=1,
        help="processes on each node, one per GPU; train.batch_sequences stays what it is",
    )
    parser.add_argument("--nodes", type=int, default=1, help="nodes of the Slurm job to use")
    parser.add_argument(
        "--sharding",
        choices=SHARDING,
        default="none",
        help="full: each process holds a part of weights, gradients and optimiser states only; "
        "changes rounding only",
    )
    parser.add_argument(
        "--save-minutes",
        type=parse_minutes,
        default=10.0,
        metavar="M",
        help="save a checkpoint this long after the last one, beside those by steps (default: 10); "
        "changes no result",
    )
    parser.add_argument(
        "--kernels", choices=KERNELS, default="auto", help="what computes loss and attention"
    )
    parser.add_argument(
        "--lineage",
        nargs=3,
        metavar=("DATASET", "MODEL", "ARM"),
        help="of the training, for model.json and the model card",
    )
    preflight.add_option(parser)
    plan.add_options(parser)
    ceiling.add_option(parser)
    return parser.parse_args(argv)


def publish(
    model: Any,
    trainer: PackedTrainer,
    args: argparse.Namespace,
    document: ModelDocument,
    tokenizer: Any,
    record: dict[str, Any],
    *,
    adapter: bool,
) -> None:
    """Write the trained folder with its card, the log, and model.json last."""
    output, history = Path(args.output_dir), trainer.state.log_history
    training_checkpoints.publish(model, tokenizer, document, output, adapter=adapter)
    write_log(history, args.log)
    trained = training_checkpoints.trained_document(output, args.name, document, adapter=adapter)
    dataset = arm = None
    if args.lineage:
        dataset, model, arm = args.lineage
        seed = record["config"]["seed"]
        trained = add_step(trained, dataset, model, arm, seed=seed, trained=document)
    counts = count_data(trainer.train_dataset, history)  # type: ignore[arg-type]
    facts = TrainingFacts(dataset, arm, record["config"], counts, record)
    write_card(output, trained, document, facts)
    tables.write_json(trained.as_json(), args.output_model, record)


def prepare(args: argparse.Namespace) -> Job:
    """Read the inputs but for the rows. Raises InputError for what cannot be trained."""
    config = command.read_config(TrainConfig, args.config)
    check_optimizer(config.optimizer, method=config.method)
    check_loss(config.loss)
    tables.size(args.packed, tables.PACKED)  # refuses what is no such table, before the model loads
    check_pairs(args.packed, config)
    document = read_document(args.model)
    inputs = {"packed": args.packed, "model": args.model}
    inputs |= preflight.required_inputs(args, document)
    record = provenance.record("orion.stages.train", args.config, inputs)
    digest = provenance.digest_text(provenance.canonical_json(record))
    # a changed plan goes on from the same checkpoint, so the folder is not named after it
    work = Path(args.work) / f"train-{digest[:16]}"
    training_checkpoints.check_sharding(work, is_sharded=args.sharding == "full")
    return Job(config, document, record | plan.require_registered(args), work)


def check_pairs(packed: str, config: TrainConfig) -> None:
    """Raise InputError where the loss is that of pairs and the rows are none, or the reverse."""
    keys = tables.read_provenance(packed).get("config", {})
    is_paired = bool(keys.get("pairs", False))
    if is_paired != (config.loss == DPO):
        rows = "pairs of a preferred and a rejected text" if is_paired else "no pairs"
        raise InputError(
            f"{packed} holds {rows}, and train.loss is {config.loss}; an arm with trained_on: "
            f"error_pairs has loss: {DPO}, and no other arm has it"
        )


def make_trainer(args: argparse.Namespace, job: Job, signals: StopSignals) -> PackedTrainer:
    """Load the model and the rows. Raises InputError for what cannot be trained."""
    config = job.config
    model = load_trainable_model(job.document, config)
    check_kernels(args.kernels, model, config)
    say(describe_kernels(args.kernels, config))
    rows, validation = store_rows(args.packed, job.work)
    if config.key_step_weight is not None and not rows.index["has_key_steps"].all():
        raise InputError(
            f"{args.packed} has no marks of key steps, which train.key_step_weight = "
            f"{config.key_step_weight:g} weighs; pack the rows with key_steps: true"
        )
    kind = ShardedTrainer if args.sharding == "full" else PackedTrainer
    return kind(
        model=model,
        args=training_arguments(
            config, str(job.work), args.micro_batch, len(rows), validates=len(validation) > 0
        ),
        train_dataset=rows,
        eval_dataset=validation,
        data_collator=partial(
            collate_packed, loss_average=config.average, key_step_weight=config.key_step_weight
        ),
        kernels=args.kernels,
        optimizer=config.optimizer,
        noise_alpha=config.neftune_noise_alpha,
        keep_best=config.keep_best,
        targets=config.lora.target_modules if config.method == "lora" and config.lora else None,
        loss=config.loss,
        preference=config.preference,
        callbacks=[SaveAndStop(signals, args.save_minutes), Report()],
    )


def train(args: argparse.Namespace, signals: StopSignals) -> None:
    """Train and publish; exits where a signal comes."""
    job = processes.agree(lambda: prepare(args))
    # the first process writes the rows, which the others then find
    processes.agree(lambda: store_rows(args.packed, job.work) if processes.is_first() else None)
    trainer = processes.agree(lambda: make_trainer(args, job, signals))
    try:
        run_training(trainer, job.work, signals)
    except training_checkpoints.FailedWriteError:
        raise
    except InputError as error:
        raise InputError(f"{args.packed}: {error}") from None
    is_sharded = args.sharding == "full"
    trained = gather_trained(trainer.model) if is_sharded else {}
    # no process reads in the work folder any more
    processes.wait()
    processes.leave()
    if not processes.is_first():
        return
    model: Any = trainer.model
    if is_sharded:
        model = load_trainable_model(job.document, job.config)
        put_weights(model, trained)
    tokenizer = checkpoints.load_tokenizer(job.document)
    restore_base(model, job.document, job.config)
    adapter = job.config.keeps_adapter
    with training_checkpoints.explain_failed_write(Path(args.output_dir), job.work):
        publish(model, trainer, args, job.document, tokenizer, job.record, adapter=adapter)
    training_checkpoints.remove_work(job.work)


def main(argv: list[str] | None = None) -> None:
    args = parse_arguments(argv)
    fix_order_of_sums()
    config = command.read_config(TrainConfig, args.config)
    is_started = "WORLD_SIZE" in os.environ
    asked = args.processes * args.nodes
    if min(args.processes, args.nodes) < 1:
        raise InputError(f"processes = {args.processes}, nodes = {args.nodes}: at least 1 of each")
    count = processes.world_size() if is_started else asked
    split_batch(config.batch_sequences, args.micro_batch, count)
    check_sharding(config, args.sharding, count)
    results = Path(args.work).parent
    if not is_started:
        refuse_training(args.ceiling, results)
    if asked > 1 and not is_started:
        words = sys.argv[1:] if argv is None else argv
        launch.launch("orion.stages.train", words, args.processes, args.nodes)
    if processes.world_size() > 1:
        launch.end_with_parent()
    else:
        # on a machine with several GPUs the Trainer would spread each batch over all of them
        first_gpu = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
        os.environ["CUDA_VISIBLE_DEVICES"] = first_gpu
    if not torch.cuda.is_available():
        keep_freed_memory()
    is_first = processes.is_first()
    with StopSignals() as signals, watch_training(args.ceiling, results, is_first=is_first):
        if processes.world_size() > 1:
            processes.join()
        train(args, signals)


if __name__ == "__main__":
    if processes.world_size() > 1:
        processes.run_and_exit(lambda: command.run(main))
    command.run(main)
