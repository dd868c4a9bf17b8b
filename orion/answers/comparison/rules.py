r"""The ordered table of comparison rules: which rule decides whether two answers are the same.

Input: two trees and a policy. Output: True or False, or UndecidedError. The first row whose
`applies` holds decides; rows of a later stage see the trees after `_prepare`. Every row has an
example, which is a test. The names of the rows that were used are the `rule` of a `Verdict`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from orion.answers.comparison.kinds import KindComparison
from orion.answers.comparison.real_sets import canonical_real_set
from orion.answers.comparison.relations import all_reals_but
from orion.answers.comparison.rewrite import (
    as_matrix,
    expand,
    has_range,
    is_symbol_set,
    rename_parameters,
    unwrap,
)
from orion.answers.comparison.statements import (
    is_inequalities,
    is_reals_but_one,
    is_words_around_value,
)
from orion.answers.comparison.values import EXPRESSIONS
from orion.answers.parsing.tree import Node, as_point

_SET_OPERATIONS = frozenset(("union", "inter", "minus"))
_EMPTY = Node("const", (), "empty")
# stages of preparation, each on top of the one before
BARE, EXPANDED, CONTAINER = range(3)

Test = Callable[[Node, Node], bool]


class Rule(NamedTuple):
    """One row. example: an answer, a gold, and whether they are the same."""

    name: str
    stage: int
    applies: Test
    decide: Callable[[AnswerComparison, Node, Node], bool]
    example: tuple[str, str, bool]


class AnswerComparison(KindComparison):
    """One comparison of any two answers; `rules` are the names of the rows that were used."""

    def same(self, a: Node, b: Node) -> bool:
        """Whether two answers are the same, by the first row of RULES that applies."""
        if a == b:
            return True
        self.check_deadline()
        stage = None
        for rule in RULES:
            if rule.stage != stage:
                stage = rule.stage
                a, b = _prepare(a, b, stage)
            if rule.applies(a, b):
                self.rules[rule.name] = None
                return rule.decide(self, a, b)
        return False


def _prepare(a: Node, b: Node, stage: int) -> tuple[Node, Node]:
    if stage == BARE:
        if has_range(a) and has_range(b):
            a, b = rename_parameters(a), rename_parameters(b)
        return unwrap(a), unwrap(b)
    if stage == EXPANDED:
        return expand(a), expand(b)
    a, b = (all_reals_but(x.args[1].args[0]) if is_reals_but_one(x) else x for x in (a, b))
    a, b = _as_union(a, b), _as_union(b, a)
    kinds = {a.kind, b.kind}
    if kinds == {"tuple", "list"}:
        a, b = as_point(a), as_point(b)
    if "matrix" in kinds:
        a, b = as_matrix(a), as_matrix(b)
    return a, b


def _as_union(node: Node, other: Node) -> Node:
    """Intervals joined by "or" as their union, where the other side is one."""
    intervals = node.kind == "list" and all(x.kind in ("interval", "tuple") for x in node.args)
    if node.value == "or" and intervals and other.kind == "union":
        return Node("union", node.args)
    return node


def _either(*kinds: str) -> Test:
    return lambda a, b: a.kind in kinds or b.kind in kinds


def _both(*kinds: str) -> Test:
    return lambda a, b: {a.kind, b.kind} <= set(kinds)


def _are_approximations(a: Node, b: Node) -> bool:
    return any(x.kind == "rel" and "approx" in x.value for x in (a, b))


def _are_expressions(a: Node, b: Node) -> bool:
    return all(x.kind in EXPRESSIONS and not is_symbol_set(x) for x in (a, b))


def _are_described_sets(a: Node, b: Node) -> bool:
    return any(x.kind == "such" or is_inequalities(x) for x in (a, b))


def _are_real_sets(a: Node, b: Node) -> bool:
    named = {x.value for x in (a, b) if x.kind == "const"} & {"reals", "empty"}
    if not named and not {a.kind, b.kind} & _SET_OPERATIONS:
        return False
    return canonical_real_set(a) is not None and canonical_real_set(b) is not None


def _is_set_of_one(a: Node, b: Node) -> bool:
    return b.kind == "set" and len(b.args) == 1 and a != _EMPTY


def _are_alternatives(a: Node, b: Node) -> bool:
    return a.kind in ("set", "list") and b != _EMPTY


RULES = (
    Rule("words", BARE, is_words_around_value, AnswerComparison.refuse_words,
         (r"\text{about 5 or so}", "5", False)),
    Rule("text", BARE, _either("text"), AnswerComparison.compare_texts,
         (r"(\text{even}, 2)", r"(\text{odd}, 2)", False)),
    Rule("time", BARE, _either("time"), AnswerComparison.compare_times,
         ("3:05 am", r"3\!:\!05\text{ p.m.}", False)),
    Rule("choice", BARE, _either("choice"), AnswerComparison.compare_choices,
         (r"\text{(C) } 12", "C", True)),
    Rule("numeral", BARE, _either("based"), AnswerComparison.compare_numerals,
         ("1210_4", "1210_5", False)),
    Rule("parts", BARE, _either("parts"), AnswerComparison.compare_parts,
         ("3, 4", "(a) 3 (b) 4", True)),
    Rule("remainder", BARE, _either("mod"), AnswerComparison.compare_remainders,
         (r"x \equiv 12 \pmod 7", r"x \equiv 5 \pmod 7", True)),
    Rule("cases", BARE, _either("cases"), AnswerComparison.compare_functions_by_cases,
         (r"\begin{cases} 1 & x > 0 \\ 2 & x \le 0 \end{cases}",
          r"\begin{cases} 2 & x \le 0 \\ 1 & x > 0 \end{cases}", True)),
    Rule("branch", BARE, _both("branch"), AnswerComparison.compare_item_by_item,
         (r"\begin{cases} 1 & x > 0 \\ 2 & x \le 0 \end{cases}",
          r"\begin{cases} 2 & x \le 0 \\ 3 & x > 0 \end{cases}", False)),
    Rule("unit", BARE, _either("unit"), AnswerComparison.compare_units,
         (r"5\text{ km/h}", r"5\text{ kilometres per hour}", True)),
    Rule("percent", BARE, _either("pct"), AnswerComparison.compare_percentages,
         (r"28\%", "0.28", True)),
    Rule("degrees", BARE, _either("deg"), AnswerComparison.compare_degrees,
         (r"45^\circ", "45", True)),
    Rule("approximation", EXPANDED, _are_approximations, AnswerComparison.compare_approximations,
         (r"10\sqrt 3 \approx 17.32", r"10\sqrt{3}", True)),
    Rule("relation", EXPANDED, _either("rel"), AnswerComparison.compare_relations,
         ("2x - 4 = 0", "x = 2", True)),
    Rule("expression", EXPANDED, _are_expressions, AnswerComparison.compare_formulas,
         ("(x + 1)^2", "x^2 + 2x + 1", True)),
    Rule("described_set", CONTAINER, _are_described_sets, AnswerComparison.compare_described_sets,
         (r"\{x \mid -1 \le x < 4\}", "[-1, 4)", True)),
    Rule("list", CONTAINER, _both("list", "set"), AnswerComparison.compare_collections,
         ("7, -2, 5", "-2, 5, 7", True)),
    Rule("tuple", CONTAINER, _both("tuple"), AnswerComparison.compare_item_by_item,
         ("(1, 2)", "(2, 1)", False)),
    Rule("interval", CONTAINER, _both("interval", "tuple"), AnswerComparison.compare_intervals,
         ("[0, 1)", "[0, 1]", False)),
    Rule("matrix", CONTAINER, _both("matrix"), AnswerComparison.compare_matrices,
         (r"\begin{pmatrix} 1 \\ 0.5 \end{pmatrix}",
          r"\begin{bmatrix} 1 \\ 1/2 \end{bmatrix}", True)),
    Rule("real_set", CONTAINER, _are_real_sets, AnswerComparison.compare_real_sets,
         (r"(-\infty, 2) \cup (2, \infty)", r"\mathbb{R} \setminus \{2\}", True)),
    Rule("set_operation", CONTAINER,
         lambda a, b: a.kind == b.kind and a.kind in ("union", "inter"),
         AnswerComparison.compare_operands,
         (r"A \cup B", r"B \cup A", True)),
    Rule("ratio", CONTAINER, _both("ratio"), AnswerComparison.compare_ratios,
         ("2:4:6", "1:2:3", True)),
    Rule("set_of_one", CONTAINER, _is_set_of_one, AnswerComparison.compare_with_item,
         ("5", r"\{5\}", True)),
    Rule("alternatives", CONTAINER, _are_alternatives, AnswerComparison.compare_alternatives,
         (r"\frac12 \text{ or } 0.5", "0.5", True)),
)  # fmt: skip
