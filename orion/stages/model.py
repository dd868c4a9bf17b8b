"""Register a model: a checkpoint folder, a hub revision or a served model → model.json.

Before that, the model passes the checks of ``orion.models.preflight_checks``, which are written to
preflight.json; a failed one stops the run with its cure, and neither file is written.
Run: ``python -m orion.stages.model --config JSON --name NAME --output O [--output-preflight P]
[--checkpoint DIR [--trained M]] [--token-limits KEY=N ...] [--lora JSON]
[--optimizers KEY=NAME ...]``, where ``--checkpoint`` is the folder of a model that the workflow
trained itself, and ``--trained`` the document of an arm that it is of. ``--token-limits`` are the
limits of the stages that will read the model, ``--lora`` the adapters that will be trained on it:
key of the configuration → target_modules, rank and merge_adapter, ``--optimizers`` what will train
it. They change no output.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orion import provenance, tables
from orion.errors import InputError
from orion.models import registration
from orion.models.document import ModelDocument, read_document
from orion.models.lora_targets import LoraUse
from orion.models.preflight import Uses
from orion.models.preflight_checks import run_preflight
from orion.progress import log
from orion.stages import command
from orion.training.settings import check_optimizer


@dataclass(frozen=True)
class ServerConfig:
    """The name by which a server knows a checkpoint; it is not part of the digest."""

    served_model: str | None = None


@dataclass(frozen=True)
class ModelConfig:
    """The configuration keys of the stage: the model's block, and what the run does with it.

    ``is_trained``: an arm of the run is trained on the model. ``prompts``: the prompt set.
    """

    source: dict[str, Any]
    dtype: str
    trust_remote_code: bool
    chat_template: str | None = None
    prompt_date: str | None = None
    enable_thinking: bool | None = None
    context_length: int | None = None
    server: ServerConfig | None = None
    is_trained: bool = False
    prompts: str = "chat"


def make_document(
    name: str, config: ModelConfig, checkpoint: str | None, trained: str | None = None
) -> ModelDocument:
    """The document of an entry of ``models``.

    ``checkpoint``: the folder of a model made here. ``trained``: its document, if an arm made it.
    """
    entry = registration.Entry(
        source=config.source,
        dtype=config.dtype,
        trust_remote_code=config.trust_remote_code,
        chat_template=config.chat_template,
        prompt_date=config.prompt_date,
        context_length=config.context_length,
        served_name=config.server.served_model if config.server else None,
    )
    if checkpoint is not None and trained is not None:
        return registration.arm_document(name, entry, checkpoint, read_document(trained))
    return registration.make_document(name, entry, checkpoint)


def parse_token_limits(words: list[str]) -> dict[str, int]:
    """``sample.max_tokens=128`` and so on as a mapping; raises InputError for anything else."""
    limits = {}
    for word in words:
        key, _, tokens = word.partition("=")
        if not key or not tokens.isdecimal():
            raise InputError(f"--token-limits {word}: give KEY=N, such as sample.max_tokens=128")
        limits[key] = int(tokens)
    return limits


def read_lora_uses(text: str) -> tuple[LoraUse, ...]:
    """The adapters of ``--lora``; raises InputError for anything else."""
    try:
        raw = json.loads(text or "{}")
        return tuple(LoraUse(key, **settings) for key, settings in raw.items())
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(
            f"--lora {text}: {error}; give a JSON object of key: {{targets, merge_adapter, rank}}"
        ) from None


def main(argv: list[str] | None = None) -> None:
    parser = command.make_parser(__doc__, "name", "output")
    parser.add_argument(
        "--output-preflight", metavar="PATH", help="the passed checks; default: beside --output"
    )
    parser.add_argument(
        "--checkpoint", nargs="?", metavar="DIR", help="a checkpoint that the workflow made"
    )
    parser.add_argument(
        "--trained", nargs="?", metavar="PATH", help="model.json of the arm that made it"
    )
    parser.add_argument(
        "--token-limits", nargs="*", default=[], metavar="KEY=N", help="limits of later stages"
    )
    parser.add_argument("--lora", default="", metavar="JSON", help="adapters of later stages")
    parser.add_argument(
        "--optimizers", nargs="*", default=[], metavar="KEY=NAME", help="of later trainings"
    )
    args = parser.parse_args(argv)
    for word in args.optimizers:
        key, _, name = word.partition("=")
        check_optimizer(name, key)
    config = command.read_config(ModelConfig, args.config)
    uses = Uses(
        is_trained=config.is_trained,
        prompts=config.prompts,
        enable_thinking=config.enable_thinking,
        token_limits=parse_token_limits(args.token_limits),
        lora=read_lora_uses(args.lora),
    )
    document = make_document(args.name, config, args.checkpoint, args.trained)
    size = f"{document.parameters:,} parameters" if document.parameters else "served"
    log(f"{args.name}: {size}, context {document.context_length}")
    folder = Path(args.output).parent
    passed = run_preflight(document, uses, folder)
    inputs = {"trained": args.trained} if args.trained else {}
    record = provenance.record("orion.stages.model", args.config, inputs)
    path = args.output_preflight or folder / "preflight.json"
    tables.write_json(passed.as_json(), path, record)
    tables.write_json(document.as_json(), args.output, record)


if __name__ == "__main__":
    command.run(main)
