"""Read the grid's artifacts into one object per student: tables as frames, documents as dicts.

Input: the configuration and the results folder, which ``lineage`` has already verified. Output:
``Results``.
"""

import functools
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl

from orion import paths, tables
from orion.config import Config, list_judged
from orion.demo.exact_check import records_steps
from orion.errors import InputError
from orion.experiment import coherence, cohorts, statistics, voting
from orion.experiment.clusters import find_clusters
from orion.experiment.judgements import JUDGEMENTS
from orion.experiment.levels import Level, find_levels
from orion.experiment.surprise import SURPRISE
from orion.experiment.traces import with_correct_traces
from orion.report import rule_inputs, rules

# the columns of the table steps that count claims
STEP_COUNTS = ("true", "false", "unknown")

# a path template → the path for some fixed wildcards
Locate = Callable[..., Path]


@dataclass(frozen=True)
class Evaluation:
    """One trained model on one benchmark.

    ``scores``: the rows of scores.json by metric. ``per_problem``: problem_id, accuracy, sorted by
    problem_id. ``reduced``: the file of ``sample_rows``; the samples of a large grid would fill
    the memory. ``majority``: maj@r of each problem, sorted by problem_id, ``(problems, sizes)``;
    None where there are too many samples for it. ``sizes``: each r.
    """

    scores: dict[str, dict]
    per_problem: pl.DataFrame
    reduced: Path
    majority: statistics.Floats | None
    sizes: tuple[int, ...]

    @property
    def sample_rows(self) -> pl.DataFrame:
        """What is kept of every sample, read at each call.

        problem_id, verdict, the counts of steps, completion_tokens, whether it is finished, and the
        columns of `cohorts.find_cohorts` and `coherence.measure_texts`; with a second policy also
        second_verdict. No texts.
        """
        return pl.read_ipc(self.reduced)

    @property
    def tokens(self) -> np.ndarray:
        """Completion tokens of every sample, ``(problems * k,)``; read at each call."""
        return self.sample_rows["completion_tokens"].to_numpy()


@dataclass
class Arm:
    """The artifacts of one arm; None for tables and documents that this kind of arm does not have.

    ``trained_on``: as in the configuration. ``evaluations``: by benchmark and seed. ``logs``: the
    lines of train_log.jsonl by seed.
    """

    name: str
    trained_on: str
    evaluations: dict[tuple[str, int], Evaluation] = field(default_factory=dict)
    errors: pl.DataFrame | None = None
    reflections: pl.DataFrame | None = None
    train: pl.DataFrame | None = None
    filters: dict | None = None
    packed: dict | None = None
    logs: dict[int, list[dict]] = field(default_factory=dict)
    surprise: pl.DataFrame | None = None

    def list_runs(self, benchmark: str) -> list[Evaluation]:
        """The evaluations on one benchmark, one per seed."""
        return [e for (name, _), e in self.evaluations.items() if name == benchmark]

    def count_samples(self, benchmark: str) -> int:
        """The samples per problem and seed on one benchmark."""
        return int(self.list_runs(benchmark)[0].scores["accuracy"]["k"])

    def accuracies(self, benchmark: str) -> np.ndarray:
        """Accuracy by seed and problem, ``(seeds, problems)``; problems sorted by problem_id."""
        runs = self.list_runs(benchmark)
        return np.stack([run.per_problem["accuracy"].to_numpy() for run in runs])

    def collect_checked(self, benchmark: str) -> pl.DataFrame:
        """``checked`` of all seeds on one benchmark."""
        return pl.concat([run.sample_rows for run in self.list_runs(benchmark)])


@dataclass(frozen=True)
class Judged:
    """The answers of two arms on one benchmark before a judge model.

    ``judgements``: the table of that name. ``false_steps``: problem_id → false steps of the arm's
    answer, and of the other's. ``clusters``: problem_id → its cluster; None where there is none.
    """

    judgements: pl.DataFrame
    false_steps: dict[str, tuple[int, int]]
    clusters: dict[str, int] | None


@dataclass(frozen=True)
class Results:
    """One student on one training set, from the problems to the scores of every arm.

    ``samples``, the arms' ``reflections`` and ``traces`` (problem_id, sample_id) are joined with
    their verdicts and steps. ``traces`` is None where no arm is trained, so that none was checked.
    ``clusters``: by benchmark, of the problems sorted by problem_id; None where it has none.
    ``levels``: by benchmark, the groups of its problems by their meta. ``judged``: by arm, the one
    that it is compared with, and benchmark; empty without a judge. ``scratch``: the folder of
    the evaluations' files, which is there as long as this object.
    """

    dataset: str
    model: str
    problems: pl.DataFrame
    traces: pl.DataFrame | None
    samples: pl.DataFrame
    arms: dict[str, Arm]
    clusters: dict[str, statistics.Integers | None]
    levels: dict[str, list[Level]]
    judged: dict[tuple[str, str, str], Judged]
    scratch: tempfile.TemporaryDirectory[str]

    @property
    def correct_traces(self) -> pl.DataFrame | None:
        """The first correct teacher trace of each problem that has one; sample_id is its rank.

        None where no trace was checked.
        """
        if self.traces is None:
            return None
        right = self.traces.filter(pl.col("verdict") == "correct")
        return right.unique("problem_id", keep="first", maintain_order=True)


def load_results(config: Config, root: str | Path, dataset: str, model: str) -> Results:
    """All artifacts of one student on one training set."""
    locate: Locate = functools.partial(paths.artifact, root, dataset=dataset, model=model)
    problems, traces = tables.read(locate(paths.PROBLEMS), tables.PROBLEMS), None
    if rule_inputs.trains(config, {"dataset": dataset}):
        with_traces = rule_inputs.problems_with_traces(config, {"dataset": dataset})
        trace_verdicts = tables.read(locate(paths.TRACE_VERDICTS), tables.VERDICTS)
        rows = trace_verdicts.select("problem_id", "sample_id")
        traces = read_checked(rows, locate(paths.TRACE_VERDICTS), locate(paths.TRACE_STEPS))
        problems = tables.read(locate(with_traces), tables.PROBLEMS)
        chosen = with_correct_traces(problems, trace_verdicts)["teacher_trace"]
        # where no candidate is correct, the first one is shown
        problems = problems.with_columns(teacher_trace=chosen.fill_null(problems["teacher_trace"]))
    scratch = tempfile.TemporaryDirectory(prefix="orion-report-")
    metas = {name: _read_meta(root, name) for name in config.runs.benchmarks}
    exact = {name for name, meta in metas.items() if records_steps(meta)}
    return Results(
        dataset,
        model,
        problems,
        traces,
        read_checked(
            tables.read(locate(paths.SAMPLES), tables.SAMPLES),
            locate(paths.VERDICTS),
            locate(paths.STEPS),
        ),
        {
            name: _load_arm(
                config,
                name,
                functools.partial(paths.artifact, root, dataset=dataset, model=model, arm=name),
                exact,
                Path(scratch.name),
            )
            for name in config.runs.arms
        },
        {name: find_clusters(meta) for name, meta in metas.items()},
        {name: find_levels(meta) for name, meta in metas.items()},
        {
            (arm, against, benchmark): _load_judged(
                functools.partial(locate, benchmark=benchmark, seed=config.runs.seeds[0]),
                arm,
                against,
                metas[benchmark],
            )
            for arm, against, benchmark in list_judged(config, model)
        },
        scratch,
    )


def _load_judged(locate: Locate, arm: str, against: str, meta: pl.DataFrame) -> Judged:
    judged = tables.read(locate(rules.JUDGEMENTS, arm=arm, against=against), JUDGEMENTS)
    counts = []
    for name in (arm, against):
        steps = tables.read(locate(paths.EVALUATION_STEPS, arm=name), tables.STEPS)
        rows = steps.filter(pl.col("sample_id") == 0).select("problem_id", "false")
        counts.append(dict(rows.iter_rows()))
    numbers = find_clusters(meta)
    return Judged(
        judged,
        {name: (counts[0][name], counts[1][name]) for name in judged["problem_id"].unique()},
        None if numbers is None else dict(zip(meta["problem_id"], numbers.tolist(), strict=True)),
    )


def _read_meta(root: str | Path, benchmark: str) -> pl.DataFrame:
    path = paths.artifact(root, paths.BENCHMARK_PROBLEMS, benchmark=benchmark)
    return tables.read(path, tables.PROBLEMS, ["problem_id", "meta"])


def read_checked(rows: pl.DataFrame, verdicts: Path, steps: Path) -> pl.DataFrame:
    """Samples, reflections or traces with their verdicts and steps, sorted by key.

    Raises InputError unless every row has exactly one verdict and one row of steps.
    """
    joined = rows
    for path, table in ((verdicts, tables.VERDICTS), (steps, tables.STEPS)):
        found = tables.read(path, table)
        joined = joined.join(found, on=["problem_id", "sample_id"], validate="1:1")
        if not joined.height == rows.height == found.height:
            raise InputError(
                f"{path}: {found.height} {table.name} for {rows.height} texts; delete it and rerun"
            )
    return joined.sort("problem_id", "sample_id")


def _load_arm(
    config: Config, name: str, locate: Callable[..., Path], exact: set[str], scratch: Path
) -> Arm:
    """``exact``: the benchmarks whose problems record their steps."""
    trained_on = config.arms[name].trained_on
    arm = Arm(name, trained_on)
    if trained_on == "reflection":
        arm.errors = tables.read(locate(paths.ERRORS), tables.ERRORS)
        arm.reflections = read_checked(
            tables.read(locate(paths.REFLECTIONS), tables.REFLECTIONS),
            locate(paths.REFLECTION_VERDICTS),
            locate(paths.REFLECTION_STEPS),
        )
    if trained_on != "nothing":
        arm.train = tables.read(locate(paths.TRAIN), tables.TRAIN)
        arm.filters = tables.read_json(locate(paths.FILTERS))
        arm.packed = tables.read_json(locate(paths.PACKED_STATS))
        if config.report.surprise:
            arm.surprise = tables.read(locate(rules.SURPRISE), SURPRISE)
        for seed in config.runs.seeds:
            arm.logs[seed] = _load_log(locate(paths.TRAIN_LOG, seed=seed))
    for benchmark in config.runs.benchmarks:
        for seed in config.runs.seeds:
            arm.evaluations[benchmark, seed] = _load_evaluation(
                functools.partial(locate, seed=seed, benchmark=benchmark),
                config.report.pass_at,
                scratch / name / benchmark / f"{seed}.arrow",
                exact=benchmark in exact,
                is_rechecked=config.report.second_policy is not None,
            )
    return arm


def _load_log(path: Path) -> list[dict]:
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}: not a readable training log ({error}); delete the run's folder and rerun"
        ) from None


def _load_evaluation(
    locate: Locate, wanted: list[int] | None, reduced: Path, *, exact: bool, is_rechecked: bool
) -> Evaluation:
    scores = locate(paths.SCORES)
    rows = read_checked(
        tables.read(locate(paths.EVALUATION_SAMPLES), tables.SAMPLES),
        locate(paths.EVALUATION_VERDICTS),
        locate(paths.EVALUATION_STEPS),
    )
    checked = _reduce_samples(rows, exact=exact)
    if is_rechecked:
        second = read_checked(
            rows.select("problem_id", "sample_id"),
            locate(rules.SECOND_VERDICTS),
            locate(rules.SECOND_STEPS),
        )
        checked = checked.with_columns(second_verdict=second["verdict"])
    ids, means = statistics.problem_means(
        rows["problem_id"].to_list(), (rows["verdict"] == "correct").to_numpy()
    )
    by_metric = {row["metric"]: row for row in tables.read_json(scores)["rows"]}
    recorded = by_metric["accuracy"]["value"]
    sizes = voting.choose_sizes(by_metric["accuracy"]["k"], wanted)
    if abs(recorded - means.mean()) > 1e-9:
        raise InputError(
            f"{scores}: accuracy {recorded}, but the verdicts give {means.mean()}; "
            "delete it and rerun"
        )
    reduced.parent.mkdir(parents=True, exist_ok=True)
    checked.write_ipc(reduced)
    return Evaluation(
        by_metric,
        pl.DataFrame({"problem_id": ids, "accuracy": means}),
        reduced,
        _find_majority(rows, by_metric["accuracy"]["k"], sizes),
        sizes,
    )


def _reduce_samples(rows: pl.DataFrame, *, exact: bool) -> pl.DataFrame:
    """What is kept of every sample: no texts."""
    kept = rows.select(
        "problem_id",
        "verdict",
        *STEP_COUNTS,
        "completion_tokens",
        finished=cohorts.is_finished(),
    )
    measured = coherence.measure_texts(rows["response"], exact=exact)
    return pl.concat([kept, cohorts.find_cohorts(rows), measured], how="horizontal")


def _find_majority(
    rows: pl.DataFrame, samples: int, sizes: tuple[int, ...]
) -> statistics.Floats | None:
    """maj@r of each problem and size, ``(problems, sizes)``; None beyond MAX_SAMPLES."""
    if samples > voting.MAX_SAMPLES:
        return None
    return np.array([voting.majority_at(votes, sizes) for votes in voting.count_votes(rows)])
