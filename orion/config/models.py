"""Pydantic model of config.yaml: the grid and the checks across blocks.

The stages' blocks are in ``orion.config.blocks``; ``datasets`` and ``benchmarks`` in
``orion.config.datasets``, ``models`` in ``orion.config.sources``. Unknown keys are errors.
"""

import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PrivateAttr,
    ValidationError,
    model_validator,
)

from orion import prompts
from orion.config import arm_models, arms, ceiling, comparisons, draws, judge, report
from orion.config.blocks import (
    Arm,
    Check,
    Expose,
    Generation,
    Pack,
    Reflect,
    Select,
)
from orion.config.ceiling import Ceiling, Prices
from orion.config.comparisons import Comparison
from orion.config.datasets import Benchmark, Dataset, UrlSource, url_sources
from orion.config.report import Report
from orion.config.servers import WITHOUT
from orion.config.sources import Block, Model
from orion.config.training import Train
from orion.data.files import fetched_path
from orion.errors import InputError

WILDCARD = r"[A-Za-z0-9][A-Za-z0-9_.+-]*"


# as a file may write it
GroupsOrNull = dict[str, list[str | list[str]] | None] | None


def _leave_out_null(groups: Any) -> Any:
    """Without the groups that are null, by which a file takes away those of the file before it."""
    if not isinstance(groups, dict):
        return groups
    return {name: group for name, group in groups.items() if group is not None} or None


class Runs(Block):
    """The grid of the run: every combination of these values."""

    datasets: list[str] = Field(min_length=1)
    models: list[str] = Field(min_length=1)
    arms: list[str] = Field(min_length=1)
    seeds: list[Annotated[int, Field(ge=0)]] = Field(min_length=1)
    benchmarks: list[str] = Field(min_length=1)
    students: Annotated[
        dict[str, list[str | list[str]]] | None,
        BeforeValidator(_leave_out_null, json_schema_input_type=GroupsOrNull),
    ] = Field(
        None,
        description="groups of students, over which a comparison may be tested: a student is an "
        "entry of models, or the list of its entries that differ in nothing but the draw; a group "
        "that is null is none",
    )


def check_prompts(name: str) -> str:
    """The name of a prompt set whose file is read and valid; raises ValueError."""
    try:
        prompts.validate(prompts.load(name), name)
    except InputError as error:
        raise ValueError(str(error)) from None
    return name


class Config(Block):
    runs: Runs
    comparisons: list[Comparison] = Field(
        description="the comparisons, registered in results/plan.json before any result"
    )
    prompts: Annotated[str, AfterValidator(check_prompts)] = Field(
        "chat",
        description="prompt set: chat, demo, or the path of a jinja file (docs/prompts.md)",
    )
    datasets: dict[str, Dataset]
    benchmarks: dict[str, Benchmark]
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
    ceiling: Ceiling | None = Field(
        None, description="what the run may spend: it stops there, and goes on with a higher one"
    )
    prices: Prices | None = Field(
        None, description="of ceiling.money, and for `orion plan` and `orion cost`"
    )
    # entry of models → the one whose checkpoint it is
    _origins: dict[str, str] = PrivateAttr(default_factory=dict)

    @model_validator(mode="after")
    def _check_names(self) -> "Config":
        for block in ("datasets", "benchmarks", "models", "arms"):
            known = getattr(self, block)
            for name in known:
                if not re.fullmatch(WILDCARD, name):
                    raise ValueError(
                        f"{block}.{name}: names are letters, digits and _.+-, "
                        "and begin with a letter or digit"
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
        return self

    @model_validator(mode="after")
    def _check_report(self) -> "Config":
        fault = report.find_fault(self)
        if fault is not None:
            raise ValueError(fault)
        return self

    @model_validator(mode="after")
    def _check_comparisons(self) -> "Config":
        fault = comparisons.find_fault(
            self.comparisons,
            arms=set(self.arms),
            run_arms=self.runs.arms,
            benchmarks=self.runs.benchmarks,
            students=len(self.runs.models),
            groups={name: len(group) for name, group in (self.runs.students or {}).items()},
        )
        if fault is not None:
            raise ValueError(fault)
        return self

    @model_validator(mode="after")
    def _check_arms(self) -> "Config":
        for name in self.arms:
            for stage in ("expose", "reflect", "select", "pack", "train"):
                try:
                    self.arm_block(stage, name)
                except ValidationError as error:
                    raise ValueError(f"arms.{name}.{stage}: {explain(error)}") from None
        return self

    @model_validator(mode="after")
    def _complete_models(self) -> "Config":
        for name in self.models:
            fault = arm_models.find_fault(self, name)
            if fault is not None:
                raise ValueError(fault)
        self._origins = {name: arm_models.find_origin(self, name) for name in self.models}
        self.models = {name: arm_models.inherit(self, name) for name in self.models}
        fault = draws.find_fault(self)
        if fault is not None:
            raise ValueError(fault)
        return self

    @model_validator(mode="after")
    def _check_teachers(self) -> "Config":
        for name, dataset in self.datasets.items():
            teacher = dataset.teacher
            if teacher is None:
                continue
            where = f"datasets.{name}.teacher"
            if teacher not in self.models:
                raise ValueError(f"{where}: {teacher} is not defined under models")
            if dataset.traces is not None or dataset.fields.teacher_trace is not None:
                raise ValueError(
                    f"{where}: the dataset has traces already (traces or fields.teacher_trace); "
                    "drop one"
                )
            if teacher in self.runs.models:
                raise ValueError(
                    f"{where}: {teacher} is a student too (runs.models); "
                    "define the teacher under another name"
                )
            if self.teacher is None:
                raise ValueError(
                    f"{where}: the block teacher (num_samples, temperature, max_tokens, engine) "
                    "is missing"
                )
            self._check_engine(teacher, "teacher", self.teacher)
        return self

    @model_validator(mode="after")
    def _check_trainings(self) -> "Config":
        fault = arms.find_fault(self)
        if fault is not None:
            raise ValueError(fault)
        return self

    @model_validator(mode="after")
    def _check_students(self) -> "Config":
        for name in self.runs.models:
            self._check_student(name, self.models[name])
        for run in arm_models.list_source_runs(self):
            for stage, block in self._generating_blocks([run.arm]).items():
                self._check_engine(run.model, stage, block)
        return self

    @model_validator(mode="after")
    def _check_writers(self) -> "Config":
        for arm in arm_models.list_used(self)["arms"]:
            reflect = self.arm_block("reflect", arm)
            assert isinstance(reflect, Reflect)
            if self.arms[arm].trained_on == "reflection" and reflect.model is not None:
                self._check_engine(reflect.model, f"arms.{arm}: reflect", reflect)
        for _, name in arm_models.list_exposures(self):
            self._check_engine(name, "sample", self.sample)
        return self

    @model_validator(mode="after")
    def _check_judge(self) -> "Config":
        fault = judge.find_fault(self)
        if fault is not None:
            raise ValueError(fault)
        if self.report.judge is not None:
            self._check_engine(self.report.judge.model, "report.judge", self.report.judge)
        return self

    @model_validator(mode="after")
    def _check_ceiling(self) -> "Config":
        fault = ceiling.find_fault(self)
        if fault is not None:
            raise ValueError(fault)
        return self

    @model_validator(mode="after")
    def _check_served_models(self) -> "Config":
        """Two servers of one model name need different revisions.

        Completions of a served model are stored under its name and revision, without the server.
        """
        places: dict[tuple[str, str | None], tuple[str, str]] = {}
        for name, model in self.models.items():
            if model.source.kind != "server" or model.server is None:
                continue
            url = model.server.base_url.rstrip("/")
            other, at = places.setdefault((model.source.model, model.source.revision), (name, url))
            if at != url:
                raise ValueError(
                    f"models.{name}.source: {model.source.model} is models.{other} too, on another "
                    "server; their completions would be stored as one model's: give each a "
                    "`revision` that says which it is"
                )
        return self

    def _check_student(self, name: str, model: Model) -> None:
        """The engines of a student's stages must have its weights, trained ones included.

        A served model can be neither trained nor sampled by another engine than openai, and a
        server has the untrained model only.
        """
        trained = [arm for arm in self.runs.arms if self.arms[arm].trained_on != "nothing"]
        served_only = model.source.kind == "server"
        if served_only and trained:
            raise ValueError(
                f"models.{name}.source: a model of the kind server cannot be trained, and "
                f"runs.arms names {trained[0]}; give it arms trained on nothing, in a run of its "
                "own, or a checkpoint as its source"
            )
        blocks = {"sample": self.sample, "evaluate": self.evaluate}
        for stage, block in (blocks | self._generating_blocks(trained)).items():
            self._check_engine(name, stage, block)
        if self.evaluate.engine == "openai" and trained:
            raise ValueError(
                f"evaluate.engine: openai would ask the server of models.{name}, which has the "
                f"untrained model, instead of arm {trained[0]}; set transformers or vllm"
            )

    def _generating_blocks(self, arms: list[str]) -> dict[str, Generation]:
        """Stage → the block by which it samples the student to make what these arms train on."""
        blocks: dict[str, Generation] = {}
        for arm in arms:
            if arm_models.needs_samples(self, arm):
                blocks["sample"] = self.sample
            reflect = self.arm_block("reflect", arm)
            assert isinstance(reflect, Reflect)
            if self.arms[arm].trained_on == "reflection" and reflect.model is None:
                blocks[f"arms.{arm}: reflect"] = reflect
        return blocks

    def _check_engine(self, name: str, stage: str, block: Generation) -> None:
        """The engine of a stage's block must be able to sample the model ``name``."""
        model = self.models[name]
        if model.source.kind == "server" and block.engine != "openai":
            raise ValueError(
                f"{stage}.engine: {block.engine} cannot sample models.{name}, "
                "which is only served; set openai"
            )
        if block.engine == "openai" and model.server is None:
            raise ValueError(f"models.{name}.server: required, since {stage}.engine is openai")
        request = model.server.request if model.server and block.engine == "openai" else None
        dropped = {*request.drop} & {*type(block).model_fields} if request else set()
        for key in sorted(dropped - {"seed"}):
            without = WITHOUT.get(key, type(block).model_fields[key].default)
            if getattr(block, key) != without:
                raise ValueError(
                    f"{stage}.{key}: {getattr(block, key)} would not reach models.{name}, since "
                    f"its server.request.drop has {key}; set {without}, the server's own"
                )

    def origin(self, model: str) -> str:
        """The entry of ``models`` whose checkpoint this one has; mostly itself."""
        return self._origins[model]

    @property
    def sources(self) -> dict[str, UrlSource]:
        """The files that are fetched, by their name in the folder of fetched files."""
        found: dict[str, UrlSource] = {}
        for block in (*self.datasets.values(), *self.benchmarks.values()):
            for source in url_sources(block):
                found.setdefault(Path(fetched_path(source.model_dump())).name, source)
        return found

    def evaluation(self, benchmark: str) -> Generation:
        """The block ``evaluate`` with the benchmark's own changes merged in."""
        own = self.benchmarks[benchmark].evaluate.model_dump(exclude_none=True)
        return self.evaluate.model_copy(update=own)

    def arm_block(self, stage: str, arm: str) -> Block:
        """A stage's block with the arm's own changes merged in, of the block's class."""
        block: Block = getattr(self, stage)
        return type(block).model_validate(merge(block.model_dump(), getattr(self.arms[arm], stage)))


def merge(base: dict[str, Any], delta: dict[str, Any]) -> dict[str, Any]:
    """The mapping with the changes of another one, key by key; lists are replaced."""
    merged = dict(base)
    for key, value in delta.items():
        nested = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = merge(merged[key], value) if nested else value
    return merged


# a block of the configuration that is not there: the file was read without the defaults
MISSING = (
    "missing. A file of your own holds what differs from config/config.yaml: give it behind that "
    "one (orion config check config/config.yaml mine.yaml, snakemake --configfile mine.yaml), and "
    "keep the config/config.yaml of a folder whole"
)


def explain(error: ValidationError) -> str:
    """Each bad key with its cure, as one line."""
    lines, missing = [], []
    for item in error.errors():
        place = ".".join(str(part) for part in item["loc"]) or "configuration"
        if item["type"] == "missing" and len(item["loc"]) == 1:
            missing.append(place)
        else:
            lines.append(f"{place}: {_find_hint(item)}")
    if missing:
        lines.append(f"{', '.join(missing)}: {MISSING}")
    return "; ".join(lines)


def _find_hint(item: Any) -> str:
    """What is wrong with one key, and the cure where pydantic does not know it."""
    kind, given = item["type"], item["input"]
    if kind == "extra_forbidden":
        return "unknown key; config/README.md lists the keys"
    if kind in ("int_type", "float_type", "bool_type") and isinstance(given, str):
        wanted = "true or false" if kind == "bool_type" else "a number"
        return (
            f"{item['msg']}, not the text '{given}': write {wanted} without quotes, in a file for "
            "--configfile, since all values after --config arrive as text"
        )
    return str(item["msg"])
