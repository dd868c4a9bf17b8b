"""ModelDocument: the contents of a ``model.json`` as a typed record."""

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from orion.errors import InputError

CHECKPOINT = "checkpoint"
SERVED = "server"


@dataclass(frozen=True)
class AdapterDocument:
    """A LoRA adapter kept beside its base: its folder, file name → sha256, its rank."""

    path: str
    files: dict[str, str]
    rank: int


@dataclass(frozen=True)
class TrainingStep:
    """One training that a checkpoint comes from: the arm of a run, by the names of that run.

    ``digest``: of the model that was trained.
    """

    dataset: str
    model: str
    arm: str
    seed: int
    digest: str


@dataclass(frozen=True)
class ModelDocument:
    """One model: its place, its digest and its sizes.

    ``digest`` (sha256, 64 hexadecimal digits) is part of every completion's key. It covers all that
    a completion depends on: the bytes of weights, configuration and tokenizer, the chat template
    and the dtype; for a served model, its name and revision. ``context_length`` counts tokens.
    ``parameters`` counts stored numbers, tied ones once; None for a served model. ``files``: file
    name → sha256. ``served_name``: the name of the model on a server. ``prompt_date``: the date
    (YYYY-MM-DD) that the chat template prints, None if it prints none; not part of the digest,
    since it is part of each prompt. A checkpoint has either ``path`` or ``repo``, a served model
    neither. ``lineage``: the trainings that the checkpoint comes from, earliest first; empty for a
    model from elsewhere. It is not part of the digest, since the weights are.
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
    prompt_date: str | None = None
    vocab_size: int | None = None
    parameters: int | None = None
    served_name: str | None = None
    adapter: AdapterDocument | None = None
    lineage: tuple[TrainingStep, ...] = ()

    @property
    def is_served(self) -> bool:
        """Whether the model has no weights here and can only be sampled from a server."""
        return self.kind == SERVED

    def as_json(self) -> dict[str, Any]:
        """The document as it is written to ``model.json``, without provenance."""
        return asdict(self)


def add_step(
    document: ModelDocument,
    dataset: str,
    model: str,
    arm: str,
    *,
    seed: int,
    trained: ModelDocument,
) -> ModelDocument:
    """The document with the lineage of the model that was ``trained``, and this training."""
    step = TrainingStep(dataset, model, arm, seed, trained.digest)
    return replace(document, lineage=(*trained.lineage, step))


def from_json(raw: dict[str, Any]) -> ModelDocument:
    """The document of a ``model.json`` object; the key ``provenance`` is ignored.

    Raises TypeError for an unknown or a missing key, and where ``raw`` is not an object.
    """
    if not isinstance(raw, dict):
        raise TypeError(f"must be an object, not a {type(raw).__name__}")
    known = {key: value for key, value in raw.items() if key != "provenance"}
    adapter = known.pop("adapter", None)
    lineage = tuple(TrainingStep(**step) for step in known.pop("lineage", ()))
    return ModelDocument(
        **known, adapter=AdapterDocument(**adapter) if adapter else None, lineage=lineage
    )


def read_document(path: str | Path) -> ModelDocument:
    """The document in a ``model.json`` file; raises InputError if the file is damaged."""
    try:
        return from_json(json.loads(Path(path).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise InputError(
            f"{path}: not a readable model.json ({error}); delete it and run again"
        ) from None
