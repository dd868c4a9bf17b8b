"""One relation of a text: two sides, the sign between them, and what stands around.

Input: none. Output: `Side`, `Link`. `sides` makes the sides, `prose` and `formulas` find the links.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from orion.answers.parsing.normalise import overline_repeating, unicode_to_latex
from orion.answers.parsing.parse_expression import parse_expression
from orion.answers.parsing.tree import Node, ParseError
from orion.answers.steps.arithmetic import Item
from orion.answers.steps.lexer import Token

RELATIONS = {
    "=": "=", "==": "=", "≈": "approx", "≃": "approx", "≅": "approx", "≠": "!=", "!=": "!=",
    "<": "<", ">": ">", "<=": "<=", ">=": ">=", "≤": "<=", "≥": ">=", "≡": "equiv",
    "\\le": "<=", "\\leq": "<=", "\\ge": ">=", "\\geq": ">=", "\\leqslant": "<=",
    "\\geqslant": ">=", "\\lt": "<", "\\gt": ">", "\\ne": "!=", "\\neq": "!=",
    "\\approx": "approx", "\\simeq": "approx", "\\equiv": "equiv", "\\cong": "cong",
    "\\sim": "cong", "\\doteq": "approx", "\\in": "in", "\\ll": "in", "\\gg": "in",
    "\\to": "in", "\\propto": "in", "\\subset": "in", "\\notin": "in",
    "\\parallel": "in", "\\perp": "in",
}  # fmt: skip

MAX_LINKS = 5_000
# digits of a number whose rounding is judged
MAX_LITERAL = 200
# sides before a link that are kept with it
MAX_EARLIER = 4


@dataclass
class Side:
    """One side of a relation: its offsets, its items, and the text that the parser reads."""

    start: int
    end: int
    items: tuple[Item, ...]
    source: str
    # why it is not understood; empty: it may be
    trouble: str = ""
    # words behind the side, as a unit may be there
    after: tuple[str, ...] = ()
    has_money: bool = False
    kinds: frozenset[str] = field(default_factory=frozenset)

    @cached_property
    def node(self) -> Node | None:
        """The tree of the side, None if it is no expression."""
        if self.trouble or len(self.source) > 2_000:
            return None
        try:
            return parse_expression(overline_repeating(unicode_to_latex(self.source)))
        except ParseError:
            return None

    @cached_property
    def literal(self) -> str | None:
        """The digits of a side that is one number, with its sign; None for anything else."""
        items = [item for item in self.items if item[0] not in ("u", "%", "(", ")")]
        sign = ""
        if items and items[0][0] == "-":
            sign, items = "-", items[1:]
        single = len(items) == 1 and items[0][0] == "n" and len(items[0][1]) <= MAX_LITERAL
        return sign + items[0][1] if single else None

    @property
    def units(self) -> tuple[str, ...]:
        """The units in the side and behind it."""
        inside = tuple(text for kind, text in self.items if kind == "u")
        return inside + ((" ".join(self.after),) if self.after else ())


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
