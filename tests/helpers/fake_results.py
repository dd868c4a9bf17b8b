"""An invented results folder that keeps every contract.

``make(root, raw)`` fills ``root/results`` for a configuration. Problems, verdicts, errors, training
rows and scores come from the stages themselves; samples, reflections, packed sequences and training
logs are invented here, at random from keys.
"""

import functools
import json
import os
import random
from pathlib import Path
from types import ModuleType

from orion import paths, provenance, tables
from orion.config import (
    list_judges,
    params,
    plan_digest,
    stage_config,
    validate,
    weighs_key_steps,
)
from orion.demo import problems as demo
from orion.demo.error_coverage import first_wrong_step
from orion.experiment.plan import read_history
from orion.experiment.surprise import SURPRISE as TABLE
from orion.models.document import ModelDocument
from orion.report.rules import SECOND_STEPS, SECOND_VERDICTS, SURPRISE
from orion.stages import check, dataset, evaluate, expose, lint, plan, select
from tests.helpers import fake_judgements

# probability that a sample is right, by arm
SKILL = {
    "base": 0.40,
    "sft_answer": 0.02,
    "sft_teacher": 0.30,
    "sft_own": 0.45,
    "sft_rewrite": 0.58,
    "orion_no_teacher": 0.50,
    "orion_placebo": 0.52,
    "orion": 0.62,
}
# probability that the refined part writes out the step that the own error got wrong
# the training rows that the chat template cannot carry
REJECTED = ("train-00004", "own_correct")
COVERAGE = {"orion": 0.8, "orion_placebo": 0.2, "sft_rewrite": 0.05, "orion_no_teacher": 0.6}
FILTERS = [
    "no_refined_part",
    "wrong_answer",
    "false_step",
    "leak",
    "copy",
    "answer_first",
    "loop",
    "truncated",
    "several_answers",
]


def configuration(problems: int = 30, num_samples: int = 4) -> dict:
    """The grid of the embedded default, with fewer problems and samples."""
    fields = {"problem_id": "id", "teacher_trace": "teacher_trace"}
    reflecting = {"trained_on": "reflection", "error_source": "own"}
    return {
        "runs": {
            "datasets": ["chains"],
            "models": ["tiny"],
            "arms": list(SKILL),
            "seeds": [1, 2],
            "benchmarks": ["chains-test", "chains-hard"],
        },
        "comparisons": [
            {"arm": "orion", "against": other}
            for other in ("sft_rewrite", "orion_placebo", "sft_teacher", "sft_own")
        ],
        "prompts": "demo",
        "datasets": {
            "chains": {
                "source": {"kind": "demo", "level": "train", "n": problems, "seed": 11},
                "fields": fields,
                "decontaminate_ngram": None,
            }
        },
        "benchmarks": {
            "chains-test": {"source": {"kind": "demo", "level": "test", "n": problems, "seed": 12}},
            "chains-hard": {
                "source": {"kind": "demo", "level": "hard", "n": problems, "seed": 13},
                "evaluate": {"num_samples": num_samples + 1},
            },
        },
        "models": {"tiny": {"source": {"kind": "demo"}, "dtype": "float32"}},
        "arms": {
            "base": {"trained_on": "nothing"},
            "sft_answer": {"trained_on": "solution"},
            "sft_teacher": {"trained_on": "teacher_trace"},
            "sft_own": {"trained_on": "own_correct"},
            "sft_rewrite": {**reflecting, "prompt_includes": ["teacher"]},
            "orion_no_teacher": {**reflecting, "prompt_includes": ["errors"]},
            "orion_placebo": {
                **reflecting,
                "error_source": "other_problem",
                "prompt_includes": ["teacher", "errors"],
            },
            "orion": {**reflecting, "prompt_includes": ["teacher", "errors"]},
        },
        "sample": {"num_samples": num_samples, "temperature": 0.8, "max_tokens": 128},
        "reflect": {"num_samples": 1, "temperature": 0.7, "max_tokens": 192},
        "select": {"filters": FILTERS},
        "pack": {"max_length": 256},
        "train": {"learning_rate": 5e-4, "batch_sequences": 4, "max_steps": 12, "dtype": "float32"},
        "evaluate": {
            "num_samples": num_samples,
            "temperature": 0.8,
            "max_tokens": 128,
            "seed": 100,
        },
        "report": {"title": "ORION on invented numbers", "bootstrap": 500, "examples": 6},
    }


class Maker:
    """Writes the artifacts of one configuration, with paths relative to the working directory."""

    def __init__(self, raw: dict):
        self.config = validate(raw)
        self.root = Path("results")

    def path(self, template: str, **wildcards) -> Path:
        return paths.artifact(self.root, template, **wildcards)

    def record(self, stage: str, inputs: dict, *, module: str | None = None, **wildcards) -> dict:
        keys = stage_config(self.config, stage, **wildcards)
        record = provenance.record(f"orion.stages.{module or stage}", keys, inputs)
        if stage not in ("train", "evaluate_sample"):
            return record
        return record | {"plan": read_history(self.path(paths.PLAN))[-1].digest}

    def run_stage(self, module: ModuleType, stage: str, wildcards: dict, **options) -> None:
        argv = ["--config", params(self.config, stage, **wildcards)]
        for option, value in options.items():
            values = value if isinstance(value, list) else [value]
            for path in values:
                Path(str(path)).parent.mkdir(parents=True, exist_ok=True)
            argv += [f"--{option.replace('_', '-')}", *map(str, values)]
        module.main(argv)

    def make_problems(self, kind: str, name: str, templates: tuple, held_out: list[Path]) -> Path:
        wildcards = {kind: name}
        problems, rejected, report = (self.path(t, **wildcards) for t in templates)
        self.run_stage(
            dataset, kind, wildcards, output=problems, rejected=rejected, benchmark=held_out
        )
        self.run_stage(lint, "lint", wildcards, problems=problems, output=report)
        return problems

    def write_model(self, path: Path, record: dict, name: str, weights: str | None = None) -> None:
        """``weights``: what tells the weights from others; default: the path."""
        document = ModelDocument(
            name=name,
            digest=provenance.digest_text(weights or str(path)),
            context_length=512,
            path=str(path.parent / "model"),
            dtype="float32",
            chat_template="",
            vocab_size=104,
            parameters=801_920,
        )
        tables.write_json(document.as_json(), path, record)


def write_attempt(
    rng: random.Random, row: dict, skill: float, refined_step: int | None = None
) -> str:
    """A chain in the student's style.

    With probability 1 - skill one step is wrong, and so is everything that follows from it.
    """
    right, meta = rng.random() < skill, row["meta"]
    if "steps" not in meta:
        return f"so it is \\boxed{{ {int(row['answer']) + (0 if right else rng.choice((-1, 1)))} }}"
    wrong = None if right else rng.randrange(len(meta["steps"]))
    value, steps = meta["start"], []
    for index, step in enumerate(meta["steps"]):
        result = demo.compute(value, step["op"], step["operand"]) + (
            rng.choice((-10, -1, 1, 10)) if index == wrong else 0
        )
        steps.append(demo.Step(value, step["op"], step["operand"], result))
        value = result
    return demo.write_solution(steps, set() if refined_step is None else {refined_step})


def write_samples(rows: list[dict], key: str, num_samples: int, skill: float) -> list[dict]:
    """The rows of samples: a few are cut off, contain HTML, or begin with a false step."""
    samples = []
    for row in rows:
        for i in range(num_samples):
            sample_key = f"{key}|{row['problem_id']}|{i}"
            rng = random.Random(sample_key)
            text, finish = write_attempt(rng, row, skill), "stop"
            dice = rng.random()
            if dice < 0.04:
                text, finish = text.partition("\\boxed")[0], "length"
            elif dice < 0.07:
                text = f"<script>alert('{i}')</script> {text}"
            elif dice < 0.15:
                # a false step that the answer does not depend on
                text = f"2 + 2 = 5 ; {text}"
            answer = answer_columns(text, finish, sample_key)
            samples.append(
                {"problem_id": row["problem_id"], "sample_id": i, "template": "solve", **answer}
            )
    return samples


def answer_columns(text: str, finish_reason: str, key: str) -> dict:
    """The columns that samples and reflections share."""
    return {
        "response": text,
        "finish_reason": finish_reason,
        "prompt_tokens": 40,
        "completion_tokens": len(text.split()),
        "completion": provenance.digest_text(key),
    }


def make(root: Path, raw: dict) -> Path:
    """Fill ``root/results`` and return it; the working directory is ``root`` while it runs."""
    before = Path.cwd()
    os.chdir(root)
    try:
        _make_all(Maker(raw))
    finally:
        os.chdir(before)
    return root / "results"


def _rows(path: Path, table: tables.Table) -> list[dict]:
    return tables.read(path, table).rows(named=True)


def with_checks(document: Path) -> dict[str, Path]:
    """A model as an input: its document and its passed checks."""
    return {"model": document, "preflight": document.with_name("preflight.json")}


def _make_all(maker: Maker) -> None:
    runs = maker.config.runs
    maker.run_stage(plan, "plan", {}, results=maker.root, output=maker.path(paths.PLAN))
    templates = (paths.BENCHMARK_PROBLEMS, paths.BENCHMARK_REJECTED, paths.BENCHMARK_LINT)
    benchmarks = [maker.make_problems("benchmark", b, templates, []) for b in runs.benchmarks]
    for model in dict.fromkeys([*runs.models, *list_judges(maker.config)]):
        record = maker.record("model", {}, model=model)
        weights = f"weights of {maker.config.origin(model)}"
        maker.write_model(maker.path(paths.MODEL, model=model), record, model, weights)
        checks = {"model": model, "digest": "", "checks": []}
        tables.write_json(checks, maker.path(paths.PREFLIGHT, model=model), record)
    templates = (paths.PROBLEMS, paths.REJECTED, paths.LINT)
    for name in runs.datasets:
        problems = maker.make_problems("dataset", name, templates, benchmarks)
        traces = maker.path(paths.TRACE_VERDICTS, dataset=name)
        trace_steps = maker.path(paths.TRACE_STEPS, dataset=name)
        maker.run_stage(
            check,
            "check_traces",
            {"dataset": name},
            problems=problems,
            samples=problems,
            output=traces,
            output_steps=trace_steps,
        )
        parents = {"problems": problems, "trace_verdicts": traces, "trace_steps": trace_steps}
        for model in runs.models:
            _make_student(maker, {"dataset": name, "model": model}, parents)


def _make_student(maker: Maker, wildcards: dict, parents: dict) -> None:
    config, problems = maker.config, parents["problems"]
    document = maker.path(paths.MODEL, **wildcards)
    samples = maker.path(paths.SAMPLES, **wildcards)
    verdicts = maker.path(paths.VERDICTS, **wildcards)
    steps = maker.path(paths.STEPS, **wildcards)
    rows = write_samples(
        _rows(problems, tables.PROBLEMS),
        f"sample|{wildcards}",
        config.sample.num_samples,
        SKILL["base"],
    )
    record = maker.record("sample", {"problems": problems, **with_checks(document)}, **wildcards)
    tables.write(tables.from_rows(rows, tables.SAMPLES), samples, tables.SAMPLES, record)
    read = {"problems": problems, "samples": samples}
    maker.run_stage(check, "check", wildcards, **read, output=verdicts, output_steps=steps)
    answered = {**parents, "samples": samples, "verdicts": verdicts, "steps": steps}
    for arm in config.runs.arms:
        keys = {**wildcards, "arm": arm}
        trained_on = config.arms[arm].trained_on
        if trained_on == "reflection":
            extra = _make_reflections(maker, keys, answered, document)
            _make_training(maker, keys, {**answered, **extra}, document)
        elif trained_on == "oracle":
            errors = _make_errors(maker, keys, answered)
            _make_training(maker, keys, {**answered, "errors": errors}, document)
        elif trained_on in ("own_correct", "own_sample"):
            _make_training(maker, keys, answered, document)
        elif trained_on != "nothing":
            _make_training(maker, keys, parents, document)
        for seed in config.runs.seeds:
            untrained = trained_on == "nothing"
            trained = document if untrained else maker.path(paths.TRAINED_MODEL, **keys, seed=seed)
            for benchmark in config.runs.benchmarks:
                run = {**keys, "seed": str(seed), "benchmark": benchmark}
                make_evaluation(maker, run, trained)
    fake_judgements.make(config, wildcards, maker.path, maker.record)


def _make_errors(maker: Maker, wildcards: dict, parents: dict) -> Path:
    errors = maker.path(paths.ERRORS, **wildcards)
    read = {name: parents[name] for name in ("samples", "verdicts")}
    maker.run_stage(expose, "expose", wildcards, **read, output=errors)
    return errors


def _make_reflections(maker: Maker, wildcards: dict, parents: dict, document: Path) -> dict:
    locate = functools.partial(maker.path, **wildcards)
    errors, reflections = _make_errors(maker, wildcards, parents), locate(paths.REFLECTIONS)
    verdicts, steps = locate(paths.REFLECTION_VERDICTS), locate(paths.REFLECTION_STEPS)
    problems = {r["problem_id"]: r for r in _rows(parents["problems"], tables.PROBLEMS)}
    attempts = {
        (r["problem_id"], r["sample_id"]): r["response"]
        for r in _rows(parents["samples"], tables.SAMPLES)
    }
    rows: list[dict] = []
    last_id: dict[str, int] = {}
    for error in _rows(errors, tables.ERRORS):
        problem_id = error["problem_id"]
        problem = problems[problem_id]
        rng = random.Random(f"{wildcards}|{problem_id}|{error['rank']}")
        own = attempts[problem_id, error["own_sample_id"]]
        wrong = first_wrong_step(problem["meta"], own) if "steps" in problem["meta"] else None
        covers = wrong is not None and rng.random() < COVERAGE[wildcards["arm"]]
        step = wrong if covers else rng.randrange(3)
        text = f"<script>alert(1)</script> wrong ; New: {write_attempt(rng, problem, 0.8, step)}"
        text = text if rng.random() > 0.05 else text.partition("New:")[0]
        number = last_id[problem_id] = last_id.get(problem_id, -1) + 1
        rows.append(
            {
                "problem_id": problem_id,
                "sample_id": number,
                "template": "reflect",
                "error_ranks": [error["rank"]],
                **answer_columns(text, "stop", f"{wildcards}|{number}|{text}"),
            }
        )
    inputs = {name: parents[name] for name in ("problems", "trace_verdicts", "trace_steps")}
    inputs |= {"errors": errors, **with_checks(document)}
    record = maker.record("reflect", inputs, **wildcards)
    frame = tables.from_rows(rows, tables.REFLECTIONS)
    tables.write(frame, reflections, tables.REFLECTIONS, record)
    maker.run_stage(
        check,
        "check_reflections",
        wildcards,
        problems=parents["problems"],
        samples=reflections,
        output=verdicts,
        output_steps=steps,
    )
    return {
        "errors": errors,
        "reflections": reflections,
        "reflection_verdicts": verdicts,
        "reflection_steps": steps,
    }


def _make_training(maker: Maker, wildcards: dict, parents: dict, document: Path) -> None:
    train = select_rows(maker, wildcards, parents)
    locate = functools.partial(maker.path, **wildcards)
    packed, stats = locate(paths.PACKED), locate(paths.PACKED_STATS)
    rows: list[dict] = []
    trained_tokens, max_length = 0, maker.config.pack.max_length
    selected = tables.read(train, tables.TRAIN)
    rejected = 0
    for row in selected.iter_rows(named=True):
        if (row["problem_id"], row["target_kind"]) == REJECTED:
            rejected += 1
            continue
        prompt, target = (len(text.split()) for text in (row["prompt"], row["completion"]))
        if prompt + target <= max_length:
            ids = list(range(prompt + target))
            rows.append(
                {
                    "row": len(rows),
                    "input_ids": ids,
                    "labels": [-100] * prompt + ids[prompt:],
                    "position_ids": ids,
                    "seq_lengths": [len(ids)],
                }
            )
            trained_tokens += target
    read = {"train": train, **with_checks(document)}
    if weighs_key_steps(maker.config, wildcards["arm"]):
        read["errors"] = locate(paths.ERRORS)
    record = maker.record("pack", read, **wildcards)
    tables.write(tables.from_rows(rows, tables.PACKED), packed, tables.PACKED, record)
    tokens = sum(len(row["input_ids"]) for row in rows)
    numbers = {
        "rows": len(rows),
        "documents": len(rows),
        "dropped_too_long": selected.height - len(rows) - rejected,
        "rejected": {"no_answer": rejected} if rejected else {},
        "tokens": tokens,
        "trained_tokens": trained_tokens,
        "max_length": max_length,
        "fill": round(tokens / (len(rows) * max_length), 6),
    }
    tables.write_json(numbers, stats, record)
    if maker.config.report.surprise:
        record = maker.record("surprise", {"packed": packed, **with_checks(document)}, **wildcards)
        rng = random.Random(f"surprise|{wildcards}")
        scored = [
            {
                "row": row["row"],
                "document": 0,
                "tokens": sum(label != -100 for label in row["labels"]),
                "surprise": round(rng.uniform(0.1, 2), 6),
                "rank": round(rng.uniform(1, 9), 6),
            }
            for row in rows
        ]
        frame = tables.from_rows(scored, TABLE)
        tables.write(frame, locate(SURPRISE), TABLE, record)
    invent_training(maker, wildcards, document, trained_tokens)


def select_rows(maker: Maker, wildcards: dict, parents: dict) -> Path:
    """Run the stage `select` on the parents of an arm; the table of its training rows."""
    locate = functools.partial(maker.path, **wildcards)
    train = locate(paths.TRAIN)
    maker.run_stage(
        select,
        "select",
        wildcards,
        arm=wildcards["arm"],
        **parents,
        output=train,
        filters=locate(paths.FILTERS),
        preview=locate(paths.PREVIEW),
    )
    return train


def invent_training(maker: Maker, wildcards: dict, document: Path, trained_tokens: int) -> None:
    """A trained model and a log of 12 steps for each seed of an arm that is packed."""
    locate = functools.partial(maker.path, **wildcards)
    for seed in maker.config.runs.seeds:
        path = locate(paths.TRAINED_MODEL, seed=seed)
        inputs = {"packed": locate(paths.PACKED), **with_checks(document)}
        record = maker.record("train", inputs, **wildcards, seed=str(seed))
        maker.write_model(path, record, "/".join(path.parts))
        log = [
            _log_line(random.Random(f"{wildcards}|{seed}|{step}"), step, trained_tokens)
            for step in range(1, 13)
        ]
        locate(paths.TRAIN_LOG, seed=seed).write_text(
            "".join(json.dumps(line) + "\n" for line in log), encoding="utf-8"
        )


def _log_line(rng: random.Random, step: int, trained_tokens: int) -> dict:
    loss = 1.2 / step**0.5 + 0.05 * rng.random()
    return {
        "step": step,
        "loss": loss,
        "learning_rate": 5e-4 * (1 - step / 13),
        "grad_norm": 1 + rng.random(),
        "tokens": 40 * step,
        "trained_tokens": trained_tokens * step // 12,
        "accuracy": 1 - loss / 2,
    }


def make_evaluation(maker: Maker, wildcards: dict, trained: Path) -> None:
    locate = functools.partial(maker.path, **wildcards)
    problems, samples = locate(paths.BENCHMARK_PROBLEMS), locate(paths.EVALUATION_SAMPLES)
    verdicts, scores = locate(paths.EVALUATION_VERDICTS), locate(paths.SCORES)
    skill = SKILL.get(wildcards["arm"], 0.5) - (
        0.15 if wildcards["benchmark"].endswith("hard") else 0
    )
    rows = write_samples(
        _rows(problems, tables.PROBLEMS),
        f"evaluate|{wildcards}",
        maker.config.evaluation(wildcards["benchmark"]).num_samples,
        skill,
    )
    inputs = {"problems": problems, "model": trained, "preflight": locate(paths.PREFLIGHT)}
    record = maker.record("evaluate_sample", inputs, module="sample", **wildcards)
    tables.write(tables.from_rows(rows, tables.SAMPLES), samples, tables.SAMPLES, record)
    read = {"problems": problems, "samples": samples}
    steps = locate(paths.EVALUATION_STEPS)
    maker.run_stage(check, "evaluate_check", wildcards, **read, output=verdicts, output_steps=steps)
    if maker.config.report.second_policy is not None:
        second = {"output": locate(SECOND_VERDICTS), "output_steps": locate(SECOND_STEPS)}
        maker.run_stage(check, "evaluate_recheck", wildcards, **read, **second)
    registered = {"plan": maker.path(paths.PLAN), "plan_digest": plan_digest(maker.config)}
    maker.run_stage(
        evaluate, "evaluate", wildcards, **read, verdicts=verdicts, output=scores, **registered
    )
