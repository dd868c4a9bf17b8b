"""How unexpected texts are to the untrained student: the tables, averages, an order of texts.

Input: the rows of `surprise.parquet`, one per document that is trained on, and those of
`sample_surprisal.parquet` and `reflection_surprisal.parquet`, one per text that may be chosen.
Output: the means of an arm; texts with the number by which they are chosen.
`orion.training.scoring` computes the rows.
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
# the same of texts that may be chosen; those that the student cannot read have no row
SURPRISALS = tables.Table(
    "surprisals",
    ("problem_id", "sample_id"),
    {
        "problem_id": pl.String,
        "sample_id": pl.Int64,
        "tokens": pl.Int64,
        "surprise": pl.Float64,
        "rank": pl.Float64,
    },
)
# decimals that are kept: the last ones differ between processors
DECIMALS = 6
# ways to prefer a text, the lowest number first: its mean surprise; its mean rank over that
LOWEST_SURPRISAL, RANK_SURPRISAL = "lowest_surprisal", "rank_surprisal"
PREFERENCES = (LOWEST_SURPRISAL, RANK_SURPRISAL)


def with_surprisal(texts: pl.DataFrame, surprisals: pl.DataFrame, prefer: str) -> pl.DataFrame:
    """The texts, in their order, with the column ``surprisal`` by which ``prefer`` orders them.

    ``texts`` and ``surprisals`` have problem_id and sample_id. A text that the student could not
    read has null. The ratio of ``rank_surprisal`` is that of arXiv:2601.14249, of one text; where
    the surprise is 0, a text of certain tokens, it is null.
    """
    surprise = pl.col("surprise")
    ratio = pl.when(surprise > 0).then(pl.col("rank") / surprise)
    value = surprise if prefer == LOWEST_SURPRISAL else ratio
    key = ["problem_id", "sample_id"]
    found = surprisals.select(*key, surprisal=value)
    # the texts stay out of the join, which copies
    joined = texts.select(key).join(
        found, on=key, how="left", validate="1:1", maintain_order="left"
    )
    return texts.with_columns(joined["surprisal"])


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
