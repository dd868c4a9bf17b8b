"""Solve inequalities in one real variable, their lists and set-builders, to intervals and unions.

Input: trees. Output: trees of intervals, unions and differences; None if a relation describes none.
"""

from __future__ import annotations

from fractions import Fraction

from orion.answers.algebra.canonical_form import CanonicalForm
from orion.answers.algebra.polynomials import ONE
from orion.answers.comparison.real_sets import canonical_real_set
from orion.answers.parsing.tree import Node, ParseError, add, mul, neg, num

FLIP = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "=": "=", "!=": "!="}
_INFINITY = Node("const", (), "inf")
_REALS = Node("const", (), "reals")


def symbols(node: Node) -> set[str]:
    """The names that occur in a tree."""
    found, stack = set(), [node]
    while stack:
        top = stack.pop()
        if top.kind == "sym":
            found.add(top.value)
        stack.extend(top.args)
    return found


def only_variable(node: Node) -> str | None:
    """The one name in a relation or a list of relations, None if there are none or several."""
    found = symbols(node)
    return found.pop() if len(found) == 1 else None


def _as_linear(node: Node) -> tuple[Fraction, Fraction] | None:
    """(a, b) if the node is a*x + b with rational a and b and one name x."""
    canon = CanonicalForm()
    try:
        top, bottom = canon.to_ratio(node)
    except ParseError:
        return None
    if bottom != ONE:
        return None
    slope = constant = Fraction(0)
    for monomial, value in top.items():
        if monomial == ():
            constant = value
        elif len(monomial) == 1 and monomial[0][0][0] == "s" and monomial[0][1] == 1:
            slope += value
        else:
            return None
    return slope, constant


def _interval(low: Node, high: Node, brackets: str) -> Node:
    return (
        Node("tuple", (low, high)) if brackets == "()" else Node("interval", (low, high), brackets)
    )


def _half_line(op: str, end: Node) -> Node:
    """The numbers x with `x op end`."""
    if op == "=":
        return Node("set", (end,))
    if op == "!=":
        return all_reals_but(end)
    if op[0] == "<":
        return _interval(neg(_INFINITY), end, "(" + ("]" if op == "<=" else ")"))
    return _interval(end, _INFINITY, ("[" if op == ">=" else "(") + ")")


def all_reals_but(point: Node) -> Node:
    """All reals but one, as the union of two intervals."""
    return Node(
        "union", (_interval(neg(_INFINITY), point, "()"), _interval(point, _INFINITY, "()"))
    )


def is_label(node: Node) -> bool:
    """Whether the node is a name or a function of a name such as f(x)."""
    return node.kind == "sym" or (
        node.kind == "mul" and len(node.args) == 2 and all(a.kind == "sym" for a in node.args)
    )


def _solve(op: str, left: Node, right: Node) -> Node | None:
    """The solutions of `left op right`, None if it is not of a known form.

    One side is free of names, the other is linear, an absolute value, or a label; or both are
    linear.
    """
    if symbols(right) and not symbols(left):
        left, right, op = right, left, FLIP[op]
    if symbols(right):
        both = _as_linear(left), _as_linear(right)
        if both[0] is None or both[1] is None or len(symbols(left) | symbols(right)) != 1:
            return None
        return _divide_by_slope(op, both[0][0] - both[1][0], num(both[1][1] - both[0][1]))
    if left.kind == "fn" and left.value == "abs":
        return _solve_absolute(op, left.args[0], right)
    if is_label(left):
        return _half_line(op, right)
    line = _as_linear(left)
    if line is None or len(symbols(left)) != 1:
        return None
    return _divide_by_slope(op, line[0], add(right, num(-line[1])) if line[1] else right)


def _divide_by_slope(op: str, slope: Fraction, end: Node) -> Node | None:
    if slope == 0:
        return None
    if end.kind == "num":
        end = num(end.value / slope)
    elif slope != 1:
        end = mul(num(1 / slope), end)
    return _half_line(op if slope > 0 else FLIP[op], end)


def _solve_absolute(op: str, inner: Node, bound: Node) -> Node | None:
    if op[0] == "<":
        return _solve_chain((op, op), (neg(bound), inner, bound))
    if op in ("=", "!="):
        return None
    outer = _solve(FLIP[op], inner, neg(bound)), _solve(op, inner, bound)
    return Node("union", outer) if outer[0] is not None and outer[1] is not None else None  # type: ignore[arg-type]


def _solve_chain(ops: tuple[str, ...], args: tuple[Node, ...]) -> Node | None:
    """a < x < b as one interval."""
    if ops[0][0] == ">":
        ops, args = tuple(FLIP[op] for op in reversed(ops)), args[::-1]
    if any(op[0] != "<" for op in ops) or symbols(args[0]) or symbols(args[2]):
        return None
    return intersect(_solve(FLIP[ops[0]], args[1], args[0]), _solve(ops[1], args[1], args[2]))


def intersect(left: Node | None, right: Node | None) -> Node | None:
    """The intersection of two sets; two opposite half-lines become one interval."""
    if left is None or right is None:
        return None
    for a, b in ((left, right), (right, left)):
        if (
            all(x.kind in ("tuple", "interval") for x in (a, b))
            and a.args[1] == _INFINITY
            and b.args[0] == neg(_INFINITY)
        ):
            brackets = (a.value or "()")[0] + (b.value or "()")[1]
            return _interval(a.args[0], b.args[1], brackets)
    return Node("inter", (left, right))


def as_interval(node: Node) -> Node | None:
    """The set that one relation in one variable describes, None if it describes none."""
    ops, args = node.value, node.args
    if ops == ("in",):
        return args[1]
    if any(op not in FLIP for op in ops):
        return None
    if len(args) == 2 and ops[0] != "=":
        return _solve(ops[0], *args)
    if len(args) == 3 and "=" not in ops and "!=" not in ops:
        return _solve_chain(ops, args)
    return None


def set_described_by(node: Node) -> Node | None:
    """The set that inequalities or a set-builder describe.

    A comma means "and" if the intersection is an interval, else "or".
    """
    if node.kind not in ("list", "such") or (node.kind == "list" and node.value is not None):
        return as_set(node)
    if node.kind == "list" and not any(x.value == ("=",) for x in node.args):
        meet = as_set(node, "and")
        if meet is not None and meet.kind in ("tuple", "interval") and canonical_real_set(meet):
            return meet
    return as_set(node)


def as_set(node: Node, link: str | None = None) -> Node | None:
    """The set that a relation, a list of relations or a set-builder in one variable describes.

    A list is a union, or an intersection if its items are joined by "and" (or `link` is "and").
    """
    if node.kind == "rel":
        return as_interval(node)
    args = node.args[1:] if node.kind == "such" else node.args
    if node.kind not in ("list", "such") or any(x.kind != "rel" for x in args):
        return None
    if len({only_variable(x) for x in args}) != 1:
        return None
    if node.kind == "such" and (
        node.args[0].kind != "sym" or only_variable(args[0]) != node.args[0].value
    ):
        return None
    parts = [as_interval(x) if x.value != ("=",) else Node("set", x.args[1:]) for x in args]
    known = [part for part in parts if part is not None and part != _REALS]
    if len(known) < len([part for part in parts if part != _REALS]) or not parts:
        return None
    if not known:
        return _REALS
    if (node.kind == "such" and node.value != "or") or (link or node.value) == "and":
        whole: Node | None = known[0]
        for part in known[1:]:
            whole = intersect(whole, part)
        return whole
    return known[0] if len(known) == 1 else Node("union", tuple(known))
