"""The command line that every stage shares: its parser, its typed configuration, its exit codes."""

import argparse
import dataclasses
import json
import sys
import types
import typing
from collections.abc import Callable
from typing import Any, TypeVar

from orion.errors import InputError

Config = TypeVar("Config")


def make_parser(module_doc: str | None, *paths: str) -> argparse.ArgumentParser:
    """A parser with ``--config`` (the stage's keys as one JSON string) and one option per path.

    All of them are required.
    """
    parser = argparse.ArgumentParser(
        description=module_doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--config", required=True, type=json.loads, help="the stage's configuration keys as JSON"
    )
    for name in paths:
        parser.add_argument(f"--{name}", required=True, metavar="PATH")
    return parser


def read_config(kind: type[Config], raw: dict[str, Any], place: str = "--config") -> Config:
    """The keys of ``--config`` as the stage's dataclass; nested dataclasses are built too.

    The values were validated by ``orion.config``; canonical JSON drops nulls, so an absent key has
    its default. Raises InputError for an unknown key, and for a missing one without a default.
    """
    hints = typing.get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(raw) - set(fields))
    if unknown:
        raise InputError(f"{place}: unknown keys: {', '.join(unknown)}")
    missing = dataclasses.MISSING
    absent = [
        name
        for name, field in fields.items()
        if name not in raw and field.default is missing and field.default_factory is missing
    ]
    if absent:
        raise InputError(f"{place}: missing keys: {', '.join(absent)}")
    values = {name: _build(hints[name], value, f"{place}.{name}") for name, value in raw.items()}
    return kind(**values)


def _build(hint: Any, value: Any, place: str) -> Any:
    """A nested mapping as the dataclass that the hint names; every other value as it is."""
    optional = typing.get_origin(hint) in (typing.Union, types.UnionType)
    for option in typing.get_args(hint) if optional else (hint,):
        if dataclasses.is_dataclass(option) and isinstance(value, dict):
            return read_config(typing.cast(type, option), value, place)
    return value


def run(main: Callable[[], None]) -> None:
    """Run a stage's main; bad input prints its message without a traceback, exit status 2."""
    try:
        main()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
