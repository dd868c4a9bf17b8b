"""Rates of a pilot for planned jobs: seconds per token, text, step or job; tokens per completion.

Inputs: the configuration, the pilot's jobs. Outputs: for each planned job the pilot's jobs that
tell its cost, the rates of these, and why the others tell nothing.
"""

import inspect
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from orion import config
from orion.config import Config
from orion.config.stages import STAGES
from orion.cost.amounts import UNKNOWN, Amount, mean, rate
from orion.cost.pilot import GENERATING, Pilot, PilotJob
from orion.cost.planned_jobs import PlannedJob
from orion.cost.rule_files import OF_ONE_MODEL, RULES
from orion.provenance import canonical_json

# what pilot and planned job have in common, the closest first; the seed never matters
LEVELS = (("dataset", "arm", "benchmark"), ("arm", "benchmark"), ("benchmark",), ("arm",), ())
# of a model's keys: what the run does with it, not what it is
OF_ITS_USE = ("is_trained", "prompts")
# keys that change no cost
SEEDS = ("seed", "generation.seed", "digests")
# rules that write the same files, by the module that the record of these names
MODULES = {"select": "orion.stages.select", "match": "orion.stages.match"}

# measures a pilot job: its seconds, or None where they were not measured
Seconds = Callable[[PilotJob], float | None]


def find_keys(settings: Config, job: PlannedJob) -> dict[str, Any]:
    """The configuration keys that can change a job's output."""
    stage = RULES[job.rule].stage
    wanted = inspect.signature(STAGES[stage]).parameters
    named = {name: value for name, value in job.wildcards.items() if name in wanted}
    return config.stage_config(settings, stage, **named)


def is_same_model(settings: Config, model: str, job: PilotJob) -> bool:
    """Whether a pilot job had the model that the configuration has under this name."""
    return _has_keys(settings, model, job.model_keys)


def _has_keys(settings: Config, model: str, found: dict[str, Any] | None) -> bool:
    planned = config.stage_config(settings, "model", model=model)
    return found is not None and _name_model(planned) == _name_model(found)


def _name_model(keys: dict[str, Any]) -> str:
    return canonical_json({key: value for key, value in keys.items() if key not in OF_ITS_USE})


@dataclass(frozen=True)
class Match:
    """The pilot jobs that tell the cost of a planned job.

    ``is_close``: they have its dataset, arm and benchmark. ``refused``: reason → pilot jobs of the
    rule that tell nothing. ``differences``: key → (the pilot's values, the planned value).
    """

    jobs: tuple[PilotJob, ...]
    is_close: bool = True
    refused: Counter[str] = field(default_factory=Counter)
    differences: dict[str, tuple[frozenset[str], str]] = field(default_factory=dict)


class Rates:
    """Finds and measures the pilot jobs for planned jobs."""

    def __init__(self, settings: Config, pilot: Pilot):
        self.settings, self.pilot = settings, pilot
        self._match = cache(self._find_match)

    def match(self, job: PlannedJob) -> Match:
        """The pilot jobs that tell the cost of a planned job."""
        wildcards = {name: value for name, value in job.wildcards.items() if name != "seed"}
        return self._match(job.rule, tuple(sorted(wildcards.items())))

    def _find_match(self, rule: str, items: tuple[tuple[str, str], ...]) -> Match:
        wildcards = dict(items)
        job = PlannedJob(rule, {**wildcards, "seed": "0"}, ())
        keys = find_keys(self.settings, job)
        usable, refused = [], Counter[str]()
        for found in self.pilot.list_jobs(rule):
            if rule in MODULES and found.module not in (None, MODULES[rule]):
                continue
            reason = self._refuse(rule, wildcards, keys, found)
            if reason is None:
                usable.append(found)
            else:
                refused[reason] += 1
        for level in LEVELS:
            wanted = [(name, wildcards[name]) for name in level if name in wildcards]
            near = [
                found
                for found in usable
                if all(found.wildcards.get(name) == value for name, value in wanted)
            ]
            if near:
                differences = _compare_keys(keys, near)
                return Match(tuple(near), level == LEVELS[0], refused, differences)
        return Match((), refused=refused)

    def _refuse(
        self, rule: str, wildcards: dict[str, str], keys: dict[str, Any], found: PilotJob
    ) -> str | None:
        """Why a pilot job tells nothing of a planned one."""
        if RULES[rule].artifact is not None and found.keys is None:
            return "what it made is not there"
        if rule in OF_ONE_MODEL and not is_same_model(self.settings, wildcards["model"], found):
            return "another model" if found.model_keys is not None else "its model is not there"
        if rule in ("reflect", "judge") and found.keys is not None:
            writers = [each.get("writer") for each in (found.keys, keys)]
            if writers[0] != writers[1]:
                return f"written by {writers[0] or 'the student'}"
            if writers[1] and not _has_keys(self.settings, writers[1], found.writer_keys):
                return f"written by another {writers[1]}"
        if rule in GENERATING and found.keys is not None:
            engine, planned = (each["generation"]["engine"] for each in (found.keys, keys))
            if engine != planned:
                return f"engine {engine}, here {planned}"
        if rule == "train" and bool(_count_steps(keys)) != bool(_count_steps(found.keys)):
            return "its length is set by the other one of max_steps and epochs"
        return "a training that was resumed" if found.is_resumed else None

    def find_tokens(self, rule: str, jobs: Sequence[PilotJob]) -> tuple[Amount, Amount]:
        """Prompt tokens and new tokens per completion of pilot jobs of a generating rule."""
        found = [(job.name, self.pilot.read_texts(rule, job)) for job in jobs]
        texts = [(name, each) for name, each in found if each is not None]
        return (
            rate([(name, each.prompt_tokens, each.rows) for name, each in texts]),
            rate([(name, each.completion_tokens, each.rows) for name, each in texts]),
        )

    def find_seconds(self, rule: str, jobs: Sequence[PilotJob], seconds: Seconds) -> Amount:
        """Seconds of pilot jobs per unit of the rule's work.

        Of a generating rule only of jobs that generated all of their completions. Of trainings
        without ``max_steps`` per job.
        """
        measured = [(job, found) for job in jobs if (found := seconds(job)) is not None]
        work = self.find_work(rule, jobs)
        if work == "jobs":
            return mean([(job.name, found) for job, found in measured])
        units = [(job.name, found, self._count_units(work, rule, job)) for job, found in measured]
        return rate([(name, found, count or 0) for name, found, count in units])

    def find_work(self, rule: str, jobs: Sequence[PilotJob]) -> str:
        """What the seconds of these pilot jobs are divided by."""
        work = RULES[rule].work
        if work == "steps" and not all(_count_steps(job.keys) for job in jobs):
            return "jobs"
        return work

    def _count_units(self, work: str, rule: str, job: PilotJob) -> float | None:
        if work == "texts":
            return job.texts
        if work == "steps":
            return _count_steps(job.keys)
        texts = self.pilot.read_texts(rule, job)
        if texts is None or texts.generated != texts.distinct:
            return None
        return texts.new_tokens

    def is_partly_stored(self, rule: str, job: PilotJob) -> bool:
        """Whether a generating pilot job took completions from the store, or may have."""
        texts = self.pilot.read_texts(rule, job)
        return texts is None or texts.generated != texts.distinct


def find_unit_count(work: str, keys: dict[str, Any]) -> Amount:
    """The units of a planned training: its steps."""
    steps = _count_steps(keys) if work == "steps" else None
    return UNKNOWN if steps is None else Amount(steps, steps, steps)


def _count_steps(keys: dict[str, Any] | None) -> int | None:
    steps = (keys or {}).get("max_steps")
    return int(steps) if steps else None


def _compare_keys(
    keys: dict[str, Any], jobs: Sequence[PilotJob]
) -> dict[str, tuple[frozenset[str], str]]:
    """Key → (values of the pilot jobs, the planned value) where they differ, seeds left out."""
    planned = _flatten(keys)
    found: dict[str, tuple[frozenset[str], str]] = {}
    for job in jobs:
        made_with = None if job.keys is None else _flatten(job.keys)
        if made_with is None:
            continue
        for key in planned.keys() | made_with.keys():
            other = made_with.get(key, "null")
            if other != planned.get(key, "null") and not key.startswith(SEEDS):
                values, _ = found.get(key, (frozenset(), ""))
                found[key] = (values | {other}, planned.get(key, "null"))
    return found


def _flatten(keys: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Dotted key → its value as JSON; nulls are left out."""
    flat: dict[str, str] = {}
    for key, value in keys.items():
        if isinstance(value, dict):
            flat |= _flatten(value, f"{prefix}{key}.")
        elif value is not None:
            flat[f"{prefix}{key}"] = canonical_json(value)
    return flat
