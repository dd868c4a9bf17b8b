"""Pydantic model of the block ``report``, and what it cannot ask of a run."""

from collections.abc import Mapping
from typing import Annotated, Any, Protocol

from pydantic import Field

from orion.config.judge import Judge
from orion.config.sources import Block, Count, PolicyName, ReadExponents


class Report(Block):
    title: str = "ORION"
    confidence: Annotated[float, Field(gt=0, lt=1), ReadExponents] = 0.95
    bootstrap: Count = Field(2000, description="bootstrap resamples of the problems")
    examples: Count = Field(24, description="problems shown in the browser of the report")
    pass_at: list[Count] | None = Field(
        None,
        min_length=1,
        description="the r of pass@r and maj@r, up to evaluate.num_samples; null: 1, 2, 4, … and "
        "all samples",
    )
    second_policy: PolicyName | None = Field(
        None, description="answer policy under which every answer on a benchmark is checked again"
    )
    surprise: bool = Field(
        False, description="how unexpected the training texts are to the untrained student"
    )
    judge: Judge | None = Field(
        None, description="a model that judges the answers of each two arms that are compared"
    )


class Config(Protocol):
    """What is read of ``orion.config.models.Config``, which imports this module."""

    @property
    def report(self) -> Report: ...
    @property
    def runs(self) -> Any: ...
    @property
    def benchmarks(self) -> Mapping[str, Any]: ...
    def evaluation(self, benchmark: str) -> Any: ...


def find_fault(config: Config) -> str | None:
    """What the block asks for and the run cannot give; None if there is nothing."""
    largest = max(config.report.pass_at or [0])
    for name in config.runs.benchmarks:
        samples = config.evaluation(name).num_samples
        if largest > samples:
            own = config.benchmarks[name].evaluate.num_samples is not None
            key = f"benchmarks.{name}.evaluate" if own else "evaluate"
            return (
                f"report.pass_at: {largest} is more than the {samples} samples per problem of "
                f"{name} ({key}.num_samples); raise that key, or drop {largest}"
            )
        if config.benchmarks[name].policy == config.report.second_policy:
            return (
                f"report.second_policy: {config.report.second_policy} is the policy of {name} "
                f"already (benchmarks.{name}.policy); name another one, or set null"
            )
    return None
