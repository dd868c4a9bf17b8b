"""Reflect: problems + exposed errors + model → the student's refinements of the teacher's trace.

Every arm gets the same (problem, attempts) pairs: the errors table decides how many prompts a
problem has, the arm's ``prompt_includes`` decides what each prompt shows. Where the selection
policy needs it, problems also get a prompt without errors (the template ``rewrite``).
Run: ``python -m orion.stages.reflect --config JSON --problems P --trace-verdicts T --trace-steps A
--errors E --model M --completions DIR --output O [--batch-size N] [--shards N]``.
"""

from dataclasses import dataclass
from typing import Any

import polars as pl

from orion import prompts, provenance, tables
from orion.data.golds import suggest_rule
from orion.engines import GenerationConfig
from orion.errors import InputError
from orion.experiment.degenerate import MAX_FAILED_FRACTION
from orion.experiment.traces import with_correct_traces
from orion.models import checkpoints, preflight, templates
from orion.models.document import read_document
from orion.progress import log
from orion.prompts import REFINE, PromptSet
from orion.stages import command
from orion.stages.generation import add_options, complete

REFLECT, REWRITE = tables.REFLECTION_TEMPLATES


@dataclass(frozen=True)
class ReflectConfig:
    """The configuration keys of the stage.

    ``prompts``: a prompt set's blocks, or its name. ``prompt_includes``: teacher, errors, answer.
    ``rewrite``: which problems also get a prompt without errors: ``all``, those with ``no_errors``,
    or ``none``. ``max_failed_fraction``: the largest part of the rows that may fail.
    ``drop_false_traces``: a trace without a false step is shown rather than one with it. ``task``:
    what a prompt asks for: ``refine``, ``shorten``, or ``review``, by another model.
    ``writer``: the name of a model that is not the student.
    """

    prompts: PromptSet | str
    generation: GenerationConfig
    prompt_includes: list[str]
    rewrite: str
    errors_per_prompt: int
    drop_false_traces: bool = False
    enable_thinking: bool | None = None
    max_failed_fraction: float = MAX_FAILED_FRACTION
    task: str = REFINE
    writer: str | None = None


@dataclass(frozen=True)
class ReflectionPrompt:
    """One prompt: its template and what it shows; ``error_ranks`` also where no error is shown."""

    problem_id: str
    template: str
    error_ranks: list[int]
    teacher: str | None
    errors: list[str]
    answer: str | None = None


def plan_prompts(
    problems: pl.DataFrame,
    errors: pl.DataFrame,
    *,
    prompt_includes: list[str],
    rewrite: str,
    errors_per_prompt: int,
) -> list[ReflectionPrompt]:
    """The prompts of an arm, problem by problem.

    A problem without a teacher trace that checked correct gets no prompt where the arm shows one,
    nor does one whose gold is a whole text and no answer where the arm shows the answer: the column
    ``answer`` is needed there.
    """
    by_problem: dict[str, list[tuple[int, str]]] = {}
    ordered = errors.select("problem_id", "rank", "response").sort("problem_id", "rank")
    for problem_id, rank, response in ordered.iter_rows():
        by_problem.setdefault(problem_id, []).append((rank, response))
    golds = (
        problems["answer"].to_list() if "answer" in prompt_includes else [None] * problems.height
    )
    planned = []
    rows = problems.select("problem_id", "teacher_trace").iter_rows()
    for (problem_id, trace), gold in zip(rows, golds, strict=True):
        if "teacher" in prompt_includes and trace is None:
            continue
        if gold is not None and suggest_rule(gold):
            continue
        teacher = trace if "teacher" in prompt_includes else None
        own = by_problem.get(problem_id, [])
        for start in range(0, len(own), errors_per_prompt):
            group = own[start : start + errors_per_prompt]
            ranks = [rank for rank, _ in group]
            texts = [text for _, text in group] if "errors" in prompt_includes else []
            planned.append(ReflectionPrompt(problem_id, REFLECT, ranks, teacher, texts, gold))
        if trace is not None and (rewrite == "all" or (rewrite == "no_errors" and not own)):
            planned.append(ReflectionPrompt(problem_id, REWRITE, [], trace, []))
    return planned


def make_requests(
    planned: list[ReflectionPrompt],
    problems: pl.DataFrame,
    tokenizer: Any,
    *,
    prompt_set: PromptSet | str,
    num_samples: int,
    enable_thinking: bool | None,
    task: str = REFINE,
) -> pl.DataFrame:
    """One row per completion: problem_id, sample_id, template, error_ranks, prompt.

    The sample_id is the prompt's number within its problem times ``num_samples``, plus i.
    """
    texts = dict(problems.select("problem_id", "problem").iter_rows())
    prefill = prompts.prefill(prompt_set)
    next_id: dict[str, int] = {}
    rows = []
    for item in planned:
        messages = prompts.reflect_messages(
            prompt_set,
            texts[item.problem_id],
            teacher=item.teacher,
            errors=item.errors,
            answer=item.answer,
            task=task,
        )
        row = {
            "problem_id": item.problem_id,
            "template": item.template,
            "error_ranks": item.error_ranks,
            "prompt": templates.render_opened(
                tokenizer, messages, prefill, enable_thinking=enable_thinking
            ),
        }
        first = next_id.get(item.problem_id, 0)
        next_id[item.problem_id] = first + num_samples
        rows += [{**row, "sample_id": first + i} for i in range(num_samples)]
    return pl.DataFrame(rows, schema_overrides={"error_ranks": pl.List(pl.Int64)})


def add_prefill(reflections: pl.DataFrame, prefill: str) -> pl.DataFrame:
    """The reflections with the words that opened them; a failed request has no response."""
    words = pl.when(pl.col("response") == "").then(pl.lit("")).otherwise(pl.lit(prefill))
    return reflections.with_columns(response=words + pl.col("response"))


def main(argv: list[str] | None = None) -> None:
    parser = command.make_parser(
        __doc__,
        "problems",
        "trace-verdicts",
        "trace-steps",
        "errors",
        "model",
        "completions",
        "output",
    )
    add_options(parser)
    args = parser.parse_args(argv)
    config = command.read_config(ReflectConfig, args.config)
    columns = ["problem_id", "problem", "answer", "teacher_trace", "further_traces"]
    problems = with_correct_traces(
        tables.read(args.problems, tables.PROBLEMS, columns),
        tables.read(args.trace_verdicts, tables.VERDICTS),
        tables.read(args.trace_steps, tables.STEPS) if config.drop_false_traces else None,
    )
    errors = tables.read(args.errors, tables.ERRORS)
    planned = plan_prompts(
        problems,
        errors,
        prompt_includes=config.prompt_includes,
        rewrite=config.rewrite,
        errors_per_prompt=config.errors_per_prompt,
    )
    if not planned:
        raise InputError(
            f"no reflection prompt: {errors.height} errors in {args.errors}, "
            f"{problems['teacher_trace'].count()} correct teacher traces in {args.problems}; raise "
            "sample.num_samples or sample.temperature, or map fields.teacher_trace of the dataset"
        )
    log(
        f"{len(planned)} reflection prompts for {len({item.problem_id for item in planned})} of "
        f"{problems.height} problems"
    )
    document = read_document(args.model)
    checked = preflight.required_inputs(args, document)
    requests = make_requests(
        planned,
        problems,
        checkpoints.load_tokenizer(document),
        prompt_set=config.prompts,
        num_samples=config.generation.num_samples,
        enable_thinking=config.enable_thinking,
        task=config.task,
    )
    reflections = complete(
        requests,
        args,
        argv,
        module="orion.stages.reflect",
        document=document,
        generation=config.generation,
        max_failed_fraction=config.max_failed_fraction,
    )
    if reflections is None:
        return
    reflections = add_prefill(reflections, prompts.prefill(config.prompts))
    inputs = {
        "problems": args.problems,
        "trace_verdicts": args.trace_verdicts,
        "trace_steps": args.trace_steps,
        "errors": args.errors,
        "model": args.model,
        **checked,
    }
    record = provenance.record("orion.stages.reflect", args.config, inputs)
    tables.write(reflections, args.output, tables.REFLECTIONS, record, rows=requests.height)


if __name__ == "__main__":
    command.run(main)
