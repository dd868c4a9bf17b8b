"""Student's t: tail probabilities, quantiles, and the power of a two-sided test.

Input: numbers or numpy arrays. Output: the same shapes. Written out here because the project does
without scipy: the tail is an incomplete beta function (Abramowitz & Stegun 1964, 26.7.1), which is
computed as a continued fraction (Press et al. 2007, section 6.4).
"""

import functools
import math
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

_MAX_TERMS = 2_000
_PRECISION = 1e-15
_BISECTIONS = 60
_ROOT = math.sqrt(2)
_GRID = 1_201
# critical values are interpolated between so many numbers of degrees of freedom
_CRITICAL = 1_000
_LOG_GAMMA = np.vectorize(math.lgamma, otypes=[float])
_ERFC = np.vectorize(math.erfc, otypes=[float])


def two_sided_p(t: ArrayLike, degrees: ArrayLike) -> Floats:
    """P(|T| >= |t|) with ``degrees`` of freedom, element by element.

    Infinite t gives 0. Raises ValueError for degrees that are not above 0.
    """
    t, degrees = np.broadcast_arrays(
        np.abs(np.asarray(t, dtype=np.float64)), np.asarray(degrees, dtype=np.float64)
    )
    if not (degrees > 0).all():
        raise ValueError("degrees of freedom must be above 0")
    square = np.minimum(t, 1e150) ** 2
    # both parts of 1 = near + far are computed directly, so that neither loses digits
    far, near = degrees / (degrees + square), square / (degrees + square)
    return _incomplete_beta(degrees / 2, np.full(t.shape, 0.5), far, near)


@functools.lru_cache(maxsize=1024)
def two_sided_quantile(p: float, degrees: float) -> float:
    """The t that |T| reaches with probability ``p``; 12.7 for p = 0.05 and one degree.

    Raises ValueError unless 0 < p < 1.
    """
    if not 0 < p < 1:
        raise ValueError(f"{p} is not a probability between 0 and 1")
    high = 1.0
    while float(two_sided_p(high, degrees)) > p:
        high *= 2
    return _bisect(lambda t: float(two_sided_p(t, degrees)) <= p, 0.0, high)


def mixed_quantile(p: float, degrees: float, few: ArrayLike, weight: ArrayLike) -> Floats:
    """The root of the weighted mean of the squared quantiles with ``degrees`` and with ``few``.

    ``weight`` is that of ``few``, for each element. Many ``few`` are `critical_values`.
    """
    weight, few = np.asarray(weight, dtype=np.float64), np.asarray(few, dtype=np.float64)
    first = two_sided_quantile(p, degrees)
    second: Any = critical_values(p, few) if few.ndim else two_sided_quantile(p, float(few))
    found: Floats = np.sqrt((1 - weight) * first**2 + weight * second**2)
    return found


def mixed_p(t: float, degrees: float, few: float, weight: float) -> float:
    """The p whose `mixed_quantile` is |t|."""
    t = abs(t)
    if few > degrees:
        degrees, few, weight = few, degrees, 1 - weight
    if not weight:
        return float(two_sided_p(t, degrees))

    def other(first: float) -> float:
        return math.sqrt(max(0.0, t**2 - (1 - weight) * first**2) / weight)

    def exceeds(first: float) -> bool:
        return bool(two_sided_p(first, degrees) <= two_sided_p(other(first), few))

    # the quantiles of one p on either side of t: the first is smaller, since its degrees are more
    first = _bisect(exceeds, 0.0, t)
    return float(two_sided_p(other(first), few))


def critical_values(alpha: float, degrees: Floats) -> Floats:
    """`two_sided_quantile` of ``alpha`` for many ``degrees``, each 1 or more, within 1e-5 of it."""
    places, logs = _tabulate_critical(alpha)
    found: Floats = np.exp(np.interp(1 / degrees, places, logs))
    return found


@functools.cache
def _tabulate_critical(alpha: float) -> tuple[Floats, Floats]:
    """Reciprocals of degrees of freedom, and the logarithms of their critical values."""
    places = np.linspace(0.0, 1.0, _CRITICAL + 1)
    normal = NormalDist().inv_cdf(1 - alpha / 2)
    # they lie between that of the normal law and that of one degree of freedom
    low = np.full(_CRITICAL, normal)
    high = np.full(_CRITICAL, 1 + math.tan(math.pi / 2 * (1 - alpha)))
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        is_below = two_sided_p(middle, 1 / places[1:]) > alpha
        low, high = np.where(is_below, middle, low), np.where(is_below, high, middle)
    return places, np.log(np.concatenate([[normal], high]))


def outside(bounds: Floats, shift: float) -> Floats:
    """P(|Z + shift| >= bounds) of a normal Z, element by element."""
    found: Floats = (_ERFC((bounds - shift) / _ROOT) + _ERFC((bounds + shift) / _ROOT)) / 2
    return found


def power(shift: float, degrees: float, *, alpha: float) -> float:
    """Probability that the two-sided test at ``alpha`` rejects.

    ``shift``: the true effect in standard errors. T is then (Z + shift) / S with a normal Z and S
    the estimated over the true standard error, a chi over its root degrees (noncentral t); the
    probability given S is averaged over S.
    """
    critical = two_sided_quantile(alpha, degrees)
    return _power(shift, degrees, critical)


def detectable_shift(
    degrees: float, *, alpha: float, wanted: float, critical: float | None = None
) -> float:
    """The smallest effect, in standard errors, that the test at ``alpha`` finds so often.

    ``wanted``: the power, e.g. 0.8. ``critical``: the critical value, where it is not that of the
    t law with these degrees. Raises ValueError unless alpha < wanted < 1.
    """
    if not alpha < wanted < 1:
        raise ValueError(f"a power of {wanted} at level {alpha} is not defined")
    if critical is None:
        critical = two_sided_quantile(alpha, degrees)
    high = 1.0
    while _power(high, degrees, critical) < wanted:
        high *= 2
    return _bisect(lambda shift: _power(shift, degrees, critical) >= wanted, 0.0, high, steps=40)


def _power(shift: float, degrees: float, critical: float) -> float:
    # a grid in log S, wide enough for one degree of freedom and fine enough for thousands
    log_s = np.linspace(-20.0, 6.0, _GRID) / math.sqrt(degrees)
    density = degrees * log_s - degrees * np.exp(2 * log_s) / 2
    weight = np.exp(density - density.max())
    bound = critical * np.exp(log_s)
    used = weight > 1e-18
    rejected = outside(bound[used], shift)
    return float((rejected * weight[used]).sum() / weight[used].sum())


def _bisect(reached: Any, low: float, high: float, steps: int = _BISECTIONS) -> float:
    """The smallest value for which ``reached`` holds, between two that bracket it."""
    for _ in range(steps):
        middle = (low + high) / 2
        low, high = (low, middle) if reached(middle) else (middle, high)
    return (low + high) / 2


def _incomplete_beta(a: Floats, b: Floats, x: Floats, complement: Floats) -> Floats:
    """The regularised incomplete beta function I_x(a, b), where ``complement`` is 1 - x."""
    # beyond its mean the fraction converges slowly: I_x(a, b) = 1 - I_{1-x}(b, a)
    swapped = x > (a + 1) / (a + b + 2)
    a, b = np.where(swapped, b, a), np.where(swapped, a, b)
    x, complement = np.where(swapped, complement, x), np.where(swapped, x, complement)
    with np.errstate(divide="ignore"):
        log_front = (
            _LOG_GAMMA(a + b)
            - _LOG_GAMMA(a)
            - _LOG_GAMMA(b)
            + a * np.log(x)
            + b * np.log(complement)
        )
    value = np.exp(log_front) / a * _beta_fraction(a, b, x)
    clipped: Floats = np.clip(np.where(swapped, 1 - value, value), 0.0, 1.0)
    return clipped


def _beta_fraction(a: Floats, b: Floats, x: Floats) -> Floats:
    """The continued fraction of the incomplete beta function, by Lentz's method."""
    tiny = 1e-300

    def nonzero(value: Floats) -> Floats:
        return np.where(np.abs(value) < tiny, tiny, value)

    c = np.ones_like(x)
    d = 1 / nonzero(1 - (a + b) * x / (a + 1))
    fraction = d
    for m in range(1, _MAX_TERMS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        change = np.ones_like(x)
        for term in (even, odd):
            d = 1 / nonzero(1 + term * d)
            c = nonzero(1 + term / c)
            change = change * c * d
        fraction = fraction * change
        if (np.abs(change - 1) < _PRECISION).all():
            break
    return fraction
