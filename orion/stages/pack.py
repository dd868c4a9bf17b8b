"""Pack training rows into sequences: train + tokenizer → packed/train.parquet, packed/stats.json.

A document is the prompt exactly as the model reads it when it is sampled, then the completion and
the token that ends the turn. Only the completion and that token are trained on. Documents are
placed end to end in sequences of at most ``max_length`` tokens; none is cut: a document that does
not fit is dropped and counted.
Run: ``python -m orion.stages.pack --config JSON --train T --model M --output O --stats S``.
"""

import bisect
import json
from dataclasses import dataclass
from typing import Any

import polars as pl

from orion import provenance, tables
from orion.errors import InputError
from orion.experiment.degenerate import MIN_ROWS
from orion.models import checkpoints, templates
from orion.models.document import read_document
from orion.progress import log
from orion.stages import command

IGNORED = -100


@dataclass(frozen=True)
class PackConfig:
    """The configuration keys of the stage.

    ``max_length``: tokens of a packed sequence. ``min_rows``: fewer rows that fit are an error.
    """

    max_length: int
    enable_thinking: bool | None = None
    min_rows: int = MIN_ROWS


def encode_document(
    tokenizer: Any, prompt: str, completion: str, *, eos: set[int], thinking: bool | None
) -> tuple[list[int], list[int]]:
    """Token ids and labels of one document; labels are -100 outside the completion.

    Prompt and completion are tokenised separately, as they are when a completion is generated, so
    that training and serving see the same ids. Raises InputError where the template changes the
    assistant's message.
    """
    turn = [{"role": "user", "content": prompt}]
    prompt_text = templates.render(tokenizer, turn, enable_thinking=thinking)
    full = templates.render(
        tokenizer,
        [*turn, {"role": "assistant", "content": completion}],
        enable_thinking=thinking,
        add_generation_prompt=False,
    )
    # the text that the template puts after the assistant's words: the end of the turn
    _, found, ending = full.rpartition(completion.strip())
    if not found:
        raise InputError(
            "the chat template does not print the assistant's message unchanged; "
            "such a model cannot be trained"
        )
    head = tokenizer(prompt_text, add_special_tokens=False)["input_ids"]
    body = tokenizer(completion.strip() + ending, add_special_tokens=False)["input_ids"]
    last = max((i for i, token in enumerate(body) if token in eos), default=None)
    body = [*body, tokenizer.eos_token_id] if last is None else body[: last + 1]
    return head + body, [IGNORED] * len(head) + body


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


def pack_sequences(documents: list[tuple[list[int], list[int]]], max_length: int) -> pl.DataFrame:
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


def main(argv: list[str] | None = None) -> None:
    args = command.make_parser(__doc__, "train", "model", "output", "stats").parse_args(argv)
    config = command.read_config(PackConfig, args.config)
    document = read_document(args.model)
    limit = config.max_length
    if limit > document.context_length:
        raise InputError(
            f"pack.max_length = {limit} is more than the {document.context_length} tokens of "
            f"context that {args.model} has; lower it"
        )
    tokenizer = checkpoints.load_tokenizer(document)
    eos = checkpoints.eos_ids(document, tokenizer)
    train = tables.read(args.train, tables.TRAIN).sort("problem_id", "row")
    pairs = train.select("prompt", "completion").iter_rows()
    documents = [
        encode_document(tokenizer, p, c, eos=eos, thinking=config.enable_thinking) for p, c in pairs
    ]
    fitting = [document for document in documents if len(document[0]) <= limit]
    if len(fitting) < config.min_rows:
        raise InputError(
            f"{args.train}: {len(fitting)} of the {len(documents)} rows fit into pack.max_length = "
            f"{limit} tokens, fewer than select.min_rows = {config.min_rows}; raise max_length"
        )
    packed = pack_sequences(fitting, limit)
    tokens = sum(len(ids) for ids, _ in fitting)
    stats = {
        "rows": packed.height,
        "documents": len(fitting),
        "dropped_too_long": len(documents) - len(fitting),
        "tokens": tokens,
        "trained_tokens": sum(label != IGNORED for labels in packed["labels"] for label in labels),
        "max_length": limit,
        "fill": round(tokens / (packed.height * limit), 6),
    }
    log(json.dumps(stats))
    record = provenance.record(
        "orion.stages.pack", args.config, {"train": args.train, "model": args.model}
    )
    tables.write_json(stats, args.stats, record)
    tables.write(packed, args.output, tables.PACKED, record)


if __name__ == "__main__":
    command.run(main)
