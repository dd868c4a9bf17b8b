"""Pydantic model of ``report.judge``, the pairs of answers that it judges, and its faults.

The functions take the whole configuration.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from pydantic import Field, model_validator

from orion import prompts
from orion.config.blocks import Generation
from orion.config.comparisons import Comparison
from orion.config.draws import list_students
from orion.config.sources import Count, Model, NonNegative

# the block of the prompt set that asks for a verdict
JUDGE = "judge"


class Judge(Generation):
    model: str = Field(description="entry of models that judges; any engine")
    pairs: Count = Field(
        50, description="problems per comparison and benchmark whose two answers are judged"
    )
    num_samples: Count = Field(
        2, description="replies to each order of a pair; 1 gives no self-agreement"
    )
    temperature: NonNegative = Field(0.7, description="0 is greedy decoding")
    max_tokens: Count = Field(1024, description="new tokens per reply, its end token included")

    @model_validator(mode="after")
    def _check_samples(self) -> "Judge":
        if self.temperature == 0 and self.num_samples > 1:
            raise ValueError(
                f"num_samples: at temperature 0 all {self.num_samples} replies to a prompt are "
                "one; set num_samples: 1, or raise temperature"
            )
        return self


class Config(Protocol):
    """What is read of ``orion.config.models.Config``, which imports this module."""

    @property
    def comparisons(self) -> Sequence[Comparison]: ...
    @property
    def models(self) -> Mapping[str, Model]: ...
    @property
    def prompts(self) -> str: ...
    @property
    def report(self) -> Any: ...
    @property
    def runs(self) -> Any: ...


def list_judged(config: Config, model: str) -> list[tuple[str, str, str]]:
    """Each arm, the one it is compared with, and the benchmark, of which answers are judged.

    Those of the comparisons of the configuration, each once whatever is tested; none without a
    judge. ``model``: the student.
    """
    if config.report.judge is None:
        return []
    groups = config.runs.students or {}
    return [
        *dict.fromkeys(
            (comparison.arm, comparison.against, benchmark)
            for comparison in config.comparisons
            if comparison.group is None
            or any(model in entries for entries in list_students(groups[comparison.group]))
            for benchmark in comparison.benchmarks or config.runs.benchmarks
        )
    ]


def find_fault(config: Config) -> str | None:
    """Why the judge cannot be asked, with the cure; None if it can, and without a judge."""
    judge = config.report.judge
    if judge is None:
        return None
    where = "report.judge"
    if judge.model not in config.models:
        return (
            f"{where}.model: {judge.model} is not defined under models; define it there, or set "
            f"{where}: null"
        )
    if not config.comparisons:
        return (
            f"{where}: it judges the answers of two arms that are compared, and comparisons is "
            f"empty; add a comparison, or set {where}: null"
        )
    if not prompts.load(config.prompts).keep(JUDGE):
        base = "demo" if config.prompts == "demo" else "chat"
        cure = f'begin a file of your own with {{% extends "{base}" %}}'
        cure += " and write the block there" if base == "demo" else ""
        return (
            f"{where}: the prompt set {config.prompts} has no block {JUDGE}, which asks for the "
            f"verdicts: {'' if base == 'demo' else 'add it, or '}{cure}"
        )
    return None
