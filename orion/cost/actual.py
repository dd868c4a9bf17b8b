"""What the jobs of a run have cost, by rule: the same quantities as an estimate, measured.

Inputs: a results folder with the usage files beside it, prices. Outputs: one record per rule.
Nothing is written.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from orion.cost.amounts import NOTHING, UNKNOWN, Amount, add, exact
from orion.cost.estimate import COLUMNS, Prices, RuleCost
from orion.cost.pilot import GENERATING, Pilot, PilotJob, Texts
from orion.cost.rates import MODULES
from orion.cost.rule_files import RULES
from orion.spending.ceiling import TOKENS_PER_PRICE
from orion.spending.usage import SECONDS_PER_HOUR


@dataclass(frozen=True)
class FinishedJob:
    """A job that has run, by its rule."""

    rule: str
    job: PilotJob


def list_finished(run: Pilot) -> Iterator[FinishedJob]:
    """The jobs of a run, each once.

    Rules that write the same usage file are told apart by the record of what they made, else the
    first of them stands for all.
    """
    seen: set[str] = set()
    for rule in RULES:
        for job in run.list_jobs(rule):
            module = MODULES.get(rule)
            if job.name in seen or (module and job.module not in (None, module)):
                continue
            seen.add(job.name)
            yield FinishedJob(rule, job)


def sum_by_rule(
    run: Pilot, jobs: Iterable[FinishedJob], prices: Prices, gpus: Mapping[str, int]
) -> list[RuleCost]:
    """What these jobs have cost. ``gpus``: usage file → the GPUs of its job, where it is known."""
    found: dict[str, list[dict[str, Amount]]] = {}
    for each in jobs:
        found.setdefault(each.rule, []).append(measure(run, each, prices, gpus))
    return [
        RuleCost(rule, len(own), {name: add(job[name] for job in own) for name in COLUMNS})
        for rule, own in found.items()
    ]


def measure(
    run: Pilot, finished: FinishedJob, prices: Prices, gpus: Mapping[str, int]
) -> dict[str, Amount]:
    """The quantities of one job. A quantity that it does not have is `NOTHING`."""
    job, rule = finished.job, finished.rule
    found = dict.fromkeys(COLUMNS, NOTHING)
    found["hours"] = exact(job.seconds / SECONDS_PER_HOUR)
    found["cpu_hours"] = (
        UNKNOWN if job.cpu_seconds is None else exact(job.cpu_seconds / SECONDS_PER_HOUR)
    )
    count = gpus.get(job.name, 0)
    if count:
        found["gpu_hours"] = found["hours"].scale(count)
    texts = run.read_texts(rule, job) if rule in GENERATING else None
    if rule in GENERATING:
        found |= _count_texts(texts)
    if not prices.is_empty:
        found["money"] = _price(finished, found, prices, texts)
    return found


def _count_texts(texts: Texts | None) -> dict[str, Amount]:
    if texts is None:
        names = ("completions", "stored", "prompt_tokens", "new_tokens")
        return dict.fromkeys(names, UNKNOWN)
    stored = UNKNOWN if texts.generated is None else exact(texts.distinct - texts.generated)
    return {
        "completions": exact(texts.distinct),
        "stored": stored,
        "prompt_tokens": exact(texts.distinct_prompt_tokens),
        "new_tokens": exact(texts.new_tokens),
    }


def _price(
    finished: FinishedJob, found: dict[str, Amount], prices: Prices, texts: Texts | None
) -> Amount:
    """The money of a job; unknown where a price is missing, or which tokens were paid for."""
    parts = [prices.price_time(found)]
    generation = (finished.job.keys or {}).get("generation")
    if isinstance(generation, dict) and generation.get("engine") == "openai":
        is_whole = texts is not None and texts.generated == texts.distinct
        model = finished.job.wildcards["model"]
        for place, name in (("prompt", "prompt_tokens"), ("completion", "new_tokens")):
            price = prices.find(place, model)
            is_known = is_whole and price is not None
            parts.append(
                found[name].scale((price or 0) / TOKENS_PER_PRICE) if is_known else UNKNOWN
            )
    whole = add(parts)
    return UNKNOWN if whole.unknown else exact(whole.value)


@dataclass(frozen=True)
class Comparison:
    """A rule's estimate beside what its planned jobs have cost.

    ``planned``, ``run``: its jobs, and how many of them have run.
    """

    rule: str
    planned: int
    run: int
    estimated: dict[str, Amount]
    actual: dict[str, Amount]

    def find_ratio(self, name: str) -> float | None:
        """Actual over estimate; None unless all jobs have run and both numbers are known."""
        pair = (self.estimated[name], self.actual[name])
        if self.run < self.planned or any(each.unknown or not each.known for each in pair):
            return None
        return pair[1].value / pair[0].value if pair[0].value else None


def compare(estimated: Sequence[RuleCost], actual: Sequence[RuleCost]) -> list[Comparison]:
    """The rules of an estimate, each beside the actual cost of its planned jobs."""
    measured = {cost.rule: cost for cost in actual}
    nothing = dict.fromkeys(COLUMNS, NOTHING)
    return [
        Comparison(
            cost.rule,
            cost.jobs,
            measured[cost.rule].jobs if cost.rule in measured else 0,
            cost.amounts,
            measured[cost.rule].amounts if cost.rule in measured else nothing,
        )
        for cost in estimated
        if cost.rule in RULES
    ]


def sum_compared(comparisons: Sequence[Comparison], name: str) -> tuple[float, float, int]:
    """Estimate and actual of a quantity over the rules with a ratio, and how many these are."""
    both = [each for each in comparisons if each.find_ratio(name) is not None]
    estimated = sum(each.estimated[name].value for each in both)
    return estimated, sum(each.actual[name].value for each in both), len(both)
