"""What the report says of the problem sets, counted again: problems, clusters, rejected rows."""

import json
from pathlib import Path

import polars as pl

from tests.helpers import uncertainty


def find_faults(results: Path, doc: dict) -> list[str]:
    wrong = []
    for source in doc["sources"]:
        folder = results / f"{source['kind']}s" / source["name"]
        reported = [source[name] for name in ("problems", "clusters", "rejected", "unparseable")]
        lint = json.loads((folder / "lint.json").read_text(encoding="utf-8"))
        recomputed = [
            *count_problems(pl.read_parquet(folder / "problems.parquet")),
            pl.read_parquet(folder / "rejected.parquet").height,
            len(lint["unparseable"]),
        ]
        if reported != recomputed:
            wrong.append(
                f"sources {source['name']}: the report says {reported}, "
                f"the tables give {recomputed}"
            )
    return wrong


def name_clusters(problems: pl.DataFrame) -> dict[str, object]:
    rows = problems.select("problem_id", "meta").sort("problem_id").iter_rows()
    return {name: meta.get("cluster") or ("alone", name) for name, meta in rows}


def count_problems(problems: pl.DataFrame) -> tuple[int, int | None]:
    return problems.height, uncertainty.count_clusters([*name_clusters(problems).values()])
