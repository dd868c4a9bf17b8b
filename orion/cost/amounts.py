"""Amounts with their spread and what they rest on: exact, estimated from a pilot, or unknown.

Inputs: numbers. Outputs: numbers with bounds; nothing is read or written.
"""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Amount:
    """A number of something: ``value``, ``low`` and ``high`` by the cheapest and dearest pilot job.

    ``pilot_jobs``: names of the pilot's jobs that it rests on; empty where it is exact. ``known``:
    planned jobs that it covers; ``unknown``: jobs of which it leaves out what is not known.
    ``single``: planned jobs of which it rests on one pilot job, which shows no spread of
    theirs. ``at_most``: the number is a limit that a run may stay below.
    """

    value: float = 0.0
    low: float = 0.0
    high: float = 0.0
    pilot_jobs: frozenset[str] = frozenset()
    known: int = 1
    unknown: int = 0
    single: int = 0
    at_most: bool = False

    def __add__(self, other: "Amount") -> "Amount":
        return Amount(
            self.value + other.value,
            self.low + other.low,
            self.high + other.high,
            self.pilot_jobs | other.pilot_jobs,
            self.known + other.known,
            self.unknown + other.unknown,
            self.single + other.single,
            self.at_most or other.at_most,
        )

    def times(self, other: "Amount") -> "Amount":
        """The product of two amounts of one job; unknown where one of them is."""
        if self.unknown or other.unknown:
            return UNKNOWN
        return Amount(
            self.value * other.value,
            self.low * other.low,
            self.high * other.high,
            self.pilot_jobs | other.pilot_jobs,
            single=max(self.single, other.single),
            at_most=self.at_most or other.at_most,
        )

    def scale(self, factor: float) -> "Amount":
        """The amount times an exact factor."""
        return replace(
            self, value=self.value * factor, low=self.low * factor, high=self.high * factor
        )

    def limit(self, most: float) -> "Amount":
        """The amount of one job, or ``most`` where it is more or is not known."""
        if self.unknown:
            return exact(most, at_most=True)
        value, low, high = (min(each, most) for each in (self.value, self.low, self.high))
        return replace(self, value=value, low=low, high=high)


UNKNOWN = Amount(known=0, unknown=1)
NOTHING = Amount(known=0)


def exact(value: float, *, at_most: bool = False) -> Amount:
    """A number that is known."""
    return Amount(value, value, value, at_most=at_most)


def add(amounts: Iterable[Amount]) -> Amount:
    """The sum; what is unknown is counted and left out."""
    return sum(amounts, NOTHING)


def rate(measured: Sequence[tuple[str, float, float]]) -> Amount:
    """The rate of pilot jobs, each (name, quantity, units): the sum of the quantities per unit.

    The spread is from the lowest to the highest rate of a job. Jobs without units say nothing.
    """
    used = [(name, quantity, units) for name, quantity, units in measured if units > 0]
    if not used:
        return UNKNOWN
    rates = [quantity / units for _, quantity, units in used]
    mean_rate = sum(row[1] for row in used) / sum(row[2] for row in used)
    names = frozenset(name for name, _, _ in used)
    return Amount(mean_rate, min(rates), max(rates), names, single=int(len(names) == 1))


def mean(measured: Sequence[tuple[str, float]]) -> Amount:
    """The mean of pilot jobs, each (name, quantity), from the lowest to the highest."""
    if not measured:
        return UNKNOWN
    values = [value for _, value in measured]
    names = frozenset(name for name, _ in measured)
    return Amount(
        statistics.fmean(values), min(values), max(values), names, single=int(len(names) == 1)
    )
