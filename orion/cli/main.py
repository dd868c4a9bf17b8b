"""The parser of the console script ``orion``; each command group is a module beside it."""

import argparse
import os
import sys
from collections.abc import Sequence

from orion.cli import (
    answers,
    compare,
    completions,
    config,
    cost,
    data,
    merge,
    plan,
    power,
    prompts,
    why,
)
from orion.stages import command


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point of the console script."""
    parser = argparse.ArgumentParser(
        prog="orion",
        description="Look into a run: its configuration, data, prompts, answers and completions; "
        "plan its size and its cost, say what it has cost and why it trained on what; compare two "
        "runs; merge its adapters.",
    )
    commands = parser.add_subparsers(required=True)
    for group in (
        *(config, data, prompts, answers, completions),
        *(power, plan, cost, why, compare, merge),
    ):
        group.add(commands)
    args = parser.parse_args(argv)
    try:
        command.run(lambda: args.run(args))
        sys.stdout.flush()
    except BrokenPipeError:
        # the reader, such as head, has gone; the exit must not write into the pipe again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
