"""Invented replies of a judge for ``fake_results.py``: one that mostly likes what stands first."""

import random
from collections.abc import Callable
from pathlib import Path

from orion import paths, tables
from orion.config import Config, list_judged
from orion.experiment.judgements import JUDGEMENTS, ORDERS, draw_problems, read_reply
from orion.report.rules import JUDGEMENTS as PATH

# the last lines of the replies, with their weights
ENDS = {"[[A]]": 6, "[[B]]": 3, "So: [[tie]]": 1, "<script>alert(1)</script>": 1}


def make(
    config: Config,
    wildcards: dict[str, str],
    locate: Callable[..., Path],
    record: Callable[..., dict],
) -> None:
    """The tables of all comparisons of one student, whose evaluations are there."""
    block = config.report.judge
    for arm, against, benchmark in list_judged(config, wildcards["model"]):
        keys = {**wildcards, "arm": arm, "against": against, "benchmark": benchmark}
        run = {**keys, "seed": config.runs.seeds[0]}
        inputs = {
            "problems": locate(paths.BENCHMARK_PROBLEMS, **keys),
            "samples": locate(paths.EVALUATION_SAMPLES, **run),
            "against_samples": locate(paths.EVALUATION_SAMPLES, **{**run, "arm": against}),
            "model": locate(paths.MODEL, model=block.model),
            "preflight": locate(paths.PREFLIGHT, model=block.model),
        }
        problems = tables.read(inputs["problems"], tables.PROBLEMS, ["problem_id"])["problem_id"]
        rows = []
        for problem_id in draw_problems(problems, block.pairs, block.seed):
            for order in ORDERS:
                for number in range(block.num_samples):
                    rng = random.Random(f"judge|{keys}|{problem_id}|{order}|{number}")
                    [end] = rng.choices([*ENDS], [*ENDS.values()])
                    rows.append(
                        {
                            "problem_id": problem_id,
                            "order": order,
                            "sample_id": number,
                            "verdict": read_reply(f"Both are short.\n{end}", "stop", order),
                            "response": f"Both are short.\n{end}",
                            "finish_reason": "stop",
                            "prompt_tokens": 40,
                            "completion_tokens": 9,
                            "completion": f"{problem_id}{order}{number}",
                        }
                    )
        frame = tables.from_rows(rows, JUDGEMENTS)
        tables.write(frame, locate(PATH, **keys), JUDGEMENTS, record("judge", inputs, **keys))
