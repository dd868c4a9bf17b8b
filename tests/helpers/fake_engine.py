"""Helpers of the completion store's tests: a fake engine, requests, a run, a child process."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path

import polars as pl

from orion import completions
from orion.completions import parts
from orion.completions.parts import KEY
from orion.engines import Completion, GenerationConfig
from orion.models.document import ModelDocument

DOCUMENT = ModelDocument(name="fake", digest="ab" * 32, context_length=512)
GENERATION = GenerationConfig(
    num_samples=2,
    temperature=0.8,
    top_p=1.0,
    repetition_penalty=1.0,
    max_tokens=64,
    seed=0,
    engine="transformers",
)


class FakeEngine:
    """An engine whose answers follow from the seed; it remembers what it was asked."""

    def __init__(self, finish=lambda request: "stop"):
        self.finish = finish
        self.asked: list[str] = []
        self.times_opened = 0

    def open(self, kind, document, sampling, options, *, proven) -> "FakeEngine":
        self.times_opened += 1
        self.max_tokens = sampling.max_tokens
        return self

    def generate(self, requests) -> Iterator[Completion]:
        for request in sorted(requests, key=lambda r: r.seed):
            self.asked.append(request.key)
            reason = self.finish(request)
            text = f"{request.prompt} {request.seed}" if reason in ("stop", "length") else ""
            yield Completion(request.key, text, reason, len(request.prompt), 7 if text else 0)


def make_requests(problems: int, k: int, prompt: str = "solve {}") -> pl.DataFrame:
    rows = [(f"p{i:03}", j, "solve", prompt.format(i)) for i in range(problems) for j in range(k)]
    schema = {
        "problem_id": pl.String,
        "sample_id": pl.Int64,
        "template": pl.String,
        "prompt": pl.String,
    }
    return pl.DataFrame(rows, schema=schema, orient="row")


def run(
    requests: pl.DataFrame,
    root: Path,
    engine: FakeEngine | None = None,
    document: ModelDocument = DOCUMENT,
    call=completions.complete,
    **changes,
) -> tuple[pl.DataFrame, int]:
    """The completed table and the number of completions generated for it.

    ``changes``: of GENERATION, or further arguments of ``call``.
    """
    engine = engine or FakeEngine()
    names = {field.name for field in fields(GenerationConfig)}
    generation = replace(GENERATION, **{k: v for k, v in changes.items() if k in names})
    frame = call(
        requests,
        document=document,
        generation=generation,
        root=root,
        open_engine=engine.open,
        **{k: v for k, v in changes.items() if k not in names},
    )
    return frame, len(engine.asked)


def make_completion(number: int, text: str = "answer {}") -> Completion:
    return Completion(f"{number:064x}", text.format(number), "stop", 1, 1)


def make_keys(numbers) -> pl.DataFrame:
    return pl.DataFrame({KEY: [f"{number:064x}" for number in numbers]}, schema={KEY: pl.String})


def find_leftovers(root: Path) -> list[str]:
    """Names of the files that are no parts."""
    return [
        path.name
        for path in root.rglob("*")
        if path.is_file() and not parts.PART_NAME.fullmatch(path.name)
    ]


def start_child(code: str, *args) -> subprocess.Popen:
    """A process that runs the code after DOCUMENT and GENERATION were defined."""
    head = (
        "from orion.engines import GenerationConfig\n"
        "from orion.models.document import ModelDocument\n"
        f"DOCUMENT = {DOCUMENT!r}\nGENERATION = {GENERATION!r}\n"
    )
    environment = {**os.environ, "POLARS_MAX_THREADS": "1"}
    command = [sys.executable, "-c", head + code, *map(str, args)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    return subprocess.Popen(command, **pipes, text=True, env=environment)
