"""Critical values for the test over problems and runs, side by side, by simulation.

The mean squares of an experiment with normal numbers are independent and follow chi-square laws, so
an experiment costs a few draws. The components of the variance are those of the answers that
``bench.coverage`` simulates. Output: Markdown tables for docs/statistics.md, of arms that do not
differ: for each way to find the critical value its worst figures over the grid, and the families of
the one in use. Run: ``python -m bench.critical_values``; ``--experiments 2000`` for a quick look.
"""

import argparse
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.coverage import (
    ALPHA,
    BENCHMARKS,
    FAMILY,
    OTHERS,
    SINGLE,
    TAUS,
    Setting,
    draw_accuracies,
    make_rng,
    percent,
    print_head,
    print_row,
)
from orion.experiment import student_t, two_way

Array = NDArray[Any]

EXPERIMENTS = 20_000
TESTS = OTHERS * BENCHMARKS
# problems and experiments from which the components are measured
MANY_PROBLEMS, MANY = 4_000, 24


@dataclass(frozen=True)
class Squares:
    """What each of many experiments finds; parts of the variance of the mean difference.

    ``problems``: of the problems, the rest included. ``runs`` and ``rest``, one column per arm: of
    the means over runs, and of the rest. ``size``: problems, samples, runs.
    """

    values: Array
    problems: Array
    runs: Array
    rest: Array
    size: tuple[int, int, int]


# experiments and level → squares of the differences that are just significant
Bound = Callable[[Squares, float], Array]


@functools.cache
def measure_components(setting: Setting) -> tuple[float, float]:
    """Variance between problems of the arms' true difference, and of the rest, of an arm."""
    many = Setting(MANY_PROBLEMS, setting.samples, 3, setting.tau)
    drawn = draw_accuracies(make_rng("components", setting), many, MANY, 2)
    rest = float(two_way.mean_squares(drawn)[1].mean())
    pairs = drawn[:, 0].mean(axis=1) - drawn[:, 1].mean(axis=1)
    return float(pairs.var(axis=1, ddof=1).mean() - 2 * rest / 3), rest


def draw_squares(
    rng: np.random.Generator,
    setting: Setting,
    taus: list[float],
    parts: tuple[float, float],
    experiments: int,
) -> Iterator[Squares]:
    """The first arm against each other one; ``taus``: of each arm, in points."""
    n, runs, arms = setting.problems, setting.runs, len(taus)
    of_problem, rest = parts[0] / 2 + parts[1] / setting.runs, parts[1]
    # sums of products over problems of the arms' means over runs: Wishart, after Bartlett
    factor = np.zeros((experiments, arms, arms))
    for row in range(arms):
        factor[:, row, row] = np.sqrt(rng.chisquare(n - 1 - row, experiments))
        factor[:, row, :row] = rng.standard_normal((experiments, row))
    products = of_problem / (n - 1) * factor @ factor.transpose(0, 2, 1)
    spread = (np.array(taus) / 100) ** 2
    shape = (experiments, arms)
    means = rng.standard_normal(shape) * np.sqrt(of_problem / n + spread / runs)
    of_runs = (spread + rest / n) / runs * rng.chisquare(runs - 1, shape) / (runs - 1)
    free = (runs - 1) * (n - 1)
    of_rest = rest / (n * runs) * rng.chisquare(free, shape) / free
    for other in range(1, arms):
        pair = products[:, 0, 0] + products[:, other, other] - 2 * products[:, 0, other]
        both = [0, other]
        size = (n, setting.samples, runs)
        values = means[:, 0] - means[:, other]
        yield Squares(values, pair / n, of_runs[:, both], of_rest[:, both], size)


def quantile(alpha: float, degrees: Any) -> Array:
    """The square of the two-sided t quantile."""
    return student_t.critical_values(alpha, np.asarray(degrees, dtype=float)) ** 2


def satterthwaite(apart: bool) -> Bound:
    """Satterthwaite's degrees of a variance whose runs' components are at least zero."""

    def bound(s: Squares, alpha: float) -> Array:
        n, _, runs = s.size
        variance = s.problems + np.maximum(0.0, s.runs - s.rest).sum(axis=1)
        squares = (s.runs**2).sum(axis=1) if apart else s.runs.sum(axis=1) ** 2
        spread = s.problems**2 / (n - 1) + squares / (runs - 1)
        spread = spread + (s.rest**2).sum(axis=1) / ((runs - 1) * (n - 1))
        return variance * quantile(alpha, np.maximum(variance**2 / spread, runs - 1))

    return bound


def weigh(find: Callable[[Squares], Any], *, floor: bool = False, cochran: bool = False) -> Bound:
    """Banerjee's weights of the squares of two quantiles, or Cochran's of the quantiles.

    ``find``: the degrees of freedom of the runs. ``floor``: never below what the problems alone
    would give, as if the runs did not differ.
    """

    def bound(s: Squares, alpha: float) -> Array:
        whole = s.runs.sum(axis=1)
        known = np.maximum(0.0, s.problems - s.rest.sum(axis=1))
        of_problems, of_runs = quantile(alpha, s.size[0] - 1), quantile(alpha, find(s))
        found = known * of_problems + whole * of_runs
        if cochran:
            mean = known * np.sqrt(of_problems) + whole * np.sqrt(of_runs)
            found = mean**2 / (known + whole)
        return np.maximum(found, s.problems * of_problems) if floor else found

    return bound


def welch(cap: int) -> Callable[[Squares], Array]:
    """Welch's degrees of the runs, at most 2R less ``cap``."""

    def find(s: Squares) -> Array:
        runs = s.size[2]
        share = s.runs.sum(axis=1) ** 2 / (s.runs**2).sum(axis=1)
        return np.clip(share * (runs + 1) - 2, runs - 1, 2 * runs - cap)

    return find


def larger(s: Squares, alpha: float) -> Array:
    """The t test over problems alone, and that over runs alone with 2R - 2 degrees, both."""
    of_problems, of_runs = quantile(alpha, s.size[0] - 1), quantile(alpha, 2 * s.size[2] - 2)
    return np.maximum(s.problems * of_problems, s.runs.sum(axis=1) * of_runs)


def in_use(s: Squares, alpha: float) -> Array:
    """That of the report."""
    n, _, runs = s.size
    squares = [(s.runs[:, i] * n * runs, s.rest[:, i] * n * runs, runs) for i in range(2)]
    variance, weight, few = two_way.combine_squares(s.problems * n, squares, n)
    return variance * student_t.mixed_quantile(alpha, n - 1, few, weight) ** 2


IN_USE = "**Banerjee's, Welch's degrees, at most 2R − 1**"
CANDIDATES: dict[str, Bound] = {
    "Satterthwaite's, arms together": satterthwaite(apart=False),
    "Satterthwaite's, arms apart": satterthwaite(apart=True),
    "Cochran's, R − 1 degrees": weigh(lambda s: s.size[2] - 1, cochran=True),
    "Cochran's, 2R − 2 degrees": weigh(lambda s: 2 * s.size[2] - 2, cochran=True),
    "Banerjee's, R − 1 degrees": weigh(lambda s: s.size[2] - 1),
    "Banerjee's, 2R − 2 degrees": weigh(lambda s: 2 * s.size[2] - 2),
    "Banerjee's, Welch's degrees, at most 2R − 2": weigh(welch(2)),
    IN_USE: in_use,
    "the same, never below that of the problems alone": weigh(welch(1), floor=True),
    "Banerjee's, Welch's degrees as written": weigh(welch(0)),
    "the larger of problems' alone and runs' alone, 2R − 2 degrees": larger,
}


@dataclass
class Worst:
    """Extreme shares of one candidate; families by whether there are more than two runs."""

    covers: list[float] = field(default_factory=list)
    errs: list[float] = field(default_factory=list)
    families: dict[bool, list[float]] = field(default_factory=lambda: {False: [], True: []})


def simulate(
    setting: Setting, experiments: int, *, equal: bool
) -> dict[str, tuple[float, float, float]]:
    """Per candidate: a single test errs, eight separate pairs do, one arm against four does.

    ``equal``: runs of all arms spread alike; else only those of the first arm spread. Families of
    separate pairs follow from the level of one. Those of one arm are a quarter of the experiments.
    """
    rng, parts = make_rng("squares", setting, equal), measure_components(setting)
    others = setting.tau if equal else 0.0
    [pair] = draw_squares(rng, setting, [setting.tau, others], parts, experiments)
    levels = {
        name: [float((pair.values**2 > bound(pair, a)).mean()) for a in (ALPHA, ALPHA / TESTS)]
        for name, bound in CANDIDATES.items()
    }
    named: dict[str, Any] = dict.fromkeys(CANDIDATES, False)
    taus = [setting.tau, *[others] * OTHERS]
    for _ in range(BENCHMARKS):
        for one in draw_squares(rng, setting, taus, parts, experiments // 4):
            for name, bound in CANDIDATES.items():
                named[name] = named[name] | (one.values**2 > bound(one, ALPHA / TESTS))
    return {
        name: (single, 1 - (1 - strict) ** TESTS, float(np.mean(named[name])))
        for name, (single, strict) in levels.items()
    }


def compare_lengths(setting: Setting, experiments: int) -> tuple[float, float]:
    """How often the interval is shorter than one over problems alone, and how often it covers then.

    It is shorter where the runs agree better than their rest lets expect.
    """
    taus, parts = [setting.tau] * 2, measure_components(setting)
    [pair] = draw_squares(make_rng("lengths", setting), setting, taus, parts, experiments)
    bound = in_use(pair, ALPHA)
    is_shorter = bound < pair.problems * quantile(ALPHA, setting.problems - 1)
    covers = pair.values**2 <= bound
    return float(is_shorter.mean()), float(covers[is_shorter].mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--experiments", type=int, default=EXPERIMENTS, help="of each setting")
    experiments = parser.parse_args().experiments
    worst = {(name, equal): Worst() for name in CANDIDATES for equal in (True, False)}
    head = ["problems", "samples", "runs", "tau, points", "covers", "eight separate pairs"]
    print_head(
        f"{IN_USE}, {experiments:,} experiments a setting, %:",
        [*head, "one arm against four", "covers, other arms without spread", "pairs", "one arm"],
    )
    for size in dict.fromkeys((*SINGLE, *FAMILY)):
        for tau in TAUS:
            texts = [*map(str, size), f"{tau:g}"]
            for equal in (True, False):
                found = simulate(Setting(*size, tau), experiments, equal=equal)
                for name, (single, *families) in found.items():
                    worst[name, equal].covers.append(1 - single)
                    worst[name, equal].errs.append(single)
                    worst[name, equal].families[size[2] > 2].append(max(families))
                single, *families = found[IN_USE]
                texts += map(percent, (1 - single, *families))
            print_row(texts)
    head = ["critical value", "covers", "single errs", "families, 2 runs", "3 and more"]
    head += [f"other arms without spread: {name}" for name in ("single", "2 runs", "3 and more")]
    print_head("The worst over these settings, %:", head)
    for name in CANDIDATES:
        texts = [name]
        for equal in (True, False):
            w = worst[name, equal]
            texts += [f"{percent(min(w.covers))}–{percent(max(w.covers))}"] if equal else []
            texts += map(percent, (max(w.errs), max(w.families[False]), max(w.families[True])))
        print_row(texts)
    head = ["problems", "samples", "runs", "tau, points"]
    print_head("Intervals shorter than those over problems alone, %:", [*head, "are", "cover"])
    for size in SINGLE:
        for tau in (0.0, 1.0):
            found = compare_lengths(Setting(*size, tau), experiments)
            print_row([*map(str, size), f"{tau:g}", *map(percent, found)])


if __name__ == "__main__":
    main()
