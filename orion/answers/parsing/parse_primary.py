"""Parse operands: numbers, groups, brackets, functions, roots, sums, environments.

Input: the tokens of `tokens`. Output: nodes. The lowest layer of the parser; `parse_expression`
joins the operands.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

from orion.answers.parsing.bound_names import count_series, rename_index
from orion.answers.parsing.normalise import decimal_literal
from orion.answers.parsing.tokens import Token, tokenize
from orion.answers.parsing.tree import (
    MAX_BITS,
    MAX_MATRIX,
    Node,
    ParseError,
    TooCostlyError,
    add,
    conjugate,
    const,
    inverse,
    literal_to_fraction,
    mul,
    num,
    power,
    to_int,
)

_INVERTIBLE = frozenset(("sin", "cos", "tan", "cot", "sec", "csc", "sinh", "cosh", "tanh"))
_ALIGNED = frozenset(
    ("aligned", "align", "split", "gathered", "gather", "equation", "eqnarray", "multline")
)
_END = Token("end", "", False)
# binding powers, from loose to tight; TIGHT: a product inside a function's bare argument, \sin 2x
LIST, OVER, RELATION, SETS, SUM, UNARY, PRODUCT, TIGHT, POWER = 5, 8, 10, 15, 20, 28, 30, 35, 50
_CLOSING = {
    "(": (")", "]"),
    "[": ("]", ")"),
    "{|": ("|}",),
    "floor": ("floor",),
    "ceil": ("ceil",),
    "{": ("}",),
    "abs": ("abs",),
}


def number_node(literal: str) -> Node:
    mantissa, mark, exponent = literal.replace("E", "e").partition("e")
    value = literal_to_fraction(decimal_literal(mantissa) or "0")
    if not mark:
        return num(value)
    if len(exponent) > 6 or abs(int(exponent)) * 4 > MAX_BITS:
        raise TooCostlyError("number too large")
    return num(value * Fraction(10) ** int(exponent))


class PrimaryParser:
    """A cursor over tokens, and the operands that need no binding powers."""

    # defined by the layers above
    parse_binding: Callable[[int], Node]
    parse_exponent: Callable[[], Node]
    parse_prefix: Callable[[], Node]
    is_degree_ahead: Callable[..., bool]
    parse_sequence: Callable[[], list[Node]]
    starts_factor: Callable[[Token], bool]

    def __init__(self, text: str) -> None:
        self.tokens = tokenize(text)
        self.at = 0
        self.depth = 0
        self.signs = 0
        # inside the argument of a function written without brackets, as in \sin 2x
        self.bare_argument = False
        # inside |...| a bar closes
        self.in_bars = False
        # inside braces a colon is "such that", not a ratio
        self.builder = False
        # the word that joined the items of the last sequence
        self.link = ","

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
            raise ParseError("unbalanced brackets")
        return token

    def spell_group(self) -> str:
        """The tokens of a brace group as one name."""
        self.take()
        parts, depth = [], 1
        while depth:
            token = self.take()
            if token.kind == "end":
                raise ParseError("unbalanced braces")
            depth += {"open": 1, "close": -1}.get(token.kind, 0)
            parts.append(token.value)
        return "".join(parts[:-1])

    def parse_repeating_decimal(self, literal: str) -> Node:
        r"""0.8\overline{3}: the digits under the line repeat for ever."""
        self.take()
        self.expect("{")
        token = self.take()
        self.expect("}")
        whole, point, fixed = literal.partition(".")
        if token.kind != "num" or not token.value.isdecimal() or not point:
            raise ParseError("a line over what is no repeating decimal")
        if len(token.value) > 1000 or len(fixed) > 1000:
            raise ParseError("number too long")
        cycle = Fraction(to_int(token.value), (10 ** len(token.value) - 1) * 10 ** len(fixed))
        return num(literal_to_fraction(decimal_literal(literal if fixed else whole) or "0") + cycle)

    def parse_group(self) -> Node:
        r"""A brace group or, as in \frac12, one digit or one token."""
        token = self.token
        if token.value == "{" and token.kind == "open":
            return self.parse_prefix()
        if token.kind == "num" and len(token.value) > 1:
            self.tokens[self.at] = Token("num", token.value[1:], False)
            return number_node(token.value[0]) if token.value[0].isdigit() else num(0)
        if token.kind in ("end", "close", "op"):
            raise ParseError("a command without its argument")
        return self.parse_prefix()

    def parse_function(self, name: str) -> Node:
        if name in ("sqrt", "cbrt"):
            inner = self.parse_prefix() if self.token.kind == "open" else self.parse_binding(POWER)
            return power(inner, num(Fraction(1, 2 if name == "sqrt" else 3)))
        base = exponent = None
        for _ in range(2):
            if self.token.value == "_" and base is None:
                self.take()
                base = self.parse_group()
            elif self.token.value == "^" and exponent is None:
                self.take()
                exponent = self.parse_exponent()
        outer = self.bare_argument
        if self.token.kind == "open" and self.token.value in ("(", "{", "["):
            self.bare_argument = False
            argument = self.parse_prefix()
        else:
            self.bare_argument = True
            argument = self.parse_binding(TIGHT - 1)
        self.bare_argument = outer
        args = argument.args if argument.kind == "tuple" else (argument,)
        if name == "cis" and len(args) == 1:
            return add(Node("fn", args, "cos"), mul(const("i"), Node("fn", args, "sin")))
        result = Node(
            "fn", (*args, base) if base is not None else args, "log" if name == "lg" else name
        )
        if exponent is None:
            return result
        if exponent == num(-1) and name in _INVERTIBLE:
            return Node("fn", args, f"arc{name}")
        return power(result, exponent)

    def parse_bracket(self, opening: str) -> Node:
        outer = self.bare_argument, self.builder, self.in_bars
        self.bare_argument, self.builder, self.in_bars = False, opening == "{|", False
        items = (
            [self.parse_such_that()]
            if opening == "{|" and self.is_condition_ahead()
            else self.parse_sequence()
        )
        closing = self.expect(*_CLOSING[opening]).value
        self.bare_argument, self.builder, self.in_bars = outer
        if opening == "{|":
            if len(items) == 1 and items[0].kind == "such":
                return items[0]
            return Node("set", tuple(items)) if items else const("empty")
        if not items:
            raise ParseError("empty brackets")
        if opening in ("floor", "ceil", "abs"):
            return Node("fn", tuple(items), opening)
        if opening == "{":
            return items[0] if len(items) == 1 else Node("list", tuple(items))
        if len(items) == 2 and opening + closing != "()":
            return Node("interval", tuple(items), opening + closing)
        if opening + closing in ("(]", "[)"):
            raise ParseError("unbalanced brackets")
        if len(items) == 1:
            return items[0]
        return Node("tuple" if opening == "(" else "list", tuple(items))

    def is_condition_ahead(self) -> bool:
        """Whether the open braces hold a set with a condition, {x | x > 3} or {x : x > 3}."""
        depth = 0
        for token in self.tokens[self.at :]:
            depth += {"open": 1, "close": -1}.get(token.kind, 0)
            if depth < 0 or (depth == 0 and token.value == ","):
                return False
            if depth == 0 and token.kind == "op" and token.value in (":", "|", "cond"):
                # |x| is an absolute value
                return token.value != "|" or self.tokens[self.at].value != "|"
        return False

    def parse_such_that(self) -> Node:
        """{x | conditions} as a node; args: the element, then the conditions."""
        element = self.parse_binding(LIST)
        self.expect(":", "|", "cond")
        conditions = self.parse_sequence()
        if element.kind == "rel" and element.value == ("in",):
            conditions.insert(0, element)
            element = element.args[0]
        if not conditions:
            raise ParseError("a set without its condition")
        return Node("such", (element, *conditions), self.link)

    def parse_command(self, value: str) -> Node:
        if value == "frac":
            top = self.parse_group()
            return mul(top, inverse(self.parse_group()))
        if value == "binom":
            top = self.parse_group()
            return Node("binom", (top, self.parse_group()))
        if value == "sqrt":
            return self.parse_root()
        if value.startswith("begin "):
            return self.parse_environment(value[6:])
        if value == "overline" and self.token.value == "{":
            return self.parse_overline()
        if value in ("sum", "prod"):
            return self.parse_series(value)
        if value == "int":
            return self.parse_integral()
        raise ParseError("a command out of its place")

    def parse_overline(self) -> Node:
        """A line over a complex number conjugates it; over anything else it is part of a name."""
        start = self.at
        spelled = self.spell_group()
        group = self.tokens[start : self.at]
        if not any(t == "i" and k == "const" for k, t, _ in group) or not any(
            t.kind == "num" for t in group
        ):
            return Node("sym", (), f"overline({spelled})")
        self.at = start
        return conjugate(self.parse_prefix())

    def parse_series(self, kind: str) -> Node:
        """A sum or product with limits; args: term, running name, first index, last index."""
        low, high = self.parse_limits()
        if (
            low is None
            or high is None
            or low.kind != "rel"
            or low.value != ("=",)
            # i and e are names here, and no constants
            or low.args[0].kind not in ("sym", "const")
        ):
            raise ParseError("a sum without its limits")
        name, first = low.args
        term = self.parse_binding(SUM)
        bound = Node("sym", (), f"index{count_series(term)}")
        return Node(kind, (rename_index(term, name, bound), bound, first, high))

    def parse_limits(self) -> tuple[Node | None, Node | None]:
        """The limits below and above a sum or an integral."""
        low = high = None
        for _ in range(2):
            if self.token.value == "_" and low is None:
                self.take()
                low = self.parse_group()
            elif self.token.value == "^" and high is None:
                self.take()
                high = self.parse_exponent()
        return low, high

    def differential_in_numerator(self) -> int | None:
        r"""The index of the d in \\frac{dx}{...}, if the integrand is such a fraction."""
        ahead = [token.value for token in self.tokens[self.at : self.at + 5]]
        whole = len(ahead) == 5 and ahead[:3] == ["frac", "{", "d"] and ahead[4] == "}"
        return self.at + 2 if whole else None

    def end_of_group(self) -> int:
        """The index behind the two groups of the fraction at the cursor, or the end."""
        depth = groups = 0
        for i in range(self.at + 1, len(self.tokens)):
            depth += {"open": 1, "close": -1}.get(self.tokens[i].kind, 0)
            groups += depth == 0
            if groups == 2:
                return i + 1
        return len(self.tokens)

    def parse_integral(self) -> Node:
        """A definite integral; args: integrand, name, low, high. Others raise ParseError."""
        low, high = self.parse_limits()
        if low is None or high is None:
            raise ParseError("an integral without its limits")
        depth, end = 0, None
        for i in range(self.at, len(self.tokens) - 1):
            token, name = self.tokens[i], self.tokens[i + 1]
            depth += {"open": 1, "close": -1}.get(token.kind, 0)
            if depth == 0 and token == ("sym", "d", token.spaced) and name.kind == "sym":
                end = i
                break
        if end is None and (inside := self.differential_in_numerator()) is not None:
            # \\int dx/x is \\int 1/x dx
            name_token = self.tokens[inside + 1]
            self.tokens[inside : inside + 2] = [Token("num", "1", False)]
            end = self.end_of_group()
            self.tokens[end:end] = [Token("sym", "d", False), name_token]
        if end is None or end == self.at:
            raise ParseError("an integral without its differential")
        behind = self.tokens[end + 2 :]
        inner, self.tokens = self.tokens, self.tokens[:end]
        term = self.parse_binding(LIST)
        complete = self.at == end
        self.tokens, self.at = inner, end + 2
        if not complete or (behind and self.starts_factor(behind[0])):
            raise ParseError("an integral that goes on behind its differential")
        bound = Node("sym", (), f"index{count_series(term)}")
        name_node = Node("sym", (), inner[end + 1].value)
        return Node("int", (rename_index(term, name_node, bound), bound, low, high))

    def parse_root(self) -> Node:
        index = num(2)
        if self.token.value == "[":
            self.take()
            index = self.parse_binding(LIST)
            self.expect("]")
        return power(
            self.parse_group(),
            inverse(index) if index.kind != "num" or not index.value else num(1 / index.value),
        )

    def drop_alignment(self) -> None:
        """Removes the alignment marks of an environment in which they separate nothing."""
        end = next(
            (
                i
                for i in range(self.at, len(self.tokens))
                if self.tokens[i].value.startswith("end ")
            ),
            None,
        )
        kept = [t for t in self.tokens[self.at : end] if t.value != "amp"]
        self.tokens[self.at : end] = kept

    def parse_environment(self, name: str) -> Node:
        if name.rstrip("*") in _ALIGNED:
            self.drop_alignment()
        rows: list[list[Node]] = [[]]
        while not self.token.value.startswith("end "):
            if self.token.kind == "end":
                raise ParseError("an environment left open")
            if self.token.value in ("amp", "row", ",") or (
                self.token.value in ("|", "cond") and self.token.kind == "op"
            ):
                if self.take().value == "row":
                    rows.append([])
                continue
            rows[-1].append(self.parse_binding(LIST))
        self.take()
        rows = [row for row in rows if row]
        if name in ("cases", "dcases", "rcases") and any(len(row) == 2 for row in rows):
            return Node("cases", tuple(Node("branch", tuple(row)) for row in rows))
        if not name.endswith("matrix") and name != "array":
            cells = tuple(cell for row in rows for cell in row)
            return Node("list", cells) if len(cells) != 1 else cells[0]
        if not rows or len({len(row) for row in rows}) != 1:
            raise ParseError("a matrix with rows of different lengths")
        if len(rows) > MAX_MATRIX or len(rows[0]) > MAX_MATRIX:
            raise ParseError("matrix too large")
        kind = "det" if name == "vmatrix" else "matrix"
        return Node(kind, tuple(cell for row in rows for cell in row), (len(rows), len(rows[0])))
