"""The small expression tree of an answer, with its limits and its printed form.

Input: calls of `parse_expression` and `read_answer`. Output: `Node`, hashable and immutable.

Kinds of nodes, with their `value` and `args`:

    num         value: Fraction
    sym         value: name
    const       value: pi, e, i, inf, reals, integers, empty
    add, mul    args: terms, factors
    pow         args: base, exponent
    fn          value: name; args
    fact        args: n
    binom       args: n, k
    deg, pct    args: the number of degrees, of percent
    pm          value: "+" or "-"; args: the two readings
    sum, prod   args: term, running name, first index, last index
    int         args: integrand, name, low, high
    mod         args: value, modulus
    dots        an ellipsis in a list
    such        a set by a condition; args: element, conditions; value: the word that joins them
    rel         value: operators; args: terms
    list        value: the joining word (or, and, None); args: items
    set, tuple  args: items
    parts       args: the answers to (a), (b), ...
    interval    value: brackets such as "[)"; args: low, high
    union, inter, minus    args: sets
    matrix, det    value: (rows, columns); args: cells row by row
    cases       args: branches
    branch      args: value, condition
    text        value: string
    choice      value: letter; args: the value behind it, if any
    based       value: "digits_base"
    ratio       args: terms
    time        value: string
    unit        value: name; args: the number
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

MAX_TOKENS = 2_000
MAX_DEPTH = 60
MAX_DIGITS = 10_000
MAX_MATRIX = 32
# bits of the largest number that any step may build
MAX_BITS = 1 << 16


class ParseError(Exception):
    """A text that is not mathematics or exceeds a limit; the message is the verdict's reason."""


class NotMathematicsError(ParseError):
    """A text that is words, or values without an operator between them."""


class TooCostlyError(ParseError):
    """An expression that algebra gives up for its size, while numbers may still decide."""


@dataclass(frozen=True, slots=True)
class Node:
    """One node: its kind, its children, and the value of its kind."""

    kind: str
    args: tuple[Node, ...] = ()
    value: Any = None


def num(value: int | Fraction) -> Node:
    """A number node."""
    return Node("num", (), Fraction(value))


def const(name: str) -> Node:
    """A named constant."""
    return Node("const", (), name)


def add(*terms: Node) -> Node:
    """A sum, nested sums merged."""
    flat: list[Node] = []
    for term in terms:
        flat.extend(term.args) if term.kind == "add" else flat.append(term)
    return flat[0] if len(flat) == 1 else Node("add", tuple(flat))


def mul(*factors: Node) -> Node:
    """A product, nested products merged."""
    flat: list[Node] = []
    for factor in factors:
        flat.extend(factor.args) if factor.kind == "mul" else flat.append(factor)
    return flat[0] if len(flat) == 1 else Node("mul", tuple(flat))


def neg(node: Node) -> Node:
    """The negative of a node; that of a number is a number."""
    if node.kind == "num":
        return num(-node.value)
    if node.kind in ("pct", "deg", "unit"):
        return Node(node.kind, (neg(node.args[0]),), node.value)
    if node.kind == "based" and not node.value.startswith("-"):
        return Node("based", (), "-" + node.value)
    return mul(num(-1), node)


def conjugate(node: Node) -> Node:
    """The complex conjugate, for an expression whose names are real: i becomes -i."""
    if node.kind == "const" and node.value == "i":
        return neg(node)
    return (
        Node(node.kind, tuple(conjugate(a) for a in node.args), node.value) if node.args else node
    )


def power(base: Node, exponent: Node) -> Node:
    """base ** exponent."""
    return Node("pow", (base, exponent))


def inverse(node: Node) -> Node:
    """1 / node."""
    return power(node, num(-1))


def to_int(digits: str) -> int:
    """Decimal digits as an int, up to MAX_DIGITS of them (int() alone allows 4,300)."""
    if len(digits) > MAX_DIGITS:
        raise ParseError("number too long")
    if len(digits) <= 4000:
        return int(digits)
    value = 0
    for start in range(0, len(digits), 4000):
        chunk = digits[start : start + 4000]
        value = value * 10 ** len(chunk) + int(chunk)
    return value


def literal_to_fraction(literal: str) -> Fraction:
    """A canonical decimal literal (see `normalise.decimal_literal`) as an exact Fraction."""
    sign = -1 if literal.startswith("-") else 1
    whole, _, part = literal.lstrip("-").partition(".")
    number = sign * to_int((whole + part) or "0")
    return Fraction(number, 10 ** len(part)) if part else Fraction(number)


def check_depth(node: Node, limit: int = MAX_DEPTH) -> None:
    """Raises ParseError if the tree is deeper than `limit`; walks it without recursion."""
    level, depth = [node], 0
    while level:
        depth += 1
        if depth > limit:
            raise ParseError("nested too deeply")
        level = [child for parent in level for child in parent.args]


def _number(value: Fraction) -> str:
    if value.numerator.bit_length() > 14_000 or value.denominator.bit_length() > 14_000:
        return f"<number of {value.numerator.bit_length()} bits>"
    return str(value)


def print_tree(node: Node) -> str:
    """A short canonical print of a tree, for people; it is not meant to be parsed again."""
    kind, args = node.kind, node.args
    if kind == "num":
        return _number(node.value)
    if not args:
        return kind if node.value is None else str(node.value)
    inner = [print_tree(a) for a in args]
    if kind == "rel":
        return "".join(part for pair in zip(inner, (*node.value, ""), strict=True) for part in pair)
    if kind == "interval":
        return f"{node.value[0]}{inner[0]}, {inner[1]}{node.value[1]}"
    if kind in ("list", "set", "tuple"):
        left, right = {"list": ("", ""), "set": ("{", "}"), "tuple": ("(", ")")}[kind]
        return f"{left}{', '.join(inner)}{right}"
    sign = {"add": " + ", "mul": "*", "pow": "^", "ratio": ":", "union": " U "}.get(kind)
    if sign:
        return sign.join(
            f"({s})" if a.kind in ("add", "mul", "pow") else s
            for s, a in zip(inner, args, strict=True)
        )
    if kind == "unit":
        return f"{inner[0]} {node.value}"
    name = node.value if isinstance(node.value, str) and kind == "fn" else kind
    return f"{name}({', '.join(inner)})"


def as_point(node: Node) -> Node:
    """x = 1, y = 2 as (1, 2), in the order of the names; anything else unchanged."""
    if node.kind != "list" or any(
        x.kind != "rel" or x.value != ("=",) or x.args[0].kind != "sym" for x in node.args
    ):
        return node
    values = {x.args[0].value: x.args[1] for x in node.args}
    return (
        Node("tuple", tuple(values[name] for name in sorted(values)))
        if len(values) == len(node.args)
        else node
    )
