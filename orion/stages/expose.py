"""Expose errors: samples + verdicts → the wrong attempts that an arm's reflection may show.

``error_source: own`` takes the student's own wrong answers. ``error_source: other_problem`` (the
placebo) replaces each own wrong attempt by a wrong attempt of the same student at another problem:
both arms then show the same number of attempts of the same kind, and only the fit between attempt
and problem differs.
Run: ``python -m orion.stages.expose --config JSON --samples S --verdicts V --output O``.
"""

import hashlib
from dataclasses import dataclass

import polars as pl

from orion import provenance, tables
from orion.progress import log
from orion.stages import command

KEY = ["problem_id", "sample_id"]


@dataclass(frozen=True)
class ExposeConfig:
    """The configuration keys of the stage; ``max_errors``: wrong attempts kept per problem."""

    error_source: str
    max_errors: int
    selection: str


def own_errors(
    samples: pl.DataFrame, verdicts: pl.DataFrame, *, max_errors: int, selection: str
) -> pl.DataFrame:
    """Up to ``max_errors`` wrong samples per problem, ranked from 0.

    Only the verdict ``incorrect`` counts: an answer that was not understood is not known to be an
    error. ``distinct`` ranks attempts with a new wrong answer before repetitions of one already
    chosen; ties fall to the lower sample_id.
    """
    wrong = verdicts.filter(pl.col("verdict") == "incorrect").select(*KEY, "extracted")
    repeats = pl.int_range(pl.len()).over("problem_id", "extracted", order_by="sample_id")
    order = (
        ["problem_id", repeats, "sample_id"]
        if selection == "distinct"
        else ["problem_id", "sample_id"]
    )
    chosen = (
        wrong.sort(order)
        .with_columns(rank=pl.int_range(pl.len()).over("problem_id"))
        .filter(pl.col("rank") < max_errors)
    )
    # the texts last, since joins and sorts copy them
    return (
        samples.select(*KEY, "response")
        .join(chosen, on=KEY)
        .sort("problem_id", "rank")
        .with_columns(
            source=pl.lit("own"), source_problem_id="problem_id", own_sample_id="sample_id"
        )
        .select(list(tables.ERRORS.columns))
    )


def other_problem_errors(own: pl.DataFrame) -> pl.DataFrame:
    """Each own error replaced by one of another problem.

    The table is shifted along a keyed random order of the problems: every attempt is shown exactly
    once, as in the own arm, except where a problem would get its own. With fewer than two problems
    the table is empty.
    """
    if own["problem_id"].n_unique() < 2:
        return own.clear()
    shuffled = own.with_columns(
        order=pl.col("problem_id").map_elements(_shuffle_key, return_dtype=pl.String)
    ).sort("order", "problem_id", "rank")
    # each problem's rows are adjacent, so a shift by the largest group leaves every problem
    shift = int(own.group_by("problem_id").len()["len"].max())  # type: ignore[arg-type]
    donors = shuffled.select("sample_id", "response", "extracted", "source_problem_id")
    if donors.height > shift:
        donors = pl.concat([donors.tail(donors.height - shift), donors.head(shift)])
    exchanged = shuffled.select("problem_id", "rank", "own_sample_id").hstack(donors)
    return (
        exchanged.filter(pl.col("problem_id") != pl.col("source_problem_id"))
        .with_columns(source=pl.lit("other_problem"))
        .select(list(tables.ERRORS.columns))
    )


def _shuffle_key(problem_id: str) -> str:
    return hashlib.sha256(f"placebo:{problem_id}".encode()).hexdigest()


def main(argv: list[str] | None = None) -> None:
    args = command.make_parser(__doc__, "samples", "verdicts", "output").parse_args(argv)
    config = command.read_config(ExposeConfig, args.config)
    samples = tables.read(args.samples, tables.SAMPLES, [*KEY, "response"])
    verdicts = tables.read(args.verdicts, tables.VERDICTS, [*KEY, "verdict", "extracted"])
    errors = own_errors(samples, verdicts, max_errors=config.max_errors, selection=config.selection)
    if config.error_source == "other_problem":
        errors = other_problem_errors(errors)
    log(
        f"{errors.height} errors exposed for {errors['problem_id'].n_unique()} of "
        f"{samples['problem_id'].n_unique()} problems"
    )
    inputs = {"samples": args.samples, "verdicts": args.verdicts}
    record = provenance.record("orion.stages.expose", args.config, inputs)
    tables.write(errors, args.output, tables.ERRORS, record)


if __name__ == "__main__":
    command.run(main)
