"""Write what an arm is trained on: its rows, the summary in filters.json, a preview for reading.

Input: training rows (table train) and the summary of how they were chosen. Output: three files.
"""

import json
from collections import Counter

import polars as pl

from orion import tables
from orion.experiment.candidates import Row
from orion.paths import AtomicFile

PREVIEW_ROWS = 50


def count_rows(train: pl.DataFrame) -> Row:
    """The part of the summary that counts the training rows."""
    return {
        "rows": train.height,
        "rows_by_kind": dict(sorted(Counter(train["target_kind"]).items())),
        "problems_trained": train["problem_id"].n_unique(),
    }


def write_selected(
    train: pl.DataFrame, summary: Row, record: Row, *, output: str, filters: str, preview: str
) -> None:
    """Publish the summary, the preview and, last, the training rows."""
    tables.write_json(summary, filters, record)
    with AtomicFile(preview) as partial:
        lines = [
            json.dumps(row, ensure_ascii=False)
            for row in train.head(PREVIEW_ROWS).iter_rows(named=True)
        ]
        partial.write_text("\n".join(lines) + "\n", encoding="utf-8")
    tables.write(train, output, tables.TRAIN, record)
