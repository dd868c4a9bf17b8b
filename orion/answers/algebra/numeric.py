"""Certified numeric comparison of two expressions at rational points; a difference is a proof.

Input: two expression trees. Output: True (they agree to 60 digits at MIN_POINTS points or more
where both are real, and differ at none), False (proven different), or None.
"""

from __future__ import annotations

from decimal import Decimal, DecimalException
from fractions import Fraction
from math import ceil, comb, factorial, floor

from orion.answers.algebra.balls import Ball, Balls, DomainError
from orion.answers.algebra.polynomials import power_of_fraction
from orion.answers.parsing.tree import Node, ParseError

DIGITS = 90
# relative tolerance
AGREE = Decimal(10) ** -60
MAX_NODES = 400
MAX_SYMBOLS = 12
# sample points at which two functions must agree; fewer may be a coincidence
MIN_POINTS = 4
# small rationals without a pattern, then negative ones, then integers for terms such as (-1)^n
_POINTS = (
    [Fraction(1374 + 677 * k, 1000 + k) for k in range(MAX_SYMBOLS)],
    [Fraction(391 + 83 * k * k, 977 + 7 * k) for k in range(MAX_SYMBOLS)],
    [Fraction(-(1213 + 359 * k), 800 + 11 * k) for k in range(MAX_SYMBOLS)],
    # within the domain of the inverse functions
    [Fraction(103 + 29 * k, 811 + 37 * k) for k in range(MAX_SYMBOLS)],
    [Fraction(-(211 + 17 * k), 613 + 41 * k) for k in range(MAX_SYMBOLS)],
    [Fraction(89 + 13 * k, 977 + 31 * k) for k in range(MAX_SYMBOLS)],
    # signs that differ from name to name, both ways
    [Fraction((-1) ** k * (1021 + 331 * k), 607 + 19 * k) for k in range(MAX_SYMBOLS)],
    [Fraction(-((-1) ** k) * (1553 + 211 * k), 409 + 23 * k) for k in range(MAX_SYMBOLS)],
    [Fraction(23011 + 1709 * k, 113 + 7 * k) for k in range(MAX_SYMBOLS)],
    [Fraction(p) for p in (5, 2, 9, 4, 8, 7, 12, 3, 11, 6, 14, 13)],
    [Fraction(p) for p in (9, 6, 4, 8, 11, 5, 7, 12, 10, 3, 13, 2)],
    [Fraction(p) for p in (12, 7, 5, 10, 3, 9, 6, 4, 8, 2, 11, 13)],
    [Fraction(p) for p in (3, 4, 7, 5, 9, 6, 11, 8, 13, 10, 15, 12)],
    [Fraction(p) for p in (6, 5, 8, 9, 4, 7, 10, 13, 11, 3, 2, 14)],
)


def _count_nodes(node: Node, found: dict[str, None]) -> int:
    """The number of nodes; adds the names to `found` in the order of their appearance."""
    count, stack = 0, [node]
    while stack:
        top = stack.pop()
        count += 1
        if count > MAX_NODES:
            raise DomainError
        if top.kind == "sym":
            found[top.value] = None
        stack.extend(top.args)
    return count


def _has_symbol(node: Node) -> bool:
    return node.kind == "sym" or any(_has_symbol(a) for a in node.args)


class _Evaluation:
    def __init__(self, values: dict[str, Fraction]) -> None:
        self.balls = Balls(DIGITS)
        self.values = values

    def rational(self, node: Node) -> Fraction | None:
        """The exact value of a small rational exponent or factorial argument, else None."""
        kind, args = node.kind, node.args
        if kind == "num":
            return node.value
        if kind == "sym":
            return self.values[node.value]
        if kind in ("add", "mul"):
            total = Fraction(0 if kind == "add" else 1)
            for arg in args:
                part = self.rational(arg)
                if part is None:
                    return None
                total = total + part if kind == "add" else total * part
            return (
                total
                if max(total.numerator.bit_length(), total.denominator.bit_length()) < 4_000
                else None
            )
        if kind == "pow":
            base, exponent = self.rational(args[0]), self.rational(args[1])
            if base is None or exponent is None or exponent.denominator != 1 or abs(exponent) > 64:
                return None
            return power_of_fraction(base, int(exponent))
        return None

    def value(self, node: Node) -> Ball:
        kind, args, balls = node.kind, node.args, self.balls
        if kind in ("num", "sym"):
            return balls.exact(node.value if kind == "num" else self.values[node.value])
        if kind == "const":
            if node.value == "pi":
                return balls.pi()
            if node.value == "e":
                return balls.exp(balls.exact(Fraction(1)))
            raise DomainError
        if kind == "add":
            total = balls.exact(Fraction(0))
            for arg in args:
                total = balls.add(total, self.value(arg))
            return total
        if kind == "mul":
            total = balls.exact(Fraction(1))
            for arg in args:
                total = balls.mul(total, self.value(arg))
            return total
        if kind == "pow":
            return self.power(*args)
        if kind == "pct":
            return balls.mul(self.value(args[0]), balls.exact(Fraction(1, 100)))
        if kind == "deg":
            return balls.mul(
                self.value(args[0]), balls.mul(balls.pi(), balls.exact(Fraction(1, 180)))
            )
        if kind in ("fact", "binom"):
            return self.count_exactly(kind, [self.rational(a) for a in args])
        if (
            kind == "fn"
            and node.value in ("floor", "ceil")
            and (exact := self.rational(args[0])) is not None
        ):
            return balls.exact(Fraction(floor(exact) if node.value == "floor" else ceil(exact)))
        if kind == "fn":
            return balls.function(node.value, [self.value(a) for a in args])
        raise DomainError

    def power(self, base: Node, exponent: Node) -> Ball:
        value = self.rational(exponent)
        if value == -1:
            return self.balls.inverse(self.value(base))
        if value is not None:
            ball = self.value(base)
            # a root that depends on a name has no agreed meaning for a negative base
            if value.denominator != 1 and ball.mid < 0 and _has_symbol(exponent):
                raise DomainError
            return self.balls.power(ball, value)
        logarithm = self.balls.ln(self.value(base))
        return self.balls.exp(self.balls.mul(logarithm, self.value(exponent)))

    def count_exactly(self, kind: str, values: list[Fraction | None]) -> Ball:
        whole = [int(v) for v in values if v is not None and v.denominator == 1 and 0 <= v <= 5_000]
        if len(whole) != len(values):
            raise DomainError
        return self.balls.exact(Fraction(factorial(whole[0]) if kind == "fact" else comb(*whole)))


def agree_numerically(left: Node, right: Node) -> bool | None:
    """Whether two expressions agree at enough sample points; False if they provably differ at one.

    None if they do neither.
    """
    names: dict[str, None] = {}
    try:
        _count_nodes(left, names)
        _count_nodes(right, names)
    except DomainError:
        return None
    if len(names) > MAX_SYMBOLS:
        return None
    agreed = 0
    for point in _POINTS if names else _POINTS[:1]:
        run = _Evaluation(dict(zip(sorted(names), point, strict=False)))
        try:
            a, b = run.value(left), run.value(right)
            gap = run.balls.add(a, run.balls.neg(b))
            size = max(a.mid.copy_abs(), b.mid.copy_abs())
        except (DomainError, ParseError, DecimalException, OverflowError, RecursionError):
            continue
        if gap.mid.copy_abs() > gap.rad:
            return False
        if gap.rad <= run.balls.ctx.multiply(size, AGREE) or (size <= AGREE and gap.rad <= AGREE):
            agreed += 1
    return True if agreed >= (MIN_POINTS if names else 1) else None
