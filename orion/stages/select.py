"""Select an arm's training rows: reflections, samples, traces or solutions → train, filters.json.

Reflections and own samples pass the named filters. Problems without a wrong sample, or without a
reflection that passes, follow the arm's explicit fallbacks. ``filters.json`` holds the waterfall,
and ``preview.jsonl`` the first rows for reading.
Run: ``python -m orion.stages.select --config JSON --arm NAME --problems P --trace-verdicts T
--trace-steps A [--samples S --verdicts V --steps B [--errors E --reflections R
--reflection-verdicts W --reflection-steps C]] --output O --filters F --preview J``. An arm that is
trained on solutions or traces needs no samples.
"""

import argparse
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import polars as pl

from orion import prompts, provenance, tables
from orion.errors import InputError
from orion.experiment import filters
from orion.experiment.candidates import Candidates, Row, drop_repeated, join_checks, make_target
from orion.experiment.degenerate import MIN_ROWS
from orion.experiment.filters import (
    COPY_FRACTION,
    COPY_NGRAM,
    LOOP_NGRAM,
    LOOP_REPEATS,
    Limits,
)
from orion.experiment.traces import list_traces, with_correct_traces
from orion.paths import AtomicFile
from orion.progress import log
from orion.prompts import PromptSet
from orion.stages import command

PREVIEW_ROWS = 50
OWN_TEXTS = ("own_correct", "reflection")


@dataclass(frozen=True)
class SelectConfig:
    """The configuration keys of the stage.

    ``prompts``: a prompt set's blocks, or its name. ``max_per_problem``: training rows per problem.
    ``min_rows``: fewer are an error. ``drop_false_traces``: whether teacher traces with a false
    step are not trained on.
    """

    prompts: PromptSet | str
    trained_on: str
    filters: list[str]
    max_per_problem: int
    fallback_no_error: str
    fallback_all_filtered: str
    copy_ngram: int = COPY_NGRAM
    copy_fraction: float = COPY_FRACTION
    loop_ngram: int = LOOP_NGRAM
    loop_repeats: int = LOOP_REPEATS
    max_tokens: int | None = None
    drop_false_traces: bool = False
    min_rows: int = MIN_ROWS

    @property
    def limits(self) -> Limits:
        """The thresholds of the filters."""
        return Limits(
            prompt_set=self.prompts,
            max_tokens=self.max_tokens,
            copy_ngram=self.copy_ngram,
            copy_fraction=self.copy_fraction,
            loop_ngram=self.loop_ngram,
            loop_repeats=self.loop_repeats,
        )


def apply_filters(
    reflections: pl.DataFrame,
    traces: dict[str, str | None],
    names: list[str],
    limits: Limits,
) -> list[Row]:
    """The reflections with ``refined`` and ``objections``, the filters that object."""
    rows = []
    for row in reflections.iter_rows(named=True):
        refined = prompts.extract_refined(limits.prompt_set, row["response"])
        candidate = filters.Candidate(
            text=refined,
            verdict=row["verdict"],
            finish_reason=row["finish_reason"],
            completion_tokens=row["completion_tokens"],
            teacher_trace=traces.get(row["problem_id"]),
            false_steps=row["false_steps"],
        )
        objections = filters.find_objections(candidate, names, limits)
        rows.append({**row, "refined": refined, "objections": objections})
    return rows


def waterfall(rows: list[Row], names: list[str]) -> tuple[list[Row], dict[str, int]]:
    """How many texts each filter removes in its turn; how many it objects to in any order."""
    left = len(rows)
    steps = []
    for name in names:
        removed = sum(row["objections"][:1] == [name] for row in rows)
        left -= removed
        steps.append({"filter": name, "removed": removed, "left": left})
    return steps, dict(Counter(name for row in rows for name in row["objections"]))


def passing_targets(
    rows: list[Row], errors: pl.DataFrame, names: list[str]
) -> dict[tuple[str, str], list[Row]]:
    """(problem_id, template) → targets of the reflections without objection.

    The first targets are one of each prompt; equal texts count once.
    """
    sample_ids = {
        (problem_id, rank): sample_id
        for problem_id, rank, sample_id in errors.select(
            "problem_id", "rank", "sample_id"
        ).iter_rows()
    }
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if row["objections"]:
            continue
        shown = [sample_ids[row["problem_id"], rank] for rank in row["error_ranks"]]
        target = make_target(
            row["refined"], "reflection", sample_id=row["sample_id"], errors=shown, passed=names
        )
        groups.setdefault((row["problem_id"], row["template"]), []).append(
            {**target, "error_ranks": row["error_ranks"]}
        )
    return {
        key: _one_per_prompt_first(drop_repeated(targets, "completion"))
        for key, targets in groups.items()
    }


def _one_per_prompt_first(targets: list[Row]) -> list[Row]:
    """The targets ordered by their turn among those of the same prompt, without ``error_ranks``."""
    turns: Counter[tuple[int, ...]] = Counter()
    keyed = []
    for target in targets:
        prompt = tuple(target["error_ranks"])
        keyed.append((turns[prompt], target))
        turns[prompt] += 1
    ordered = [target for _, target in sorted(keyed, key=lambda pair: pair[0])]
    return [{k: v for k, v in target.items() if k != "error_ranks"} for target in ordered]


def choose_targets(
    candidates: Candidates,
    config: SelectConfig,
    passing: dict[tuple[str, str], list[Row]],
    with_error: set[str],
) -> tuple[dict[str, list[Row]], Row]:
    """problem_id → targets by the arm's rule and fallbacks; how often each fallback was used."""
    fixed: dict[str, Callable[[str], list[Row]]] = {
        "solution": lambda p: candidates.solution(p, config.prompts),
        "teacher_trace": candidates.teacher,
        "own_correct": candidates.own_correct,
    }
    if config.trained_on in fixed:
        return {p: fixed[config.trained_on](p) for p in candidates.problems}, {}
    fallbacks: dict[str, Callable[[str], list[Row]]] = {
        "teacher": candidates.teacher,
        "own_correct": candidates.own_correct,
        "rewrite": lambda p: passing.get((p, "rewrite"), []),
        "drop": lambda p: [],
    }
    policies = {
        "fallback_no_error": config.fallback_no_error,
        "fallback_all_filtered": config.fallback_all_filtered,
    }
    used = {case: {"policy": policy, "problems": 0} for case, policy in policies.items()}
    chosen = {}
    for problem_id in candidates.problems:
        targets = passing.get((problem_id, "reflect"), [])
        if not targets:
            case = "fallback_all_filtered" if problem_id in with_error else "fallback_no_error"
            used[case]["problems"] += 1  # type: ignore[operator]
            targets = fallbacks[policies[case]](problem_id)
        chosen[problem_id] = targets[: config.max_per_problem]
    return chosen, used


def train_rows(
    chosen: dict[str, list[Row]], candidates: Candidates, prompt_set: PromptSet | str
) -> list[Row]:
    """The train table's rows, numbered within each problem."""
    return [
        {
            **target,
            "problem_id": p,
            "row": n,
            "prompt": prompts.solve(prompt_set, candidates.problems[p]["problem"]),
        }
        for p, found in chosen.items()
        for n, target in enumerate(found)
    ]


@dataclass(frozen=True)
class Inputs:
    """What the stage reads; samples and reflections are joined with their verdict and false steps.

    ``problems``: with the first trace that checks, null without one. ``false_traces``: the problems
    whose chosen trace has a false step.
    """

    problems: pl.DataFrame
    samples: pl.DataFrame
    errors: pl.DataFrame
    reflections: pl.DataFrame
    false_traces: list[str]


# the options that name an input, and its table; the second group is for arms whose student answers
REQUIRED = {
    "problems": tables.PROBLEMS,
    "trace_verdicts": tables.VERDICTS,
    "trace_steps": tables.STEPS,
}
OPTIONAL = {
    "samples": tables.SAMPLES,
    "verdicts": tables.VERDICTS,
    "steps": tables.STEPS,
    "errors": tables.ERRORS,
    "reflections": tables.REFLECTIONS,
    "reflection_verdicts": tables.VERDICTS,
    "reflection_steps": tables.STEPS,
}


def read_inputs(files: dict[str, str], *, true_traces: bool = False) -> Inputs:
    """The tables by the name of their option; an optional one that is not given is empty.

    ``true_traces``: a trace without a false step is taken before one with it.

    Raises InputError where a sample, a reflection or a trace has no verdict or no steps.
    """
    found = {
        name: tables.read(files[name], table) if name in files else tables.empty(table)
        for name, table in {**REQUIRED, **OPTIONAL}.items()
    }

    def join(texts: pl.DataFrame, verdicts: str, steps: str) -> pl.DataFrame:
        named = [files.get(name, name) for name in (verdicts, steps)]
        return join_checks(texts, found[verdicts], found[steps], files=named)

    traces = list_traces(found["problems"]).drop("response")
    checked = join(traces, "trace_verdicts", "trace_steps")
    steps = found["trace_steps"] if true_traces else None
    problems = with_correct_traces(found["problems"], found["trace_verdicts"], steps)
    chosen = problems.select("problem_id", sample_id="trace_rank").drop_nulls()
    false = checked.join(chosen, on=["problem_id", "sample_id"]).filter(pl.col("false_steps") > 0)
    return Inputs(
        problems,
        join(found["samples"], "verdicts", "steps"),
        found["errors"],
        join(found["reflections"], "reflection_verdicts", "reflection_steps"),
        false["problem_id"].sort().to_list(),
    )


def summarise(
    inputs: Inputs, candidates: Candidates, reflections: list[Row], names: list[str]
) -> Row:
    """The part of filters.json that says what there was and what each filter removed."""
    wrong = inputs.samples.filter(pl.col("verdict") == "incorrect")
    steps, coverage = waterfall(reflections, names)
    own_steps, own_coverage = waterfall(candidates.samples, candidates.names)
    own_samples = {
        "with_wrong_sample": wrong["problem_id"].n_unique(),
        "own_samples": {
            "samples": len(candidates.samples),
            "waterfall": own_steps,
            "coverage": own_coverage,
        },
    }
    return {
        "problems": inputs.problems.height,
        "reflections": len(reflections),
        "waterfall": steps,
        "coverage": coverage,
        # an arm that needs no samples says nothing about them
        **(own_samples if inputs.samples.height else {}),
        "teacher_traces": {
            "candidates": inputs.problems["trace_candidates"].sum(),
            "correct": inputs.problems["teacher_trace"].count(),
            "not_first": inputs.problems.filter(pl.col("trace_rank") > 0).height,
            "with_false_step": len(inputs.false_traces),
            "dropped": len(candidates.false_traces),
        },
    }


def main(argv: list[str] | None = None) -> None:
    options = [name.replace("_", "-") for name in REQUIRED]
    parser = command.make_parser(__doc__, "arm", *options, "output", "filters", "preview")
    for name in OPTIONAL:
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            nargs="?",
            metavar="PATH",
            help="arms trained on the student's own texts",
        )
    args = parser.parse_args(argv)
    config = command.read_config(SelectConfig, args.config)
    try:
        filters.check_names(config.filters)
    except ValueError as error:
        raise InputError(f"--config: filters: {error}") from None
    files = {name: path for name in (*REQUIRED, *OPTIONAL) if (path := getattr(args, name))}
    if config.trained_on in OWN_TEXTS and "samples" not in files:
        raise InputError(f"--samples: an arm trained on {config.trained_on} needs the samples")
    inputs = read_inputs(files, true_traces=config.drop_false_traces)
    candidates = Candidates(
        inputs.problems,
        inputs.samples,
        names=config.filters,
        limits=config.limits,
        max_per_problem=config.max_per_problem,
        false_traces=inputs.false_traces if config.drop_false_traces else (),
    )
    traces = dict(inputs.problems.select("problem_id", "teacher_trace").iter_rows())
    rows = apply_filters(inputs.reflections, traces, config.filters, config.limits)
    passing = passing_targets(rows, inputs.errors, config.filters)
    with_error = set(inputs.errors["problem_id"])
    chosen, fallbacks = choose_targets(candidates, config, passing, with_error)
    train = tables.from_rows(train_rows(chosen, candidates, config.prompts), tables.TRAIN)
    summary = {
        "arm": args.arm,
        **summarise(inputs, candidates, rows, config.filters),
        "fallbacks": fallbacks,
        "rows": train.height,
        "rows_by_kind": dict(sorted(Counter(train["target_kind"]).items())),
        "problems_trained": train["problem_id"].n_unique(),
    }
    log(json.dumps({k: summary[k] for k in ("reflections", "rows", "rows_by_kind", "fallbacks")}))
    if train.height < config.min_rows:
        raise InputError(
            f"arm {args.arm}: {train.height} training rows are left, fewer than select.min_rows = "
            f"{config.min_rows}; {_why(summary, config.trained_on)} See the waterfall above, relax "
            "select.filters, choose another fallback_all_filtered, or lower select.min_rows"
        )
    record = provenance.record("orion.stages.select", args.config, files)
    write_outputs(train, summary, args, record)


def write_outputs(train: pl.DataFrame, summary: Row, args: argparse.Namespace, record: Row) -> None:
    """Publish the summary, the preview and, last, the training rows."""
    tables.write_json(summary, args.filters, record)
    with AtomicFile(args.preview) as partial:
        lines = [
            json.dumps(row, ensure_ascii=False)
            for row in train.head(PREVIEW_ROWS).iter_rows(named=True)
        ]
        partial.write_text("\n".join(lines) + "\n", encoding="utf-8")
    tables.write(train, args.output, tables.TRAIN, record)


def _why(summary: Row, kind: str) -> str:
    if kind == "reflection":
        return (
            f"{summary['reflections']} reflections, waterfall {json.dumps(summary['waterfall'])}."
        )
    usable = summary["problems_trained"]
    why = f"{usable} of the {summary['problems']} problems have a usable {kind}."
    if kind == "own_correct":
        why += f" {json.dumps(summary['own_samples'])}."
    return why


if __name__ == "__main__":
    command.run(main)
