"""The configuration keys that each stage reads, as the JSON string that Snakemake tracks per job.

They are the keys that can change the job's output. What only changes its speed (batch sizes,
threads, devices) is a resource of the rule and never among them.
"""

import json
from collections.abc import Callable
from typing import Any

from orion import prompts
from orion.config import arm_texts
from orion.config.arm_models import find_writer, list_used
from orion.config.arms import list_matched_arms
from orion.config.blocks import Expose, Generation, Reflect, Select
from orion.config.datasets import FileSource, ProblemSet
from orion.config.draws import shift_seed
from orion.config.judge import JUDGE
from orion.config.models import Config
from orion.config.registered import plan_keys
from orion.config.sources import DECIDED_BY_SERVER, Block, EmbeddedStudent, GgufModel
from orion.config.training import Train
from orion.config.uses import is_trained
from orion.data import files
from orion.demo.recipes import read_recipe
from orion.experiment.filters import NOT_SHORTER
from orion.provenance import canonical_json, digest_text

# blocks that no stage reads
OF_ITS_COST = ("ceiling", "prices")
# the blocks of the prompt set that make the prompt for a solution
SOLVING = ("system", "solve", "examples")


def stage_config(config: Config, stage: str, **wildcards: str) -> dict[str, Any]:
    """The keys that can change one job's output.

    ``stage`` is the name of the rule; ``wildcards`` are those of the rule (dataset, model, arm,
    seed, benchmark).
    """
    select_keys = STAGES[stage]
    return select_keys(config, **wildcards)


def params(config: Config, stage: str, **wildcards: str) -> str:
    """``stage_config`` as the canonical JSON string that Snakemake tracks."""
    return canonical_json(stage_config(config, stage, **wildcards))


def _dump(block: Block) -> dict[str, Any]:
    return block.model_dump(mode="json")


def _prompts(config: Config, *blocks: str) -> dict[str, str]:
    """The texts of these blocks of the prompt set, so that an edit reaches whom it concerns."""
    return prompts.load(config.prompts).keep(*blocks)


def _generation(
    config: Config, block: Generation, model: str, blocks: tuple[str, ...], *, student: str = ""
) -> dict[str, Any]:
    """``student``: whose draw it is, where another model writes."""
    settings = {key: value for key, value in _dump(block).items() if key != "model"}
    # what decides no completion; the rest names one in the store
    names = ("errors_per_prompt", "max_failed_fraction", "pairs")
    extra = {key: settings.pop(key) for key in names if key in settings}
    thinking = config.models[model].enable_thinking
    server = config.models[model].server
    if block.engine == "openai" and server is not None and server.request is not None:
        settings["request"] = _dump(server.request)
    settings["seed"] += shift_seed(config, student or model)
    texts = _prompts(config, *blocks)
    return {"prompts": texts, "generation": settings, "enable_thinking": thinking, **extra}


# what says something to the reader only
_FOR_READERS = ("known", "licence", "note")


def _dataset(config: Config, dataset: str) -> dict[str, Any]:
    # the teacher does not change the problems
    block = _problem_set(config.datasets[dataset])
    return {key: value for key, value in block.items() if key != "teacher"}


def _benchmark(config: Config, benchmark: str) -> dict[str, Any]:
    # what differs in its evaluations does not change the problems
    block = _problem_set(config.benchmarks[benchmark])
    return {key: value for key, value in block.items() if key != "evaluate"}


def _problem_set(block: ProblemSet) -> dict[str, Any]:
    """The block with the digests of its local files, which decide whether they have changed."""
    found = {key: value for key, value in _dump(block).items() if key not in _FOR_READERS}
    for holder in (found, found.get("traces") or {}):
        source = holder.get("source", {})
        if source.get("url"):
            # the bytes are the same wherever they are fetched from
            holder["source"] = {**source, "path": files.fetched_path(source), "url": None}
    sources = [block.source, getattr(getattr(block, "traces", None), "source", None)]
    local = [s for s in sources if isinstance(s, FileSource)]
    paths = {path for source in local for path in files.expand(source.path)}
    return {**found, "digests": {path: files.digest(path) for path in sorted(paths)} or None}


def _lint(
    config: Config, dataset: str | None = None, benchmark: str | None = None
) -> dict[str, Any]:
    block = config.datasets[dataset] if dataset else config.benchmarks[str(benchmark)]
    return {"policy": block.policy, "max_rejected_fraction": block.max_rejected_fraction}


def _student(config: Config, model: str) -> dict[str, Any]:
    return {
        key: value for key, value in _dump(config.models[model].source).items() if key != "kind"
    }


def _unpack_student(config: Config, model: str) -> dict[str, Any]:
    source = config.models[model].source
    assert isinstance(source, EmbeddedStudent), "the rule runs for models of this kind"
    # other weights of the same name are another student
    return {"student": source.student, "sha256": read_recipe(source.student)["sha256"]}


def _dequantise(config: Config, model: str) -> dict[str, Any]:
    block = config.models[model]
    assert isinstance(block.source, GgufModel), "the rule runs for models of this kind"
    return {"path": block.source.path, "sha256": block.source.sha256, "dtype": block.dtype}


def _model(config: Config, model: str) -> dict[str, Any]:
    block = _dump(config.models[model])
    # another draw is the same model
    del block["draw"]
    # address and API key change no answer, so they are resources of the rules
    alias = (block["server"] or {}).get("served_model")
    server = {"served_model": alias} if alias else None
    is_served = config.models[model].source.kind == "server"
    keys = {**block, "server": server}
    if is_served:
        return {**keys, "prompt_date": None}
    # what its checks read; false is left out, as a null is
    # preflight renders the built-in set that fits the tokenizer; `pack` checks every row of a run
    is_demo = _prompts(config, "solve") == prompts.load("demo").keep("solve")
    rows = "demo" if is_demo else "chat"
    return {**keys, "is_trained": is_trained(config, model) or None, "prompts": rows}


def _sample(config: Config, dataset: str, model: str) -> dict[str, Any]:
    is_teacher = config.datasets[dataset].teacher == model
    block = config.teacher if is_teacher and config.teacher is not None else config.sample
    return _generation(config, block, model, SOLVING)


def _check(config: Config, dataset: str, model: str) -> dict[str, Any]:
    return {"policy": config.datasets[dataset].policy, **_dump(config.check)}


def _check_traces(config: Config, dataset: str) -> dict[str, Any]:
    return {
        "policy": config.datasets[dataset].policy,
        "part": "teacher_trace",
        **_dump(config.check),
    }


def _expose(config: Config, dataset: str, model: str, arm: str) -> dict[str, Any]:
    # the oracle corrects the student's own errors
    source = config.arms[arm].error_source or "own"
    # what is falsified is checked as the student's own answers are
    check = {"policy": config.datasets[dataset].policy, **_dump(config.check)}
    block = config.arm_block("expose", arm)
    assert isinstance(block, Expose)
    form = arm_texts.find_shown_form(config, arm)
    keys = {**_dump(block), "show": None if form == "whole" else form}
    if block.selection == "random":
        keys["seed"] = (block.seed or 0) + shift_seed(config, model)
    return {
        "error_source": source,
        **keys,
        "prompts": _prompts(config, "answer") if form == "answer" else None,
        **(check if source == "sham" else {}),
    }


def _reflect(config: Config, dataset: str, model: str, arm: str) -> dict[str, Any]:
    block = config.arm_block("reflect", arm)
    select = config.arm_block("select", arm)
    assert isinstance(block, Reflect) and isinstance(select, Select)
    rewrite = (
        "all"
        if select.fallback_all_filtered == "rewrite"
        else "no_errors"
        if select.fallback_no_error == "rewrite"
        else "none"
    )
    spec, ask = config.arms[arm], arm_texts.find_prompt_block(config, arm)
    task = arm_texts.REVIEW if ask == arm_texts.REVIEW else spec.task
    arm_keys = {
        "prompt_includes": spec.prompt_includes,
        "rewrite": rewrite,
        "drop_false_traces": select.drop_false_traces,
        "task": None if task == "refine" else task,
        "writer": block.model,
    }
    # worked reflections are no examples of a text that is only shortened, or of a teacher's
    examples = () if ask in (arm_texts.SHORTEN, arm_texts.REVIEW) else ("reflect_examples",)
    blocks = ("system", ask, *examples, "prefill")
    writer = find_writer(config, arm, model)
    return {**_generation(config, block, writer, blocks, student=model), **arm_keys}


def _check_reflections(config: Config, dataset: str, model: str, arm: str) -> dict[str, Any]:
    marker = _prompts(config, "marker")
    return {**_check(config, dataset, model), "part": "refined", "prompts": marker}


def _select(config: Config, dataset: str, model: str, arm: str) -> dict[str, Any]:
    spec, reflect = config.arms[arm], config.arm_block("reflect", arm)
    assert isinstance(reflect, Reflect)
    own = {"solution": ("answer",), "reflection": ("marker", "leak")}.get(spec.trained_on, ())
    own += (arm_texts.SELF_CORRECTION,) if spec.self_correction is not None else ()
    keys = _without_defaults(config.arm_block("select", arm), ("prefer",))
    if spec.task == "shorten" and NOT_SHORTER not in keys["filters"]:
        keys["filters"] = [*keys["filters"], NOT_SHORTER]
    return {
        "prompts": _prompts(config, "solve", *own),
        "trained_on": spec.trained_on,
        **keys,
        # the rule of its own that follows
        "match": None,
        "errors_per_prompt": reflect.errors_per_prompt if spec.trained_on == "oracle" else None,
        "mix": spec.mix and _dump(spec.mix),
        "self_correction": spec.self_correction and _dump(spec.self_correction),
        "pairs": spec.pairs and _dump(spec.pairs),
    }


def _surprisal(config: Config, part: str, model: str) -> dict[str, Any]:
    marker = ("marker",) if part == "refined" else ()
    texts, thinking = _prompts(config, *SOLVING, *marker), config.models[model].enable_thinking
    return {"prompts": texts, "part": part, "enable_thinking": thinking}


def _match(config: Config, dataset: str, model: str, arm: str) -> dict[str, Any]:
    select = config.arm_block("select", arm)
    assert isinstance(select, Select) and select.match is not None, "the rule runs for these arms"
    match, others = select.match, list_matched_arms(config, arm)
    # a budget is counted in the tokens that are packed
    counted = match.tokens is not None or match.fewest_tokens
    packs = {
        name: {**_pack(config, dataset, model, name), "min_rows": None, "key_steps": None}
        for name in ([arm] if counted else []) + (others if match.fewest_tokens else [])
    }
    return {
        "match": {
            **_without_defaults(match, ("fewest_tokens",)),
            "problems": others or None,
        },
        "min_rows": select.min_rows,
        "pack": packs.pop(arm, None),
        "other_packs": packs or None,
    }


def _pack(config: Config, dataset: str, model: str, arm: str) -> dict[str, Any]:
    select, train = config.arm_block("select", arm), config.arm_block("train", arm)
    assert isinstance(select, Select) and isinstance(train, Train)
    # what stands before the question; mostly nothing
    opening = _prompts(config, "system", "examples")
    if "examples" in opening:
        opening |= _prompts(config, "solve")
    return {
        "prompts": opening or None,
        "min_rows": select.min_rows,
        **_dump(config.arm_block("pack", arm)),
        "enable_thinking": config.models[model].enable_thinking,
        "validation_fraction": train.validation_fraction,
        "key_steps": True if train.key_step_weight is not None else None,
        "pairs": config.arms[arm].trained_on == "error_pairs" or None,
    }


def _train(config: Config, dataset: str, model: str, arm: str, seed: str) -> dict[str, Any]:
    block = config.arm_block("train", arm)
    assert isinstance(block, Train)
    seeds = {"seed": int(seed) + shift_seed(config, model)}
    keys = {**_without_defaults(block, _LATER_KEYS), **seeds}
    # full fine-tuning does not read `lora`, so a change there must not rerun it
    keys["lora"] = _without_defaults(block.lora, _LATER_KEYS) if block.method == "lora" else None
    # `pack` holds the rows out
    return {**keys, "validation_fraction": None}


# of training: left out where they have their defaults, as nulls are, so that a training of before
# they existed is not repeated
_LATER_KEYS = ("optimizer", "loss", "loss_average", "keep_best", "use_rslora", "use_dora")


def _without_defaults(block: Block, names: tuple[str, ...]) -> dict[str, Any]:
    fields = type(block).model_fields
    return {
        key: value
        for key, value in _dump(block).items()
        if key not in names or value != fields[key].default
    }


def _evaluate_sample(
    config: Config, dataset: str, model: str, arm: str, seed: str, benchmark: str
) -> dict[str, Any]:
    block = config.evaluation(benchmark)
    block = block.model_copy(update={"seed": block.seed + int(seed)})
    return _generation(config, block, model, SOLVING)


def _evaluate_check(
    config: Config, dataset: str, model: str, arm: str, seed: str, benchmark: str
) -> dict[str, Any]:
    return {"policy": config.benchmarks[benchmark].policy, **_dump(config.check)}


def _evaluate_recheck(
    config: Config, dataset: str, model: str, arm: str, seed: str, benchmark: str
) -> dict[str, Any]:
    return {"policy": config.report.second_policy, **_dump(config.check)}


def _evaluate(
    config: Config, dataset: str, model: str, arm: str, seed: str, benchmark: str
) -> dict[str, Any]:
    report = config.report
    return {"benchmark": benchmark, "confidence": report.confidence, "bootstrap": report.bootstrap}


def _judge(
    config: Config, dataset: str, model: str, arm: str, against: str, benchmark: str
) -> dict[str, Any]:
    block = config.report.judge
    assert block is not None, "the rule runs with a judge"
    return {**_generation(config, block, block.model, (JUDGE,)), "writer": block.model}


def plan_digest(config: Config) -> str:
    """The digest by which jobs know the plan of their configuration in plan.json."""
    return digest_text(params(config, "plan"))


def _report(config: Config) -> dict[str, Any]:
    # all that the page checks and shows; blocks that are defined but not run are left out
    # what a run may spend changes no result
    whole = {key: value for key, value in _dump(config).items() if key not in OF_ITS_COST}
    used = {**list_used(config), "benchmarks": config.runs.benchmarks}
    for block, names in used.items():
        whole[block] = {name: value for name, value in whole[block].items() if name in names}
    for model in whole["models"].values():
        # their defaults would be refused as keys that a model of the kind server cannot have
        for key in DECIDED_BY_SERVER if model["source"]["kind"] == "server" else ():
            del model[key]
    # as a text: canonical JSON drops nulls, and here a null must not come back as its default
    return {"whole": json.dumps(whole, sort_keys=True, separators=(",", ":"))}


STAGES: dict[str, Callable[..., dict[str, Any]]] = {
    "plan": plan_keys,
    "fetch": lambda config, source: {"sha256": config.sources[source].sha256},
    "dataset": _dataset,
    "benchmark": _benchmark,
    "lint": _lint,
    "student": _student,
    "unpack_student": _unpack_student,
    "dequantise": _dequantise,
    "model": _model,
    "sample": _sample,
    "check": _check,
    "trace": lambda config, dataset: {"teacher": config.datasets[dataset].teacher},
    "check_traces": _check_traces,
    "expose": _expose,
    "reflect": _reflect,
    "check_reflections": _check_reflections,
    "sample_surprisal": lambda config, dataset, model: _surprisal(config, "response", model),
    "reflection_surprisal": lambda config, dataset, model, arm: _surprisal(
        config, "refined", model
    ),
    "select": _select,
    "match": _match,
    "pack": _pack,
    # the packed rows and the student decide everything
    "surprise": lambda config, dataset, model, arm: {},
    "train": _train,
    "evaluate_sample": _evaluate_sample,
    "evaluate_check": _evaluate_check,
    "evaluate_recheck": _evaluate_recheck,
    "evaluate": _evaluate,
    "judge": _judge,
    "report": _report,
}
