"""A small expression type for the tests, and the numeric oracle that tells equal from different.

The oracle evaluates with mpmath, so it shares no code, and no mistake, with the checker under test.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import mpmath

DIGITS = 60
NAMES = ("x", "y", "z", "a", "b", "n", "theta")
FUNCTIONS = ("sin", "cos", "tan", "ln", "exp", "abs")
# rationals without a pattern: positive; positive and small; of both signs, for |x| and sqrt(x^2)
_POINTS = (
    [Fraction(1291 + 401 * k, 1000 + 3 * k) for k in range(len(NAMES))],
    [Fraction(317 + 67 * k, 1009) for k in range(len(NAMES))],
    [Fraction((-1) ** k * (2203 + 97 * k), 991) for k in range(len(NAMES))],
    [Fraction((-1) ** (k + 1) * (617 + 211 * k), 983) for k in range(len(NAMES))],
    [Fraction(-(733 + 151 * k), 1013) for k in range(len(NAMES))],
)


class DomainError(Exception):
    """An expression without a real value at a point."""


@dataclass(frozen=True)
class Expr:
    """One expression. `dress` is the printed form of a number; it never changes the value.

    op: num (value: Fraction) · sym, const (value: name) · add, mul, div, neg · pow (value: integer
    exponent) · root (square root) · fn (value: name) · fact, binom (`args` are number nodes).
    """

    op: str
    args: tuple[Expr, ...] = ()
    value: Fraction | str | int | None = None
    dress: str = ""

    def __add__(self, other: Expr) -> Expr:
        return total(self, other)

    def __sub__(self, other: Expr) -> Expr:
        return total(self, -other)

    def __mul__(self, other: Expr) -> Expr:
        return product(self, other)

    def __truediv__(self, other: Expr) -> Expr:
        return self if other == ONE else Expr("div", (self, other))

    def __neg__(self) -> Expr:
        return num(-self.value) if self.op == "num" and not self.dress else Expr("neg", (self,))

    def __pow__(self, exponent: int) -> Expr:
        return self if exponent == 1 else Expr("pow", (self,), exponent)


def num(value: int | Fraction, dress: str = "") -> Expr:
    """A number."""
    return Expr("num", (), Fraction(value), dress)


ONE, ZERO = num(1), num(0)
PI, E = Expr("const", (), "pi"), Expr("const", (), "e")


def sym(name: str) -> Expr:
    """A symbol."""
    return Expr("sym", (), name)


def fn(name: str, arg: Expr) -> Expr:
    """A function of one argument."""
    return Expr("fn", (arg,), name)


def root(arg: Expr) -> Expr:
    """A square root."""
    return Expr("root", (arg,))


def total(*terms: Expr) -> Expr:
    """A sum without zeros; sums inside sums are kept as they are written."""
    kept = [t for t in terms if t != ZERO]
    return kept[0] if len(kept) == 1 else Expr("add", tuple(kept)) if kept else ZERO


def product(*factors: Expr) -> Expr:
    """A product without ones; products inside products are kept as they are written."""
    kept = [f for f in factors if f != ONE]
    return kept[0] if len(kept) == 1 else Expr("mul", tuple(kept)) if kept else ONE


def places(expr: Expr, path: tuple[int, ...] = ()) -> Iterator[tuple[tuple[int, ...], Expr]]:
    """Every subexpression with its path, the whole first; none inside a factorial or binomial."""
    yield path, expr
    if expr.op not in ("fact", "binom"):
        for at, arg in enumerate(expr.args):
            yield from places(arg, (*path, at))


def put(expr: Expr, path: Sequence[int], new: Expr) -> Expr:
    """The expression with `new` at `path`."""
    if not path:
        return new
    args = list(expr.args)
    args[path[0]] = put(args[path[0]], path[1:], new)
    return replace(expr, args=tuple(args))


def size(expr: Expr) -> int:
    """The number of nodes."""
    return 1 + sum(size(a) for a in expr.args)


def symbols(*exprs: Expr) -> set[str]:
    """The names that occur."""
    return {str(e.value) for expr in exprs for _, e in places(expr) if e.op == "sym"}


def holds(expr: Expr, *ops: str) -> bool:
    """Whether a node of one of these kinds occurs."""
    return any(e.op in ops for _, e in places(expr))


def _function(name: str, x: mpmath.mpf) -> mpmath.mpf:
    if name == "ln":
        if x <= 0:
            raise DomainError
        return mpmath.log(x)
    if name == "exp" and abs(x) > 2000:
        raise DomainError
    if name == "tan" and abs(mpmath.cos(x)) < 1e-9:
        raise DomainError
    return {"abs": abs, "sin": mpmath.sin, "cos": mpmath.cos, "tan": mpmath.tan, "exp": mpmath.exp}[
        name
    ](x)


def evaluate(expr: Expr, point: dict[str, Fraction]) -> mpmath.mpf:
    """The real value at a point, at mpmath's working precision; raises DomainError without one."""
    op = expr.op
    if op == "num":
        return mpmath.mpf(expr.value.numerator) / expr.value.denominator
    if op == "sym":
        return mpmath.mpf(point[expr.value].numerator) / point[expr.value].denominator
    if op == "const":
        return +mpmath.pi if expr.value == "pi" else +mpmath.e
    args = [evaluate(a, point) for a in expr.args]
    if op == "add":
        return mpmath.fsum(args)
    if op == "mul":
        return mpmath.fprod(args)
    if op == "neg":
        return -args[0]
    if op == "fn":
        return _function(expr.value, args[0])
    if op == "root":
        if args[0] < 0:
            raise DomainError
        return mpmath.sqrt(args[0])
    if op in ("fact", "binom"):
        return mpmath.mpf(
            math.factorial(int(args[0])) if op == "fact" else math.comb(*map(int, args))
        )
    divisor = args[1] if op == "div" else args[0]
    # so near to zero that only rounding separates it
    if (op == "div" or expr.value < 0) and abs(divisor) < mpmath.mpf(10) ** -30:
        raise DomainError
    return args[0] / args[1] if op == "div" else args[0] ** expr.value


def values(exprs: Sequence[Expr]) -> list[list[mpmath.mpf]]:
    """The values of the expressions at each point where all of them are real."""
    names = sorted(symbols(*exprs))
    found = []
    with mpmath.workdps(DIGITS):
        for point in _POINTS if names else _POINTS[:1]:
            try:
                found.append([evaluate(e, dict(zip(names, point, strict=False))) for e in exprs])
            except DomainError:
                continue
    return found


def truth(left: Expr, right: Expr) -> bool | None:
    """Whether two expressions are equal as functions on the reals; None if numbers cannot tell."""
    found = values([left, right])
    if len(found) < (2 if symbols(left, right) else 1):
        return None
    gaps = [abs(a - b) / max(abs(a), abs(b), mpmath.mpf(10) ** -20) for a, b in found]
    if max(gaps) < mpmath.mpf(10) ** -35:
        return True
    return False if max(gaps) > mpmath.mpf(10) ** -25 else None


def rational(expr: Expr) -> Fraction | None:
    """The value of a number node, None for anything else."""
    return expr.value if expr.op == "num" else None
