"""ModelDocument: what ``model.json`` says about a model, as a typed record."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from orion.errors import InputError

CHECKPOINT = "checkpoint"
SERVED = "server"


@dataclass(frozen=True)
class AdapterDocument:
    """A LoRA adapter beside its base: its folder, its files' sha256 by name, its rank."""

    path: str
    files: dict[str, str]
    rank: int


@dataclass(frozen=True)
class ModelDocument:
    """One model: where it is, the digest that names it in completion keys, and its sizes.

    ``digest`` (sha256, 64 hexadecimal digits) covers whatever a completion depends on: the bytes of
    weights, configuration and tokenizer, the chat template and the dtype; or, for a served model,
    its name and revision. ``context_length``: tokens. ``parameters``: stored numbers, tied ones once;
    None for a served model. ``served_name``: the name by which a server knows the model.
    Exactly one of ``path`` and ``repo`` is set for a checkpoint, none for a served model.
    """

    name: str
    digest: str
    context_length: int
    kind: str = CHECKPOINT
    path: str | None = None
    repo: str | None = None
    revision: str | None = None
    files: dict[str, str] = field(default_factory=dict)
    dtype: str | None = None
    trust_remote_code: bool = False
    chat_template: str | None = None
    vocab_size: int | None = None
    parameters: int | None = None
    served_name: str | None = None
    adapter: AdapterDocument | None = None

    @property
    def is_served(self) -> bool:
        """Whether the model has no weights here and is only asked over a server."""
        return self.kind == SERVED

    def as_json(self) -> dict[str, Any]:
        """The document as it is written to ``model.json``, without provenance."""
        return asdict(self)


def from_json(raw: dict[str, Any]) -> ModelDocument:
    """The document of a ``model.json`` object, whose ``provenance`` is ignored.

    Raises TypeError for an unknown or a missing key.
    """
    known = {key: value for key, value in raw.items() if key != "provenance"}
    adapter = known.pop("adapter", None)
    return ModelDocument(**known, adapter=AdapterDocument(**adapter) if adapter else None)


def read_document(path: str | Path) -> ModelDocument:
    """The document in a ``model.json`` file; raises InputError where it is damaged."""
    try:
        return from_json(json.loads(Path(path).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise InputError(
            f"{path}: not a readable model.json ({error}); delete it and run again"
        ) from None
