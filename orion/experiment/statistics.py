"""Estimators, intervals and paired tests for accuracies of sampled answers.

Input: numpy arrays of per-problem values. Output: numbers and intervals. The problem is the unit of resampling throughout:
samples of one problem are not independent, so they are averaged within it first. Randomness comes from a key given by the
caller, never from a global generator.
"""

import hashlib
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

PERMUTATIONS = 10_000
# sign patterns are enumerated exactly up to this many non-zero differences
EXACT_SIGNS = 12
CHUNK_ELEMENTS = 2_000_000


@dataclass(frozen=True)
class Interval:
    """A point estimate with its confidence interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """A paired difference between two arms.

    ``low``/``high`` resample problems; ``low_seeds``/``high_seeds`` resample seeds as well and are None where neither arm
    has two; ``by_seed`` are the differences of equally numbered seeds (None if the arms' numbers of seeds differ) and
    ``spread`` is their standard deviation (None below two).
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
    problem_ids: Sequence[str], values: Sequence[float] | np.ndarray
) -> tuple[list[str], np.ndarray]:
    """Mean over the samples of each problem: sorted problem ids and their means, float64 ``(problems,)``."""
    ids, inverse = np.unique(np.asarray(problem_ids, dtype=object).astype(str), return_inverse=True)
    sums = np.bincount(inverse, weights=np.asarray(values, dtype=np.float64))
    return ids.tolist(), sums / np.bincount(inverse)


def bootstrap_interval(
    values: np.ndarray,
    *,
    confidence: float,
    resamples: int,
    key: Sequence[object],
    proportion: bool = False,
) -> Interval:
    """Percentile interval of a mean, problems resampled with replacement (Efron & Tibshirani 1993, chapter 13).

    ``values``: one mean a problem, ``(problems,)``, so that samples stay with their problem (cluster bootstrap; Cameron,
    Gelbach & Miller 2008). Where ``proportion`` is set and every value is 0, or every value is 1, resampling has nothing
    to vary; the Wilson interval with one trial a problem is given instead. Raises ValueError without values.
    """
    values = np.asarray(values, dtype=np.float64)  # (problems,)
    if values.ndim != 1 or not values.size:
        raise ValueError(f"one value a problem expected, got an array of shape {values.shape}")
    if proportion and values.min() == values.max() and values[0] in (0.0, 1.0):
        bounds = wilson(int(values.sum()), values.size, confidence=confidence)
        return Interval(float(values[0]), bounds.low, bounds.high)
    rng = keyed_rng("bootstrap", *key)
    means = [values[index].mean(axis=1) for index in _problem_draws(rng, values.size, resamples)]
    low, high = _percentiles(np.concatenate(means), confidence)
    return Interval(float(values.mean()), low, high)


def paired_difference(
    arm: np.ndarray,
    against: np.ndarray,
    *,
    confidence: float,
    resamples: int,
    key: Sequence[object],
) -> Difference:
    """Difference of two arms on the same problems, each trained with several seeds.

    ``arm`` ``(seeds, problems)`` and ``against`` ``(other seeds, problems)`` hold per-problem accuracies, columns in the
    same order. The point estimate averages the seeds within a problem. The first interval resamples problems only and
    holds for these very trained models. The second also draws seeds, for each arm on its own and one fewer than there
    are, which makes the bootstrap variance of their mean unbiased (Rao & Wu 1988; McCarthy & Snowden 1985); drawing both
    ways is somewhat conservative in the part of the variance that belongs to problem and seed together (Owen 2007, the
    pigeonhole bootstrap). With two seeds it remains a rough guide: two points cannot show a distribution.
    Raises ValueError where the problems differ in number.
    """
    arm, against = (np.atleast_2d(np.asarray(a, dtype=np.float64)) for a in (arm, against))
    if arm.shape[1] != against.shape[1]:
        raise ValueError(
            f"{arm.shape[1]} problems against {against.shape[1]}: the pairs do not match"
        )
    pairs = arm.mean(axis=0) - against.mean(axis=0)  # (problems,)
    base = bootstrap_interval(pairs, confidence=confidence, resamples=resamples, key=key)
    low_seeds = high_seeds = by_seed = spread = None
    if max(arm.shape[0], against.shape[0]) > 1:
        rng = keyed_rng("bootstrap with seeds", *key)
        means = []
        for index in _problem_draws(rng, pairs.size, resamples):
            drawn = _seed_draws(rng, arm, len(index)) - _seed_draws(
                rng, against, len(index)
            )  # (resamples, problems)
            means.append(np.take_along_axis(drawn, index, axis=1).mean(axis=1))
        low_seeds, high_seeds = _percentiles(np.concatenate(means), confidence)
    if arm.shape[0] == against.shape[0]:
        each = arm.mean(axis=1) - against.mean(axis=1)
        by_seed = tuple(float(value) for value in each)
        spread = float(each.std(ddof=1)) if each.size > 1 else None
    return Difference(base.value, base.low, base.high, low_seeds, high_seeds, by_seed, spread)


def _problem_draws(rng: np.random.Generator, problems: int, resamples: int) -> Iterator[np.ndarray]:
    """Indices ``(chunk, problems)`` of resampled problems, ``resamples`` rows in all, in chunks of bounded size."""
    chunk = max(1, CHUNK_ELEMENTS // problems)
    for start in range(0, resamples, chunk):
        yield rng.integers(problems, size=(min(chunk, resamples - start), problems))


def _seed_draws(rng: np.random.Generator, arm: np.ndarray, resamples: int) -> np.ndarray:
    """Per-problem means over drawn seeds, ``(resamples, problems)`` or ``(1, problems)`` where there is one seed."""
    seeds = arm.shape[0]
    if seeds == 1:
        return arm
    counts = rng.multinomial(
        seeds - 1, np.full(seeds, 1 / seeds), size=resamples
    )  # (resamples, seeds)
    return counts @ arm / (seeds - 1)


def _percentiles(values: np.ndarray, confidence: float) -> tuple[float, float]:
    tail = (1 - confidence) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)


def pass_at_k(samples: int, correct: int, k: int) -> float:
    """Chance that at least one of k samples is right, unbiased from n >= k: ``1 - C(n-c, k) / C(n, k)``.

    Chen et al. 2021 (arXiv:2107.03374), equation 1. Raises ValueError unless 0 <= correct <= samples and 1 <= k <= samples.
    """
    if not (0 <= correct <= samples and 1 <= k <= samples):
        raise ValueError(f"pass@{k} from {correct} of {samples} samples is not defined")
    return 1.0 - math.comb(samples - correct, k) / math.comb(samples, k)


def wilson(successes: int, trials: int, *, confidence: float) -> Interval:
    """Wilson's score interval of a proportion of independent trials (Wilson 1927). Raises ValueError without trials."""
    if not 0 <= successes <= trials or not trials:
        raise ValueError(f"{successes} of {trials} is no proportion")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share = successes / trials
    centre = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    half = (
        z
        / (1 + z * z / trials)
        * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    )
    # rounding must not push the interval past what a proportion can be, nor off its own estimate at 0 and 1
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == trials else min(1.0, centre + half)
    return Interval(share, low, high)


def sign_flip(
    differences: np.ndarray, *, key: Sequence[object], permutations: int = PERMUTATIONS
) -> float:
    """Two-sided p of "the differences are symmetric around zero" by flipping signs of whole problems (Fisher 1935).

    ``differences`` ``(problems,)``; the statistic is the absolute sum, so that zeros change nothing. All patterns are
    enumerated up to 12 non-zero differences; beyond, random ones, with the observed pattern counted among them so that p
    is never 0 (Phipson & Smyth 2010).
    """
    moved = np.asarray(differences, dtype=np.float64)
    moved = moved[moved != 0]
    if not moved.size:
        return 1.0
    # patterns that tie with the observed one must count as ties whatever the order of summation
    threshold = abs(moved.sum()) - 1e-9 * np.abs(moved).sum()
    if moved.size <= EXACT_SIGNS:
        signs = np.array(list(itertools.product((-1.0, 1.0), repeat=moved.size)))
        return float((np.abs(signs @ moved) >= threshold).mean())
    rng = keyed_rng("sign flip", *key)
    extreme = 0
    chunk = max(1, CHUNK_ELEMENTS // moved.size)
    for start in range(0, permutations, chunk):
        rows = min(chunk, permutations - start)
        signs = 2.0 * rng.integers(2, size=(rows, moved.size), dtype=np.int8) - 1.0
        extreme += int((np.abs(signs @ moved) >= threshold).sum())
    return (extreme + 1) / (permutations + 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p values, in the order given (Holm 1979): family-wise error without independence."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted
