"""How unexpected training texts are to the untrained student: the table, and its averages.

Input: the rows of `surprise.parquet`, one per document that is trained on. Output: the means of an
arm. `orion.training.scoring` computes the rows.
"""

import polars as pl

from orion import tables

# of a token; ranks far down the vocabulary would decide a mean (r_max of arXiv:2601.14249)
MAX_RANK = 100
# means over the document's trained tokens: ``surprise``, the negative log-likelihood in nats;
# ``rank``, of the token among all by their likelihood, from 1 and at most MAX_RANK
SURPRISE = tables.Table(
    "surprise",
    ("row", "document"),
    {
        "row": pl.Int64,
        "document": pl.Int64,
        "tokens": pl.Int64,
        "surprise": pl.Float64,
        "rank": pl.Float64,
    },
)


def average(rows: pl.DataFrame) -> dict[str, float | int | None]:
    """The numbers of one arm.

    ``surprise`` and ``rank`` are means over all tokens. ``rank_surprise_ratio`` is that of
    arXiv:2601.14249: the mean of the documents' ranks over the mean of their surprises; null where
    that is 0.
    """
    tokens = int(rows["tokens"].sum())
    means = {
        name: float((rows[name] * rows["tokens"]).sum() / tokens) if tokens else None
        for name in ("surprise", "rank")
    }
    rank, surprise = float(rows["rank"].sum()), float(rows["surprise"].sum())
    return {
        "documents": rows.height,
        "tokens": tokens,
        **means,
        "rank_surprise_ratio": rank / surprise if surprise else None,
    }
