"""Estimators, confidence intervals and paired tests for accuracies of sampled answers.

Input: numpy arrays of per-problem values. Output: numbers and intervals. The problem is the unit of
resampling throughout: samples of one problem are not independent, so they are averaged within the
problem first. Where problems are variants of one another, the cluster of them is the unit:
functions that know ``clusters`` take the number of each problem's cluster, ``(problems,)``, counted
from 0.
Randomness comes from a key that the caller gives, never from a global generator.
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
# weight, in problems, of the assumption that all samples of a problem agree
FEW_PROBLEMS = 2

Floats = NDArray[np.float64]
Integers = NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Interval:
    """A point estimate with its confidence interval."""

    value: float
    low: float
    high: float


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


def number_clusters(names: Sequence[object]) -> Integers | None:
    """The cluster of each problem, ``(problems,)``, numbered in order of appearance.

    A problem whose name is None is a cluster of its own. Returns None where every cluster is one
    problem, so that such a column changes nothing.
    """
    numbers: dict[object, int] = {}
    found = [
        numbers.setdefault((name, index) if name is None else name, len(numbers))
        for index, name in enumerate(names)
    ]
    return None if len(numbers) == len(found) else np.array(found, dtype=np.int64)


def sum_clusters(values: NDArray[Any], clusters: Integers | None) -> Floats:
    """Sums over the problems of each cluster, ``(..., problems)`` to ``(..., clusters)``.

    Without clusters the values themselves.
    """
    values = np.asarray(values, dtype=np.float64)
    if clusters is None:
        return values
    order = np.argsort(clusters, kind="stable")
    starts = np.searchsorted(clusters[order], np.arange(clusters.max() + 1))
    sums: Floats = np.add.reduceat(values[..., order], starts, axis=-1)
    return sums


def bootstrap_interval(
    values: NDArray[Any],
    *,
    confidence: float,
    resamples: int,
    key: Sequence[object],
    clusters: Integers | None = None,
) -> Interval:
    """Percentile interval of a mean; problems, or whole clusters, are resampled with replacement.

    Efron & Tibshirani 1993, chapter 13. ``values``: one mean per problem, ``(problems,)``, so that
    samples stay with their problem (cluster bootstrap; Cameron, Gelbach & Miller 2008). A resample
    of clusters has its own number of problems, by which its sum is divided. For shares near 0 or 1
    it is too short: `share_interval`. Raises ValueError without values.
    """
    values = np.asarray(values, dtype=np.float64)  # (problems,)
    if values.ndim != 1 or not values.size:
        raise ValueError(f"expected one value per problem, got an array of shape {values.shape}")
    rng = keyed_rng("bootstrap", *key)
    sums = sum_clusters(values, clusters)  # (clusters,), without clusters the values
    drawn = _resample_problems(rng, sums.size, resamples)
    if clusters is None:
        means = [sums[index].mean(axis=1) for index in drawn]
    else:
        sizes = np.bincount(clusters)  # (clusters,)
        means = [sums[index].sum(axis=1) / sizes[index].sum(axis=1) for index in drawn]
    low, high = _percentiles(np.concatenate(means), confidence)
    return Interval(float(values.mean()), low, high)


def _resample_problems(
    rng: np.random.Generator, problems: int, resamples: int
) -> Iterator[Integers]:
    """Indices ``(chunk, problems)`` of resampled problems: ``resamples`` rows over all chunks."""
    chunk = max(1, CHUNK_ELEMENTS // problems)
    for start in range(0, resamples, chunk):
        yield rng.integers(problems, size=(min(chunk, resamples - start), problems))


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


def wilson_interval(successes: float, trials: float, *, confidence: float) -> Interval:
    """Wilson's score interval of a proportion of independent trials (Wilson 1927).

    The counts need not be whole: an effective number of trials will do. Raises ValueError without
    trials.
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


def share_interval(
    successes: NDArray[Any],
    trials: NDArray[Any] | float,
    *,
    confidence: float,
    clusters: Integers | None = None,
) -> Interval:
    """Wilson's interval of a share whose trials are clustered within problems.

    ``successes`` ``(problems,)`` out of ``trials``, one number or ``(problems,)``. The trials of a
    problem, or of a cluster of problems, resemble each other, so `effective_trials` takes the place
    of their number. Raises ValueError without problems, and where a problem has no trial or more
    successes than trials.
    """
    successes, trials = np.broadcast_arrays(*(np.asarray(a, float) for a in (successes, trials)))
    # means of samples times their number: a sum may end a rounding above it
    if not trials.size or (trials <= 0).any() or (successes > trials * (1 + 1e-9)).any():
        raise ValueError("every problem needs a trial, and at most as many successes as trials")
    share = min(1.0, float(successes.sum() / trials.sum()))
    successes, trials = (sum_clusters(each, clusters) for each in (successes, trials))
    effective = effective_trials(successes, trials)
    found = wilson_interval(share * effective, effective, confidence=confidence)
    return Interval(share, found.low, found.high)


def effective_trials(successes: Floats, trials: Floats) -> float:
    """Number of independent trials that tell as much as these, ``(problems,)`` each.

    Share * (1 - share) over the variance between problems of the share (Korn & Graubard 1998; Dean
    & Pagano 2015), from that of one trial per problem up to the number of trials. Where few
    problems have a success (or a failure, if that is rarer), their variance says little and the
    intervals are too short (Franco et al. 2019); the estimate is therefore averaged with one trial
    per problem, by the number of problems of the rarer kind against FEW_PROBLEMS.
    """
    total = trials.sum()
    share = successes.sum() / total
    one_each = float(total**2 / (trials**2).sum())
    rarer = min(int((successes > 0).sum()), int((successes < trials).sum()))
    if trials.size < 2 or not rarer:
        return one_each
    residuals = successes - share * trials
    variance = trials.size / (trials.size - 1) * (residuals**2).sum() / total**2
    estimated = float(total)
    if variance > 0:
        estimated = min(float(total), max(one_each, float(share * (1 - share) / variance)))
    return (rarer + FEW_PROBLEMS) / (rarer / estimated + FEW_PROBLEMS / one_each)


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
