"""Time the training of the stage `train` against transformers.Trainer and TRL's SFTTrainer.

Inputs: a pretrained model as a GGUF file (``--gguf``, dequantised once) or a shape with random
weights (``--shape``); texts (``--data``: the folder with GSM8K and teacher traces) or random token
ids; the folder of an unpacked TRL (``--trl``), without which its lines are left out. Outputs: a
table and the goals, held or missed, on standard output; exit status 0 also where one is missed.
Every measurement is a process of its own. All train on the same documents in as many optimiser
steps, after one step that warms up. The first round tries the sizes of a micro-batch
and keeps each contestant's fastest; rounds are interleaved, and rates are their medians.
Run: ``python -m bench.training --gguf FILE [--data FOLDER] [--trl FOLDER] [--threads 1 2]
[--rounds 3] [--tokens N] [--dtypes bfloat16] [--only NAME ...] [--json FILE]``, on a GPU
``python -m bench.training --shape 0.5b --device cuda [--trl FOLDER]``.
"""

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
import transformers

from bench import checkpoints as models
from bench import training_rows
from bench.training_run import OURS, Result, Run
from orion.models import checkpoints
from orion.models.document import ModelDocument

# what --only names; on a GPU the others run with Liger's kernels too
WAYS = (OURS, "trainer", "trl padded", "trl packed")
# documents per optimiser step of those that pad, sequences of those that pack: as many tokens
DOCUMENTS, SEQUENCES = 8, 2
MICRO_BATCHES = {"padded": (1, 4), "packed": (1, 2)}
# the goals: ratio of our rate, of our memory above the model, and difference of the losses
FASTER, MEMORY, LOSS = 1.2, 0.7, 0.01


@dataclass(frozen=True)
class Contestant:
    """A way to train, with a number of threads and a dtype."""

    way: str
    dtype: str
    threads: int
    liger: bool = False

    @property
    def name(self) -> str:
        return f"{self.way}, Liger" if self.liger else self.way

    @property
    def is_packed(self) -> bool:
        return self.way in (OURS, "trl packed")

    @property
    def micro_batches(self) -> tuple[int, ...]:
        return MICRO_BATCHES["packed" if self.is_packed else "padded"]


@dataclass
class Measured:
    """The results of a contestant by the size of its micro-batch."""

    results: dict[int, list[Result]] = field(default_factory=dict)
    failed: str = ""

    def rate_of(self, size: int) -> float:
        return statistics.median(each.tokens / each.seconds for each in self.results[size])

    @property
    def best(self) -> int:
        """The fastest micro-batch."""
        return max(self.results, key=self.rate_of)

    @property
    def rate(self) -> float:
        return self.rate_of(self.best)

    def median(self, name: str) -> float:
        return statistics.median(getattr(each, name) for each in self.results[self.best])

    @property
    def loss(self) -> float:
        return next(each.loss for each in self.results[self.best] if each.loss is not None)

    @property
    def is_same(self) -> bool:
        return all(each.isolated for each in self.results[self.best])


class Bench:
    """The model and the rows in a folder, and the processes that train on them."""

    def __init__(self, args: argparse.Namespace, folder: Path):
        self.args, self.folder = args, folder
        self.document = make_model(args, folder / "model")
        self.rows = folder / "rows.json"
        steps = max(1, round(args.tokens / (SEQUENCES * args.max_length)))
        first = training_rows.warm_up_lengths(DOCUMENTS, SEQUENCES, args.max_length)
        lengths = training_rows.draw_lengths(DOCUMENTS * steps, SEQUENCES * steps, args.max_length)
        words = checkpoints.load_tokenizer(self.document)
        documents = (
            training_rows.text_documents(first + lengths, args.data, words)
            if args.data
            else training_rows.synthetic_documents(first + lengths, read_vocabulary(folder))
        )
        timed = documents[DOCUMENTS:]
        rows = {"first": documents[:DOCUMENTS], "timed": timed}
        self.rows.write_text(json.dumps(rows), encoding="utf-8")
        trained = sum(label != -100 for _, labels in timed for label in labels)
        source = "GSM8K answers and teacher traces" if args.data else "random token ids"
        self.summary = (
            f"{steps} timed steps of {DOCUMENTS} documents or {SEQUENCES} sequences of "
            f"{args.max_length} tokens; {len(timed)} documents of {min(lengths)} to "
            f"{max(lengths)} tokens (median {statistics.median(lengths):.0f}), {sum(lengths):,} "
            f"tokens, {trained / sum(lengths):.0%} of them trained on; {source}"
        )

    def train(
        self, contestant: Contestant, micro_batch: int, *, batch: int | None = None, loss: bool
    ) -> Result:
        """One training in a process of its own; raises ChildError where it fails."""
        size = SEQUENCES if contestant.is_packed else DOCUMENTS
        run = Run(
            way=contestant.way,
            document=asdict(self.document),
            rows=str(self.rows),
            work=str(self.folder / "work"),
            dtype=contestant.dtype,
            threads=contestant.threads,
            max_length=self.args.max_length,
            batch=size if batch is None else batch,
            micro_batch=micro_batch,
            trl=str(self.args.trl.resolve()) if self.args.trl else None,
            liger=contestant.liger,
            evaluate=loss,
        )
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
        environment["OMP_NUM_THREADS"] = str(contestant.threads)
        if self.args.device == "cpu":
            environment["CUDA_VISIBLE_DEVICES"] = ""
        command = [sys.executable, "-m", "bench.training_run", json.dumps(asdict(run))]
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        if done.returncode:
            lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
            raise ChildError(lines[-1])
        return Result(**json.loads(done.stdout.splitlines()[-1]))


def read_vocabulary(folder: Path) -> int:
    """The entries of the model's vocabulary."""
    config = json.loads((folder / "model/config.json").read_text(encoding="utf-8"))
    return int(config["vocab_size"])


class ChildError(Exception):
    """The training process failed; the text is the last line of its error output."""


def make_model(args: argparse.Namespace, folder: Path) -> ModelDocument:
    """The checkpoint that is trained, in float32."""
    if args.gguf:
        return models.from_gguf(args.gguf, folder, dtype="float32")
    return models.random_shape(folder, SHAPES[args.shape])


# Qwen2.5-0.5B's sizes; tiny is for tests
SHAPES: dict[str, dict[str, int]] = {
    "0.5b": {
        "vocab_size": 151_936,
        "hidden_size": 896,
        "intermediate_size": 4864,
        "num_hidden_layers": 24,
        "num_attention_heads": 14,
        "num_key_value_heads": 2,
    },
    "tiny": {
        "vocab_size": 500,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    },
}


def list_contestants(args: argparse.Namespace) -> Iterator[Contestant]:
    """All that can run here; the reason why one cannot is printed."""
    ways = [way for way in WAYS if way in (args.only or WAYS)]
    if args.trl is None and any(way.startswith("trl") for way in ways):
        print(
            "TRL is left out: --trl names the folder of an unpacked TRL (`pip download --no-deps`)"
        )
        ways = [way for way in ways if not way.startswith("trl")]
    kinds = [False]
    if args.device == "cuda" and importlib.util.find_spec("liger_kernel"):
        kinds.append(True)
    elif args.device == "cuda":
        print("Liger is left out: the package liger-kernel is not installed here")
    for dtype in args.dtypes:
        for threads in args.threads:
            for way in ways:
                for liger in kinds if way != OURS else [False]:
                    yield Contestant(way, dtype, threads, liger)


def take_turns(bench: Bench, contestants: list[Contestant]) -> dict[Contestant, Measured]:
    """All rounds; each begins with another contestant."""
    found = {each: Measured() for each in contestants}
    for turn in range(bench.args.rounds):
        first = turn % len(contestants)
        for each in contestants[first:] + contestants[:first]:
            measured = found[each]
            if measured.failed:
                continue
            for size in each.micro_batches if turn == 0 else [measured.best]:
                try:
                    result = bench.train(each, size, loss=turn == 0)
                except ChildError as error:
                    measured.failed = str(error)
                    break
                measured.results.setdefault(size, []).append(result)
                line = {**asdict(each), "round": turn, "micro_batch": size, **asdict(result)}
                print(f"  {json.dumps(line)}", file=sys.stderr, flush=True)
    return found


def print_table(found: dict[Contestant, Measured]) -> list[list[str]]:
    """One line per contestant; returns the lines."""
    print(
        "| contestant | dtype | threads | micro-batch | padding | tokens/s | to ours "
        "| MiB above the model | MiB | loss after | − ours | same mathematics |\n"
        "|---|---|---|---|---|---|---|---|---|---|---|---|"
    )
    rows = []
    for each, measured in found.items():
        columns = [each.name, each.dtype, str(each.threads)]
        if measured.failed:
            print(f"| {' | '.join(columns)} | left out: {measured.failed} |" + " |" * 8)
            continue
        ours = found.get(replace(each, way=OURS, liger=False))
        ours = ours if ours and not ours.failed else None
        columns += [
            str(measured.best),
            f"{measured.median('padding'):.0%}",
            f"{measured.rate:,.1f}",
            f"{measured.rate / ours.rate:.2f}" if ours else "–",
            f"{measured.median('above'):,.0f}",
            f"{measured.median('peak'):,.0f}",
            f"{measured.loss:.4f}",
            f"{measured.loss - ours.loss:+.4f}" if ours else "–",
            "yes" if measured.is_same else "no: a packed document sees those before it",
        ]
        print(f"| {' | '.join(columns)} |", flush=True)
        rows.append(columns)
    return rows


def print_goals(found: dict[Contestant, Measured]) -> None:
    """The goals for each dtype and number of threads, held or missed."""
    for each, ours in found.items():
        if each.way != OURS or ours.failed:
            continue
        others = {
            other.name: measured
            for other, measured in found.items()
            if not measured.failed
            and (other.dtype, other.threads) == (each.dtype, each.threads)
            and other.way != OURS
        }
        same = {name: measured for name, measured in others.items() if measured.is_same}
        where = f"{each.dtype}, threads {each.threads}"
        for label, group in {"those of the same mathematics": same, "all": others}.items():
            if not group:
                print(f"{where}: nothing to compare with among {label}")
                continue
            best = max(group, key=lambda name: group[name].rate)
            ratio = ours.rate / group[best].rate
            print(
                f"{where}: {ratio:.2f}× the tokens/s of {best}, the fastest of {label}; "
                f"goal {FASTER}×: {_verdict(ratio >= FASTER)}"
            )
            least = min(group, key=lambda name: group[name].median("above"))
            ratio = ours.median("above") / max(1e-9, group[least].median("above"))
            print(
                f"{where}: {ratio:.2f}× the memory of {least}, the least of {label}; "
                f"goal {MEMORY}×: {_verdict(ratio <= MEMORY)}"
            )
        if others:
            losses = [measured.loss for measured in others.values()]
            middle = statistics.median(losses)
            # documents meet in other steps: noise is what the others differ by, at least 1 %
            noise = max(max(losses) - min(losses), LOSS * middle)
            difference = ours.loss - middle
            print(
                f"{where}: loss {difference:+.4f} to the median of the others, noise "
                f"{noise:.4f}: {_verdict(abs(difference) <= noise)}"
            )


def _verdict(held: bool) -> str:
    return "held" if held else "missed"


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    model = parser.add_mutually_exclusive_group(required=True)
    model.add_argument("--gguf", type=Path, help="the pretrained model, such as SmolLM2-135M")
    model.add_argument("--shape", choices=SHAPES, help="random weights of this shape instead")
    parser.add_argument("--data", type=Path, help="folder with GSM8K and the teacher traces")
    parser.add_argument("--trl", type=Path, help="folder that holds the package trl")
    parser.add_argument("--threads", type=int, nargs="+", help="default: 1 2; on a GPU 1")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=2048, help="timed, about")
    parser.add_argument("--max-length", type=int, default=1024, help="of a packed sequence")
    parser.add_argument(
        "--dtypes", nargs="+", choices=("bfloat16", "float32"), default=["bfloat16"]
    )
    parser.add_argument("--only", nargs="+", choices=WAYS, help="these contestants")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--json", type=Path, help="also write every result there")
    args = parser.parse_args(argv)
    args.threads = args.threads or ([1] if args.device == "cuda" else [1, 2])
    if args.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: no CUDA device here; leave it out to measure on the CPU")
    if args.data and not args.gguf:
        parser.error("--data needs the tokenizer of --gguf; a shape is trained on random token ids")
    if min(args.rounds, *args.threads) < 1 or args.tokens < 1 or args.max_length < 128:
        parser.error("--rounds, --threads and --tokens are at least 1, --max-length at least 128")
    if args.trl and not (args.trl / "trl").is_dir():
        parser.error(f"--trl {args.trl}: no package trl in this folder")
    return args


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit status, 1 where nothing could be measured."""
    args = parse_arguments(argv)
    transformers.logging.set_verbosity_error()
    contestants = list(list_contestants(args))
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(args, Path(name))
        print(
            f"torch {torch.__version__}, transformers {transformers.__version__}; {bench.summary}"
        )
        untrained = Contestant(OURS, args.dtypes[0], args.threads[0])
        try:
            start = bench.train(untrained, 1, batch=0, loss=True).loss
        except ChildError as error:
            print(f"the training process fails: {error}")
            return 1
        print(f"loss before training: {start:.4f}", flush=True)
        found = take_turns(bench, contestants)
    print_table(found)
    print_goals(found)
    if args.json:
        rows = [
            {**asdict(each), "micro_batch": size, "results": [asdict(r) for r in results]}
            for each, measured in found.items()
            for size, results in measured.results.items()
        ]
        args.json.write_text(json.dumps(rows), encoding="utf-8")
    return int(all(measured.failed for measured in found.values()))


if __name__ == "__main__":
    sys.exit(main())
