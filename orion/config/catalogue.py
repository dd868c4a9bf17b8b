"""Known problem sets: the blocks of config/datasets.yaml, which a configuration names by a word."""

from pathlib import Path
from typing import Any

from orion.config.files import read_mapping
from orion.config.models import merge
from orion.errors import InputError

NAME = "config/datasets.yaml"
KINDS = ("datasets", "benchmarks")


def find_catalogue() -> Path | None:
    """The file of the working directory, else the one beside this package; None without either."""
    places = (Path(NAME), Path(__file__).parents[2] / NAME)
    return next((path for path in places if path.is_file()), None)


def resolve(raw: dict[str, Any]) -> dict[str, Any]:
    """A configuration in which every word is replaced by the block that it names.

    A word is a name under ``runs`` that no block defines, or the key ``known`` of a block, whose
    other keys change the known one. Raises InputError for a word that is not known.
    """
    words = {kind: _list_words(raw, kind) for kind in KINDS}
    if not any(words.values()):
        return raw
    path = find_catalogue()
    catalogue = read_mapping(path) if path is not None else {}
    found = dict(raw)
    for kind, named in words.items():
        blocks = dict(raw.get(kind) or {})
        ready = catalogue.get(kind) or {}
        for name, (word, is_explicit) in named.items():
            if word in ready:
                own = {k: v for k, v in (blocks.get(name) or {}).items() if k != "known"}
                blocks[name] = _merge_block(ready[word], own)
            elif is_explicit:
                near = ", ".join(sorted(ready)) or f"none, since there is no {NAME}"
                raise InputError(f"{kind}.{name}.known: {word} is not known; the words are: {near}")
        found[kind] = blocks
    return found


def _list_words(raw: dict[str, Any], kind: str) -> dict[str, tuple[str, bool]]:
    """name of a block → (the word that it is made from, whether its key ``known`` says so)."""
    blocks = raw.get(kind) or {}
    runs = raw.get("runs") or {}
    if not isinstance(blocks, dict) or not isinstance(runs, dict):
        return {}
    names = runs.get(kind) or []
    named = names if isinstance(names, list) else []
    words = {name: (name, False) for name in named if isinstance(name, str) and name not in blocks}
    for name, block in blocks.items():
        if isinstance(block, dict) and isinstance(block.get("known"), str):
            words[name] = (block["known"], True)
    return words


def _merge_block(ready: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """The known block with the user's changes; a source of another kind replaces its source."""
    source = own.get("source")
    kind = source.get("kind") if isinstance(source, dict) else None
    if kind is not None and kind != ready.get("source", {}).get("kind"):
        ready = {key: value for key, value in ready.items() if key != "source"}
    return merge(ready, own)
