"""Take an answer apart: the value behind a label, the links of a chain, the values of an "approx".

Input: trees. Output: trees or texts. Nothing here decides equality.
"""

from __future__ import annotations

from orion.answers.comparison.relations import as_interval, symbols
from orion.answers.parsing.tree import Node, num

# |x| = 3 is an equation to solve, |z| = 3 and |AB| = 3 give a size
_UNKNOWNS = frozenset(Node("sym", (), name) for name in "xytn")


def is_words_around_value(a: Node, b: Node) -> bool:
    """Whether one side is words around a number and the other is mathematics."""
    texts = [x for x in (a, b) if x.kind == "text"]
    return len(texts) == 1 and any(c.isdigit() for c in texts[0].value)


def is_reals_but_one(node: Node) -> bool:
    reals = Node("const", (), "reals")
    return (
        node.kind == "minus"
        and node.args[0] == reals
        and node.args[1].kind == "set"
        and len(node.args[1].args) == 1
    )


def clock_reading(time: Node) -> tuple:
    """(hours, minutes, ..., am or pm) of a time."""
    numbers, _, half = time.value.partition(" ")
    return (*map(int, numbers.split(":")), half)


def as_ratio(node: Node) -> Node:
    """3:05 as a ratio; a ratio unchanged."""
    if node.kind != "time":
        return node
    return Node("ratio", tuple(num(int(x)) for x in node.value.split(" ")[0].split(":")))


def chain_links(chain: Node) -> list[Node]:
    """A = B = C as the equations A = B and B = C."""
    return [Node("rel", pair, ("=",)) for pair in zip(chain.args, chain.args[1:], strict=False)]


def labelled_value(relation: Node) -> Node | None:
    """The value in "label = value", None if the relation is another kind of equation.

    A label is a name, a product of names (AB, P(A)), a function of names (f(2), sin x, |z|), a sum
    of names (m + n) or a quotient of them. "2 + 3 = 5" has a value too, and 2x = 5 that of x.
    """
    terms = relation.args
    if terms[0].kind == terms[-1].kind == "tuple" and _is_name(terms[0]):
        return _in_order_of_names(terms[0], terms[-1])
    if _is_name(terms[0]):
        return terms[-1]
    if _is_name(terms[-1]):
        return terms[0] if len(terms) == 2 else None
    if not any(symbols(term) for term in terms):
        return terms[-1]
    solved = as_interval(Node("rel", terms, ("!=",))) if len(terms) == 2 else None
    return solved.args[0].args[1] if solved is not None and solved.kind == "union" else None


def _in_order_of_names(names: Node, values: Node) -> Node:
    """The values of (y, x) = (2, 1) in the order of the names: (1, 2)."""
    if len(names.args) != len(values.args):
        return values
    pairs = sorted(zip([x.value for x in names.args], values.args, strict=True), key=lambda p: p[0])
    return Node("tuple", tuple(value for _, value in pairs))


def _is_name(node: Node) -> bool:
    if node.kind == "sym":
        return True
    if node.kind == "pow" and node.args[1] == num(-1):
        return _is_name(node.args[0])
    if node.kind == "mul":
        first, *rest = node.args
        # f(2) and AB are names, 2x and x y^2 are not
        return first.kind == "sym" and all(
            x.kind in ("sym", "num", "tuple", "text") or _is_name(x) for x in rest
        )
    if node.kind == "add":
        return all(
            _is_name(x) or (x.kind == "mul" and x.args[0] == num(-1) and _is_name(x.args[-1]))
            for x in node.args
        )
    if node.kind == "tuple":
        names = [x.value for x in node.args if x.kind == "sym"]
        return len(names) == len(node.args) == len(set(names))
    if node.kind == "ratio":
        return all(_is_name(x) for x in node.args)
    if node.kind == "fn":
        trigonometric = node.value in ("sin", "cos", "tan", "cot", "sec", "csc")
        return (
            trigonometric or (node.value == "abs" and node.args[0] not in _UNKNOWNS)
        ) and _is_name(node.args[0])
    return False


def stated_values(node: Node) -> list[Node]:
    """The values on either side of an "approximately" sign, without a label."""
    if node.kind != "rel" or "approx" not in node.value:
        return [node]
    return [term for term in node.args if not symbols(term)]


def is_inequalities(node: Node) -> bool:
    return node.kind == "list" and all(x.kind == "rel" and x.value != ("=",) for x in node.args)
