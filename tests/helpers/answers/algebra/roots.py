"""Rewritings of roots, sines, logarithms, exponentials and absolute values, valid on the reals."""

from __future__ import annotations

from fractions import Fraction
from random import Random

from tests.helpers.answers.algebra.grow import chance
from tests.helpers.answers.algebra.nodes import ONE, E, Expr, fn, num, product, root, sym, total


def _square_factor(n: int) -> tuple[int, int]:
    """(k, m) with n = k^2 m and k as large as can be."""
    k = next(k for k in range(n, 0, -1) if k * k <= n and n % (k * k) == 0)
    return k, n // (k * k)


def square_out(rng: Random, e: Expr) -> Expr | None:
    """sqrt(k^2 m) = k sqrt(m) for a number k > 0."""
    if e.op != "root":
        return None
    factors = list(e.args[0].args) if e.args[0].op == "mul" else [e.args[0]]
    number = factors[0].value if factors[0].op == "num" else Fraction(0)
    if number <= 0 or number.denominator != 1 or number > 5000:
        return None
    k, m = _square_factor(int(number))
    inner = product(num(m), *factors[1:])
    return None if k == 1 else num(k) if inner == ONE else product(num(k), root(inner))


def square_in(rng: Random, e: Expr) -> Expr | None:
    """k sqrt(m) = sqrt(k^2 m) for a number k > 0."""
    if (
        e.op != "mul"
        or e.args[0].op != "num"
        or e.args[0].value <= 0
        or e.args[0].value.denominator > 1
    ):
        return None
    at = next((i for i, a in enumerate(e.args) if a.op == "root"), None)
    if at is None or e.args[0].value > 30:
        return None
    inner = e.args[at].args[0]
    square = e.args[0].value ** 2
    merged = num(square * inner.value) if inner.op == "num" else product(num(square), inner)
    return product(*(root(merged) if i == at else a for i, a in enumerate(e.args) if i))


def split_root(rng: Random, e: Expr) -> Expr | None:
    """sqrt(a b) = sqrt(a) sqrt(b), sqrt(a / b) = sqrt(a) / sqrt(b), sqrt(2 x) = sqrt(2) sqrt(x)."""
    if e.op != "root":
        return None
    inner = e.args[0]
    if inner.op == "mul" and inner.args[0].op == "num" and inner.args[0].value > 0:
        return product(root(inner.args[0]), root(product(*inner.args[1:])))
    if inner.op == "num" and inner.value > 0:
        if inner.value.denominator > 1:
            return root(num(inner.value.numerator)) / root(num(inner.value.denominator))
        p = next((p for p in (2, 3, 5, 7) if inner.value % p == 0 and inner.value > p), None)
        return product(root(num(p)), root(num(inner.value / p))) if p else None
    return None


def rationalise(rng: Random, e: Expr) -> Expr | None:
    """a / sqrt(b) = a sqrt(b) / b, and a / (p + q sqrt(r)) by its conjugate."""
    if e.op != "div":
        return None
    top, bottom = e.args
    if bottom.op == "root":
        return product(top, bottom) / bottom.args[0]
    if bottom.op != "add" or len(bottom.args) != 2 or bottom.args[0].op != "num":
        return None
    p, rest = bottom.args
    factors = list(rest.args) if rest.op == "mul" else [rest]
    if (
        factors[-1].op != "root"
        or factors[-1].args[0].op != "num"
        or any(f.op != "num" for f in factors[:-1])
    ):
        return None
    if len(factors) > 2:
        return None
    q = factors[0].value if factors[0].op == "num" else Fraction(1)
    norm = p.value**2 - q**2 * factors[-1].args[0].value
    return product(top, p - rest) / num(norm) if norm else None


def unrationalise(rng: Random, e: Expr) -> Expr | None:
    """sqrt(b) = b / sqrt(b) for a positive number b."""
    if e.op == "root" and e.args[0].op == "num" and e.args[0].value > 0:
        return e.args[0] / e
    return None


def pythagoras(rng: Random, e: Expr) -> Expr | None:
    """sin^2 + cos^2 = 1, forwards, backwards and as a factor."""
    if (
        e.op == "pow"
        and e.value == 2
        and e.args[0].op == "fn"
        and e.args[0].value in ("sin", "cos")
    ):
        other = fn("cos" if e.args[0].value == "sin" else "sin", e.args[0].args[0])
        return num(1) - other**2
    x = sym(rng.choice("xy"))
    one = fn("sin", x) ** 2 + fn("cos", x) ** 2
    if e.op == "num" and e.value == 1 and not e.dress:
        return one
    return product(e, one) if e.op == "fn" and chance(rng, 3) else None


def double_angle(rng: Random, e: Expr) -> Expr | None:
    """sin 2x = 2 sin x cos x; cos 2x in three ways; tan = sin / cos."""
    if e.op != "fn" or e.value not in ("sin", "cos", "tan"):
        return None
    x = e.args[0]
    if e.value == "tan":
        return fn("sin", x) / fn("cos", x)
    inner = x.args
    if x.op == "mul" and inner[0].op == "num" and inner[0].value % 2 == 0:
        half = product(num(inner[0].value / 2), *inner[1:])
    else:
        half = x / num(2)
    if e.value == "sin":
        return product(num(2), fn("sin", half), fn("cos", half))
    way = rng.randrange(3)
    if way == 1:
        return num(1) - product(num(2), fn("sin", half) ** 2)
    if way == 2:
        return fn("cos", half) ** 2 - fn("sin", half) ** 2
    return product(num(2), fn("cos", half) ** 2) - num(1)


def odd_and_even(rng: Random, e: Expr) -> Expr | None:
    """sin(-x) = -sin x, cos(-x) = cos x, |-x| = |x|."""
    if e.op != "fn" or e.value not in ("sin", "cos", "tan", "abs"):
        return None
    x = e.args[0]
    turned = total(*(-a for a in x.args)) if x.op == "add" else -x
    return fn(e.value, turned) if e.value in ("cos", "abs") else -fn(e.value, turned)


def logarithms(rng: Random, e: Expr) -> Expr | None:
    """ln(a b) = ln a + ln b, ln(a^n) = n ln a, ln(1 / a) = -ln a, all for positive numbers."""
    if e.op != "fn" or e.value != "ln" or e.args[0].op != "num" or e.args[0].value <= 0:
        return None
    value = e.args[0].value
    if value.denominator > 1:
        return fn("ln", num(value.numerator)) - fn("ln", num(value.denominator))
    n = int(value)
    for p in (2, 3, 5, 7):
        if n % p == 0 and n > p:
            if p * p == n:
                return product(num(2), fn("ln", num(p)))
            return fn("ln", num(p)) + fn("ln", num(n // p))
    return -fn("ln", num(Fraction(1, n))) if n > 1 else None


def scale_logarithm(rng: Random, e: Expr) -> Expr | None:
    """k ln a = ln(a^k) for a positive number a."""
    if (
        e.op != "mul"
        or len(e.args) != 2
        or e.args[0].op != "num"
        or e.args[0].value not in (2, 3, -1)
    ):
        return None
    arg = e.args[1]
    if arg.op != "fn" or arg.value != "ln" or arg.args[0].op != "num" or arg.args[0].value <= 0:
        return None
    return fn("ln", num(arg.args[0].value ** int(e.args[0].value)))


def exponentials(rng: Random, e: Expr) -> Expr | None:
    """e^(a + b) = e^a e^b, e^(k a) = (e^a)^k, e^(-a) = 1 / e^a."""
    if e.op != "fn" or e.value != "exp":
        return None
    x = e.args[0]
    if x.op == "add":
        return product(*(fn("exp", a) for a in x.args))
    if x.op == "mul" and x.args[0].op == "num" and x.args[0].value in (2, 3, 4):
        return fn("exp", product(*x.args[1:])) ** int(x.args[0].value)
    if x.op == "num" and x.value.denominator == 1 and 0 < x.value < 6:
        return E ** int(x.value)
    return ONE / fn("exp", -x)


def absolute_values(rng: Random, e: Expr) -> Expr | None:
    """|x| = sqrt(x^2), |a b| = |a| |b|, |k a| = |k| |a|."""
    if e.op != "fn" or e.value != "abs":
        return None
    x = e.args[0]
    if x.op == "mul":
        return product(*(num(abs(a.value)) if a.op == "num" else fn("abs", a) for a in x.args))
    return root(x**2)


ROOT_RULES = (
    square_out, square_in, split_root, rationalise, unrationalise,
    pythagoras, double_angle, odd_and_even, logarithms,
    scale_logarithm, exponentials, absolute_values,
)  # fmt: skip
