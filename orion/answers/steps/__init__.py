"""Truth of the steps that a text writes out: a text in, its claims with their truth out.

A stand-in: it reads ``a op b = c`` in integers and nothing else.
"""

import re
from dataclasses import dataclass

_INTEGER = r"(-?\d{1,30})"
_CLAIM = re.compile(rf"{_INTEGER} ?([-+*/]) ?{_INTEGER} ?= ?{_INTEGER}(?![\d.])")


@dataclass(frozen=True)
class Claim:
    """One claim of a text: ``text[start:end]`` is ``text``; truth: true, false or unknown."""

    start: int
    end: int
    text: str
    truth: str
    rule: str


@dataclass(frozen=True)
class StepSummary:
    """The number of claims by truth, and the first false one."""

    true: int
    false: int
    unknown: int
    first_false: Claim | None


def check_steps(text: str, *, timeout_s: float = 2.5) -> list[Claim]:
    """The claims of a text, in order; no text raises."""
    claims = []
    for match in _CLAIM.finditer(text):
        left, op, right, stated = match.groups()
        a, b, c = int(left), int(right), int(stated)
        if op == "/" and b == 0:
            truth = "unknown"
        else:
            holds = {"+": a + b == c, "-": a - b == c, "*": a * b == c, "/": a == b * c}[op]
            truth = "true" if holds else "false"
        claims.append(Claim(match.start(), match.end(), match.group(), truth, "arithmetic"))
    return claims


def summary(claims: list[Claim]) -> StepSummary:
    """The counts of the claims and the first false one."""
    counts = {truth: sum(c.truth == truth for c in claims) for truth in ("true", "false")}
    first = next((claim for claim in claims if claim.truth == "false"), None)
    unknown = len(claims) - sum(counts.values())
    return StepSummary(counts["true"], counts["false"], unknown, first)
