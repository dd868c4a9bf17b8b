"""The model card, README.md, of a trained checkpoint: what it was trained from, and how.

It is written before anything is evaluated, so it holds no scores. It holds no dates, host names or
folders of this machine either: the same training writes the same bytes. README.md is no part of a
checkpoint's digest.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orion
from orion.models.document import ModelDocument
from orion.paths import AtomicFile

CARD = "README.md"


@dataclass(frozen=True)
class TrainingFacts:
    """What a card says of a training beside the two models.

    ``dataset``, ``arm``: None where the command line did not name them. ``config``: the stage's
    keys. ``counts``: what is counted → number. ``provenance``: the record of model.json.
    """

    dataset: str | None
    arm: str | None
    config: Mapping[str, Any]
    counts: Mapping[str, int]
    provenance: Mapping[str, Any]


def write_card(
    folder: Path, trained: ModelDocument, base: ModelDocument, facts: TrainingFacts
) -> None:
    """Write README.md into the folder of the published checkpoint or adapter."""
    with AtomicFile(folder / CARD) as partial:
        partial.write_text(render_card(trained, base, facts), encoding="utf-8")


def render_card(trained: ModelDocument, base: ModelDocument, facts: TrainingFacts) -> str:
    """The card as Markdown, with the header that model hubs read."""
    is_adapter = trained.adapter is not None
    header = ["---", f"library_name: {'peft' if is_adapter else 'transformers'}"]
    if base.repo:
        header += [f"base_model: {base.repo}"]
    header += ["tags:", "- orion", "---"]
    what = "LoRA adapter, to be used with its base" if is_adapter else "checkpoint"
    lineage = {
        "Base": _describe_base(base),
        "Digest of the base": base.digest,
        "Dataset": facts.dataset,
        "Arm": facts.arm,
        "Seed": facts.config.get("seed"),
        "Digest of this model": trained.digest,
        "Digest of the packed rows": facts.provenance["inputs"]["packed"],
        "Digest of the code": facts.provenance["code"],
    }
    versions = {
        "orion": orion.__version__,
        **facts.provenance["packages"],
    }
    parts = [
        "\n".join(header),
        f"# {trained.name}",
        f"A {what}, fine-tuned by ORION. It was written before it was evaluated: its scores are in "
        "the `scores.json` of each benchmark and in the report of the run. The licences of the "
        "base and of the data apply.",
        "## Lineage",
        _table("", "", {key: value for key, value in lineage.items() if value is not None}),
        "## Data",
        _table("", "number", {key: f"{count:,}" for key, count in facts.counts.items()}),
        "## Configuration",
        "```json\n" + json.dumps(facts.config, indent=2, sort_keys=True) + "\n```",
        "## Versions",
        _table("package", "version", versions),
    ]
    return "\n\n".join(parts) + "\n"


def _describe_base(base: ModelDocument) -> str:
    """Its name, and its repository or the name of its folder; an adapter's folder where it has one.

    A whole path would name this machine.
    """
    place = (
        f"{base.repo} at {base.revision}" if base.repo else f"folder {Path(base.path or '').name}"
    )
    if base.adapter is not None:
        place += f", with the adapter in {Path(base.adapter.path).name}"
    return f"{base.name} ({place})"


def _table(left: str, right: str, rows: Mapping[str, object]) -> str:
    """A Markdown table of two columns; a bar in a value ends no column."""
    lines = [f"| {left} | {right} |", "|---|---|"]
    lines += [
        f"| {key} | {str(value).replace('|', chr(92) + '|')} |" for key, value in rows.items()
    ]
    return "\n".join(lines)
