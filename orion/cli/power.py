"""``orion power``: samples, problems, students and runs that a difference of two arms needs.

Inputs: the evaluations of a finished run, or stated components of the variance, in points.
Outputs: a table of designs on standard output. Run: ``orion power --help``.
"""

import argparse
import contextlib
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np

from orion import paths, tables
from orion.errors import InputError
from orion.experiment import power, statistics
from orion.experiment.plan import read_history
from orion.experiment.power import Components, Design, Pilot, PlannedTest
from orion.report.registration import list_group

POINTS = 100
SAMPLES, RUNS = (1, 4, 16, 64), (2, 3, 5, 10)
# more rows than anyone reads
MAX_DESIGNS = 500
# component → what its standard deviation is
COMPONENTS = {
    "difference": "between problems, of the difference of the arms",
    "run": "between runs, of an arm's accuracy",
    "run_problem": "between runs, at one problem, beyond that",
    "sampling": "of one sample",
    "student": "between students, of the difference of the arms",
}
WHAT_A_RUN_IS = """\
A run is one student, one draw of its samples and reflections, one training seed. Where runs share
student and draw, as the seeds of one configuration do, the claim is about that student and draw.
"""


def add(commands: Any) -> None:
    """Add the command ``power`` to the subparsers of the console script."""
    parser = commands.add_parser(
        "power", help="how many samples, problems and runs a difference of two arms needs"
    )
    add_option = parser.add_argument
    add_option("--effect", type=_read_number, metavar="POINTS", help="the difference to be found")
    add_option("--alpha", type=_read_number, default=0.05, help="level of the test (default: 0.05)")
    add_option("--power", type=_read_number, default=0.8, help="wanted power (default: 0.8)")
    pilot = parser.add_argument_group("components of a finished run")
    pilot.add_argument("--results", metavar="DIR", help="its results folder")
    for name in ("arm", "against", "benchmark", "dataset"):
        pilot.add_argument(f"--{name}", metavar="NAME")
    chosen = pilot.add_mutually_exclusive_group()
    chosen.add_argument("--model", nargs="+", metavar="NAME", help="students (default: all)")
    chosen.add_argument(
        "--group",
        metavar="NAME",
        help="the students of this group of the registered plan; a student's draws count as runs",
    )
    stated = parser.add_argument_group(
        "stated components", "standard deviations in points; beside --results they replace its own"
    )
    stated.add_argument("--accuracy", type=_read_number, metavar="PERCENT", help="of both arms")
    described = {"problem": "between problems, of the accuracy", **COMPONENTS}
    for name, what in described.items():
        stated.add_argument(_flag(name), type=_read_number, metavar="POINTS", help=what)
    grid = parser.add_argument_group("designs: all combinations of")
    for name, default in (("samples", SAMPLES), ("problems", None), ("runs", RUNS)):
        grid.add_argument(f"--{name}", type=int, nargs="+", metavar="N", default=default)
    grid.add_argument("--students", type=int, nargs="+", metavar="N", default=(1,))
    grid.add_argument(
        "--run-cost", type=int, default=0, metavar="N", help="completions that a run's making costs"
    )
    parser.set_defaults(run=_run)


def _flag(component: str) -> str:
    return f"--sd-{component.replace('_', '-')}"


def _read_number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} is not a number") from None


@contextlib.contextmanager
def _naming_options() -> Iterator[None]:
    """Turns a ValueError that begins with a component or size into an InputError of its option."""
    try:
        yield
    except ValueError as error:
        names, colon, what = str(error).partition(": ")
        described = {"problem", *COMPONENTS}
        flags = [
            _flag(name) if name in described else f"--{name}" for name in re.split(" and ", names)
        ]
        raise InputError(" and ".join(flags) + colon + what if colon else str(error)) from None


@dataclass(frozen=True)
class Row:
    """A design with its power in points or None, the detectable difference, and its cost."""

    design: Design
    power: float | None
    detectable: float
    cost: int


def _run(args: argparse.Namespace) -> None:
    _check_options(args)
    with _naming_options():
        if args.results is not None:
            pilot, problems = _read_pilot(args)
        else:
            pilot, problems = Pilot(_read_stated(args)), None
        if args.problems is None and problems is None:
            raise InputError("--problems: say how many the benchmark has")
        rows = _plan(pilot.components, args, args.problems or [problems])
    for line in (
        *_describe(pilot, args),
        "",
        *_tabulate(rows, args),
        *_conclude(rows, pilot, args),
    ):
        print(line)


def _check_options(args: argparse.Namespace) -> None:
    """Raises InputError for a number that is out of range and for options that exclude others."""
    if not 0 < args.alpha < args.power < 1:
        raise InputError(
            f"--alpha {args.alpha:g} --power {args.power:g}: both lie between 0 and 1, the power "
            "above alpha"
        )
    for name in ("effect", "accuracy"):
        value = getattr(args, name)
        if value is not None and not 0 < value < POINTS:
            raise InputError(f"--{name} {value:g}: between 0 and 100, as in --{name} 3")
    for name in ("problem", *COMPONENTS):
        value = getattr(args, f"sd_{name}")
        if value is not None and not 0 <= value <= POINTS:
            raise InputError(f"{_flag(name)} {value:g}: points, between 0 and 100")
    if args.run_cost < 0:
        raise InputError(f"--run-cost {args.run_cost}: at least 0")
    run_only = ("arm", "against", "benchmark", "dataset", "model", "group")
    stated_only = ("accuracy", "sd_problem", "sd_difference")
    for name in stated_only if args.results is not None else run_only:
        if getattr(args, name) is not None:
            flag = f"--{name.replace('_', '-')}"
            raise InputError(
                f"{flag}: the run of --results shows it; leave one of the two out"
                if args.results is not None
                else f"{flag}: says what to read of a finished run; give --results too"
            )


def _read_stated(args: argparse.Namespace) -> Components:
    """The components that the options state; that of runs at one problem may be left out."""
    wanted = ["sd_difference", "sd_run"]
    wanted += ["accuracy", "sd_problem"] if args.sd_sampling is None else []
    missing = [f"--{name.replace('_', '-')}" for name in wanted if getattr(args, name) is None]
    if missing:
        raise InputError(
            f"{', '.join(missing)}: missing; state the components, or give a finished run with "
            "--results"
        )
    found = {name: getattr(args, f"sd_{name}") for name in COMPONENTS}
    stated: dict[str, Any] = {
        name: None if value is None else value / POINTS for name, value in found.items()
    }
    stated["run_problem"] = stated["run_problem"] or 0.0
    if stated["sampling"] is None:
        stated["sampling"] = power.find_sampling(
            args.accuracy / POINTS,
            args.sd_problem / POINTS,
            run=stated["run"],
            run_problem=stated["run_problem"],
        )
    return Components(**stated)


def _read_pilot(args: argparse.Namespace) -> tuple[Pilot, int]:
    """The components of a finished run, and the number of its problems."""
    names = paths.wildcard_names(paths.EVALUATION_VERDICTS)
    pattern = paths.EVALUATION_VERDICTS.format(**dict.fromkeys(names, "*"))
    places = {
        path: _read_wildcards(path, args.results) for path in Path(args.results).glob(pattern)
    }
    if not places:
        raise InputError(f"{args.results}: no evaluation is there ({pattern})")
    benchmark = _choose(places, "benchmark", args.benchmark)
    dataset = _choose(places, "dataset", args.dataset)
    arm, against = (
        _choose(places, "arm", getattr(args, name), name) for name in ("arm", "against")
    )
    if arm == against:
        raise InputError(f"--against {against}: name two arms")
    students = _find_students(args, sorted({place["model"] for place in places.values()}))
    models = [model for entries in students for model in entries]
    grouped: dict[tuple[str, str], list[Path]] = {}
    for path, place in sorted(places.items()):
        if (place["dataset"], place["benchmark"]) == (dataset, benchmark):
            grouped.setdefault((place["model"], place["arm"]), []).append(path)
    absent = [f"{m}/{a}" for m in models for a in (arm, against) if (m, a) not in grouped]
    if absent:
        raise InputError(f"{args.results}: no evaluation on {benchmark} of {', '.join(absent)}")
    read = {(m, a): [_read_run(p) for p in grouped[m, a]] for m in models for a in (arm, against)}
    shapes = {(tuple(ids), k) for runs in read.values() for ids, _, k in runs}
    if len(shapes) > 1:
        raise InputError(f"{args.results}: not the same problems and samples in all evaluations")
    [(ids, samples)] = shapes
    # a student's draws and their seeds are its runs
    accuracies = [
        [
            np.stack([row for model in entries for _, row, _ in read[model, a]])
            for entries in students
        ]
        for a in (arm, against)
    ]
    stated = {name: getattr(args, f"sd_{name}") for name in COMPONENTS if name != "difference"}
    pilot = power.estimate_components(
        list(zip(*accuracies, strict=True)),
        samples,
        **{name: None if value is None else value / POINTS for name, value in stated.items()},
    )
    return pilot, len(ids)


def _find_students(args: argparse.Namespace, known: list[str]) -> Sequence[Sequence[str]]:
    """The students of the pilot, each with its entries of ``models``.

    Raises InputError for a group that the plan does not have, and where several entries would count
    as students that the plan says are draws of one.
    """
    history = read_history(Path(args.results) / paths.PLAN)
    groups = {}
    if history:
        groups = {
            name: list_group(history[-1], name) for name in history[-1].plan.get("students") or {}
        }
    if args.group is not None:
        if args.group not in groups:
            there = f"there are {', '.join(groups)}" if groups else "it has no groups"
            raise InputError(f"--group {args.group}: not in {args.results}/{paths.PLAN}; {there}")
        return groups[args.group]
    models = args.model or known
    for name, students in groups.items():
        for entries in students:
            draws = [model for model in models if model in entries]
            if len(draws) > 1:
                raise InputError(
                    f"{', '.join(draws)}: draws of one student, by the plan; give --group {name}, "
                    "or --model with one of them"
                )
    return [[model] for model in models]


def _read_wildcards(path: Path, root: str) -> dict[str, str]:
    pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", paths.EVALUATION_VERDICTS)
    found = re.fullmatch(pattern, path.relative_to(root).as_posix())
    assert found, "the glob follows the same template"
    return found.groupdict()


def _choose(
    places: dict[Path, dict[str, str]], name: str, value: str | None, option: str = ""
) -> str:
    """The value of a wildcard: that of the option, or the only one that there is."""
    known = sorted({place[name] for place in places.values()})
    if value is None and len(known) == 1:
        return known[0]
    if value not in known:
        given = f" {value}: not in the results" if value is not None else ": name one"
        raise InputError(f"--{option or name}{given}; there are {', '.join(known)}")
    return value


def _read_run(path: Path) -> tuple[list[str], Any, int]:
    """Problem ids, their accuracies, and the samples per problem of one evaluation."""
    verdicts = tables.read(path, tables.VERDICTS, ["problem_id", "verdict"])
    counts = verdicts["problem_id"].value_counts()["count"]
    if counts.n_unique() != 1:
        raise InputError(f"{path}: not the same number of samples for every problem")
    right = (verdicts["verdict"] == "correct").to_numpy()
    return (*statistics.problem_means(verdicts["problem_id"].to_list(), right), int(counts[0]))


def _plan(components: Components, args: argparse.Namespace, problems: list[int]) -> list[Row]:
    """A row for each design of the grid."""
    sizes = list(itertools.product(problems, args.students, args.samples, args.runs))
    if len(sizes) > MAX_DESIGNS:
        raise InputError(f"{len(sizes)} designs are too many; name fewer than {MAX_DESIGNS + 1}")
    rows = []
    for count, students, samples, runs in sizes:
        design = Design(samples, count, runs, students)
        test = PlannedTest(components, design, alpha=args.alpha)
        found = None if args.effect is None else POINTS * test.power(args.effect / POINTS)
        cost = design.completions + args.run_cost * design.trainings
        rows.append(Row(design, found, POINTS * test.detectable(args.power), cost))
    return rows


def _describe(pilot: Pilot, args: argparse.Namespace) -> Iterator[str]:
    yield "Standard deviations, in points:"
    for name, what in COMPONENTS.items():
        value = getattr(pilot.components, name)
        if value is None:
            continue
        line = f"  {what:<50}{POINTS * value:5.1f}"
        if name == "run" and pilot.degrees:
            low, high = (POINTS * (bound or 0.0) for bound in (pilot.low, pilot.high))
            line += f"  (95 %: {low:.1f} to {high:.1f}; {pilot.degrees} degrees of freedom)"
        yield line
    yield from WHAT_A_RUN_IS.splitlines()


def _tabulate(rows: list[Row], args: argparse.Namespace) -> Iterator[str]:
    head = f"{'problems':>8}{'students':>10}{'k':>5}{'runs':>6}{'completions':>13}"
    yield head + ("" if args.effect is None else f"{'power, %':>10}") + f"{'detectable':>12}"
    for row in rows:
        d = row.design
        line = f"{d.problems:>8}{d.students:>10}{d.samples:>5}{d.runs:>6}{d.completions:>13,}"
        line += "" if row.power is None else f"{row.power:>10.0f}"
        yield line + f"{row.detectable:>12.1f}"


def _conclude(rows: list[Row], pilot: Pilot, args: argparse.Namespace) -> Iterator[str]:
    wanted = POINTS * args.power
    yield ""
    yield (
        f"k: samples per problem; runs: per arm and student; detectable: the points found with a "
        f"power of\n{wanted:g} % by the two-sided test at {args.alpha:g}."
    )
    if args.effect is None:
        return
    reaching = [row for row in rows if row.power is not None and row.power >= wanted]
    if reaching:
        cheapest = min(reaching, key=lambda row: (row.cost, row.design.trainings))
        fewest = min(reaching, key=lambda row: (row.design.trainings, row.cost))
        yield f"Cheapest for {args.effect:g} points: {_name_design(cheapest)}"
        if fewest is not cheapest:
            yield f"Fewest runs for {args.effect:g} points: {_name_design(fewest)}"
        return
    best = max(rows, key=lambda row: row.power or 0.0)
    normal, largest = NormalDist(), max(row.design.problems for row in rows)
    quantiles = normal.inv_cdf(1 - args.alpha / 2) + normal.inv_cdf(args.power)
    limit = POINTS * quantiles * pilot.components.difference / largest**0.5
    yield (
        f"None of these designs reaches it for {args.effect:g} points; the best has "
        f"{best.power:.0f} %. With any number of samples\nand runs {largest} problems leave "
        f"differences below {limit:.1f} points undetected."
    )


def _name_design(row: Row) -> str:
    d = row.design
    students = f"{d.students} students, " if d.students > 1 else ""
    return (
        f"k {d.samples}, {d.problems} problems, {students}{d.runs} runs, {d.completions:,} "
        f"completions, {d.trainings} trainings"
    )
