"""The table of the workflow's rules: which artifacts each makes, and from what.

`lineage` lists a grid's artifacts by it. tests/orion/report/test_lineage.py compares it with the
rules of the workflow.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from orion import paths
from orion.config import (
    Config,
    find_match,
    find_writer,
    is_matched,
    list_matched_arms,
    list_source_runs,
    needs_samples,
    reads_steps,
)

# of a second policy; below the folder of the evaluation, as all that is told of it
SECOND = paths.EVALUATION_VERDICTS.replace("verdicts.parquet", "second/")
SECOND_VERDICTS, SECOND_STEPS = SECOND + "verdicts.parquet", SECOND + "steps.parquet"

SURPRISE = paths.TRAIN.replace("train.parquet", "surprise.parquet")

Wildcards = dict[str, str]
Condition = Callable[[Config, Wildcards], bool]
# a path template, or a function that gives one; None: there is no such input
Template = str | Callable[[Config, Wildcards], str | None]


def always(config: Config, wildcards: Wildcards) -> bool:
    """Whether a rule applies: to every combination of the grid."""
    return True


def has_teacher(config: Config, wildcards: Wildcards) -> bool:
    """Whether the dataset's traces are sampled from a teacher."""
    return config.datasets[wildcards["dataset"]].teacher is not None


def trains(config: Config, wildcards: Wildcards) -> bool:
    """Whether an arm is trained on the dataset; else nothing reads its traces or asks a teacher."""
    dataset = wildcards["dataset"]
    is_source = dataset in [run.dataset for run in list_source_runs(config)]
    is_in_grid = dataset in config.runs.datasets
    trained = any(config.arms[arm].trained_on != "nothing" for arm in config.runs.arms)
    return is_source or (is_in_grid and trained)


def trains_on_sampled_traces(config: Config, wildcards: Wildcards) -> bool:
    """Whether the dataset's traces are sampled from a teacher for an arm of the run."""
    return has_teacher(config, wildcards) and trains(config, wildcards)


def is_trained(config: Config, wildcards: Wildcards) -> bool:
    """Whether the arm is trained."""
    return config.arms[wildcards["arm"]].trained_on != "nothing"


def is_reflecting(config: Config, wildcards: Wildcards) -> bool:
    """Whether the arm is trained on reflections."""
    return config.arms[wildcards["arm"]].trained_on == "reflection"


def problems_with_traces(config: Config, wildcards: Wildcards) -> str:
    """The problems with their teacher traces: a separate file where a teacher is sampled."""
    return paths.PROBLEMS_WITH_TRACES if has_teacher(config, wildcards) else paths.PROBLEMS


def of_teacher(template: str) -> Template:
    """A file of the dataset's teacher, which is a model like any other."""
    return lambda config, wildcards: template.replace(
        "{model}", str(config.datasets[wildcards["dataset"]].teacher)
    )


def of_writer(template: str) -> Template:
    """A file of the model that writes an arm's reflections: the student, or another one."""
    return lambda config, wildcards: template.replace(
        "{model}", find_writer(config, wildcards["arm"], wildcards["model"])
    )


def needs_errors(config: Config, wildcards: Wildcards) -> bool:
    """Whether wrong attempts are exposed for the arm."""
    return config.arms[wildcards["arm"]].needs_errors


def has_second_policy(config: Config, wildcards: Wildcards) -> bool:
    """Whether every answer on a benchmark is checked again under a second policy."""
    return config.report.second_policy is not None


def is_scored(config: Config, wildcards: Wildcards) -> bool:
    """Whether the arm's training texts are read by the untrained student."""
    return config.report.surprise and is_trained(config, wildcards)


def if_exposing(template: str) -> Template:
    """A file that only arms have for which wrong attempts are exposed."""
    return lambda config, wildcards: template if needs_errors(config, wildcards) else None


def if_sham(template: str) -> Template:
    """A file of which sham errors are made."""
    return lambda config, wildcards: (
        template if config.arms[wildcards["arm"]].error_source == "sham" else None
    )


def if_reading_steps(template: str) -> Template:
    """A file of the steps by which attempts are made wrong, or cut."""
    return lambda config, wildcards: template if reads_steps(config, wildcards["arm"]) else None


def matches(config: Config, wildcards: Wildcards) -> bool:
    """Whether an arm's rows are matched with other arms' before they are trained on."""
    return is_matched(config, wildcards["arm"])


def selects_alone(config: Config, wildcards: Wildcards) -> bool:
    """Whether an arm is trained on all rows that are selected for it."""
    return is_trained(config, wildcards) and not matches(config, wildcards)


def rows_to_match(config: Config, wildcards: Wildcards) -> dict[str, str]:
    """The rows before matching of the arms that an arm is matched with."""
    arms = list_matched_arms(config, wildcards["arm"])
    templates = {
        arm: paths.UNMATCHED_TRAIN if is_matched(config, arm) else paths.TRAIN for arm in arms
    }
    return {f"rows of {arm}": t.replace("{arm}", arm) for arm, t in templates.items()}


def if_budget(template: str) -> Template:
    """A file of the arm to whose trained tokens another one is cut."""

    def locate(config: Config, wildcards: Wildcards) -> str | None:
        match = find_match(config, wildcards["arm"])
        budget = match.tokens if match is not None else None
        return template.replace("{arm}", budget) if budget is not None else None

    return locate


def if_counting_tokens(template: str) -> Template:
    """A file where an arm's rows are counted in tokens to match them."""

    def locate(config: Config, wildcards: Wildcards) -> str | None:
        match = find_match(config, wildcards["arm"])
        counted = match is not None and (match.tokens is not None or match.fewest_tokens)
        return template if counted else None

    return locate


def if_reflecting(template: str) -> Template:
    """A file that only arms with reflections have."""
    return lambda config, wildcards: template if is_reflecting(config, wildcards) else None


def if_sampling(template: str) -> Template:
    """A file that only arms have which train on what the student answers."""
    return lambda config, wildcards: template if needs_samples(config, wildcards["arm"]) else None


def of_source_arm(template: str) -> Template:
    """A file of the training that a model of the kind arm comes from; other models have none."""

    def locate(config: Config, wildcards: Wildcards) -> str | None:
        source = config.models[wildcards["model"]].source
        return template.format(**source.model_dump()) if source.kind == "arm" else None

    return locate


def evaluated_model(config: Config, wildcards: Wildcards) -> str:
    """The trained model; for an arm that is not trained, the student itself."""
    return paths.TRAINED_MODEL if is_trained(config, wildcards) else paths.MODEL


@dataclass(frozen=True)
class Rule:
    """One row of the table: the artifacts that a rule of the workflow makes, and from what.

    ``stage``: the name in ``orion.config.stage_config``. ``outputs``: path templates of the
    artifacts that carry provenance; all have the same wildcards. ``inputs``: by their name in the
    provenance. A wildcard that only an input has is expanded over the grid. ``applies``: which
    combinations of wildcards the rule runs for. ``for_teachers``: it also runs for each dataset's
    teacher. ``for_sources``: it also runs for the trainings that the run's models come from.
    ``from_files``: it also reads local files that the configuration names. ``more_inputs``: further
    inputs by their name, whose number depends on the wildcards.
    """

    stage: str
    outputs: tuple[str, ...]
    inputs: dict[str, Template] = field(default_factory=dict)
    applies: Condition = always
    for_teachers: bool = False
    for_sources: bool = True
    from_files: bool = False
    more_inputs: Callable[[Config, Wildcards], dict[str, str]] | None = None


SELECTED_FROM: dict[str, Template] = {
    "problems": problems_with_traces,
    "trace_verdicts": paths.TRACE_VERDICTS,
    "trace_steps": paths.TRACE_STEPS,
    "samples": if_sampling(paths.SAMPLES),
    "verdicts": if_sampling(paths.VERDICTS),
    "steps": if_sampling(paths.STEPS),
    "errors": if_exposing(paths.ERRORS),
    "reflections": if_reflecting(paths.REFLECTIONS),
    "reflection_verdicts": if_reflecting(paths.REFLECTION_VERDICTS),
    "reflection_steps": if_reflecting(paths.REFLECTION_STEPS),
}
RULES = (
    Rule("benchmark", (paths.BENCHMARK_PROBLEMS, paths.BENCHMARK_REJECTED), from_files=True),
    Rule("lint", (paths.BENCHMARK_LINT,), {"problems": paths.BENCHMARK_PROBLEMS}),
    # the document itself holds the digests of the model's files
    Rule(
        "model",
        (paths.MODEL, paths.PREFLIGHT),
        {"trained": of_source_arm(paths.TRAINED_MODEL)},
        for_teachers=True,
    ),
    Rule(
        "dataset",
        (paths.PROBLEMS, paths.REJECTED),
        {"benchmark:{benchmark}": paths.BENCHMARK_PROBLEMS},
        from_files=True,
    ),
    Rule("lint", (paths.LINT,), {"problems": paths.PROBLEMS}, for_sources=False),
    Rule(
        "sample",
        (paths.SAMPLES,),
        {"problems": paths.PROBLEMS, "model": paths.MODEL, "preflight": paths.PREFLIGHT},
        for_teachers=True,
    ),
    Rule(
        "check",
        (paths.VERDICTS, paths.STEPS),
        {"problems": paths.PROBLEMS, "samples": paths.SAMPLES},
        for_teachers=True,
    ),
    Rule(
        "trace",
        (paths.PROBLEMS_WITH_TRACES,),
        {
            "problems": paths.PROBLEMS,
            "samples": of_teacher(paths.SAMPLES),
            "verdicts": of_teacher(paths.VERDICTS),
        },
        applies=trains_on_sampled_traces,
    ),
    Rule(
        "check_traces",
        (paths.TRACE_VERDICTS, paths.TRACE_STEPS),
        {"problems": problems_with_traces, "samples": problems_with_traces},
        applies=trains,
    ),
    Rule(
        "expose",
        (paths.ERRORS,),
        {
            "samples": paths.SAMPLES,
            "verdicts": paths.VERDICTS,
            "problems": if_sham(paths.PROBLEMS),
            "steps": if_reading_steps(paths.STEPS),
        },
        applies=needs_errors,
    ),
    Rule(
        "reflect",
        (paths.REFLECTIONS,),
        {
            "problems": problems_with_traces,
            "trace_verdicts": paths.TRACE_VERDICTS,
            "trace_steps": paths.TRACE_STEPS,
            "errors": paths.ERRORS,
            "model": of_writer(paths.MODEL),
            "preflight": of_writer(paths.PREFLIGHT),
        },
        applies=is_reflecting,
    ),
    Rule(
        "check_reflections",
        (paths.REFLECTION_VERDICTS, paths.REFLECTION_STEPS),
        {"problems": paths.PROBLEMS, "samples": paths.REFLECTIONS},
        applies=is_reflecting,
    ),
    Rule("select", (paths.TRAIN, paths.FILTERS), SELECTED_FROM, applies=selects_alone),
    Rule(
        "select",
        (paths.UNMATCHED_TRAIN, paths.UNMATCHED_FILTERS),
        SELECTED_FROM,
        applies=matches,
    ),
    Rule(
        "match",
        (paths.TRAIN, paths.FILTERS),
        {
            "rows": paths.UNMATCHED_TRAIN,
            "rows_filters": paths.UNMATCHED_FILTERS,
            "budget": if_budget(paths.PACKED_STATS),
            "model": if_counting_tokens(paths.MODEL),
            "preflight": if_counting_tokens(paths.PREFLIGHT),
        },
        applies=matches,
        more_inputs=rows_to_match,
    ),
    Rule(
        "pack",
        (paths.PACKED, paths.PACKED_STATS),
        {"train": paths.TRAIN, "model": paths.MODEL, "preflight": paths.PREFLIGHT},
        applies=is_trained,
    ),
    Rule(
        "train",
        (paths.TRAINED_MODEL,),
        {"packed": paths.PACKED, "model": paths.MODEL, "preflight": paths.PREFLIGHT},
        applies=is_trained,
    ),
    Rule(
        "surprise",
        (SURPRISE,),
        {"packed": paths.PACKED, "model": paths.MODEL, "preflight": paths.PREFLIGHT},
        applies=is_scored,
        for_sources=False,
    ),
    Rule(
        "evaluate_sample",
        (paths.EVALUATION_SAMPLES,),
        {
            "problems": paths.BENCHMARK_PROBLEMS,
            "model": evaluated_model,
            "preflight": paths.PREFLIGHT,
        },
    ),
    Rule(
        "evaluate_check",
        (paths.EVALUATION_VERDICTS, paths.EVALUATION_STEPS),
        {"problems": paths.BENCHMARK_PROBLEMS, "samples": paths.EVALUATION_SAMPLES},
    ),
    Rule(
        "evaluate_recheck",
        (SECOND_VERDICTS, SECOND_STEPS),
        {"problems": paths.BENCHMARK_PROBLEMS, "samples": paths.EVALUATION_SAMPLES},
        applies=has_second_policy,
    ),
    Rule(
        "evaluate",
        (paths.SCORES,),
        {
            "problems": paths.BENCHMARK_PROBLEMS,
            "samples": paths.EVALUATION_SAMPLES,
            "verdicts": paths.EVALUATION_VERDICTS,
        },
    ),
)
