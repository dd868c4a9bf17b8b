"""Check the steps of a text: find its relations, decide each, and keep the asserted ones.

Input: any str. Output: claims in reading order. Never raises for a str; one deadline per text.

Limits: MAX_TEXT characters and MAX_LINKS relations of a text are read, and of a block as much as
`expressions.MAX_WORK` allows. The first relation beyond a limit is one claim, `unknown` by the rule
`too_long`. Where the time ends, every relation found by then is `unknown` by the rule `deadline`,
and so is the first relation of the blocks that were not read.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from orion.answers.steps.bindings import Bindings
from orion.answers.steps.budget import Budget
from orion.answers.steps.claims import FALSE, TRUE, UNKNOWN, Claim
from orion.answers.steps.formulas import FormulaScanner
from orion.answers.steps.judge import judge
from orion.answers.steps.lexer import Token, split_blocks, tokenize
from orion.answers.steps.links import MAX_LINKS, Link
from orion.answers.steps.prose import ProseScanner
from orion.answers.steps.restated import find_restated
from orion.answers.steps.verdicts import Verdict

DEFAULT_TIMEOUT_S = 2.5
MAX_TEXT = 200_000
_RELATION = re.compile(
    r"[=≈≠<>≤≥≡]|\\(?:le|ge|lt|gt|ne|neq|leq|geq|approx|equiv|simeq|doteq)\b|\bequals\b"
)


class Cut(NamedTuple):
    """Where the search for relations ended before the text did, and the rule that says why."""

    at: int
    rule: str


def find_links(text: str, budget: Budget) -> tuple[list[Link], Cut | None]:
    """The links of the text, marks included, and where a limit cut it; None if none did."""
    links: list[Link] = []
    cut = Cut(MAX_TEXT, "too_long") if len(text) > MAX_TEXT else None
    text = text[:MAX_TEXT]
    for block in split_blocks(text):
        if len(links) > MAX_LINKS:
            break
        if budget.seconds_left() <= 0:
            cut = _earlier(cut, Cut(block.start, "deadline"))
            break
        if not _RELATION.search(text, block.start, block.end):
            continue
        tokens = tokenize(text, block.start, block.end)
        if block.is_formula:
            links.extend(FormulaScanner(tokens, text).find())
        else:
            scanner = ProseScanner(tokens, text)
            links.extend(scanner.find())
            links.extend(find_restated(scanner))
            links.extend(_links_in_marks(tokens, text))
            if scanner.gave_up_at is not None:
                cut = _earlier(cut, Cut(scanner.gave_up_at, "too_long"))
    links.sort(key=lambda link: (link.start, link.end))
    if len(links) > MAX_LINKS:
        return links[:MAX_LINKS], Cut(links[MAX_LINKS].left.end, "too_long")
    return links, cut


def _earlier(cut: Cut | None, other: Cut) -> Cut:
    return other if cut is None or other.at < cut.at else cut


def claim_at_cut(text: str, cut: Cut | None) -> list[Claim]:
    """The sign of the first relation beyond a cut as an unknown claim; none if none is there."""
    sign = _RELATION.search(text, cut.at) if cut is not None else None
    if cut is None or sign is None:
        return []
    return [Claim(sign.start(), sign.end(), sign.group(), UNKNOWN, cut.rule)]


def _links_in_marks(tokens: list[Token], text: str) -> list[Link]:
    """The equations that calculator marks hold: <<2*3=6>>."""
    links = []
    for token in tokens:
        if token.kind == "mark":
            links.extend(ProseScanner(tokenize(text, token.start + 2, token.end - 2), text).find())
    return links


def check_steps(text: str, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> list[Claim]:
    """The claims of a text with their truth, in reading order. Never raises for a str."""
    budget = Budget(timeout_s)
    if not _RELATION.search(text):
        return []

    judged: list[tuple[Link, Verdict]] = []
    bindings = Bindings()
    links, cut = find_links(text, budget)
    for link in links:
        in_time = budget.seconds_left() > 0
        verdict = judge(link, text, budget) if in_time else (UNKNOWN, "deadline")
        if link.end == MAX_TEXT < len(text):
            # its last number may go on beyond the cut
            verdict = UNKNOWN, "too_long"
        in_letters = verdict in (None, (UNKNOWN, "letters"))
        if in_letters and not bindings.take(link) and bindings.holds(link):
            verdict = TRUE, "substituted"
        if verdict is not None:
            judged.append((link, verdict))
    claims = [
        Claim(link.start, link.end, text[link.start : link.end], *verdict)
        for link, verdict in excuse_corrected(judged)
    ]
    claims += claim_at_cut(text, cut)
    claims.sort(key=lambda claim: (claim.start, claim.end))
    return claims


def excuse_corrected(judged: list[tuple[Link, Verdict]]) -> list[tuple[Link, Verdict]]:
    """The links with their verdicts; a false one whose left side is right later is unknown."""
    if not any(verdict[0] == FALSE for _, verdict in judged):
        return judged
    last_right = {
        link.left.source.strip(): link.start
        for link, verdict in judged
        if verdict[0] == TRUE and link.left.literal is None
    }
    return [
        (link, (UNKNOWN, "corrected"))
        if verdict[0] == FALSE and last_right.get(link.left.source.strip(), -1) > link.end
        else (link, verdict)
        for link, verdict in judged
    ]
