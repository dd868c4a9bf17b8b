"""From an entry of ``models`` to its document: a checkpoint, an adapter, a served model.

Input: the keys of the entry. Output: a ModelDocument without provenance. Importing this module
imports neither torch nor transformers.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from orion.errors import InputError
from orion.models import adapters, checkpoints, served
from orion.models.document import SERVED, ModelDocument


@dataclass(frozen=True)
class Entry:
    """The keys of an entry of ``models`` that its document depends on.

    ``source``: kind and place, as configured; it may name the ``base`` of an adapter.
    ``served_name``: the name by which a server knows a checkpoint; not part of the digest.
    """

    source: Mapping[str, Any]
    dtype: str
    trust_remote_code: bool
    chat_template: str | None = None
    prompt_date: str | None = None
    context_length: int | None = None
    served_name: str | None = None


def make_document(
    name: str, entry: Entry, checkpoint: str | None = None, *, with_digests: bool = True
) -> ModelDocument:
    """The document of an entry; ``checkpoint``: the folder of a model made by the workflow.

    ``with_digests``: false leaves out the digests of the files, which are slow to read; such a
    document names no completion. Raises InputError for a model that cannot be used.
    """
    source = entry.source
    if checkpoint is None and source["kind"] == SERVED:
        assert entry.context_length is not None, f"models.{name}.context_length is validated"
        return served.served_document(
            name, source["model"], source.get("revision"), context_length=entry.context_length
        )
    place = {"path": checkpoint} if checkpoint else source
    folder = _find_folder(place)
    if not adapters.is_adapter_folder(folder):
        return _describe(folder, name, entry, place, with_digests)
    if place.get("repo"):
        raise InputError(
            f"models.{name}.source: {place['repo']} is an adapter; download it into a folder and "
            "give that as `path:`, with the model that it belongs to as `base:`"
        )
    base = adapters.find_base(folder, source.get("base"))
    document = _describe(_find_folder(base), name, entry, base, with_digests)
    adapters.check_folder_template(folder, document.chat_template or "")
    return adapters.adapter_document(folder, document, name=name)


def arm_document(name: str, entry: Entry, checkpoint: str, trained: ModelDocument) -> ModelDocument:
    """The document of an entry of the kind arm.

    ``checkpoint``: what the arm published, a checkpoint or an adapter. ``trained``: its document.
    """
    if trained.adapter is not None:
        # the folder does not name the base, for a machine's paths have no place in it
        base = {"path": trained.path, "repo": trained.repo, "revision": trained.revision}
        entry = replace(entry, source={**entry.source, "base": base})
    return replace(make_document(name, entry, checkpoint), lineage=trained.lineage)


def _find_folder(place: Mapping[str, Any]) -> Path:
    return checkpoints.find_folder(
        place.get("path"), repo=place.get("repo"), revision=place.get("revision")
    )


def _describe(
    folder: Path, name: str, entry: Entry, place: Mapping[str, Any], with_digests: bool
) -> ModelDocument:
    return checkpoints.checkpoint_document(
        folder,
        name=name,
        chat_template_file=entry.chat_template,
        prompt_date=entry.prompt_date,
        context_length=entry.context_length,
        dtype=entry.dtype,
        trust_remote_code=entry.trust_remote_code,
        repo=place.get("repo"),
        revision=place.get("revision"),
        served_name=entry.served_name,
        with_digests=with_digests,
    )
