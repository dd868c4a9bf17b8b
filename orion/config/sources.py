"""Pydantic models of the block ``models`` in config.yaml, and the types that all blocks share.

``orion.config.models`` builds the whole configuration from them. Unknown keys are errors.
"""

import datetime
import math
import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from orion.answers.policies import POLICIES
from orion.config.base import Block
from orion.config.servers import Server
from orion.demo.recipes import list_students

# a float of YAML 1.2 with an exponent
EXPONENT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+")


def read_exponents(value: Any) -> Any:
    """The number that a text such as 5e-5 means, also inside mappings and lists; else ``value``.

    YAML 1.1, which Snakemake and PyYAML read, takes 5e-5 for a text, because it has no decimal
    point (and 1.0e5 too, because its exponent has no sign); YAML 1.2 reads both as numbers.
    """
    if isinstance(value, dict):
        return {key: read_exponents(each) for key, each in value.items()}
    if isinstance(value, list):
        return [read_exponents(each) for each in value]
    if isinstance(value, str) and EXPONENT.fullmatch(value) and math.isfinite(float(value)):
        return float(value)
    return value


# the last item of every Annotated: a range behind it would be missing in the JSON schema
ReadExponents = BeforeValidator(read_exponents)
Fraction = Annotated[float, Field(ge=0, le=1), ReadExponents]
Positive = Annotated[float, Field(gt=0), ReadExponents]
NonNegative = Annotated[float, Field(ge=0), ReadExponents]
# an arm's changes to a stage block; validated after they are merged into it
Delta = Annotated[dict[str, Any], ReadExponents]
Count = Annotated[int, Field(ge=1)]


def _check_policy_name(name: str) -> str:
    if name not in POLICIES:
        raise ValueError(f"unknown answer policy; the policies are: {', '.join(sorted(POLICIES))}")
    return name


PolicyName = Annotated[
    str, AfterValidator(_check_policy_name), Field(json_schema_extra={"enum": sorted(POLICIES)})
]


class DemoStudent(Block):
    kind: Literal["demo"]
    seed: int = Field(1, description="seed of the initial weights and of the pre-training data")
    plain: Count | None = Field(
        None, description="plain pre-training examples; null: the recipe's number"
    )
    reflections: Count | None = Field(
        None, description="reflection examples; null: the recipe's number"
    )
    drills: Count | None = Field(None, description="comparison drills; null: the recipe's number")
    columns: Count | None = Field(
        None,
        description="refined chains with one step by columns and no trace to copy it from, every "
        "second one with the starved skill; null: none",
    )
    starved: Literal["borrow", "carry", "product"] | None = Field(
        None, description="the skill that it never computes in short form in pre-training, if any"
    )
    teacher_weight: Fraction | None = Field(
        None,
        description="loss weight of the tokens of the teacher's traces in pre-training, 0: it "
        "never learned to write them; null: the recipe's",
    )
    foreign_attempts: Fraction | None = Field(
        None,
        description="the share of the reflections on an attempt whose attempt belongs to another "
        "problem; null: none",
    )


def _check_student(name: str) -> str:
    if name not in list_students():
        raise ValueError(f"no such student; the package has: {', '.join(list_students())}")
    return name


class EmbeddedStudent(Block):
    kind: Literal["embedded"]
    student: Annotated[str, AfterValidator(_check_student)] = Field(
        description="a student that comes with the package"
    )


def read_date(value: Any) -> Any:
    """A date as text, YYYY-MM-DD; YAML reads an unquoted one as a date. Raises ValueError."""
    text = value.isoformat() if isinstance(value, datetime.date) else value
    if not isinstance(text, str) or not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
        raise ValueError(f"{text} is not a date such as 2025-01-31")
    datetime.date.fromisoformat(text)
    return text


class HubModel(Block):
    kind: Literal["huggingface"]
    repo: str
    revision: str = Field(
        pattern=r"^[0-9a-f]{40}$", description="full commit hash; branches and tags move"
    )


class LocalBase(Block):
    kind: Literal["path"]
    path: str = Field(description="a checkpoint folder, relative to the working directory")


class LocalModel(Block):
    kind: Literal["path"]
    path: str = Field(
        description="a checkpoint folder (safetensors, tokenizer) or the folder of a LoRA adapter, "
        "relative to the working directory"
    )
    base: Annotated[HubModel | LocalBase, Field(discriminator="kind")] | None = Field(
        None, description="of an adapter: the checkpoint that it belongs to"
    )


class GgufModel(Block):
    kind: Literal["gguf"]
    path: str = Field(description="a GGUF file, relative to the working directory")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="of the file; checked first")


class ArmModel(Block):
    kind: Literal["arm"]
    dataset: str = Field(description="the training set of the arm")
    model: str = Field(description="the model that the arm trains; its keys hold here too")
    arm: str
    seed: int = Field(ge=0)


class OtherModel(Block):
    kind: Literal["model"]
    model: str = Field(description="the entry of models whose checkpoint and keys these are")


class ServedModel(Block):
    kind: Literal["server"]
    model: str = Field(min_length=1, description="the name that the server knows the model by")
    revision: str | None = Field(
        None,
        description="any text that names the model's state; a new one generates everything again",
    )


# what a model of the kind server has on its server and not in the configuration
DECIDED_BY_SERVER = ("chat_template", "dtype", "prompt_date", "trust_remote_code")


class Model(Block):
    source: Annotated[
        ArmModel
        | DemoStudent
        | EmbeddedStudent
        | GgufModel
        | HubModel
        | LocalModel
        | OtherModel
        | ServedModel,
        Field(discriminator="kind"),
    ]
    chat_template: str | None = Field(
        None, description="a jinja file that replaces or supplies the chat template"
    )
    enable_thinking: bool | None = Field(
        None, description="passed to chat templates that have a thinking switch"
    )
    prompt_date: Annotated[str, BeforeValidator(read_date)] = Field(
        "2025-01-01",
        description="the date, YYYY-MM-DD, that chat templates print which print today's",
    )
    context_length: Count | None = Field(
        None, description="tokens; null: the checkpoint's own; required of the kind server"
    )
    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    trust_remote_code: bool = False
    server: Server | None = Field(None, description="the server that the engine openai asks")
    draw: Annotated[int, Field(ge=0, le=9_999)] = Field(
        0, description="number of the draw: other seeds for all that is drawn for this entry"
    )

    @model_validator(mode="after")
    def _check_served_source(self) -> "Model":
        if self.source.kind != "server":
            return self
        absent = [key for key in ("server", "context_length") if getattr(self, key) is None]
        if absent:
            raise ValueError(
                f"{' and '.join(absent)}: required of a model whose source is of the kind server"
            )
        if self.server is not None and self.server.served_model is not None:
            raise ValueError(
                "server.served_model: source.model is the name of a model of the kind server; "
                "remove it"
            )
        ignored = sorted(set(DECIDED_BY_SERVER) & self.model_fields_set)
        if ignored:
            raise ValueError(
                f"{', '.join(ignored)}: the server decides this for a model of the kind server; "
                "remove it"
            )
        return self
