"""How many completions the planned jobs ask for, and how many of them are stored.

Inputs: the configuration, the tables that a run has made so far, a pilot. Outputs: amounts, unknown
where they depend on what is not there yet. No prompt is rendered.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from orion import config, paths, tables
from orion.completions.parts import list_parts
from orion.completions.store import CompletionStore
from orion.config import Config
from orion.cost.amounts import UNKNOWN, Amount, exact, mean
from orion.cost.pilot import Pilot
from orion.cost.planned_jobs import PlannedJob
from orion.cost.rates import find_keys, is_same_model
from orion.cost.rule_files import CHECKED
from orion.experiment.judgements import ORDERS
from orion.experiment.traces import with_correct_traces
from orion.models.document import read_document
from orion.provenance import canonical_json
from orion.stages import command, reflect

# what the keys of a stage say of the problems of a set
PROBLEM_SETS = {"dataset": paths.PROBLEMS, "benchmark": paths.BENCHMARK_PROBLEMS}
REFLECTED = (paths.ERRORS, paths.TRACE_VERDICTS, paths.TRACE_STEPS)


class Counts:
    """Counts of one plan.

    ``jobs``: the planned jobs, whose outputs are made anew and thus not read. ``results``: the
    folder of the run.
    """

    def __init__(
        self,
        settings: Config,
        jobs: Sequence[PlannedJob],
        pilot: Pilot | None,
        results: Path = Path("results"),
    ):
        self.settings, self.pilot, self.results = settings, pilot, results
        self.remade = {output for job in jobs for output in job.outputs}
        self.count_problems = cache(self._count_problems)
        self.count_completions = cache(self._count_completions)
        self._is_store_empty = next(results.glob("completions/*/part-*.parquet"), None) is None

    def _find(self, template: str, wildcards: dict[str, str]) -> Path | None:
        """An artifact that is there and stays as it is."""
        path = paths.artifact(self.results, template, **wildcards)
        return path if path.is_file() and path.as_posix() not in self.remade else None

    def _count_problems(self, block: str, name: str) -> Amount:
        """The problems of a dataset or benchmark: of its table, a pilot's, or its generator."""
        path = self._find(PROBLEM_SETS[block], {block: name})
        if path is not None:
            return exact(tables.size(path, tables.PROBLEMS)[0])
        keys = canonical_json(config.stage_config(self.settings, block, **{block: name}))
        for (kind, other), (rows, made_with) in (
            self.pilot.problem_counts.items() if self.pilot else ()
        ):
            if kind == block and canonical_json(made_with) == keys:
                return mean([(f"problems of {other}", rows)])
        source = getattr(self.settings, f"{block}s")[name].source
        # a problem may still be rejected or dropped as a duplicate
        return exact(source.n, at_most=True) if source.kind == "demo" else UNKNOWN

    def count_set(self, job: PlannedJob) -> Amount:
        """The problems of the set that a job reads: its benchmark, else its dataset."""
        for block in ("benchmark", "dataset"):
            if block in job.wildcards:
                return self.count_problems(block, job.wildcards[block])
        return UNKNOWN

    def ask(self, job: PlannedJob) -> Amount:
        """The completions that a job of a generating or checking rule has in its table."""
        rule = CHECKED.get(job.rule, job.rule)
        return self.count_completions(rule, tuple(sorted(job.wildcards.items())))

    def _count_completions(self, rule: str, items: tuple[tuple[str, str], ...]) -> Amount:
        wildcards = dict(items)
        keys = find_keys(self.settings, PlannedJob(rule, wildcards, ()))
        if rule == "reflect":
            return self._count_reflections(wildcards, keys)
        if rule == "judge":
            problems = self.count_problems("benchmark", wildcards["benchmark"])
            return problems.limit(keys["pairs"]).scale(len(ORDERS) * count_samples(keys))
        block = "benchmark" if rule == "evaluate_sample" else "dataset"
        return self.count_problems(block, wildcards[block]).scale(count_samples(keys))

    def _count_reflections(self, wildcards: dict[str, str], keys: dict[str, Any]) -> Amount:
        traced = self._find(paths.PROBLEMS_WITH_TRACES, wildcards)
        problems = traced or self._find(paths.PROBLEMS, wildcards)
        found = [self._find(template, wildcards) for template in REFLECTED]
        if problems is not None and all(found):
            errors, verdicts, steps = (Path(str(path)) for path in found)
            block = command.read_config(reflect.ReflectConfig, keys, "the configuration")
            columns = ["problem_id", "problem", "answer", "teacher_trace", "further_traces"]
            prompts = reflect.plan_prompts(
                with_correct_traces(
                    tables.read(problems, tables.PROBLEMS, columns),
                    tables.read(verdicts, tables.VERDICTS),
                    tables.read(steps, tables.STEPS) if block.drop_false_traces else None,
                ),
                tables.read(errors, tables.ERRORS),
                prompt_includes=block.prompt_includes,
                rewrite=block.rewrite,
                errors_per_prompt=block.errors_per_prompt,
            )
            return exact(len(prompts) * count_samples(keys))
        per_problem = self._find_reflections_per_problem(wildcards, keys)
        return per_problem.times(self.count_problems("dataset", wildcards["dataset"]))

    def _find_reflections_per_problem(
        self, wildcards: dict[str, str], keys: dict[str, Any]
    ) -> Amount:
        """Reflections per problem in the pilot, of the same arm and model."""
        measured = []
        for job in self.pilot.list_jobs("reflect") if self.pilot else ():
            assert self.pilot is not None
            texts = self.pilot.read_texts("reflect", job)
            problems = self.pilot.problem_counts.get(("dataset", job.wildcards["dataset"]))
            same = job.wildcards["arm"] == wildcards["arm"] and is_same_model(
                self.settings, wildcards["model"], job
            )
            if same and texts and problems and problems[0] and job.keys:
                per_prompt = texts.rows / count_samples(job.keys)
                measured.append((job.name, count_samples(keys) * per_prompt / problems[0]))
        return mean(measured)

    def count_stored(self, job: PlannedJob) -> Amount:
        """How many of a job's completions the store has; unknown unless it has none of the model's.

        Their keys are hashes of prompts, which are not rendered here.
        """
        if self._is_store_empty:
            return exact(0)
        document = self._find(find_document(self.settings, job), job.wildcards)
        if document is None:
            return UNKNOWN
        store = CompletionStore(self.results / "completions", read_document(document).digest)
        return UNKNOWN if list_parts(store.folder) else exact(0)


def count_samples(keys: dict[str, Any]) -> int:
    """Rows per prompt in the table of a generating stage, by its keys."""
    return int(keys["generation"]["num_samples"])


def find_generated_share(keys: dict[str, Any]) -> float:
    """The part of the rows that is generated: one per prompt at temperature 0."""
    return 1 / count_samples(keys) if keys["generation"]["temperature"] == 0 else 1.0


def find_document(settings: Config, job: PlannedJob) -> str:
    """The template of the document of the model that a generating job asks."""
    arm = job.wildcards.get("arm")
    if job.rule == "reflect" and arm is not None:
        writer = config.find_writer(settings, arm, job.wildcards["model"])
        return paths.MODEL.replace("{model}", writer)
    if job.rule == "judge":
        return paths.MODEL.replace("{model}", config.list_judges(settings)[0])
    is_trained = job.rule == "evaluate_sample" and (
        arm is not None and settings.arms[arm].trained_on != "nothing"
    )
    return paths.TRAINED_MODEL if is_trained else paths.MODEL
