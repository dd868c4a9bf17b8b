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


def anova(table) -> tuple[float, float]:
    """MS of runs and of the rest: the rest is the total less runs less problems."""
    runs, problems = len(table), len(table[0])
    total = sum_of_squares([value for row in table for value in row])
    by_run = problems * sum_of_squares([mean(row) for row in table])
    by_problem = runs * sum_of_squares([mean(column) for column in zip(*table, strict=True)])
    rest = total - by_run - by_problem
    return by_run / (runs - 1), rest / ((runs - 1) * (problems - 1))


def estimate(arm, against) -> tuple[float, float, float] | None:
    """Difference, standard error, degrees of freedom of unpaired runs; None without a spread."""
    if min(len(arm), len(against)) < 2 or len(arm[0]) < 2:
        return None
    problems = len(arm[0])
    pairs = [
        mean(ours) - mean(theirs)
        for ours, theirs in zip(zip(*arm, strict=True), zip(*against, strict=True), strict=True)
    ]
    part = sum_of_squares(pairs) / (problems - 1) / problems
    variance, whole, spread = part, 0.0, part**2 / (problems - 1)
    for table in (arm, against):
        runs = len(table)
        run, rest = anova(table)
        variance += max(0.0, run - rest) / problems / runs
        whole += run / problems / runs
        spread += (rest / problems / runs) ** 2 / ((runs - 1) * (problems - 1))
    fewest = min(len(arm), len(against)) - 1
    if variance < 1e-15:
        return None
    degrees = max(fewest, variance**2 / (spread + whole**2 / fewest))
    return mean(pairs), math.sqrt(variance), degrees


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


def noncentral_power(shift: float, degrees: float, alpha: float) -> float:
    """Power of the two-sided t test: an integral over the chi-square of the standard error."""
    critical = t_quantile(alpha, degrees)

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
