"""Coverage and error rates of the report's intervals and tests, by simulation with known truth.

Every setting is simulated EXPERIMENTS times with the functions that the report uses: sampled
answers of arms that do not differ, of problems of uneven difficulty, with a spread between training
runs (tau). Output: Markdown tables for docs/statistics.md. Run:
``python -m bench.coverage > tables.md``; ``--quick`` for a tenth of the experiments, ``--only``
for one table. Each setting has its own random numbers, whatever else is run.
"""

import argparse
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orion.experiment import statistics, student_t, two_way
from orion.experiment.power import Components, Design, PlannedTest

Array = NDArray[Any]


@dataclass(frozen=True)
class Setting:
    """One setting; ``tau``: standard deviation of a run's accuracy, in points."""

    problems: int
    samples: int
    runs: int
    tau: float


EXPERIMENTS = 2_000
ALPHA = 0.05
RESAMPLES = 1_000
# experiments whose own detectable difference is computed
PILOTS = 50
# standard deviations in log odds: problems, arm by problem, run by problem
OF_PROBLEM, OF_PAIR, OF_REST = 1.5, 0.7, 0.3
TAUS = (0.0, 0.5, 1.0, 2.0, 4.0)
# problems, samples per problem, runs per arm
SINGLE = (
    (160, 4, 2),
    (160, 4, 3),
    (160, 4, 5),
    (500, 8, 2),
    (500, 8, 3),
    (1319, 4, 2),
    (30, 64, 3),
)
FAMILY = (
    (160, 4, 2),
    (160, 4, 3),
    (160, 4, 5),
    (500, 8, 2),
    (500, 8, 3),
    (500, 8, 5),
    (1319, 4, 2),
    (1319, 4, 3),
)
# arms against which the first one is tested, on so many benchmarks: 8 tests
OTHERS, BENCHMARKS = 4, 2
POWER_AT = (
    Setting(160, 4, 2, 1.0),
    Setting(160, 4, 3, 1.0),
    Setting(160, 4, 3, 2.0),
    Setting(500, 8, 3, 1.0),
    Setting(160, 4, 5, 2.0),
)
SIZE_HEAD = ("problems", "samples", "runs", "tau, points")
LOW_SIZES = ((30, 16), (160, 4), (160, 8), (500, 4))
RATES = (0.01, 0.02, 0.05, 0.2, 0.5)
# correlation of two samples of a problem
CORRELATIONS = (0.0, 0.2, 0.5, 0.9)


def make_rng(*key: object) -> np.random.Generator:
    """Randomness of one setting, whatever ran before."""
    return statistics.keyed_rng("coverage", *key)


@functools.cache
def slope() -> float:
    """Change of the accuracy per unit of log odds, averaged over problems."""
    spread = np.sqrt(OF_PROBLEM**2 + OF_PAIR**2 + OF_REST**2)
    right = 1 / (1 + np.exp(-spread * make_rng("slope").standard_normal(200_000)))
    return float((right * (1 - right)).mean())


def draw_accuracies(
    rng: np.random.Generator, setting: Setting, experiments: int, arms: int, shift: float = 0.0
) -> Array:
    """Accuracies ``(experiments, arms, runs, problems)`` of arms with one expected accuracy.

    ``shift``: log odds by which the first arm is better. Without it the truth is zero by symmetry.
    """
    shape = (experiments, arms, setting.runs, setting.problems)

    def normal(*axes: int) -> Array:
        size = [length if axis in axes else 1 for axis, length in enumerate(shape)]
        return rng.standard_normal(size, dtype=np.float32)

    log_odds = OF_PROBLEM * normal(0, 3) + OF_PAIR * normal(0, 1, 3) + OF_REST * normal(0, 1, 2, 3)
    log_odds = log_odds + np.float32(setting.tau / 100 / slope()) * normal(0, 1, 2)
    log_odds[:, 0] += np.float32(shift)
    right = rng.binomial(setting.samples, 1 / (1 + np.exp(-log_odds)))
    return right / setting.samples


def chunks(setting: Setting, experiments: int, arms: int) -> Iterator[int]:
    """Numbers of experiments that fit into memory at once."""
    size = max(1, 4_000_000 // (arms * setting.runs * setting.problems))
    for start in range(0, experiments, size):
        yield min(size, experiments - start)


@dataclass(frozen=True)
class Tests:
    """The t tests of experiments: differences, standard errors, weight and degrees of the runs."""

    values: Array
    errors: Array
    weights: Array
    few: Array
    degrees: int

    def reject(self, alpha: float) -> Array:
        """Whether each is significant at the level ``alpha``."""
        critical = student_t.mixed_quantile(alpha, self.degrees, self.few, self.weights)
        return np.abs(self.values) >= critical * self.errors


def t_test(arm: Array, against: Array) -> Tests:
    """The tests of experiments ``(e, runs, problems)``."""
    differences = arm.mean(axis=1) - against.mean(axis=1)
    variance, weights, few = two_way.estimate_variance(differences, [arm, against])
    degrees = differences.shape[1] - 1
    return Tests(differences.mean(axis=1), np.sqrt(variance), weights, few, degrees)


def covers(differences: Array, rng: np.random.Generator) -> Array:
    """Whether the percentile bootstrap over problems ``(e, problems)`` covers zero.

    The experiments share their resamples, which leaves each one's coverage as it is.
    """
    problems = differences.shape[1]
    weights = rng.multinomial(problems, np.full(problems, 1 / problems), size=RESAMPLES) / problems
    low, high = np.quantile(weights @ differences.T, [ALPHA / 2, 1 - ALPHA / 2], axis=0)
    return (low <= 0) & (high >= 0)


def simulate_single(setting: Setting, experiments: int) -> list[float]:
    """Shares: the t interval covers, the t test errs, the bootstrap over problems covers."""
    rng = make_rng("single", setting)
    rejected, boot = [], []
    for size in chunks(setting, experiments, 2):
        arms = draw_accuracies(rng, setting, size, 2)
        rejected.append(t_test(arms[:, 0], arms[:, 1]).reject(ALPHA))
        boot.append(covers(arms[:, 0].mean(axis=1) - arms[:, 1].mean(axis=1), rng))
    wrong = float(np.concatenate(rejected).mean())
    return [1 - wrong, wrong, float(np.concatenate(boot).mean())]


def simulate_family(setting: Setting, experiments: int, *, shared: bool) -> float:
    """Share of families of 8 null tests in which Holm's correction lets a side be named.

    ``shared``: as on the page, one arm against four others; else eight pairs of separate arms.
    """
    rng = make_rng("family", setting, shared)
    named = 0
    arms = OTHERS + 1 if shared else 2 * OTHERS
    for size in chunks(setting, experiments, arms):
        tests = []
        for _ in range(BENCHMARKS):
            drawn = draw_accuracies(rng, setting, size, arms)
            for index in range(OTHERS):
                first, second = (0, index + 1) if shared else (2 * index, 2 * index + 1)
                tests.append(t_test(drawn[:, first], drawn[:, second]))
        # all are null, so the smallest p decides whether Holm's correction errs at all
        named += int(np.any([t.reject(ALPHA / len(tests)) for t in tests], axis=0).sum())
    return named / experiments


def simulate_power(setting: Setting, experiments: int) -> list[float]:
    """Detectable differences and the power found at the first of them.

    The first is what `orion power` says from the mean squares of all experiments, that is from
    known components of the variance; the second is the median of what single experiments call
    detectable.
    """
    rng = make_rng("power", setting)
    of_pairs, squares, pilots = [], [], []
    for size in chunks(setting, experiments, 2):
        arms = draw_accuracies(rng, setting, size, 2)
        pairs = arms[:, 0].mean(axis=1) - arms[:, 1].mean(axis=1)
        of_pairs.append(pairs.var(axis=1, ddof=1))
        squares.append(two_way.mean_squares(arms))  # twice (experiments, arms)
        t = t_test(arms[:, 0], arms[:, 1])
        for error, weight, few in zip(t.errors, t.weights, t.few, strict=True):
            pilots.append(two_way.Effect(0.0, error, t.degrees, weight, few))
    run, rest = (np.concatenate(part).mean(axis=0) for part in zip(*squares, strict=True))
    noise = float(rest.mean())
    components = Components(
        difference=_root(np.concatenate(of_pairs).mean() - 2 * noise / setting.runs),
        run=_root((run.mean() - noise) / setting.problems),
        # of one run at one problem, samples included
        run_problem=_root(noise),
        sampling=0.0,
    )
    design = Design(setting.samples, setting.problems, setting.runs)
    planned = PlannedTest(components, design, alpha=ALPHA)
    wanted = planned.detectable(two_way.POWER)
    alone = [pilot.detectable(ALPHA) for pilot in pilots[:PILOTS]]
    found, truth = [], []
    for size in chunks(setting, experiments, 2):
        arms = draw_accuracies(rng, setting, size, 2, wanted / slope())
        found.append(t_test(arms[:, 0], arms[:, 1]).reject(ALPHA))
        truth.append((arms[:, 0] - arms[:, 1]).mean(axis=(1, 2)))
    # the shift in log odds moves the accuracy by a little less than asked for
    predicted = planned.power(float(np.concatenate(truth).mean()))
    power = float(np.concatenate(found).mean())
    return [wanted, float(np.median(alone)), predicted, power]


def _root(variance: float) -> float:
    return float(np.sqrt(max(0.0, variance)))


def simulate_share(
    problems: int, samples: int, rate: float, correlation: float, experiments: int
) -> list[float]:
    """Coverage of Wilson's clustered interval and of the bootstrap, and the first one's width."""
    rng = make_rng("share", problems, samples, rate, correlation)
    chance: Any = rate
    if correlation:
        weight = (1 - correlation) / correlation
        chance = rng.beta(rate * weight, (1 - rate) * weight, size=(experiments, problems))
    right = rng.binomial(samples, chance, size=(experiments, problems))
    found = [statistics.share_interval(row, samples, confidence=1 - ALPHA) for row in right]
    covered = np.mean([interval.low <= rate <= interval.high for interval in found])
    width = np.mean([interval.high - interval.low for interval in found])
    boot = covers(right / samples - rate, rng).mean()
    return [float(covered), float(boot), float(width)]


def percent(value: float) -> str:
    return f"{100 * value:.1f}"


def print_head(title: str, head: list[str]) -> None:
    print(f"\n{title}\n\n| {' | '.join(head)} |\n|{'---|' * len(head)}", flush=True)


def print_row(texts: list[str]) -> None:
    print(f"| {' | '.join(texts)} |", flush=True)


def judge(name: str, values: list[float], low: float, high: float) -> str:
    """A line that says whether all values lie between the bounds."""
    below, above = (sum(value < low for value in values), sum(value > high for value in values))
    verdict = "met"
    if below or above:
        verdict = (
            f"missed in {below + above} of {len(values)} settings, {below} below and {above} above"
        )
    return f"- {name}: {percent(min(values))} to {percent(max(values))} %. {verdict}."


def run_single(experiments: int) -> list[str]:
    """The table of single tests; the goal lines."""
    head = [*SIZE_HEAD, "t interval covers", "t test errs", "bootstrap over problems covers"]
    print_head("Single tests of arms that do not differ, %:", head)
    coverage, levels = [], []
    for size in SINGLE:
        for tau in TAUS:
            found = simulate_single(Setting(*size, tau), experiments)
            coverage.append(found[0])
            levels.append(found[1])
            print_row([*map(str, size), f"{tau:g}", *map(percent, found)])
    return [
        judge("95 % intervals cover 93 to 98 %", coverage, 0.93, 0.98),
        judge("single tests err in at most 6 %", levels, 0.0, 0.06),
    ]


def run_families(experiments: int) -> list[str]:
    """The table of families of tests; the goal lines."""
    head = [*SIZE_HEAD, "one arm against four, two benchmarks", "eight separate pairs"]
    print_head("Families of 8 null tests in which a side is named, %:", head)
    # by whether there are more than two runs
    shared: dict[bool, list[float]] = {True: [], False: []}
    separate: dict[bool, list[float]] = {True: [], False: []}
    for size in FAMILY:
        for tau in TAUS:
            setting = Setting(*size, tau)
            found = [simulate_family(setting, experiments, shared=s) for s in (True, False)]
            shared[setting.runs > 2].append(found[0])
            separate[setting.runs > 2].append(found[1])
            print_row([*map(str, size), f"{tau:g}", *map(percent, found)])
    return [
        judge("families, three and five runs, at most 6 %", shared[True], 0.0, 0.06),
        judge("families, two runs, at most 12 %", shared[False], 0.0, 0.12),
        judge("the same of separate pairs, three and five runs", separate[True], 0.0, 0.06),
        judge("the same of separate pairs, two runs", separate[False], 0.0, 0.12),
    ]


def run_power(experiments: int) -> list[str]:
    """The table of predicted and simulated power; the goal line."""
    head = [*SIZE_HEAD, "detectable, from known components", "from one experiment, median"]
    head += ["power predicted at the former, %", "power found, %"]
    print_head("Detectable differences in points, and the power:", head)
    gaps = []
    for setting in POWER_AT:
        wanted, pilots, predicted, found = simulate_power(setting, experiments)
        gaps.append(abs(found - predicted))
        size = (setting.problems, setting.samples, setting.runs, f"{setting.tau:g}")
        print_row([*map(str, size), *map(percent, (wanted, pilots, predicted, found))])
    return [judge("power predicted and found differ by at most 5 points", gaps, 0.0, 0.05)]


def run_shares(experiments: int) -> list[str]:
    """The table of intervals of shares; the goal lines."""
    head = ["problems", "samples", "rate, %", "correlation of samples"]
    head += ["Wilson, clustered, covers", "bootstrap covers", "width of Wilson's, points"]
    print_head("Intervals of one share, %:", head)
    wilson, low = [], []
    for problems, samples in LOW_SIZES:
        for rate in RATES:
            for correlation in CORRELATIONS:
                found = simulate_share(problems, samples, rate, correlation, experiments)
                wilson.append(found[0])
                low += [found[0]] if rate <= 0.05 else []
                size = (problems, samples, f"{100 * rate:g}", correlation)
                print_row([*map(str, size), *map(percent, found)])
    return [
        judge("95 % intervals of shares cover 93 to 98 %", wilson, 0.93, 0.98),
        judge("of these at rates of 1 to 5 %", low, 0.93, 0.98),
    ]


TABLES = {
    "single": run_single,
    "families": run_families,
    "power": run_power,
    "shares": run_shares,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="a tenth of the experiments")
    parser.add_argument("--only", choices=TABLES, help="one of the tables")
    args = parser.parse_args()
    experiments = EXPERIMENTS // 10 if args.quick else EXPERIMENTS
    print(f"{experiments:,} experiments a setting.")
    wanted = [args.only] if args.only else list(TABLES)
    goals = [line for name in wanted for line in TABLES[name](experiments)]
    print("\nGoals:\n\n" + "\n".join(goals))


if __name__ == "__main__":
    main()
