"""Estimators, confidence intervals and paired tests for accuracies of sampled answers.

Input: numpy arrays of per-problem values. Output: numbers and intervals. The problem is the unit of
resampling throughout: samples of one problem are not independent, so they are averaged within the
problem first. Randomness comes from a key that the caller gives, never from a global generator.
"""

import hashlib
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

PERMUTATIONS = 10_000
# all sign patterns are enumerated up to this many non-zero differences: 2**12 = 4,096
MAX_ENUMERATED_SIGNS = 12
# numbers held at once while resampling; float64, so 16 MB
CHUNK_ELEMENTS = 2_000_000

Floats = NDArray[np.float64]
Integers = NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Interval:
    """A point estimate with its confidence interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """A paired difference between two arms.

    ``low``/``high`` resample problems. ``low_seeds``/``high_seeds`` resample seeds as well; they
    are None where neither arm has two seeds. ``by_seed`` holds the differences of equally numbered
    seeds (None if the arms have different numbers of seeds). ``spread`` is their standard deviation
    (None below two seeds).
    """

    value: float
    low: float
    high: float
    low_seeds: float | None
    high_seeds: float | None
    by_seed: tuple[float, ...] | None
    spread: float | None


def keyed_rng(*key: object) -> np.random.Generator:
    """A generator whose state is a function of the key's texts alone."""
    text = "\x1f".join(str(part) for part in key)
    return np.random.default_rng(int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "big"))


def problem_means(
    problem_ids: Sequence[str], values: Sequence[float] | NDArray[Any]
) -> tuple[list[str], Floats]:
    """Sorted problem ids and the mean of each problem's samples, float64 ``(problems,)``."""
    ids, inverse = np.unique(np.asarray(problem_ids, dtype=object).astype(str), return_inverse=True)
    sums = np.bincount(inverse, weights=np.asarray(values, dtype=np.float64))
    return ids.tolist(), sums / np.bincount(inverse)


def bootstrap_interval(
    values: NDArray[Any],
    *,
    confidence: float,
    resamples: int,
    key: Sequence[object],
    proportion: bool = False,
) -> Interval:
    """Percentile interval of a mean; problems are resampled with replacement.

    Efron & Tibshirani 1993, chapter 13. ``values``: one mean per problem, ``(problems,)``, so that
    samples stay with their problem (cluster bootstrap; Cameron, Gelbach & Miller 2008). Where
    ``proportion`` is set and all values are 0, or all are 1, every resample is the same; the Wilson
    interval with one trial per problem is given instead. Raises ValueError without values.
    """
    values = np.asarray(values, dtype=np.float64)  # (problems,)
    if values.ndim != 1 or not values.size:
        raise ValueError(f"expected one value per problem, got an array of shape {values.shape}")
    if proportion and values.min() == values.max() and values[0] in (0.0, 1.0):
        bounds = wilson_interval(int(values.sum()), values.size, confidence=confidence)
        return Interval(float(values[0]), bounds.low, bounds.high)
    rng = keyed_rng("bootstrap", *key)
    means = [
        values[index].mean(axis=1) for index in _resample_problems(rng, values.size, resamples)
    ]
    low, high = _percentiles(np.concatenate(means), confidence)
    return Interval(float(values.mean()), low, high)


def bootstrap_share(
    successes: NDArray[Any],
    trials: NDArray[Any],
    *,
    confidence: float,
    resamples: int,
    key: Sequence[object],
) -> Interval:
    """Percentile interval of a share whose trials are unevenly spread over problems.

    ``successes`` and ``trials``: counts ``(problems,)``. Problems are resampled whole with
    replacement, as in `bootstrap_interval`, and the share of a resample is the ratio of its sums.
    Where the share is 0 or 1 the Wilson interval with one trial per problem is given. Raises
    ValueError where a problem has no trial or more successes than trials.
    """
    successes, trials = (np.asarray(a, dtype=np.float64) for a in (successes, trials))
    if not trials.size or (trials < 1).any() or (successes > trials).any():
        raise ValueError("every problem needs a trial, and at most as many successes as trials")
    share = float(successes.sum() / trials.sum())
    if share in (0.0, 1.0):
        bounds = wilson_interval(int(share) * trials.size, trials.size, confidence=confidence)
        return Interval(share, bounds.low, bounds.high)
    rng = keyed_rng("bootstrap share", *key)
    shares = [
        successes[index].sum(axis=1) / trials[index].sum(axis=1)
        for index in _resample_problems(rng, trials.size, resamples)
    ]
    low, high = _percentiles(np.concatenate(shares), confidence)
    return Interval(share, low, high)


def paired_difference(
    arm: NDArray[Any],
    against: NDArray[Any],
    *,
    confidence: float,
    resamples: int,
    key: Sequence[object],
) -> Difference:
    """Difference of two arms on the same problems, each trained with several seeds.

    ``arm`` ``(seeds, problems)`` and ``against`` ``(other seeds, problems)`` hold per-problem
    accuracies, columns in the same order. The point estimate averages the seeds within a problem.

    The first interval resamples problems only; it holds for exactly these trained models. The
    second also resamples the seeds of each arm independently. It draws one seed fewer than there
    are, which makes the bootstrap variance of their mean unbiased (Rao & Wu 1988; McCarthy &
    Snowden 1985). Resampling both ways is somewhat conservative in the variance that belongs to
    problem and seed together (Owen 2007, the pigeonhole bootstrap). With two seeds the interval is
    a rough guide: two points do not show a distribution.

    Raises ValueError if the numbers of problems differ.
    """
    arm, against = (np.atleast_2d(np.asarray(a, dtype=np.float64)) for a in (arm, against))
    if arm.shape[1] != against.shape[1]:
        raise ValueError(
            f"{arm.shape[1]} problems against {against.shape[1]}: the pairs do not match"
        )
    pairs = arm.mean(axis=0) - against.mean(axis=0)  # (problems,)
    over_problems = bootstrap_interval(pairs, confidence=confidence, resamples=resamples, key=key)
    low_seeds = high_seeds = by_seed = spread = None
    if max(arm.shape[0], against.shape[0]) > 1:
        rng = keyed_rng("bootstrap with seeds", *key)
        means = []
        for index in _resample_problems(rng, pairs.size, resamples):
            # (resamples, problems); the arm's seeds are drawn before those of ``against``
            differences = _resample_seeds(rng, arm, len(index)) - _resample_seeds(
                rng, against, len(index)
            )
            means.append(np.take_along_axis(differences, index, axis=1).mean(axis=1))
        low_seeds, high_seeds = _percentiles(np.concatenate(means), confidence)
    if arm.shape[0] == against.shape[0]:
        seed_differences = arm.mean(axis=1) - against.mean(axis=1)  # (seeds,)
        by_seed = tuple(float(value) for value in seed_differences)
        spread = float(seed_differences.std(ddof=1)) if seed_differences.size > 1 else None
    return Difference(
        over_problems.value,
        over_problems.low,
        over_problems.high,
        low_seeds,
        high_seeds,
        by_seed,
        spread,
    )


def _resample_problems(
    rng: np.random.Generator, problems: int, resamples: int
) -> Iterator[Integers]:
    """Indices ``(chunk, problems)`` of resampled problems: ``resamples`` rows over all chunks."""
    chunk = max(1, CHUNK_ELEMENTS // problems)
    for start in range(0, resamples, chunk):
        yield rng.integers(problems, size=(min(chunk, resamples - start), problems))


def _resample_seeds(rng: np.random.Generator, arm: Floats, resamples: int) -> Floats:
    """Per-problem means over resampled seeds ``(resamples, problems)``.

    With a single seed there is nothing to resample: its own values, ``(1, problems)``.
    """
    seeds = arm.shape[0]
    if seeds == 1:
        return arm
    # (resamples, seeds)
    counts = rng.multinomial(seeds - 1, np.full(seeds, 1 / seeds), size=resamples)
    means: Floats = counts @ arm / (seeds - 1)
    return means


def _percentiles(values: Floats, confidence: float) -> tuple[float, float]:
    tail = (1 - confidence) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)


def pass_at_k(samples: int, correct: int, k: int) -> float:
    """Probability that at least one of k samples is correct: ``1 - C(n-c, k) / C(n, k)``.

    Unbiased for n >= k: Chen et al. 2021 (arXiv:2107.03374), equation 1. Raises ValueError unless
    0 <= correct <= samples and 1 <= k <= samples.
    """
    if not (0 <= correct <= samples and 1 <= k <= samples):
        raise ValueError(f"pass@{k} from {correct} of {samples} samples is not defined")
    return 1.0 - math.comb(samples - correct, k) / math.comb(samples, k)


def wilson_interval(successes: int, trials: int, *, confidence: float) -> Interval:
    """Wilson's score interval of a proportion of independent trials (Wilson 1927).

    Raises ValueError without trials.
    """
    if not 0 <= successes <= trials or not trials:
        raise ValueError(f"{successes} of {trials} is not a proportion")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share = successes / trials
    centre = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    half = (
        z
        / (1 + z * z / trials)
        * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    )
    # rounding must not push a bound outside 0 to 1, nor past the estimate itself at 0 and 1
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == trials else min(1.0, centre + half)
    return Interval(share, low, high)


def sign_flip_p_value(
    differences: NDArray[Any], *, key: Sequence[object], permutations: int = PERMUTATIONS
) -> float:
    """Two-sided p value of the sign-flip permutation test over problems (Fisher 1935).

    The null hypothesis is that the differences ``(problems,)`` are symmetric around zero. The
    statistic is the absolute sum, so zeros change nothing. All sign patterns are enumerated up to
    12 non-zero differences; beyond that random patterns are drawn, and the observed pattern is
    counted among them, so that p is never 0 (Phipson & Smyth 2010).
    """
    nonzero = np.asarray(differences, dtype=np.float64)
    nonzero = nonzero[nonzero != 0]
    if not nonzero.size:
        return 1.0
    # a pattern that ties with the observed one must count as a tie whatever the order of summation
    threshold = abs(nonzero.sum()) - 1e-9 * np.abs(nonzero).sum()
    if nonzero.size <= MAX_ENUMERATED_SIGNS:
        signs = np.array(list(itertools.product((-1.0, 1.0), repeat=nonzero.size)))
        return float((np.abs(signs @ nonzero) >= threshold).mean())
    rng = keyed_rng("sign flip", *key)
    extreme = 0
    chunk = max(1, CHUNK_ELEMENTS // nonzero.size)
    for start in range(0, permutations, chunk):
        rows = min(chunk, permutations - start)
        signs = 2.0 * rng.integers(2, size=(rows, nonzero.size), dtype=np.int8) - 1.0
        extreme += int((np.abs(signs @ nonzero) >= threshold).sum())
    return (extreme + 1) / (permutations + 1)


def holm_p_values(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p values, in the order given (Holm 1979).

    They control the family-wise error rate without assuming independent tests.
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted
