"""``orion cost RESULTS``: what the jobs of a run have cost, beside what `orion plan` said.

Inputs: a results folder with ``logs/`` beside it, and the estimate of ``orion plan --json``.
Outputs: text on standard output; on request a page and CSV files. They hold durations, so none of
them is in ``results/report``, whose bytes are equal where inputs are.
Run: ``orion cost --help``.
"""

import argparse
import csv
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from orion.cli.plan import HEADS, HOURS, align, format_amount, read_prices
from orion.cost import page, record
from orion.cost.actual import Comparison, Pair, compare, list_finished, measure, sum_by_rule
from orion.cost.amounts import Amount
from orion.cost.amounts import add as add_amounts
from orion.cost.arm_costs import ArmCost, list_arm_costs
from orion.cost.estimate import COLUMNS, Prices, RuleCost
from orion.cost.pilot import Pilot
from orion.cost.record import Record
from orion.errors import InputError
from orion.paths import AtomicFile

COMPARED = ("new_tokens", "hours")
ARM_HEADS = {
    "shared_tokens": "sample tokens",
    "shared_seconds": "s for samples",
    "own_tokens": "own tokens",
    "own_seconds": "own s",
    "train_seconds": "s to train",
    "answers": "answers",
    "answer_tokens": "tokens/answer",
    "answer_seconds": "s/answer",
}
LEGEND = """\
sample tokens, s for samples: of the student's samples and their checks, made once for all arms that
need them; own tokens, own s: of the arm's errors, reflections and training rows; s to train: of one
training, the mean over seeds; tokens/answer, s/answer: on the benchmarks, without the check. What
a teacher was sampled for is in the rules above, and in no arm."""

COMPARED_LEGEND = """\
run: how many of the planned jobs have run; jobs: those whose estimate and cost are known, over
which both are added up; ×: actual over estimated. The time of a job that found completions stored
is left out, since all of them were estimated."""


@dataclass(frozen=True)
class Told:
    """All that the command says: costs by rule and arm, and the estimate where there is one."""

    results: str
    costs: list[RuleCost]
    arms: list[ArmCost]
    estimate: str | None
    pilot: str | None
    comparisons: list[Comparison]


def add(commands: Any) -> None:
    """Add the command ``cost`` to the subparsers of the console script."""
    text = "what a run has cost, by rule and by arm, beside what orion plan said"
    parser = commands.add_parser(
        "cost",
        help=text,
        description=f"Say {text}. Nothing of the run is changed; the report stays free of seconds.",
    )
    option = parser.add_argument
    option("results", metavar="RESULTS", help="the results of a run, logs/ beside it")
    option(
        "--estimate",
        metavar="FILE",
        help=f"what orion plan --json wrote; default: logs/{record.PLACE} beside RESULTS",
    )
    option(
        "--price",
        nargs="+",
        default=[],
        metavar="KEY=AMOUNT",
        help="as for orion plan; default: the prices of the estimate",
    )
    option("--page", metavar="FILE", help="also write a page")
    option("--csv", metavar="FOLDER", help="also write rules.csv and arms.csv")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> None:
    run = Pilot(args.results, place="")
    place = Path(args.estimate) if args.estimate else run.logs / record.PLACE
    found = record.read(place) if args.estimate or place.is_file() else None
    prices = read_prices(args.price) if args.price else found.prices if found else Prices()
    told = gather(run, found, prices, args.results, str(place))
    if args.page:
        _write(args.page, "--page", page.render(*make_tables(told)))
    if args.csv:
        _write_csv(Path(args.csv), told)
    for line in tell(told):
        print(line)


def gather(run: Pilot, found: Record | None, prices: Prices, results: str, place: str = "") -> Told:
    """The costs of a run; with an estimate also those of its planned jobs beside it."""
    jobs = list(list_finished(run))
    if found is None:
        costs = sum_by_rule(run, jobs, prices, {})
        return Told(results, costs, list_arm_costs(run, jobs), None, None, [])
    # several rules may write one usage file, and the plan knows which one does
    planned = found.planned
    named = [
        replace(each, rule=planned[each.job.name].rule) if each.job.name in planned else each
        for each in jobs
    ]
    gpus = {name: job.gpus for name, job in planned.items()}
    measured = {each.job.name: measure(run, each, prices, gpus) for each in named}
    comparisons = compare(found, measured)
    costs = sum_by_rule(run, named, prices, gpus)
    return Told(results, costs, list_arm_costs(run, jobs), place, found.pilot, comparisons)


def tell(told: Told) -> Iterator[str]:
    """The lines to print."""
    jobs = sum(cost.jobs for cost in told.costs)
    yield f"{told.results}: {jobs:,} jobs have run"
    for title, rows, note in make_tables(told):
        yield ""
        yield title
        yield from align(rows)
        yield from (line for line in note.splitlines() if line)


def make_tables(told: Told) -> list[tuple[str, list[list[str]], str]]:
    """The tables as texts: title, rows with their heads, note."""
    tables = [("What the jobs have cost, by rule", _list_rules(told.costs), "")]
    if told.estimate is not None:
        title = f"Estimate beside actual: {told.estimate}, by the pilot {told.pilot}"
        tables.append((title, _list_compared(told.comparisons), COMPARED_LEGEND))
    if told.arms:
        tables.append(("Each arm", _list_arms(told.arms), LEGEND))
    return tables


def _list_rules(costs: Sequence[RuleCost]) -> list[list[str]]:
    totals = {name: add_amounts(cost.amounts[name] for cost in costs) for name in COLUMNS}
    shown = [name for name in COLUMNS if totals[name].known or totals[name].unknown]
    rows = [["rule", "jobs", *(HEADS[name] for name in shown)]]
    for cost in costs:
        amounts = [format_amount(cost.amounts[name], name in HOURS, _format) for name in shown]
        rows.append([cost.rule, f"{cost.jobs:,}", *amounts])
    amounts = [format_amount(totals[name], name in HOURS, _format) for name in shown]
    jobs = sum(cost.jobs for cost in costs)
    return [*rows, ["total", f"{jobs:,}", *amounts]]


def _list_compared(comparisons: Sequence[Comparison]) -> list[list[str]]:
    heads = [
        head for name in COMPARED for head in ("jobs", f"{HEADS[name]}: estimated", "actual", "×")
    ]
    rows = [["rule", "run", *heads]]
    sums = {name: Pair() for name in COMPARED}
    for each in comparisons:
        pairs = [each.pairs[name] for name in COMPARED]
        rows.append([each.rule, f"{each.run:,} of {each.planned:,}", *_list_pairs(pairs)])
        sums = {name: sums[name] + each.pairs[name] for name in COMPARED}
    run = sum(each.run for each in comparisons)
    planned = sum(each.planned for each in comparisons)
    return [*rows, ["total", f"{run:,} of {planned:,}", *_list_pairs([*sums.values()])]]


def _list_pairs(pairs: Sequence[Pair]) -> list[str]:
    texts = []
    for name, pair in zip(COMPARED, pairs, strict=True):
        numbers = [_format(value, name in HOURS) for value in (pair.estimated, pair.actual)]
        ratio = "-" if pair.ratio is None else f"{pair.ratio:.2f}"
        texts += [f"{pair.jobs:,}", *numbers, ratio] if pair.jobs else ["-"] * 4
    return texts


def _list_arms(arms: Sequence[ArmCost]) -> list[list[str]]:
    rows = [["dataset/model/arm", *ARM_HEADS.values()]]
    for arm in arms:
        values = [getattr(arm, name) for name in ARM_HEADS]
        texts = [_format_value(value, name) for name, value in zip(ARM_HEADS, values, strict=True)]
        rows.append([f"{arm.dataset}/{arm.model}/{arm.arm}", *texts])
    return rows


def _format_value(value: float | None, name: str) -> str:
    if value is None:
        return "-"
    return _format(value, name not in ("shared_tokens", "own_tokens", "answers"))


def _format(value: float, is_fraction: bool) -> str:
    """A count in full, another number to three digits at least: a short job has few hours."""
    return f"{value:,.0f}" if not is_fraction or value >= 1000 else f"{value:.3g}"


def _write(place: str | Path, flag: str, text: str) -> None:
    try:
        with AtomicFile(place) as partial:
            partial.write_text(text, encoding="utf-8", newline="")
    except OSError as error:
        raise InputError(f"{flag} {place}: cannot be written ({error})") from None


def _write_csv(folder: Path, told: Told) -> None:
    """rules.csv: estimate and cost of each rule; arms.csv: each arm. Unknown: an empty field."""
    costs = {cost.rule: cost for cost in told.costs}
    compared = {each.rule: each for each in told.comparisons}
    rules = [_list_numbers(rule, costs.get(rule), compared.get(rule)) for rule in costs | compared]
    arms = [asdict(arm) for arm in told.arms]
    names = [field.name for field in fields(ArmCost)]
    for name, rows, heads in (
        ("rules", rules, [*_list_numbers("", None, None)]),
        ("arms", arms, names),
    ):
        try:
            with AtomicFile(folder / f"{name}.csv") as partial, open(partial, "w", newline="") as f:
                writer = csv.DictWriter(f, heads)
                writer.writeheader()
                writer.writerows(rows)
        except OSError as error:
            raise InputError(f"--csv {folder}: cannot be written ({error})") from None


def _list_numbers(rule: str, cost: RuleCost | None, pair: Comparison | None) -> dict[str, Any]:
    """A row of rules.csv: the whole cost of the rule, then the jobs of an estimate."""
    row: dict[str, Any] = {"rule": rule, "jobs": cost.jobs if cost else 0}
    row |= {name: _plain(cost.amounts[name]) if cost else None for name in COLUMNS}
    row["planned_jobs"] = pair.planned if pair else None
    row["planned_jobs_run"] = pair.run if pair else None
    for name in COLUMNS:
        both = pair.pairs[name] if pair and pair.pairs[name].jobs else None
        row[f"compared_{name}_jobs"] = both.jobs if both else None
        row[f"compared_{name}_estimated"] = both.estimated if both else None
        row[f"compared_{name}_actual"] = both.actual if both else None
    return row


def _plain(amount: Amount) -> float | None:
    """A number that is known for all jobs."""
    return amount.value if amount.known and not amount.unknown else None
