"""Parse what follows an operand: exponents, factorials, percent, degrees, subscripts, primes.

Input: the tokens of `tokens`. Output: nodes. The middle layer of the parser: `parse_primary` is
below it, `parse_expression` above.
"""

from __future__ import annotations

from math import prod

from orion.answers.parsing.parse_primary import POWER, PrimaryParser
from orion.answers.parsing.tokens import Token
from orion.answers.parsing.tree import Node, ParseError, neg, num, power, to_int

MAX_DOUBLE_FACTORIAL = 1_000


def double_factorial(node: Node) -> Node:
    """n!! of a small number, as a number; raises ParseError for anything else."""
    if (
        node.kind != "num"
        or node.value.denominator != 1
        or not 0 <= node.value <= MAX_DOUBLE_FACTORIAL
    ):
        raise ParseError("a double factorial")
    return num(prod(range(int(node.value), 0, -2)))


class PostfixParser(PrimaryParser):
    """Reads the operators that follow their operand."""

    def parse_exponent(self) -> Node:
        """The exponent behind ^: a group, or one token with its sign."""
        if self.token.value in ("{", "("):
            return self.parse_prefix()
        if self.token.value == "-":
            self.take()
            return neg(self.parse_exponent())
        return self.parse_binding(POWER - 1)

    def parse_postfix(self, left: Node, floor: int) -> Node | None:
        value = self.token.value
        if value == "^" and floor >= POWER:
            return None
        self.take()
        if value == "!":
            if left.kind == "fact" and self.tokens[self.at - 2].value == "!":
                return double_factorial(left.args[0])
            return Node("fact", (left,))
        if value == "%":
            return Node("pct", (left,))
        if value == "deg":
            return self.parse_degrees(left)
        if value == "'":
            return self.add_prime(left)
        if value == "_":
            return self.parse_subscript(left)
        if self.token.value == "deg":
            self.take()
            return self.parse_degrees(left)
        if self.is_degree_ahead(0):
            self.at += 3
            return self.parse_degrees(left)
        if left.kind == "num" and self.take_small_o():
            return self.parse_degrees(left)
        if self.token.value == "'":
            self.take()
            return self.add_prime(left)
        return power(left, self.parse_exponent())

    def parse_degrees(self, left: Node) -> Node:
        """An angle, or a temperature if the letter of a scale ends the value."""
        scale = self.token.value
        if scale in ("C", "F") and self.tokens[self.at + 1 : self.at + 2] in (
            [],
            [Token("op", ",", False)],
        ):
            self.take()
            return Node("unit", (left,), f"degree {scale}")
        return Node("deg", (left,))

    def take_small_o(self) -> bool:
        """Takes an exponent that is the letter o, for a degree sign; whether there was one."""
        for spelling in (["{", "o", "}"], ["o"]):
            if [t.value for t in self.tokens[self.at : self.at + len(spelling)]] == spelling:
                self.at += len(spelling)
                return True
        return False

    def is_degree_ahead(self, skip: int = 1) -> bool:
        """Whether a degree sign is `skip` tokens ahead, bare or in braces."""
        ahead = [t.value for t in self.tokens[self.at + skip : self.at + skip + 3]]
        return ahead == ["{", "deg", "}"] or (skip > 0 and ahead[:1] == ["deg"])

    @staticmethod
    def add_prime(left: Node) -> Node:
        if left.kind != "sym":
            raise ParseError("prime on a non-symbol")
        return Node("sym", (), f"{left.value}'")

    def parse_subscript(self, left: Node) -> Node:
        name = self.spell_group() if self.token.value == "{" else self.take().value
        if left.kind == "num":
            if not name.isdecimal() or left.value.denominator != 1 or left.value < 0:
                raise ParseError("a number with a subscript")
            return Node("based", (), f"{left.value}_{to_int(name)}")
        if left.kind in ("sym", "const"):
            return Node("sym", (), f"{left.value}_{name}")
        raise ParseError("a subscript on what is no name")
