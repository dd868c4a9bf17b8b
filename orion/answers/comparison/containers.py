"""Compare containers: lists, sets, tuples, intervals, matrices, unions, ratios.

Input: two trees. Output: True or False, or UndecidedError. `rules` says which method applies.
"""

from __future__ import annotations

from orion.answers.comparison.real_sets import canonical_real_set
from orion.answers.comparison.relations import set_described_by
from orion.answers.comparison.rewrite import bracket_kind, drop_duplicates, label_of, unknown_of
from orion.answers.comparison.statements import is_inequalities
from orion.answers.comparison.values import ValueComparison
from orion.answers.parsing.tree import Node, mul, num


class ContainerComparison(ValueComparison):
    """Comparison of containers; `same` compares their items."""

    def compare_collections(self, a: Node, b: Node) -> bool:
        """Lists and sets: in any order, unless an ellipsis or labels give one."""
        if any(x.kind == "dots" for x in (*a.args, *b.args)):
            return self.same_in_order(a.args, b.args, self.same)
        labelled = [all(x.kind == "rel" for x in side.args) for side in (a, b)]
        labels = {label_of(x) for x in (a, b)[labelled[1]].args}
        # x_1 and x_2 are the roots of one unknown, in any order
        if labelled[0] != labelled[1] and len({unknown_of(x) for x in labels}) > 1:
            return self.same_in_order(a.args, b.args, self.same)
        return self.same_in_any_order(
            self.unequal_items(a), self.unequal_items(b), self.same_element
        )

    def compare_item_by_item(self, a: Node, b: Node) -> bool:
        """Tuples and the answers to several parts."""
        return self.same_in_order(a.args, b.args, self.same)

    def compare_intervals(self, a: Node, b: Node) -> bool:
        """Intervals, and the pair (a, b) that may be one."""
        same_brackets = bracket_kind(a) == bracket_kind(b)
        return same_brackets and self.same_in_order(a.args, b.args, self.same)

    def compare_matrices(self, a: Node, b: Node) -> bool:
        """Matrices of one shape, cell by cell."""
        return a.value == b.value and self.same_in_order(a.args, b.args, self.same)

    def compare_real_sets(self, a: Node, b: Node) -> bool:
        """Sets of real numbers in their canonical form."""
        return canonical_real_set(a) == canonical_real_set(b)

    def compare_operands(self, a: Node, b: Node) -> bool:
        """Unions and intersections, in any order."""
        return self.same_in_any_order(a.args, b.args, self.same)

    def compare_with_item(self, a: Node, b: Node) -> bool:
        """A gold set of one item and the item."""
        return self.same(a, b.args[0])

    def compare_alternatives(self, a: Node, b: Node) -> bool:
        """One value in several forms ("15 39/40, or 639/40") is one answer; others are a hedge."""
        alike = all(self.same(x, a.args[0]) for x in a.args[1:])
        return alike and all(self.same(x, b) for x in a.args)

    def unequal_items(self, node: Node) -> tuple[Node, ...]:
        """The items of a list or set; a set without items equal to others in another spelling."""
        found: list[Node] = []
        for x in drop_duplicates(node):
            if (
                node.kind != "set"
                or len(found) > 16
                or not any(self.same_element(x, y) for y in found)
            ):
                found.append(x)
        return tuple(found)

    def same_element(self, a: Node, b: Node) -> bool:
        """Whether two items are the same; among items {1} is not 1."""
        return (a.kind == "set") == (b.kind == "set") and self.same(a, b)

    def compare_described_sets(self, a: Node, b: Node) -> bool:
        """Sets given by inequalities: lists of relations, or set-builders."""
        if a.kind == b.kind == "list" and self.same_in_any_order(a.args, b.args, self.same):
            return True
        left, right = (set_described_by(x) or x for x in (a, b))
        if any(x.kind == "such" or is_inequalities(x) for x in (left, right)):
            elements = a.kind == b.kind == "such" and self.same(a.args[0], b.args[0])
            return elements and self.same_in_any_order(a.args[1:], b.args[1:], self.same)
        return self.same(left, right)

    def compare_ratios(self, a: Node, b: Node) -> bool:
        if len(a.args) != len(b.args):
            return False
        first, gold = a.args[0], b.args[0]
        if any(num(0) in x.args for x in (a, b)):
            return self.same_in_order(a.args, b.args, self.compare_expressions)
        return all(
            self.compare_expressions(mul(x, gold), mul(y, first))
            for x, y in zip(a.args[1:], b.args[1:], strict=True)
        )
