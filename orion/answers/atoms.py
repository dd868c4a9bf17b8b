"""What an expression is built from: groups, brackets, functions, roots, environments, subscripts.

Inputs: the tokens of `tokens`. Outputs: nodes. The class is the lower half of the parser in `parse`. Not runnable.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

from orion.answers.normalise import decimal_literal
from orion.answers.tokens import Token, tokenize
from orion.answers.tree import MAX_BITS, MAX_MATRIX, Node, Unreadable, const, fraction, inverse, mul, num, power, to_int

_END = Token("end", "", False)
LIST, OVER, RELATION, SETS, SUM, UNARY, PRODUCT, TIGHT, POWER = 5, 8, 10, 15, 20, 28, 30, 35, 50
_CLOSING = {"(": (")", "]"), "[": ("]", ")"), "{|": ("|}",), "floor": ("floor",), "ceil": ("ceil",), "{": ("}",)}


def number(literal: str) -> Node:
    mantissa, mark, exponent = literal.replace("E", "e").partition("e")
    value = fraction(decimal_literal(mantissa) or "0")
    if not mark:
        return num(value)
    if len(exponent) > 6 or abs(int(exponent)) * 4 > MAX_BITS:
        raise Unreadable("number too large")
    return num(value * Fraction(10) ** int(exponent))


class Atoms:
    """A cursor over tokens with the parts that need no binding powers; `parse.Parser` adds the expressions."""

    expression: Callable[[int], Node]
    exponent: Callable[[], Node]
    prefix: Callable[[], Node]
    sequence: Callable[[], list[Node]]

    def __init__(self, text: str) -> None:
        self.tokens = tokenize(text)
        self.at = 0
        self.depth = 0
        self.signs = 0
        # inside the argument of a function written without brackets, as in \sin 2x
        self.bare_argument = False

    @property
    def token(self) -> Token:
        return self.tokens[self.at] if self.at < len(self.tokens) else _END

    def take(self) -> Token:
        token = self.token
        self.at += 1
        return token

    def expect(self, *values: str) -> Token:
        token = self.take()
        if token.value not in values:
            raise Unreadable("unbalanced brackets")
        return token

    @staticmethod
    def primed(left: Node) -> Node:
        if left.kind != "sym":
            raise Unreadable("a prime on what is no name")
        return Node("sym", (), f"{left.value}'")

    def subscript(self, left: Node) -> Node:
        if self.token.value == "{":
            self.take()
            parts = []
            while self.token.value != "}":
                if self.token.kind == "end":
                    raise Unreadable("unbalanced braces")
                parts.append(self.take().value)
            self.take()
        else:
            parts = [self.take().value]
        name = "".join(parts)
        if left.kind == "num":
            if not name.isdecimal() or left.value.denominator != 1 or left.value < 0:
                raise Unreadable("a number with a subscript")
            return Node("based", (), f"{left.value}_{to_int(name)}")
        if left.kind in ("sym", "const"):
            return Node("sym", (), f"{left.value}_{name}")
        raise Unreadable("a subscript on what is no name")

    def repeating(self, literal: str) -> Node:
        """0.8\\overline{3}: the digits under the line repeat for ever."""
        self.take()
        self.expect("{")
        token = self.take()
        self.expect("}")
        whole, point, fixed = literal.partition(".")
        if token.kind != "num" or not token.value.isdecimal() or not point:
            raise Unreadable("a line over what is no repeating decimal")
        if len(token.value) > 1000 or len(fixed) > 1000:
            raise Unreadable("number too long")
        cycle = Fraction(to_int(token.value), (10 ** len(token.value) - 1) * 10 ** len(fixed))
        return num(fraction(decimal_literal(literal if fixed else whole) or "0") + cycle)

    def group(self) -> Node:
        """A brace group or, as in \\frac12, one digit or one token."""
        token = self.token
        if token.value == "{" and token.kind == "open":
            return self.prefix()
        if token.kind == "num" and len(token.value) > 1:
            self.tokens[self.at] = Token("num", token.value[1:], False)
            return number(token.value[0]) if token.value[0].isdigit() else num(0)
        if token.kind in ("end", "close", "op"):
            raise Unreadable("a command without its argument")
        return self.prefix()

    def function(self, name: str) -> Node:
        if name in ("sqrt", "cbrt"):
            inner = self.prefix() if self.token.kind == "open" else self.expression(POWER)
            return power(inner, num(Fraction(1, 2 if name == "sqrt" else 3)))
        base = exponent = None
        for _ in range(2):
            if self.token.value == "_" and base is None:
                self.take()
                base = self.group()
            elif self.token.value == "^" and exponent is None:
                self.take()
                exponent = self.exponent()
        outer = self.bare_argument
        if self.token.kind == "open" and self.token.value in ("(", "{", "["):
            self.bare_argument = False
            argument = self.prefix()
        else:
            self.bare_argument = True
            argument = self.expression(TIGHT - 1)
        self.bare_argument = outer
        args = argument.args if argument.kind == "tuple" else (argument,)
        result = Node("fn", (*args, base) if base is not None else args, "log" if name == "lg" else name)
        if exponent is None:
            return result
        if exponent == num(-1) and name in ("sin", "cos", "tan", "cot", "sec", "csc"):
            return Node("fn", args, f"arc{name}")
        return power(result, exponent)

    def bracket(self, opening: str) -> Node:
        outer, self.bare_argument = self.bare_argument, False
        items = self.sequence()
        closing = self.expect(*_CLOSING[opening]).value
        self.bare_argument = outer
        if opening == "{|":
            return Node("set", tuple(items)) if items else const("empty")
        if not items:
            raise Unreadable("empty brackets")
        if opening in ("floor", "ceil"):
            return Node("fn", tuple(items), opening)
        if opening == "{":
            return items[0] if len(items) == 1 else Node("list", tuple(items))
        if len(items) == 2 and opening + closing != "()":
            return Node("interval", tuple(items), opening + closing)
        if opening + closing in ("(]", "[)"):
            raise Unreadable("unbalanced brackets")
        if len(items) == 1:
            return items[0]
        return Node("tuple" if opening == "(" else "list", tuple(items))

    def structure(self, value: str) -> Node:
        if value == "frac":
            top = self.group()
            return mul(top, inverse(self.group()))
        if value == "binom":
            top = self.group()
            return Node("binom", (top, self.group()))
        if value == "sqrt":
            return self.root()
        if value.startswith("begin "):
            return self.environment(value[6:])
        raise Unreadable("a command out of its place")

    def root(self) -> Node:
        index = num(2)
        if self.token.value == "[":
            self.take()
            index = self.expression(LIST)
            self.expect("]")
        return power(self.group(), inverse(index) if index.kind != "num" or not index.value else num(1 / index.value))

    def environment(self, name: str) -> Node:
        rows: list[list[Node]] = [[]]
        while not self.token.value.startswith("end "):
            if self.token.kind == "end":
                raise Unreadable("an environment left open")
            if self.token.value in ("amp", "row", ","):
                if self.take().value == "row":
                    rows.append([])
                continue
            rows[-1].append(self.expression(LIST))
        self.take()
        rows = [row for row in rows if row]
        if not name.endswith("matrix") and name != "array":
            cells = tuple(cell for row in rows for cell in row)
            return Node("list", cells) if len(cells) != 1 else cells[0]
        if not rows or len({len(row) for row in rows}) != 1:
            raise Unreadable("a matrix with rows of different lengths")
        if len(rows) > MAX_MATRIX or len(rows[0]) > MAX_MATRIX:
            raise Unreadable("matrix too large")
        kind = "det" if name == "vmatrix" else "matrix"
        return Node(kind, tuple(cell for row in rows for cell in row), (len(rows), len(rows[0])))
