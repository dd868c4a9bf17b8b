"""Select an arm's training rows: reflections, samples, traces or solutions → train, filters.json.

Reflections pass the named filters. Problems without a wrong sample, or without a reflection that
passes, follow the arm's explicit fallbacks. ``filters.json`` holds the waterfall, and
``preview.jsonl`` the first rows for reading.
Run: ``python -m orion.stages.select --config JSON --arm NAME --problems P --trace-verdicts T
--samples S --verdicts V [--errors E --reflections R --reflection-verdicts W] --output O
--filters F --preview J``.
"""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from orion import prompts, provenance, tables
from orion.errors import InputError
from orion.experiment import filters
from orion.experiment.filters import (
    COPY_FRACTION,
    COPY_NGRAM,
    LOOP_NGRAM,
    LOOP_REPEATS,
    Limits,
)
from orion.paths import AtomicFile
from orion.progress import log
from orion.stages import command

PREVIEW_ROWS = 50

Row = dict[str, Any]


@dataclass(frozen=True)
class SelectConfig:
    """The configuration keys of the stage; ``max_per_problem``: training rows per problem."""

    prompts: str
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


class Candidates:
    """The texts an arm may train on, by problem; each method gives up to ``max_per_problem`` rows.

    The student's own samples pass the same filters as its reflections, as far as a filter applies
    to a text without a refined part; otherwise ``orion`` against ``sft_own`` would compare filtered
    texts with unfiltered ones.
    """

    def __init__(
        self,
        problems: pl.DataFrame,
        samples: pl.DataFrame,
        verdicts: pl.DataFrame,
        config: SelectConfig,
    ):
        self.problems = {row["problem_id"]: row for row in problems.iter_rows(named=True)}
        self.max_per_problem = config.max_per_problem
        names = ["wrong_answer", "truncated"]
        names += [name for name in config.filters if name in filters.PROMPT_FREE_FILTERS]
        self.correct: dict[str, list[Row]] = {}
        columns = ["problem_id", "sample_id", "verdict"]
        joined = samples.join(verdicts.select(columns), on=columns[:2])
        for row in joined.sort("problem_id", "sample_id").iter_rows(named=True):
            sample = filters.Reflection(
                row["response"],
                row["verdict"],
                row["finish_reason"],
                row["completion_tokens"],
                None,
            )
            if not filters.find_objections(sample, names, config.limits):
                self.correct.setdefault(row["problem_id"], []).append(row)

    def solution(self, problem_id: str, prompt_set: str) -> list[Row]:
        """The reference solution with its answer; without a solution the answer alone."""
        row = self.problems[problem_id]
        stated = prompts.answer(prompt_set, row["answer"])
        text = row["solution"]
        if text is None:
            text = stated
        elif "\\boxed" not in text:
            text = f"{text}\n{stated}"
        return [_target(text, "solution")]

    def teacher(self, problem_id: str) -> list[Row]:
        """The teacher's trace, if there is one and its answer checked correct."""
        trace = self.problems[problem_id]["teacher_trace"]
        return [] if trace is None else [_target(trace, "teacher_trace")]

    def own_correct(self, problem_id: str) -> list[Row]:
        """The student's own correct samples, in order of sample_id, equal texts once."""
        rows = _distinct(self.correct.get(problem_id, []), "response")[: self.max_per_problem]
        return [_target(row["response"], "own_correct", sample_id=row["sample_id"]) for row in rows]


def _target(
    text: str,
    kind: str,
    *,
    sample_id: int | None = None,
    errors: list[int] | None = None,
    passed: Sequence[str] = (),
) -> Row:
    return {
        "completion": text,
        "target_kind": kind,
        "sample_id": sample_id,
        "error_sample_ids": errors or [],
        "filters_passed": list(passed),
    }


def _distinct(rows: list[Row], column: str) -> list[Row]:
    seen: dict[str, Row] = {}
    for row in rows:
        seen.setdefault(row[column], row)
    return list(seen.values())


def apply_filters(
    reflections: pl.DataFrame,
    verdicts: pl.DataFrame,
    traces: dict[str, str | None],
    names: list[str],
    limits: Limits,
) -> list[Row]:
    """The reflections with ``refined`` and ``objections``, the filters that object."""
    rows = []
    columns = ["problem_id", "sample_id", "verdict"]
    joined = reflections.join(verdicts.select(columns), on=columns[:2])
    for row in joined.sort("problem_id", "sample_id").iter_rows(named=True):
        refined = prompts.extract_refined(limits.prompt_set, row["response"])
        reflection = filters.Reflection(
            refined,
            row["verdict"],
            row["finish_reason"],
            row["completion_tokens"],
            traces.get(row["problem_id"]),
        )
        objections = filters.find_objections(reflection, names, limits)
        rows.append({**row, "refined": refined, "objections": objections})
    return rows


def waterfall(rows: list[Row], names: list[str]) -> tuple[list[Row], dict[str, int]]:
    """How many reflections each filter removes in its turn; how many it objects to in any order."""
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
        target = _target(
            row["refined"], "reflection", sample_id=row["sample_id"], errors=shown, passed=names
        )
        groups.setdefault((row["problem_id"], row["template"]), []).append(
            {**target, "error_ranks": row["error_ranks"]}
        )
    return {
        key: _one_per_prompt_first(_distinct(targets, "completion"))
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


def train_rows(chosen: dict[str, list[Row]], candidates: Candidates, prompt_set: str) -> list[Row]:
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


def main(argv: list[str] | None = None) -> None:
    parser = command.make_parser(
        __doc__,
        "arm",
        "problems",
        "trace-verdicts",
        "samples",
        "verdicts",
        "output",
        "filters",
        "preview",
    )
    optional = {
        "errors": tables.ERRORS,
        "reflections": tables.REFLECTIONS,
        "reflection_verdicts": tables.VERDICTS,
    }
    for name in optional:
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            nargs="?",
            metavar="PATH",
            help="arms trained on reflections",
        )
    args = parser.parse_args(argv)
    config = command.read_config(SelectConfig, args.config)
    problems = tables.with_correct_traces(
        tables.read(args.problems, tables.PROBLEMS),
        tables.read(args.trace_verdicts, tables.VERDICTS),
    )
    samples = tables.read(args.samples, tables.SAMPLES)
    verdicts = tables.read(args.verdicts, tables.VERDICTS)
    extra = {
        name: tables.read(path, table) if (path := getattr(args, name)) else tables.empty(table)
        for name, table in optional.items()
    }
    candidates = Candidates(problems, samples, verdicts, config)
    rows = apply_filters(
        extra["reflections"],
        extra["reflection_verdicts"],
        dict(problems.select("problem_id", "teacher_trace").iter_rows()),
        config.filters,
        config.limits,
    )
    chosen, fallbacks = choose_targets(
        candidates,
        config,
        passing_targets(rows, extra["errors"], config.filters),
        set(extra["errors"]["problem_id"]),
    )
    train = tables.from_rows(train_rows(chosen, candidates, config.prompts), tables.TRAIN)
    steps, coverage = waterfall(rows, config.filters)
    wrong = verdicts.filter(pl.col("verdict") == "incorrect")
    summary = {
        "arm": args.arm,
        "problems": problems.height,
        "with_wrong_sample": wrong["problem_id"].n_unique(),
        "reflections": len(rows),
        "waterfall": steps,
        "coverage": coverage,
        "fallbacks": fallbacks,
        "rows": train.height,
        "rows_by_kind": dict(sorted(Counter(train["target_kind"]).items())),
        "problems_trained": train["problem_id"].n_unique(),
    }
    log(json.dumps({k: summary[k] for k in ("reflections", "rows", "rows_by_kind", "fallbacks")}))
    if train.is_empty():
        raise InputError(
            f"arm {args.arm}: no training row is left; {_why(summary, config.trained_on)} "
            "See the waterfall above, relax select.filters or choose another fallback_all_filtered"
        )
    inputs = {
        name: getattr(args, name)
        for name in ("problems", "trace_verdicts", "samples", "verdicts", *optional)
    }
    record = provenance.record(
        "orion.stages.select", args.config, {name: path for name, path in inputs.items() if path}
    )
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
    return f"none of the {summary['problems']} problems has a usable {kind}."


if __name__ == "__main__":
    command.run(main)
