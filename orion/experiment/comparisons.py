"""The paired comparison of two arms on one benchmark, and what may be read from it.

Input: accuracies by seed and problem, and the hypothesis. Output: the difference with its intervals
and p values, and a verdict other than "unclear" only where the test over problems and runs gives
one, after the correction.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orion.experiment import statistics
from orion.experiment.clusters import count_clusters
from orion.experiment.hypotheses import (
    EQUIVALENCE,
    NO_DIFFERENCE,
    SUPERIORITY,
    UNCLEAR,
    VERDICTS,
    Hypothesis,
)
from orion.experiment.two_way import Effect, estimate_effect, split_variance

# per-problem means over seeds that are closer than this are a tie: the rest is rounding
TIE = 1e-9


@dataclass(frozen=True)
class PairedTest:
    """One tested comparison.

    ``difference`` is a fraction of problems. ``low``/``high`` and ``p_problems`` resample problems:
    they hold for these very models. ``low_runs``/``high_runs``, ``p``, ``standard_error``,
    ``degrees``, ``weight``, ``few`` and ``detectable`` (with a power of 80 % at the level of the
    interval) come from `two_way.estimate_effect`: they hold for new runs on new problems, and are
    None with one run of an arm. ``weight`` is the part of the variance that only ``few`` degrees of
    freedom tell of, those of the runs; the rest has ``degrees``, those of the problems.
    ``lowest_seed``, ``highest_seed`` and ``spread`` (standard deviation)
    describe the differences of equally numbered seeds, None where the numbers of seeds differ.
    ``better``, ``worse`` and ``tied`` count problems. Neither p is corrected yet. ``p`` is that of
    the hypothesis of this ``kind`` and ``margin``, ``p_problems`` that of no difference.
    ``clusters``: of the problems; None where each is its own. ``sd_problems``, ``sd_runs`` and
    ``sd_rest`` are the components of the variance, as standard deviations (`split_variance`).
    """

    problems: int
    clusters: int | None
    seeds: int
    difference: float
    low: float
    high: float
    low_runs: float | None
    high_runs: float | None
    p: float | None
    standard_error: float | None
    degrees: float | None
    weight: float | None
    few: float | None
    detectable: float | None
    lowest_seed: float | None
    highest_seed: float | None
    spread: float | None
    better: int
    worse: int
    tied: int
    p_problems: float
    sd_problems: float | None
    sd_runs: float | None
    sd_rest: float | None
    kind: str = SUPERIORITY
    margin: float = 0.0

    @property
    def hypothesis(self) -> Hypothesis:
        """What is tested."""
        return Hypothesis(self.kind, self.margin)

    @property
    def effect(self) -> Effect | None:
        """The difference for new runs, e.g. to test equivalence within a margin."""
        if self.standard_error is None or self.degrees is None:
            return None
        if self.weight is None or self.few is None:
            return None
        return Effect(self.difference, self.standard_error, self.degrees, self.weight, self.few)


def compare_arms(
    arm: NDArray[Any],
    against: NDArray[Any],
    *,
    confidence: float,
    resamples: int,
    key: Sequence[object],
    hypothesis: Hypothesis = NO_DIFFERENCE,
    clusters: statistics.Integers | None = None,
) -> PairedTest:
    """Test ``arm`` ``(seeds, problems)`` against ``against`` ``(other seeds, problems)``.

    Both hold per-problem accuracies, columns in the same order. ``key`` seeds the resampling.
    ``clusters``: the number of each problem's cluster. Raises ValueError if the numbers of problems
    differ.
    """
    arm, against = (np.atleast_2d(np.asarray(a, dtype=np.float64)) for a in (arm, against))
    effect = estimate_effect(arm, against, clusters=clusters)
    parts = None
    if effect is not None:
        parts = split_variance(arm.mean(axis=0) - against.mean(axis=0), [arm, against], clusters)
    settings = Settings(confidence, resamples, key, hypothesis, clusters)
    return PairedTest(**describe_test(arm, against, effect, parts, settings))


@dataclass(frozen=True)
class Settings:
    """How a comparison is tested; as the arguments of `compare_arms`."""

    confidence: float
    resamples: int
    key: Sequence[object]
    hypothesis: Hypothesis
    clusters: statistics.Integers | None


def describe_test(
    arm: statistics.Floats,
    against: statistics.Floats,
    effect: Effect | None,
    parts: tuple[float, float, float] | None,
    settings: Settings,
) -> dict[str, Any]:
    """The fields of a PairedTest with this effect and these components of its variance."""
    key, hypothesis, clusters = settings.key, settings.hypothesis, settings.clusters
    low_runs, high_runs = effect.interval(settings.confidence) if effect else (None, None)
    pairs = arm.mean(axis=0) - against.mean(axis=0)  # (problems,)
    over_problems = statistics.bootstrap_interval(
        pairs,
        confidence=settings.confidence,
        resamples=settings.resamples,
        key=("difference", *key),
        clusters=clusters,
    )
    paired_seeds = arm.shape[0] == against.shape[0]
    by_seed = arm.mean(axis=1) - against.mean(axis=1) if paired_seeds else np.empty(0)
    is_tied = np.abs(pairs) <= TIE
    flipped = statistics.sum_clusters(np.where(is_tied, 0.0, pairs), clusters)
    sd_problems, sd_runs, sd_rest = parts or (None, None, None)
    return {
        "problems": pairs.size,
        "clusters": count_clusters(clusters),
        "seeds": arm.shape[0],
        "difference": over_problems.value,
        "low": over_problems.low,
        "high": over_problems.high,
        "low_runs": low_runs,
        "high_runs": high_runs,
        "p": p_value(effect, hypothesis) if effect else None,
        "standard_error": effect.standard_error if effect else None,
        "degrees": effect.degrees if effect else None,
        "weight": effect.weight if effect else None,
        "few": effect.few if effect else None,
        "detectable": effect.detectable(1 - settings.confidence) if effect else None,
        "lowest_seed": float(by_seed.min()) if by_seed.size else None,
        "highest_seed": float(by_seed.max()) if by_seed.size else None,
        "spread": float(by_seed.std(ddof=1)) if by_seed.size > 1 else None,
        "better": int((pairs > TIE).sum()),
        "worse": int((pairs < -TIE).sum()),
        "tied": int(is_tied.sum()),
        "p_problems": statistics.sign_flip_p_value(_drop_rounding(flipped), key=("p", *key)),
        "sd_problems": sd_problems,
        "sd_runs": sd_runs,
        "sd_rest": sd_rest,
        "kind": hypothesis.kind,
        "margin": hypothesis.margin,
    }


def _drop_rounding(sums: statistics.Floats) -> statistics.Floats:
    return np.where(np.abs(sums) <= TIE, 0.0, sums)


def excludes_zero(low: float | None, high: float | None) -> bool:
    """Whether there is an interval and zero is outside it."""
    return low is not None and high is not None and (low > 0 or high < 0)


def p_value(effect: Effect, hypothesis: Hypothesis) -> float:
    """Two-sided p value of the difference lying on the margin, the nearer one for equivalence.

    It is at most alpha exactly where the interval with confidence 1 - alpha leaves the margin out:
    wholly above minus the margin, say, or between the two margins. So it is twice the p value of
    `Effect.non_inferiority_p` or `Effect.equivalence_p` where that is below one half.
    """
    return replace(effect, value=_distance(effect.value, hypothesis)).p_value()


def _distance(difference: float, hypothesis: Hypothesis) -> float:
    """How far beyond the margin a difference lies; for equivalence, outside of the two margins."""
    if hypothesis.kind == EQUIVALENCE:
        return abs(difference) - hypothesis.margin
    return difference + hypothesis.margin


def name_verdict(test: PairedTest, p_holm: float | None, *, alpha: float) -> str:
    """A verdict of the test's kind (``hypotheses.VERDICTS``) or ``unclear``.

    A verdict is given only if Holm's p value of the test over problems and runs is at most
    ``alpha``. Without it, as with one run of an arm, none is.
    """
    if p_holm is None or p_holm > alpha:
        return UNCLEAR
    first, second = VERDICTS[test.kind]
    is_beyond = _distance(test.difference, test.hypothesis) > 0
    return first if is_beyond != (test.kind == EQUIVALENCE) else second


def correct_tests(
    tests: Sequence[PairedTest | None], *, alpha: float
) -> list[tuple[float | None, str]]:
    """Holm's p value over the family of tests, and the verdict, in the order given.

    None is a test that could not be made. Such tests, and those without a p value, count in the
    family as if p were 1: a family does not shrink by what is left out.
    """
    values = [None if test is None else test.p for test in tests]
    adjusted = statistics.holm_p_values([1.0 if p is None else p for p in values])
    return [
        (None, UNCLEAR)
        if test is None or test.p is None
        else (p_holm, name_verdict(test, p_holm, alpha=alpha))
        for test, p_holm in zip(tests, adjusted, strict=True)
    ]
