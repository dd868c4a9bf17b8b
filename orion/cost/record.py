"""The record of an estimate: the JSON document that ``orion plan --json`` writes.

Inputs: the estimate and its jobs; or such a document. Outputs: the document; or the estimate of it.
``orion cost`` puts it beside what the jobs have cost.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from orion.cost.amounts import Amount
from orion.cost.amounts import add as add_amounts
from orion.cost.estimate import COLUMNS, Prices, RuleCost
from orion.cost.planned_jobs import PlannedJob
from orion.cost.rule_files import RULES
from orion.errors import InputError
from orion.paths import AtomicFile

# beside the usage files of the run, where `orion cost` looks for it
PLACE = "estimate.json"
NUMBERS = ("value", "low", "high")


@dataclass(frozen=True)
class PlannedCost:
    """A planned job. ``amounts``: by `COLUMNS`, None where unknown or without such a quantity."""

    rule: str
    gpus: int
    amounts: dict[str, float | None]


@dataclass(frozen=True)
class Record:
    """An estimate as it was made: usage file → planned job; its prices; the pilot it rests on."""

    planned: dict[str, PlannedCost]
    prices: Prices
    pilot: str | None


def write(
    place: str,
    costs: Sequence[RuleCost],
    jobs: Sequence[PlannedJob],
    prices: Prices,
    **facts: Any,
) -> None:
    """Write the document; ``facts``: its first keys. Raises InputError where it cannot be."""
    totals = {name: _as_json(add_amounts(cost.amounts[name] for cost in costs)) for name in COLUMNS}
    document = {
        **facts,
        "jobs": sum(cost.jobs for cost in costs),
        "total": totals,
        "rules": [
            {
                "rule": cost.rule,
                "jobs": cost.jobs,
                **{name: _as_json(amount) for name, amount in cost.amounts.items()},
                "rates": {name: _as_json(amount) for name, amount in cost.rates.items()},
                "notes": list(cost.notes),
            }
            for cost in costs
        ],
        "prices": asdict(prices),
        "planned": [
            {
                "rule": job.rule,
                "usage": RULES[job.rule].usage.format(**job.wildcards),
                "gpus": job.gpus,
                **{name: _value(amount) for name, amount in amounts.items()},
            }
            for cost in costs
            if cost.rule in RULES
            for job, amounts in zip(
                [job for job in jobs if job.rule == cost.rule], cost.by_job, strict=True
            )
        ],
    }
    try:
        with AtomicFile(place) as partial:
            partial.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f"--json {place}: cannot be written ({error})") from None


def read(path: Path) -> Record:
    """The estimate of a document. Raises InputError for any other file, and for a missing one."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        planned = {
            str(row["usage"]): PlannedCost(
                str(row["rule"]),
                int(row["gpus"]),
                {name: None if row[name] is None else float(row[name]) for name in COLUMNS},
            )
            for row in document["planned"]
        }
        return Record(planned, Prices(**document["prices"]), document["pilot"])
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(
            f"{path}: not an estimate; `orion plan CONFIG --from PILOT --json {path}` makes one"
        ) from None


def _as_json(amount: Amount) -> dict[str, Any] | None:
    """An amount; null where the rule has no such quantity, a value of null where it is unknown."""
    if not amount.known and not amount.unknown:
        return None
    numbers = {name: getattr(amount, name) if amount.known else None for name in NUMBERS}
    return {
        **numbers,
        "pilot_jobs": len(amount.pilot_jobs),
        "unknown_jobs": amount.unknown,
        "single_jobs": amount.single,
        "at_most": amount.at_most,
    }


def _value(amount: Amount) -> float | None:
    return amount.value if amount.known and not amount.unknown else None
