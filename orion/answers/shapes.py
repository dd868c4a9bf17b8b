"""Rewriting of answers before they are compared: wrappers, plus-minus, inequalities as intervals, unit names.

Inputs: trees. Outputs: trees. Nothing here decides equality. Not runnable.
"""

from __future__ import annotations

from orion.answers.tree import Node, mul, neg

FLIP = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "=": "=", "!=": "!="}
_SPELLINGS = {
    "hour": "h hr hrs hours", "minute": "min mins minutes", "second": "s sec secs seconds", "day": "days", "week": "weeks",
    "month": "months", "year": "years", "cm": "centimeters", "m": "meter meters metre metres", "km": "kilometers",
    "foot": "ft feet", "inch": "in inches", "mile": "miles", "yard": "yards", "g": "gram grams", "kg": "kilograms",
    "pound": "lb lbs pounds", "cent": "cents", "dollar": "dollars usd", "unit": "units",
}  # fmt: skip
UNIT_NAMES = {spelling: name for name, spellings in _SPELLINGS.items() for spelling in spellings.split()}


def unwrapped(node: Node) -> Node:
    """Wrappers that carry no meaning of their own at the top of an answer."""
    while node.kind in ("list", "union") and len(node.args) == 1:
        node = node.args[0]
    return node


def expanded(node: Node) -> Node:
    if node.kind == "pm":
        return Node("list", node.args)
    if node.kind in ("list", "set") and any(a.kind == "pm" for a in node.args):
        return Node(node.kind, tuple(x for a in node.args for x in (a.args if a.kind == "pm" else (a,))))
    if node.kind == "mul" and any(a.kind == "matrix" for a in node.args):
        return scaled_matrix(node)
    if node.kind == "rel" and node.value == ("=",) and node.args[1].kind == "pm":
        return Node("list", tuple(Node("rel", (node.args[0], x), ("=",)) for x in node.args[1].args))
    return node


def scaled_matrix(node: Node) -> Node:
    matrices = [a for a in node.args if a.kind == "matrix"]
    if len(matrices) != 1:
        return node
    scale = mul(*(a for a in node.args if a.kind != "matrix"))
    return Node("matrix", tuple(mul(scale, x) for x in matrices[0].args), matrices[0].value)


def is_symbol_set(node: Node) -> bool:
    return (
        node.kind == "const"
        and node.value in ("inf", "reals", "integers", "empty")
        or (node.kind == "const" and node.value.startswith("mathbb"))
    )


def unit_name(word: str) -> str:
    word = word.lower().strip(" .")
    return UNIT_NAMES.get(word, word)


def distinct(node: Node) -> tuple[Node, ...]:
    """The items of a set or list, a repeated one once; the multiplicity of plain values in a list is kept."""
    if node.kind == "list" and any(a.kind not in ("tuple", "interval", "rel") for a in node.args):
        return node.args
    return tuple(dict.fromkeys(node.args))


def brackets(node: Node) -> str:
    return node.value if node.kind == "interval" else "()"


def label(node: Node) -> Node | None:
    return node.args[0] if node.kind == "rel" else None


def minus(left: Node, right: Node) -> Node:
    return Node("add", (left, neg(right)))


def variable(node: Node) -> Node | None:
    names = [a for a in node.args if a.kind == "sym"]
    return names[0] if len(names) == 1 else None


def as_interval(node: Node) -> Node | None:
    """The interval that a chain of inequalities in one variable describes, else None."""
    ops, args = node.value, node.args
    if ops == ("!=",) and args[0].kind == "sym":
        return Node("minus", (Node("const", (), "reals"), Node("set", args[1:])))
    if any(op not in FLIP or op in ("=", "!=") for op in ops):
        return None
    if ops[0][0] == ">":
        ops, args = tuple(FLIP[op] for op in reversed(ops)), args[::-1]
    if any(op[0] != "<" for op in ops):
        return None
    infinity = Node("const", (), "inf")
    if len(args) == 3 and args[1].kind == "sym":
        low, high = args[0], args[2]
        brackets = ("[" if ops[0] == "<=" else "(") + ("]" if ops[1] == "<=" else ")")
    elif len(args) == 2 and args[0].kind == "sym":
        low, high, brackets = neg(infinity), args[1], "(" + ("]" if ops[0] == "<=" else ")")
    elif len(args) == 2 and args[1].kind == "sym":
        low, high, brackets = args[0], infinity, ("[" if ops[0] == "<=" else "(") + ")"
    else:
        return None
    return Node("tuple", (low, high)) if brackets == "()" else Node("interval", (low, high), brackets)


def as_union(node: Node) -> Node:
    """Inequalities in one variable joined by "or" as the union of their intervals; anything else as it is."""
    if node.kind != "list" or any(x.kind != "rel" for x in node.args) or len({variable(x) for x in node.args}) != 1:
        return node
    parts = [as_interval(x) for x in node.args]
    known = [part for part in parts if part is not None]
    return Node("union", tuple(known)) if len(known) == len(parts) else node
