"""Pydantic models of config.yaml: every key, its type, its range and its default, each in one place.

Input: a mapping read from YAML (by Snakemake or by ``load``). Output: a validated ``Config``; unknown keys are errors.
"""

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationError, model_validator

from orion.config.files import read_mapping
from orion.config.sources import (
    Block,
    Count,
    Dataset,
    Delta,
    Fraction,
    Model,
    NonNegative,
    Positive,
    ProblemSet,
    ReadExponents,
)
from orion.errors import InputError
from orion.experiment.filters import (
    COPY_FRACTION,
    COPY_NGRAM,
    FILTERS,
    LOOP_NGRAM,
    LOOP_REPEATS,
)

WILDCARD = r"[A-Za-z0-9][A-Za-z0-9_.+-]*"


def _known_filter(name: str) -> str:
    if name not in FILTERS:
        raise ValueError(f"unknown filter; the filters are: {', '.join(FILTERS)}")
    return name


FilterName = Annotated[
    str, AfterValidator(_known_filter), Field(json_schema_extra={"enum": list(FILTERS)})
]
FallbackPolicy = Literal["teacher", "rewrite", "own_correct", "drop"]


class Generation(Block):
    """Sampling parameters; together with the model and the prompt they name a completion."""

    num_samples: Count = Field(description="completions per prompt")
    temperature: NonNegative = Field(description="0 is greedy decoding")
    top_p: Annotated[float, Field(gt=0, le=1), ReadExponents] = 1.0
    repetition_penalty: Positive = 1.0
    max_tokens: Count = Field(description="new tokens per completion, its end token included")
    seed: int = 0
    engine: Literal["transformers", "vllm", "openai"] = Field(
        "transformers", description="which engine generates"
    )


class Check(Block):
    timeout_s: Positive = Field(5.0, description="seconds one hard comparison may take")


class Expose(Block):
    max_errors: Count = Field(2, description="wrong samples kept per problem")
    selection: Literal["first", "distinct"] = Field(
        "distinct", description="distinct: wrong answers that differ first"
    )


class Reflect(Generation):
    errors_per_prompt: Count = Field(
        1, description="wrong attempts shown in one prompt; further errors open further prompts"
    )


class Select(Block):
    filters: list[FilterName] = Field(description="filters applied to reflections, in this order")
    max_per_problem: Count = Field(
        2, description="training rows per problem at most, for every arm"
    )
    max_tokens: Count | None = Field(
        None, description="too_long: completion tokens; null: no limit"
    )
    copy_ngram: Count = Field(
        COPY_NGRAM,
        description="words of an n-gram that counts as copied from the teacher's trace",
    )
    copy_fraction: Fraction = Field(
        COPY_FRACTION,
        description="copy: largest part of the text that may be copied n-grams",
    )
    loop_ngram: Count = Field(
        LOOP_NGRAM, description="loop: words of an n-gram that must not repeat"
    )
    loop_repeats: Annotated[int, Field(ge=2)] = Field(
        LOOP_REPEATS, description="loop: occurrences of one n-gram that make a loop"
    )
    fallback_no_error: FallbackPolicy = Field(
        "own_correct", description="what a problem without a wrong sample trains on"
    )
    fallback_all_filtered: FallbackPolicy = Field(
        "drop", description="what a problem without a surviving reflection trains on"
    )


class Pack(Block):
    max_length: Count = Field(
        description="tokens of a packed sequence; longer rows are dropped and counted"
    )


class Lora(Block):
    r: Count = 16
    alpha: Count = 16
    dropout: Fraction = 0.05
    target_modules: str | list[str] = "all-linear"
    merge_adapter: bool = Field(
        True, description="into the weights before saving; false keeps the adapter beside its base"
    )


class Train(Block):
    method: Literal["full", "lora"] = "full"
    lora: Lora = Lora()
    learning_rate: Positive
    betas: list[Fraction] = Field([0.9, 0.999], min_length=2, max_length=2)
    weight_decay: NonNegative = 0.0
    epochs: Positive = Field(
        3.0, description="passes over the packed sequences; ignored where max_steps is set"
    )
    max_steps: Count | None = Field(None, description="optimiser steps, the same for every arm")
    batch_sequences: Count = Field(description="packed sequences an optimiser step")
    warmup_fraction: Fraction = 0.1
    schedule: Literal["linear", "cosine", "constant_with_warmup"] = "cosine"
    max_grad_norm: Positive = 1.0
    dtype: Literal["float32", "bfloat16"] = Field(
        "bfloat16", description="compute dtype; weights stay float32"
    )
    gradient_checkpointing: bool = False


class Arm(Block):
    trained_on: Literal["nothing", "solution", "teacher_trace", "own_correct", "reflection"]
    error_source: Literal["own", "other_problem"] | None = Field(
        None, description="whose wrong attempts are exposed"
    )
    prompt_includes: list[Literal["teacher", "errors"]] = Field(
        default_factory=list, description="what the reflection prompt shows beside the problem"
    )
    # deltas to the stage blocks of the same name; validated after merging
    expose: Delta = Field(default_factory=dict)
    reflect: Delta = Field(default_factory=dict)
    select: Delta = Field(default_factory=dict)
    pack: Delta = Field(default_factory=dict)
    train: Delta = Field(default_factory=dict)

    @model_validator(mode="after")
    def _reflection_needs_errors(self) -> "Arm":
        if self.trained_on == "reflection" and (
            self.error_source is None or not self.prompt_includes
        ):
            raise ValueError(
                "an arm trained on reflections needs error_source (own, other_problem) and prompt_includes"
            )
        if self.trained_on != "reflection" and (
            self.error_source is not None or self.prompt_includes
        ):
            raise ValueError("error_source and prompt_includes are for arms trained on reflections")
        return self


class Runs(Block):
    """The grid: every combination of these is run."""

    datasets: list[str] = Field(min_length=1)
    models: list[str] = Field(min_length=1)
    arms: list[str] = Field(min_length=1)
    seeds: list[Annotated[int, Field(ge=0)]] = Field(min_length=1)
    benchmarks: list[str] = Field(min_length=1)


class Comparison(Block):
    arm: str
    against: str


class Report(Block):
    title: str = "ORION"
    confidence: Annotated[float, Field(gt=0, lt=1), ReadExponents] = 0.95
    bootstrap: Count = Field(2000, description="bootstrap resamples of the problems")
    examples: Count = Field(24, description="problems shown in the browser of the report")


class Config(Block):
    runs: Runs
    comparisons: list[Comparison] = Field(description="the comparisons fixed before the run")
    prompts: Literal["chat", "demo"] = Field("chat", description="prompt set, see orion/prompts.py")
    datasets: dict[str, Dataset]
    benchmarks: dict[str, ProblemSet]
    models: dict[str, Model]
    arms: dict[str, Arm]
    sample: Generation
    teacher: Generation | None = Field(
        None, description="how the teacher is sampled, for datasets that name one"
    )
    check: Check = Check()
    expose: Expose = Expose()
    reflect: Reflect
    select: Select
    pack: Pack
    train: Train
    evaluate: Generation
    report: Report = Report()

    @model_validator(mode="after")
    def _names(self) -> "Config":
        for block in ("datasets", "benchmarks", "models", "arms"):
            known = getattr(self, block)
            for name in known:
                if not re.fullmatch(WILDCARD, name):
                    raise ValueError(
                        f"{block}.{name}: names are letters, digits and _.+-, and begin with a letter or digit"
                    )
            unknown = sorted(set(getattr(self.runs, block)) - set(known))
            if unknown:
                raise ValueError(
                    f"runs.{block} names {', '.join(unknown)}, not defined under {block}"
                )
        for block in ("datasets", "benchmarks", "models", "arms", "seeds"):
            names = getattr(self.runs, block)
            repeated = sorted({str(name) for name in names if names.count(name) > 1})
            if repeated:
                raise ValueError(f"runs.{block} contains duplicates: {', '.join(repeated)}")
        missing = {c.arm for c in self.comparisons} | {c.against for c in self.comparisons}
        if missing - set(self.arms):
            raise ValueError(
                f"comparisons name unknown arms: {', '.join(sorted(missing - set(self.arms)))}"
            )
        return self

    @model_validator(mode="after")
    def _comparisons_compare(self) -> "Config":
        same = [c.arm for c in self.comparisons if c.arm == c.against]
        if same:
            raise ValueError(f"comparisons: {same[0]} is compared with itself")
        return self

    @model_validator(mode="after")
    def _arm_deltas(self) -> "Config":
        for name in self.arms:
            for stage in ("expose", "reflect", "select", "pack", "train"):
                try:
                    self.of_arm(stage, name)
                except ValidationError as error:
                    raise ValueError(f"arms.{name}.{stage}: {_explain(error)}") from None
        return self

    @model_validator(mode="after")
    def _teachers(self) -> "Config":
        for name, dataset in self.datasets.items():
            teacher = dataset.teacher
            if teacher is None:
                continue
            where = f"datasets.{name}.teacher"
            if teacher not in self.models:
                raise ValueError(f"{where}: {teacher} is not defined under models")
            if dataset.traces is not None or dataset.fields.teacher_trace is not None:
                raise ValueError(
                    f"{where}: the dataset has traces already (traces or fields.teacher_trace); drop one"
                )
            if teacher in self.runs.models:
                raise ValueError(
                    f"{where}: {teacher} is a student too (runs.models); define the teacher under another name"
                )
            if self.teacher is None:
                raise ValueError(
                    f"{where}: the block teacher (num_samples, temperature, max_tokens, engine) is missing"
                )
            self._can_ask(teacher, "teacher", self.teacher)
        return self

    @model_validator(mode="after")
    def _engines_fit(self) -> "Config":
        for name in self.runs.models:
            self._engine_fits(name, self.models[name])
        return self

    @model_validator(mode="after")
    def _served_models_differ(self) -> "Config":
        """Completions of a served model are named by its name and revision: two servers' must not be taken for one's."""
        places: dict[tuple, tuple[str, str]] = {}
        for name, model in self.models.items():
            if model.source.kind != "server" or model.server is None:
                continue
            url = model.server.base_url.rstrip("/")
            other, at = places.setdefault((model.source.model, model.source.revision), (name, url))
            if at != url:
                raise ValueError(
                    f"models.{name}.source: {model.source.model} is models.{other} too, on another server; their completions "
                    "would be stored as one model's: give each a `revision` that says which it is"
                )
        return self

    def _engine_fits(self, name: str, model: Model) -> None:
        """A model that is only served is neither trained nor sampled otherwise, and a server has untrained models only."""
        trained = [arm for arm in self.runs.arms if self.arms[arm].trained_on != "nothing"]
        served_only = model.source.kind == "server"
        if served_only and trained:
            raise ValueError(
                f"models.{name}.source: a model of the kind server cannot be trained, and runs.arms names {trained[0]}; "
                "give it arms trained on nothing, in a run of its own, or a checkpoint as its source"
            )
        asking = {"sample": self.sample, "evaluate": self.evaluate}
        for arm in trained:
            if self.arms[arm].trained_on == "reflection":
                asking[f"arms.{arm}: reflect"] = self.of_arm("reflect", arm)  # type: ignore[assignment]
        for stage, block in asking.items():
            self._can_ask(name, stage, block)
        if self.evaluate.engine == "openai" and trained:
            raise ValueError(
                f"evaluate.engine: openai would ask the server of models.{name}, which has the untrained model, in the "
                f"place of arm {trained[0]}; set transformers or vllm"
            )

    def _can_ask(self, name: str, stage: str, block: Generation) -> None:
        model = self.models[name]
        if model.source.kind == "server" and block.engine != "openai":
            raise ValueError(
                f"{stage}.engine: {block.engine} cannot sample models.{name}, which is only served; set openai"
            )
        if block.engine == "openai" and model.server is None:
            raise ValueError(f"models.{name}.server: required, since {stage}.engine is openai")

    def of_arm(self, stage: str, arm: str) -> Block:
        """A stage's block with the arm's own deltas merged in."""
        block = getattr(self, stage)
        return type(block).model_validate(
            _merge(block.model_dump(), getattr(self.arms[arm], stage))
        )


def _merge(base: dict, delta: dict) -> dict:
    merged = dict(base)
    for key, value in delta.items():
        nested = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if nested else value
    return merged


def _explain(error: ValidationError) -> str:
    lines = []
    for item in error.errors():
        place = ".".join(str(part) for part in item["loc"]) or "configuration"
        hint = (
            "unknown key; config/README.md lists the keys"
            if item["type"] == "extra_forbidden"
            else item["msg"]
        )
        lines.append(f"{place}: {hint}")
    return "; ".join(lines)


def validate(raw: dict, origin: str = "the configuration") -> Config:
    """A validated configuration; raises InputError naming each bad key and what it should be."""
    try:
        return Config.model_validate(raw)
    except ValidationError as error:
        raise InputError(f"{origin} is not valid: {_explain(error)}") from None


def load(*paths: str | Path) -> Config:
    """Read and validate YAML files, later ones merged over earlier ones as ``snakemake --configfile`` does."""
    raw: dict = {}
    for path in paths:
        raw = _merge(raw, read_mapping(path))
    return validate(raw, " + ".join(str(p) for p in paths))
