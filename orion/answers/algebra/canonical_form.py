"""Exact canonical form of an expression: a quotient of polynomials in symbols, roots and atoms.

Input: a `Node`. Output: a `Ratio`, equal for equal rational functions. If `exact` still holds, two
different forms are proven to be different functions: monomials in distinct symbols, in fractional
powers of primes (Besicovitch 1940) and in one transcendental constant are linearly independent over
the rationals. All work is counted against a budget.
"""

from __future__ import annotations

from fractions import Fraction
from math import comb, factorial, gcd

from orion.answers.algebra.angles import cosine, half_turns, sine
from orion.answers.algebra.polynomials import (
    IMAGINARY,
    MAX_EXPANSION,
    ONE,
    Algebra,
    Poly,
    Ratio,
    power_of_fraction,
)
from orion.answers.parsing.tree import MAX_BITS, Node, ParseError, TooCostlyError, print_tree

_I_PI = ((IMAGINARY, Fraction(1)), ("@pi", Fraction(1)))


def _factorise(number: int) -> tuple[dict[int, int], bool]:
    """Factors of a positive integer by trial division, and whether all are proven prime."""
    found: dict[int, int] = {}
    divisor = 2
    while divisor * divisor <= number and divisor < 10_000:
        while number % divisor == 0:
            found[divisor] = found.get(divisor, 0) + 1
            number //= divisor
        divisor += 1 if divisor == 2 else 2
    if number > 1:
        found[number] = found.get(number, 0) + 1
    return found, number < 100_000_000


class CanonicalForm(Algebra):
    """The canonical form of expression trees."""

    # expressions

    def to_ratio(self, node: Node) -> Ratio:
        """The canonical quotient of an expression; raises ParseError if it has none."""
        self.spend(1)
        kind, args = node.kind, node.args
        if kind == "num":
            return ({(): node.value} if node.value else {}), ONE
        if kind == "sym":
            return self.atom(f"s{node.value}")
        if kind == "const":
            return self.constant(node.value)
        if kind == "add":
            total: Ratio = {}, ONE
            for arg in args:
                total = self.sum(total, self.to_ratio(arg))
            return total
        if kind == "mul":
            total = ONE, ONE
            for arg in args:
                total = self.product(total, self.to_ratio(arg))
            return total
        if kind == "pow":
            return self.power(self.to_ratio(args[0]), self.to_ratio(args[1]), args[0])
        if kind in ("fact", "binom"):
            return self.count_exactly(
                kind, [self.as_rational(self.to_ratio(a)) for a in args], node
            )
        if kind == "pct":
            return self.product(self.to_ratio(args[0]), ({(): Fraction(1, 100)}, ONE))
        if kind == "deg":
            return self.product(
                self.to_ratio(args[0]), ({(("@pi", Fraction(1)),): Fraction(1, 180)}, ONE)
            )
        if kind == "fn":
            return self.function(node.value, [self.to_ratio(a) for a in args])
        if kind in ("sum", "prod", "int"):
            return self.opaque(print_tree(node))
        raise ParseError(f"no algebra for a {kind}")

    def constant(self, name: str) -> Ratio:
        if name == "i":
            return self.atom(IMAGINARY)
        if name in ("pi", "e"):
            return self.atom(f"@{name}")
        raise ParseError(f"no algebra for {name}")

    @staticmethod
    def as_rational(ratio: Ratio) -> Fraction | None:
        """The quotient as a rational number, None if it is not one."""
        top, bottom = ratio
        if bottom != ONE or (top and set(top) != {()}):
            return None
        return top.get((), Fraction(0))

    def count_exactly(self, kind: str, values: list[Fraction | None], node: Node) -> Ratio:
        known = [v for v in values if v is not None]
        if len(known) != len(values):
            return self.opaque(f"{kind}({','.join(self.key(self.to_ratio(a)) for a in node.args)})")
        if any(v.denominator != 1 or v < 0 for v in known):
            raise ParseError("a factorial of no natural number")
        n = int(known[0])
        chosen = min(int(known[1]), max(0, n - int(known[1]))) if kind == "binom" else n
        if n > 5_000 and (kind == "fact" or chosen * n.bit_length() > MAX_BITS):
            raise TooCostlyError("number too large")
        result = factorial(n) if kind == "fact" else comb(n, min(int(known[1]), n + 1))
        return ({(): Fraction(result)} if result else {}), ONE

    def power(self, base: Ratio, exponent: Ratio, node: Node) -> Ratio:
        value = self.as_rational(exponent)
        if value is None:
            return self.symbolic_power(base, exponent)
        if value == 0:
            return ONE, ONE
        top, bottom = base
        if value < 0:
            if not top:
                raise ParseError("division by zero")
            base = top, bottom = self.quotient(bottom, top)
            value = -value
        number = self.as_rational(base)
        if number is not None:
            return self.numeric_power(number, value)
        if bottom == ONE and len(top) == 1:
            return self.monomial_power(top, value)
        if value.denominator == 1 and value <= MAX_EXPANSION:
            return self.quotient(self.raise_to(top, int(value)), self.raise_to(bottom, int(value)))
        return self.compound_power(base, value)

    def compound_power(self, base: Ratio, value: Fraction) -> Ratio:
        """A sum raised to a power that is not multiplied out: it becomes an atom."""
        self.exact = False
        name = f"[{self.key(base)}]"
        if base[1] == ONE:
            self.compounds[name] = base[0]
        return {((name, value),): Fraction(1)}, ONE

    def monomial_power(self, top: Poly, value: Fraction) -> Ratio:
        ((monomial, factor),) = top.items()
        if value.denominator == 1:
            if value.numerator > MAX_BITS:
                raise TooCostlyError("number too large")
            poly = self.make_monomial({a: e * value for a, e in monomial})
            scale = power_of_fraction(factor, int(value))
            return {m: v * scale for m, v in poly.items()}, ONE
        known_positive = all(atom[0] == "#" or atom in ("@pi", "@e") for atom, _ in monomial)
        single = len(monomial) == 1 and monomial[0][1] == 1 and monomial[0][0][0] == "s"
        if factor > 0 and (known_positive or single):
            poly = self.make_monomial({a: e * value for a, e in monomial})
            return self.product((poly, ONE), self.numeric_power(factor, value))
        if factor > 0 and factor != 1:
            rest = self.monomial_power({monomial: Fraction(1)}, value)
            return self.product(rest, self.numeric_power(factor, value))
        return self.compound_power((top, ONE), value)

    def numeric_power(self, base: Fraction, value: Fraction) -> Ratio:
        """base ** value for a rational base and a value > 0, in fractional powers of primes."""
        if value.denominator == 1:
            result = power_of_fraction(base, int(value))
            return ({(): result} if result else {}), ONE
        if base == 0:
            return {}, ONE
        sign: Ratio = ONE, ONE
        if base < 0:
            if value.denominator == 2:
                sign = self.make_monomial({IMAGINARY: Fraction(value.numerator)}), ONE
            elif value.denominator % 2:
                sign = {(): Fraction(-1 if value.numerator % 2 else 1)}, ONE
            else:
                raise ParseError("an even root of a negative number")
        if (
            max(abs(base.numerator), base.denominator).bit_length() > 256
            or value.numerator > 1000
            or value.denominator > 1000
        ):
            raise TooCostlyError("number too large")
        exponents: dict[str, Fraction] = {}
        for number, direction in ((abs(base.numerator), 1), (base.denominator, -1)):
            factors, proven = _factorise(number)
            self.spend(200 if number > 10_000 else 10)
            self.exact = self.exact and proven
            for prime, count in factors.items():
                exponents[f"#{prime}"] = (
                    exponents.get(f"#{prime}", Fraction(0)) + direction * count * value
                )
        return self.product((self.make_monomial(exponents), ONE), sign)

    def symbolic_power(self, base: Ratio, exponent: Ratio) -> Ratio:
        """base ** (a + b) as base**a * base**b; each term is an atom to a rational power."""
        name = self.key(base)
        if name == "1*@e^1" and exponent[1] == ONE and len(exponent[0]) == 1:
            ((monomial, factor),) = exponent[0].items()
            real, imaginary = cosine(factor), sine(factor)
            if monomial == _I_PI and real is not None and imaginary is not None:
                # Euler's formula
                turned = self.multiply(imaginary, {((IMAGINARY, Fraction(1)),): Fraction(1)})
                return self.add(real, turned), ONE
        number = self.as_rational(base)
        positive = (number is not None and number > 0) or name == "1*@e^1"
        if exponent[1] != ONE or not positive:
            return self.opaque(f"({name})^({self.key(exponent)})")
        total: Ratio = ONE, ONE
        for monomial, factor in exponent[0].items():
            if not monomial:
                constant: Poly = {(): abs(factor)}
                part: Ratio = self.constant("e")
                if number is not None:
                    part = {(): number}, ONE
                part = self.power(part, (constant, ONE), Node("num", (), Fraction(0)))
                total = self.product(total, part if factor > 0 else self.quotient(part[1], part[0]))
                continue
            atom = f"({name})^({self.key(({monomial: Fraction(1)}, ONE))})"
            self.exact = False
            total = self.product(total, ({((atom, factor),): Fraction(1)}, ONE))
        return total

    def function(self, name: str, args: list[Ratio]) -> Ratio:
        values = [self.as_rational(a) for a in args]
        known = [v for v in values if v is not None]
        if len(known) == len(values):
            result = self.known_value(name, known)
            if result is not None:
                return ({(): result} if result else {}), ONE
        if name in ("sin", "cos", "tan") and (turns := half_turns(args[0])) is not None:
            top, bottom = (
                (cosine if name == "cos" else sine)(turns),
                cosine(turns) if name == "tan" else ONE,
            )
            if top is not None and bottom is not None:
                return self.quotient(top, bottom)
        if name == "exp":
            return self.power(self.constant("e"), args[0], Node("const", (), "e"))
        if name == "log10":
            return self.function("log", [args[0], ({(): Fraction(10)}, ONE)])
        if name == "log" and len(args) == 2:
            return self.product(
                self.function("ln", args[:1]),
                self.quotient(*reversed(self.function("ln", args[1:]))),
            )
        if name == "log":
            name = "ln"
        if name == "ln":
            return self.logarithm(args[0], values[0])
        return self.opaque(f"{name}({','.join(self.key(a) for a in args)})")

    def logarithm(self, arg: Ratio, value: Fraction | None) -> Ratio:
        """ln of a positive rational as a sum of logarithms of primes; of anything else an atom."""
        if self.key(arg) == "1*@e^1":
            return ONE, ONE
        if (
            value is None
            or value <= 0
            or max(value.numerator, value.denominator).bit_length() > 256
        ):
            if value is not None and value <= 0:
                raise ParseError("the logarithm of no positive number")
            return self.opaque(f"ln({self.key(arg)})")
        total: Ratio = {}, ONE
        for number, direction in ((value.numerator, 1), (value.denominator, -1)):
            for prime, count in _factorise(number)[0].items():
                self.exact = False
                total = self.sum(
                    total, ({((f"ln#{prime}", Fraction(1)),): Fraction(direction * count)}, ONE)
                )
        return total

    @staticmethod
    def known_value(name: str, values: list[Fraction]) -> Fraction | None:
        """The value of a function of rational numbers, None if it is not rational."""
        first = values[0]
        whole = all(v.denominator == 1 for v in values)
        if name == "abs":
            return abs(first)
        if name in ("floor", "ceil"):
            return Fraction(
                first.numerator // first.denominator
                if name == "floor"
                else -(-first.numerator // first.denominator)
            )
        if name in ("min", "max"):
            return min(values) if name == "min" else max(values)
        if name in ("gcd", "lcm") and whole:
            total = int(first)
            for v in values[1:]:
                common = gcd(total, int(v))
                total = common if name == "gcd" else total * int(v) // (common or 1)
            return Fraction(abs(total))
        if first == 0 and name in ("sin", "tan", "arcsin", "arctan", "sinh", "tanh"):
            return Fraction(0)
        if first == 0 and name in ("cos", "sec", "cosh"):
            return Fraction(1)
        return None


def decide_equality(left: Node, right: Node) -> bool | None:
    """Whether two expressions are equal (True), proven different (False), or undecided (None)."""
    canon = CanonicalForm()
    a, b = canon.to_ratio(left), canon.to_ratio(right)
    if a == b or not canon.add(
        canon.multiply(a[0], b[1]), {m: -v for m, v in canon.multiply(b[0], a[1]).items()}
    ):
        return True
    present = {atom for poly in (*a, *b) for monomial in poly for atom, _ in monomial}
    return False if canon.exact and not {"@pi", "@e"} <= present else None


def rational_factor(left: Node, right: Node) -> Fraction | None:
    """The rational factor with left = factor * right, None if there is none."""
    canon = CanonicalForm()
    a, b = canon.to_ratio(left), canon.to_ratio(right)
    if a[1] != b[1]:
        a = canon.multiply(a[0], b[1]), ONE
        b = canon.multiply(b[0], canon.to_ratio(left)[1]), ONE
    if not a[0] or not b[0] or set(a[0]) != set(b[0]):
        return None
    factors = {a[0][m] / b[0][m] for m in a[0]}
    return factors.pop() if len(factors) == 1 else None
