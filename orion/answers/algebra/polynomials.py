"""Polynomials with exact coefficients, and quotients of them, under a budget of work.

Input and output: dictionaries from monomial to Fraction. A monomial is a sorted tuple of
(atom, exponent). An atom is a text: "s..." a symbol, "#p" the prime p (with an exponent below 1),
"@pi", "@e", "@i"; "~..." is an opaque expression.
"""

from __future__ import annotations

from fractions import Fraction

from orion.answers.parsing.tree import MAX_BITS, ParseError, TooCostlyError

MAX_TERMS = 600
MAX_WORK = 30_000
MAX_EXPANSION = 40

Monomial = tuple[tuple[str, Fraction], ...]
Poly = dict[Monomial, Fraction]
Ratio = tuple[Poly, Poly]

ONE: Poly = {(): Fraction(1)}
IMAGINARY = "@i"


def power_of_fraction(base: Fraction, exponent: int) -> Fraction:
    """base ** exponent; raises ParseError beyond MAX_BITS bits."""
    size = max(base.numerator.bit_length(), base.denominator.bit_length())
    if base not in (0, 1, -1) and size * abs(exponent) > MAX_BITS:
        raise TooCostlyError("number too large")
    if base == 0 and exponent < 0:
        raise ParseError("division by zero")
    if abs(base) == 1:
        return base if exponent % 2 else Fraction(1)
    return base**exponent


class Algebra:
    """One computation: its budget, its compound atoms, and whether a difference is a proof."""

    def __init__(self) -> None:
        self.work = 0
        self.exact = True
        self.compounds: dict[str, Poly] = {}

    # polynomials

    def spend(self, amount: int) -> None:
        self.work += amount
        if self.work > MAX_WORK:
            raise TooCostlyError("too much algebra")

    def add(self, a: Poly, b: Poly) -> Poly:
        self.spend(len(a) + len(b))
        total = dict(a)
        for monomial, value in b.items():
            new = total.get(monomial, 0) + value
            if new:
                total[monomial] = new
            else:
                total.pop(monomial, None)
        if len(total) > MAX_TERMS:
            raise TooCostlyError("too much algebra")
        return total

    def multiply(self, a: Poly, b: Poly) -> Poly:
        self.spend(len(a) * len(b) * 3)
        if a is ONE or b is ONE:
            # most denominators; no polynomial is changed in place, so the other one can be shared
            return b if a is ONE else a
        total: Poly = {}
        for left, x in a.items():
            for right, y in b.items():
                value = x * y
                if (
                    value.numerator.bit_length() > MAX_BITS
                    or value.denominator.bit_length() > MAX_BITS
                ):
                    raise TooCostlyError("number too large")
                for monomial, factor in self.multiply_monomials(left, right).items():
                    new = total.get(monomial, 0) + value * factor
                    if new:
                        total[monomial] = new
                    else:
                        total.pop(monomial, None)
        if len(total) > MAX_TERMS:
            raise TooCostlyError("too much algebra")
        return total

    def multiply_monomials(self, left: Monomial, right: Monomial) -> Poly:
        """The product of two monomials; whole powers of primes and of i are evaluated."""
        if not left or not right:
            return {left or right: Fraction(1)}
        exponents = dict(left)
        for atom, exponent in right:
            exponents[atom] = exponents.get(atom, 0) + exponent
        return self.make_monomial(exponents)

    def make_monomial(self, exponents: dict[str, Fraction]) -> Poly:
        value, kept, extra = Fraction(1), [], []
        for atom, exponent in exponents.items():
            if atom == IMAGINARY:
                turns = int(exponent) % 4
                value *= -1 if turns >= 2 else 1
                exponent = Fraction(turns % 2)
            elif atom[0] == "#":
                whole = exponent.numerator // exponent.denominator
                value *= power_of_fraction(Fraction(int(atom[1:])), whole)
                exponent -= whole
            elif atom in self.compounds and exponent >= 1 and exponent.denominator != 1:
                whole = exponent.numerator // exponent.denominator
                extra.append((self.compounds[atom], whole))
                exponent -= whole
            elif (
                atom in self.compounds
                and exponent.denominator == 1
                and 1 <= exponent <= MAX_EXPANSION
            ):
                extra.append((self.compounds[atom], int(exponent)))
                continue
            if exponent:
                kept.append((atom, exponent))
        result: Poly = {tuple(sorted(kept)): value}
        for poly, count in extra:
            result = self.multiply(result, self.raise_to(poly, count))
        return result

    def raise_to(self, poly: Poly, count: int) -> Poly:
        result = ONE
        for _ in range(count):
            result = self.multiply(result, poly)
        return result

    # quotients

    def quotient(self, top: Poly, bottom: Poly) -> Ratio:
        if not bottom:
            raise ParseError("division by zero")
        if len(bottom) == 1 and bottom != ONE:
            ((monomial, value),) = bottom.items()
            flipped = self.make_monomial({atom: -exponent for atom, exponent in monomial})
            return self.multiply(top, {m: v / value for m, v in flipped.items()}), ONE
        return top, bottom

    def sum(self, a: Ratio, b: Ratio) -> Ratio:
        if a[1] == b[1]:
            return self.add(a[0], b[0]), a[1]
        return self.quotient(
            self.add(self.multiply(a[0], b[1]), self.multiply(b[0], a[1])),
            self.multiply(a[1], b[1]),
        )

    def product(self, a: Ratio, b: Ratio) -> Ratio:
        if a[0] == b[1]:
            return b[0], a[1]
        if a[1] == b[0]:
            return a[0], b[1]
        return self.quotient(self.multiply(a[0], b[0]), self.multiply(a[1], b[1]))

    def key(self, ratio: Ratio) -> str:
        def spell(poly: Poly) -> str:
            return "+".join(
                f"{v}" + "".join(f"*{a}^{e}" for a, e in m) for m, v in sorted(poly.items())
            )

        for poly in ratio:
            self.spend(sum(len(m) + 1 for m in poly))
            if any(
                v.numerator.bit_length() > 8_000 or v.denominator.bit_length() > 8_000
                for v in poly.values()
            ):
                raise TooCostlyError("number too large")
        return spell(ratio[0]) if ratio[1] == ONE else f"({spell(ratio[0])})/({spell(ratio[1])})"

    def atom(self, name: str) -> Ratio:
        return {((name, Fraction(1)),): Fraction(1)}, ONE

    def opaque(self, name: str) -> Ratio:
        self.exact = False
        return self.atom(f"~{name}")
