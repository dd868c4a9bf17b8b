"""Time our transformers engine against `model.generate`, well batched and one prompt at a time, on the same prompts.

Inputs: sizes; the model is the embedded student's architecture with random weights. Outputs: a table on standard output; exit
status 1 where the greedy texts differ or a goal is missed. One thread, one process; the loops take turns, medians of rounds.
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
sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

import torch  # noqa: E402
import transformers  # noqa: E402

from orion import prompts
from orion.demo import problems, student, tokenizer
from orion.engines import Request, Sampling, open_engine
from orion.models import checkpoints, templates

MAX_TOKENS = 128
# of a bare, well-batched loop, and of one prompt at a time
GOALS = {"generate, batched": 0.95, "generate, one by one": 3.0}
MARGIN = 1e-3


def checkpoint(folder: Path) -> dict:
    """The embedded student with random weights; an end token about every hundred tokens, so that rows end at different times."""
    torch.manual_seed(0)
    words = tokenizer.build_tokenizer()
    model = student.build_student(words, student.DEFAULTS)
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    return checkpoints.checkpoint_document(folder, name="random student", dtype="float32")


def workloads(n: int, doc: dict) -> dict[str, list[str]]:
    """Rendered prompts: k samples of short questions, and long reflection prompts that are all different."""
    chains = problems.generate("train", n, 7)
    words = checkpoints.load_tokenizer(doc)
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
    """The three ways to answer the same prompts; each returns (tokens generated, texts by prompt index)."""

    def __init__(self, doc: dict, texts: list[str], batch_size: int, temperature: float):
        self.texts, self.batch_size, self.temperature = texts, batch_size, temperature
        self.words = checkpoints.load_tokenizer(doc)
        self.model = checkpoints.load_model(doc, "cpu")
        sampling = Sampling(
            temperature=temperature, top_p=1.0, max_tokens=MAX_TOKENS, repetition_penalty=1.0
        )
        self.engine = open_engine(
            "transformers", doc, sampling, batch_size=batch_size, device="cpu"
        )
        self.end = self.words.eos_token_id

    def ours(self) -> tuple[int, dict[int, str]]:
        requests = [Request(str(i), text, 1000 + i) for i, text in enumerate(self.texts)]
        done = list(self.engine.generate(requests))
        return sum(c.completion_tokens for c in done), {int(c.key): c.response for c in done}

    def batched(self) -> tuple[int, dict[int, str]]:
        """Length-sorted, left-padded batches."""
        order = sorted(range(len(self.texts)), key=lambda i: -len(self.texts[i]))
        return self._generate(
            [order[i : i + self.batch_size] for i in range(0, len(order), self.batch_size)]
        )

    def one_by_one(self) -> tuple[int, dict[int, str]]:
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


def same_greedy(doc: dict, texts: list[str], batch_size: int) -> int:
    """How many greedy texts differ between the engine and the batched loop (near ties aside, none may)."""
    loops = Loops(doc, texts, batch_size, 0.0)
    ours, theirs = loops.ours()[1], loops.batched()[1]
    return sum(ours[i] != theirs[i] for i in ours)


def timed(loop: Callable[[], tuple[int, dict[int, str]]]) -> float:
    start = time.perf_counter()
    tokens, _ = loop()
    return tokens / (time.perf_counter() - start)


def row(
    name: str, doc: dict, texts: list[str], batch_size: int, rounds: int
) -> tuple[list[str], bool]:
    """One line of the table and whether both goals hold; raises SystemExit where the greedy texts differ."""
    differ = same_greedy(doc, texts[: 2 * batch_size], batch_size)
    if differ > MARGIN * len(texts) + 1:
        raise SystemExit(
            f"{name}: {differ} greedy texts differ from model.generate; nothing is timed"
        )
    loops = Loops(doc, texts, batch_size, 0.8)
    # a naive loop over everything would take minutes: a part of the prompts has the same rate
    part = Loops(doc, texts[: max(16, len(texts) // 8)], batch_size, 0.8)
    ways = {
        "ours": loops.ours,
        "generate, batched": loops.batched,
        "generate, one by one": part.one_by_one,
    }
    rates: dict[str, list[float]] = {way: [] for way in ways}
    for way in ways.values():
        way()
    for turn in range(rounds):
        names = list(ways)
        for way in names[turn % 3 :] + names[: turn % 3]:
            rates[way].append(timed(ways[way]))
    middle = {way: statistics.median(values) for way, values in rates.items()}
    ratios = {
        way: statistics.median(a / b for a, b in zip(rates["ours"], rates[way], strict=True))
        for way in GOALS
    }
    cells = [name, str(len(texts)), str(batch_size), *(f"{middle[way]:,.0f}" for way in ways)]
    return [*cells, *(f"{ratios[way]:.2f}×" for way in GOALS)], all(
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
        f"torch {torch.__version__}, transformers {transformers.__version__}, one thread, float32, temperature 0.8"
    )
    print(
        "| prompts | n | batch | ours tokens/s | generate, batched | one by one | ours / batched | ours / one by one |"
    )
    print("|---|---|---|---|---|---|---|---|")
    fine, rows = True, []
    with tempfile.TemporaryDirectory() as folder:
        doc = checkpoint(Path(folder))
        for name, texts in workloads(64 if args.quick else 512, doc).items():
            for batch_size in (16,) if args.quick else (64, 256):
                cells, good = row(name, doc, texts, batch_size, args.rounds)
                print(f"| {' | '.join(cells)} |", flush=True)
                rows.append(cells)
                fine = fine and good
    print(
        f"goals: at least {GOALS['generate, batched']}× and {GOALS['generate, one by one']}×: {'met' if fine else 'missed'}"
    )
    if args.json:
        args.json.write_text(json.dumps(rows))
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
