"""The relations of a block as links: two sides, the sign between them, and what stands around.

Input: tokens of a block. Output: `Link`. `prose` and `formulas` find them.
"""

from __future__ import annotations

from dataclasses import dataclass

from orion.answers.steps.lexer import Token
from orion.answers.steps.sides import Side

RELATIONS = {
    "=": "=", "==": "=", "≈": "approx", "≃": "approx", "≅": "approx", "≠": "!=", "!=": "!=",
    "<": "<", ">": ">", "<=": "<=", ">=": ">=", "≤": "<=", "≥": ">=", "≡": "equiv",
    "\\le": "<=", "\\leq": "<=", "\\ge": ">=", "\\geq": ">=", "\\leqslant": "<=",
    "\\geqslant": ">=", "\\lt": "<", "\\gt": ">", "\\ne": "!=", "\\neq": "!=",
    "\\approx": "approx", "\\simeq": "approx", "\\equiv": "equiv", "\\cong": "cong",
    "\\sim": "cong", "\\doteq": "approx", "\\in": "in", "\\ll": "in", "\\gg": "in",
    "\\to": "in", "\\propto": "in", "\\mid": "in", "\\subset": "in", "\\notin": "in",
    "\\parallel": "in", "\\perp": "in",
}  # fmt: skip

MAX_LINKS = 5_000
# sides before a link that are kept with it
MAX_EARLIER = 4


@dataclass
class Link:
    """One link of a chain. `before` and `after` are the tokens beside it, None at a boundary."""

    left: Side
    operator: str
    right: Side
    in_formula: bool
    before: Token | None = None
    after: Token | None = None
    # the words before the left side, in lower case, nearest last
    words_before: tuple[str, ...] = ()
    # its place in its chain, and the links of the chain
    place: int = 0
    length: int = 1
    # the sides of the chain before `left`
    earlier: tuple[Side, ...] = ()
    # the left side begins with a sign that may be a list mark
    list_mark: bool = False
    trouble: str = ""
    # where the chain ends
    chain_end: int = 0

    @property
    def start(self) -> int:
        return self.left.start

    @property
    def end(self) -> int:
        return self.right.end
