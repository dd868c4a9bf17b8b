"""Pack training rows into sequences: train + tokenizer → packed/train.parquet, packed/stats.json.

A document is the prompt exactly as the model reads it when it is sampled, then the turn as the chat
template prints it, up to the token that ends it (``orion.models.training_documents``). Only the
turn is trained on. A row that the template cannot carry is rejected and counted with its reason.
Documents are placed end to end in sequences of at most ``max_length`` tokens. One that does not fit
is dropped and counted, never cut to fit. With ``pairs`` two rows that follow each other are a pair:
they stand side by side in one sequence, or are dropped together. For an arm on prefixes
(``prefix_tokens``, ``prefix_share``) each document ends with the prefix of its turn, without an end
of the turn. With ``key_steps`` the tokens in which a row differs from the wrong attempt that the
student was shown are marked, for a training that weighs them (`orion.training.key_steps`).
With ``validation_fraction`` the rows of some problems are held out: they are packed apart, in
sequences marked ``validation``. Documents wait in scratch files beside the output, 8 bytes per
token, so that memory does not grow with the tokens.
Run: ``python -m orion.stages.pack --config JSON --train T --model M --output O --stats S
[--preflight F] [--errors E]``: the arm's exposed errors for ``key_steps``.
"""

import contextlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from orion import provenance, tables
from orion.errors import InputError
from orion.experiment.degenerate import MIN_ROWS
from orion.models import preflight
from orion.models.document import read_document
from orion.models.training_documents import REASONS, DocumentEncoder, RejectedRowError
from orion.progress import log
from orion.stages import command
from orion.training.best_fit import Bins, best_fit_bins
from orion.training.document_file import IGNORED, DocumentFile
from orion.training.key_steps import mark_key_steps
from orion.training.row_encoding import COLUMNS, RowEncoding, is_held_out, make_encoder
from orion.training.table_slices import read_slices

# token ids and labels
Encoded = tuple[list[int], list[int]]
# training rows that are in memory at a time
SLICE_ROWS = 256


@dataclass(frozen=True)
class PackConfig(RowEncoding):
    """The configuration keys of the stage.

    ``min_rows``: fewer rows that fit are an error. ``pairs``: whether rows 2n and 2n + 1 are the
    texts of a pair. ``key_steps``: whether they are marked.
    """

    min_rows: int = MIN_ROWS
    pairs: bool = False
    key_steps: bool = False

    @property
    def rows_together(self) -> int:
        """How many rows that follow each other are packed together."""
        return 2 if self.pairs else 1


class Attempts:
    """The wrong attempts that an arm exposes, as tokens of the student that is trained.

    ``counts``: of the documents that were marked, of those whose row was shown no attempt, and of
    those none of whose attempts can be compared; of the trained tokens that are key steps.
    """

    def __init__(self, errors: str, config: PackConfig, encoder: DocumentEncoder):
        self.config, self.encoder = config, encoder
        columns = ["problem_id", "sample_id", "response"]
        read = tables.read(errors, tables.ERRORS, columns)
        self.responses = {(problem, sample): text for problem, sample, text in read.iter_rows()}
        self.counts = dict.fromkeys(("marked", "without_attempt", "not_compared", "tokens"), 0)

    def mark(
        self, labels: list[int], problem_id: str, prompt: str, shown: list[int]
    ) -> npt.NDArray[np.bool_] | None:
        """The key steps of a document, (tokens,); ``shown``: the row's error_sample_ids."""
        texts = [self.responses[problem_id, sample_id] for sample_id in shown]
        marks = mark_key_steps(labels, [*self._encode(prompt, texts)])
        if marks is None:
            self.counts["not_compared" if shown else "without_attempt"] += 1
            return None
        self.counts["marked"] += 1
        # no document predicts its first token
        self.counts["tokens"] += int(marks[1:].sum())
        return marks

    def _encode(self, prompt: str, texts: list[str]) -> Iterator[list[int]]:
        """The tokens of each attempt, as an answer; one that the template refuses is left out."""
        for text in texts:
            try:
                ids, labels = self.encoder.encode(prompt, text, is_own_sample=True)
            except RejectedRowError:
                continue
            yield [token for token, label in zip(ids, labels, strict=True) if label != IGNORED]


@dataclass
class Part:
    """The rows to train on, or those that are held out.

    ``documents``: those of at most ``limit`` tokens; the others are counted. ``attempts``: where
    key steps are marked.
    """

    documents: DocumentFile
    limit: int
    attempts: Attempts | None = None
    rows: int = 0
    too_long: int = 0
    cut: int = 0

    def __post_init__(self) -> None:
        self.rejected: Counter[str] = Counter()
        # the texts of one place so far: what they are encoded as, or why they are rejected
        self._waiting: list[Encoded | str] = []

    def encode(self, rows: pl.DataFrame, encoder: DocumentEncoder, config: PackConfig) -> None:
        """Add rows of COLUMNS.

        Those that the template cannot carry are counted by reason, and the first one of each reason
        is named in the log; a pair is counted where one of its texts is. ``cut`` counts the
        documents that end before their turn does.
        """
        self.rows += rows.height
        columns = [*COLUMNS, "error_sample_ids"]
        for problem_id, row, prompt, completion, kind, shown in rows.select(columns).iter_rows():
            found: Encoded | str
            try:
                found = config.encode(encoder, prompt, completion, kind)
            except RejectedRowError as error:
                if error.reason not in self.rejected:
                    log(f"{problem_id}, row {row}: rejected, {error.reason}: {error}")
                found = error.reason
            self._waiting.append(found)
            if len(self._waiting) == config.rows_together:
                self._place(encoder, problem_id, prompt, shown)

    def _place(
        self, encoder: DocumentEncoder, problem_id: str, prompt: str, shown: list[int]
    ) -> None:
        """Add the texts that are packed together, or count them."""
        texts, self._waiting = self._waiting, []
        whole = [text for text in texts if not isinstance(text, str)]
        reasons = [text for text in texts if isinstance(text, str)]
        if reasons:
            self.rejected[reasons[0]] += len(texts)
        elif sum(len(ids) for ids, _ in whole) > self.limit:
            self.too_long += len(texts)
        else:
            for ids, labels in whole:
                marks = None
                if self.attempts is not None:
                    marks = self.attempts.mark(labels, problem_id, prompt, shown)
                self.documents.add(ids, labels, marks)
                self.cut += ids[-1] not in encoder.eos


def split_rows(train: pl.DataFrame, fraction: float | None) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The rows to train on, and those that are held out."""
    held = [fraction is not None and is_held_out(each, fraction) for each in train["problem_id"]]
    mask = pl.Series(held, dtype=pl.Boolean)
    return train.filter(~mask), train.filter(mask)


def pack_parts(
    training: Part, bins: Bins, held_out: Part, held_bins: Bins | None
) -> Iterator[pl.DataFrame]:
    """The packed table in slices; the held-out rows come last and are marked, if there are any."""
    for frame in training.documents.pack(bins):
        yield frame if held_bins is None else frame.with_columns(validation=pl.lit(False))
    if held_bins is not None:
        for frame in held_out.documents.pack(held_bins, first_row=len(bins)):
            yield frame.with_columns(validation=pl.lit(True))


def choose_bins(documents: DocumentFile, limit: int, together: int) -> Bins:
    """The sequence of each document; so many that follow each other share one, side by side."""
    lengths = documents.lengths.reshape(-1, together).sum(1)
    bins = best_fit_bins(lengths, limit)
    members = together * bins.members[:, None] + np.arange(together)
    return Bins(members.flatten(), together * bins.sizes)


def explain_too_few(config: PackConfig, part: Part) -> str:
    """The message where too few rows can be packed: the counts, the reasons and the cure."""
    fitting, rejected = len(part.documents), part.rejected
    reasons = "; ".join(
        f"{count} {name}: {REASONS[name]}" for name, count in rejected.most_common()
    )
    if rejected and not fitting and not part.too_long:
        return f"the chat template can carry none of the rows ({reasons})"
    text = (
        f"{fitting} of the {part.rows} rows fit into pack.max_length = "
        f"{config.max_length} tokens, fewer than select.min_rows = {config.min_rows}"
    )
    if part.too_long:
        text += f"; raise max_length, {part.too_long} rows are longer"
    if rejected:
        text += f"; the chat template cannot carry {rejected.total()} rows ({reasons})"
    return text


def check_enough(config: PackConfig, training: Part, held_out: Part, train: str) -> None:
    """Raise InputError where too few rows of the file ``train`` can be packed, or none held out."""
    if len(training.documents) < max(1, config.min_rows):
        raise InputError(
            f"{train}: {explain_too_few(config, training)}"
            + (f"; {held_out.rows} more are held out for validation" if held_out.rows else "")
        )
    if config.validation_fraction is not None and not len(held_out.documents):
        raise InputError(
            f"train.validation_fraction = {config.validation_fraction:g} holds out {held_out.rows} "
            "rows, none of which can be packed, so there is no validation loss; raise it, or leave "
            "it out"
        )


def check_marked(attempts: Attempts, train: str) -> None:
    """Raise InputError where no document has key steps, so that there is nothing to weigh."""
    if not attempts.counts["tokens"]:
        raise InputError(
            f"{train}: no row has a token in which it differs from an attempt that the student was "
            f"shown ({attempts.counts}), so train.key_step_weight would change nothing; set it to "
            "null for this arm, or look at the arm's errors.parquet"
        )


def count_packed(
    limit: int, training: Part, bins: Bins, held_out: Part, held_bins: Bins | None
) -> dict[str, Any]:
    """The contents of stats.json."""
    documents = training.documents
    stats: dict[str, Any] = {
        "rows": len(bins),
        "documents": len(documents),
        "dropped_too_long": training.too_long,
        "rejected": dict(sorted(training.rejected.items())),
        "tokens": documents.tokens,
        "trained_tokens": documents.trained,
        "max_length": limit,
        "fill": round(documents.tokens / (len(bins) * limit), 6),
    }
    if held_bins is not None:
        kept = held_out.documents
        stats["validation"] = {
            "rows": len(held_bins),
            "documents": len(kept),
            "left_out": held_out.rows - len(kept),
            "trained_tokens": kept.trained,
        }
    return stats


def main(argv: list[str] | None = None) -> None:
    parser = command.make_parser(__doc__, "train", "model", "output", "stats")
    parser.add_argument("--errors", nargs="?", metavar="PATH", help="for key_steps")
    preflight.add_option(parser)
    args = parser.parse_args(argv)
    config = command.read_config(PackConfig, args.config)
    if config.key_steps and not args.errors:
        raise InputError("key_steps needs --errors, the wrong attempts that the arm exposes")
    document = read_document(args.model)
    checked = preflight.required_inputs(args, document)
    if config.key_steps:
        checked["errors"] = args.errors
    limit = config.max_length
    if limit > document.context_length:
        raise InputError(
            f"pack.max_length = {limit} is more than the {document.context_length} tokens of "
            f"context that {args.model} has; lower it"
        )
    encoder = make_encoder(config, document)
    attempts = Attempts(args.errors, config, encoder) if config.key_steps else None
    fraction = config.validation_fraction
    columns = [*COLUMNS, "error_sample_ids"]
    with contextlib.ExitStack() as stack:
        training, held_out = (
            Part(
                stack.enter_context(
                    DocumentFile(Path(args.output).parent, has_key_steps=config.key_steps)
                ),
                limit,
                attempts,
            )
            for _ in range(2)
        )
        for frame in read_slices(args.train, tables.TRAIN, columns, rows=SLICE_ROWS):
            for part, rows in zip((training, held_out), split_rows(frame, fraction), strict=True):
                part.encode(rows, encoder, config)
        check_enough(config, training, held_out, args.train)
        bins = choose_bins(training.documents, limit, config.rows_together)
        held_bins = None
        if fraction is not None:
            held_bins = choose_bins(held_out.documents, limit, config.rows_together)
        stats = count_packed(limit, training, bins, held_out, held_bins)
        if config.pairs:
            stats["pairs"] = len(training.documents) // 2
        if config.cuts:
            stats["cut_to_prefix"] = training.cut
        if attempts is not None:
            check_marked(attempts, args.train)
            stats["key_steps"] = attempts.counts
        log(json.dumps(stats))
        inputs = {"train": args.train, "model": args.model, **checked}
        record = provenance.record("orion.stages.pack", args.config, inputs)
        tables.write_json(stats, args.stats, record)
        total = len(bins) + (len(held_bins) if held_bins is not None else 0)
        with tables.Writer(args.output, tables.PACKED, record, rows=total) as writer:
            for frame in pack_parts(training, bins, held_out, held_bins):
                writer.write(frame)


if __name__ == "__main__":
    command.run(main)
