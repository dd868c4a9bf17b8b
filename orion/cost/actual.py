"""What the jobs of a run have cost, by rule: the same quantities as an estimate, measured.

Inputs: a results folder with the usage files beside it, prices. Outputs: one record per rule.
Nothing is written.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from orion.cost.amounts import NOTHING, UNKNOWN, Amount, add, exact
from orion.cost.estimate import COLUMNS, Prices, RuleCost
from orion.cost.pilot import GENERATING, Pilot, PilotJob, Texts
from orion.cost.rates import MODULES
from orion.cost.record import PlannedCost, Record
from orion.cost.rule_files import RULES
from orion.spending.ceiling import TOKENS_PER_PRICE
from orion.spending.usage import SECONDS_PER_HOUR

# quantities that are smaller where completions were stored before
OF_TIME = ("hours", "cpu_hours", "gpu_hours", "money")


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
        # an arm's reflections may be another model's
        model = (finished.job.keys or {}).get("writer") or finished.job.wildcards["model"]
        for place, name in (("prompt", "prompt_tokens"), ("completion", "new_tokens")):
            price = prices.find(place, model)
            is_known = is_whole and price is not None
            parts.append(
                found[name].scale((price or 0) / TOKENS_PER_PRICE) if is_known else UNKNOWN
            )
    whole = add(parts)
    return UNKNOWN if whole.unknown else exact(whole.value)


@dataclass(frozen=True)
class Pair:
    """A quantity of some jobs: how many they are, its estimate, and what it came to."""

    jobs: int = 0
    estimated: float = 0.0
    actual: float = 0.0

    def __add__(self, other: "Pair") -> "Pair":
        return Pair(
            self.jobs + other.jobs, self.estimated + other.estimated, self.actual + other.actual
        )

    @property
    def ratio(self) -> float | None:
        """Actual over estimate; None where nothing was estimated."""
        return self.actual / self.estimated if self.estimated else None


@dataclass(frozen=True)
class Comparison:
    """A rule's jobs as they were planned, beside what they have cost.

    ``planned``, ``run``: its jobs, and how many of them have run. ``pairs``: by `COLUMNS`, over the
    jobs of which both numbers are known.
    """

    rule: str
    planned: int
    run: int
    pairs: dict[str, Pair]


def compare(record: Record, measured: Mapping[str, dict[str, Amount]]) -> list[Comparison]:
    """The rules of an estimate; ``measured``: usage file → what its job has cost.

    A job that found completions stored costs less than one that makes them all, as it was
    estimated: its time and money are left out.
    """
    planned: dict[str, list[tuple[str, PlannedCost]]] = {}
    for name, job in record.planned.items():
        planned.setdefault(job.rule, []).append((name, job))
    found = []
    for rule, jobs in planned.items():
        ran = [(job.amounts, measured[name]) for name, job in jobs if name in measured]
        pairs = {name: sum((_pair(*each, name) for each in ran), Pair()) for name in COLUMNS}
        found.append(Comparison(rule, len(jobs), len(ran), pairs))
    return found


def _pair(estimated: Mapping[str, float | None], actual: Mapping[str, Amount], name: str) -> Pair:
    """One quantity of one job; nothing where a number is not known."""
    before, after, stored = estimated[name], actual[name], actual["stored"]
    is_partly_stored = stored != NOTHING and (stored.unknown or stored.value)
    if before is None or not after.known or (name in OF_TIME and is_partly_stored):
        return Pair()
    return Pair(1, before, after.value)
