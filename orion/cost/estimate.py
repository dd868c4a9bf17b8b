"""Estimates: planned jobs × the rates of a pilot → tokens, hours and money per rule.

Inputs: planned jobs, counts of completions, rates, prices. Outputs: one record per rule, with what
its numbers rest on. Nothing is read or written here.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from orion.config import Config
from orion.cost.amounts import NOTHING, UNKNOWN, Amount, add, exact
from orion.cost.counts import Counts, find_generated_share
from orion.cost.pilot import GENERATING, Pilot, PilotJob
from orion.cost.planned_jobs import PlannedJob
from orion.cost.rates import Match, Rates, find_keys, find_unit_count
from orion.cost.rule_files import CHECKED, RULES
from orion.spending.ceiling import TOKENS_PER_PRICE
from orion.spending.usage import SECONDS_PER_HOUR

# what a rule may cost, in the order in which it is shown
COLUMNS = (
    "completions",
    "stored",
    "prompt_tokens",
    "new_tokens",
    "hours",
    "cpu_hours",
    "gpu_hours",
    "money",
)
# differing keys of a pilot that a note names
MAX_KEYS = 4
MAX_KEY, MAX_VALUE = 60, 40


@dataclass(frozen=True)
class Prices:
    """Money per unit, and per million tokens of served models, by model or ``*``.

    ``hour``: of any job, in the place of the hours of GPUs and processors.
    """

    gpu_hour: float | None = None
    cpu_hour: float | None = None
    prompt: dict[str, float] = field(default_factory=dict)
    completion: dict[str, float] = field(default_factory=dict)
    hour: float | None = None

    @property
    def is_empty(self) -> bool:
        """Whether no price is given, so that money is not computed."""
        hours = {self.gpu_hour, self.cpu_hour, self.hour}
        return hours == {None} and not self.prompt and not self.completion

    def find(self, kind: str, model: str) -> float | None:
        """The price of a model's tokens of the kind prompt or completion; None without one."""
        prices: dict[str, float] = getattr(self, kind)
        return prices.get(model, prices.get("*"))

    def find_time(self, *, has_gpu: bool) -> tuple[str, float | None, str]:
        """The name and the price of a job's time, and the quantity that it is for."""
        if self.hour is not None:
            return "hour", self.hour, "hours"
        if has_gpu:
            return "gpu-hour", self.gpu_hour, "gpu_hours"
        return "cpu-hour", self.cpu_hour, "cpu_hours"

    def price_time(self, found: Mapping[str, Amount]) -> Amount:
        """The money for a job's time, by its quantities; unknown without a price."""
        has_gpu = bool(found["gpu_hours"].known)
        _, price, quantity = self.find_time(has_gpu=has_gpu)
        return UNKNOWN if price is None else found[quantity].scale(price)


@dataclass(frozen=True)
class RuleCost:
    """The jobs of one rule, what they cost, and what the numbers rest on.

    ``amounts``: by `COLUMNS`; a quantity that the rule does not have is `NOTHING`. ``rates``: name
    → rate over all pilot jobs that were used. ``notes``: what a reader must know about them.
    ``by_job``: the amounts of each job, in the order of the jobs.
    """

    rule: str
    jobs: int
    amounts: dict[str, Amount]
    rates: dict[str, Amount] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    by_job: tuple[dict[str, Amount], ...] = ()


def estimate(
    settings: Config,
    jobs: Sequence[PlannedJob],
    counts: Counts,
    pilot: Pilot | None,
    prices: Prices,
) -> list[RuleCost]:
    """The cost of each rule, in the order in which the rules start."""
    by_rule: dict[str, list[PlannedJob]] = {}
    for job in jobs:
        by_rule.setdefault(job.rule, []).append(job)
    rates = Rates(settings, pilot) if pilot is not None else None
    return [
        _Estimator(settings, counts, rates, prices, rule).sum_up(own)
        for rule, own in by_rule.items()
    ]


class _Estimator:
    """Estimates the jobs of one rule."""

    def __init__(
        self, settings: Config, counts: Counts, rates: Rates | None, prices: Prices, rule: str
    ):
        self.settings, self.counts, self.rates = settings, counts, rates
        self.prices, self.rule = prices, rule
        self.unpriced: set[str] = set()

    def sum_up(self, jobs: list[PlannedJob]) -> RuleCost:
        """The record of the rule."""
        if self.rule not in RULES:
            # a target runs nothing
            nothing = dict.fromkeys(COLUMNS, NOTHING)
            return RuleCost(self.rule, len(jobs), nothing, by_job=(nothing,) * len(jobs))
        found = [self._estimate_job(job) for job in jobs]
        amounts = {name: add(each[name] for each in found) for name in COLUMNS}
        matches = [] if self.rates is None else [self.rates.match(job) for job in jobs]
        used = _list_used(matches)
        rates = self._list_rates(used)
        notes = (
            *self._note_stored(amounts),
            *self._note_matches(matches, used),
            *self._note_sizes(jobs, used),
        )
        if self.unpriced:
            notes += (f"no price for {', '.join(sorted(self.unpriced))}: give --price",)
        return RuleCost(self.rule, len(jobs), amounts, rates, notes, tuple(found))

    def _estimate_job(self, job: PlannedJob) -> dict[str, Amount]:
        found = dict.fromkeys(COLUMNS, NOTHING)
        keys = find_keys(self.settings, job)
        units = exact(1)
        match = self.rates.match(job) if self.rates is not None else None
        if self.rule in GENERATING:
            asked = self.counts.ask(job).scale(find_generated_share(keys))
            stored = self.counts.count_stored(job)
            found |= {"completions": asked, "stored": stored}
            if match is not None and self.rates is not None:
                # what may be stored need not be generated; it cannot be subtracted here
                wanted = asked if not stored.unknown else _limit(asked)
                prompt, new = self.rates.find_tokens(self.rule, match.jobs)
                found |= {"prompt_tokens": wanted.times(prompt), "new_tokens": wanted.times(new)}
                units = found["new_tokens"]
        elif self.rule in CHECKED:
            units = self.counts.ask(job)
        if match is None or self.rates is None:
            return found
        work = self.rates.find_work(self.rule, match.jobs)
        if work == "steps":
            units = find_unit_count(work, keys)
        for name, seconds in (("hours", _read_clock), ("cpu_hours", _read_processors)):
            rate = self.rates.find_seconds(self.rule, match.jobs, seconds)
            found[name] = rate.times(units).scale(1 / SECONDS_PER_HOUR)
        if job.gpus:
            found["gpu_hours"] = found["hours"].scale(job.gpus)
        if not self.prices.is_empty:
            found["money"] = self._price(job, keys, found)
        return found

    def _price(self, job: PlannedJob, keys: dict[str, Any], found: dict[str, Amount]) -> Amount:
        """The money of a job: its GPUs or else its processors, and the tokens of a served model."""
        place, hours, quantity = self.prices.find_time(has_gpu=bool(job.gpus))
        lines = [(place, hours, found[quantity])]
        if self.rule in GENERATING and keys["generation"]["engine"] == "openai":
            # an arm's reflections may be another model's
            model = keys.get("writer") or job.wildcards["model"]
            for name in ("prompt", "completion"):
                price = self.prices.find(name, model)
                tokens = found["prompt_tokens" if name == "prompt" else "new_tokens"]
                lines.append((f"{name}:{model}", price, tokens.scale(1 / TOKENS_PER_PRICE)))
        self.unpriced |= {name for name, price, _ in lines if price is None}
        if any(price is None for _, price, _ in lines):
            return UNKNOWN
        parts = [amount.scale(price) for _, price, amount in lines if price is not None]
        whole = add(parts)
        return UNKNOWN if whole.unknown else _count_once(whole)

    def _list_rates(self, used: list[PilotJob]) -> dict[str, Amount]:
        """Name → rate over all pilot jobs that were used for the rule."""
        if self.rates is None or not used:
            return {}
        work = self.rates.find_work(self.rule, used)
        unit = {"tokens": "new_token", "texts": "text", "steps": "step", "jobs": "job"}[work]
        rates = {f"seconds_per_{unit}": self.rates.find_seconds(self.rule, used, _read_clock)}
        if self.rule in GENERATING:
            prompt, new = self.rates.find_tokens(self.rule, used)
            rates |= {"prompt_tokens_per_completion": prompt, "new_tokens_per_completion": new}
        return rates

    def _note_stored(self, amounts: dict[str, Amount]) -> Iterable[str]:
        if amounts["stored"].unknown:
            yield (
                "what the store has is not known before the prompts are rendered or the model is "
                "there; tokens and hours are those of all completions"
            )

    def _note_matches(self, matches: list[Match], used: list[PilotJob]) -> Iterable[str]:
        if self.rates is None:
            return
        without = sum(1 for match in matches if not match.jobs)
        if without:
            yield f"no rate for {without} of {len(matches)} jobs"
        # the same pilot jobs are refused for many planned ones
        refused: dict[str, int] = {}
        for match in matches:
            for reason, count in match.refused.items():
                refused[reason] = max(count, refused.get(reason, 0))
        for reason, count in sorted(refused.items()):
            yield f"{count} pilot jobs not used: {reason}"
        if self.rule in GENERATING:
            part = sum(1 for job in used if self.rates.is_partly_stored(self.rule, job))
            if part:
                yield (
                    f"the time of {part} of {len(used)} pilot jobs not used: by its log a part was "
                    "stored before, or the log is not there"
                )
        far = sum(1 for match in matches if match.jobs and not match.is_close)
        if far:
            yield f"{far} of {len(matches)} jobs by rates of other datasets, arms or benchmarks"
        yield from _note_differences(matches)

    def _note_sizes(self, jobs: list[PlannedJob], used: list[PilotJob]) -> Iterable[str]:
        """Whether seconds per job come from sets of another size."""
        if self.rates is None or not used or self.rates.find_work(self.rule, used) != "jobs":
            return
        sizes = self.rates.pilot.problem_counts
        sets = [
            ("benchmark" if "benchmark" in each else "dataset", each)
            for each in (job.wildcards for job in used)
        ]
        there = {
            sizes[block, each[block]][0]
            for block, each in sets
            if (block, each.get(block)) in sizes
        }
        counted = [self.counts.count_set(job) for job in jobs]
        here = {int(each.value) for each in counted if not each.unknown}
        if there and here and here != there:
            yield (
                f"sets of {_list_numbers(there)} problems in the pilot, of {_list_numbers(here)} "
                "here: its seconds per job need not hold"
            )


def _list_numbers(numbers: set[int]) -> str:
    low, high = min(numbers), max(numbers)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _read_clock(job: PilotJob) -> float | None:
    return job.seconds


def _read_processors(job: PilotJob) -> float | None:
    return job.cpu_seconds


def _list_used(matches: list[Match]) -> list[PilotJob]:
    """The pilot jobs of all matches, each once."""
    return list({job.name: job for match in matches for job in match.jobs}.values())


def _limit(amount: Amount) -> Amount:
    """The amount as one that a run may stay below."""
    return replace(amount, at_most=True)


def _count_once(amount: Amount) -> Amount:
    """A sum over the parts of one job, as an amount of one job."""
    return replace(amount, known=1, single=min(1, amount.single))


def _note_differences(matches: list[Match]) -> Iterable[str]:
    """The keys in which the pilot's jobs differ from the planned ones, with short values."""
    found: dict[str, set[str]] = {}
    for match in matches:
        for key, (values, planned) in match.differences.items():
            found.setdefault(key, set()).add(f"{' or '.join(sorted(values))}, here {planned}")
    told = []
    for key, pairs in sorted(found.items())[:MAX_KEYS]:
        [value, *more] = sorted(pairs)
        key = key[:MAX_KEY]
        told.append(key if more or len(value) > MAX_VALUE else f"{key} {value}")
    if told:
        more_keys = len(found) - len(told)
        rest = f" and {more_keys} more" if more_keys else ""
        yield f"the pilot had other keys: {'; '.join(told)}{rest}"
