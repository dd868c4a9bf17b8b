"""Random expressions of the kinds that answers contain."""

from __future__ import annotations

from fractions import Fraction
from random import Random

from tests.helpers.answers.algebra.nodes import (
    NAMES,
    PI,
    E,
    Expr,
    fn,
    num,
    product,
    root,
    sym,
    total,
)

_BOTTOMS = (2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 25)
_SURDS = (2, 3, 5, 6, 7, 10, 8, 12, 18, 20, 27, 45, 50, 75)


def chance(rng: Random, one_in: int) -> bool:
    """True once in `one_in` draws."""
    return rng.randrange(one_in) == one_in - 1


def whole(rng: Random, high: int = 9) -> int:
    """A small integer that is not zero."""
    value = rng.randint(1, high)
    return -value if chance(rng, 3) else value


def number(rng: Random) -> Expr:
    """A small rational that is not zero."""
    if chance(rng, 3):
        return num(Fraction(whole(rng, 30), rng.choice(_BOTTOMS)))
    return num(whole(rng, 60) if chance(rng, 4) else whole(rng))


def symbol(rng: Random, names: int = len(NAMES)) -> Expr:
    """One of the first `names` symbols."""
    return sym(NAMES[rng.randrange(names)])


def term(rng: Random, names: tuple[str, ...]) -> Expr:
    """A coefficient times powers of symbols."""
    factors = []
    for name in names:
        exponent = rng.randint(0, 3)
        if exponent:
            factors.append(sym(name) ** exponent)
    coefficient = number(rng)
    if factors and coefficient == num(-1):
        return -product(*factors)
    return product(coefficient, *factors)


def polynomial(rng: Random, terms: int = 4) -> Expr:
    """A polynomial in one to three symbols, seldom in more."""
    count = rng.choice((1, 2, 3, 1, 2, 3, 5))
    names = NAMES[:count] if chance(rng, 2) else tuple(rng.sample(NAMES, count))
    return total(*(term(rng, names) for _ in range(rng.randint(1, terms))))


def linear(rng: Random) -> Expr:
    """p * symbol + q."""
    return total(product(num(whole(rng)), symbol(rng)), num(whole(rng)))


def surd(rng: Random) -> Expr:
    """A number with square roots."""
    part = product(num(whole(rng)), root(num(rng.choice(_SURDS))))
    kind = rng.randrange(6)
    if kind == 1:
        return number(rng) + part
    if kind == 2:
        return num(whole(rng)) / root(num(rng.choice(_SURDS)))
    if kind == 3:
        return (num(whole(rng)) + part) / num(rng.randint(2, 9))
    if kind == 4:
        return num(whole(rng)) / (num(whole(rng)) + part)
    if kind == 5:
        return part + product(num(whole(rng)), root(num(rng.choice(_SURDS))))
    return part


def quotient(rng: Random) -> Expr:
    """A rational function, one that cancels now and then."""
    if chance(rng, 4):
        x, k = symbol(rng), rng.randint(1, 9)
        return (x**2 - num(k * k)) / (x - num(k))
    return polynomial(rng, 3) / polynomial(rng, 2)


def argument(rng: Random) -> Expr:
    """The argument of a function."""
    kind = rng.randrange(5)
    if kind == 1:
        return product(num(rng.randint(2, 5)), symbol(rng))
    if kind == 2:
        return num(rng.randint(1, 12))
    if kind == 3:
        return PI / num(rng.choice((5, 7, 8, 9, 10)))
    if kind == 4:
        return symbol(rng) + (symbol(rng) if chance(rng, 2) else num(whole(rng)))
    return symbol(rng)


def transcendental(rng: Random) -> Expr:
    """Sines, logarithms and powers of e, alone, multiplied or added."""
    first = fn(rng.choice(("sin", "cos", "ln", "exp", "tan")), argument(rng))
    kind = rng.randrange(6)
    if kind == 5:
        return product(num(rng.choice((2, 3, -1))), fn("ln", num(rng.randint(2, 12))))
    if kind == 1:
        return product(number(rng), first)
    if kind == 2:
        return product(first, fn(rng.choice(("sin", "cos", "ln", "exp")), argument(rng)))
    if kind == 3:
        return product(number(rng), first ** rng.randint(2, 3)) + number(rng)
    if kind == 4:
        return product(symbol(rng), first) + number(rng)
    return first


def constant(rng: Random) -> Expr:
    """Multiples and powers of pi and e."""
    base = (E if chance(rng, 3) else PI) ** rng.randint(1, 3)
    kind = rng.randrange(4)
    if kind == 1:
        return number(rng) + product(number(rng), base)
    if kind == 2:
        return product(base, symbol(rng) ** rng.randint(1, 2)) / num(rng.randint(2, 9))
    if kind == 3:
        return product(num(whole(rng)), base, root(num(rng.choice(_SURDS))))
    return product(number(rng), base)


def counting(rng: Random) -> Expr:
    """Factorials and binomial coefficients of small numbers."""
    n = rng.randint(3, 9)
    fact, binom = Expr("fact", (num(n),)), Expr("binom", (num(n), num(rng.randint(1, n - 1))))
    kind = rng.randrange(5)
    if kind == 1:
        return binom
    if kind == 2:
        return fact / product(
            *(Expr("fact", (num(rng.randint(2, 4)),)) for _ in range(rng.randint(1, 2)))
        )
    if kind == 3:
        return product(binom, num(Fraction(1, rng.choice(_BOTTOMS))) ** rng.randint(1, 3))
    if kind == 4:
        return binom / (num(2) ** rng.randint(3, 9)) + number(rng)
    return fact


def absolute(rng: Random) -> Expr:
    """Absolute values."""
    first = fn("abs", linear(rng))
    kind = rng.randrange(4)
    if kind == 1:
        return product(num(whole(rng)), first) + number(rng)
    if kind == 2:
        return product(first, fn("abs", symbol(rng)))
    if kind == 3:
        return fn("ln", first)
    return first


def rooted(rng: Random) -> Expr:
    """Square roots with symbols inside."""
    kind = rng.randrange(5)
    if kind == 1:
        return number(rng) / root(symbol(rng))
    if kind == 2:
        return root(symbol(rng) ** 2 + num(rng.randint(1, 9)))
    if kind == 3:
        return product(number(rng), root(product(num(rng.choice(_SURDS)), symbol(rng))))
    if kind == 4:
        return root(linear(rng)) + symbol(rng)
    return root(product(num(rng.choice(_SURDS)), symbol(rng)))


def letters(rng: Random) -> Expr:
    """A product of three to five letters, which look like a word when written side by side."""
    factors = [sym(name) for name in rng.sample(NAMES[:-1], rng.randint(3, 5))]
    if chance(rng, 3):
        factors[-1] = factors[-1] ** rng.randint(2, 3)
    kind = rng.randrange(3)
    if kind == 1:
        return product(num(whole(rng)), *factors) + number(rng)
    if kind == 2:
        return product(*factors) / num(rng.randint(2, 9))
    # without a number, letters in a row may be the name of an order or a word
    return product(num(rng.randint(2, 9)), *factors)


def tree(rng: Random) -> Expr:
    """Two of the other kinds put together."""
    left, right = (rng.choice(SIMPLE)(rng) for _ in range(2))
    kind = rng.randrange(4)
    if kind == 3:
        return left / right
    return left + right if kind == 0 else left - right if kind == 1 else product(left, right)


SIMPLE = (polynomial, surd, quotient, transcendental, constant, counting, absolute, rooted)
KINDS = {grower.__name__: grower for grower in (number, *SIMPLE, letters, tree)}
