"""Parse tokens to a tree: a Pratt parser for the mathematics in which answers are written.

Input: a normalised string. Output: a `Node`; raises ParseError. Depth, length and digits are
bounded.
"""

from __future__ import annotations

import re
from fractions import Fraction

from orion.answers.parsing.parse_postfix import PostfixParser
from orion.answers.parsing.parse_primary import (
    LIST,
    OVER,
    POWER,
    PRODUCT,
    RELATION,
    SETS,
    SUM,
    TIGHT,
    UNARY,
    number_node,
)
from orion.answers.parsing.tokens import Token
from orion.answers.parsing.tree import (
    MAX_DEPTH,
    Node,
    NotMathematicsError,
    ParseError,
    add,
    check_depth,
    const,
    inverse,
    mul,
    neg,
    num,
    print_tree,
)
from orion.answers.parsing.units import SCALES, read_unit
from orion.answers.wording.phrases import is_label, is_unit_phrase

MAX_SIGNS = 4
_ELSE = re.compile(r"\b(?:else|otherwise)\b", re.I)
_SPACING = re.compile(r"\\[,;:! ]|~|\\cdot(?![A-Za-z])")
_RELATIONS = frozenset(
    ("=", "<", ">", "<=", ">=", "!=", "in", "approx", "equiv", "parallel", "perp", "sim")
)
_SET_OPERATORS = {"cup": "union", "cap": "inter", "minus": "minus"}
_STARTS = frozenset(("num", "sym", "const", "fn", "text"))


class _ExpressionParser(PostfixParser):
    """Reads whole expressions: operators between operands, by their binding powers."""

    # sequences

    def parse_sequence(self) -> list[Node]:
        """Items up to a closing bracket or the end, separated by commas or words."""
        items: list[Node] = []
        links = 0
        self.link = ","
        while self.token.kind not in ("end", "close") and not self.token.value.startswith(
            ("end ", "cond")
        ):
            if self.token.value in (",", "or", "and", "row", "amp"):
                word = self.take().value
                self.link = word if word in ("or", "and") else self.link
                links += 1
                continue
            if links == 0 and items:
                raise NotMathematicsError("two answers without a separator")
            link = self.link
            items.append(self.parse_binding(LIST))
            self.link = link
            links = 0
        if links and self.tokens[self.at - 1].value in ("and", "or"):
            raise ParseError("the text stops in the middle")
        return items

    def parse_whole(self) -> Node:
        items = self.parse_sequence()
        # "x^2 where x > 0": the condition does not change the answer
        if self.token.kind != "end" and not (items and self.token.value == "cond"):
            raise ParseError("unbalanced brackets")
        if any(_ELSE.search(token.value) for token in self.tokens[self.at :]):
            # "7 if n is even, else 3" is two answers
            raise NotMathematicsError("words, not mathematics")
        if not items:
            raise ParseError("empty")
        if len(items) > 1 and self.link == "and" and (whole := add_measures(items)) is not None:
            return whole
        return (
            items[0]
            if len(items) == 1
            else Node("list", tuple(items), None if self.link == "," else self.link)
        )

    # expressions

    def parse_binding(self, floor: int) -> Node:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise ParseError("nested too deeply")
        left = self.parse_prefix()
        while True:
            step = self.parse_infix(left, floor)
            if step is None:
                break
            left = step
        self.depth -= 1
        return left

    def parse_infix(self, left: Node, floor: int) -> Node | None:
        """`left` with the next operator applied, or None if that binds no tighter than `floor`."""
        token = self.token
        if token.kind == "op":
            return self.parse_operator(left, floor, token.value)
        binding = TIGHT if self.bare_argument else PRODUCT
        if floor >= binding or not self.starts_factor(token):
            return None
        if self.bare_argument and token.kind == "fn":
            return None
        if token.kind == "text":
            self.take()
            return self.attach_unit(left, token.value)
        if left.kind == "unit":
            return self.parse_compound(left)
        return self.parse_juxtaposed(left)

    def parse_operator(self, left: Node, floor: int, value: str) -> Node | None:
        if value in _RELATIONS and floor < RELATION:
            return self.parse_relation(left)
        if value in _SET_OPERATORS and floor < SETS:
            return self.parse_set_operation(left)
        if value in ("+", "-") and floor < SUM:
            self.take()
            right = self.parse_binding(SUM)
            if value == "-" and right.kind == "set":
                return Node("minus", (left, right))
            return add(left, right if value == "+" else neg(right))
        if value in ("pm", "mp") and floor < SUM:
            self.take()
            self.count_sign()
            right = self.parse_binding(SUM)
            both = (add(left, right), add(left, neg(right)))
            return Node("pm", both, "+") if value == "pm" else Node("pm", both[::-1], "-")
        if value in ("*", "/") and floor < PRODUCT:
            self.take()
            if value == "/" and left.kind == "unit" and self.token.kind == "text":
                return self.attach_unit(left, "/" + self.take().value)
            right = self.parse_binding(PRODUCT)
            return mul(left, right if value == "*" else inverse(right))
        if value == ":" and floor < SUM and not self.builder:
            self.take()
            right = self.parse_binding(SUM)
            return Node("ratio", (*left.args, right) if left.kind == "ratio" else (left, right))
        if value in ("^", "!", "%", "'", "deg", "_") and floor < POWER + 10:
            return self.parse_postfix(left, floor)
        return self.parse_rare_operator(left, floor, value)

    def parse_rare_operator(self, left: Node, floor: int, value: str) -> Node | None:
        if value in ("over", "choose") and floor < OVER:
            self.take()
            right = self.parse_binding(OVER)
            return mul(left, inverse(right)) if value == "over" else Node("binom", (left, right))
        if value == "bmod" and floor < PRODUCT:
            return self.parse_remainder(left)
        if value == "mod" and floor < RELATION - 1:
            self.take()
            return Node("mod", (left, self.parse_binding(RELATION)))
        if value == "dots":
            raise ParseError("a sequence with dots")
        if value == "|" and floor < PRODUCT and not self.in_bars and not self.builder:
            return mul(left, self.parse_binding(PRODUCT))
        return None

    def parse_set_operation(self, left: Node) -> Node:
        kind = _SET_OPERATORS[self.take().value]
        right = self.parse_binding(SETS)
        flat = left.kind == kind and kind != "minus"
        return Node(kind, (*left.args, right) if flat else (left, right))

    def parse_remainder(self, left: Node) -> Node:
        """17 bmod 5 as the number 2."""
        self.take()
        right = self.parse_binding(PRODUCT)
        whole = all(x.kind == "num" and x.value.denominator == 1 for x in (left, right))
        if not whole or right == num(0):
            raise ParseError("a remainder of what is no whole number")
        return num(left.value % right.value)

    def starts_factor(self, token: Token) -> bool:
        return (
            token.kind in _STARTS
            or token.kind == "open"
            or (token.kind == "cmd" and not token.value.startswith("end"))
        )

    def attach_unit(self, left: Node, word: str) -> Node:
        """The value with the unit or the counted things behind it; ParseError for other words."""
        words = [word]
        while self.token.kind == "text":
            words.append(self.take().value)
        phrase = _SPACING.sub(" ", " ".join(words)).strip()
        head, _, rest = phrase.partition(" ")
        if head.lower() in SCALES:
            scaled = mul(left, num(SCALES[head.lower()]))
            return self.attach_unit(scaled, rest) if rest.strip() else scaled
        if self.token.value == "^":
            self.take()
            phrase = f"{phrase}^{print_tree(self.parse_exponent())}"
        if left.kind == "unit":
            phrase = f"{left.value}{'' if phrase[0] == '/' else ' '}{phrase}"
            left = left.args[0]
        if read_unit(phrase) is None and not is_unit_phrase(phrase):
            raise NotMathematicsError("words, not mathematics")
        return Node("unit", (left,), phrase)

    def parse_compound(self, left: Node) -> Node:
        """2 hours 25 minutes: a measure with another, smaller one behind it."""
        right = self.parse_binding(PRODUCT - 1) if self.token.kind == "num" else None
        whole = add_measures([left, right]) if right is not None else None
        if whole is None:
            raise ParseError("a value behind a unit")
        return whole

    def parse_juxtaposed(self, left: Node) -> Node:
        """Implicit multiplication, or a mixed number."""
        token = self.token
        before = self.tokens[self.at - 1]
        whole = left.args[-1] if left.kind == "mul" else left
        if before.kind == "num" and whole.kind == "num" and whole.value.denominator == 1:
            if token.value == "frac" and token.kind == "cmd":
                part = self.parse_prefix()
                top, bottom = part.args[0], part.args[-1].args[0] if part.kind == "mul" else part
                powered = self.token.value == "^" and not self.is_degree_ahead()
                if (
                    part.kind == "mul"
                    and top.kind == "num"
                    and bottom.kind == "num"
                    and not powered
                ):
                    return self.make_mixed_number(left, whole, top.value, bottom.value)
                return mul(left, part)
            if token.kind == "num" and token.spaced:
                ahead = self.tokens[self.at : self.at + 3]
                if (
                    [t.value for t in ahead[1:2]] == ["/"]
                    and len(ahead) == 3
                    and ahead[2].kind == "num"
                ):
                    self.at += 3
                    return self.make_mixed_number(
                        left,
                        whole,
                        number_node(token.value).value,
                        number_node(ahead[2].value).value,
                    )
        if token.kind == "num" and (before.value != "}" or before.kind != "close"):
            raise ParseError("two numbers without an operator")
        if token.value == "U" and left.kind in ("interval", "tuple", "union"):
            self.take()
            right = self.parse_binding(SETS)
            return Node("union", (*left.args, right) if left.kind == "union" else (left, right))
        if token.value == "frac" and token.kind == "cmd":
            part = self.parse_prefix()
            unit = spell_unit(part)
            return Node("unit", (left,), unit) if unit else mul(left, part)
        return mul(left, self.parse_binding(PRODUCT if not self.bare_argument else TIGHT))

    @staticmethod
    def make_mixed_number(left: Node, whole: Node, top: Fraction, bottom: Fraction) -> Node:
        if bottom == 0:
            raise ParseError("division by zero")
        value = whole.value + (-1 if whole.value < 0 else 1) * top / bottom
        return mul(*left.args[:-1], num(value)) if left.kind == "mul" else num(value)

    def parse_relation(self, left: Node) -> Node:
        operators, terms = [], [left]
        while self.token.kind == "op" and self.token.value in _RELATIONS:
            operators.append(self.take().value)
            terms.append(self.parse_binding(RELATION))
        return Node("rel", tuple(terms), tuple(operators))

    def count_sign(self) -> None:
        """Counts plus-minus signs; each doubles the number of readings, so few are allowed."""
        self.signs += 1
        if self.signs > MAX_SIGNS:
            raise ParseError("too many plus-minus signs")

    def parse_angle_brackets(self) -> Node:
        """<1, 2, 3>: a vector between inequality signs."""
        items = [self.parse_binding(RELATION)]
        while self.token.value == ",":
            self.take()
            items.append(self.parse_binding(RELATION))
        self.expect(">")
        return Node("tuple", tuple(items))

    # the start of an expression

    def parse_prefix(self) -> Node:
        token = self.take()
        kind, value = token.kind, token.value
        if kind == "num":
            return (
                self.parse_repeating_decimal(value)
                if self.token.value == "overline"
                else number_node(value)
            )
        if kind == "sym":
            return Node("sym", (), value)
        if kind == "const":
            return const(value)
        if kind == "fn":
            return self.parse_function(value)
        if kind == "text":
            # words before a value are its label, as in \text{Area: }5
            if not self.starts_factor(self.token):
                return Node("text", (), value)
            if not is_label(value):
                raise NotMathematicsError("words, not mathematics")
            return self.parse_prefix()
        if kind == "open":
            return self.parse_bracket(value)
        if kind == "cmd":
            return self.parse_command(value)
        if value == "-":
            return neg(self.parse_binding(UNARY))
        if value in ("+", "approx"):
            return self.parse_binding(UNARY if value == "+" else RELATION)
        if value in ("pm", "mp"):
            self.count_sign()
            right = self.parse_binding(UNARY)
            return (
                Node("pm", (right, neg(right)), "+")
                if value == "pm"
                else Node("pm", (neg(right), right), "-")
            )
        if value == "dots":
            return Node("dots")
        if value == "<":
            return self.parse_angle_brackets()
        if value == "|":
            outer = self.bare_argument, self.in_bars
            self.bare_argument, self.in_bars = False, True
            inner = self.parse_binding(LIST)
            self.bare_argument, self.in_bars = outer
            self.expect("|")
            return Node("fn", (inner,), "abs")
        raise ParseError(
            "an operator without its operand" if kind != "end" else "the text stops in the middle"
        )


def add_measures(parts: list[Node]) -> Node | None:
    """3 hours and 35 minutes as 215 minutes; None unless each part is less than one before it."""
    if any(x.kind != "unit" or x.args[0].kind != "num" for x in parts):
        return None
    measures = [read_unit(x.value) for x in parts]
    total = Fraction(0)
    for part, measure, before in zip(parts, measures, [None, *measures], strict=False):
        if measure is None or (before is not None and measure.dimensions != before.dimensions):
            return None
        ratio = 1 if before is None else before.factor / measure.factor
        # "5 m and 3 m" are two lengths; "2 hours 90 minutes" is odd, and not understood
        if before is not None and (ratio <= 1 or not 0 <= part.args[0].value < ratio):
            return None
        total = total * ratio + part.args[0].value
    return Node("unit", (num(total),), parts[-1].value)


def spell_unit(node: Node) -> str | None:
    """The spelling of a fraction of unit words only, such as m/s^2; None for anything else."""
    if node.kind == "text":
        return str(node.value)
    if node.kind == "pow" and node.args[0].kind == "text" and node.args[1].kind == "num":
        return f"{node.args[0].value}^{node.args[1].value}"
    if (
        node.kind == "mul"
        and len(node.args) == 2
        and node.args[1].kind == "pow"
        and node.args[1].args[1] == num(-1)
    ):
        top, bottom = spell_unit(node.args[0]), spell_unit(node.args[1].args[0])
        return f"{top}/{bottom}" if top and bottom else None
    return None


def parse_expression(text: str) -> Node:
    """The tree of a normalised text; raises ParseError with the reason."""
    parser = _ExpressionParser(text)
    try:
        node = parser.parse_whole()
    except RecursionError:
        raise ParseError("nested too deeply") from None
    check_depth(node)
    return node
