"""Register a model: a checkpoint folder, a hub revision or a served model → model.json.

Run: ``python -m orion.stages.model --config JSON --name NAME --output O [--checkpoint DIR]
[--token-limits KEY=N ...]``, where ``--checkpoint`` is the folder of a model that the workflow
trained itself. ``--token-limits`` are the limits of the stages that will read the model; the run
stops here where its context does not allow them. They change no output.
"""

from dataclasses import dataclass
from typing import Any

from orion import provenance, tables
from orion.errors import InputError
from orion.models import checkpoints, served
from orion.models.document import SERVED, ModelDocument
from orion.models.token_limits import check_token_limits
from orion.progress import log
from orion.stages import command


@dataclass(frozen=True)
class ServerConfig:
    """The name by which a server knows a checkpoint; it is not part of the digest."""

    served_model: str | None = None


@dataclass(frozen=True)
class ModelConfig:
    """The configuration keys of the stage: the model's block."""

    source: dict[str, Any]
    dtype: str
    trust_remote_code: bool
    chat_template: str | None = None
    prompt_date: str | None = None
    enable_thinking: bool | None = None
    context_length: int | None = None
    server: ServerConfig | None = None


def make_document(name: str, config: ModelConfig, checkpoint: str | None) -> ModelDocument:
    """The document of an entry of ``models``; ``checkpoint``: the folder of a model made here."""
    source = config.source
    if checkpoint is None and source["kind"] == SERVED:
        assert config.context_length is not None, f"models.{name}.context_length is validated"
        return served.served_document(
            name, source["model"], source.get("revision"), context_length=config.context_length
        )
    repo, revision = (None, None) if checkpoint else (source.get("repo"), source.get("revision"))
    return checkpoints.checkpoint_document(
        checkpoints.find_folder(checkpoint or source.get("path"), repo=repo, revision=revision),
        name=name,
        chat_template_file=config.chat_template,
        prompt_date=config.prompt_date,
        context_length=config.context_length,
        dtype=config.dtype,
        trust_remote_code=config.trust_remote_code,
        repo=repo,
        revision=revision,
        served_name=config.server.served_model if config.server else None,
    )


def parse_token_limits(words: list[str]) -> dict[str, int]:
    """``sample.max_tokens=128`` and so on as a mapping; raises InputError for anything else."""
    limits = {}
    for word in words:
        key, _, tokens = word.partition("=")
        if not key or not tokens.isdecimal():
            raise InputError(f"--token-limits {word}: give KEY=N, such as sample.max_tokens=128")
        limits[key] = int(tokens)
    return limits


def main(argv: list[str] | None = None) -> None:
    parser = command.make_parser(__doc__, "name", "output")
    parser.add_argument(
        "--checkpoint", nargs="?", metavar="DIR", help="a checkpoint that the workflow made"
    )
    parser.add_argument(
        "--token-limits", nargs="*", default=[], metavar="KEY=N", help="limits of later stages"
    )
    args = parser.parse_args(argv)
    limits = parse_token_limits(args.token_limits)
    config = command.read_config(ModelConfig, args.config)
    document = make_document(args.name, config, args.checkpoint)
    size = f"{document.parameters:,} parameters" if document.parameters else "served"
    log(f"{args.name}: {size}, context {document.context_length}")
    check_token_limits(args.name, document.context_length, limits)
    record = provenance.record("orion.stages.model", args.config, {})
    tables.write_json(document.as_json(), args.output, record)


if __name__ == "__main__":
    command.run(main)
