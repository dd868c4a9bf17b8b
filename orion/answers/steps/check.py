"""Check the steps of a text: find its relations, decide each, and keep the asserted ones.

Input: any str. Output: claims in reading order. Never raises for a str; one deadline per text.
"""

from __future__ import annotations

import re
import time

from orion.answers.steps.claims import TRUE, UNKNOWN, Claim
from orion.answers.steps.formulas import FormulaScanner
from orion.answers.steps.judge import judge
from orion.answers.steps.lexer import Token, split_blocks, tokenize
from orion.answers.steps.links import Link
from orion.answers.steps.prose import ProseScanner
from orion.answers.steps.verdicts import Verdict

DEFAULT_TIMEOUT_S = 2.5
MAX_TEXT = 400_000
MAX_LINKS = 5_000
_RELATION = re.compile(r"[=≈≠<>≤≥≡]|\\(?:le|ge|lt|gt|ne|neq|leq|geq|approx|equiv|simeq|doteq)\b")

_FUNCTION = re.compile(r"[A-Za-z](?:_\{?\w+\}?)?\([A-Za-z](?:,[A-Za-z])*\)")


def find_links(text: str) -> list[Link]:
    """All links of the text, marks included, in reading order."""
    links: list[Link] = []
    for block in split_blocks(text):
        if not _RELATION.search(text, block.start, block.end):
            continue
        tokens = tokenize(text, block.start, block.end)
        if block.is_formula:
            links.extend(FormulaScanner(tokens, text).find())
        else:
            links.extend(ProseScanner(tokens, text).find())
            links.extend(_links_in_marks(tokens, text))
    return links


def _links_in_marks(tokens: list[Token], text: str) -> list[Link]:
    """The equations that calculator marks hold: <<2*3=6>>."""
    links = []
    for token in tokens:
        if token.kind == "mark":
            links.extend(ProseScanner(tokenize(text, token.start + 2, token.end - 2), text).find())
    return links


def constrained_names(link: Link, verdict: Verdict | None) -> frozenset[str]:
    """The names on which a link puts a condition: those of equations, not of identities."""
    if verdict is not None and verdict[0] == TRUE:
        return frozenset()
    if link.operator != "=" or not ("v" in link.left.kinds or "v" in link.right.kinds):
        return frozenset()
    left, right = link.left.letters, link.right.letters
    if len(left) == 1 and left.isdisjoint(right) and len(link.left.items) == 1:
        return left
    # f(x) = ... and A(x, y) = ... define a function
    if link.place == 0 and _FUNCTION.fullmatch(link.left.source.replace(" ", "")):
        return frozenset()
    return left | right


def check_steps(text: str, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> list[Claim]:
    """The claims of a text with their truth, in reading order. Never raises for a str."""
    deadline = time.monotonic() + timeout_s
    text = text[:MAX_TEXT]
    if not _RELATION.search(text):
        return []
    claims = []
    constrained: frozenset[str] = frozenset()
    for link in find_links(text)[:MAX_LINKS]:
        left = deadline - time.monotonic()
        link.constrained = constrained
        verdict = (
            judge(link, text, lambda: deadline - time.monotonic())
            if left > 0
            else (UNKNOWN, "deadline")
        )
        constrained |= constrained_names(link, verdict)
        if verdict is not None:
            span = text[link.start : link.end]
            claims.append(Claim(link.start, link.end, span, *verdict))
    claims.sort(key=lambda claim: (claim.start, claim.end))
    return claims
