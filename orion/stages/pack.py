"""Pack training rows into sequences: train + tokenizer → packed/train.parquet, packed/stats.json.

A document is the prompt exactly as the model reads it when it is sampled, then the turn as the chat
template prints it, up to the token that ends it (``orion.models.training_documents``). Only the
turn is trained on. A row that the template cannot carry is rejected and counted with its reason.
Documents are placed end to end in sequences of at most ``max_length`` tokens; none is cut: a
document that does not fit is dropped and counted. With ``validation_fraction`` the rows of some
problems are held out: they are packed apart, in sequences marked ``validation``.
Run: ``python -m orion.stages.pack --config JSON --train T --model M --output O --stats S
[--preflight F]``.
"""

import bisect
import json
from collections import Counter
from dataclasses import dataclass
from typing import Any

import polars as pl

from orion import prompts, provenance, tables
from orion.errors import InputError
from orion.experiment.degenerate import MIN_ROWS
from orion.models import checkpoints, preflight
from orion.models.document import read_document
from orion.models.training_documents import (
    IGNORED,
    REASONS,
    DocumentEncoder,
    RejectedRowError,
)
from orion.progress import log
from orion.prompts import PromptSet
from orion.stages import command

Document = tuple[list[int], list[int]]


@dataclass(frozen=True)
class PackConfig:
    """The configuration keys of the stage.

    ``max_length``: tokens of a packed sequence. ``min_rows``: fewer rows that fit are an error.
    ``prompts``: the blocks of the prompt set that come before the question, if it has any.
    ``validation_fraction``: of the problems, about, whose rows are held out.
    """

    max_length: int
    enable_thinking: bool | None = None
    min_rows: int = MIN_ROWS
    prompts: PromptSet | str | None = None
    validation_fraction: float | None = None


def encode_rows(
    train: pl.DataFrame, encoder: DocumentEncoder
) -> tuple[list[Document], Counter[str]]:
    """The documents of the rows (problem_id, row, prompt, completion, target_kind).

    The rows that the template cannot carry are counted by reason, and the first one of each reason
    is named in the log.
    """
    documents: list[Document] = []
    rejected: Counter[str] = Counter()
    for problem_id, row, prompt, completion, kind in train.iter_rows():
        try:
            is_own = kind == "own_correct"
            documents.append(encoder.encode(prompt, completion, is_own_sample=is_own))
        except RejectedRowError as error:
            if error.reason not in rejected:
                log(f"{problem_id}, row {row}: rejected, {error.reason}: {error}")
            rejected[error.reason] += 1
    return documents, rejected


def is_held_out(problem_id: str, fraction: float) -> bool:
    """Whether the rows of a problem are for validation, in every arm and for every seed."""
    return int(provenance.digest_text(f"validation {problem_id}")[:12], 16) < fraction * 16**12


def split_rows(train: pl.DataFrame, fraction: float | None) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The rows to train on, and those that are held out."""
    held = [fraction is not None and is_held_out(each, fraction) for each in train["problem_id"]]
    mask = pl.Series(held, dtype=pl.Boolean)
    return train.filter(~mask), train.filter(mask)


def best_fit_bins(lengths: list[int], capacity: int) -> list[list[int]]:
    """Best-fit-decreasing bins: lists of indices whose lengths sum to at most ``capacity``.

    Deterministic: of equal lengths the lower index is placed first.
    """
    room: list[tuple[int, int]] = []
    bins: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        place = bisect.bisect_left(room, (lengths[index], -1))
        if place < len(room):
            left, target = room.pop(place)
        else:
            left, target = capacity, len(bins)
            bins.append([])
        bins[target].append(index)
        bisect.insort(room, (left - lengths[index], target))
    return bins


def pack_sequences(documents: list[Document], max_length: int) -> pl.DataFrame:
    """The packed table.

    The label of each document's first token is -100, so that no document predicts the next one.
    """
    rows = []
    for number, members in enumerate(best_fit_bins([len(ids) for ids, _ in documents], max_length)):
        chosen = [documents[i] for i in members]
        rows.append(
            {
                "row": number,
                "input_ids": [token for ids, _ in chosen for token in ids],
                "labels": [label for _, labels in chosen for label in [IGNORED, *labels[1:]]],
                "position_ids": [place for ids, _ in chosen for place in range(len(ids))],
                "seq_lengths": [len(ids) for ids, _ in chosen],
            }
        )
    return tables.from_rows(rows, tables.PACKED)


def pack_held_out(
    rows: pl.DataFrame, encoder: DocumentEncoder, max_length: int, fraction: float
) -> pl.DataFrame:
    """The packed table of the rows that are held out; raises InputError where none fits."""
    documents = [each for each in encode_rows(rows, encoder)[0] if len(each[0]) <= max_length]
    if not documents:
        raise InputError(
            f"train.validation_fraction = {fraction:g} holds out {rows.height} rows, none of which "
            "can be packed, so there is no validation loss; raise it, or leave it out"
        )
    return pack_sequences(documents, max_length)


def join_packed(packed: pl.DataFrame, validation: pl.DataFrame) -> pl.DataFrame:
    """Both tables in one, the rows of the second behind the first and marked."""
    return pl.concat(
        [
            packed.with_columns(validation=pl.lit(False)),
            validation.with_columns(pl.col("row") + packed.height, validation=pl.lit(True)),
        ]
    )


def count_trained(packed: pl.DataFrame) -> int:
    """The target tokens of a packed table."""
    return sum(label != IGNORED for labels in packed["labels"] for label in labels)


def explain_too_few(
    config: PackConfig, fitting: int, documents: int, rejected: Counter[str]
) -> str:
    """The message where too few rows can be packed: the counts, the reasons and the cure."""
    reasons = "; ".join(
        f"{count} {name}: {REASONS[name]}" for name, count in rejected.most_common()
    )
    if rejected and not documents:
        return f"the chat template can carry none of the rows ({reasons})"
    text = (
        f"{fitting} of the {documents + rejected.total()} rows fit into pack.max_length = "
        f"{config.max_length} tokens, fewer than select.min_rows = {config.min_rows}"
    )
    if fitting < documents:
        text += f"; raise max_length, {documents - fitting} rows are longer"
    if rejected:
        text += f"; the chat template cannot carry {rejected.total()} rows ({reasons})"
    return text


def main(argv: list[str] | None = None) -> None:
    parser = command.make_parser(__doc__, "train", "model", "output", "stats")
    preflight.add_option(parser)
    args = parser.parse_args(argv)
    config = command.read_config(PackConfig, args.config)
    document = read_document(args.model)
    checked = preflight.required_inputs(args, document)
    limit = config.max_length
    if limit > document.context_length:
        raise InputError(
            f"pack.max_length = {limit} is more than the {document.context_length} tokens of "
            f"context that {args.model} has; lower it"
        )
    tokenizer = checkpoints.load_tokenizer(document)
    eos = checkpoints.eos_ids(document, tokenizer)
    train = tables.read(args.train, tables.TRAIN).sort("problem_id", "row")
    encoder = DocumentEncoder(
        tokenizer,
        eos=eos,
        enable_thinking=config.enable_thinking,
        opening=prompts.opening(config.prompts) if config.prompts is not None else (),
    )
    columns = train.select("problem_id", "row", "prompt", "completion", "target_kind")
    rows, held_out = split_rows(columns, config.validation_fraction)
    documents, rejected = encode_rows(rows, encoder)
    fitting = [document for document in documents if len(document[0]) <= limit]
    if len(fitting) < max(1, config.min_rows):
        raise InputError(
            f"{args.train}: {explain_too_few(config, len(fitting), len(documents), rejected)}"
            + (f"; {held_out.height} more are held out for validation" if len(held_out) else "")
        )
    packed = pack_sequences(fitting, limit)
    tokens = sum(len(ids) for ids, _ in fitting)
    stats: dict[str, Any] = {
        "rows": packed.height,
        "documents": len(fitting),
        "dropped_too_long": len(documents) - len(fitting),
        "rejected": dict(sorted(rejected.items())),
        "tokens": tokens,
        "trained_tokens": count_trained(packed),
        "max_length": limit,
        "fill": round(tokens / (packed.height * limit), 6),
    }
    if config.validation_fraction is not None:
        validation = pack_held_out(held_out, encoder, limit, config.validation_fraction)
        kept = sum(map(len, validation["seq_lengths"]))
        stats["validation"] = {
            "rows": validation.height,
            "documents": kept,
            "left_out": held_out.height - kept,
            "trained_tokens": count_trained(validation),
        }
        packed = join_packed(packed, validation)
    log(json.dumps(stats))
    inputs = {"train": args.train, "model": args.model, **checked}
    record = provenance.record("orion.stages.pack", args.config, inputs)
    tables.write_json(stats, args.stats, record)
    tables.write(packed, args.output, tables.PACKED, record)


if __name__ == "__main__":
    command.run(main)
