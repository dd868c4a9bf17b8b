"""Coverage and error rates of tests over students, and over problems in clusters, by simulation.

As ``bench.coverage``, with the functions that the report uses: sampled answers of arms that do not
differ. Students, draws of data and training seeds spread, and problems resemble the others of their
cluster. Output: Markdown tables for docs/statistics.md. Run: ``python -m bench.students``;
``--experiments 100`` for a quick look, ``--only`` for one table.
"""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.coverage import (
    ALPHA,
    BENCHMARKS,
    EXPERIMENTS,
    OF_PAIR,
    OF_PROBLEM,
    OF_REST,
    OTHERS,
    judge,
    make_rng,
    percent,
    print_head,
    print_row,
    slope,
)
from orion.experiment import student_t, two_way
from orion.experiment.statistics import Integers

Array = NDArray[Any]
# level → whether each experiment rejects
Test = Callable[[float], Array]

# standard deviation in log odds: student by problem, the same for all arms
OF_STUDENT_PROBLEM = 0.5
# points: between students and between draws, of the arms' difference; between seeds, of an arm
SPREADS = ((0.0, 0.0, 0.0), (2.0, 1.0, 1.0), (4.0, 2.0, 1.0), (8.0, 4.0, 2.0))
# problems, samples per problem, students, draws, seeds
GROUPS = (
    *((160, 4, students, draws, 2) for students in (2, 3, 5, 8) for draws in (1, 2)),
    (160, 4, 3, 1, 1),
    (500, 8, 3, 1, 2),
    (500, 8, 5, 1, 2),
)
# problems, samples per problem, students, seeds; one student has its seeds as runs
CLUSTERED = (
    (160, 4, 1, 2),
    (160, 4, 1, 3),
    (60, 16, 1, 3),
    (500, 8, 1, 3),
    (160, 4, 3, 2),
    (160, 4, 5, 2),
)
SIZES = (1, 2, 3, 4)
CORRELATIONS = (0.0, 0.5, 0.9)
CLUSTER_TAUS = (0.0, 2.0)


@dataclass(frozen=True)
class Setting:
    """One setting; ``spreads``: of students, draws and seeds, in points, as in SPREADS.

    ``correlation``: of what problems of one cluster have in common; 0 also means no clusters.
    """

    problems: int
    samples: int
    students: int
    draws: int
    seeds: int
    spreads: tuple[float, float, float]
    correlation: float = 0.0


def make_clusters(problems: int) -> Integers:
    """Clusters of one to four problems, in turn: the number of each problem's cluster."""
    sizes = np.resize(SIZES, problems)
    numbers: Integers = np.repeat(np.arange(problems), sizes)[:problems]
    return numbers


def draw_accuracies(
    rng: np.random.Generator,
    setting: Setting,
    experiments: int,
    arms: int,
    clusters: Integers | None = None,
) -> Array:
    """Accuracies ``(experiments, arms, students, draws, seeds, problems)`` of equal arms."""
    s = setting
    shape = (experiments, arms, s.students, s.draws, s.seeds, s.problems)

    def normal(*axes: int, last: int | None = None) -> Array:
        size = [length if axis in axes else 1 for axis, length in enumerate(shape)]
        if last is not None:
            size[5] = last
        return rng.standard_normal(size, dtype=np.float32)

    def of_problems(spread: float, *axes: int) -> Array:
        own = normal(*axes, 5)
        if clusters is not None:
            common = normal(*axes, last=int(clusters.max()) + 1)[..., clusters]
            own = np.sqrt(1 - s.correlation) * own + np.sqrt(s.correlation) * common
        return np.float32(spread) * own

    log_odds = of_problems(OF_PROBLEM, 0) + of_problems(OF_PAIR, 0, 1)
    log_odds = log_odds + of_problems(OF_STUDENT_PROBLEM, 0, 2)
    log_odds = log_odds + of_problems(OF_REST, 0, 1, 2, 3, 4)
    # a difference of two arms has the spread of one arm times the root of 2
    per_arm = (s.spreads[0] / 2**0.5, s.spreads[1] / 2**0.5, s.spreads[2])
    for number, spread in enumerate(per_arm):
        log_odds += np.float32(spread / 100 / slope()) * normal(*range(3 + number))
    return rng.binomial(s.samples, 1 / (1 + np.exp(-log_odds))) / s.samples


def chunks(setting: Setting, experiments: int, arms: int) -> Iterator[int]:
    """Numbers of experiments that fit into memory at once."""
    s = setting
    size = max(1, 4_000_000 // (arms * s.students * s.draws * s.seeds * s.problems))
    for start in range(0, experiments, size):
        yield min(size, experiments - start)


def reject_group(arm: Array, against: Array, clusters: Integers | None = None) -> Test:
    """The test over students of experiments ``(e, students, draws, seeds, problems)``.

    Draws and seeds are averaged first; rows are the students, paired.
    """
    table = (arm - against).mean(axis=(2, 3))  # (e, students, problems)
    variance, weight = two_way.estimate_paired(table, clusters)
    degrees = two_way.count_units(table.shape[2], clusters) - 1
    t = np.abs(table.mean(axis=(1, 2))) / np.sqrt(variance)
    return lambda alpha: t > student_t.mixed_quantile(alpha, degrees, table.shape[1] - 1, weight)


def reject_student(arm: Array, against: Array, clusters: Integers | None = None) -> Test:
    """The test of the first student with its first draw; its seeds are the runs."""
    runs = [each[:, 0, 0] for each in (arm, against)]
    differences = runs[0].mean(axis=1) - runs[1].mean(axis=1)
    variance, weight, few = two_way.estimate_variance(differences, runs, clusters)
    degrees = two_way.count_units(differences.shape[-1], clusters) - 1
    t = np.abs(differences.mean(axis=-1)) / np.sqrt(variance)
    return lambda alpha: t > student_t.mixed_quantile(alpha, degrees, few, weight)


def simulate_group(setting: Setting, experiments: int) -> list[float]:
    """Shares: the test over students errs, families of 8 do, that of one student errs.

    A family is one arm against four others on two benchmarks, with Holm's correction. The last is
    the test that the report makes of one student, held against new students: with one seed there is
    none, and the share is not a number.
    """
    rng = make_rng("students", setting)
    single, alone, named = [], [], 0
    for size in chunks(setting, experiments, OTHERS + 1):
        tests = []
        for benchmark in range(BENCHMARKS):
            drawn = draw_accuracies(rng, setting, size, OTHERS + 1)
            tests += [reject_group(drawn[:, 0], drawn[:, 1 + other]) for other in range(OTHERS)]
            if benchmark == 0 and setting.seeds > 1:
                alone.append(reject_student(drawn[:, 0], drawn[:, 1])(ALPHA))
        single.append(tests[0](ALPHA))
        # all are null, so the smallest p decides whether Holm's correction errs at all
        named += int(np.any([test(ALPHA / len(tests)) for test in tests], axis=0).sum())
    of_one = float(np.concatenate(alone).mean()) if alone else float("nan")
    return [float(np.concatenate(single).mean()), named / experiments, of_one]


def simulate_clusters(setting: Setting, experiments: int) -> list[float]:
    """Shares: the test over clusters errs, the same without knowing of clusters."""
    rng = make_rng("clusters", setting)
    clusters = make_clusters(setting.problems)
    test = reject_group if setting.students > 1 else reject_student
    found: tuple[list[Array], list[Array]] = ([], [])
    for size in chunks(setting, experiments, 2):
        drawn = draw_accuracies(rng, setting, size, 2, clusters)
        for errors, known in zip(found, (clusters, None), strict=True):
            errors.append(test(drawn[:, 0], drawn[:, 1], known)(ALPHA))
    return [float(np.concatenate(errors).mean()) for errors in found]


def run_students(experiments: int) -> list[str]:
    """The table of tests over students; the goal lines."""
    head = ["problems", "samples", "students", "draws", "seeds", "spread of students, draws, seeds"]
    head += ["interval over students covers", "single test errs", "family of 8 errs"]
    print_head(
        "Tests over students, arms that do not differ, %:", [*head, "one student's interval covers"]
    )
    levels, families, of_two = [], [], []
    for size in GROUPS:
        for spreads in SPREADS:
            single, family, alone = simulate_group(Setting(*size, spreads), experiments)
            levels.append(single)
            (families if size[2] > 2 else of_two).append(family)
            texts = [*map(str, size), ", ".join(f"{spread:g}" for spread in spreads)]
            texts += map(percent, (1 - single, single, family))
            print_row([*texts, percent(1 - alone) if alone == alone else "–"])
    return [
        judge("95 % intervals over students cover 93 to 98 %", [1 - x for x in levels], 0.93, 0.98),
        judge("single tests over students err in at most 6 %", levels, 0.0, 0.06),
        judge("families over three students and more, at most 6 %", families, 0.0, 0.06),
        judge("families over two students, at most 12 %", of_two, 0.0, 0.12),
    ]


def run_clusters(experiments: int) -> list[str]:
    """The table of tests of problems in clusters; the goal lines."""
    head = ["problems", "clusters", "samples", "students", "seeds", "spread of seeds"]
    head += ["correlation", "interval over clusters covers", "test errs", "without clusters covers"]
    print_head("Problems in clusters of 1 to 4, arms that do not differ, %:", head)
    levels = []
    for problems, samples, students, seeds in CLUSTERED:
        count = int(make_clusters(problems).max()) + 1
        for tau in CLUSTER_TAUS:
            for correlation in CORRELATIONS:
                spreads = (tau if students > 1 else 0.0, 0.0, tau)
                size = (problems, samples, students, 1, seeds)
                setting = Setting(*size, spreads, correlation)
                errs, ignoring = simulate_clusters(setting, experiments)
                levels.append(errs)
                texts = map(str, (problems, count, samples, students, seeds))
                shown = map(percent, (1 - errs, errs, 1 - ignoring))
                print_row([*texts, f"{tau:g}", f"{correlation:g}", *shown])
    return [
        judge("95 % intervals over clusters cover 93 to 98 %", [1 - x for x in levels], 0.93, 0.98),
        judge("single tests over clusters err in at most 6 %", levels, 0.0, 0.06),
    ]


TABLES = {"students": run_students, "clusters": run_clusters}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--experiments", type=int, default=EXPERIMENTS, help="of each setting")
    parser.add_argument("--only", choices=TABLES, help="one of the tables")
    args = parser.parse_args()
    print(f"{args.experiments:,} experiments a setting.")
    wanted = [args.only] if args.only else list(TABLES)
    goals = [line for name in wanted for line in TABLES[name](args.experiments)]
    print("\nGoals:\n\n" + "\n".join(goals))


if __name__ == "__main__":
    main()
