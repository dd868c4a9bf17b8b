"""Sets of reals with rational ends in canonical form: sorted, disjoint, merged pieces.

Input: trees of intervals, unions, intersections, differences, finite sets, the reals. Output:
tuples that can be compared; None if an end is not rational.
"""

from __future__ import annotations

from fractions import Fraction

from orion.answers.algebra.canonical_form import CanonicalForm
from orion.answers.parsing.tree import Node, ParseError

# a cut is (-1 for -inf, 0 for a finite value, 1 for inf; the value; -1 just below it, 1 just above
# it); a piece is the set of reals between two cuts
Cut = tuple[int, Fraction, int]
Pieces = tuple[tuple[Cut, Cut], ...]
_LOWEST: Cut = (-1, Fraction(0), 0)
_HIGHEST: Cut = (1, Fraction(0), 0)
_ALL: Pieces = ((_LOWEST, _HIGHEST),)


def _cut_at(node: Node, above: bool) -> Cut:
    """The cut just below (above=False) or just above an end point."""
    if node == Node("const", (), "inf"):
        return _HIGHEST
    if (
        node.kind == "mul"
        and node.args[-1] == Node("const", (), "inf")
        and node.args[0].value == -1
        and len(node.args) == 2
    ):
        return _LOWEST
    canon = CanonicalForm()
    value = canon.as_rational(canon.to_ratio(node))
    if value is None:
        raise ParseError("an end that is not rational")
    return (0, value, 1 if above else -1)


def _merge(pieces: list[tuple[Cut, Cut]]) -> Pieces:
    merged: list[tuple[Cut, Cut]] = []
    for low, high in sorted(p for p in pieces if p[0] < p[1]):
        if merged and low <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    return tuple(merged)


def _complement(pieces: Pieces) -> Pieces:
    cuts = [_LOWEST]
    for low, high in pieces:
        cuts += [low, high]
    cuts.append(_HIGHEST)
    return _merge([(cuts[i], cuts[i + 1]) for i in range(0, len(cuts), 2)])


def _pieces(node: Node) -> Pieces:
    kind, args = node.kind, node.args
    if kind == "const" and node.value == "reals":
        return _ALL
    if kind == "const" and node.value == "empty":
        return ()
    if kind in ("interval", "tuple") and len(args) == 2:
        left, right = node.value if kind == "interval" else "()"
        if _cut_at(args[0], left == "(") >= _cut_at(args[1], right == "]"):
            raise ParseError("an interval without numbers")
        return _merge([(_cut_at(args[0], left == "("), _cut_at(args[1], right == "]"))])
    if kind == "set":
        return _merge([(_cut_at(a, False), _cut_at(a, True)) for a in args])
    if kind == "union":
        return _merge([piece for a in args for piece in _pieces(a)])
    if kind == "inter":
        return _complement(_merge([piece for a in args for piece in _complement(_pieces(a))]))
    if kind == "minus":
        return _complement(_merge([*_complement(_pieces(args[0])), *_pieces(args[1])]))
    raise ParseError(f"no set of reals in a {kind}")


def canonical_real_set(node: Node) -> Pieces | None:
    """The canonical pieces of a set of reals; None for anything else, or an irrational end."""
    try:
        return _pieces(node)
    except ParseError:
        return None
