"""The small expression tree that answers are read into, with its limits and its printed form.

Inputs: built by `parse` and `read`. Outputs: `Node`, hashable and immutable. Not runnable.

Kinds and their fields (`value`, `args`):
  num (Fraction) · sym (name) · const (pi, e, i, inf, reals, integers, empty) · add, mul (args) · pow (base, exponent) · fn
  (name, args) · fact (n) · binom (n, k) · deg (x) · pct (x) · pm (args = the two readings) · sum, prod (term, name, first,
  last) · mod (value, modulus) · dots · such (element and conditions of a set) · rel (operators, terms) · list (joining word:
  or, and, None), set, tuple (args) · parts (answers to (a), (b), ...) · interval ("[)" style brackets; low, high) · union,
  inter, minus (args) · matrix, det (rows x columns; args row by row) · cases (branches) · branch (value, condition) · text
  (string) · choice (letter; the value behind it, if any) · based ("digits_base") · ratio (args) · time (string) · unit (name;
  value)
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

MAX_TOKENS = 2_000
MAX_DEPTH = 60
MAX_DIGITS = 10_000
MAX_MATRIX = 32
# bits of the largest number that any stage may build
MAX_BITS = 1 << 16


class ParseError(Exception):
    """A text that cannot be read as mathematics, or an expression beyond the limits; the message is the verdict's reason."""


@dataclass(frozen=True, slots=True)
class Node:
    """One node: its kind, its children, and the value that the kind calls for."""

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
    """The negative of a node; a number keeps being a number."""
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
    """A run of decimal digits as an int, at any length up to MAX_DIGITS (Python's own limit is 4,300)."""
    if len(digits) > MAX_DIGITS:
        raise ParseError("number too long")
    value = 0
    for start in range(0, len(digits), 4000):
        chunk = digits[start : start + 4000]
        value = value * 10 ** len(chunk) + int(chunk)
    return value


def literal_to_fraction(literal: str) -> Fraction:
    """A canonical decimal literal (see `normalise.decimal_literal`) as an exact Fraction."""
    sign = -1 if literal.startswith("-") else 1
    whole, _, part = literal.lstrip("-").partition(".")
    return Fraction(sign * to_int((whole + part) or "0"), 10 ** len(part))


def check_depth(node: Node, limit: int = MAX_DEPTH) -> None:
    """Raises Unreadable where the tree is deeper than `limit`; walks without recursion."""
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
    """A short canonical print of a tree, for people; not meant to be parsed again."""
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
    return f"{node.value if isinstance(node.value, str) and kind == 'fn' else kind}({', '.join(inner)})"
