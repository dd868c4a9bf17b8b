"""What the sections of ``orion why`` share: a problem's rows in the tables of a run, and texts.

Input: a results folder, wildcards, the id of a problem. Output: rows with their numbers in their
files; lines that a terminal can show.
"""

import difflib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from orion import paths, tables
from orion.experiment.candidates import KEY

LINE = "line"  # the column with the number of a row in its file
NO_FILE = "not made yet"


class ProblemRows:
    """The rows of one problem in the tables of a run."""

    def __init__(self, results: Path, problem_id: str, **wildcards: str):
        self.results, self.problem_id, self.wildcards = results, problem_id, wildcards

    def path(self, template: str) -> Path:
        """The file of an artifact."""
        return paths.artifact(self.results, template, **self.wildcards)

    def read(self, template: str, table: tables.Table) -> pl.DataFrame | None:
        """The problem's rows of a table with their numbers; None where there is no file."""
        path = self.path(template)
        return self.rows_of(path, table) if path.is_file() else None

    def rows_of(self, path: Path, table: tables.Table) -> pl.DataFrame:
        """The problem's rows of the table in a file."""
        tables.size(path, table)  # refuses what is no such table
        scan = pl.scan_parquet(path).with_row_index(LINE)
        return scan.filter(pl.col("problem_id") == self.problem_id).collect()

    def explain_absence(self, problems: Path, rejected: str) -> str:
        """Why the problem is not in the file of problems: it was rejected, or has another name.

        ``rejected``: the template of the file of rejected rows.
        """
        message = f"{problems}: no problem {self.problem_id}"
        found = self.read(rejected, tables.REJECTED)
        if found is not None and found.height:
            row = found.row(0, named=True)
            return f"{message}; row {row['row']} was rejected, {row['reason']}: {row['detail']}"
        known = pl.read_parquet(problems, columns=["problem_id"])["problem_id"].to_list()
        near = difflib.get_close_matches(self.problem_id, known, 3, 0.5) or known[:3]
        return f"{message}; there are {len(known)}, such as {', '.join(near)}"


def show(text: str | None, width: int | None, indent: str = "    ") -> Iterator[str]:
    """A text on one line of at most ``width`` characters; without a width all of its lines.

    Model output may hold escape codes for terminals, so what cannot be printed is spelled out.
    """
    lines = (text or "").splitlines() if width is None else [" ".join((text or "").split())]
    for line in lines:
        clean = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
        room = None if width is None else max(20, width - len(indent))
        yield indent + (clean if room is None or len(clean) <= room else f"{clean[: room - 1]}…")


def join_found(texts: pl.DataFrame, verdicts: pl.DataFrame, steps: pl.DataFrame) -> pl.DataFrame:
    """The texts with what was found in them; traces, which have no file, with the verdict's row."""
    found = verdicts.join(steps.drop(LINE), on=KEY, how="left")
    found = found.rename({"true": "true_steps", "false": "false_steps"})
    if LINE in texts.columns:
        found = found.drop(LINE)
    return texts.join(found, on=KEY, how="left", maintain_order="left")


def say_check(row: dict[str, Any]) -> str:
    """The verdict, the answer that was read, and the truth of the steps."""
    if row["verdict"] is None or row["true_steps"] is None:
        return "never checked"
    found = "none" if row["extracted"] is None else next(show(row["extracted"], 60, ""))
    steps = f"{row['true_steps']} true, {row['false_steps']} false"
    said = f"{row['verdict']}, answer {found}; steps: {steps}"
    if row["first_false"] is not None:
        said += f" ({next(show(row['first_false']['text'], 60, ''))})"
    return said
