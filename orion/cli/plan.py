"""``orion plan CONFIG``: what a run will cost, by rule, before it starts.

Inputs: YAML files, the results that there are, Snakemake's dry run; an earlier run as a pilot.
Outputs: text on standard output, and a JSON document. Nothing is run. What a run tests is another
plan, ``results/plan.json``, which the rule ``plan`` registers.
Run: ``orion plan --help``.
"""

import argparse
import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from orion import config
from orion.cli.why import show
from orion.cost import planned_jobs
from orion.cost.amounts import Amount
from orion.cost.amounts import add as add_amounts
from orion.cost.counts import Counts
from orion.cost.estimate import COLUMNS, Prices, RuleCost, estimate
from orion.cost.pilot import Pilot
from orion.errors import InputError
from orion.paths import AtomicFile

BASE = Path("config/config.yaml")
HEADS = {
    "completions": "completions",
    "stored": "stored",
    "prompt_tokens": "prompt tokens",
    "new_tokens": "new tokens",
    "hours": "hours",
    "cpu_hours": "CPU-hours",
    "gpu_hours": "GPU-hours",
    "money": "money",
}
HOURS = ("hours", "cpu_hours", "gpu_hours", "money")
# hours and money below this are not told apart
SMALLEST = 0.01
LEGEND = """\
~ from the pilot   ≤ at most   +? without jobs of which it is unknown   - no such quantity
hours: of all jobs, one after the other; CPU-hours: of their processors, as Snakemake samples them
(up to 30 s of a job are missing); GPU-hours: hours × the resource gpu of a job. They hold for
machines and resources like the pilot's."""
WITHOUT_PILOT = """\
Counts only. A pilot adds tokens, hours and money: run a few problems with the same models and
engines, then give --from ITS_RESULTS (with its logs/ beside them)."""


def add(commands: Any) -> None:
    """Add the command ``plan`` to the subparsers of the console script."""
    text = "what a run will cost: jobs, completions, tokens, hours and money by rule"
    parser = commands.add_parser(
        "plan",
        help=text,
        description=f"Say {text}. Nothing is run. The comparisons that a run registers in "
        "results/plan.json are another plan; `make plan` shows Snakemake's dry run by itself.",
    )
    option = parser.add_argument
    option("files", nargs="+", metavar="CONFIG", help="YAML files, merged over config/config.yaml")
    option("--from", dest="pilot", metavar="RESULTS", help="an earlier run, logs/ beside it")
    option(
        "--price",
        nargs="+",
        default=[],
        metavar="KEY=AMOUNT",
        help="money per gpu-hour and cpu-hour, and per million tokens of served models: prompt, "
        "completion, or of one model prompt:MODEL, completion:MODEL",
    )
    option("--target", choices=planned_jobs.TARGETS, default="all", help="default: all")
    option("--workflow-profile", metavar="DIR", help="as for snakemake; its gpu counts GPUs")
    option("--json", metavar="FILE", help="also write all numbers to this file")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> None:
    base = BASE if BASE.is_file() else planned_jobs.find_snakefile().parents[1] / BASE
    # the workflow itself merges over the base
    own = [name for name in args.files if not _is_same_file(name, base)]
    settings = config.load(base, *own)
    config.check_traces(settings)
    prices = read_prices(args.price, settings)
    if not prices.is_empty and args.pilot is None:
        raise InputError("--price: the hours and tokens come from a pilot; give --from too")
    pilot = Pilot(args.pilot) if args.pilot is not None else None
    jobs = planned_jobs.list_jobs(
        [str(base), *own], target=args.target, workflow_profile=args.workflow_profile
    )
    costs = estimate(settings, jobs, Counts(settings, jobs, pilot), pilot, prices)
    local = planned_jobs.find_local_rules(planned_jobs.find_snakefile())
    submissions = None if local is None else sum(1 for job in jobs if job.rule not in local)
    if args.json:
        _write_json(args, costs, submissions)
    for line in tell(costs, submissions, args.files, args.pilot):
        print(line)


def _is_same_file(name: str, base: Path) -> bool:
    return Path(name).exists() and base.exists() and base.samefile(name)


def read_prices(pairs: Sequence[str], settings: config.Config) -> Prices:
    """The prices of ``KEY=AMOUNT``; raises InputError for an unknown key and a bad amount."""
    hours: dict[str, float] = {}
    tokens: dict[str, dict[str, float]] = {"prompt": {}, "completion": {}}
    for pair in pairs:
        key, _, text = pair.partition("=")
        name, _, model = key.partition(":")
        try:
            amount = float(text)
        except ValueError:
            amount = math.nan
        if not (math.isfinite(amount) and amount >= 0):
            raise InputError(f"--price {pair}: give KEY=AMOUNT, such as gpu-hour=2.5")
        place, key = (tokens[name], model or "*") if name in tokens else (hours, key)
        if place is hours and key not in ("gpu-hour", "cpu-hour"):
            raise InputError(
                f"--price {pair}: no such key; one of gpu-hour, cpu-hour, prompt, completion, "
                "prompt:MODEL, completion:MODEL"
            )
        if model and model not in settings.models:
            raise InputError(
                f"--price {pair}: {model} is not defined under models; one of "
                f"{', '.join(sorted(settings.models))}"
            )
        if key in place:
            raise InputError(f"--price {pair}: given twice; keep one")
        place[key] = amount
    return Prices(
        hours.get("gpu-hour"), hours.get("cpu-hour"), tokens["prompt"], tokens["completion"]
    )


def tell(
    costs: Sequence[RuleCost], submissions: int | None, files: Sequence[str], pilot: str | None
) -> Iterator[str]:
    """The lines to print."""
    jobs = sum(cost.jobs for cost in costs)
    yield f"{', '.join(files)}: {jobs:,} jobs" if jobs else "Nothing to be done: all results exist"
    if not jobs:
        return
    if submissions is not None:
        yield (
            f"On a cluster {submissions:,} of them are submitted, the others run in the head "
            "process."
        )
    yield ""
    totals = {name: add_amounts(cost.amounts[name] for cost in costs) for name in COLUMNS}
    shown = [name for name in COLUMNS if totals[name].known or totals[name].unknown]
    rows = [["rule", "jobs", *(HEADS[name] for name in shown)]]
    for cost in costs:
        columns = [format_amount(cost.amounts[name], name in HOURS) for name in shown]
        rows.append([cost.rule, f"{cost.jobs:,}", *columns])
    columns = [format_amount(totals[name], name in HOURS) for name in shown]
    rows.append(["total", f"{jobs:,}", *columns])
    yield from _align(rows)
    yield ""
    yield from LEGEND.splitlines() if pilot is not None else WITHOUT_PILOT.splitlines()
    if pilot is not None:
        yield from _tell_basis(costs, totals, shown, pilot)
    notes = [(cost.rule, note) for cost in costs for note in cost.notes]
    if notes:
        yield ""
        yield "Notes"
    for rule, note in notes:
        yield from show(f"{rule}: {note}", None, "  ")


def _tell_basis(
    costs: Sequence[RuleCost], totals: dict[str, Amount], shown: Sequence[str], pilot: str
) -> Iterator[str]:
    """The totals with their spread, and the hours and rates of each rule with theirs."""
    yield ""
    yield "Totals, from the cheapest to the dearest pilot job for every job"
    for name in shown:
        amount = totals[name]
        left_out = f"; unknown for {amount.unknown:,} of the jobs" if amount.unknown else ""
        number = format_amount(amount, name in HOURS)
        yield f"  {HEADS[name]:<15}{number}{tell_spread(amount, name in HOURS)}{left_out}"
    yield ""
    yield f"Rules, by the pilot {pilot}, from its lowest to its highest job"
    for cost in costs:
        lines = []
        for name, amount in cost.rates.items():
            is_token_rate = name.endswith("_new_token")
            words = name.replace("_new_token", "_1,000_new_tokens") if is_token_rate else name
            scaled = amount.scale(1000) if is_token_rate else amount
            spread = "" if amount.unknown else tell_spread(scaled, True, _round)
            value = "unknown" if amount.unknown else _round(scaled.value)
            lines.append(f"{words.replace('_', ' ')} {value}{spread}")
        hours = cost.amounts["hours"]
        if hours.known and hours.value >= SMALLEST:
            lines.append(f"hours {format_amount(hours, True)}{tell_spread(hours, True)}")
        for line in lines:
            yield f"  {cost.rule:<20}{line}"


def _align(rows: list[list[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        first, *others = (
            text.rjust(width) if i else text.ljust(width)
            for i, (text, width) in enumerate(zip(row, widths, strict=True))
        )
        yield "  ".join([first, *others]).rstrip()


def format_amount(amount: Amount, is_fraction: bool = False) -> str:
    """A number with the signs of `LEGEND`, or ``unknown``; ``-`` where there is no quantity."""
    if not amount.known:
        return "unknown" if amount.unknown else "-"
    number = _format_number(amount.value, is_fraction)
    signs = ("≤" if amount.at_most else "") + ("~" if amount.pilot_jobs else "")
    signs = "" if number.startswith("<") else signs
    return f"{signs}{number}{'+?' if amount.unknown else ''}"


def _format_number(value: float, is_fraction: bool) -> str:
    """A count in full; hours and money to two places."""
    if not is_fraction:
        return f"{value:,.0f}"
    return f"<{SMALLEST}" if 0 < value < SMALLEST else f"{value:,.2f}"


def _round(value: float, is_fraction: bool = True) -> str:
    """A rate to three digits."""
    if value == 0:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{digits}f}"


def tell_spread(
    amount: Amount,
    is_fraction: bool = False,
    form: Callable[[float, bool], str] = _format_number,
) -> str:
    """The spread of an amount and the number of pilot jobs; nothing for an exact one."""
    count = len(amount.pilot_jobs)
    if not count:
        return ""
    if count == 1:
        return " (one job only)"
    if amount.single and amount.single >= amount.known:
        return f" ({count:,} jobs, one per planned job, so no spread)"
    some = f", one per planned job for {amount.single:,} of these" if amount.single else ""
    low, high = form(amount.low, is_fraction), form(amount.high, is_fraction)
    return f" ({low} to {high}; {count:,} jobs{some})"


def _write_json(
    args: argparse.Namespace, costs: Sequence[RuleCost], submissions: int | None
) -> None:
    totals = {name: _as_json(add_amounts(cost.amounts[name] for cost in costs)) for name in COLUMNS}
    document = {
        "config": args.files,
        "target": args.target,
        "pilot": args.pilot,
        "prices": args.price,
        "jobs": sum(cost.jobs for cost in costs),
        "submissions": submissions,
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
    }
    try:
        with AtomicFile(args.json) as partial:
            partial.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f"--json {args.json}: cannot be written ({error})") from None


def _as_json(amount: Amount) -> dict[str, Any] | None:
    """An amount; null where the rule has no such quantity, a value of null where it is unknown."""
    if not amount.known and not amount.unknown:
        return None
    numbers = {
        name: getattr(amount, name) if amount.known else None for name in ("value", "low", "high")
    }
    return {
        **numbers,
        "pilot_jobs": len(amount.pilot_jobs),
        "unknown_jobs": amount.unknown,
        "single_jobs": amount.single,
        "at_most": amount.at_most,
    }
