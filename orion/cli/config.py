"""``orion config schema | check | show``: the JSON schema, valid files, the keys of one job.

Inputs: YAML files. Outputs: text on standard output.
Run: ``orion config --help``.
"""

import argparse
import inspect
import json
import re
from typing import Any

from orion import config
from orion.config.stages import STAGES
from orion.errors import InputError
from orion.progress import log


def add(commands: Any) -> None:
    """Add the command ``config`` to the subparsers of the console script."""
    parser = commands.add_parser(
        "config", help="schema, validation and per-stage view of the configuration"
    )
    parser.add_argument("action", choices=["schema", "check", "show"])
    parser.add_argument("files", nargs="*", default=["config/config.yaml"])
    parser.add_argument("--stage", default="sample", help="show: the rule")
    parser.add_argument(
        "--wildcard",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="show: the rule's wildcards",
    )
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> None:
    if args.action == "schema":
        _print_json(config.Config.model_json_schema())
        return
    loaded = config.load(*args.files)
    if args.action == "check":
        config.check_traces(loaded)
        for name in config.check_without_weights(loaded):
            log(f"models.{name}: passed all checks that need no weights")
        print(f"ok: {', '.join(args.files)}")
    else:
        if args.stage not in STAGES:
            raise InputError(f"--stage {args.stage}: one of {', '.join(sorted(STAGES))}")
        wildcards = _read_wildcards(args.wildcard, args.stage, loaded)
        _print_json(config.stage_config(loaded, args.stage, **wildcards))


def _print_json(document: dict[str, Any]) -> None:
    print(json.dumps(document, indent=2, sort_keys=True))


def _read_wildcards(pairs: list[str], stage: str, loaded: config.Config) -> dict[str, str]:
    """The values of ``--wildcard NAME=VALUE``.

    Raises InputError for a name that the stage lacks and a value that the files do not define.
    """
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
        # its golds are those of either a dataset or a benchmark
        if len(wildcards) != 1:
            raise InputError("--stage lint: give one --wildcard, dataset=... or benchmark=...")
    elif absent:
        raise InputError(
            f"--stage {stage}: give {' '.join(f'--wildcard {name}=...' for name in absent)} too"
        )
    return wildcards
