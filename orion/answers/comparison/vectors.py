"""Arithmetic of tuples and matrices: multiples, sums, products and small powers.

Input: trees. Output: trees; an operation whose shapes do not fit is returned unchanged.
"""

from __future__ import annotations

from orion.answers.algebra.canonical_form import CanonicalForm
from orion.answers.parsing.tree import Node, ParseError, TooCostlyError, add, mul, num

MAX_POWER = 16
MAX_NODES = 4_000


def check_size(node: Node) -> Node:
    """The node itself; raises ParseError if its tree, shared parts repeated, is too large."""
    count, stack = 0, [node]
    while stack:
        count += 1
        if count > MAX_NODES:
            raise TooCostlyError("too much algebra")
        stack.extend(stack.pop().args)
    return node


def _simplify_entry(node: Node) -> Node:
    """An entry of a product, as one number if it is rational."""
    check_size(node)
    canon = CanonicalForm()
    try:
        value = canon.as_rational(canon.to_ratio(node))
    except ParseError:
        return node
    return node if value is None else num(value)


def _is_vector(node: Node) -> bool:
    return node.kind in ("tuple", "matrix")


def _multiply(left: Node, right: Node) -> Node | None:
    """The product of two factors, None if their shapes do not fit."""
    if not _is_vector(left) and not _is_vector(right):
        return mul(left, right)
    if not _is_vector(left) or not _is_vector(right):
        scale, vector = (left, right) if _is_vector(right) else (right, left)
        return Node(vector.kind, tuple(mul(scale, x) for x in vector.args), vector.value)
    if left.kind != "matrix" or right.kind != "matrix" or left.value[1] != right.value[0]:
        return None
    rows, inner, columns = left.value[0], left.value[1], right.value[1]
    cells = (
        _simplify_entry(
            add(*(mul(left.args[r * inner + k], right.args[k * columns + c]) for k in range(inner)))
        )
        for r in range(rows)
        for c in range(columns)
    )
    return check_size(Node("matrix", tuple(cells), (rows, columns)))


def combine_vectors(node: Node) -> Node:
    """A sum, product or power of vectors as a vector; any other node unchanged."""
    args = node.args
    if not any(_is_vector(a) for a in args):
        return node
    if node.kind == "mul":
        total: Node | None = args[0]
        for factor in args[1:]:
            total = _multiply(total, factor) if total is not None else None
        return total or node
    if node.kind == "add" and len({(a.kind, a.value, len(a.args)) for a in args}) == 1:
        cells = zip(*(a.args for a in args), strict=True)
        return Node(args[0].kind, tuple(add(*cell) for cell in cells), args[0].value)
    if node.kind == "pow" and args[0].kind == "matrix" and args[1].kind == "num":
        exponent, base = args[1].value, args[0]
        if (
            exponent.denominator == 1
            and 1 <= exponent <= MAX_POWER
            and base.value[0] == base.value[1] <= 4
        ):
            result: Node | None = base
            for _ in range(int(exponent) - 1):
                result = _multiply(result, base) if result is not None else None
            return result or node
    return node
