"""Names bound by a sum, a product or an integral: one name for all of them, subscripts included.

Input: trees. Output: trees in which the bound name is replaced, so that sum over i and sum over k
are equal.
"""

from __future__ import annotations

import re

from orion.answers.parsing.tree import Node

_TERM = re.compile(r"[+-]?[^+-]+")
_ATOM = re.compile(r"[A-Za-z]+\d*|\d+|.")


def count_series(node: Node) -> int:
    """The number of bound names in a tree."""
    return (node.kind in ("sum", "prod", "int")) + sum(count_series(a) for a in node.args)


def rename_index(node: Node, name: Node, bound: Node) -> Node:
    """The tree with a bound name replaced, in subscripts too: F_{n-k-1} is F_{n-1-k}."""
    if node == name:
        return bound
    if node.kind == "sym" and "_" in str(node.value):
        return Node("sym", (), _rename_in_subscript(node.value, name.value, bound.value))
    if not node.args:
        return node
    return Node(node.kind, tuple(rename_index(a, name, bound) for a in node.args), node.value)


def _rename_in_subscript(spelling: str, name: str, bound: str) -> str:
    base, _, index = spelling.partition("_")
    terms = [term if term[0] in "+-" else f"+{term}" for term in _TERM.findall(index)]
    if "".join(terms).lstrip("+") != index.lstrip("+"):
        return spelling
    renamed = ["".join(bound if a == name else a for a in _ATOM.findall(t)) for t in terms]
    return f"{base}_{''.join(sorted(renamed))}"
