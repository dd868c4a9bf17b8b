"""Are two values equal, and are two rows of items: exact numbers, algebra, certified numbers and, last, sympy.

Inputs: expression trees and a policy. Outputs: True or False, or `Undecided`. The lower half of the judge in `equality`; all but
sympy runs here and is bounded. Not runnable.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from orion.answers import guard
from orion.answers.canon import difference
from orion.answers.matching import partners
from orion.answers.numeric import agree
from orion.answers.policies import Policy
from orion.answers.shapes import ordered_spelling, with_decimal_logarithms
from orion.answers.tree import Node, Unreadable, neg


class Undecided(Exception):
    """Neither equality nor difference could be shown; `verdict` is unparseable or timeout, the message the reason."""

    def __init__(self, reason: str, verdict: str = "unparseable") -> None:
        super().__init__(reason)
        self.verdict = verdict


_METHODS = ("exact", "algebra", "numeric", "sympy")
# where algebra gives up, numbers may still decide
_CHEAP_LIMITS = frozenset(("too much algebra", "number too large"))


class Values:
    """One comparison. Methods answer True or False, or raise Undecided; `method` keeps the dearest stage that was needed."""

    def __init__(self, policy: Policy, deadline: float) -> None:
        self.policy = policy
        self.deadline = deadline
        self.method = "exact"

    def left(self) -> float:
        """Seconds until the deadline of the whole check (on `time.monotonic`), which may ask many questions."""
        seconds = self.deadline - time.monotonic()
        if seconds <= 0:
            raise Undecided("no decision within the deadline", "timeout")
        return seconds

    # expressions

    def expressions(self, a: Node, b: Node) -> bool:
        if a == b:
            return True
        if a.kind == "num" and b.kind == "num":
            return a.value == b.value
        if infinite(a) or infinite(b):
            return False
        if self.equal_values(a, b):
            return True
        # log without a base is the natural one or, at school, the decimal one
        decimal = with_decimal_logarithms(a), with_decimal_logarithms(b)
        return decimal != (a, b) and self.equal_values(*decimal)

    def equal_values(self, a: Node, b: Node) -> bool:
        self.left()
        try:
            decided = difference(a, b)
        except Unreadable as error:
            if ordered_spelling(a) == ordered_spelling(b):
                return True
            close = agree(a, b) if str(error) in _CHEAP_LIMITS else None
            # a number that is too large here is too large for sympy as well
            if close is None or (close and not self.policy.numeric):
                raise Undecided(str(error)) from None
            self.reached("numeric")
            return close
        if decided is None:
            return self.dearer(a, b)
        self.reached("algebra")
        return decided

    def dearer(self, a: Node, b: Node) -> bool:
        """What algebra left open: certified numbers, then sympy in a worker."""
        close = agree(a, b)
        if close is False or (close and self.policy.numeric):
            self.reached("numeric")
            return close
        self.reached("sympy")
        try:
            proven = guard.equal(a, b, self.left())
        except guard.Lost as error:
            raise Undecided(str(error), "timeout") from None
        if proven is None:
            raise Undecided("neither equal nor different for sympy")
        return proven

    def reached(self, method: str) -> None:
        self.method = max(self.method, method, key=_METHODS.index)

    # containers

    def ordered(
        self, a: Sequence[Node], b: Sequence[Node], same: Callable[[Node, Node], bool]
    ) -> bool:
        if len(a) != len(b):
            return False
        doubt = None
        for x, y in zip(a, b, strict=True):
            try:
                if not same(x, y):
                    return False
            except Undecided as error:
                doubt = error
        if doubt is not None:
            raise doubt
        return True

    def unordered(
        self, a: Sequence[Node], b: Sequence[Node], same: Callable[[Node, Node], bool]
    ) -> bool:
        """Bipartite matching: every item of one side has a partner of its own on the other."""
        if len(a) != len(b):
            return False
        if len(a) > 64:
            raise Undecided("too many items")
        doubt = None
        edges: list[list[int]] = []
        for x in a:
            row = []
            for j, y in enumerate(b):
                try:
                    if same(x, y):
                        row.append(j)
                except Undecided as error:
                    doubt = error
            edges.append(row)
        matched = partners(edges)
        if not matched and doubt is not None:
            raise doubt
        return matched

    # any two trees


def infinite(node: Node) -> bool:
    infinity = Node("const", (), "inf")
    return node in (infinity, neg(infinity))
