"""The console script ``orion``.

``orion config schema|check|show`` prints the JSON schema, validates YAML files, prints one job's keys.
``orion answers check|lint|audit`` checks one answer, lints golds, compares two answer policies on a file.
``orion completions stat|verify|gc`` tells what the cell store holds, checks it, clears it.
"""

import argparse
import inspect
import json
import re
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
        if args.stage not in STAGES:
            raise InputError(f"--stage {args.stage}: one of {', '.join(sorted(STAGES))}")
        wildcards = _read_wildcards(args.wildcard, args.stage, loaded)
        print(
            json.dumps(
                config.stage_config(loaded, args.stage, **wildcards), indent=2, sort_keys=True
            )
        )


def _read_wildcards(pairs: list[str], stage: str, loaded: config.Config) -> dict[str, str]:
    """The values of ``--wildcard NAME=VALUE``, checked against what the stage and the files know."""
    wanted = [name for name in inspect.signature(STAGES[stage]).parameters if name != "config"]
    wildcards: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not value:
            raise InputError(f"--wildcard {pair}: give NAME=VALUE, such as dataset=chains")
        if name not in wanted:
            known = f"it has {', '.join(wanted)}" if wanted else "it has none"
            raise InputError(f"--wildcard {pair}: {stage} has no wildcard {name}; {known}")
        if name in wildcards:
            raise InputError(f"--wildcard {pair}: {name} is given twice; keep one")
        if name == "seed":
            if not re.fullmatch(r"[0-9]+", value):
                raise InputError(f"--wildcard {pair}: a seed is a whole number such as seed=1")
        elif value not in (known_names := getattr(loaded, f"{name}s")):
            raise InputError(
                f"--wildcard {pair}: {value} is not defined under {name}s; "
                f"one of {', '.join(sorted(known_names))}"
            )
        wildcards[name] = value
    absent = [name for name in wanted if name not in wildcards]
    if stage == "lint":
        # golds are those of a dataset or those of a benchmark
        if len(wildcards) != 1:
            raise InputError("--stage lint: give one --wildcard, dataset=... or benchmark=...")
    elif absent:
        raise InputError(
            f"--stage {stage}: give {' '.join(f'--wildcard {name}=...' for name in absent)} too"
        )
    return wildcards


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
