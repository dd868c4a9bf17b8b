"""The context of a checkpoint: the tokens that its config.json names, and how far it can be set."""

from pathlib import Path
from typing import Any

from orion.errors import InputError

# where config.json describes rotary positions; the second is the older name
ROPE_KEYS = ("rope_parameters", "rope_scaling")


def text_config(config: dict[str, Any]) -> dict[str, Any]:
    """The part of config.json on the language model, where it has one on images too."""
    return config.get("text_config") or config


def native_context_length(config: dict[str, Any]) -> int | None:
    """The tokens of context that a checkpoint's config.json names, or None."""
    tokens = text_config(config).get("max_position_embeddings")
    return None if tokens is None else int(tokens)


def longest_context_length(config: dict[str, Any]) -> int | None:
    """The tokens that ``context_length`` may ask for, or None where config.json names none.

    They are those that config.json names; where it stretches rotary positions with YaRN, the
    original ones times the factor, if these are more.
    """
    native = native_context_length(config)
    if native is None:
        return None
    return max([native, *(_stretch(part, native) for part in _rope_parts(text_config(config)))])


def _rope_parts(config: dict[str, Any]) -> list[dict[str, Any]]:
    """The descriptions of rotary positions; some models have one per kind of layer."""
    found = [config.get(key) for key in ROPE_KEYS]
    whole = [part for part in found if isinstance(part, dict)]
    return whole + [each for part in whole for each in part.values() if isinstance(each, dict)]


def _stretch(rope: dict[str, Any], native: int) -> int:
    if "yarn" not in (rope.get("rope_type"), rope.get("type")):
        return native
    try:
        original = int(rope.get("original_max_position_embeddings") or native)
        return int(float(rope["factor"]) * original)
    except (KeyError, TypeError, ValueError, OverflowError):
        return native


def choose_context_length(folder: Path, config: dict[str, Any], wanted: int | None) -> int:
    """The context of a checkpoint: ``wanted`` tokens, or those that config.json names.

    Raises InputError for more tokens than it allows, and where neither is known.
    """
    native, longest = native_context_length(config), longest_context_length(config)
    if wanted is None:
        if native is None:
            raise InputError(
                f"{folder}/config.json: no max_position_embeddings; "
                "set the model's `context_length:`"
            )
        return native
    if longest is not None and wanted > longest:
        raise InputError(
            f"context_length: {wanted} is more than the {longest} tokens that "
            f"{folder}/config.json allows; lower it, or, if the model is made for more, describe "
            "that in config.json (rope_scaling with rope_type yarn)"
        )
    return wanted
