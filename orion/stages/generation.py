"""Options, shards, the call of the completion store and its limits, for generating stages."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from orion import completions, processes
from orion.engines import GenerationConfig, RuntimeOptions
from orion.engines.budget import budget_folder, remove_budget
from orion.errors import InputError
from orion.experiment.degenerate import count_failed
from orion.models import preflight
from orion.models.document import ModelDocument
from orion.models.token_limits import check_token_limits
from orion.spending import ceiling
from orion.spending.usage import Watch


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a generating stage; they change speed, place or cost, never an answer."""
    preflight.add_option(parser)
    add = parser.add_argument
    add("--batch-size", type=_positive, help="sequences or requests under way at a time")
    add("--tensor-parallel-size", type=_positive, default=1, help="vllm: GPUs per model")
    add("--gpu-memory-percent", type=_positive, default=90, help="vllm: share of a GPU's memory")
    add("--batch-invariant", type=int, choices=(0, 1), default=0, help="vllm: see docs/engines.md")
    add("--token-budget", type=_count, default=0, help="openai: tokens, all tries; 0: no limit")
    add("--base-url", default="", help="openai: http(s)://host:port/v1; $NAME is looked up")
    add("--api-key-env", default="", help="openai: the environment variable that holds the key")
    add("--headers", type=_texts, default={}, help="openai: further headers, a JSON object")
    add("--query", type=_texts, default={}, help="openai: query parameters, a JSON object")
    add("--shards", type=_positive, default=1, help="processes; the GPUs are divided among them")
    ceiling.add_option(parser)
    add("--shard", type=completions.parse_shard, metavar="I/N", help="generate shard I only")


def _count(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text}: at least 0")
    return number


def _texts(text: str) -> dict[str, str]:
    try:
        found = json.loads(text or "{}")
    except ValueError:
        found = None
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise argparse.ArgumentTypeError('give a JSON object of texts, such as {"name": "value"}')
    return found


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
    document: ModelDocument,
    generation: GenerationConfig,
    max_failed_fraction: float,
) -> pl.DataFrame | None:
    """The completed table of the requests.

    With ``--shard`` the shard's completions only go to the store, and the result is None. With
    ``--shards`` N, ``module`` runs N times with the same command line and one shard each. Raises
    InputError where a shard fails, where ``max_tokens`` leaves no room for a prompt, and where more
    than ``max_failed_fraction`` of the rows have failed, and where ``--ceiling`` leaves no room.
    """
    check_token_limits(
        document.name, document.context_length, {"max_tokens": generation.max_tokens}
    )
    options = read_options(args)
    is_timed = args.ceiling is not None and args.ceiling.counts_time
    results = Path(args.completions).parent
    with Watch(results, is_active=is_timed, records=args.shard is None) as watch:
        meter = completions.Meter(args.ceiling, args.completions, watch) if args.ceiling else None
        if args.shard is not None:
            completions.complete_shard(
                requests,
                shard=args.shard,
                document=document,
                generation=generation,
                root=args.completions,
                options=options,
                meter=meter,
            )
            return None
        if args.shards > 1:
            processes.run_shards(module, sys.argv[1:] if argv is None else argv, args.shards)
        table = completions.complete(
            requests,
            document=document,
            generation=generation,
            root=args.completions,
            options=options,
            meter=meter,
        )
        check_completions(table, args.output, document, generation.max_tokens, max_failed_fraction)
    if options.budget_folder is not None:
        remove_budget(options.budget_folder)
    return table


def check_completions(
    table: pl.DataFrame, output: str, document: ModelDocument, max_tokens: int, limit: float
) -> None:
    """Raise InputError where more than the fraction ``limit`` of the rows have failed.

    ``output``: the table's place, which the message names.
    """
    found = count_failed(table)
    if not found.exceeds(limit):
        return
    cures = []
    if found.prompt_too_long:
        cures.append(
            f"lower max_tokens, since the longest prompt has {found.longest_prompt} tokens, and "
            f"with max_tokens = {max_tokens} it must fit into the {document.context_length} tokens "
            f"of context that {document.name} has"
        )
    if found.error:
        cures.append("run again, which asks for the failed requests only")
    if found.empty:
        cures.append("see whether the chat template and the end tokens are the model's own")
    raise InputError(
        f"{output}: {found}, more than max_failed_fraction = {limit:g}. Cures: "
        f"{'; '.join(cures)}; or raise max_failed_fraction if so many may fail"
    )


def read_options(args: argparse.Namespace) -> RuntimeOptions:
    """The runtime options of the command line; all tries and shards share one token budget."""
    budget = args.token_budget or None
    return RuntimeOptions(
        batch_size=args.batch_size,
        tensor_parallel_size=args.tensor_parallel_size,
        gpu_memory_utilization=args.gpu_memory_percent / 100,
        batch_invariant=bool(args.batch_invariant),
        token_budget=budget,
        budget_folder=budget_folder(args.completions, args.output) if budget else None,
        base_url=args.base_url or None,
        api_key_env=args.api_key_env or None,
        headers=args.headers,
        query=args.query,
    )
