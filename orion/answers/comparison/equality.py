"""Compare two trees: do they denote the same answer? Values, containers, relations, units.

Input: two trees and a policy. Output: True or False, or UndecidedError. Everything except sympy
runs in this process and is bounded.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from orion.answers.algebra.canonical_form import rational_factor
from orion.answers.comparison.real_sets import canonical_real_set
from orion.answers.comparison.relations import (
    FLIP,
    all_reals_but,
    as_interval,
    is_label,
    only_variable,
    set_described_by,
    symbols,
)
from orion.answers.comparison.rewrite import (
    as_matrix,
    bracket_kind,
    drop_duplicates,
    drop_unit_letters,
    drop_units,
    expand,
    has_range,
    is_symbol_set,
    label_of,
    unknown_of,
    rename_parameters,
    rename_symbols,
    subtract,
    unit_as_symbol,
    unit_names,
    unwrap,
)
from orion.answers.comparison.statements import (
    as_ratio,
    chain_links,
    clock_reading,
    is_inequalities,
    is_reals_but_one,
    is_words_around_value,
    labelled_value,
    stated_values,
)
from orion.answers.comparison.values import UndecidedError, ValueComparison
from orion.answers.parsing.tree import as_point, Node, ParseError, mul, neg, num
from orion.answers.parsing.units import unit_key

_EXPRESSIONS = frozenset(
    ("num", "sym", "const", "add", "mul", "pow", "fn", "fact", "binom", "pct", "deg", "sum", "prod", "int")
)
_SYMMETRIC = frozenset(("parallel", "perp", "sim"))
_SETS = frozenset(("union", "inter", "minus"))


class AnswerComparison(ValueComparison):
    """One comparison of any two answers. Methods answer True or False, or raise UndecidedError."""

    def same(self, a: Node, b: Node) -> bool:
        """Whether answer `a` (of the response) denotes the same as gold `b`."""
        if a == b:
            return True
        self.check_deadline()
        if has_range(a) and has_range(b):
            a, b = rename_parameters(a), rename_parameters(b)
        a, b = unwrap(a), unwrap(b)
        if is_words_around_value(a, b):
            raise UndecidedError("words around a value")
        for kind in ("text", "time", "choice", "based", "parts", "mod", "cases", "branch"):
            if a.kind == kind or b.kind == kind:
                return self.compare_special_kinds(a, b, kind)
        if "unit" in (a.kind, b.kind):
            return self.compare_units(a, b)
        if a.kind == "pct" or b.kind == "pct":
            return self.compare_percentages(a, b)
        if a.kind == "deg" or b.kind == "deg":
            return self.compare_degrees(a, b)
        a, b = expand(a), expand(b)
        if a.kind == "rel" or b.kind == "rel":
            return self.compare_relations(a, b)
        if (
            a.kind in _EXPRESSIONS
            and b.kind in _EXPRESSIONS
            and not is_symbol_set(a)
            and not is_symbol_set(b)
        ):
            if self.policy.ignore_units:
                if max(len(unit_names(a)), len(unit_names(b))) > 1:
                    raise UndecidedError("several units in one value")
                a, b = drop_units(a), drop_units(b)
                a, b = drop_unit_letters(a, b), drop_unit_letters(b, a)
            return self.compare_expressions(a, b)
        return self.compare_containers(a, b)

    def compare_special_kinds(self, a: Node, b: Node, kind: str) -> bool:
        if a.kind != b.kind:
            if kind == "choice" and a.kind == "choice" and a.args:
                return self.same(a.args[0], b)
            if b.kind == "choice" and a.kind in ("sym", "const"):
                return a.value.upper() == b.value
            if kind == "time" and "rel" in (a.kind, b.kind):
                return self.compare_relations(as_ratio(a), as_ratio(b))
            if kind == "time" and {a.kind, b.kind} == {"time", "ratio"}:
                return self.compare_ratios(as_ratio(a), as_ratio(b))
            if kind == "parts" and {a.kind, b.kind} <= {"parts", "list", "tuple"}:
                return self.same_in_order(a.args, b.args, self.same)
            if kind == "mod":
                return self.same(a.args[0], b) if a.kind == "mod" else self.same(a, b.args[0])
            if kind == "based" and self.policy.ignore_units:
                # the digits alone answer "write it in base 6"; a base that nobody asked for differs
                digits = b.value.partition("_")[0] if b.kind == "based" else ""
                return a.kind == "num" and digits == str(a.value)
            return False
        if kind in ("parts", "branch"):
            return self.same_in_order(a.args, b.args, self.same)
        if kind == "cases":
            return self.compare_branches(a, b)
        if kind == "mod":
            return self.compare_congruences(a, b)
        if kind == "time":
            return clock_reading(a) == clock_reading(b)
        return a.value == b.value

    def compare_branches(self, a: Node, b: Node) -> bool:
        """Functions given by cases, in any order; "otherwise" may replace the last condition."""
        if self.same_in_any_order(a.args, b.args, self.same):
            return True
        if any(branch.args[-1].kind == "text" for branch in (*a.args, *b.args)):
            raise UndecidedError("cases with conditions in words")
        return False

    def compare_congruences(self, a: Node, b: Node) -> bool:
        values = [x.value for x in (*a.args, *b.args)]
        if any(x.kind != "num" for x in (*a.args, *b.args)) or values[1] == 0:
            return self.same_in_order(a.args, b.args, self.same)
        return values[1] == values[3] and (values[0] - values[2]) % values[1] == 0

    def compare_units(self, a: Node, b: Node) -> bool:
        if a.kind == b.kind:
            same_unit = unit_key(a.value) == unit_key(b.value)
            return same_unit and self.same(a.args[0], b.args[0])
        if not self.policy.ignore_units:
            return False
        unit, other = (a, b) if a.kind == "unit" else (b, a)
        named = unit_as_symbol(unit)
        if named is not None and symbols(named) & symbols(other):
            # 4 s^2 against 4s^2: a unit on one side and a name on the other
            return self.same(named, other)
        return self.same(a.args[0] if a.kind == "unit" else a, b.args[0] if b.kind == "unit" else b)

    def compare_percentages(self, a: Node, b: Node) -> bool:
        if a.kind == b.kind:
            return self.same(a.args[0], b.args[0])
        bare, other = (a.args[0], b) if a.kind == "pct" else (b.args[0], a)
        if self.same(mul(bare, num(Fraction(1, 100))), other):
            return True
        return self.policy.percent_scale and self.same(bare, other)

    def compare_degrees(self, a: Node, b: Node) -> bool:
        if a.kind == b.kind:
            return self.same(a.args[0], b.args[0])
        if not self.policy.ignore_units:
            return self.compare_expressions(a, b)
        return self.same(a.args[0] if a.kind == "deg" else a, b.args[0] if b.kind == "deg" else b)

    def compare_containers(self, a: Node, b: Node) -> bool:
        if any(x.kind == "such" for x in (a, b)) or any(is_inequalities(x) for x in (a, b)):
            return self.compare_described_sets(a, b)
        a, b = (all_reals_but(x.args[1].args[0]) if is_reals_but_one(x) else x for x in (a, b))
        kinds = {a.kind, b.kind}
        if kinds == {"tuple", "list"}:
            a, b = as_point(a), as_point(b)
        if "matrix" in kinds:
            a, b = as_matrix(a), as_matrix(b)
        kinds = {a.kind, b.kind}
        if kinds <= {"list", "set"}:
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
        if kinds == {"tuple"}:
            return self.same_in_order(a.args, b.args, self.same)
        if kinds == {"interval"} or kinds == {"tuple", "interval"}:
            return bracket_kind(a) == bracket_kind(b) and self.same_in_order(
                a.args, b.args, self.same
            )
        if kinds == {"matrix"}:
            return a.value == b.value and self.same_in_order(a.args, b.args, self.same)
        if kinds & _SETS or {x.value for x in (a, b) if x.kind == "const"} & {"reals", "empty"}:
            left, right = canonical_real_set(a), canonical_real_set(b)
            if left is not None and right is not None:
                return left == right
        if kinds == {"union"} or kinds == {"inter"}:
            return self.same_in_any_order(a.args, b.args, self.same)
        if kinds == {"ratio"}:
            return self.compare_ratios(a, b)
        empty = Node("const", (), "empty")
        if b.kind == "set" and len(b.args) == 1 and a != empty:
            return self.same(a, b.args[0])
        # one value in several forms ("15 39/40, or 639/40") is one answer; different values hedge
        alike = all(self.same(x, a.args[0]) for x in a.args[1:])
        return (
            a.kind in ("set", "list")
            and b != empty
            and alike
            and all(self.same(x, b) for x in a.args)
        )

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

    def compare_relations(self, a: Node, b: Node) -> bool:
        if "approx" in (
            *(a.value if a.kind == "rel" else ()),
            *(b.value if b.kind == "rel" else ()),
        ):
            return self.compare_approximations(a, b)
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
        if any(x.kind not in _EXPRESSIONS for x in (*a.args, *b.args)):
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
