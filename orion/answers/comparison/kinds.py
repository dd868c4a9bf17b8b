"""Compare special kinds: choices, times, numerals, units, percentages, functions by cases.

Input: two trees of which one at least is of the kind. Output: True or False, or UndecidedError.
"""

from __future__ import annotations

from fractions import Fraction

from orion.answers.comparison.equations import RelationComparison
from orion.answers.comparison.relations import symbols
from orion.answers.comparison.rewrite import (
    drop_unit_letters,
    drop_units,
    letters_as_unit,
    unit_as_symbol,
    unit_names,
)
from orion.answers.comparison.statements import as_ratio, clock_reading
from orion.answers.comparison.values import UndecidedError
from orion.answers.parsing.tree import Node, mul, num
from orion.answers.parsing.units import unit_key


class KindComparison(RelationComparison):
    """Comparison of special kinds, on top of that of relations."""

    def refuse_words(self, a: Node, b: Node) -> bool:
        """Words with a number in them and mathematics: not understood."""
        raise UndecidedError("words around a value")

    def compare_texts(self, a: Node, b: Node) -> bool:
        """Words against words."""
        return a.kind == b.kind and a.value == b.value

    def compare_times(self, a: Node, b: Node) -> bool:
        """Times of day; 3:05 may be a ratio."""
        if a.kind == b.kind:
            return clock_reading(a) == clock_reading(b)
        if "rel" in (a.kind, b.kind):
            return self.compare_relations(as_ratio(a), as_ratio(b))
        return {a.kind, b.kind} == {"time", "ratio"} and self.compare_ratios(
            as_ratio(a), as_ratio(b)
        )

    def compare_choices(self, a: Node, b: Node) -> bool:
        """Letters; a choice with the value behind it also answers for its value."""
        if a.kind == b.kind:
            return a.value == b.value
        if a.kind == "choice":
            return bool(a.args) and self.same(a.args[0], b)
        return a.kind in ("sym", "const") and a.value.upper() == b.value

    def compare_numerals(self, a: Node, b: Node) -> bool:
        """Numerals with a base: digits and base."""
        if a.kind == b.kind:
            return a.value == b.value
        # the digits alone answer "write it in base 6"; a base that nobody asked for differs
        digits = b.value.partition("_")[0] if b.kind == "based" else ""
        return self.policy.ignore_units and a.kind == "num" and digits == str(a.value)

    def compare_parts(self, a: Node, b: Node) -> bool:
        """The answers to (a), (b), ..., which may be listed without their letters."""
        listed = {a.kind, b.kind} <= {"parts", "list", "tuple"}
        return listed and self.same_in_order(a.args, b.args, self.same)

    def compare_remainders(self, a: Node, b: Node) -> bool:
        """5 (mod 7) and 12 (mod 7); the residue alone answers too."""
        if a.kind == b.kind:
            return self.compare_congruences(a, b)
        return self.same(a.args[0], b) if a.kind == "mod" else self.same(a, b.args[0])

    def compare_functions_by_cases(self, a: Node, b: Node) -> bool:
        """Functions given by cases."""
        return a.kind == b.kind and self.compare_branches(a, b)

    def compare_formulas(self, a: Node, b: Node) -> bool:
        """Expressions; units inside them are dropped where the policy ignores units."""
        if self.policy.ignore_units:
            if max(len(unit_names(a)), len(unit_names(b))) > 1:
                raise UndecidedError("several units in one value")
            a, b = drop_units(a), drop_units(b)
            a, b = drop_unit_letters(a, b), drop_unit_letters(b, a)
        return self.compare_expressions(a, b)

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
        if {a.kind, b.kind} & {"pct", "deg"}:
            # 7 cm is neither 7 % nor 7 degrees
            return False
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
        other = letters_as_unit(other)
        if other.kind == "unit":
            # 9Ω is not 9 V
            return self.compare_units(unit, other)
        return self.same(a.args[0] if a.kind == "unit" else a, b.args[0] if b.kind == "unit" else b)

    def compare_percentages(self, a: Node, b: Node) -> bool:
        if a.kind == b.kind:
            return self.same(a.args[0], b.args[0])
        bare, other = (a.args[0], b) if a.kind == "pct" else (b.args[0], a)
        if other.kind == "deg":
            return False
        if self.same(mul(bare, num(Fraction(1, 100))), other):
            return True
        return self.policy.percent_scale and self.same(bare, other)

    def compare_degrees(self, a: Node, b: Node) -> bool:
        if a.kind == b.kind:
            return self.same(a.args[0], b.args[0])
        if not self.policy.ignore_units:
            return self.compare_expressions(a, b)
        return self.same(a.args[0] if a.kind == "deg" else a, b.args[0] if b.kind == "deg" else b)
