"""What a text says of its own coherence without a model: its chain, and how often it repeats words.

Input: texts. Output: one row per text. Both measures read the text alone: whether the chain answers
the problem is the verdict's business.
"""

from collections.abc import Iterable

import polars as pl

from orion.demo import exact_check

# words of an n-gram: seq-rep-4 of Welleck et al. 2019, arXiv:1908.04319
REPEATED_NGRAM = 4
SCHEMA = {"readable": pl.Boolean, "wholly_true": pl.Boolean, "repeated": pl.Float64}


def measure_texts(texts: Iterable[str], *, exact: bool) -> pl.DataFrame:
    """``readable``, ``wholly_true`` and ``repeated`` of each text, in order.

    ``readable``: whether the exact check of the embedded problems can read a step of it.
    ``wholly_true``: whether that check finds every step and column true; null where it reads none.
    Both are null unless ``exact``, which is for texts on embedded problems. ``repeated``: of
    `repeated_share`.
    """
    rows = []
    for text in texts:
        readable = exact_check.reads_step(text) if exact else None
        true = exact_check.is_wholly_true(text) if readable else None
        rows.append((readable, true, repeated_share(text)))
    return pl.DataFrame(rows, SCHEMA, orient="row")


def repeated_share(text: str) -> float | None:
    """The share of a text's n-grams of words that stand in it before; None without an n-gram.

    That is 1 - distinct n-grams / n-grams, with words between whitespace.
    """
    words = text.split()
    count = len(words) - REPEATED_NGRAM + 1
    if count < 1:
        return None
    distinct = set(zip(*(words[start:] for start in range(REPEATED_NGRAM)), strict=False))
    return 1 - len(distinct) / count
