"""The console script ``orion``.

``orion config schema|check|show`` prints the JSON schema, validates YAML files, prints one job's keys.
``orion answers check|lint|audit`` checks one answer, lints golds, compares two answer policies on a file.
``orion completions stat|verify|gc`` tells what the cell store holds, checks it, clears it.
"""

import argparse
import json
from collections.abc import Sequence

from orion import config
from orion.cli import answers, completions
from orion.config.stages import STAGES
from orion.errors import InputError
from orion.stages import command


def _config(args: argparse.Namespace) -> None:
    if args.action == "schema":
        print(json.dumps(config.Config.model_json_schema(), indent=2, sort_keys=True))
        return
    loaded = config.load(*args.files)
    if args.action == "check":
        print(f"ok: {', '.join(args.files)}")
    elif args.action == "show":
        wildcards = dict(pair.split("=", 1) for pair in args.wildcard)
        if args.stage not in STAGES:
            raise InputError(f"--stage {args.stage}: one of {', '.join(sorted(STAGES))}")
        print(
            json.dumps(
                config.stage_config(loaded, args.stage, **wildcards), indent=2, sort_keys=True
            )
        )


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point of the console script."""
    parser = argparse.ArgumentParser(prog="orion", description=__doc__)
    commands = parser.add_subparsers(required=True)
    sub = commands.add_parser(
        "config", help="schema, validation and per-stage view of the configuration"
    )
    sub.add_argument("action", choices=["schema", "check", "show"])
    sub.add_argument("files", nargs="*", default=["config/config.yaml"])
    sub.add_argument("--stage", default="sample", help="show: the rule")
    sub.add_argument(
        "--wildcard",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="show: the rule's wildcards",
    )
    sub.set_defaults(run=_config)
    answers.add(commands)
    completions.add(commands)
    args = parser.parse_args(argv)
    command.run(lambda: args.run(args))
