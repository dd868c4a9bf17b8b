"""Time the engine transformers against `model.generate` and, if given, against vLLM.

Inputs: sizes; the embedded student with random weights, with its own vocabulary and with one of
151,936 entries; a pretrained model as a GGUF file (``--gguf``); the Python
of vLLM's environment (``--vllm-python``). Outputs: a table on standard output; exit status 1 where
the greedy texts differ or a goal is missed. One thread and processor seconds, so that other work on
the machine counts little; the loops take turns, and ratios are medians of the rounds.
Run: ``python -m bench.generation [--quick] [--rounds N] [--gguf FILE] [--json FILE]``.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
import torch  # reads OMP_NUM_THREADS
import transformers

from bench import checkpoints as models
from orion import prompts
from orion.demo import problems
from orion.engines import Request, RuntimeOptions, Sampling
from orion.engines.transformers import TransformersEngine
from orion.models import checkpoints, templates
from orion.models.document import ModelDocument

MAX_TOKENS = 128
SAMPLING = Sampling(temperature=0.8, top_p=1.0, max_tokens=MAX_TOKENS, repetition_penalty=1.0)
LARGE_VOCABULARY = 151_936  # as of the Qwen models
# the fraction of greedy texts that may differ, at near ties of two logits
MAX_DIFFERING = 1e-3
# the largest part of a step that drawing may take; the toy's own step is too short for the goal
MAX_DRAW = 0.10


@dataclass(frozen=True)
class Case:
    """One line of the table. ``goals``: the least ratio of ours to each other way."""

    name: str
    document: ModelDocument
    texts: list[str]
    batch_size: int
    goals: dict[str, float]
    rounds: int
    draw_goal: bool = False
    check_greedy: bool = True


def demo_prompts(n: int, document: ModelDocument) -> dict[str, list[str]]:
    """Rendered prompts: several samples of short questions, and distinct long prompts."""
    chains = problems.generate("train", n, 7)
    ask = [prompts.solve("demo", p.problem) for p in chains[: n // 4]]
    reflect = [
        prompts.reflect("demo", p.problem, teacher=p.teacher_trace, errors=["1 + 1 = 3"])
        for p in chains[: n // 2]
    ]
    return {
        "4 samples of short prompts": [text for text in _render(document, ask) for _ in range(4)],
        "long prompts": _render(document, reflect),
    }


def chat_prompts(n: int, document: ModelDocument) -> dict[str, list[str]]:
    """Rendered prompts in words: distinct short questions, and reflections on four attempts each.

    The reflections of one question share it and its trace.
    """
    chains = problems.generate("train", n, 7)
    story = "A shop has {} boxes. Each holds {} pens. {} pens are sold. How many are left?"
    ask = [story.format(i % 7 + 3, i % 11 + 5, i % 13 + 2) + f" Day {i}." for i in range(n)]
    reflect = [
        prompts.reflect("chat", story.format(i, i + 2, i), teacher=trace, errors=[error])
        for i, trace in enumerate(8 * chain.teacher_trace for chain in chains[: n // 4])
        for error in ("It is 12.", "The shop has 40 pens.", "I do not know.", "7")
    ]
    return {
        "short prompts": _render(document, [prompts.solve("chat", text) for text in ask]),
        "reflections, 4 of each trace": _render(document, reflect),
    }


def _render(document: ModelDocument, texts: list[str]) -> list[str]:
    words = checkpoints.load_tokenizer(document)
    return [templates.render(words, [{"role": "user", "content": text}]) for text in texts]


class TimedEngine(TransformersEngine):
    """The engine, with the seconds that its steps and their draws take."""

    def __init__(self, document: ModelDocument, sampling: Sampling, options: RuntimeOptions):
        super().__init__(document, sampling, options)
        self.seconds = {"step": 0.0, "draw": 0.0}

    @contextmanager
    def _timed(self, part: str) -> Iterator[None]:
        start = time.process_time()
        yield
        self.seconds[part] += time.process_time() - start

    def _step(self, *args: Any) -> list[int]:
        with self._timed("step"):
            return super()._step(*args)

    def _draw(self, *args: Any) -> torch.Tensor:
        with self._timed("draw"):
            return super()._draw(*args)


class Loops:
    """Ways to answer the same prompts; each returns (tokens generated, texts by index)."""

    def __init__(self, case: Case, sampling: Sampling):
        self.texts, self.batch_size, self.sampling = case.texts, case.batch_size, sampling
        self.words = checkpoints.load_tokenizer(case.document)
        options = RuntimeOptions(batch_size=case.batch_size, device="cpu")
        self.engine = TimedEngine(case.document, sampling, options)
        self.model = checkpoints.load_model(case.document, "cpu")
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
        """A part of the prompts; all would take minutes, at the same rate."""
        return self._generate([[i] for i in range(max(16, len(self.texts) // 8))])

    @torch.inference_mode()
    def _generate(self, batches: list[list[int]]) -> tuple[int, dict[int, str]]:
        draw: dict[str, Any] = {"do_sample": False}
        if self.sampling.temperature:
            draw = {"do_sample": True, "temperature": self.sampling.temperature, "top_k": 0}
            draw["top_p"] = self.sampling.top_p
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


@contextmanager
def vllm_rate(python: str, case: Case, sampling: Sampling) -> Iterator[Callable[[], float]]:
    """A function that gives vLLM a turn in its own process and returns tokens per second."""
    settings = {
        "document": asdict(case.document),
        "sampling": asdict(sampling),
        "batch_size": case.batch_size,
    }
    command = [python, "-m", "bench.generation_vllm", json.dumps(settings)]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdin is not None and child.stdout is not None
    child.stdout.readline()

    def turn() -> float:
        child.stdin.write(json.dumps(case.texts) + "\n")  # type: ignore[union-attr]
        child.stdin.flush()  # type: ignore[union-attr]
        answer = json.loads(child.stdout.readline())  # type: ignore[union-attr]
        return float(answer["tokens"] / answer["seconds"])

    try:
        yield turn
    finally:
        child.stdin.close()
        child.wait()


def tokens_per_second(loop: Callable[[], tuple[int, dict[int, str]]]) -> float:
    start = time.process_time()
    tokens, _ = loop()
    return tokens / (time.process_time() - start)


def assert_greedy_equal(case: Case) -> None:
    """Raises SystemExit where greedy texts differ between the engine and the batched loop."""
    few = replace(case, texts=case.texts[: 2 * case.batch_size])
    loops = Loops(few, replace(SAMPLING, temperature=0.0))
    ours, theirs = loops.run_engine()[1], loops.generate_batched()[1]
    differ = sum(ours[i] != theirs[i] for i in ours)
    if differ > MAX_DIFFERING * len(case.texts) + 1:
        raise SystemExit(
            f"{case.name}: {differ} greedy texts differ from model.generate; nothing is timed"
        )


def measure(case: Case, vllm_python: str | None) -> tuple[list[str], bool]:
    """One line of the table and whether its goals are met."""
    if case.check_greedy:
        assert_greedy_equal(case)
    loops = Loops(case, SAMPLING)
    ways = {
        "ours": lambda: tokens_per_second(loops.run_engine),
        "generate, batched": lambda: tokens_per_second(loops.generate_batched),
    }
    if "generate, one by one" in case.goals:
        ways["generate, one by one"] = lambda: tokens_per_second(loops.generate_one_by_one)
    if vllm_python is not None and "vLLM" in case.goals:
        with vllm_rate(vllm_python, case, SAMPLING) as turn:
            rates = _take_turns({**ways, "vLLM": turn}, case.rounds)
    else:
        rates = _take_turns(ways, case.rounds)
    ratios = {
        way: statistics.median(a / b for a, b in zip(rates["ours"], found, strict=True))
        for way, found in rates.items()
        if way != "ours"
    }
    draw = loops.engine.seconds["draw"] / loops.engine.seconds["step"]
    print(f"  {case.name}: {json.dumps(rates)}", file=sys.stderr)
    columns = [case.name, case.document.dtype or "", str(len(case.texts)), str(case.batch_size)]
    columns.append(f"{statistics.median(rates['ours']):,.0f}")
    for way in ("generate, batched", "generate, one by one", "vLLM"):
        columns.append(
            f"{statistics.median(rates[way]):,.0f} ({ratios[way]:.2f}×)" if way in rates else "–"
        )
    fine = all(ratio >= case.goals.get(way, 0) for way, ratio in ratios.items())
    return [*columns, f"{draw:.1%}"], fine and (draw <= MAX_DRAW or not case.draw_goal)


def _take_turns(ways: dict[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    rates: dict[str, list[float]] = {way: [] for way in ways}
    names = list(ways)
    for turn in range(rounds):
        first = turn % len(names)
        for way in names[first:] + names[:first]:
            rates[way].append(ways[way]())
    return rates


def toy_cases(folder: Path, quick: bool, rounds: int) -> Iterator[Case]:
    """The embedded student, with its vocabulary and with a large one."""
    goals = {"generate, batched": 0.95, "generate, one by one": 3.0}
    document = models.random_student(folder / "toy")
    for name, texts in demo_prompts(64 if quick else 512, document).items():
        for batch_size in (16,) if quick else (64, 256):
            yield Case(f"toy: {name}", document, texts, batch_size, goals, rounds)
    document = models.random_student(folder / "large", vocabulary=LARGE_VOCABULARY)
    texts = demo_prompts(64 if quick else 256, document)["4 samples of short prompts"]
    name = f"toy, {LARGE_VOCABULARY:,} entries: short prompts"
    batch_size = 16 if quick else 64
    # equal logits of the added entries: greedy texts have ties, and nothing says who wins them
    goals = {"generate, batched": 0.95}
    yield Case(name, document, texts, batch_size, goals, rounds, check_greedy=False)


def pretrained_cases(folder: Path, args: argparse.Namespace) -> Iterator[Case]:
    """A pretrained model with its vocabulary and with a large one."""
    n, batch_size = (16, 8) if args.quick else (args.prompts, 64)
    goals = {"generate, batched": 1.5, "vLLM": 1.0}
    for vocabulary in (None, LARGE_VOCABULARY):
        label = "" if vocabulary is None else f", {vocabulary:,} entries"
        place = folder / f"pretrained{vocabulary}"
        document = models.from_gguf(args.gguf, place, dtype=args.dtype, vocabulary=vocabulary)
        for name, texts in chat_prompts(n, document).items():
            case = Case(
                f"{args.gguf.stem}{label}: {name}",
                document,
                texts,
                batch_size,
                goals,
                args.rounds,
                draw_goal=True,
                check_greedy=document.dtype == "float32" and vocabulary is None,
            )
            if vocabulary is None or name == "short prompts":
                yield case


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="few prompts, one batch size")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--gguf", type=Path, help="time this pretrained model instead of the toy")
    parser.add_argument("--dtype", default="bfloat16", help="of the pretrained model")
    parser.add_argument("--prompts", type=int, default=128, help="for the pretrained model")
    parser.add_argument("--vllm-python", help="also time vLLM (pretrained model)")
    parser.add_argument("--json", type=Path, help="also write the rows there")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    print(
        f"torch {torch.__version__}, transformers {transformers.__version__}, one thread, "
        f"temperature 0.8, {MAX_TOKENS} new tokens, tokens per processor second"
    )
    print(
        "| prompts | dtype | n | batch | ours | generate, batched | one by one | vLLM "
        "| drawing, of a step |\n|---|---|---|---|---|---|---|---|---|"
    )
    fine, rows = True, []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cases = (
            pretrained_cases(folder, args)
            if args.gguf
            else toy_cases(folder, args.quick, args.rounds)
        )
        for case in cases:
            columns, good = measure(case, args.vllm_python)
            print(f"| {' | '.join(columns)} |", flush=True)
            rows.append(columns)
            fine = fine and good
    print(f"goals {'met' if fine else 'missed'}")
    if args.json:
        args.json.write_text(json.dumps(rows))
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
