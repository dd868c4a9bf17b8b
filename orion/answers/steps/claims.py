"""What a step check returns: claims with their truth, and their summary.

Input: none. Output: `Claim`, `StepSummary`, `summary`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

TRUE, FALSE, UNKNOWN = TRUTHS = ("true", "false", "unknown")


@dataclass(frozen=True, slots=True)
class Claim:
    """A relation that the text asserts: text[start:end], its truth, and the rule that decided."""

    start: int
    end: int
    text: str
    truth: str
    rule: str


@dataclass(frozen=True, slots=True)
class StepSummary:
    """How many claims of a text have each truth, and the first false one in reading order."""

    true: int
    false: int
    unknown: int
    first_false: Claim | None


def summary(claims: Iterable[Claim]) -> StepSummary:
    """The summary of the claims of one text."""
    found = list(claims)
    wrong = [claim for claim in found if claim.truth == FALSE]
    return StepSummary(
        true=sum(claim.truth == TRUE for claim in found),
        false=len(wrong),
        unknown=sum(claim.truth == UNKNOWN for claim in found),
        first_false=min(wrong, key=lambda claim: (claim.start, claim.end), default=None),
    )
