"""Ball arithmetic: a decimal midpoint with a rigorous radius, and the usual functions.

Input: fractions and balls. Output: balls that contain the true value. `decimal` rounds +, -, *, /,
exp and ln correctly, so each operation adds at most one unit in the last place. Only methods of a
context are used: operators on Decimal would round to the caller's context.
"""

from __future__ import annotations

from decimal import (
    MAX_EMAX,
    MIN_EMIN,
    ROUND_CEILING,
    ROUND_FLOOR,
    ROUND_UP,
    Context,
    Decimal,
    DivisionByZero,
    InvalidOperation,
    Overflow,
)
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

_TRAPS = [InvalidOperation, DivisionByZero, Overflow]
_RADIUS = Context(prec=12, rounding=ROUND_UP, Emax=MAX_EMAX, Emin=MIN_EMIN, traps=_TRAPS)
# reducing a larger angle to one turn would lose more digits than are carried
_MAX_ANGLE = Decimal(10) ** 12


class DomainError(ArithmeticError):
    """A function is not real at this argument, or the ball is too wide to tell."""


class Ball(NamedTuple):
    """All reals within `rad` of `mid`."""

    mid: Decimal
    rad: Decimal


class Balls:
    """Ball arithmetic at one precision (significant decimal digits)."""

    def __init__(self, digits: int) -> None:
        self.digits = digits
        self.ctx = Context(prec=digits, Emax=MAX_EMAX, Emin=MIN_EMIN, traps=_TRAPS)
        self.eps = Decimal(10) ** (2 - digits)

    def ball(self, mid: Decimal, *radii: Decimal) -> Ball:
        total = _RADIUS.multiply(mid.copy_abs(), self.eps)
        for radius in radii:
            total = _RADIUS.add(total, radius)
        return Ball(mid, total)

    def exact(self, value: Fraction) -> Ball:
        mid = self.ctx.divide(
            self.ctx.create_decimal(value.numerator), self.ctx.create_decimal(value.denominator)
        )
        return self.ball(mid, _RADIUS.multiply(mid.copy_abs(), self.eps))

    def add(self, a: Ball, b: Ball) -> Ball:
        return self.ball(self.ctx.add(a.mid, b.mid), a.rad, b.rad)

    def neg(self, a: Ball) -> Ball:
        return Ball(a.mid.copy_negate(), a.rad)

    def mul(self, a: Ball, b: Ball) -> Ball:
        cross = _RADIUS.add(
            _RADIUS.multiply(a.mid.copy_abs(), b.rad), _RADIUS.multiply(b.mid.copy_abs(), a.rad)
        )
        return self.ball(self.ctx.multiply(a.mid, b.mid), cross, _RADIUS.multiply(a.rad, b.rad))

    def inverse(self, a: Ball) -> Ball:
        gap = self.ctx.subtract(a.mid.copy_abs(), a.rad)
        if gap <= 0:
            raise DomainError
        mid = self.ctx.divide(Decimal(1), a.mid)
        return self.ball(mid, _RADIUS.divide(_RADIUS.multiply(mid.copy_abs(), a.rad), gap))

    def exp(self, a: Ball) -> Ball:
        if a.rad > Decimal("0.5"):
            raise DomainError
        mid = self.ctx.exp(a.mid)
        return self.ball(mid, _RADIUS.multiply(mid, _RADIUS.multiply(a.rad, Decimal(2))))

    def ln(self, a: Ball) -> Ball:
        gap = self.ctx.subtract(a.mid, a.rad)
        if gap <= 0:
            raise DomainError
        return self.ball(self.ctx.ln(a.mid), _RADIUS.divide(a.rad, gap))

    def power(self, a: Ball, exponent: Fraction) -> Ball:
        """a ** exponent; odd roots of negative numbers are real."""
        if exponent == 0:
            return self.exact(Fraction(1))
        if exponent.denominator == 1 and 0 < exponent <= 64:
            result = a
            for bit in bin(int(exponent))[3:]:
                result = self.mul(result, result)
                result = self.mul(result, a) if bit == "1" else result
            return result
        if a.mid == 0 and a.rad == 0 and exponent > 0:
            return a
        if a.mid.copy_abs() <= a.rad or (a.mid < 0 and exponent.denominator % 2 == 0):
            raise DomainError
        size = self.exp(self.mul(self.ln(Ball(a.mid.copy_abs(), a.rad)), self.exact(exponent)))
        return self.neg(size) if a.mid < 0 and exponent.numerator % 2 else size

    def pi(self) -> Ball:
        return self.ball(self.ctx.plus(_pi(self.digits + 10)))

    def sine(self, a: Ball, quarter_turns: int = 0) -> Ball:
        """sin(a + quarter_turns * pi / 2) by its Taylor series after reduction to one turn."""
        if a.mid.copy_abs() > _MAX_ANGLE:
            raise DomainError
        wide = Context(prec=self.digits + 30, Emax=MAX_EMAX, Emin=MIN_EMIN, traps=_TRAPS)
        pi = _pi(self.digits + 60)
        x = wide.add(a.mid, wide.multiply(pi, Decimal(quarter_turns) / 2))
        full = wide.multiply(pi, Decimal(2))
        x = wide.subtract(
            x, wide.multiply(wide.divide(x, full).to_integral_value(context=wide), full)
        )
        tiny = Decimal(10) ** (-self.digits - 10)
        square, term, total, n = wide.multiply(x, x), x, x, 1
        while term.copy_abs() > tiny and n < 2_000:
            term = wide.divide(
                wide.multiply(term.copy_negate(), square), Decimal((n + 1) * (n + 2))
            )
            total = wide.add(total, term)
            n += 2
        return self.ball(self.ctx.plus(total), a.rad, self.eps)

    def arctan(self, a: Ball) -> Ball:
        wide = Context(prec=self.digits + 30, Emax=MAX_EMAX, Emin=MIN_EMIN, traps=_TRAPS)
        x = a.mid
        for _ in range(4):
            x = wide.divide(
                x, wide.add(Decimal(1), wide.sqrt(wide.add(Decimal(1), wide.multiply(x, x))))
            )
        tiny = Decimal(10) ** (-self.digits - 10)
        square, power, total, n = wide.multiply(x, x), x, x, 1
        while power.copy_abs() > tiny and n < 4_000:
            power = wide.multiply(power.copy_negate(), square)
            n += 2
            total = wide.add(total, wide.divide(power, Decimal(n)))
        return self.ball(self.ctx.multiply(total, Decimal(16)), a.rad, self.eps)

    def arcsin(self, a: Ball) -> Ball:
        if a.mid.copy_abs() == 1 and a.rad <= 2 * self.eps:
            return self.mul(self.pi(), self.exact(Fraction(int(a.mid), 2)))
        inside = self.add(self.exact(Fraction(1)), self.neg(self.mul(a, a)))
        return self.arctan(self.mul(a, self.power(inside, Fraction(-1, 2))))

    def inverse_hyperbolic(self, name: str, a: Ball) -> Ball:
        """By their logarithms (DLMF 4.37)."""
        one = self.exact(Fraction(1))
        if name == "arctanh":
            ratio = self.mul(self.add(one, a), self.inverse(self.add(one, self.neg(a))))
            return self.mul(self.ln(ratio), self.exact(Fraction(1, 2)))
        inside = self.add(self.mul(a, a), one if name == "arcsinh" else self.neg(one))
        return self.ln(self.add(a, self.power(inside, Fraction(1, 2))))

    def function(self, name: str, args: list[Ball]) -> Ball:
        """A named function of balls; raises DomainError for an unknown function."""
        a, one, half_pi = (
            args[0],
            self.exact(Fraction(1)),
            self.mul(self.pi(), self.exact(Fraction(1, 2))),
        )
        if name in ("sin", "cos"):
            return self.sine(a, 1 if name == "cos" else 0)
        if name in ("tan", "cot", "sec", "csc"):
            top = {"tan": self.sine(a), "cot": self.sine(a, 1)}.get(name, one)
            return self.mul(top, self.inverse(self.sine(a, 1 if name in ("tan", "sec") else 0)))
        if name in ("arcsin", "arccos"):
            value = self.arcsin(a)
            return value if name == "arcsin" else self.add(half_pi, self.neg(value))
        if name in ("arctan", "arccot"):
            value = self.arctan(a)
            return value if name == "arctan" else self.add(half_pi, self.neg(value))
        if name in ("sinh", "cosh", "tanh"):
            up, down = self.exp(a), self.exp(self.neg(a))
            odd, even = self.add(up, self.neg(down)), self.add(up, down)
            half = self.exact(Fraction(1, 2))
            return (
                self.mul(odd, self.inverse(even))
                if name == "tanh"
                else self.mul(odd if name == "sinh" else even, half)
            )
        if name in ("ln", "log", "log10"):
            base = (
                args[1] if len(args) == 2 else self.exact(Fraction(10)) if name == "log10" else None
            )
            return (
                self.mul(self.ln(a), self.inverse(self.ln(base)))
                if base is not None
                else self.ln(a)
            )
        if name in ("arcsinh", "arccosh", "arctanh"):
            return self.inverse_hyperbolic(name, a)
        if name in ("max", "min") and len(args) == 2:
            gap = self.add(a, self.neg(args[1]))
            if gap.mid.copy_abs() <= gap.rad:
                raise DomainError
            return a if (gap.mid > 0) == (name == "max") else args[1]
        if name == "exp":
            return self.exp(a)
        if name == "abs":
            return Ball(a.mid.copy_abs(), a.rad)
        if name in ("floor", "ceil"):
            whole = a.mid.to_integral_value(
                ROUND_FLOOR if name == "floor" else ROUND_CEILING, context=self.ctx
            )
            nearest = a.mid.to_integral_value(context=self.ctx)
            if self.ctx.subtract(a.mid, nearest).copy_abs() <= a.rad:
                raise DomainError
            return Ball(whole, Decimal(0))
        raise DomainError


@lru_cache(maxsize=8)
def _pi(digits: int) -> Decimal:
    """pi to `digits` digits by Machin's formula in integers."""
    scale = 10 ** (digits + 10)

    def arctan_inverse(n: int) -> int:
        total = term = scale // n
        k, sign = 3, -1
        while term:
            term //= n * n
            total += sign * (term // k)
            k, sign = k + 2, -sign
        return total

    value = 4 * (4 * arctan_inverse(5) - arctan_inverse(239))
    context = Context(prec=digits, Emax=MAX_EMAX, Emin=MIN_EMIN)
    return context.divide(context.create_decimal(value), context.create_decimal(scale))
