"""``orion plan CONFIG``: what a run will cost, by rule, before it starts.

Inputs: YAML files, the results that there are, Snakemake's dry run; an earlier run as a pilot.
Outputs: text on standard output, and a JSON document. Nothing is run. What a run tests is another
plan, ``results/plan.json``, which the rule ``plan`` registers.
Run: ``orion plan --help``.
"""

import argparse
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from orion import config
from orion.cli.why import show
from orion.cost import planned_jobs, record
from orion.cost.amounts import Amount
from orion.cost.amounts import add as add_amounts
from orion.cost.ceiling import check_ceiling, read_spent
from orion.cost.counts import Counts
from orion.cost.estimate import COLUMNS, Prices, RuleCost, estimate
from orion.cost.pilot import Pilot
from orion.errors import InputError
from orion.spending.ceiling import LIMITS, Ceiling, Spent, read_ceiling

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
# the prices of time: a GPU's, a processor's, or any job's
TIMES = ("gpu-hour", "cpu-hour", "hour")
RESULTS = Path("results")
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
        help="money per gpu-hour and cpu-hour, or per hour of any job, and per million tokens of "
        "served models: prompt, completion, or of one model prompt:MODEL, completion:MODEL; "
        "default: the block prices of CONFIG",
    )
    option("--target", choices=planned_jobs.TARGETS, default="all", help="default: all")
    option("--workflow-profile", metavar="DIR", help="as for snakemake; its gpu counts GPUs")
    option(
        "--json",
        metavar="FILE",
        help=f"also write all numbers to this file; `orion cost` finds logs/{record.PLACE}",
    )
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> None:
    base = BASE if BASE.is_file() else planned_jobs.find_snakefile().parents[1] / BASE
    # the workflow itself merges over the base
    own = [name for name in args.files if not _is_same_file(name, base)]
    settings = config.load(base, *own)
    config.check_traces(settings)
    if args.price and args.pilot is None:
        raise InputError("--price: the hours and tokens come from a pilot; give --from too")
    prices = read_prices(args.price, settings) if args.price else list_prices(settings)
    limits = read_ceiling(config.tell_ceiling(settings))
    if limits is not None:
        check_ceiling(limits, RESULTS)
    pilot = Pilot(args.pilot) if args.pilot is not None else None
    jobs = planned_jobs.list_jobs(
        [str(base), *own], target=args.target, workflow_profile=args.workflow_profile
    )
    costs = estimate(settings, jobs, Counts(settings, jobs, pilot), pilot, prices)
    local = planned_jobs.find_local_rules(planned_jobs.find_snakefile())
    submissions = None if local is None else sum(1 for job in jobs if job.rule not in local)
    if args.json:
        record.write(
            args.json,
            costs,
            jobs,
            prices,
            config=args.files,
            target=args.target,
            pilot=args.pilot,
            submissions=submissions,
        )
    for line in tell(costs, submissions, args.files, args.pilot):
        print(line)
    if limits is not None and jobs:
        for line in tell_ceiling(limits, read_spent(limits, RESULTS), costs):
            print(line)


def _is_same_file(name: str, base: Path) -> bool:
    return Path(name).exists() and base.exists() and base.samefile(name)


def list_prices(settings: config.Config) -> Prices:
    """The prices of the configuration, none where it has none."""
    found = settings.prices
    if found is None:
        return Prices()
    tokens: dict[str, dict[str, float]] = {}
    for kind in ("prompt", "completion"):
        price = getattr(found, kind)
        tokens[kind] = price if isinstance(price, dict) else {} if price is None else {"*": price}
    return Prices(hour=found.hour, prompt=tokens["prompt"], completion=tokens["completion"])


def read_prices(pairs: Sequence[str], settings: config.Config | None = None) -> Prices:
    """The prices of ``KEY=AMOUNT``; raises InputError for an unknown key and a bad amount.

    Without ``settings`` a price may be that of any model.
    """
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
        if place is hours and key not in TIMES:
            raise InputError(
                f"--price {pair}: no such key; one of {', '.join(TIMES)}, prompt, completion, "
                "prompt:MODEL, completion:MODEL"
            )
        if model and settings is not None and model not in settings.models:
            raise InputError(
                f"--price {pair}: {model} is not defined under models; one of "
                f"{', '.join(sorted(settings.models))}"
            )
        if key in place:
            raise InputError(f"--price {pair}: given twice; keep one")
        place[key] = amount
    if "hour" in hours and len(hours) > 1:
        raise InputError(
            "--price: hour is for the time of any job, gpu-hour and cpu-hour for that of GPUs and "
            "processors; give one kind"
        )
    gpu, cpu, any_job = (hours.get(name) for name in TIMES)
    return Prices(gpu, cpu, tokens["prompt"], tokens["completion"], any_job)


def tell_ceiling(limits: Ceiling, spent: Spent, costs: Sequence[RuleCost]) -> Iterator[str]:
    """What the run may spend, what it has spent, what the plan adds, and whether that fits."""
    totals = {name: add_amounts(cost.amounts[name] for cost in costs) for name in COLUMNS}
    totals["tokens"] = totals["prompt_tokens"] + totals["new_tokens"]
    rows = [["ceiling", "limit", "spent", "planned", ""]]
    for name in LIMITS:
        limit, planned = getattr(limits, name), totals[name]
        if limit is None:
            continue
        is_fraction = name in HOURS
        over = getattr(spent, name) + planned.value - limit
        numbers = [_format_number(value, is_fraction) for value in (limit, getattr(spent, name))]
        # what is stored may be among what is planned, and then is counted twice here
        most = "at most " if planned.at_most or (planned.value and totals["stored"].unknown) else ""
        fits = "" if over <= 0 else f"{most}{_format_number(over, is_fraction)} too much"
        rows.append([name, *numbers, format_amount(planned, is_fraction), fits])
    yield ""
    yield from align(rows)


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
    yield from align(rows)
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


def align(rows: list[list[str]]) -> Iterator[str]:
    """The rows of a table as lines, the first column to the left and the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        first, *others = (
            text.rjust(width) if i else text.ljust(width)
            for i, (text, width) in enumerate(zip(row, widths, strict=True))
        )
        yield "  ".join([first, *others]).rstrip()


def format_amount(
    amount: Amount,
    is_fraction: bool = False,
    form: Callable[[float, bool], str] | None = None,
) -> str:
    """A number with the signs of `LEGEND`, or ``unknown``; ``-`` where there is no quantity.

    ``form``: writes the number; None: a count in full, a fraction to two places.
    """
    if not amount.known:
        return "unknown" if amount.unknown else "-"
    number = (form or _format_number)(amount.value, is_fraction)
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
