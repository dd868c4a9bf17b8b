"""``orion answers steps``: the claims of a text as lines.

Input: a text. Output: lines for a terminal.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from orion.answers.audit import one_line
from orion.answers.steps.claims import Claim, summary

# characters of a claim on its line
SHOWN = 100


def format_claims(text: str, claims: Iterable[Claim]) -> Iterator[str]:
    """One line per claim, with its line and column, truth and rule; then the summary."""
    found = list(claims)
    places = [_place(text, claim.start) for claim in found]
    width = max(map(len, places), default=0)
    for place, claim in zip(places, found, strict=True):
        shown = one_line(claim.text, SHOWN)
        yield f"{place:<{width}}  {claim.truth:<7}  {claim.rule:<21}  {shown}"
    total = summary(found)
    yield f"{total.true:,} true, {total.false:,} false, {total.unknown:,} unknown"
    if total.first_false is not None:
        first = total.first_false
        yield f"first false: {_place(text, first.start)}  {one_line(first.text, SHOWN)}"


def _place(text: str, at: int) -> str:
    """The line and the column of an offset, from 1."""
    return f"{text.count(chr(10), 0, at) + 1}:{at - text.rfind(chr(10), 0, at)}"
