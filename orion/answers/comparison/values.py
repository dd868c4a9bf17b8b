"""Compare two values, or two sequences of items: exact numbers, algebra, certified numbers, sympy.

Input: expression trees and a policy. Output: True or False, or UndecidedError. The lower layer of
`rules`. Everything except sympy runs in this process and is bounded.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from orion.answers.algebra.canonical_form import decide_equality
from orion.answers.algebra.numeric import agree_numerically
from orion.answers.comparison.matching import has_perfect_matching
from orion.answers.comparison.rewrite import spell_unordered, use_decimal_logarithms
from orion.answers.parsing.tree import Node, ParseError, TooCostlyError, neg
from orion.answers.policies import Policy
from orion.answers.verdict import TIMEOUT, UNPARSEABLE
from orion.answers.workers import pool


class UndecidedError(Exception):
    """Neither equality nor difference could be shown; the message is the verdict's reason.

    `verdict` is unparseable or timeout.
    """

    def __init__(self, reason: str, verdict: str = UNPARSEABLE) -> None:
        super().__init__(reason)
        self.verdict = verdict


# kinds of trees that are values
EXPRESSIONS = frozenset(
    (
        "num",
        "sym",
        "const",
        "add",
        "mul",
        "pow",
        "fn",
        "fact",
        "binom",
        "pct",
        "deg",
        "sum",
        "prod",
        "int",
    )
)


class ValueRule(NamedTuple):
    """One step of the comparison of two expressions; example: an answer, a gold, whether equal."""

    name: str
    example: tuple[str, str, bool]


# the steps of `compare_values`, in order of cost; the first that decides is the last one used
VALUE_RULES = (
    ValueRule("algebra", ("2x(x + 1)", "2x^2 + 2x", True)),
    ValueRule("numeric", ("\\sin 20^\\circ", "\\cos 70^\\circ", True)),
    ValueRule("sympy", ("\\sum_{k=1}^{n} k", "\\frac{n(n+1)}{2}", True)),
)


class ValueComparison:
    """One comparison. Methods answer True or False, or raise UndecidedError.

    `rules`: the rules that were used, in the order of their first use, VALUE_RULES last.
    """

    # defined by `rules`, on top of all layers
    same: Callable[[Node, Node], bool]

    def __init__(self, policy: Policy, deadline: float) -> None:
        self.policy = policy
        self.deadline = deadline
        self.rules: dict[str, None] = {}

    def remaining_s(self) -> float:
        """Seconds until the deadline of the whole check; raises UndecidedError after it."""
        seconds = self.deadline - time.monotonic()
        if seconds <= 0:
            raise UndecidedError("no decision within the deadline", TIMEOUT)
        return seconds

    def check_deadline(self) -> None:
        """Raises UndecidedError if the deadline has passed."""
        self.remaining_s()

    # expressions

    def compare_expressions(self, a: Node, b: Node) -> bool:
        if a == b:
            return True
        if a.kind == "num" and b.kind == "num":
            return a.value == b.value
        if is_infinite(a) or is_infinite(b):
            return False
        if self.compare_values(a, b):
            return True
        # log without a base is the natural logarithm or, in school books, the decimal one
        decimal = use_decimal_logarithms(a), use_decimal_logarithms(b)
        return decimal != (a, b) and self.compare_values(*decimal)

    def compare_values(self, a: Node, b: Node) -> bool:
        self.check_deadline()
        try:
            decided = decide_equality(a, b)
        except ParseError as error:
            if spell_unordered(a) == spell_unordered(b):
                return True
            if _are_powers_of_one_base(a, b):
                return self.compare_values(a.args[1], b.args[1])
            # numbers may still decide what is too long for algebra
            close = agree_numerically(a, b) if isinstance(error, TooCostlyError) else None
            # a number that is too large here is too large for sympy too
            if close is None or (close and not self.policy.numeric):
                raise UndecidedError(str(error)) from None
            self.record_rule("numeric")
            return close
        if decided is None:
            return self.compare_by_numbers_or_sympy(a, b)
        self.record_rule("algebra")
        return decided

    def compare_by_numbers_or_sympy(self, a: Node, b: Node) -> bool:
        """Decides what algebra left open: certified numbers, then sympy in a worker."""
        close = agree_numerically(a, b)
        if close is False or (close and self.policy.numeric):
            self.record_rule("numeric")
            return close
        self.record_rule("sympy")
        try:
            proven = pool.sympy_equal(a, b, self.remaining_s())
        except pool.WorkerLostError as error:
            raise UndecidedError(str(error), TIMEOUT) from None
        if proven is None:
            raise UndecidedError("neither equal nor different for sympy")
        return proven

    def record_rule(self, rule: str) -> None:
        """Notes the use of a rule."""
        self.rules[rule] = None

    # containers

    def same_in_order(
        self, a: Sequence[Node], b: Sequence[Node], same: Callable[[Node, Node], bool]
    ) -> bool:
        if len(a) != len(b):
            return False
        doubt = None
        for x, y in zip(a, b, strict=True):
            try:
                if not same(x, y):
                    return False
            except UndecidedError as error:
                doubt = error
        if doubt is not None:
            raise doubt
        return True

    def same_in_any_order(
        self, a: Sequence[Node], b: Sequence[Node], same: Callable[[Node, Node], bool]
    ) -> bool:
        """Bipartite matching: every item of one side has its own partner on the other side."""
        if len(a) != len(b):
            return False
        if len(a) > 64:
            raise UndecidedError("too many items")
        doubt = None
        edges: list[list[int]] = []
        for x in a:
            row = []
            for j, y in enumerate(b):
                try:
                    if same(x, y):
                        row.append(j)
                except UndecidedError as error:
                    doubt = error
            edges.append(row)
        matched = has_perfect_matching(edges)
        if not matched and doubt is not None:
            raise doubt
        return matched


def _are_powers_of_one_base(a: Node, b: Node) -> bool:
    """Whether equality is that of the exponents: both are powers of one number above 1."""
    if a.kind != "pow" or b.kind != "pow" or a.args[0] != b.args[0]:
        return False
    base = a.args[0]
    return base.kind == "num" and base.value > 1


def is_infinite(node: Node) -> bool:
    infinity = Node("const", (), "inf")
    return node in (infinity, neg(infinity))
