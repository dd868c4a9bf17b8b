"""One training of bench/training.py in a process of its own, so that its peak memory is its own.

Input: the settings as JSON on the command line (`Run`). Output: one line of JSON on standard output
(`Result`). All contestants have the same rows, weights, optimiser and schedule,
and the same documents in the first step, which is not timed.
"""

import ctypes
import gc
import json
import os
import resource
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import torch
import transformers
from transformers.trainer_pt_utils import LengthGroupedSampler

from bench.training_rows import Document
from orion import tables
from orion.models import checkpoints
from orion.models.document import ModelDocument
from orion.training.arguments import training_arguments
from orion.training.best_fit import best_fit_bins
from orion.training.callbacks import Report
from orion.training.document_file import DocumentFile
from orion.training.loading import load_trainable_model
from orion.training.packed_rows import collate_packed, store_rows
from orion.training.settings import TrainConfig
from orion.training.trainer import PackedTrainer

OURS = "orion"
IGNORED = -100
LEARNING_RATE = 5e-5
SEED = 1
# arguments that all trainers take from the stage's
SHARED = (
    *("output_dir", "per_device_train_batch_size", "gradient_accumulation_steps", "optim"),
    *("learning_rate", "adam_beta1", "adam_beta2", "weight_decay", "warmup_steps"),
    *("lr_scheduler_type", "max_grad_norm", "bf16", "gradient_checkpointing", "seed"),
    *("data_seed", "report_to", "use_cpu", "disable_tqdm"),
)
# tokens on which the loss behind the training is measured, at most
EVALUATED = 1024
MIB = 1 << 20


@dataclass(frozen=True)
class Run:
    """The settings of one training.

    ``way``: a key of WAYS. ``batch``, ``micro_batch``: documents, or sequences of ``max_length``
    tokens where they are packed; with a ``batch`` of 0 nothing is trained. ``evaluate``: whether
    the loss behind the training is measured.
    """

    way: str
    document: dict[str, Any]
    rows: str
    work: str
    dtype: str
    threads: int
    max_length: int
    batch: int
    micro_batch: int
    trl: str | None = None
    liger: bool = False
    evaluate: bool = False


@dataclass(frozen=True)
class Rows:
    """Documents: those of the first step, and the others."""

    first: list[Document]
    timed: list[Document]


@dataclass(frozen=True)
class Result:
    """What one training took.

    ``seconds``, ``tokens``: of the steps behind the first, without padding. ``padding``: computed
    per real token. ``above``, ``peak``: MiB above the loaded model and in all. ``isolated``:
    whether a document of a row cannot see the one before it.
    """

    steps: int
    seconds: float
    tokens: int
    padding: float
    above: float
    peak: float
    isolated: bool
    loss: float | None


def train_config(run: Run) -> TrainConfig:
    """The stage's keys; those of the others are read off the arguments made of them."""
    return TrainConfig(
        method="full",
        learning_rate=LEARNING_RATE,
        betas=[0.9, 0.999],
        weight_decay=0.0,
        epochs=1.0,
        batch_sequences=run.batch,
        warmup_fraction=0.0,
        schedule="constant",
        max_grad_norm=1.0,
        dtype=run.dtype,
        gradient_checkpointing=False,
        seed=SEED,
    )


def pack(documents: list[Document], max_length: int, folder: str) -> pl.DataFrame:
    """The packed table of documents, as the stage writes it."""
    with DocumentFile(folder) as file:
        for ids, labels in documents:
            file.add(ids, labels)
        return pl.concat(file.pack(best_fit_bins(file.lengths, max_length)))


def make_orion(run: Run, model: Any, rows: Rows) -> Any:
    """The stage's own trainer on the stage's own packing."""
    # the documents of the first step fill short sequences
    parts = [
        (rows.first, sum(len(ids) for ids, _ in rows.first) // run.batch),
        (rows.timed, run.max_length),
    ]
    path = Path(run.work) / "packed.parquet"
    packed = pl.concat([pack(*part, run.work) for part in parts])
    numbered = packed.with_columns(row=pl.int_range(packed.height))
    tables.write(numbered, path, tables.PACKED, {})
    stored, _ = store_rows(path, path.parent)
    arguments = training_arguments(train_config(run), run.work, run.micro_batch, len(stored))
    # the others save nothing either
    arguments.save_strategy = "no"
    return PackedTrainer(
        model=model,
        args=arguments,
        train_dataset=stored,
        data_collator=collate_packed,
        callbacks=[Report()],
    )


def shared_arguments(run: Run) -> dict[str, Any]:
    """What the arguments of every trainer of the library have in common with the stage's."""
    ours = training_arguments(train_config(run), run.work, run.micro_batch, run.batch)
    shared = {name: getattr(ours, name) for name in SHARED}
    liger = {"use_liger_kernel": True} if run.liger else {}
    return {**shared, **liger, "num_train_epochs": 1, "save_strategy": "no", "logging_steps": 1}


def make_trainer(run: Run, model: Any, rows: Rows) -> Any:
    """transformers.Trainer on padded rows."""
    pad = model.config.pad_token_id or 0

    def collate(rows: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
        longest = max(len(row["input_ids"]) for row in rows)
        fill = {"input_ids": pad, "labels": IGNORED, "attention_mask": 0}
        return {
            key: torch.tensor([row[key] + [value] * (longest - len(row[key])) for row in rows])
            for key, value in fill.items()
        }

    chosen: Any = [
        {"input_ids": ids, "labels": labels, "attention_mask": [1] * len(ids)}
        for ids, labels in rows.first + rows.timed
    ]
    return transformers.Trainer(
        model=model,
        args=transformers.TrainingArguments(**shared_arguments(run)),
        train_dataset=chosen,
        data_collator=collate,
    )


def make_trl(run: Run, model: Any, rows: Rows) -> Any:
    """SFTTrainer of TRL: on padded rows, or on rows that TRL packs best-fit decreasing."""
    import datasets
    import trl

    datasets.disable_caching()
    datasets.disable_progress_bars()
    first, timed = (
        datasets.Dataset.from_list([{"input_ids": ids, "labels": labels} for ids, labels in part])
        for part in (rows.first, rows.timed)
    )
    packing = run.way == "trl packed"
    if packing:
        first = trl.pack_dataset(first, sum(map(len, first["input_ids"])) // run.batch, "bfd")
        timed = trl.pack_dataset(timed, run.max_length, "bfd")
    # prepared here, since it would pack the first step's documents with the others
    return trl.SFTTrainer(
        model=model,
        args=trl.SFTConfig(
            **shared_arguments(run),
            max_length=run.max_length,
            packing=packing,
            dataset_kwargs={"skip_prepare_dataset": True},
        ),
        train_dataset=datasets.concatenate_datasets([first, timed]),
        processing_class=checkpoints.load_tokenizer(ModelDocument(**run.document)),
    )


def order_rows(trainer: Any, run: Run) -> list[int]:
    """The first step's rows, then the others: grouped by length by the library, or shuffled."""
    rows = trainer.train_dataset
    lengths = [len(rows[i]["input_ids"]) for i in range(run.batch, len(rows))]
    draw = torch.Generator().manual_seed(SEED)
    if run.way in (OURS, "trl packed"):
        rest = torch.randperm(len(lengths), generator=draw).tolist()
    else:
        rest = list(LengthGroupedSampler(run.batch, lengths=lengths, generator=draw))
    return [*range(run.batch), *(run.batch + i for i in rest)]


WAYS = {
    OURS: make_orion,
    "trainer": make_trainer,
    "trl padded": make_trl,
    "trl packed": make_trl,
}


class Watch(transformers.TrainerCallback):
    """The end of each step, and the tokens that the trainer reads in it."""

    def __init__(self, trainer: Any):
        self.ends: list[float] = []
        self.tokens, self.computed = [0], [0]
        self._step = trainer.training_step
        trainer.training_step = self.training_step
        trainer.add_callback(self)

    def training_step(self, model: Any, inputs: dict[str, Any], *args: Any) -> Any:
        """The trainer's step on a micro-batch, counted."""
        size = inputs["input_ids"].numel()
        mask = inputs.get("attention_mask")
        self.tokens[-1] += size if mask is None else int(mask.sum())
        self.computed[-1] += size
        return self._step(model, inputs, *args)

    def on_step_end(self, *_args: Any, **_kwargs: Any) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.ends.append(time.perf_counter())
        self.tokens.append(0)
        self.computed.append(0)


def read_memory() -> SimpleNamespace:
    """MiB now and at the peak: of the GPU where there is one, else resident in this process."""
    if torch.cuda.is_available():
        return SimpleNamespace(
            now=torch.cuda.memory_allocated() / MIB, peak=torch.cuda.max_memory_allocated() / MIB
        )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return SimpleNamespace(now=peak, peak=peak)
    found = {line.split(":")[0]: line.split()[1] for line in lines if line.startswith("Vm")}
    return SimpleNamespace(now=int(found["VmRSS"]) / 1024, peak=int(found["VmHWM"]) / 1024)


def forget_peak() -> None:
    """Let the peak begin here, so that loading the model does not count; on Linux alone."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        return
    try:
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except (OSError, AttributeError) as error:
        print(f"the peak of memory includes loading the model: {error}", file=sys.stderr)


@torch.no_grad()
def is_isolated(model: Any, *, packed: bool) -> bool:
    """Whether the second document of a row, told by positions alone, cannot see the first one."""
    if not packed:
        return True
    model.eval()
    positions = torch.arange(8).repeat(2)[None].to(model.device)
    outputs = []
    for first in (5, 9):
        ids = torch.tensor([[first] * 8 + list(range(20, 28))], device=model.device)
        outputs.append(model.base_model(ids, position_ids=positions, use_cache=False)[0][0, 8:])
    model.train()
    return bool(torch.equal(*outputs))


@torch.no_grad()
def measure_loss(model: Any, documents: list[Document]) -> float:
    """The loss per trained token, each document alone, in float32."""
    model.eval()
    model.set_attn_implementation("sdpa")
    head = model.get_output_embeddings().weight
    total, count, read = 0.0, 0, 0
    for ids, labels in documents:
        read += len(ids)
        if read > EVALUATED and count:
            break
        row = torch.tensor(ids, device=model.device)[None]
        targets = torch.tensor(labels[1:], device=model.device)
        hidden = model.base_model(row, use_cache=False)[0][0, :-1][targets.ne(IGNORED)]
        targets = targets[targets.ne(IGNORED)]
        total += float(
            torch.nn.functional.cross_entropy((hidden @ head.T).float(), targets, reduction="sum")
        )
        count += targets.numel()
    return total / max(1, count)


def load(run: Run) -> Any:
    """The model in float32, as `train` loads it for full fine-tuning."""
    document = ModelDocument(**run.document)
    if run.way == OURS:
        return load_trainable_model(document, train_config(run))
    return checkpoints.load_model(document)


def measure(run: Run) -> Result:
    """Train once."""
    rows = Rows(**json.loads(Path(run.rows).read_text(encoding="utf-8")))
    model = load(run)
    if run.batch == 0:
        return Result(0, 0, 0, 0, 0, 0, True, measure_loss(model, rows.timed))
    isolated = is_isolated(model, packed=run.way == "trl packed")
    model.train()
    forget_peak()
    base = read_memory().now
    trainer = WAYS[run.way](run, model, rows)
    order = order_rows(trainer, run)
    trainer._get_train_sampler = lambda *_: order
    watch = Watch(trainer)
    trainer.train()
    peak = read_memory().peak
    tokens = sum(watch.tokens[1:])
    return Result(
        steps=len(watch.ends),
        seconds=watch.ends[-1] - watch.ends[0],
        tokens=tokens,
        padding=sum(watch.computed[1:]) / tokens - 1,
        above=peak - base,
        peak=peak,
        isolated=isolated,
        loss=measure_loss(trainer.model, rows.timed) if run.evaluate else None,
    )


def main() -> None:
    run = Run(**json.loads(sys.argv[1]))
    # what the libraries print must not stand beside the result
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    if run.trl:
        sys.path.insert(0, run.trl)
    torch.set_num_threads(run.threads)
    print(json.dumps(asdict(measure(run))), file=answers, flush=True)


if __name__ == "__main__":
    main()
