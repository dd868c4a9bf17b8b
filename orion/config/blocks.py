"""Pydantic models of the stages' blocks in config.yaml (sampling to packing) and of an arm."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from orion.config.sources import (
    Block,
    Count,
    Delta,
    Fraction,
    NonNegative,
    Positive,
    ReadExponents,
)
from orion.experiment.degenerate import MAX_FAILED_FRACTION, MIN_ROWS
from orion.experiment.filters import (
    COPY_FRACTION,
    COPY_NGRAM,
    FILTERS,
    LOOP_NGRAM,
    LOOP_REPEATS,
    check_names,
)


def _check_filter_name(name: str) -> str:
    check_names([name])
    return name


FilterName = Annotated[
    str, AfterValidator(_check_filter_name), Field(json_schema_extra={"enum": list(FILTERS)})
]
FallbackPolicy = Literal["teacher", "rewrite", "own_correct", "drop"]


Penalty = Annotated[float, Field(ge=-2, le=2), ReadExponents]
# as many as every server takes
MAX_STOP = 4


class Generation(Block):
    """Sampling parameters; a completion is stored under them, the model and the prompt."""

    num_samples: Count = Field(description="completions per prompt")
    temperature: NonNegative = Field(description="0 is greedy decoding")
    top_p: Annotated[float, Field(gt=0, le=1), ReadExponents] = 1.0
    repetition_penalty: Positive = 1.0
    top_k: Count | None = Field(None, description="draw from so many most probable tokens only")
    min_p: Annotated[float, Field(gt=0, le=1), ReadExponents] | None = Field(
        None, description="draw from tokens with at least this part of the largest probability"
    )
    presence_penalty: Penalty | None = Field(
        None, description="subtracted from the logits of tokens that were generated"
    )
    frequency_penalty: Penalty | None = Field(
        None, description="subtracted from a token's logit for each time that it was generated"
    )
    stop: list[Annotated[str, Field(min_length=1)]] | None = Field(
        None,
        min_length=1,
        max_length=MAX_STOP,
        description="a completion ends before the first of these texts",
    )
    max_tokens: Count = Field(description="new tokens per completion, its end token included")
    seed: int = 0
    engine: Literal["transformers", "vllm", "openai"] = Field(
        "transformers", description="which engine generates"
    )
    max_failed_fraction: Fraction = Field(
        MAX_FAILED_FRACTION,
        description="stop if a larger part of the rows is prompt_too_long, error or empty",
    )

    @model_validator(mode="after")
    def _check_greedy(self) -> "Generation":
        unused = [name for name in ("top_k", "min_p") if getattr(self, name) is not None]
        if self.temperature == 0 and unused:
            raise ValueError(
                f"{unused[0]} cannot apply at temperature 0, which takes the most probable token; "
                "remove it or raise the temperature"
            )
        return self


class Check(Block):
    timeout_s: Positive = Field(
        5.0,
        description="seconds one check may take, all comparisons together; the same for all steps",
    )


class Expose(Block):
    max_errors: Count = Field(2, description="wrong samples kept per problem")
    selection: Literal[
        "first", "distinct", "majority_wrong", "random", "shortest", "longest", "most_confident"
    ] = Field("distinct", description="distinct: wrong answers that differ first")
    seed: Annotated[int, Field(ge=0)] | None = Field(
        None, description="of selection: random; null: 0"
    )
    show: Literal["whole", "to_false_step", "answer"] = Field(
        "whole", description="what a prompt shows of a wrong attempt"
    )
    model: str | None = Field(
        None, description="entry of models whose wrong samples are exposed; null: the student"
    )

    @model_validator(mode="after")
    def _check_seed(self) -> "Expose":
        if self.seed is not None and self.selection != "random":
            raise ValueError(
                f"seed is for selection: random, and selection is {self.selection}; set seed: null"
            )
        return self


class Reflect(Generation):
    errors_per_prompt: Count = Field(
        1, description="wrong attempts shown in one prompt; further errors open further prompts"
    )
    model: str | None = Field(
        None, description="entry of models that writes the reflections; null: the student"
    )


class Match(Block):
    problems: list[str] | None = Field(
        None, min_length=1, description="arms: only problems of which each has a training row"
    )
    rows: bool = Field(False, description="as many rows of each problem in each of these arms")
    tokens: str | None = Field(None, description="an arm: as many trained tokens as it has")
    fewest_tokens: bool = Field(
        False, description="as many trained tokens as the arm of problems with the fewest"
    )

    @model_validator(mode="after")
    def _check_keys(self) -> "Match":
        if self.fewest_tokens and (self.problems is None or self.tokens is not None):
            raise ValueError(
                "fewest_tokens is the budget of the arms in problems; name them there, and leave "
                "tokens out"
            )
        if self.problems is None and (self.rows or self.tokens is None):
            raise ValueError("match needs problems, a list of arms, or tokens, an arm")
        return self


class Select(Block):
    filters: list[FilterName] = Field(description="filters applied to reflections, in this order")
    drop_false_traces: bool = Field(
        False, description="whether teacher traces with a false step are not trained on"
    )
    max_per_problem: Count = Field(
        2, description="training rows per problem at most, for every arm"
    )
    min_rows: Count = Field(
        MIN_ROWS, description="stop if an arm has fewer training rows, selected or packed"
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
    prefer: Literal["first", "shortest", "lowest_surprisal", "rank_surprisal"] = Field(
        "first", description="which of a problem's texts of the student that pass come first"
    )
    match: Match | None = Field(None, description="what is matched with other arms' rows")
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
    prefix_tokens: Count | None = Field(
        None, description="train on the first tokens of each text only, without an end of the turn"
    )
    prefix_share: Annotated[float, Field(gt=0, lt=1), ReadExponents] | None = Field(
        None, description="the same with a share of each text's tokens"
    )

    @model_validator(mode="after")
    def _check_prefix(self) -> "Pack":
        if self.prefix_tokens is not None and self.prefix_share is not None:
            raise ValueError("prefix_tokens and prefix_share both cut a text; set one of them")
        if self.prefix_tokens is not None and self.prefix_tokens >= self.max_length:
            raise ValueError(
                f"prefix_tokens = {self.prefix_tokens} must be below max_length = "
                f"{self.max_length}, which counts the prompt too"
            )
        return self


class Mix(Block):
    teacher_share: Annotated[float, Field(gt=0, lt=1), ReadExponents] = Field(
        description="share of the training rows that are teacher traces"
    )
    seed: Annotated[int, Field(ge=0)] = Field(0, description="which problems give their trace")


class SelfCorrection(Block):
    attempt: Literal["to_false_step", "whole"] = Field(
        "to_false_step", description="what the text shows of the wrong attempt"
    )
    no_false_step: Literal["drop", "whole"] | None = Field(
        None, description="of an attempt without a false step, which cannot be cut; null: drop"
    )

    @model_validator(mode="after")
    def _check_keys(self) -> "SelfCorrection":
        if self.attempt == "whole" and self.no_false_step is not None:
            raise ValueError("no_false_step is for attempt: to_false_step; drop it")
        return self


class Pairs(Block):
    rejected: Literal["student_correct", "teacher"] = Field(
        "student_correct", description="the right text of a pair: the student's own, or the trace"
    )


class Arm(Block):
    trained_on: Literal[
        "nothing",
        "solution",
        "teacher_trace",
        "own_correct",
        "own_sample",
        "error_pairs",
        "reflection",
        "oracle",
    ]
    error_source: Literal["own", "other_problem", "sham"] | None = Field(
        None, description="whose wrong attempts are exposed"
    )
    prompt_includes: list[Literal["teacher", "errors", "answer"]] = Field(
        default_factory=list, description="what the reflection prompt shows beside the problem"
    )
    task: Literal["refine", "shorten"] = Field(
        "refine", description="what the reflection prompt asks for"
    )
    mix: Mix | None = Field(None, description="teacher traces among the arm's training rows")
    self_correction: SelfCorrection | None = Field(
        None, description="each refined chain is opened with the wrong attempt, taken back"
    )
    pairs: Pairs | None = Field(
        None, description="of trained_on: error_pairs, whose right text a wrong one is preferred to"
    )
    # changes to the stage blocks of the same name; validated after merging
    expose: Delta = Field(default_factory=dict)
    reflect: Delta = Field(default_factory=dict)
    select: Delta = Field(default_factory=dict)
    pack: Delta = Field(default_factory=dict)
    train: Delta = Field(default_factory=dict)

    @property
    def needs_traces(self) -> bool:
        """Whether teacher traces are trained on or shown."""
        is_mixed = self.mix is not None
        is_rejected = self.pairs is not None and self.pairs.rejected == "teacher"
        is_shown = "teacher" in self.prompt_includes
        return self.trained_on == "teacher_trace" or is_shown or is_mixed or is_rejected

    @property
    def needs_errors(self) -> bool:
        """Whether wrong attempts are exposed for the arm."""
        return self.trained_on in ("reflection", "oracle")

    @model_validator(mode="after")
    def _check_reflection_keys(self) -> "Arm":
        if self.trained_on == "reflection" and (
            self.error_source is None or not self.prompt_includes
        ):
            raise ValueError(
                "an arm trained on reflections needs error_source (own, other_problem, sham) "
                "and prompt_includes"
            )
        if self.trained_on != "reflection" and (
            self.error_source is not None or self.prompt_includes
        ):
            raise ValueError("error_source and prompt_includes are for arms trained on reflections")
        return self

    @model_validator(mode="after")
    def _check_new_texts(self) -> "Arm":
        if {"teacher", "answer"} <= {*self.prompt_includes}:
            raise ValueError(
                "prompt_includes: the teacher's trace holds the answer; name teacher or answer"
            )
        if self.task == "shorten" and self.prompt_includes != ["teacher"]:
            raise ValueError(
                "task: shorten is for reflections on the trace alone; set trained_on: reflection "
                "and prompt_includes: [teacher]"
            )
        if self.self_correction is not None and (
            self.error_source != "own" or "errors" not in self.prompt_includes
        ):
            raise ValueError(
                "self_correction opens a refined chain with the wrong attempt that the student was "
                "shown; set trained_on: reflection, error_source: own and prompt_includes: "
                "[teacher, errors], or drop it"
            )
        if self.pairs is not None and self.trained_on != "error_pairs":
            raise ValueError(
                f"pairs is for trained_on: error_pairs, and it is {self.trained_on}; drop pairs"
            )
        if self.mix is not None and self.trained_on in ("nothing", "teacher_trace", "error_pairs"):
            raise ValueError(
                f"mix adds teacher traces to other rows, and trained_on is {self.trained_on}; set "
                "own_correct, own_sample, solution, reflection or oracle, or drop mix"
            )
        return self
