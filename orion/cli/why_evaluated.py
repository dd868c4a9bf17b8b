"""``orion why DATASET/MODEL/ARM/BENCHMARK:PROBLEM``: how an arm answered a benchmark's problem.

Inputs: the tables of a run; what made them is in their provenance. Outputs: lines: question,
prompt, and for each training seed the samples with their verdicts and steps, each with its file and
the number of its row there, from 0; the untrained student's beside them.
"""

from collections.abc import Iterator
from pathlib import Path

from orion import paths, prompts, tables
from orion.cli.why_rows import LINE, NO_FILE, ProblemRows, join_found, say_check, show
from orion.errors import InputError
from orion.stages import command, sample

CHECKS = (
    (paths.EVALUATION_SAMPLES, tables.SAMPLES),
    (paths.EVALUATION_VERDICTS, tables.VERDICTS),
    (paths.EVALUATION_STEPS, tables.STEPS),
)


class BenchmarkHistory(ProblemRows):
    """What the tables of a run say about one problem of a benchmark in one arm.

    Raises InputError where the problem is not in the benchmark, or the arm was not evaluated on it.
    """

    def __init__(
        self, results: Path, dataset: str, model: str, arm: str, benchmark: str, problem_id: str
    ):
        names = {"dataset": dataset, "model": model, "arm": arm, "benchmark": benchmark}
        super().__init__(results, problem_id, **names)
        self.problems_file = self.path(paths.BENCHMARK_PROBLEMS)
        self.problem = self.rows_of(self.problems_file, tables.PROBLEMS)
        if self.problem.is_empty():
            raise InputError(self.explain_absence(self.problems_file, paths.BENCHMARK_REJECTED))
        self.runs = list(self._find_runs(arm))
        if not self.runs:
            place = paths.artifact(results, paths.EVALUATION_SAMPLES, **names, seed="*")
            raise InputError(
                f"{place}: {NO_FILE}; name an arm that was evaluated on {benchmark}, or run the "
                "pipeline"
            )

    def _find_runs(self, arm: str) -> Iterator[ProblemRows]:
        """The problem in each evaluation of an arm, by seed."""
        known = {**self.wildcards, "arm": arm}
        pattern = paths.artifact("", paths.EVALUATION_SAMPLES, **known, seed="*")
        files = self.results.glob(str(pattern))
        seeds = [file.parent.parent.name.removeprefix("seed-") for file in files]
        for seed in sorted(seeds, key=lambda each: (len(each), each)):
            yield ProblemRows(self.results, self.problem_id, **known, seed=seed)

    def tell(self, width: int | None) -> Iterator[str]:
        """The lines to print."""
        row = self.problem.row(0, named=True)
        yield f"{'question':<12}{self.problems_file}, row {row[LINE]}"
        yield from show(row["problem"], width)
        yield from show(f"answer: {row['answer']}", width)
        yield f"{'prompt':<12}as {self.runs[0].path(paths.EVALUATION_SAMPLES)} records it"
        yield from show(self._write_prompt(), width)
        for run in self.runs:
            yield f"{'seed ' + run.wildcards['seed']:<12}{run.path(paths.EVALUATION_SAMPLES)}"
            yield from _tell_samples(run, width)
        yield f"{'so':<12}{self._conclude()}"

    def _write_prompt(self) -> str:
        """The turns of the conversation; the model's template is put around them."""
        file = self.runs[0].path(paths.EVALUATION_SAMPLES)
        keys = tables.read_provenance(file)["config"]
        settings = command.read_config(sample.SampleConfig, keys, str(file))
        turns = prompts.solve_messages(settings.prompts, self.problem["problem"][0])
        return "\n\n".join(turn["content"] for turn in turns)

    def _conclude(self) -> str:
        """How many samples are correct in each seed, and of the untrained student."""
        own = [_count_correct(run) for run in self.runs]
        said = ", ".join(f"{text} with seed {run.wildcards['seed']}" for run, text in own)
        untrained = next(self._find_runs("base"), None)
        if self.wildcards["arm"] == "base" or untrained is None:
            return f"correct: {said}"
        return f"correct: {said}; {_count_correct(untrained)[1]} of the untrained student"


def _count_correct(run: ProblemRows) -> tuple[ProblemRows, str]:
    verdicts = run.read(paths.EVALUATION_VERDICTS, tables.VERDICTS)
    if verdicts is None:
        return run, f"? ({NO_FILE})"
    return run, f"{(verdicts['verdict'] == 'correct').sum()} of {verdicts.height}"


def _tell_samples(run: ProblemRows, width: int | None) -> Iterator[str]:
    samples, verdicts, steps = (run.read(*each) for each in CHECKS)
    if samples is None or verdicts is None or steps is None:
        yield f"    {NO_FILE}"
        return
    for row in join_found(samples, verdicts, steps).iter_rows(named=True):
        ended = "" if row["finish_reason"] == "stop" else f"; ended by {row['finish_reason']}"
        reason = f", {row['reason']}" if row["reason"] else ""
        yield f"  row {row[LINE]}: sample {row['sample_id']}, {say_check(row)}{reason}{ended}"
        yield from show(row["response"], width)
