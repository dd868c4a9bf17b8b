"""Preflight: what a model has to pass before anything is paid for, and its file preflight.json.

A check is a row: its name, whether it passed, what was found (``figure``) and, where it failed,
what to do (``cure``). A failed check stops the rule register_model, so a preflight.json holds
passed checks only. It does not depend on keys that the rule does not track: limits and LoRA targets
are checked, and the figures say what the model allows. Importing this module imports neither torch
nor transformers.
"""

import argparse
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from orion.errors import InputError
from orion.models.document import ModelDocument
from orion.models.lora_targets import LoraUse


@dataclass(frozen=True)
class Uses:
    """What the run does with a model.

    ``prompts``: the prompt set. ``token_limits``: key of the configuration → tokens. ``lora``: the
    adapters that are trained on it.
    """

    is_trained: bool = False
    prompts: str = "chat"
    enable_thinking: bool | None = None
    token_limits: Mapping[str, int] = field(default_factory=dict)
    lora: tuple[LoraUse, ...] = ()


@dataclass(frozen=True)
class Check:
    """One row of preflight.json; ``cure`` is empty where the check passed."""

    name: str
    passed: bool
    figure: str
    cure: str = ""


@dataclass(frozen=True)
class Preflight:
    """The checks of one model; ``digest``: of its document."""

    model: str
    digest: str
    checks: tuple[Check, ...]

    def as_json(self) -> dict[str, Any]:
        """The contents of preflight.json, without provenance."""
        return asdict(self)


def run_check(name: str, cure: str, action: Callable[[], str]) -> Check:
    """The row of one check; ``action`` gives the figure, or raises what is wrong.

    An InputError holds its own cure; any other exception, of a library that cannot take the
    checkpoint, gets ``cure``.
    """
    try:
        return Check(name, True, action())
    except InputError as error:
        figure, _, own = str(error).partition("; ")
        return Check(name, False, figure, own or cure)
    except Exception as error:
        words = " ".join(str(error).split()) or type(error).__name__
        return Check(name, False, words[:600], cure)


def stop_if_failed(model: str, checks: list[Check]) -> None:
    """Raise InputError with the name, the figure and the cure of each failed check."""
    failed = [check for check in checks if not check.passed]
    if failed:
        rows = " ".join(f"[{check.name}] {check.figure}; {check.cure}." for check in failed)
        raise InputError(f"models.{model} fails {len(failed)} of its checks: {rows}")


def read_preflight(path: str | Path) -> Preflight:
    """The contents of a preflight.json; raises InputError if the file is damaged."""
    try:
        raw = json.loads(Path(path).read_text(encoding="utf-8"))
        checks = tuple(Check(**row) for row in raw["checks"])
        return Preflight(str(raw["model"]), str(raw["digest"]), checks)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(
            f"{path}: not a readable preflight.json ({error!r}); delete it and run again"
        ) from None


def add_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--preflight``, which the rules give to every stage that uses a model."""
    parser.add_argument("--preflight", metavar="PATH", help="the checks that the model has passed")


def required_inputs(args: argparse.Namespace, document: ModelDocument) -> dict[str, str]:
    """The file of ``--preflight`` as an input for provenance, once it holds passed checks."""
    if args.preflight is None:
        return {}
    require_passed(args.preflight, document)
    return {"preflight": args.preflight}


def require_passed(path: str | Path, document: ModelDocument) -> None:
    """Raise InputError unless the file holds passed checks of the model of a document.

    A trained model is named after the one that it was trained from, and has that one's checks.
    """
    found = read_preflight(path)
    stop_if_failed(found.model, list(found.checks))
    owner = document.name.partition("/")[0]
    other_digest = found.digest != document.digest and document.name == owner
    if not found.checks or found.model != owner or other_digest:
        raise InputError(
            f"{path}: holds no passed checks of the model {document.name} as it is now; delete "
            "both files beside it and run again, which registers the model"
        )
