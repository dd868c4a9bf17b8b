"""Expose errors: samples + verdicts → the wrong attempts that an arm's reflection may show.

``origin: own`` takes the student's own wrong answers. ``origin: other_problem`` (the placebo) takes, for every own wrong
attempt, a wrong attempt of the student at another problem, so that both arms show the same number of attempts of the same
kind and only the fit between attempt and problem differs.
Run: ``python -m orion.expose --config JSON --samples S --verdicts V --output O``.
"""

import hashlib

import polars as pl

from orion import provenance, stage, tables


def own_errors(
    samples: pl.DataFrame, verdicts: pl.DataFrame, *, max_errors: int, selection: str
) -> pl.DataFrame:
    """Up to ``max_errors`` wrong samples a problem, ranked from 0.

    Only the verdict ``incorrect`` counts: an answer that was not understood is not known to be an error. ``distinct``
    ranks attempts with a new wrong answer before repetitions of one already chosen; ties fall to the lower sample_id.
    """
    wrong = samples.join(
        verdicts.filter(pl.col("verdict") == "incorrect"), on=["problem_id", "sample_id"]
    )
    repeats = pl.int_range(pl.len()).over("problem_id", "extracted", order_by="sample_id")
    order = (
        ["problem_id", repeats, "sample_id"]
        if selection == "distinct"
        else ["problem_id", "sample_id"]
    )
    return (
        wrong.sort(order)
        .with_columns(rank=pl.int_range(pl.len()).over("problem_id"))
        .filter(pl.col("rank") < max_errors)
        .with_columns(
            origin=pl.lit("own"), source_problem_id="problem_id", own_sample_id="sample_id"
        )
        .select(list(tables.ERRORS.columns))
    )


def foreign_errors(own: pl.DataFrame) -> pl.DataFrame:
    """Each own error replaced by one of another problem: the table shifted along a keyed random order of the problems.

    Every attempt is shown exactly once, as in the own arm, except where a problem would meet itself. With fewer than two
    problems there is no foreign attempt and the table is empty.
    """
    if own["problem_id"].n_unique() < 2:
        return own.clear()
    shuffled = own.with_columns(
        order=pl.col("problem_id").map_elements(_shuffle_key, return_dtype=pl.String)
    ).sort("order", "problem_id", "rank")
    # a shift by the largest group size can never land in the same problem, as each problem's rows lie together
    shift = int(own.group_by("problem_id").len()["len"].max())  # type: ignore[arg-type]
    donors = shuffled.select("sample_id", "response", "extracted", "source_problem_id")
    donors = (
        pl.concat([donors.tail(donors.height - shift), donors.head(shift)])
        if donors.height > shift
        else donors
    )
    exchanged = shuffled.select("problem_id", "rank", "own_sample_id").hstack(donors)
    return (
        exchanged.filter(pl.col("problem_id") != pl.col("source_problem_id"))
        .with_columns(origin=pl.lit("other_problem"))
        .select(list(tables.ERRORS.columns))
    )


def _shuffle_key(problem_id: str) -> str:
    return hashlib.sha256(f"placebo:{problem_id}".encode()).hexdigest()


def main(argv: list[str] | None = None) -> None:
    args = stage.parser(__doc__, "samples", "verdicts", "output").parse_args(argv)
    samples = tables.read(args.samples, tables.SAMPLES)
    verdicts = tables.read(args.verdicts, tables.VERDICT_ROWS)
    errors = own_errors(
        samples, verdicts, max_errors=args.config["max_errors"], selection=args.config["selection"]
    )
    if args.config["origin"] == "other_problem":
        errors = foreign_errors(errors)
    stage.log(
        f"{errors.height} errors exposed for {errors['problem_id'].n_unique()} of {samples['problem_id'].n_unique()} problems"
    )
    record = provenance.record(
        "orion.expose", args.config, {"samples": args.samples, "verdicts": args.verdicts}
    )
    tables.write(errors, args.output, tables.ERRORS, record)


if __name__ == "__main__":
    stage.run(main)
