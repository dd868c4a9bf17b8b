"""Rewritings that keep the value: functions of one node that return None if they do not apply."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from math import comb, factorial
from random import Random

from tests.helpers.answers.algebra.grow import chance
from tests.helpers.answers.algebra.nodes import (
    ONE,
    Expr,
    num,
    places,
    product,
    put,
    rational,
    sym,
    total,
)
from tests.helpers.answers.algebra.roots import ROOT_RULES

Rule = Callable[[Random, Expr], Expr | None]


def _split_args(rng: Random, expr: Expr) -> tuple[list[Expr], list[Expr]]:
    at = rng.randint(1, len(expr.args) - 1)
    return list(expr.args[:at]), list(expr.args[at:])


def commute(rng: Random, e: Expr) -> Expr | None:
    """a + b = b + a."""
    if e.op not in ("add", "mul"):
        return None
    args = list(e.args)
    rng.shuffle(args)
    return Expr(e.op, tuple(args))


def reassociate(rng: Random, e: Expr) -> Expr | None:
    """a + b + c = a + (b + c), and back."""
    if e.op not in ("add", "mul"):
        return None
    if any(a.op == e.op for a in e.args):
        return Expr(e.op, tuple(x for a in e.args for x in (a.args if a.op == e.op else (a,))))
    if len(e.args) < 3:
        return None
    left, right = _split_args(rng, e)
    join = total if e.op == "add" else product
    return join(join(*left), join(*right))


def distribute(rng: Random, e: Expr) -> Expr | None:
    """a (b + c) = a b + a c."""
    if e.op == "neg" and e.args[0].op == "add":
        return total(*(-a for a in e.args[0].args))
    sums = [a for a in e.args if a.op == "add"] if e.op == "mul" else []
    if not sums:
        return None
    chosen = rng.choice(sums)
    rest = list(e.args)
    rest.remove(chosen)
    return total(*(product(*rest, t) for t in chosen.args))


def factor_out(rng: Random, e: Expr) -> Expr | None:
    """a b + a c = a (b + c), or a number out of every term."""
    if e.op != "add":
        return None
    factors = [list(a.args) if a.op == "mul" else [a] for a in e.args]
    shared = [f for f in factors[0] if all(f in fs for fs in factors)]
    if shared:
        common = rng.choice(shared)
        for fs in factors:
            fs.remove(common)
        return product(common, total(*(product(*fs) for fs in factors)))
    leading = [fs[0].value if fs[0].op == "num" else Fraction(1) for fs in factors]
    common_number = num(
        rng.choice([leading[0], Fraction(1, 2), Fraction(2), Fraction(-1), Fraction(3)]) or 1
    )
    inner = []
    for value, fs in zip(leading, factors, strict=True):
        rest = fs[1:] if fs[0].op == "num" else fs
        inner.append(product(num(value / common_number.value), *rest))
    return product(common_number, total(*inner)) if common_number != ONE else None


def expand_power(rng: Random, e: Expr) -> Expr | None:
    """(a + b)^2 and (a + b)^3 by the binomial theorem."""
    if e.op != "pow" or e.value not in (2, 3) or e.args[0].op != "add":
        return None
    first, *others = e.args[0].args
    a, b, n = first, total(*others), e.value
    terms = []
    for k in range(n + 1):
        parts = [p**x for p, x in ((a, n - k), (b, k)) if x]
        terms.append(product(num(comb(n, k)), *parts))
    return total(*terms)


def multiply_fraction(rng: Random, e: Expr) -> Expr | None:
    """a / b = a k / (b k)."""
    if e.op == "num" and e.value.denominator > 1:
        k = rng.randint(2, 5)
        return num(e.value.numerator * k) / num(e.value.denominator * k)
    if e.op != "div":
        return None
    k = rng.choice((num(2), num(-1), num(3), sym("x"), sym("x") ** 2 + num(1), sym("y") - num(2)))
    return product(k, e.args[0]) / product(k, e.args[1])


def split_fraction(rng: Random, e: Expr) -> Expr | None:
    """(a + b) / c = a / c + b / c."""
    if e.op != "div" or e.args[0].op != "add":
        return None
    return total(*(t / e.args[1] for t in e.args[0].args))


def join_fractions(rng: Random, e: Expr) -> Expr | None:
    """a / c + b / d over one line."""
    if e.op != "add":
        return None

    def parts(t: Expr) -> tuple[Expr, Expr]:
        if t.op == "div":
            return t.args[0], t.args[1]
        if t.op == "num" and t.value.denominator > 1:
            return num(t.value.numerator), num(t.value.denominator)
        return t, ONE

    split = [parts(t) for t in e.args]
    if all(bottom == ONE for _, bottom in split) or len(split) > 3:
        return None
    tops = [
        product(top, *(b for j, (_, b) in enumerate(split) if j != i))
        for i, (top, _) in enumerate(split)
    ]
    return total(*tops) / product(*(b for _, b in split))


def turn_difference(rng: Random, e: Expr) -> Expr | None:
    """a - b = -(b - a)."""
    if e.op == "add":
        return Expr("neg", (total(*(-a for a in reversed(e.args))),))
    return None


def double_negation(rng: Random, e: Expr) -> Expr | None:
    """a = -(-a)."""
    if e.op == "neg" and e.args[0].op == "neg":
        return e.args[0].args[0]
    return Expr("neg", (Expr("neg", (e,)),)) if e.op in ("num", "sym", "add", "mul", "fn") else None


def split_power(rng: Random, e: Expr) -> Expr | None:
    """x^(a + b) = x^a x^b."""
    if e.op != "pow" or e.value < 2:
        return None
    part = rng.randint(1, e.value - 1)
    return product(e.args[0] ** part, e.args[0] ** (e.value - part))


def join_powers(rng: Random, e: Expr) -> Expr | None:
    """x^a x^b = x^(a + b)."""
    if e.op != "mul":
        return None
    powers = [(a.args[0], a.value) if a.op == "pow" else (a, 1) for a in e.args]
    for i, (base, x) in enumerate(powers):
        for j in range(i + 1, len(powers)):
            if powers[j][0] == base and x + powers[j][1] != 0:
                rest = [a for k, a in enumerate(e.args) if k not in (i, j)]
                return product(base ** (x + powers[j][1]), *rest)
    return None


def spread_power(rng: Random, e: Expr) -> Expr | None:
    """(a b)^n = a^n b^n, and the same for quotients."""
    if e.op != "pow" or e.args[0].op not in ("mul", "div"):
        return None
    raised = tuple(a**e.value for a in e.args[0].args)
    return product(*raised) if e.args[0].op == "mul" else raised[0] / raised[1]


def reciprocal(rng: Random, e: Expr) -> Expr | None:
    """a / b = a b^(-1) = (1 / b) a, and x^n = 1 / x^(-n)."""
    if e.op == "pow" and e.value < 0:
        return ONE / e.args[0] ** (-e.value)
    if e.op != "div":
        return None
    top, bottom = e.args
    if chance(rng, 2) and bottom.op not in ("pow", "fn"):
        return product(top, Expr("pow", (bottom,), -1))
    return product(ONE / bottom, top)


def difference_of_squares(rng: Random, e: Expr) -> Expr | None:
    """a^2 - b^2 = (a - b)(a + b), and back."""
    if (
        e.op == "mul"
        and len(e.args) == 2
        and all(a.op == "add" and len(a.args) == 2 for a in e.args)
    ):
        (a, b), (c, d) = e.args[0].args, e.args[1].args
        return a**2 - b**2 if a == c and d == -b else None
    if e.op != "add" or len(e.args) != 2 or e.args[0].op != "pow" or e.args[0].value != 2:
        return None
    value = rational(e.args[1])
    if (
        value is None
        or value >= 0
        or value.denominator > 1
        or round((-value.numerator) ** 0.5) ** 2 != -value
    ):
        return None
    a, b = e.args[0].args[0], num(round((-value.numerator) ** 0.5))
    return product(a - b, a + b)


def add_and_subtract(rng: Random, e: Expr) -> Expr | None:
    """a = a + t - t."""
    t = rng.choice((num(1), sym("x"), num(Fraction(1, 2))))
    return total(e, t, -t) if e.op in ("add", "mul", "sym") else None


def evaluate_counts(rng: Random, e: Expr) -> Expr | None:
    """n! and binomial coefficients as numbers, n! = n (n - 1)!, C(n, k) = C(n, n - k)."""
    if e.op == "fact":
        n = int(e.args[0].value)
        if chance(rng, 2) and n > 1:
            return product(num(n), Expr("fact", (num(n - 1),)))
        return num(factorial(n))
    if e.op == "binom":
        n, k = (int(a.value) for a in e.args)
        return Expr("binom", (num(n), num(n - k))) if chance(rng, 2) else num(comb(n, k))
    return None


def fold(rng: Random, e: Expr) -> Expr | None:
    """Arithmetic on adjacent numbers."""
    if e.op == "div" and all(a.op == "num" for a in e.args) and e.args[1].value:
        return num(e.args[0].value / e.args[1].value)
    if e.op == "pow" and e.args[0].op == "num" and 0 < e.value <= 12:
        return num(e.args[0].value ** e.value)
    if e.op not in ("add", "mul"):
        return None
    numbers = [a.value for a in e.args if a.op == "num"]
    if len(numbers) < 2:
        return None
    folded = sum(numbers) if e.op == "add" else Fraction(1)
    for value in numbers if e.op == "mul" else ():
        folded *= value
    rest = [a for a in e.args if a.op != "num"]
    return (total if e.op == "add" else product)(num(folded), *rest)


def dress(rng: Random, e: Expr) -> Expr | None:
    """A fraction as a decimal or a mixed number."""
    if e.op != "num" or e.value.denominator == 1:
        return None
    bottom = e.value.denominator
    for prime in (2, 5):
        while bottom % prime == 0:
            bottom //= prime
    choices = ["decimal"] if bottom == 1 else []
    choices += ["mixed"] if abs(e.value) > 1 else []
    return num(e.value, rng.choice(choices)) if choices else None


RULES: dict[str, Rule] = {
    rule.__name__: rule
    for rule in (
        commute, reassociate, distribute, factor_out, expand_power, multiply_fraction,
        split_fraction, join_fractions, turn_difference, double_negation, split_power, join_powers,
        spread_power, reciprocal, difference_of_squares, add_and_subtract, evaluate_counts, fold,
        dress, *ROOT_RULES,
    )
}  # fmt: skip


# rules that seldom fit: sometimes they are tried first
_SELDOM = (
    "join_powers",
    "scale_logarithm",
    "difference_of_squares",
    "square_in",
    "expand_power",
    "spread_power",
    "rationalise",
)


def rewrite(rng: Random, expr: Expr, steps: int) -> tuple[Expr, list[str]]:
    """The expression after up to `steps` rewritings at random places, and their names."""
    trail: list[str] = []
    for _ in range(steps):
        names = rng.sample(list(RULES), len(RULES))
        if chance(rng, 3):
            names.sort(key=lambda name: name not in _SELDOM)
        # if a rule fits nowhere, the next one is tried
        for name in names:
            fitting = [
                (path, new)
                for path, e in places(expr)
                if (new := RULES[name](rng, e)) is not None and new != e
            ]
            if fitting:
                path, new = rng.choice(fitting)
                expr = put(expr, path, new)
                trail.append(name)
                break
    return expr, trail
