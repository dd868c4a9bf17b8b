"""The table of the workflow's rules: which artifacts each makes, and from what.

`lineage` lists a grid's artifacts by it. tests/orion/report/test_lineage.py compares it with the
rules of the workflow.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from orion import paths
from orion.config import Config
from orion.report.rule_inputs import (
    Condition,
    Template,
    Wildcards,
    always,
    by_surprisal,
    evaluated_model,
    has_second_policy,
    if_budget,
    if_counting_tokens,
    if_exposing,
    if_reading_steps,
    if_reflecting,
    if_sampling,
    if_scored,
    if_sham,
    if_weighing,
    is_exposed_by_surprisal,
    is_judged,
    is_reflecting,
    is_sample_scored,
    is_scored,
    is_trained,
    matches,
    needs_errors,
    of_exposed,
    of_first_seed,
    of_judge,
    of_source_arm,
    of_teacher,
    of_writer,
    problems_with_traces,
    rows_to_match,
    selects_alone,
    trains,
    trains_on_sampled_traces,
)

# of a second policy; below the folder of the evaluation, as all that is told of it
SECOND = paths.EVALUATION_VERDICTS.replace("verdicts.parquet", "second/")
SECOND_VERDICTS, SECOND_STEPS = SECOND + "verdicts.parquet", SECOND + "steps.parquet"

# of one comparison: the answers of two arms on a benchmark, judged by another model
JUDGEMENTS = paths.TRAIN.replace("train.parquet", "judged/{against}/{benchmark}/judgements.parquet")

SURPRISE = paths.TRAIN.replace("train.parquet", "surprise.parquet")
SAMPLE_SURPRISAL = paths.SAMPLES.replace("samples.parquet", "sample_surprisal.parquet")
REFLECTION_SURPRISAL = paths.TRAIN.replace("train.parquet", "reflection_surprisal.parquet")


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
    "sample_surprisal": if_scored(SAMPLE_SURPRISAL, by_surprisal("samples")),
    "reflection_surprisal": if_scored(REFLECTION_SURPRISAL, by_surprisal("reflections")),
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
            "samples": of_exposed(paths.SAMPLES),
            "verdicts": of_exposed(paths.VERDICTS),
            "problems": if_sham(paths.PROBLEMS),
            "steps": if_reading_steps(paths.STEPS),
            "surprisal": if_scored(SAMPLE_SURPRISAL, is_exposed_by_surprisal),
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
    Rule(
        "sample_surprisal",
        (SAMPLE_SURPRISAL,),
        {
            "problems": paths.PROBLEMS,
            "texts": paths.SAMPLES,
            "model": paths.MODEL,
            "preflight": paths.PREFLIGHT,
        },
        applies=is_sample_scored,
    ),
    Rule(
        "reflection_surprisal",
        (REFLECTION_SURPRISAL,),
        {
            "problems": paths.PROBLEMS,
            "texts": paths.REFLECTIONS,
            "model": paths.MODEL,
            "preflight": paths.PREFLIGHT,
        },
        applies=by_surprisal("reflections"),
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
        {
            "train": paths.TRAIN,
            "model": paths.MODEL,
            "preflight": paths.PREFLIGHT,
            "errors": if_weighing(paths.ERRORS),
        },
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
    Rule(
        "judge",
        (JUDGEMENTS,),
        {
            "problems": paths.BENCHMARK_PROBLEMS,
            "samples": of_first_seed(paths.EVALUATION_SAMPLES),
            "against_samples": of_first_seed(paths.EVALUATION_SAMPLES, other=True),
            "model": of_judge(paths.MODEL),
            "preflight": of_judge(paths.PREFLIGHT),
        },
        applies=is_judged,
    ),
)
