"""Intervals and tests computed a second time, from their definitions and with mpmath.

Nothing here uses `orion`. Tables are lists or arrays (runs, problems).
"""

import math

import mpmath


def mean(values) -> float:
    values = [float(value) for value in values]
    return math.fsum(values) / len(values)


def sum_of_squares(values) -> float:
    values = [float(value) for value in values]
    centre = mean(values)
    return math.fsum((value - centre) ** 2 for value in values)


def deviation(values) -> float | None:
    """The standard deviation; None of one value."""
    values = list(values)
    return math.sqrt(sum_of_squares(values) / (len(values) - 1)) if len(values) > 1 else None


def totals(values, names) -> list[float]:
    """Sums of the values over equal names, in the order in which these appear."""
    found: dict[object, list[float]] = {}
    for value, name in zip(values, names, strict=True):
        found.setdefault(name, []).append(float(value))
    return [math.fsum(each) for each in found.values()]


def count_clusters(names) -> int | None:
    """The number of different names; None where there are as many as problems."""
    return None if len(set(names)) == len(names) else len(set(names))


def cluster_robust(residuals, names) -> float:
    """n times the CR1 variance of a mean, from its residuals: Cameron & Miller 2015, (11)."""
    sums = totals(residuals, names)
    n, c = len(names), len(sums)
    return c / (c - 1) * math.fsum(x * x for x in sums) / n


def anova(table, names=None) -> tuple[float, float]:
    """MS of runs and of the rest: the rest is the total less runs less problems.

    With names of clusters the rest is the cluster-robust one of each run, summed.
    """
    if names is not None:
        runs, columns = len(table), [mean(column) for column in zip(*table, strict=True)]
        by_run = len(columns) * sum_of_squares([mean(row) for row in table])
        rest = 0.0
        for row in table:
            shift = mean(row) - mean(columns)
            residuals = [x - m - shift for x, m in zip(row, columns, strict=True)]
            rest += cluster_robust(residuals, names)
        return by_run / (runs - 1), rest / (runs - 1)
    runs, problems = len(table), len(table[0])
    total = sum_of_squares([value for row in table for value in row])
    by_run = problems * sum_of_squares([mean(row) for row in table])
    by_problem = runs * sum_of_squares([mean(column) for column in zip(*table, strict=True)])
    rest = total - by_run - by_problem
    return by_run / (runs - 1), rest / ((runs - 1) * (problems - 1))


def estimate(arm, against, names=None) -> tuple[float, ...] | None:
    """Difference, standard error, degrees of problems, weight and degrees of the unpaired runs.

    ``names``: of the problems' clusters, where these have any. None without a spread.
    """
    names = None if names is None or count_clusters(names) is None else names
    problems = len(arm[0])
    units = problems if names is None else len(set(names))
    if min(len(arm), len(against)) < 2 or units < 2:
        return None
    pairs = [
        mean(ours) - mean(theirs)
        for ours, theirs in zip(zip(*arm, strict=True), zip(*against, strict=True), strict=True)
    ]
    known, of_arms = variance_of(pairs, names) / problems, []
    for table in (arm, against):
        _, rest = anova(table, names)
        known -= rest / problems / len(table)
        # the variance of an arm's mean over its runs
        levels = [mean(row) for row in table]
        of_arms.append(sum_of_squares(levels) / (len(levels) - 1) / len(levels))
    known, whole = max(0.0, known), sum(of_arms)
    if known + whole < 1e-15:
        return None
    # the variance of the variance is 2 v² / f of either arm, and v² (1 + 2 / f) the mean of its
    # estimate's square, of all arms likewise: twice the square over the variance is the degrees
    free = min(len(arm), len(against)) - 1
    square = sum(v * v / (1 + 2 / free) for v in of_arms)
    few = free if not square else 2 * (whole**2 - 2 * square / free) / (2 * square / free)
    few = min(2 * free + 1, max(free, few))
    return mean(pairs), math.sqrt(known + whole), units - 1, whole / (known + whole), few


def estimate_paired(table, names=None) -> tuple[float, float, float, float] | None:
    """Difference, standard error, weight of the runs, degrees of the problems, of differences.

    ``table``: (runs, problems). None without a spread.
    """
    names = None if names is None or count_clusters(names) is None else names
    runs, problems = len(table), len(table[0])
    pairs = [mean(column) for column in zip(*table, strict=True)]
    run, rest = (x / (problems * runs) for x in anova(table, names))
    part = variance_of(pairs, names) / problems
    variance = part if run < rest else part + run - rest
    if variance < 1e-15:
        return None
    known = part - rest if part > rest else 0.0
    units = problems if names is None else len(set(names))
    return mean(pairs), math.sqrt(variance), run / (known + run), units - 1


def mixed_quantile(p: float, degrees: float, few: float, weight: float) -> float:
    """The bound whose square is the weighted mean of those with either number of degrees."""
    first, second = t_quantile(p, degrees), t_quantile(p, few)
    return math.sqrt(first**2 + weight * (second**2 - first**2))


def bound(p: float, degrees: float, weight: float, few: float) -> float:
    """`mixed_quantile` in the order of what `estimate` gives."""
    return mixed_quantile(p, degrees, few, weight)


def variance_of(pairs, names=None) -> float:
    """The variance of the problems' differences, with clusters that of their sums."""
    if names is None:
        return sum_of_squares(pairs) / (len(pairs) - 1)
    centre = mean(pairs)
    return cluster_robust([pair - centre for pair in pairs], names)


def components(arm, against, names=None) -> tuple[float, float, float]:
    """Standard deviations of problems, runs and the rest, by the mean squares' expectations."""
    names = None if names is None or count_clusters(names) is None else names
    problems = len(arm[0])
    both = [anova(table, names) for table in (arm, against)]
    pairs = [
        mean(a) - mean(b)
        for a, b in zip(zip(*arm, strict=True), zip(*against, strict=True), strict=True)
    ]
    noise = both[0][1] / len(arm) + both[1][1] / len(against)
    of_runs = mean([max(0.0, run - rest) / problems for run, rest in both])
    of_problems = max(0.0, variance_of(pairs, names) - noise)
    return math.sqrt(of_problems), math.sqrt(of_runs), math.sqrt(mean([r for _, r in both]))


def two_sided_p(t: float, degrees: float) -> float:
    with mpmath.workdps(30):
        nu = mpmath.mpf(degrees)
        x = nu / (nu + mpmath.mpf(t) ** 2)
        return float(mpmath.betainc(nu / 2, 0.5, 0, x, regularized=True))


def t_quantile(p: float, degrees: float) -> float:
    """The t that |T| exceeds with probability p."""
    low, high = 0.0, 1e4
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if two_sided_p(middle, degrees) > p else (low, middle)
    return high


def noncentral_power(
    shift: float, degrees: float, alpha: float, critical: float | None = None
) -> float:
    """Power of the two-sided t test: an integral over the chi-square of the standard error.

    ``critical``: the bound, where it is not the quantile of the t law.
    """
    critical = t_quantile(alpha, degrees) if critical is None else critical

    def given(x):
        s = mpmath.sqrt(x / degrees)
        density = x ** (degrees / 2 - 1) * mpmath.exp(-x / 2) / 2 ** (degrees / 2)
        rejected = mpmath.ncdf(shift - critical * s) + mpmath.ncdf(-shift - critical * s)
        return rejected * density / mpmath.gamma(mpmath.mpf(degrees) / 2)

    cuts = [0, 1e-4, 1e-2, 0.1, 1, degrees, 2 * degrees + 5, 4 * degrees + 40, 8 * degrees + 200]
    return float(mpmath.quad(given, sorted(set(cuts))))


def clustered_wilson(successes, trials, confidence: float) -> tuple[float, float]:
    """Bounds of the clustered share; ``successes`` and ``trials`` are one number per problem."""
    n, total = len(trials), math.fsum(trials)
    share = math.fsum(successes) / total
    one_each = total**2 / math.fsum(m * m for m in trials)
    right = sum(x > 1e-9 for x in successes)
    wrong = sum(x < m - 1e-9 for x, m in zip(successes, trials, strict=True))
    effective = one_each
    if n > 1 and min(right, wrong):
        squares = math.fsum((x - share * m) ** 2 for x, m in zip(successes, trials, strict=True))
        variance = n / (n - 1) * squares / total**2
        found = min(total, share * (1 - share) / variance if variance > 1e-18 else total)
        found, weight = max(found, one_each), min(right, wrong)
        effective = 1 / ((weight / found + 2 / one_each) / (weight + 2))
    # both roots of (share - p)^2 = z^2 p (1 - p) / trials
    z = float(mpmath.sqrt(2) * mpmath.erfinv(confidence))
    a, b, c = 1 + z * z / effective, -(2 * share + z * z / effective), share**2
    root = math.sqrt(max(0.0, b * b - 4 * a * c))
    return (-b - root) / (2 * a), (-b + root) / (2 * a)
