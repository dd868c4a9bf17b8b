"""Expose errors: samples + verdicts → the wrong attempts that an arm's reflection may show.

``error_source: own`` takes the student's own wrong answers. ``error_source: other_problem`` (the
placebo) replaces each own wrong attempt by a wrong attempt of the same student at another problem:
both arms then show the same number of attempts of the same kind, and only the fit between attempt
and problem differs. ``error_source: sham`` replaces it by an attempt at the same problem whose
error is made at random (`orion.experiment.sham`). ``selection`` says which wrong attempts come
first, ``show`` what a prompt shows of them, which is then their response in the table
(`orion.experiment.exposure`). With ``model`` the samples are those of another model, such as one
that was trained to make errors.
Run: ``python -m orion.stages.expose --config JSON --samples S --verdicts V --output O
[--problems P --steps A --surprisal N]``: problems and steps for sham errors, steps for
``to_false_step``, and the surprisal of the samples for ``most_confident``.
"""

import argparse
import hashlib
from dataclasses import dataclass, replace

import polars as pl

from orion import provenance, tables
from orion.answers.policies import get_policy
from orion.errors import InputError
from orion.experiment.candidates import join_checks
from orion.experiment.exposure import (
    ANSWER,
    TO_FALSE_STEP,
    WHOLE,
    cut_falsified,
    cut_to_false_steps,
    rank_errors,
    state_answers,
)
from orion.experiment.sham import sham_errors
from orion.experiment.surprise import LOWEST_SURPRISAL, SURPRISALS, with_surprisal
from orion.progress import log
from orion.prompts import PromptSet
from orion.stages import command

KEY = ["problem_id", "sample_id"]
SHAM_INPUTS = ("problems", "steps")
# errors of another model came later; a change of `orion.tables` would rerun every stage
EXPOSED = "exposed"
ERRORS = replace(
    tables.ERRORS,
    nullable=tables.ERRORS.nullable | {"own_sample_id"},
    allowed={"source": (*tables.ERRORS.allowed["source"], EXPOSED)},
)


@dataclass(frozen=True)
class ExposeConfig:
    """The configuration keys of the stage; ``max_errors``: wrong attempts kept per problem.

    ``policy`` and ``timeout_s``: how the results of sham errors are checked. ``seed``: of the
    selection ``random``. ``prompts``: with the block ``answer``, for ``show: answer``. ``model``:
    the name of a model that is not the student, if the samples are its own.
    """

    error_source: str
    max_errors: int
    selection: str
    policy: str | None = None
    timeout_s: float | None = None
    seed: int = 0
    show: str = WHOLE
    model: str | None = None
    prompts: PromptSet | str | None = None


def own_errors(
    samples: pl.DataFrame,
    verdicts: pl.DataFrame,
    *,
    max_errors: int,
    selection: str,
    seed: int = 0,
    surprisals: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """Up to ``max_errors`` wrong samples per problem, ranked from 0 by ``rank_errors``.

    Only the verdict ``incorrect`` counts: an answer that was not understood is not known to be an
    error. ``surprisals``: of the samples, for ``most_confident``.
    """
    wrong = verdicts.filter(pl.col("verdict") == "incorrect").select(*KEY, "extracted")
    if selection in ("shortest", "longest"):
        lengths = samples.select(*KEY, characters=pl.col("response").str.len_chars())
        wrong = wrong.join(lengths, on=KEY)
    if surprisals is not None:
        wrong = with_surprisal(wrong, surprisals, LOWEST_SURPRISAL)
    chosen = (
        rank_errors(wrong, selection, seed=seed)
        .select(*KEY, "extracted")
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


def check_sham_options(config: ExposeConfig, args: argparse.Namespace) -> tuple[str, float]:
    """Policy and timeout; raises InputError where something that sham errors need is missing."""
    missing = [f"--{name}" for name in SHAM_INPUTS if not getattr(args, name)]
    if config.policy is None or config.timeout_s is None:
        missing.append("policy and timeout_s in --config")
    if missing:
        raise InputError(f"error_source: sham needs {', '.join(missing)}")
    assert config.policy is not None and config.timeout_s is not None, "listed above"
    try:
        get_policy(config.policy)
    except ValueError as error:
        raise InputError(f"policy: {error}") from None
    return config.policy, config.timeout_s


def read_sham_errors(
    own: pl.DataFrame, args: argparse.Namespace, policy: str, timeout_s: float
) -> pl.DataFrame:
    """The own errors replaced by sham ones, from the tables that the options name."""
    samples = tables.read(args.samples, tables.SAMPLES, [*KEY, "response", "finish_reason"])
    verdicts = tables.read(args.verdicts, tables.VERDICTS, [*KEY, "verdict"])
    steps = tables.read(args.steps, tables.STEPS, [*KEY, "true", "false"])
    checked = join_checks(samples, verdicts, steps, files=[args.verdicts, args.steps])
    columns = ["problem_id", "problem", "answer", "solution", "meta"]
    problems = tables.read(args.problems, tables.PROBLEMS, columns)
    made = sham_errors(own, checked, problems, policy=policy, timeout_s=timeout_s)
    log(
        f"{own.height - made.height} of {own.height} errors have no sham: no right text of their "
        "problem can be falsified"
    )
    return made


def show_errors(
    errors: pl.DataFrame, config: ExposeConfig, args: argparse.Namespace
) -> pl.DataFrame:
    """The errors with what ``show`` says of each; raises InputError where an input is missing."""
    if config.show == WHOLE:
        return errors
    if config.show == ANSWER:
        if config.prompts is None:
            raise InputError("show: answer needs prompts with the block answer in --config")
        shown, without = state_answers(errors, config.prompts)
        log(f"{without} of {errors.height} wrong attempts have no answer to state: left out")
    elif config.show != TO_FALSE_STEP:
        raise InputError(f"show: {config.show} is none of {WHOLE}, {TO_FALSE_STEP}, {ANSWER}")
    elif config.error_source == "sham":
        assert config.timeout_s is not None, "sham errors were made with it"
        shown, without = cut_falsified(errors, config.timeout_s)
    elif args.steps:
        steps = tables.read(args.steps, tables.STEPS, [*KEY, "first_false"])
        shown, without = cut_to_false_steps(errors, steps)
    else:
        raise InputError("show: to_false_step needs --steps, the steps of the samples")
    if config.show == TO_FALSE_STEP:
        log(f"{without} of {errors.height} wrong attempts have no false step: shown whole")
    return shown


def main(argv: list[str] | None = None) -> None:
    parser = command.make_parser(__doc__, "samples", "verdicts", "output")
    for name in SHAM_INPUTS:
        parser.add_argument(f"--{name}", nargs="?", metavar="PATH", help="for sham or cut errors")
    parser.add_argument("--surprisal", nargs="?", metavar="PATH", help="for most_confident")
    args = parser.parse_args(argv)
    config = command.read_config(ExposeConfig, args.config)
    inputs = {"samples": args.samples, "verdicts": args.verdicts}
    surprisals = None
    if config.selection == "most_confident":
        if not args.surprisal:
            raise InputError("selection: most_confident needs --surprisal, that of the samples")
        inputs |= {"surprisal": args.surprisal}
        surprisals = tables.read(args.surprisal, SURPRISALS)
    samples = tables.read(args.samples, tables.SAMPLES, [*KEY, "response"])
    verdicts = tables.read(args.verdicts, tables.VERDICTS, [*KEY, "verdict", "extracted"])
    errors = own_errors(
        samples,
        verdicts,
        max_errors=config.max_errors,
        selection=config.selection,
        seed=config.seed,
        surprisals=surprisals,
    )
    if config.model is not None:
        # sample_id counts the samples of that model
        errors = errors.with_columns(
            source=pl.lit(EXPOSED), own_sample_id=pl.lit(None, dtype=pl.Int64)
        )
    if config.error_source == "other_problem":
        errors = other_problem_errors(errors)
    elif config.error_source == "sham":
        inputs |= {name: getattr(args, name) for name in SHAM_INPUTS}
        errors = read_sham_errors(errors, args, *check_sham_options(config, args))
    if config.show == TO_FALSE_STEP and args.steps:
        inputs |= {"steps": args.steps}
    errors = show_errors(errors, config, args)
    log(
        f"{errors.height} errors exposed for {errors['problem_id'].n_unique()} of "
        f"{samples['problem_id'].n_unique()} problems"
    )
    record = provenance.record("orion.stages.expose", args.config, inputs)
    tables.write(errors, args.output, ERRORS, record)


if __name__ == "__main__":
    command.run(main)
