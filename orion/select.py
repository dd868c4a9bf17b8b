"""Select what an arm is trained on: reflections, samples, traces or solutions → train, filters.json, preview.jsonl.

Reflections pass the named filters; problems without a wrong sample or without a surviving reflection follow the arm's
explicit policies. ``filters.json`` holds the waterfall, and ``preview.jsonl`` the first rows for reading.
Run: ``python -m orion.select --config JSON --arm NAME --problems P --trace-verdicts T --samples S --verdicts V
[--errors E --reflections R --reflection-verdicts W] --output O --filters F --preview J``.
"""

import json
from collections import Counter

import polars as pl

from orion import filters, prompts, provenance, stage, tables
from orion.errors import InputError

PREVIEW_ROWS = 50


class Targets:
    """The texts an arm may train on, by problem: each method gives up to ``per_problem`` rows without their prompt.

    The student's own samples pass the same filters as its reflections, as far as they apply to a text without a refined
    part; otherwise ``orion`` against ``sft_own`` would compare filtered texts with unfiltered ones.
    """

    def __init__(
        self,
        problems: pl.DataFrame,
        samples: pl.DataFrame,
        verdicts: pl.DataFrame,
        *,
        per_problem: int,
        names: list[str],
        limits: filters.Limits,
    ):
        self.problems = {row["problem_id"]: row for row in problems.iter_rows(named=True)}
        self.per_problem = per_problem
        checks = [
            "wrong_answer",
            "truncated",
            *(name for name in names if name in filters.OF_ANY_TEXT),
        ]
        self.correct: dict[str, list[dict]] = {}
        joined = samples.join(
            verdicts.select("problem_id", "sample_id", "verdict"), on=["problem_id", "sample_id"]
        )
        for row in joined.sort("problem_id", "sample_id").iter_rows(named=True):
            seen = filters.Reflection(
                row["response"],
                row["verdict"],
                row["finish_reason"],
                row["completion_tokens"],
                None,
            )
            if not filters.objections(seen, checks, limits):
                self.correct.setdefault(row["problem_id"], []).append(row)

    def solution(self, problem_id: str, prompt_set: str) -> list[dict]:
        """The reference solution, closed by its answer; the answer alone where there is no solution."""
        row = self.problems[problem_id]
        stated = prompts.answer(prompt_set, row["answer"])
        text = row["solution"]
        if text is None:
            text = stated
        elif "\\boxed" not in text:
            text = f"{text}\n{stated}"
        return [_target(text, "solution")]

    def teacher(self, problem_id: str) -> list[dict]:
        """The teacher's trace, if there is one and its answer checked correct."""
        trace = self.problems[problem_id]["teacher_trace"]
        return [] if trace is None else [_target(trace, "teacher_trace")]

    def own_correct(self, problem_id: str) -> list[dict]:
        """The student's own correct samples, in order of sample_id, equal texts once."""
        rows = _distinct(self.correct.get(problem_id, []), "response")[: self.per_problem]
        return [_target(row["response"], "own_correct", sample_id=row["sample_id"]) for row in rows]


def _target(
    text: str,
    kind: str,
    *,
    sample_id: int | None = None,
    errors: list[int] | None = None,
    passed=(),
) -> dict:
    return {
        "completion": text,
        "target_kind": kind,
        "sample_id": sample_id,
        "error_sample_ids": errors or [],
        "filters_passed": list(passed),
    }


def _distinct(rows: list[dict], column: str) -> list[dict]:
    seen: dict[str, dict] = {}
    for row in rows:
        seen.setdefault(row[column], row)
    return list(seen.values())


def judged(
    reflections: pl.DataFrame,
    verdicts: pl.DataFrame,
    traces: dict,
    names: list[str],
    limits: filters.Limits,
):
    """The reflections as dictionaries with their refined part and the filters that object (``objections``)."""
    rows = []
    joined = reflections.join(
        verdicts.select("problem_id", "sample_id", "verdict"), on=["problem_id", "sample_id"]
    )
    for row in joined.sort("problem_id", "sample_id").iter_rows(named=True):
        refined = prompts.refined(limits.prompt_set, row["response"])
        seen = filters.Reflection(
            refined,
            row["verdict"],
            row["finish_reason"],
            row["completion_tokens"],
            traces.get(row["problem_id"]),
        )
        rows.append(
            {**row, "refined": refined, "objections": filters.objections(seen, names, limits)}
        )
    return rows


def waterfall(rows: list[dict], names: list[str]) -> tuple[list[dict], dict[str, int]]:
    """How many reflections each filter removes in its turn, and how many it objects to irrespective of order."""
    left = len(rows)
    steps = []
    for name in names:
        removed = sum(row["objections"][:1] == [name] for row in rows)
        left -= removed
        steps.append({"filter": name, "removed": removed, "left": left})
    return steps, dict(Counter(name for row in rows for name in row["objections"]))


def survivors(
    rows: list[dict], errors: pl.DataFrame, names: list[str]
) -> dict[tuple[str, str], list[dict]]:
    """(problem_id, template) → targets of the reflections that no filter objects to, one of each prompt first."""
    shown = {
        (p, rank): sample
        for p, rank, sample in errors.select("problem_id", "rank", "sample_id").iter_rows()
    }
    groups: dict[tuple[str, str], list[dict]] = {}
    for row in rows:
        if not row["objections"]:
            template, _, ranks = row["prompt_id"].partition(":")
            ids = [shown[row["problem_id"], int(rank)] for rank in ranks.split("+") if rank]
            target = _target(
                row["refined"], "reflection", sample_id=row["sample_id"], errors=ids, passed=names
            )
            groups.setdefault((row["problem_id"], template), []).append(
                {**target, "prompt_id": row["prompt_id"]}
            )
    return {
        key: _one_of_each_prompt_first(_distinct(found, "completion"))
        for key, found in groups.items()
    }


def _one_of_each_prompt_first(rows: list[dict]) -> list[dict]:
    turn: Counter = Counter()
    keyed = []
    for row in rows:
        keyed.append((turn[row["prompt_id"]], row))
        turn[row["prompt_id"]] += 1
    return [
        {k: v for k, v in row.items() if k != "prompt_id"}
        for _, row in sorted(keyed, key=lambda pair: pair[0])
    ]


def choose(
    targets: Targets, config: dict, alive: dict, with_error: set[str]
) -> tuple[dict[str, list[dict]], dict]:
    """problem_id → targets by the arm's rule and policies, and how often each policy was needed."""
    kind, limit = config["trained_on"], config["max_per_problem"]
    fixed = {
        "solution": lambda p: targets.solution(p, config["prompts"]),
        "teacher_trace": targets.teacher,
        "own_correct": targets.own_correct,
    }
    if kind in fixed:
        return {p: fixed[kind](p) for p in targets.problems}, {}
    policies = {
        "teacher": targets.teacher,
        "own_correct": targets.own_correct,
        "rewrite": lambda p: alive.get((p, "rewrite"), []),
        "drop": lambda p: [],
    }
    used = {
        case: {"policy": config[case], "problems": 0} for case in ("no_wrong_sample", "no_survivor")
    }
    chosen = {}
    for problem_id in targets.problems:
        found = alive.get((problem_id, "reflect"), [])
        if not found:
            case = "no_survivor" if problem_id in with_error else "no_wrong_sample"
            used[case]["problems"] += 1
            found = policies[config[case]](problem_id)
        chosen[problem_id] = found[:limit]
    return chosen, used


def train_rows(chosen: dict[str, list[dict]], targets: Targets, prompt_set: str) -> list[dict]:
    """The train table's rows, numbered within each problem."""
    return [
        {
            **target,
            "problem_id": p,
            "row": n,
            "prompt": prompts.solve(prompt_set, targets.problems[p]["problem"]),
        }
        for p, found in chosen.items()
        for n, target in enumerate(found)
    ]


def main(argv: list[str] | None = None) -> None:
    made = stage.parser(
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
        "reflection_verdicts": tables.VERDICT_ROWS,
    }
    for name in optional:
        made.add_argument(
            f"--{name.replace('_', '-')}",
            nargs="?",
            metavar="PATH",
            help="arms trained on reflections",
        )
    args = made.parse_args(argv)
    config = args.config
    problems = tables.with_correct_traces(
        tables.read(args.problems, tables.PROBLEMS),
        tables.read(args.trace_verdicts, tables.VERDICT_ROWS),
    )
    samples = tables.read(args.samples, tables.SAMPLES)
    verdicts = tables.read(args.verdicts, tables.VERDICT_ROWS)
    extra = {
        name: tables.read(path, table) if (path := getattr(args, name)) else tables.empty(table)
        for name, table in optional.items()
    }
    limits = filters.Limits(
        config["prompts"], **{k: config[k] for k in _LIMIT_KEYS if config.get(k) is not None}
    )
    traces = dict(problems.select("problem_id", "teacher_trace").iter_rows())
    names = config["filters"]
    per_problem = config["max_per_problem"]
    targets = Targets(
        problems, samples, verdicts, per_problem=per_problem, names=names, limits=limits
    )
    rows = judged(extra["reflections"], extra["reflection_verdicts"], traces, names, limits)
    with_error = set(extra["errors"]["problem_id"])
    chosen, policies = choose(targets, config, survivors(rows, extra["errors"], names), with_error)
    train = tables.from_rows(train_rows(chosen, targets, config["prompts"]), tables.TRAIN)
    steps, coverage = waterfall(rows, names)
    summary = {
        "arm": args.arm,
        "problems": problems.height,
        "with_wrong_sample": verdicts.filter(pl.col("verdict") == "incorrect")[
            "problem_id"
        ].n_unique(),
        "reflections": len(rows),
        "waterfall": steps,
        "coverage": coverage,
        "policies": policies,
        "rows": train.height,
        "rows_by_kind": dict(sorted(Counter(train["target_kind"]).items())),
        "problems_trained": train["problem_id"].n_unique(),
    }
    stage.log(
        json.dumps({k: summary[k] for k in ("reflections", "rows", "rows_by_kind", "policies")})
    )
    if train.is_empty():
        raise InputError(
            f"arm {args.arm}: no training row is left; {_why(summary, config['trained_on'])} "
            "See the waterfall above, relax select.filters or choose another policy"
        )
    inputs = {
        name: getattr(args, name)
        for name in ("problems", "trace_verdicts", "samples", "verdicts", *optional)
    }
    record = provenance.record(
        "orion.select", config, {name: path for name, path in inputs.items() if path}
    )
    tables.write_json(summary, args.filters, record)
    with tables.published(args.preview) as partial:
        lines = [
            json.dumps(row, ensure_ascii=False)
            for row in train.head(PREVIEW_ROWS).iter_rows(named=True)
        ]
        partial.write_text("\n".join(lines) + "\n", encoding="utf-8")
    tables.write(train, args.output, tables.TRAIN, record)


_LIMIT_KEYS = ("max_tokens", "copy_ngram", "copy_fraction", "loop_ngram", "loop_repeats")


def _why(summary: dict, kind: str) -> str:
    if kind == "reflection":
        return (
            f"{summary['reflections']} reflections, waterfall {json.dumps(summary['waterfall'])}."
        )
    return f"none of the {summary['problems']} problems has a usable {kind}."


if __name__ == "__main__":
    stage.run(main)
