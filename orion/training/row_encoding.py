"""Training rows as token ids: which are held out, and how many tokens of each are trained on.

Input: rows of the table train, a model's document. Output: an encoder, or counts of tokens.
"""

from dataclasses import dataclass
from fractions import Fraction

import polars as pl

from orion import prompts
from orion.models import checkpoints
from orion.models.document import ModelDocument
from orion.models.training_documents import DocumentEncoder, RejectedRowError
from orion.prompts import PromptSet
from orion.provenance import digest_text
from orion.training.document_file import IGNORED

COLUMNS = ["problem_id", "row", "prompt", "completion", "target_kind"]
# kinds of rows that are the model's own answers to their prompts
OWN_KINDS = ("own_correct", "own_sample", "own_wrong")


@dataclass(frozen=True)
class RowEncoding:
    """What decides the tokens of a row.

    ``max_length``: of a packed sequence, longer rows are dropped. ``prompts``: the blocks of the
    prompt set that come before the question, if it has any. ``validation_fraction``: of the
    problems, about, whose rows are held out. ``prefix_tokens`` or ``prefix_share``: only so many of
    the first tokens of a row's turn are trained on, or this share of them.
    """

    max_length: int
    enable_thinking: bool | None = None
    prompts: PromptSet | str | None = None
    validation_fraction: float | None = None
    prefix_tokens: int | None = None
    prefix_share: float | None = None

    @property
    def cuts(self) -> bool:
        """Whether rows are cut to a prefix."""
        return self.prefix_tokens is not None or self.prefix_share is not None

    def encode(
        self, encoder: DocumentEncoder, prompt: str, completion: str, kind: str
    ) -> tuple[list[int], list[int]]:
        """Token ids and labels of a row, as `DocumentEncoder.encode`; ``kind``: its target_kind.

        A prefix ends between two tokens. It has no end of the turn, so that nobody learns to stop
        there; a row of no more tokens stays whole, with its end. A share is rounded down, to one
        token at least. Raises RejectedRowError.
        """
        ids, labels = encoder.encode(prompt, completion, is_own_sample=kind in OWN_KINDS)
        trained = sum(label != IGNORED for label in labels)
        kept = trained
        if self.prefix_tokens is not None:
            kept = min(self.prefix_tokens, trained)
        if self.prefix_share is not None:
            kept = max(1, min(int(Fraction(str(self.prefix_share)) * trained), trained - 1))
        end = len(ids) - trained + kept
        return ids[:end], labels[:end]


def is_held_out(problem_id: str, fraction: float) -> bool:
    """Whether the rows of a problem are for validation, in every arm and for every seed."""
    return int(digest_text(f"validation {problem_id}")[:12], 16) < fraction * 16**12


def make_encoder(config: RowEncoding, document: ModelDocument) -> DocumentEncoder:
    """What makes token ids of the rows, for the model that is trained."""
    tokenizer = checkpoints.load_tokenizer(document)
    return DocumentEncoder(
        tokenizer,
        eos=checkpoints.eos_ids(document, tokenizer),
        enable_thinking=config.enable_thinking,
        opening=prompts.opening(config.prompts) if config.prompts is not None else (),
    )


def count_trained_tokens(
    rows: pl.DataFrame, config: RowEncoding, encoder: DocumentEncoder
) -> list[int]:
    """The trained tokens of each row of COLUMNS; 0 where it is held out or cannot be packed."""
    fraction = config.validation_fraction
    counts = []
    for problem_id, _, prompt, completion, kind in rows.select(COLUMNS).iter_rows():
        if fraction is not None and is_held_out(problem_id, fraction):
            counts.append(0)
            continue
        try:
            ids, labels = config.encode(encoder, prompt, completion, kind)
        except RejectedRowError:
            counts.append(0)
            continue
        # no document predicts its first token
        trained = sum(label != IGNORED for label in labels[1:])
        counts.append(trained if len(ids) <= config.max_length else 0)
    return counts
