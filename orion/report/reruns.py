"""The evaluations that two results folders have in common: accuracy, intervals, flipped problems.

Input: two folders of `orion.report.folders`. Output: one row per dataset, model, arm and benchmark.
Runs are the seeds of the arm that both folders have, or all of both where none is in both; the runs
of the two folders are not paired in the estimate. One evaluation is in
memory at a time, of its answers only 64-bit hashes.

Two intervals of B - A, as `docs/statistics.md` has them. ``low``/``high`` resample problems: they
hold for these very models. ``low_runs``/``high_runs`` are about new runs on new problems of the
student at hand; they take two seeds and answers that differ, else they are None: equal answers are
one set of runs, seen twice.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import polars as pl

from orion import paths, tables
from orion.errors import InputError
from orion.experiment.clusters import count_clusters, find_clusters
from orion.experiment.comparisons import TIE, PairedTest, compare_arms, excludes_zero
from orion.report.folders import Folder
from orion.report.run_inputs import GOLD, ID, compare_problems, read_digest
from orion.training.table_slices import read_slices

KEY = ("seed", ID, "sample_id")
SLICE_ROWS = 256
ANSWERS = ("answer", "answer_b")
MAJORITY = 0.5
WHERE = ("dataset", "model", "arm", "benchmark")


@dataclass(frozen=True)
class Skipped:
    """What could not be compared and why, and how many pairs of evaluations that are."""

    what: str
    evaluations: int


@dataclass(frozen=True)
class Rerun:
    """One arm on one benchmark in both folders.

    ``problems``: in both, with the same question, and answered in every run; ``other_gold``: of
    these with another reference answer. ``accuracy_a`` and ``accuracy_b`` are fractions of these
    problems, means over the seeds ``seeds_a`` and ``seeds_b``. ``lost``: problems of which more
    than half of the samples are right in A and fewer than half in B; ``won``: the reverse.
    ``compared``: samples that both have, by seed, problem and number; ``equal_verdicts`` counts
    among them. ``equal_answers`` (the same bytes) counts among ``compared_answers``, which are
    fewer where a table of samples cannot be read. ``unmatched``: samples at the common problems
    that only one folder has. ``same_student``: whether the untrained models have the same
    digest, None where that cannot be said. ``beyond``: whether the interval excludes 0, that of new
    runs where there is one; None without an interval.
    """

    dataset: str
    model: str
    arm: str
    benchmark: str
    problems: int
    other_gold: int
    clusters: int | None
    seeds_a: tuple[str, ...]
    seeds_b: tuple[str, ...]
    accuracy_a: float
    accuracy_b: float
    difference: float
    low: float | None
    high: float | None
    low_runs: float | None
    high_runs: float | None
    p: float | None
    lost: int
    won: int
    compared: int
    equal_verdicts: int
    compared_answers: int
    equal_answers: int
    unmatched: int
    same_student: bool | None

    @property
    def beyond(self) -> bool | None:
        """Whether the wider claim that can be made excludes 0."""
        if self.low_runs is not None:
            return excludes_zero(self.low_runs, self.high_runs)
        return None if self.low is None else excludes_zero(self.low, self.high)


def compare_evaluations(
    a: Folder, b: Folder, *, confidence: float, resamples: int
) -> Iterator[Rerun | Skipped]:
    """A row per arm and benchmark of both folders, or why there is none."""
    seeds = [_list_seeds(folder) for folder in (a, b)]
    common = sorted(seeds[0].keys() & seeds[1].keys())
    for benchmark in sorted({where[-1] for where in common}):
        wanted = [where for where in common if where[-1] == benchmark]
        found = compare_problems(a, b, "benchmark", benchmark)
        golds = _read_golds(a, b, benchmark)
        if found is None or golds is None:
            yield Skipped(f"{benchmark}: its problems cannot be read in both folders", len(wanted))
        elif found[1].is_empty():
            yield Skipped(f"{benchmark}: no problem in common", len(wanted))
        else:
            ids = found[1].join(golds, on=ID).sort(ID)
            for where in wanted:
                place = dict(zip(WHERE, where, strict=True))
                runs = [
                    _read_runs(folder, place, known[where], ids)
                    for folder, known in zip((a, b), seeds, strict=True)
                ]
                if any(run.is_empty() for run in runs):
                    why = "no run that can be read in one of the folders"
                    yield Skipped(f"{'/'.join(where)}: {why}", 1)
                else:
                    yield _compare(
                        a, b, place, _keep_common_seeds(runs), ids, confidence, resamples
                    )


def _keep_common_seeds(runs: list[pl.DataFrame]) -> list[pl.DataFrame]:
    """The runs whose seed both folders have; all where there is none.

    Otherwise a run that is missing in one folder would pass for a difference of the others.
    """
    seeds = set(_list_values(runs[0], "seed")) & set(_list_values(runs[1], "seed"))
    return [run.filter(pl.col("seed").is_in(seeds)) for run in runs] if seeds else runs


def _list_seeds(folder: Folder) -> dict[tuple[str, ...], list[str]]:
    """The seeds of each dataset, model, arm and benchmark that has verdicts."""
    found: dict[tuple[str, ...], list[str]] = {}
    for wildcards in folder.list_wildcards(paths.EVALUATION_VERDICTS):
        where = tuple(wildcards[name] for name in WHERE)
        found.setdefault(where, []).append(wildcards["seed"])
    return found


def _read_golds(a: Folder, b: Folder, benchmark: str) -> pl.DataFrame | None:
    """Per problem_id of the benchmark in both: ``same_gold``, and ``cluster`` where one has it."""
    frames = []
    for folder in (a, b):
        name = folder.name_of(paths.BENCHMARK_PROBLEMS, benchmark=benchmark)
        if not folder.is_readable(name):
            return None
        columns = [ID, GOLD, "meta"]
        try:
            slices = read_slices(folder.path(name), tables.PROBLEMS, columns, rows=SLICE_ROWS)
            parts = [_keep_cluster(part) for part in slices]
        except InputError as error:
            folder.blame(name, error)
            return None
        schema = {ID: pl.String, GOLD: pl.UInt64, "cluster": pl.String}
        frames.append(pl.concat([pl.DataFrame(schema=schema), *parts]))
    joined = frames[0].join(frames[1], on=ID, suffix="_b")
    return joined.select(
        ID,
        (pl.col(GOLD) == pl.col(f"{GOLD}_b")).alias("same_gold"),
        pl.coalesce("cluster", "cluster_b").alias("cluster"),
    )


def _keep_cluster(problems: pl.DataFrame) -> pl.DataFrame:
    names = [field.name for field in problems.schema["meta"].fields]  # type: ignore[attr-defined]
    cluster = (
        problems["meta"].struct.field("cluster").cast(pl.String)
        if "cluster" in names
        else pl.Series([None] * problems.height, dtype=pl.String)
    )
    hashed = pl.col(GOLD).hash()
    return problems.select(ID, hashed, cluster.alias("cluster"))


def _read_runs(
    folder: Folder, place: dict[str, str], seeds: list[str], ids: pl.DataFrame
) -> pl.DataFrame:
    """seed, problem_id, sample_id, verdict and hash of the answer of all readable runs.

    The hash is null where the samples cannot be read.
    """
    schema = {"seed": pl.String, ID: pl.String, "sample_id": pl.Int64, "verdict": pl.String}
    found = [pl.DataFrame(schema={**schema, "answer": pl.UInt64})]
    for seed in seeds:
        name = folder.name_of(paths.EVALUATION_VERDICTS, **place, seed=seed)
        verdicts = _read(folder, name, tables.VERDICTS, "verdict", ids)
        if verdicts is None:
            continue
        name = folder.name_of(paths.EVALUATION_SAMPLES, **place, seed=seed)
        answers = _read(folder, name, tables.SAMPLES, "response", ids)
        if answers is None:
            rows = verdicts.with_columns(pl.lit(None, pl.UInt64).alias("response"))
        else:
            rows = verdicts.join(answers, on=KEY[1:], how="left")
        rows = rows.rename({"response": "answer"}).with_columns(pl.lit(seed).alias("seed"))
        found.append(rows.select(found[0].columns))
    return pl.concat(found)


def _read(
    folder: Folder, name: str, table: tables.Table, column: str, ids: pl.DataFrame
) -> pl.DataFrame | None:
    """The rows of these problems; a response as its hash. None for a damaged or missing file."""
    if not folder.is_readable(name):
        return None
    try:
        parts = []
        for part in read_slices(folder.path(name), table, [*KEY[1:], column], rows=SLICE_ROWS):
            value = pl.col(column) if column == "verdict" else pl.col(column).hash()
            parts.append(part.with_columns(value).join(ids.select(ID), on=ID, how="semi"))
        rows = pl.concat(parts) if parts else None
        if rows is not None and rows.select(KEY[1:]).is_duplicated().any():
            raise InputError("two rows have the same problem and sample")
    except InputError as error:
        folder.blame(name, error)
        return None
    return rows


def _compare(
    a: Folder,
    b: Folder,
    place: dict[str, str],
    runs: list[pl.DataFrame],
    ids: pl.DataFrame,
    confidence: float,
    resamples: int,
) -> Rerun | Skipped:
    averages = [_average(run) for run in runs]
    common = averages[0].select(ID).join(averages[1].select(ID), on=ID).sort(ID)
    if common.is_empty():
        return Skipped(f"{'/'.join(place.values())}: no problem is in every run", 1)
    old, new = (
        common.join(found, on=ID, maintain_order="left").drop(ID).to_numpy().T  # (runs, problems)
        for found in averages
    )
    chosen = ids.join(common, on=ID, how="semi")
    clusters = find_clusters(chosen.select(ID, pl.struct("cluster").alias("meta")))
    test = compare_arms(
        new,
        old,
        confidence=confidence,
        resamples=resamples,
        key=("reruns", *place.values()),
        clusters=clusters,
    )
    low, high = (test.low, test.high) if _has_spread(test) else (None, None)
    samples = _match_samples(runs, common)
    of_runs: Any = (test.low_runs, test.high_runs, test.p)
    if samples["equal_answers"] == samples["compared"] and not samples["unmatched"]:
        of_runs = (None, None, None)
    mean_a, mean_b = old.mean(axis=0), new.mean(axis=0)  # (problems,)
    students = [read_digest(f, f.name_of(paths.MODEL, model=place["model"])) for f in (a, b)]
    return Rerun(
        dataset=place["dataset"],
        model=place["model"],
        arm=place["arm"],
        benchmark=place["benchmark"],
        problems=test.problems,
        other_gold=chosen.filter(~pl.col("same_gold")).height,
        clusters=count_clusters(clusters),
        seeds_a=_list_values(runs[0], "seed"),
        seeds_b=_list_values(runs[1], "seed"),
        accuracy_a=float(old.mean()),
        accuracy_b=float(new.mean()),
        difference=test.difference,
        low=low,
        high=high,
        low_runs=of_runs[0],
        high_runs=of_runs[1],
        p=of_runs[2],
        lost=int(((mean_a > MAJORITY + TIE) & (mean_b < MAJORITY - TIE)).sum()),
        won=int(((mean_a < MAJORITY - TIE) & (mean_b > MAJORITY + TIE)).sum()),
        compared=samples["compared"],
        equal_verdicts=samples["equal_verdicts"],
        compared_answers=samples["compared_answers"],
        equal_answers=samples["equal_answers"],
        unmatched=samples["unmatched"],
        same_student=students[0] == students[1] if all(students) else None,
    )


def _has_spread(test: PairedTest) -> bool:
    """Whether problems can be resampled: of a single one, or cluster, nothing is known."""
    return (test.problems if test.clusters is None else test.clusters) > 1


def _list_values(rows: pl.DataFrame, column: str) -> tuple[str, ...]:
    return tuple(rows[column].unique().sort().to_list())


def _average(rows: pl.DataFrame) -> pl.DataFrame:
    """problem_id of the problems that every run has, and their accuracy in each, by seed."""
    right = (pl.col("verdict") == "correct").mean()
    found: pl.DataFrame | None = None
    for seed in _list_values(rows, "seed"):
        run = rows.filter(pl.col("seed") == seed).group_by(ID).agg(right.alias(f"seed {seed}"))
        found = run if found is None else found.join(run, on=ID)
    assert found is not None, "there is a run"
    return found


def _match_samples(runs: list[pl.DataFrame], common: pl.DataFrame) -> dict[str, int]:
    """Counts of samples that both folders have, and of those with equal verdicts and answers."""
    old, new = (run.join(common, on=ID, how="semi") for run in runs)
    joined = old.join(new, on=KEY, suffix="_b")
    return {
        "compared": joined.height,
        "equal_verdicts": int((joined["verdict"] == joined["verdict_b"]).sum()),
        "compared_answers": joined.select(ANSWERS).drop_nulls().height,
        "equal_answers": int((joined["answer"] == joined["answer_b"]).sum()),
        "unmatched": old.height + new.height - 2 * joined.height,
    }
