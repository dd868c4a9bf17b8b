"""Mix teacher traces into an arm's training rows, as a stated share of all rows.

Input: the arm's own rows and the traces, both as the table train. Output: the mixed rows, and their
counts. A problem gives its trace or rows of the arm, never both. Which problems give their trace,
and which rows go where there are too many, is decided by hashed keys.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import polars as pl

from orion.errors import InputError
from orion.experiment.candidates import Row
from orion.provenance import digest_text

TRACE = "teacher_trace"


@dataclass(frozen=True)
class Mix:
    """``teacher_share``: of the rows that are traces, in (0, 1). ``seed``: of the hashed keys."""

    teacher_share: float
    seed: int = 0


def count_others(traces: int, share: float) -> int:
    """How many rows have to come with so many traces, so that these are the share of all rows.

    The traces are then the whole number nearest to the share of all rows.
    """
    part = Fraction(str(share))
    return round(traces * (1 - part) / part)


def mix_traces(own: pl.DataFrame, traces: pl.DataFrame, mix: Mix) -> tuple[pl.DataFrame, Row]:
    """As many rows as the share allows, sorted by key, and their counts for filters.json.

    ``own``: the arm's rows without traces; ``traces``: one row per problem that has one. Problems
    give their trace in the order of their keys as long as the rows of the others are enough. Raises
    InputError where they are not enough for one trace.
    """
    assert TRACE not in set(own["target_kind"]), "orion.config refuses fallbacks on traces"
    order = sorted(traces["problem_id"], key=lambda each: digest_text(f"mix {mix.seed} {each}"))
    count = _count_traces(order, own, mix.teacher_share)
    if count == 0:
        raise InputError(
            f"mix.teacher_share = {mix.teacher_share:g}: {len(order)} traces and {own.height} other"
            f" rows are too few; one trace needs {count_others(1, mix.teacher_share)} rows of other"
            " problems. Raise the share, or relax select.filters"
        )
    giving = order[:count]
    others = count_others(count, mix.teacher_share)
    rest = own.filter(~pl.col("problem_id").is_in(giving))
    keys = rest.select("problem_id", "row").iter_rows()
    ranked = [digest_text(f"mix {mix.seed} {problem} {row}") for problem, row in keys]
    kept = rest.with_columns(order=pl.Series(ranked, dtype=pl.String)).sort("order").head(others)
    chosen = traces.filter(pl.col("problem_id").is_in(giving))
    mixed = pl.concat([kept.drop("order"), chosen]).sort("problem_id", "row")
    return mixed, {
        "teacher_share": mix.teacher_share,
        "teacher_rows": count,
        "other_rows": others,
        "traces_left_out": len(order) - count,
        "other_rows_left_out": own.height - others,
    }


def _count_traces(order: Sequence[str], own: pl.DataFrame, share: float) -> int:
    """The most problems that can give their trace, the first of ``order``."""
    rows = dict(own.group_by("problem_id").len().iter_rows())
    left, count = own.height, 0
    for number, problem_id in enumerate(order, 1):
        left -= rows.get(problem_id, 0)
        if count_others(number, share) > left:
            break
        count = number
    return count
