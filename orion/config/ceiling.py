"""The blocks ``ceiling`` and ``prices``: what a run may spend, and what its hours and tokens cost.

They change no result, so no stage has them among its keys, and another ceiling reruns nothing.
"""

import json
from typing import Annotated, Any, Protocol

from pydantic import Field

from orion.config import arm_models
from orion.config.arm_models import find_exposed, find_writer, list_source_runs, list_used
from orion.config.base import Block
from orion.config.blocks import Generation
from orion.config.sources import Count, ReadExponents

Limit = Annotated[float, Field(gt=0, allow_inf_nan=False), ReadExponents]
Price = Annotated[float, Field(ge=0, allow_inf_nan=False), ReadExponents]
# the two prices of a served model's tokens
TOKENS = ("prompt", "completion")


class Ceiling(Block):
    """What the run of a results folder may spend, all that it has spent so far included."""

    completions: Count | None = Field(
        None, description="completions in results/completions, those of earlier runs included"
    )
    tokens: Count | None = Field(None, description="tokens of their prompts and texts")
    hours: Limit | None = Field(None, description="of all jobs, one after the other")
    money: Limit | None = Field(None, description="by the block prices")


class Prices(Block):
    """Money per unit, in any currency."""

    hour: Price | None = Field(None, description="money per hour of a job; 0: it costs nothing")
    prompt: Price | dict[str, Price] | None = Field(
        None, description="money per million prompt tokens of served models, or {model: money}"
    )
    completion: Price | dict[str, Price] | None = Field(
        None, description="the same for the tokens that they generate"
    )

    def find(self, kind: str, model: str) -> float | None:
        """The price of a model's tokens of the kind prompt or completion; None without one."""
        price: float | dict[str, float] | None = getattr(self, kind)
        return price.get(model) if isinstance(price, dict) else price


class Config(arm_models.Config, Protocol):
    """What these functions read of ``orion.config.models.Config``, which imports this module."""

    @property
    def sample(self) -> Generation: ...
    @property
    def teacher(self) -> Generation | None: ...
    @property
    def ceiling(self) -> Ceiling | None: ...
    @property
    def prices(self) -> Prices | None: ...

    def evaluation(self, benchmark: str) -> Generation: ...


def list_priced_models(config: Config) -> list[str]:
    """The models of the run that a stage asks by the engine openai, so that their tokens cost."""
    used = list_used(config)
    teachers = [config.datasets[name].teacher for name in used["datasets"]]
    engines = {name: {_engine(config.teacher)} for name in teachers if name is not None}
    for name in config.runs.models:
        engines.setdefault(name, set()).update(
            config.evaluation(benchmark).engine for benchmark in config.runs.benchmarks
        )
    runs = [(name, arm) for name in config.runs.models for arm in config.runs.arms]
    runs += [(run.model, run.arm) for run in list_source_runs(config)]
    for name, arm in runs:
        for sampled in (name, find_exposed(config, arm, name)):
            engines.setdefault(sampled, set()).add(config.sample.engine)
        if config.arms[arm].trained_on == "reflection":
            block: Any = config.arm_block("reflect", arm)
            engines.setdefault(find_writer(config, arm, name), set()).add(block.engine)
    judge = config.report.judge
    if judge is not None:
        engines.setdefault(judge.model, set()).add(judge.engine)
    return sorted(name for name, found in engines.items() if "openai" in found)


def _engine(block: Generation | None) -> str | None:
    return None if block is None else block.engine


def find_fault(config: Config) -> str | None:
    """What is missing or unknown in the two blocks, with the cure; None if nothing is."""
    prices = config.prices or Prices()
    for kind in TOKENS:
        price = getattr(prices, kind)
        unknown = sorted(set(price) - set(config.models)) if isinstance(price, dict) else []
        if unknown:
            return (
                f"prices.{kind}: {', '.join(unknown)} is not defined under models; one of "
                f"{', '.join(sorted(config.models))}"
            )
    if config.ceiling is None or config.ceiling.money is None:
        return None
    missing = ["prices.hour"] if prices.hour is None else []
    for model in list_priced_models(config):
        for kind in TOKENS:
            if prices.find(kind, model) is None:
                missing.append(f"prices.{kind} of models.{model}, which a server is asked for")
    if missing:
        return (
            f"ceiling.money needs {'; '.join(missing)}. Give the prices, 0 for what costs nothing, "
            "or limit hours or tokens instead"
        )
    return None


def tell_ceiling(config: Config) -> str:
    """The ceiling with its prices as the JSON text that the stages read; empty without one."""
    if config.ceiling is None:
        return ""
    limits = config.ceiling.model_dump(mode="json", exclude_none=True)
    if "money" in limits:
        prices = config.prices or Prices()
        limits["hour"] = prices.hour or 0.0
        limits["prices"] = {
            model: [prices.find(kind, model) or 0.0 for kind in TOKENS]
            for model in list_priced_models(config)
        }
    return json.dumps(limits, sort_keys=True) if limits else ""
