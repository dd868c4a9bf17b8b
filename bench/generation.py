"""Time the engine transformers against `model.generate`, batched and one prompt at a time.

Inputs: sizes; the model has the embedded student's architecture and random weights. Outputs: a
table on standard output; exit status 1 where the greedy texts differ or a goal is missed. One
thread, one process; the loops take turns, and the table shows medians of the rounds.
Run: ``python bench/generation.py [--quick] [--rounds N] [--json FILE]``.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
import torch  # reads OMP_NUM_THREADS
import transformers

from orion import prompts
from orion.demo import problems, student, tokenizer
from orion.engines import Request, RuntimeOptions, Sampling, open_engine
from orion.models import checkpoints, templates
from orion.models.document import ModelDocument

MAX_TOKENS = 128
# the least speed relative to a well-batched loop, and to one prompt at a time
GOALS = {"generate, batched": 0.95, "generate, one by one": 3.0}
# the fraction of greedy texts that may differ, at near ties of two logits
MAX_DIFFERING = 1e-3


def make_checkpoint(folder: Path) -> ModelDocument:
    """The embedded student with random weights.

    It draws the end token about every hundred tokens, so that rows end at different times.
    """
    torch.manual_seed(0)
    words = tokenizer.build_tokenizer()
    model = student.build_student(words, student.DEFAULTS)
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    return checkpoints.checkpoint_document(folder, name="random student", dtype="float32")


def make_workloads(n: int, document: ModelDocument) -> dict[str, list[str]]:
    """Rendered prompts: several samples of short questions, and distinct long prompts."""
    chains = problems.generate("train", n, 7)
    words = checkpoints.load_tokenizer(document)
    ask = [prompts.solve("demo", p.problem) for p in chains[: n // 4]]
    reflect = [
        prompts.reflect("demo", p.problem, teacher=p.teacher_trace, errors=["1 + 1 = 3"])
        for p in chains[: n // 2]
    ]
    rendered = [
        [templates.render(words, [{"role": "user", "content": text}]) for text in texts]
        for texts in (ask, reflect)
    ]
    return {
        "4 samples of short prompts": [text for text in rendered[0] for _ in range(4)],
        "long prompts": rendered[1],
    }


class Loops:
    """Three ways to answer the same prompts; each returns (tokens generated, texts by index)."""

    def __init__(
        self, document: ModelDocument, texts: list[str], batch_size: int, temperature: float
    ):
        self.texts, self.batch_size, self.temperature = texts, batch_size, temperature
        self.words = checkpoints.load_tokenizer(document)
        self.model = checkpoints.load_model(document, "cpu")
        sampling = Sampling(
            temperature=temperature, top_p=1.0, max_tokens=MAX_TOKENS, repetition_penalty=1.0
        )
        options = RuntimeOptions(batch_size=batch_size, device="cpu")
        self.engine = open_engine("transformers", document, sampling, options)
        self.end = self.words.eos_token_id

    def run_engine(self) -> tuple[int, dict[int, str]]:
        requests = [Request(str(i), text, 1000 + i) for i, text in enumerate(self.texts)]
        done = list(self.engine.generate(requests))
        return sum(c.completion_tokens for c in done), {int(c.key): c.response for c in done}

    def generate_batched(self) -> tuple[int, dict[int, str]]:
        """Length-sorted, left-padded batches."""
        order = sorted(range(len(self.texts)), key=lambda i: -len(self.texts[i]))
        return self._generate(
            [order[i : i + self.batch_size] for i in range(0, len(order), self.batch_size)]
        )

    def generate_one_by_one(self) -> tuple[int, dict[int, str]]:
        return self._generate([[i] for i in range(len(self.texts))])

    @torch.inference_mode()
    def _generate(self, batches: list[list[int]]) -> tuple[int, dict[int, str]]:
        draw = (
            {"do_sample": True, "temperature": self.temperature, "top_k": 0}
            if self.temperature
            else {"do_sample": False}
        )
        tokens, texts = 0, {}
        for batch in batches:
            inputs = self.words(
                [self.texts[i] for i in batch],
                add_special_tokens=False,
                padding=True,
                return_tensors="pt",
            )
            inputs.pop("token_type_ids", None)
            out = self.model.generate(**inputs, max_new_tokens=MAX_TOKENS, **draw)[
                :, inputs["input_ids"].shape[1] :
            ]
            for i, row in zip(batch, out.tolist(), strict=True):
                row = row[: row.index(self.end) + 1] if self.end in row else row
                tokens += len(row)
                texts[i] = self.words.decode(
                    row, skip_special_tokens=True, clean_up_tokenization_spaces=False
                )
        return tokens, texts


def count_greedy_differences(document: ModelDocument, texts: list[str], batch_size: int) -> int:
    """How many greedy texts differ between the engine and the batched loop."""
    loops = Loops(document, texts, batch_size, 0.0)
    ours, theirs = loops.run_engine()[1], loops.generate_batched()[1]
    return sum(ours[i] != theirs[i] for i in ours)


def tokens_per_second(loop: Callable[[], tuple[int, dict[int, str]]]) -> float:
    start = time.perf_counter()
    tokens, _ = loop()
    return tokens / (time.perf_counter() - start)


def measure_row(
    name: str, document: ModelDocument, texts: list[str], batch_size: int, rounds: int
) -> tuple[list[str], bool]:
    """One line of the table and whether both goals are met.

    Raises SystemExit where the greedy texts differ.
    """
    differ = count_greedy_differences(document, texts[: 2 * batch_size], batch_size)
    if differ > MAX_DIFFERING * len(texts) + 1:
        raise SystemExit(
            f"{name}: {differ} greedy texts differ from model.generate; nothing is timed"
        )
    loops = Loops(document, texts, batch_size, 0.8)
    # one by one, all prompts would take minutes; a part of them has the same rate
    part = Loops(document, texts[: max(16, len(texts) // 8)], batch_size, 0.8)
    ways = {
        "ours": loops.run_engine,
        "generate, batched": loops.generate_batched,
        "generate, one by one": part.generate_one_by_one,
    }
    rates: dict[str, list[float]] = {way: [] for way in ways}
    for way in ways.values():
        way()
    for turn in range(rounds):
        names = list(ways)
        for way in names[turn % 3 :] + names[: turn % 3]:
            rates[way].append(tokens_per_second(ways[way]))
    middle = {way: statistics.median(values) for way, values in rates.items()}
    ratios = {
        way: statistics.median(a / b for a, b in zip(rates["ours"], rates[way], strict=True))
        for way in GOALS
    }
    columns = [name, str(len(texts)), str(batch_size), *(f"{middle[way]:,.0f}" for way in ways)]
    return [*columns, *(f"{ratios[way]:.2f}×" for way in GOALS)], all(
        ratios[way] >= goal for way, goal in GOALS.items()
    )


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="few prompts, one batch size")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="also write the rows there")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    print(
        f"torch {torch.__version__}, transformers {transformers.__version__}, one thread, "
        "float32, temperature 0.8"
    )
    print(
        "| prompts | n | batch | ours tokens/s | generate, batched | one by one | ours / batched "
        "| ours / one by one |"
    )
    print("|---|---|---|---|---|---|---|---|")
    fine, rows = True, []
    with tempfile.TemporaryDirectory() as folder:
        document = make_checkpoint(Path(folder))
        for name, texts in make_workloads(64 if args.quick else 512, document).items():
            for batch_size in (16,) if args.quick else (64, 256):
                columns, good = measure_row(name, document, texts, batch_size, args.rounds)
                print(f"| {' | '.join(columns)} |", flush=True)
                rows.append(columns)
                fine = fine and good
    print(
        f"goals: at least {GOALS['generate, batched']}× and {GOALS['generate, one by one']}×: "
        f"{'met' if fine else 'missed'}"
    )
    if args.json:
        args.json.write_text(json.dumps(rows))
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
