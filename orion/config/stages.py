"""Which configuration keys reach which stage: the one JSON string that Snakemake tracks for each job.

Input: a validated ``Config`` and a rule's wildcards. Output: the keys that can change that job's output, and nothing
that only changes its speed (batch sizes, threads and devices are resources of the rules).
"""

import json
from collections.abc import Callable
from pathlib import Path

from orion import paths
from orion.config.models import Config, Generation, Reflect, Select
from orion.config.sources import Block, FileSource, LocalModel, Model, ProblemSet
from orion.provenance import canonical_json


def stage_config(config: Config, stage: str, **wildcards: str) -> dict:
    """The keys that can change one job's output; nothing that only changes speed.

    ``stage`` names the rule, ``wildcards`` are the rule's (dataset, model, arm, seed, benchmark).
    """
    build = STAGES[stage]
    return build(config, **wildcards)


def params(config: Config, stage: str, **wildcards: str) -> str:
    """``stage_config`` as the one canonical JSON string that Snakemake tracks."""
    return canonical_json(stage_config(config, stage, **wildcards))


def _dump(block: Block) -> dict:
    return block.model_dump(mode="json")


def _generation(config: Config, block: Generation, model: str) -> dict:
    settings = _dump(block)
    extra = {key: settings.pop(key) for key in ("errors_per_prompt",) if key in settings}
    thinking = config.models[model].enable_thinking
    return {"prompts": config.prompts, "generation": settings, "enable_thinking": thinking, **extra}


def _dataset(config: Config, dataset: str) -> dict:
    # the teacher does not change the problems
    return {
        key: value for key, value in _dump(config.datasets[dataset]).items() if key != "teacher"
    }


def _benchmark(config: Config, benchmark: str) -> dict:
    return _dump(config.benchmarks[benchmark])


def _lint(config: Config, dataset: str | None = None, benchmark: str | None = None) -> dict:
    block = config.datasets[dataset] if dataset else config.benchmarks[str(benchmark)]
    return {"policy": block.policy, "max_rejected_fraction": block.max_rejected_fraction}


def _student(config: Config, model: str) -> dict:
    return {
        key: value for key, value in _dump(config.models[model].source).items() if key != "kind"
    }


def _model(config: Config, model: str) -> dict:
    block = _dump(config.models[model])
    # a server that moves, or wants another key, answers as before: where it is, the rules' resources say
    alias = (block["server"] or {}).get("served_model")
    return {**block, "server": {"served_model": alias} if alias else None}


def _sample(config: Config, dataset: str, model: str) -> dict:
    taught = config.datasets[dataset].teacher == model
    block = config.teacher if taught and config.teacher is not None else config.sample
    return _generation(config, block, model)


def _trace(config: Config, dataset: str) -> dict:
    return {"teacher": config.datasets[dataset].teacher}


def _check(config: Config, dataset: str, model: str) -> dict:
    return {"policy": config.datasets[dataset].policy, **_dump(config.check)}


def _check_traces(config: Config, dataset: str) -> dict:
    return {
        "policy": config.datasets[dataset].policy,
        "part": "teacher_trace",
        **_dump(config.check),
    }


def _expose(config: Config, dataset: str, model: str, arm: str) -> dict:
    return {"error_source": config.arms[arm].error_source, **_dump(config.of_arm("expose", arm))}


def _reflect(config: Config, dataset: str, model: str, arm: str) -> dict:
    block = config.of_arm("reflect", arm)
    select = config.of_arm("select", arm)
    assert isinstance(block, Reflect) and isinstance(select, Select)
    rewrite = (
        "all"
        if select.fallback_all_filtered == "rewrite"
        else "no_errors"
        if select.fallback_no_error == "rewrite"
        else "none"
    )
    arm_keys = {
        "prompt_includes": config.arms[arm].prompt_includes,
        "rewrite": rewrite,
    }
    return {**_generation(config, block, model), **arm_keys}


def _check_reflections(config: Config, dataset: str, model: str, arm: str) -> dict:
    return {**_check(config, dataset, model), "part": "refined", "prompts": config.prompts}


def _select(config: Config, dataset: str, model: str, arm: str) -> dict:
    spec = config.arms[arm]
    return {
        "prompts": config.prompts,
        "trained_on": spec.trained_on,
        **_dump(config.of_arm("select", arm)),
    }


def _pack(config: Config, dataset: str, model: str, arm: str) -> dict:
    return {
        **_dump(config.of_arm("pack", arm)),
        "enable_thinking": config.models[model].enable_thinking,
    }


def _train(config: Config, dataset: str, model: str, arm: str, seed: str) -> dict:
    block = {**_dump(config.of_arm("train", arm)), "seed": int(seed)}
    # what full fine-tuning does not read must not run it again
    return {
        key: value for key, value in block.items() if key != "lora" or block["method"] == "lora"
    }


def _evaluate_sample(
    config: Config, dataset: str, model: str, arm: str, seed: str, benchmark: str
) -> dict:
    block = config.evaluate.model_copy(update={"seed": config.evaluate.seed + int(seed)})
    return _generation(config, block, model)


def _evaluate_check(
    config: Config, dataset: str, model: str, arm: str, seed: str, benchmark: str
) -> dict:
    return {"policy": config.benchmarks[benchmark].policy, **_dump(config.check)}


def _evaluate(
    config: Config, dataset: str, model: str, arm: str, seed: str, benchmark: str
) -> dict:
    report = config.report
    return {"benchmark": benchmark, "confidence": report.confidence, "bootstrap": report.bootstrap}


def _report(config: Config) -> dict:
    # all that the page checks and shows; what is defined but not run is left out
    whole = _dump(config)
    used = {block: set(whole["runs"][block]) for block in ("datasets", "benchmarks", "models")}
    used["models"] |= {config.datasets[name].teacher for name in used["datasets"]}
    for block, names in used.items():
        whole[block] = {name: value for name, value in whole[block].items() if name in names}
    # as a text, because canonical JSON drops nulls and here a null must not come back as its default
    return {"whole": json.dumps(whole, sort_keys=True, separators=(",", ":"))}


STAGES: dict[str, Callable[..., dict]] = {
    "dataset": _dataset,
    "benchmark": _benchmark,
    "lint": _lint,
    "student": _student,
    "model": _model,
    "sample": _sample,
    "check": _check,
    "trace": _trace,
    "check_traces": _check_traces,
    "expose": _expose,
    "reflect": _reflect,
    "check_reflections": _check_reflections,
    "select": _select,
    "pack": _pack,
    "train": _train,
    "evaluate_sample": _evaluate_sample,
    "evaluate_check": _evaluate_check,
    "evaluate": _evaluate,
    "report": _report,
}


def checkpoint_files(model: Model) -> list[str]:
    """Files of a local checkpoint folder that decide what it answers: they are inputs of its rule."""
    if not isinstance(model.source, LocalModel):
        return []
    patterns = (
        paths.WEIGHT_FILES,
        *paths.CONFIG_FILES,
        *paths.TOKENIZER_FILES,
        paths.CODE_FILES,
    )
    found = {path for pattern in patterns for path in Path(model.source.path).glob(pattern)}
    return sorted(path.as_posix() for path in found)


def local_files(block: ProblemSet) -> list[str]:
    """Paths of the local files a dataset or benchmark is read from: they are inputs of its rule."""
    sources = [block.source, getattr(getattr(block, "traces", None), "source", None)]
    return [source.path for source in sources if isinstance(source, FileSource)]
