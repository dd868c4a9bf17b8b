"""What the stages that generate have in common: their options, their shards, and the call of the cell store.

Inputs: the completions wanted, a model document, the command line. Outputs: the completed table. Not runnable.
"""

import argparse
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import polars as pl

from orion import cells, stage
from orion.errors import InputError

# which options an engine has; none of them can change an answer
SPEED = {
    "transformers": ("batch_size",),
    "vllm": ("batch_size", "tensor_parallel_size", "gpu_memory_utilization", "batch_invariant"),
    "openai": ("batch_size", "token_budget", "base_url", "api_key_env"),
}
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG, prctl(2)


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of a stage that generates; all of them change speed, place or cost only."""
    parser.add_argument(
        "--batch-size", type=_positive, help="sequences or requests under way at a time"
    )
    parser.add_argument(
        "--tensor-parallel-size", type=_positive, default=1, help="vllm: GPUs that share one model"
    )
    parser.add_argument(
        "--gpu-memory-percent",
        type=_positive,
        default=90,
        help="vllm: part of a GPU's memory to use",
    )
    parser.add_argument(
        "--batch-invariant", type=int, choices=(0, 1), default=0, help="vllm: see envs/README.md"
    )
    parser.add_argument(
        "--token-budget", type=_count, default=0, help="openai: tokens a run may cost; 0: no limit"
    )
    parser.add_argument(
        "--base-url",
        default="",
        help="openai: the server, http(s)://host:port/v1; $NAME is looked up",
    )
    parser.add_argument(
        "--api-key-env", default="", help="openai: the environment variable that holds the key"
    )
    parser.add_argument(
        "--shards", type=_positive, default=1, help="processes, each with its share of the GPUs"
    )
    parser.add_argument(
        "--shard", type=cells.parse_shard, metavar="I/N", help="generate this share only; no output"
    )


def _count(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text}: at least 0")
    return number


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text}: at least 1")
    return number


def complete(
    requests: pl.DataFrame,
    args: argparse.Namespace,
    argv: Sequence[str] | None,
    *,
    module: str,
    model_doc: dict,
) -> pl.DataFrame | None:
    """The completed table of the requests; None for a share (``--shard``), whose completions only go to the cell store.

    ``module`` is run again with the same command line for each of ``--shards`` processes. Raises InputError where one fails.
    """
    generation = args.config["generation"]
    common = {
        "model_doc": model_doc,
        "generation": generation,
        "root": args.cells,
        **speed(generation["engine"], args),
    }
    if args.shard is not None:
        cells.complete_shard(requests, shard=args.shard, **common)
        return None
    if args.shards > 1:
        _run_shards(module, sys.argv[1:] if argv is None else argv, args.shards)
    return cells.complete(requests, **common)


def speed(engine: str, args: argparse.Namespace) -> dict:
    """The options of the command line that the engine has."""
    shares = args.shard[1] if args.shard else 1
    given = {
        **vars(args),
        "token_budget": max(1, args.token_budget // shares) if args.token_budget else None,
        "batch_invariant": bool(args.batch_invariant),
        "gpu_memory_utilization": args.gpu_memory_percent / 100,
        "base_url": args.base_url or None,
        "api_key_env": args.api_key_env or None,
    }
    return {name: given[name] for name in SPEED.get(engine, ()) if given[name] is not None}


def _run_shards(module: str, argv: Sequence[str], n: int) -> None:
    shares = visible_devices(n)
    stage.log(f"{n} processes" + (f", GPUs {' | '.join(shares)}" if shares else ""))
    running = []
    with stage.sigterm_is_an_exception():
        try:
            for i in range(n):
                env = {**os.environ, **({"CUDA_VISIBLE_DEVICES": shares[i]} if shares else {})}
                command = [sys.executable, "-m", module, *argv, "--shard", f"{i}/{n}"]
                running.append(subprocess.Popen(command, env=env, preexec_fn=_dies_with_parent()))
            codes = [process.wait() for process in running]
        finally:
            for process in running:
                process.terminate()
            # they store what they have, and the GPUs are free when this process ends
            for process in running:
                process.wait()
    failed = [str(i) for i, code in enumerate(codes) if code]
    if failed:
        raise InputError(
            f"shard {', '.join(failed)} of {n} failed, see above; what the shards stored is kept: run again, "
            "or with fewer shards"
        )


def _dies_with_parent() -> Callable[[], None] | None:
    """Where the system can: a share does not go on spending when the process that wanted it was killed."""
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None).prctl
    return lambda: prctl(_DIE_WITH_PARENT, signal.SIGTERM)


def visible_devices(n: int) -> list[str]:
    """CUDA_VISIBLE_DEVICES of each of n processes; empty where there are fewer than n GPUs, which the processes then share."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    devices = (
        list(filter(None, named.split(",")))
        if named is not None
        else [str(i) for i in range(len(list(Path("/dev").glob("nvidia[0-9]*"))))]
    )
    each = len(devices) // n
    return [",".join(devices[i * each : (i + 1) * each]) for i in range(n)] if each else []
