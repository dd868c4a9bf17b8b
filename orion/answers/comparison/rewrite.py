"""Rewrite answers before they are compared: wrappers, plus-minus, determinants, finite sums.

Input: trees. Output: trees. Nothing here decides equality.
"""

from __future__ import annotations

import re
from fractions import Fraction

from orion.answers.comparison.vectors import check_size, combine_vectors
from orion.answers.parsing.tree import (
    Node,
    ParseError,
    TooCostlyError,
    add,
    mul,
    neg,
    num,
    power,
    print_tree,
)
from orion.answers.parsing.units import Measure, unit_key

_LETTER_UNIT = re.compile(r"([A-Za-z])(?:\^(\d))?")
_UNIT_LETTERS = frozenset("msghlLNJVW") | {"Omega"}
MAX_TERMS = 200
MAX_SIGNS = 4
MAX_COST = 4_000


def unwrap(node: Node) -> Node:
    """The answer without wrappers that carry no meaning at its top."""
    while True:
        if node.kind in ("list", "union") and len(node.args) == 1:
            node = node.args[0]
        elif (
            node.kind == "list"
            and any(_is_range(a) for a in node.args)
            and not all(_is_range(a) for a in node.args)
        ):
            node = Node("list", tuple(a for a in node.args if not _is_range(a)), node.value)
        elif node.kind == "rel" and "equiv" in node.value:
            node = Node("rel", node.args, tuple("=" if op == "equiv" else op for op in node.value))
        elif is_unsorted_point(node):
            pairs = sorted(zip(*(x.args for x in node.args), strict=True), key=lambda p: p[0].value)
            names, values = zip(*pairs, strict=True)
            node = Node("rel", (Node("tuple", names), Node("tuple", values)), ("=",))
        elif node.kind == "mod" and node.args[0].kind == "rel":
            node = Node("mod", (node.args[0].args[-1], node.args[1]))
        else:
            return node


def has_range(node: Node) -> bool:
    """Whether an answer ends with the range of a parameter, as in k pi, k in Z."""
    return node.kind == "list" and any(_is_range(a) for a in node.args)


def rename_parameters(node: Node) -> Node:
    """The answer with its parameters named by their order: n pi, n in Z is k pi, k in Z."""
    for number, name in enumerate([a.args[0] for a in node.args if _is_range(a)]):
        node = substitute(node, name, Node("sym", (), f"parameter{number}"))
    return node


def is_unsorted_point(node: Node) -> bool:
    """Whether the node is (y, x) = (2, 1): named coordinates out of the order of their names."""
    if node.kind != "rel" or node.value != ("=",) or any(x.kind != "tuple" for x in node.args):
        return False
    names = [x.value for x in node.args[0].args if x.kind == "sym"]
    whole = len(names) == len(node.args[0].args) == len(node.args[1].args) == len(set(names))
    return whole and names != sorted(names)


def _is_range(node: Node) -> bool:
    """Whether the node is "k in Z", the range of a parameter, which adds nothing to an answer."""
    return (
        node.kind == "rel"
        and node.value == ("in",)
        and node.args[1] == Node("const", (), "integers")
    )


def expand(node: Node) -> Node:
    """The answer with vectors, determinants and short sums evaluated, plus-minus as a list."""
    node = evaluate(check_size(node))
    if node.kind in ("list", "set"):
        items = [reading for a in node.args for reading in sign_readings(a)]
        return Node(node.kind, tuple(items), node.value) if len(items) != len(node.args) else node
    found = sign_readings(node)
    if len(found) == 1:
        return node
    return Node("list", tuple(found))


def _signs(node: Node) -> list[str]:
    own = [node.value] if node.kind == "pm" else []
    # both children of a plus-minus contain the same signs: the first is enough
    below = node.args[:1] if node.kind == "pm" else node.args
    return own + [sign for a in below for sign in _signs(a)]


def sign_readings(node: Node) -> list[Node]:
    """The values of an expression with plus-minus signs; a minus-plus ties all signs together."""
    signs = _signs(check_size(node))
    if not signs:
        return [node]
    if len(signs) > MAX_SIGNS:
        raise ParseError("too many plus-minus signs")
    if "-" in signs:
        return [_choose_signs(node, (upper,) * len(signs)) for upper in (0, 1)]
    choices = [tuple(bits >> i & 1 for i in range(len(signs))) for bits in range(1 << len(signs))]
    return list(dict.fromkeys(_choose_signs(node, choice) for choice in choices))


def _choose_signs(node: Node, choice: tuple[int, ...]) -> Node:
    left = list(choice)

    def walk(inner: Node) -> Node:
        if inner.kind == "pm":
            return walk(inner.args[left.pop(0)])
        if not inner.args:
            return inner
        return Node(inner.kind, tuple(walk(a) for a in inner.args), inner.value)

    return walk(node)


def evaluate(node: Node) -> Node:
    """Evaluates vectors, small determinants, and sums and products with few terms."""
    if not node.args or node.kind in ("num", "sym"):
        return node
    if node.kind in ("sum", "prod"):
        return _expand_series(node)
    args = tuple(evaluate(a) for a in node.args)
    if args != node.args:
        node = Node(node.kind, args, node.value)
    if node.kind in ("add", "mul", "pow"):
        return combine_vectors(node)
    if node.kind == "det" and node.value[0] == node.value[1] <= 4:
        return _determinant(node.args, node.value[0])
    if node.kind == "fn" and node.value == "det" and node.args[0].kind == "matrix":
        return evaluate(Node("det", node.args[0].args, node.args[0].value))
    return node


def _determinant(cells: tuple[Node, ...], size: int) -> Node:
    if size == 1:
        return cells[0]
    terms = []
    for column in range(size):
        rest = tuple(
            cells[row * size + c] for row in range(1, size) for c in range(size) if c != column
        )
        term = mul(cells[column], _determinant(rest, size - 1))
        terms.append(neg(term) if column % 2 else term)
    return add(*terms)


def _expand_series(node: Node) -> Node:
    term, name, first, last = node.args
    if (
        first.kind != "num"
        or last.kind != "num"
        or first.value.denominator * last.value.denominator != 1
    ):
        return node
    if not 0 < last.value - first.value + 1 <= MAX_TERMS:
        return node
    if _expanded_size(node) > MAX_COST:
        raise TooCostlyError("too much algebra")
    terms = [
        substitute(term, name, num(Fraction(k)))
        for k in range(int(first.value), int(last.value) + 1)
    ]
    return evaluate(check_size(add(*terms) if node.kind == "sum" else mul(*terms)))


def _expanded_size(node: Node) -> int:
    """The number of nodes of a tree with its sums and products written out."""
    if node.kind in ("sum", "prod") and node.args[2].kind == node.args[3].kind == "num":
        return max(1, int(node.args[3].value - node.args[2].value) + 1) * _expanded_size(
            node.args[0]
        )
    return 1 + sum(_expanded_size(a) for a in node.args)


def substitute(node: Node, name: Node, value: Node) -> Node:
    """The tree with a name replaced."""
    if node == name:
        return value
    return (
        Node(node.kind, tuple(substitute(a, name, value) for a in node.args), node.value)
        if node.args
        else node
    )


def as_matrix(node: Node) -> Node:
    """A list of equally long lists in square brackets as a matrix; anything else unchanged."""
    rows = node.args
    if node.kind not in ("list", "interval") or not rows:
        return node
    if any(
        r.kind not in ("list", "interval") or (r.kind == "interval" and r.value != "[]")
        for r in rows
    ):
        return node
    if len({len(r.args) for r in rows}) != 1:
        return node
    return Node("matrix", tuple(x for r in rows for x in r.args), (len(rows), len(rows[0].args)))


def is_symbol_set(node: Node) -> bool:
    return (node.kind == "const" and node.value in ("inf", "reals", "integers", "empty")) or (
        node.kind == "const" and node.value.startswith("mathbb")
    )


def use_decimal_logarithms(node: Node) -> Node:
    """The tree with log of one argument read as the logarithm to the base ten."""
    args = tuple(use_decimal_logarithms(a) for a in node.args)
    name = "log10" if node.kind == "fn" and node.value == "log" and len(args) == 1 else node.value
    return node if args == node.args and name == node.value else Node(node.kind, args, name)


def drop_units(node: Node) -> Node:
    """An expression with the units inside it dropped."""
    if node.kind == "unit":
        return drop_units(node.args[0])
    return (
        Node(node.kind, tuple(drop_units(a) for a in node.args), node.value) if node.args else node
    )


def unit_names(node: Node) -> set[Measure | str]:
    """The units that occur in an expression, each by one name."""
    own: set[Measure | str] = {unit_key(node.value)} if node.kind == "unit" else set()
    return own.union(*(unit_names(a) for a in node.args))


def unit_as_symbol(unit: Node) -> Node | None:
    """5 m^2 as five times the square of a name m, None unless the unit is a single letter."""
    match = _LETTER_UNIT.fullmatch(unit.value)
    if match is None:
        return None
    letter = Node("sym", (), match[1])
    return mul(unit.args[0], power(letter, num(int(match[2]))) if match[2] else letter)


def _unit_letters(node: Node) -> str | None:
    """The unit that stands in letters behind a number, as in 12m, 9Ω and 12 m^2; None if none."""
    if node.kind != "mul" or node.args[0].kind != "num":
        return None
    parts = []
    for x in node.args[1:]:
        letter, power_of = (x.args[0], x.args[1]) if x.kind == "pow" else (x, None)
        if letter.kind != "sym" or letter.value not in _UNIT_LETTERS:
            return None
        # no other unit of one letter has a power
        if power_of is not None and letter.value != "m" and power_of != num(-1):
            return None
        name = "Ω" if letter.value == "Omega" else letter.value
        parts.append(name if power_of is None else f"{name}^{print_tree(power_of)}")
    return " ".join(parts)


def drop_unit_letters(node: Node, other: Node) -> Node:
    """12m compared with a number: without the unit letters at its end."""
    return node.args[0] if other.kind == "num" and _unit_letters(node) is not None else node


def letters_as_unit(node: Node) -> Node:
    """12m as 12 metres; any other expression unchanged."""
    letters = _unit_letters(node)
    return node if letters is None else Node("unit", node.args[:1], letters)


def drop_duplicates(node: Node) -> tuple[Node, ...]:
    """The items of a set or list without duplicates; plain values of a list keep theirs."""
    if node.kind == "list" and any(a.kind not in ("tuple", "interval", "rel") for a in node.args):
        return node.args
    return tuple(dict.fromkeys(node.args))


def bracket_kind(node: Node) -> str:
    return node.value if node.kind == "interval" else "()"


def label_of(node: Node) -> Node | None:
    return node.args[0] if node.kind == "rel" else None


def unknown_of(label: Node | None) -> str | None:
    """The name of a label without its index: x of x_1."""
    if label is None or label.kind != "sym":
        return None if label is None else print_tree(label)
    return str(label.value).partition("_")[0]


def subtract(left: Node, right: Node) -> Node:
    return Node("add", (left, neg(right)))


def rename_symbols(node: Node, suffix: str) -> Node:
    """The tree with every name lengthened by `suffix`."""
    if node.kind == "sym":
        return Node("sym", (), node.value + suffix)
    return (
        Node(node.kind, tuple(rename_symbols(a, suffix) for a in node.args), node.value)
        if node.args
        else node
    )


def spell_unordered(node: Node) -> str:
    """A printed form that does not depend on the order of terms and factors."""
    if node.kind == "num":
        # hexadecimal: decimal digits of a long number take quadratic time, and Python refuses them
        return f"{node.value.numerator:x}/{node.value.denominator:x}"
    inner = [spell_unordered(a) for a in node.args]
    if node.kind in ("add", "mul"):
        inner.sort()
    return f"{node.kind}:{node.value}({','.join(inner)})"
