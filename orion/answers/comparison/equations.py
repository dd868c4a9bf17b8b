"""Compare relations: equations, inequalities, labelled values, chains, approximations.

Input: two trees of which one at least is a relation. Output: True or False, or UndecidedError.
"""

from __future__ import annotations

from collections.abc import Sequence

from orion.answers.algebra.canonical_form import rational_factor
from orion.answers.comparison.containers import ContainerComparison
from orion.answers.comparison.relations import (
    FLIP,
    as_interval,
    is_label,
    only_variable,
    set_described_by,
    symbols,
)
from orion.answers.comparison.rewrite import rename_symbols, subtract
from orion.answers.comparison.statements import (
    chain_links,
    is_inequalities,
    labelled_value,
    stated_values,
)
from orion.answers.comparison.values import EXPRESSIONS, UndecidedError
from orion.answers.parsing.tree import Node, ParseError, mul, neg

_SYMMETRIC = frozenset(("parallel", "perp", "sim"))


class RelationComparison(ContainerComparison):
    """Comparison of relations, on top of that of containers."""

    def compare_relations(self, a: Node, b: Node) -> bool:
        if a.kind != "rel" or b.kind != "rel":
            relation, other = (a, b) if a.kind == "rel" else (b, a)
            if set(relation.value) == {"="}:
                value = labelled_value(relation)
                if value is None:
                    return False
                return self.same(value, other) if relation is a else self.same(other, value)
            if relation.value == ("in",):
                return (
                    self.same(relation.args[1], other)
                    if relation is a
                    else self.same(other, relation.args[1])
                )
            interval = as_interval(relation)
            if other.kind in ("such", "list") and is_inequalities(other):
                other = set_described_by(other) or other
            if interval is None or other.kind == "rel":
                return False
            return self.same(interval, other) if relation is a else self.same(other, interval)
        if len(a.args) == len(b.args):
            if a.value == b.value and self.surely_same_in_order(a.args, b.args):
                return True
            turned = tuple(FLIP.get(op, "") for op in reversed(a.value))
            if turned == b.value and self.surely_same_in_order(a.args[::-1], b.args):
                return True
        if ("in",) in (a.value, b.value) and a.value != b.value:
            return self.same(*((x.args[1] if x.value == ("in",) else x) for x in (a, b)))
        if len(a.args) == 2 and len(b.args) == 2 and self.compare_up_to_factor(a, b):
            return True
        left, right = as_interval(a), as_interval(b)
        if left is not None and right is not None and only_variable(a) == only_variable(b):
            return self.same(left, right)
        if set(a.value) == {"="} and set(b.value) == {"="}:
            if is_label(a.args[0]) and a.args[0] == b.args[0]:
                return self.same(a.args[-1], b.args[-1])
            return len(a.args) == len(b.args) > 2 and self.same_in_order(
                chain_links(a), chain_links(b), self.same
            )
        return False

    def compare_approximations(self, a: Node, b: Node) -> bool:
        """10 sqrt 3 = ~ 17.32 gives an exact value and its decimals; either may be the answer."""
        left, right = stated_values(a), stated_values(b)
        if not left or not right:
            return (
                a.kind == b.kind
                and a.value == b.value
                and self.same_in_order(a.args, b.args, self.same)
            )
        return any(self.same(x, y) for x in left for y in right)

    def surely_same_in_order(self, a: Sequence[Node], b: Sequence[Node]) -> bool:
        try:
            return self.same_in_order(a, b, self.same)
        except UndecidedError:
            return False

    def compare_up_to_factor(self, a: Node, b: Node) -> bool:
        """Two-sided relations: left minus right must agree up to a non-zero factor.

        For inequalities the factor must be positive.
        """
        op, gold = a.value[0], b.value[0]
        if op not in FLIP or gold not in FLIP:
            if op != gold:
                return False
            turned = op in _SYMMETRIC and self.surely_same_in_order(a.args[::-1], b.args)
            return turned or self.same_in_order(a.args, b.args, self.same)
        if any(x.kind not in EXPRESSIONS for x in (*a.args, *b.args)):
            return op == gold and self.same_in_order(a.args, b.args, self.same)
        left, right = subtract(*a.args), subtract(*b.args)
        if FLIP[op] == gold and op != gold:
            left, op = neg(left), gold
        if op != gold:
            return False
        try:
            factor = rational_factor(left, right)
        except ParseError as error:
            raise UndecidedError(str(error)) from None
        self.record_rule("algebra")
        if factor is None:
            return op in ("=", "!=") and bool(symbols(left)) and self.are_proportional(left, right)
        return factor > 0 or op in ("=", "!=")

    def are_proportional(self, left: Node, right: Node) -> bool:
        """Whether left / right is constant: L(x) R(y) = L(y) R(x) for all x and y."""
        if symbols(left) != symbols(right):
            return False
        return self.compare_values(
            mul(left, rename_symbols(right, "~")), mul(rename_symbols(left, "~"), right)
        )
