"""What a registered comparison tests: its kind, its margin with a unit, what is expected of it.

Standard library only, since the configuration imports it. The tests themselves are in
``orion.experiment.comparisons``.
"""

import re
from dataclasses import dataclass

KINDS = SUPERIORITY, NON_INFERIORITY, EQUIVALENCE = (
    "superiority",
    "non-inferiority",
    "equivalence",
)
# the verdicts by kind, the first as wished for, the second the opposite
VERDICTS = {
    SUPERIORITY: ("above", "below"),
    NON_INFERIORITY: ("not inferior", "inferior"),
    EQUIVALENCE: ("equivalent", "different"),
}
UNCLEAR = "unclear"
# what may be expected, by kind: nothing else can be confirmed by its test
EXPECTATIONS = {SUPERIORITY: ("above", "below"), NON_INFERIORITY: (), EQUIVALENCE: ("equal",)}
CONFIRMED, REFUTED, OPEN = "confirmed", "refuted", "open"

_MARGIN = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,6})?) points?")


@dataclass(frozen=True)
class Hypothesis:
    """The kind of a test and its margin as a fraction, 0.02 for two points; 0 for superiority."""

    kind: str = SUPERIORITY
    margin: float = 0.0


NO_DIFFERENCE = Hypothesis()


def parse_margin(value: object) -> float:
    """A margin such as ``2 points``, of percentage points, as a fraction; raises ValueError."""
    found = _MARGIN.fullmatch(value) if isinstance(value, str) else None
    points = float(found[1]) if found else 0.0
    if not 0 < points < 100:
        raise ValueError(
            f"a margin has a unit and lies between 0 and 100, such as '2 points' (percentage "
            f"points of accuracy), not {value!r}"
        )
    return points / 100


def find_fault(kind: str, margin: str | None, expect: str | None) -> str | None:
    """Why a margin or an expectation does not go with the kind of a test; None if it does."""
    if kind == SUPERIORITY and margin is not None:
        return "superiority is tested without a margin; drop it, or set kind"
    if kind != SUPERIORITY and margin is None:
        return f"{kind} needs a margin, such as `margin: 2 points`"
    if expect is None or expect in EXPECTATIONS[kind]:
        return None
    fitting = [name for name, allowed in EXPECTATIONS.items() if expect in allowed]
    return (
        f"expect: {expect} cannot be decided by a test of {kind}; set kind: {fitting[0]}"
        if fitting
        else f"expect: {expect} is none of above, below, equal"
    )


def judge_expectation(kind: str, expect: str | None, verdict: str) -> str | None:
    """``confirmed``, ``refuted`` or ``open`` by the test's verdict; None if nothing is expected."""
    if expect is None:
        return None
    wished, opposite = VERDICTS[kind]
    if expect == "below":
        wished, opposite = opposite, wished
    return {wished: CONFIRMED, opposite: REFUTED}.get(verdict, OPEN)
