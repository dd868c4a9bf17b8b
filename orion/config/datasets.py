"""Pydantic models of the blocks ``datasets`` and ``benchmarks`` in config.yaml.

``orion.config.models`` builds the whole configuration from them. Unknown keys are errors.
"""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from orion.config.sources import Block, Count, Fraction, PolicyName
from orion.data.files import find_format

Format = Literal["jsonl", "json", "csv", "parquet", "arrow"]
Value = str | int | float | bool


def _check_pattern(pattern: str) -> str:
    """A pattern of RE2, whose time is linear in the text: no look-around, no back references."""
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"{pattern!r} is not a pattern ({error})") from None
    if re.search(r"\(\?(=|!|<=|<!|P=)|(?<!\\)\\[1-9]", pattern):
        raise ValueError(f"{pattern!r}: patterns have no look-around and no back references (RE2)")
    return pattern


Pattern = Annotated[str, AfterValidator(_check_pattern)]


class DemoProblems(Block):
    kind: Literal["demo"]
    level: Literal["train", "test", "hard", "easy"] = Field(
        description="level of the procedural problem family, see orion/demo/problems.py"
    )
    n: Count = Field(description="number of problems")
    seed: int = Field(description="seed of the generator")


class FileSource(Block):
    kind: Literal["file", "jsonl", "parquet"]
    path: str = Field(
        min_length=1,
        description="a file, a folder or a glob, relative to the working directory: .jsonl, .json, "
        ".csv, .tsv, .parquet, .arrow, each also .gz, .zst, .bz2 or .xz",
    )
    format: Format | None = Field(None, description="where the name does not say it")


class UrlSource(Block):
    kind: Literal["url"]
    url: str = Field(pattern=r"^https?://[^\s]+$", description="where the file is fetched from")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="the digest of the file's bytes")
    format: Format | None = Field(None, description="where the address does not say it")

    @model_validator(mode="after")
    def _check_format(self) -> "UrlSource":
        if self.format is None and find_format(self.url.split("?")[0].split("#")[0]) is None:
            raise ValueError(f"format: the address {self.url} does not say it; set it")
        return self


class HubDataset(Block):
    kind: Literal["huggingface"]
    repo: str = Field(description="dataset id on the hub")
    revision: str = Field(
        pattern=r"^[0-9a-f]{40}$", description="full commit hash; branches and tags move"
    )
    split: str = "train"
    name: str | None = Field(None, description="configuration name of the dataset")


ProblemSource = Annotated[
    DemoProblems | FileSource | UrlSource | HubDataset, Field(discriminator="kind")
]
FileOrHub = Annotated[FileSource | UrlSource | HubDataset, Field(discriminator="kind")]


class FieldRules(Block):
    """A place in the source's row and the rules that make a field of its text."""

    model_config = ConfigDict(serialize_by_alias=True, validate_by_alias=True)

    origin: str | list[str] = Field(
        alias="from", description="a column, a path, a template; for traces also a list of them"
    )
    remove: list[str] = Field(default_factory=list, description="texts to remove")
    remove_patterns: list[Pattern] = Field(
        default_factory=list, description="patterns (RE2) to remove"
    )
    replace: list[Annotated[list[str], Field(min_length=2, max_length=2)]] = Field(
        default_factory=list, description="pairs of a text and what replaces it, in order"
    )
    after: str | None = Field(None, min_length=1, description="keep what follows its last place")
    before: str | None = Field(
        None, min_length=1, description="keep what precedes its first place; all without one"
    )
    extract: Literal["hashes", "boxed"] | None = Field(
        None, description="hashes: the answer behind the last ####; boxed: the last \\boxed{}"
    )

    @model_validator(mode="after")
    def _check_cuts(self) -> "FieldRules":
        if self.extract is not None and self.after is not None:
            raise ValueError("extract finds its own place in the text; drop after")
        return self


FieldSpec = str | FieldRules


class Fields(Block):
    """The place in the source for each column of the table problems; null: there is none."""

    problem_id: FieldSpec | None = Field(
        "id", description="unique name of a problem; null numbers the rows"
    )
    problem: FieldSpec = "problem"
    answer: FieldSpec = "answer"
    solution: FieldSpec | None = Field(
        None, description="reference solution, for the arm sft_answer"
    )
    teacher_trace: FieldSpec | list[str] | None = Field(
        None, description="the teacher's long chain of thought; a list, or a path to one: several"
    )
    trace_source: str | None = Field(None, description="what names the origin of each trace")
    cluster: FieldSpec | None = Field(
        None,
        description="what problems that are variants of one another have in common, such as the "
        "name of their template; null: every problem is its own",
    )

    levels: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")], str] | None = Field(
        None,
        description="name → place of a level or of a list of tags, by which the report groups the "
        "problems of a benchmark",
    )

    @model_validator(mode="after")
    def _check_levels(self) -> "Fields":
        taken = sorted({"cluster", "source_row", "suspect_label"} & {*(self.levels or {})})
        if taken:
            raise ValueError(f"levels: the name {taken[0]} is taken; choose another one")
        return self

    @model_validator(mode="after")
    def _check_lists(self) -> "Fields":
        for name in ("problem_id", "problem", "answer", "solution", "cluster"):
            spec = getattr(self, name)
            if isinstance(spec, FieldRules) and isinstance(spec.origin, list):
                raise ValueError(f"{name}.from: a list is for teacher_trace only; name one place")
        if self.trace_source is not None and self.teacher_trace is None:
            raise ValueError("trace_source: there is no teacher_trace; map that too or drop it")
        return self


class Condition(Block):
    """What a value must meet; all keys that are given."""

    model_config = ConfigDict(serialize_by_alias=True, validate_by_alias=True)

    differs: Value | None = Field(None, alias="not", description="it is not this")
    among: list[Value] | None = Field(None, alias="in", description="it is one of these")
    not_in: list[Value] | None = Field(None, description="it is none of these")
    at_least: float | int | None = None
    at_most: float | int | None = None
    matches: Pattern | None = Field(None, description="the pattern (RE2) is found in it")

    @model_validator(mode="after")
    def _check_any(self) -> "Condition":
        if not self.model_fields_set:
            raise ValueError("a condition needs one of not, in, not_in, at_least, at_most, matches")
        return self


Where = dict[str, Value | list[Value] | Condition]


class Traces(Block):
    """Teacher traces kept in another file than the problems."""

    source: FileOrHub
    join_on: Literal["problem_id", "problem"] = "problem"
    key: FieldSpec = Field("problem", description="place in the traces' row that is joined on")
    teacher_trace: FieldSpec | list[str] = Field(
        "response", description="place that holds the trace, or several"
    )
    trace_source: str | None = Field(None, description="what names the origin of each trace")
    where: Where = Field(default_factory=dict, description="use only rows that meet these")


def _require_source_or_known(schema: dict[str, Any]) -> None:
    """A file may name a known set, whose source the loader fills in before it validates."""
    schema["required"] = [key for key in schema["required"] if key != "source"]
    named = {"properties": {"known": {"type": "string"}}, "required": ["known"]}
    schema["anyOf"] = [{"required": ["source"]}, named]


class ProblemSet(Block):
    model_config = ConfigDict(json_schema_extra=_require_source_or_known)

    known: str | None = Field(
        None, description="a word of config/datasets.yaml; the keys here change its block"
    )
    source: ProblemSource
    fields: Fields = Fields()
    where: Where = Field(default_factory=dict, description="use only rows that meet these")
    limit: Count | None = Field(None, description="use the first rows only")
    policy: PolicyName = Field("math", description="answer policy of orion.answers")
    max_rejected_fraction: Fraction = Field(
        0.05, description="stop if a larger part of the rows is unusable"
    )
    suspect_labels: list[str | int] | None = Field(
        None, description="problem ids, or numbers of rows, whose gold answer is suspect"
    )
    drop_suspect_labels: bool = Field(False, description="reject the rows of suspect_labels")
    licence: str | None = Field(None, description="of the data; for the reader, changes nothing")
    note: str | None = Field(None, description="for the reader, changes nothing")

    @model_validator(mode="after")
    def _check_suspects(self) -> "ProblemSet":
        if self.drop_suspect_labels and not self.suspect_labels:
            raise ValueError("drop_suspect_labels: there are no suspect_labels to drop")
        return self


class Dataset(ProblemSet):
    traces: Traces | None = None
    teacher: str | None = Field(
        None,
        description="model whose own correct samples become the traces, where no file has them",
    )
    decontaminate_ngram: Count | None = Field(
        13,
        description="drop problems that share this many consecutive words with a benchmark "
        "problem; null: equal texts only",
    )

    @property
    def has_traces(self) -> bool:
        """Whether teacher traces come from a file or from a sampled teacher."""
        return bool(self.traces or self.fields.teacher_trace or self.teacher)


class BenchmarkGeneration(Block):
    """What differs for one benchmark from the block ``evaluate``."""

    num_samples: Count | None = Field(None, description="completions per problem")
    max_tokens: Count | None = Field(None, description="new tokens per completion")


class Benchmark(ProblemSet):
    evaluate: BenchmarkGeneration = Field(
        BenchmarkGeneration(), description="what differs here from the block evaluate"
    )


def url_sources(block: ProblemSet) -> list[UrlSource]:
    """The sources of a block that are fetched by address."""
    traces: Any = getattr(block, "traces", None)
    found = [block.source, getattr(traces, "source", None)]
    return [source for source in found if isinstance(source, UrlSource)]
