"""A small results folder that keeps every contract: real stages where they need no model, invented text where they do.

``make(root, raw)`` fills ``root/results`` for a configuration: problems, checks, exposed errors, selection and scores come
from the stages themselves; samples, reflections, packed sequences and training logs are written here, at random from keys.
"""

import json
import os
import random
from pathlib import Path

from orion import paths, provenance, tables
from orion.config import params, stage_config, validate
from orion.demo import problems as demo
from orion.demo.error_coverage import first_wrong_step
from orion.stages import check, dataset, evaluate, expose, lint, select

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
# chance that the refined part writes out the step which the own error got wrong
AIM = {"orion": 0.8, "orion_placebo": 0.2, "sft_rewrite": 0.05, "orion_no_teacher": 0.6}
FILTERS = [
    "no_refined_part",
    "wrong_answer",
    "truncated",
    "loop",
    "several_answers",
    "answer_first",
    "leak",
    "copy",
]


def configuration(problems: int = 30, k: int = 4) -> dict:
    """The grid of the embedded default, small."""
    fields = {"problem_id": "id", "teacher_trace": "teacher_trace"}
    reflecting = {"trained_on": "reflection", "errors": "own"}
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
            "chains-hard": {"source": {"kind": "demo", "level": "hard", "n": problems, "seed": 13}},
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
                "errors": "other_problem",
                "prompt_includes": ["teacher", "errors"],
            },
            "orion": {**reflecting, "prompt_includes": ["teacher", "errors"]},
        },
        "sample": {"num_samples": k, "temperature": 0.8, "max_tokens": 128},
        "reflect": {"num_samples": 1, "temperature": 0.7, "max_tokens": 192},
        "select": {"filters": FILTERS},
        "pack": {"max_length": 256},
        "train": {"learning_rate": 5e-4, "batch_sequences": 4, "max_steps": 12, "dtype": "float32"},
        "evaluate": {"num_samples": k, "temperature": 0.8, "max_tokens": 128, "seed": 100},
        "report": {"title": "ORION on invented numbers", "bootstrap": 500, "examples": 6},
    }


class _Maker:
    """Writes the artifacts of one configuration, with paths relative to the working directory."""

    def __init__(self, raw: dict):
        self.config = validate(raw)
        self.root = Path("results")

    def record(self, module: str, stage: str, inputs: dict, **wild: str) -> dict:
        return provenance.record(module, stage_config(self.config, stage, **wild), inputs)

    def stage(self, module, name: str, wild: dict, **paths) -> None:
        argv = ["--config", params(self.config, name, **wild)]
        for option, value in paths.items():
            Path(str(value)).parent.mkdir(parents=True, exist_ok=True)
            argv += [f"--{option.replace('_', '-')}", str(value)]
        module.main(argv)

    def problem_set(self, path: Path, name: str, wild: dict, held_out: list[Path]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        argv = ["--config", params(self.config, name, **wild), "--output", str(path)]
        argv += [
            "--rejected",
            str(path.with_name("rejected.parquet")),
            "--benchmark",
            *map(str, held_out),
        ]
        dataset.main(argv)
        self.stage(lint, "lint", wild, problems=path, output=path.with_name("lint.json"))

    def model(self, path: Path, record: dict, name: str) -> None:
        document = {
            "model": name,
            "digest": provenance.digest_text(str(path)),
            "path": str(path.parent / "model"),
            "repo": None,
            "revision": None,
            "files": {},
            "chat_template": "",
            "context_length": 512,
            "vocab_size": 104,
            "parameters": 801_920,
            "dtype": "float32",
            "trust_remote_code": False,
        }
        tables.write_json(document, path, record)


def attempt(rng: random.Random, row: dict, skill: float, refined_step: int | None = None) -> str:
    """A chain in the student's style; with probability 1 - skill one step, and what follows from it, is wrong."""
    right, meta = rng.random() < skill, row["meta"]
    if "steps" not in meta:
        return f"so it is \\boxed{{ {int(row['answer']) + (0 if right else rng.choice((-1, 1)))} }}"
    wrong = None if right else rng.randrange(len(meta["steps"]))
    value, steps = meta["start"], []
    for index, step in enumerate(meta["steps"]):
        result = demo.apply(value, step["op"], step["operand"]) + (
            rng.choice((-10, -1, 1, 10)) if index == wrong else 0
        )
        steps.append(demo.Step(value, step["op"], step["operand"], result))
        value = result
    return demo.solution(steps, set() if refined_step is None else {refined_step})


def sampled(rows: list[dict], key: str, k: int, skill: float) -> list[dict]:
    """k answers a problem; a few are cut off, hostile to HTML or empty of an answer."""
    out = []
    for row in rows:
        for i in range(k):
            rng = random.Random(f"{key}|{row['problem_id']}|{i}")
            text, finish = attempt(rng, row, skill), "stop"
            dice = rng.random()
            if dice < 0.04:
                text, finish = text.partition("\\boxed")[0], "length"
            elif dice < 0.07:
                text = f"<script>alert('{i}')</script> {text}"
            out.append(
                completion(
                    row["problem_id"], i, "solve", text, finish, f"{key}|{row['problem_id']}|{i}"
                )
            )
    return out


def completion(
    problem_id: str, sample_id: int, prompt_id: str, text: str, finish: str, cell: str
) -> dict:
    """One row of samples or reflections."""
    return {
        "problem_id": problem_id,
        "sample_id": sample_id,
        "prompt_id": prompt_id,
        "response": text,
        "finish_reason": finish,
        "prompt_tokens": 40,
        "completion_tokens": len(text.split()),
        "completion": provenance.digest_text(cell),
    }


def make(root: Path, raw: dict) -> Path:
    """Fill ``root/results``; returns it. Changes the working directory for as long as it runs, as the workflow does."""
    before = Path.cwd()
    os.chdir(root)
    try:
        _make(_Maker(raw))
    finally:
        os.chdir(before)
    return root / "results"


def _rows(path: Path, table: tables.Table) -> list[dict]:
    return tables.read(path, table).rows(named=True)


def _make(maker: _Maker) -> None:
    config, root = maker.config, maker.root
    benchmarks = {b: paths.benchmark(root, b, "problems.parquet") for b in config.runs.benchmarks}
    for name, path in benchmarks.items():
        maker.problem_set(path, "benchmark", {"benchmark": name}, [])
    for model in config.runs.models:
        maker.model(
            paths.model(root, model),
            maker.record("orion.stages.model", "model", {}, model=model),
            model,
        )
    for name in config.runs.datasets:
        problems = paths.dataset(root, name, "problems.parquet")
        maker.problem_set(problems, "dataset", {"dataset": name}, list(benchmarks.values()))
        traces = problems.with_name("trace_verdicts.parquet")
        maker.stage(
            check,
            "check_traces",
            {"dataset": name},
            problems=problems,
            samples=problems,
            output=traces,
        )
        for model in config.runs.models:
            _street(maker, {"dataset": name, "model": model}, problems, traces)


def _street(maker: _Maker, wild: dict, problems: Path, traces: Path) -> None:
    config, root = maker.config, maker.root
    document = paths.model(root, wild["model"])
    samples, verdicts = (
        paths.student(root, **wild, file=f"{stem}.parquet") for stem in ("samples", "verdicts")
    )
    rows = _rows(problems, tables.PROBLEMS)
    record = maker.record(
        "orion.stages.sample", "sample", {"problems": problems, "model": document}, **wild
    )
    mine = sampled(rows, f"sample|{wild}", config.sample.k, SKILL["base"])
    tables.write(tables.from_rows(mine, tables.SAMPLES), samples, tables.SAMPLES, record)
    maker.stage(check, "check", wild, problems=problems, samples=samples, output=verdicts)
    parents = {
        "problems": problems,
        "trace_verdicts": traces,
        "samples": samples,
        "verdicts": verdicts,
    }
    for arm in config.runs.arms:
        keys = {**wild, "arm": arm}
        trained_on = config.arms[arm].trained_on
        if trained_on != "nothing":
            extra = _reflect(maker, keys, parents, document) if trained_on == "reflection" else {}
            _train(maker, keys, {**parents, **extra}, document)
        for seed in config.runs.seeds:
            trained = (
                document
                if trained_on == "nothing"
                else paths.run(root, **keys, seed=seed, file="model.json")
            )
            for benchmark in config.runs.benchmarks:
                _evaluate(maker, {**keys, "seed": str(seed), "benchmark": benchmark}, trained)


def _reflect(maker: _Maker, wild: dict, parents: dict, document: Path) -> dict:
    names = ("errors", "reflections", "reflection_verdicts")
    errors, reflections, verdicts = (
        paths.arm(maker.root, **wild, file=f"{n}.parquet") for n in names
    )
    maker.stage(
        expose,
        "expose",
        wild,
        samples=parents["samples"],
        verdicts=parents["verdicts"],
        output=errors,
    )
    problems = {r["problem_id"]: r for r in _rows(parents["problems"], tables.PROBLEMS)}
    attempts = {
        (r["problem_id"], r["sample_id"]): r["response"]
        for r in _rows(parents["samples"], tables.SAMPLES)
    }
    rows, index = [], {}
    for error in _rows(errors, tables.ERRORS):
        problem = problems[error["problem_id"]]
        rng = random.Random(f"{wild}|{error['problem_id']}|{error['rank']}")
        shown = attempts[error["problem_id"], error["own_sample_id"]]
        wrong = first_wrong_step(problem["meta"], shown) if "steps" in problem["meta"] else None
        step = wrong if wrong is not None and rng.random() < AIM[wild["arm"]] else rng.randrange(3)
        text = f"<script>alert(1)</script> wrong ; New: {attempt(rng, problem, 0.8, step)}"
        text = text if rng.random() > 0.05 else text.partition("New:")[0]
        number = index[error["problem_id"]] = index.get(error["problem_id"], -1) + 1
        rows.append(
            completion(
                error["problem_id"],
                number,
                f"reflect:{error['rank']}",
                text,
                "stop",
                f"{wild}|{number}|{text}",
            )
        )
    inputs = {name: parents[name] for name in ("problems", "trace_verdicts")} | {
        "errors": errors,
        "model": document,
    }
    record = maker.record("orion.stages.reflect", "reflect", inputs, **wild)
    tables.write(
        tables.from_rows(rows, tables.REFLECTIONS), reflections, tables.REFLECTIONS, record
    )
    where = {"problems": parents["problems"], "samples": reflections}
    maker.stage(check, "check_reflections", wild, **where, output=verdicts)
    return {"errors": errors, "reflections": reflections, "reflection_verdicts": verdicts}


def _train(maker: _Maker, wild: dict, parents: dict, document: Path) -> None:
    train, filters, preview, packed, stats = (
        paths.arm(maker.root, **wild, file=file)
        for file in (
            "train.parquet",
            "filters.json",
            "preview.jsonl",
            "packed/train.parquet",
            "packed/stats.json",
        )
    )
    maker.stage(
        select,
        "select",
        wild,
        arm=wild["arm"],
        **parents,
        output=train,
        filters=filters,
        preview=preview,
    )
    rows, seen, limit = [], 0, maker.config.pack.max_length
    found = tables.read(train, tables.TRAIN)
    for row in found.iter_rows(named=True):
        prompt, target = (len(text.split()) for text in (row["prompt"], row["completion"]))
        if prompt + target <= limit:
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
            seen += target
    record = maker.record("orion.stages.pack", "pack", {"train": train, "model": document}, **wild)
    tables.write(tables.from_rows(rows, tables.PACKED), packed, tables.PACKED, record)
    tokens = sum(len(row["input_ids"]) for row in rows)
    told = {
        "rows": len(rows),
        "documents": len(rows),
        "dropped_too_long": found.height - len(rows),
        "tokens": tokens,
    }
    fill = round(tokens / (len(rows) * limit), 6)
    tables.write_json(
        {**told, "trained_tokens": seen, "max_length": limit, "fill": fill}, stats, record
    )
    for seed in maker.config.runs.seeds:
        path = paths.run(maker.root, **wild, seed=seed, file="model.json")
        inputs = {"packed": packed, "model": document}
        maker.model(
            path,
            maker.record("orion.stages.train", "train", inputs, **wild, seed=str(seed)),
            "/".join(path.parts),
        )
        log = [_step(random.Random(f"{wild}|{seed}|{step}"), step, seen) for step in range(1, 13)]
        path.with_name("train_log.jsonl").write_text(
            "".join(json.dumps(line) + "\n" for line in log), encoding="utf-8"
        )


def _step(rng: random.Random, step: int, tokens: int) -> dict:
    loss = 1.2 / step**0.5 + 0.05 * rng.random()
    shown = {"loss": loss, "learning_rate": 5e-4 * (1 - step / 13), "grad_norm": 1 + rng.random()}
    return {
        "step": step,
        **shown,
        "tokens": 40 * step,
        "trained_tokens": tokens * step // 12,
        "accuracy": 1 - loss / 2,
    }


def _evaluate(maker: _Maker, wild: dict, trained: Path) -> None:
    problems = paths.benchmark(maker.root, wild["benchmark"], "problems.parquet")
    samples, verdicts, scores = (
        paths.evaluation(maker.root, **wild, file=file)
        for file in ("samples.parquet", "verdicts.parquet", "scores.json")
    )
    rows = _rows(problems, tables.PROBLEMS)
    skill = SKILL[wild["arm"]] - (0.15 if wild["benchmark"].endswith("hard") else 0)
    made = sampled(rows, f"evaluate|{wild}", maker.config.evaluate.k, skill)
    record = maker.record(
        "orion.stages.sample", "evaluate_sample", {"problems": problems, "model": trained}, **wild
    )
    tables.write(tables.from_rows(made, tables.SAMPLES), samples, tables.SAMPLES, record)
    where = {"problems": problems, "samples": samples}
    maker.stage(check, "evaluate_check", wild, **where, output=verdicts)
    maker.stage(evaluate, "evaluate", wild, **where, verdicts=verdicts, output=scores)
