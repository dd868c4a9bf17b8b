"""Training rows as token ids: which are held out, and how many tokens of each are trained on.

Input: rows of the table train, a model's document. Output: an encoder, or counts of tokens.
"""

from dataclasses import dataclass

import polars as pl

from orion import prompts
from orion.models import checkpoints
from orion.models.document import ModelDocument
from orion.models.training_documents import DocumentEncoder, RejectedRowError
from orion.prompts import PromptSet
from orion.provenance import digest_text
from orion.training.document_file import IGNORED

COLUMNS = ["problem_id", "row", "prompt", "completion", "target_kind"]


@dataclass(frozen=True)
class RowEncoding:
    """What decides the tokens of a row.

    ``max_length``: of a packed sequence, longer rows are dropped. ``prompts``: the blocks of the
    prompt set that come before the question, if it has any. ``validation_fraction``: of the
    problems, about, whose rows are held out.
    """

    max_length: int
    enable_thinking: bool | None = None
    prompts: PromptSet | str | None = None
    validation_fraction: float | None = None


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
            is_own = kind == "own_correct"
            ids, labels = encoder.encode(prompt, completion, is_own_sample=is_own)
        except RejectedRowError:
            counts.append(0)
            continue
        # no document predicts its first token
        trained = sum(label != IGNORED for label in labels[1:])
        counts.append(trained if len(ids) <= config.max_length else 0)
    return counts
