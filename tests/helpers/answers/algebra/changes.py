"""Small changes that mostly alter the value, like a student's mistakes; the oracle decides."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from random import Random

from tests.helpers.answers.algebra.nodes import Expr, num, places, product, put, total

Change = Callable[[Random, Expr], Expr | None]
_OTHER = {"sin": "cos", "cos": "sin", "tan": "sin", "ln": "exp", "exp": "ln", "abs": "cos"}


def coefficient(rng: Random, e: Expr) -> Expr | None:
    """A number a little larger or smaller, or upside down."""
    if e.op != "num":
        return None
    if abs(e.value) != 1 and e.value and rng.randrange(4) == 3:
        return num(1 / e.value)
    return num(e.value + rng.choice((1, -1, 2, 10)))


def sign(rng: Random, e: Expr) -> Expr | None:
    """a becomes -a."""
    if e.op == "neg":
        return e.args[0]
    return -e if e.op in ("num", "sym", "mul", "fn", "root", "div") else None


def exponent(rng: Random, e: Expr) -> Expr | None:
    """x^n becomes x^(n + 1), a root its argument."""
    if e.op == "root":
        return e.args[0]
    return replace(e, value=e.value + 1) if e.op == "pow" and e.value != -1 else None


def function(rng: Random, e: Expr) -> Expr | None:
    """One function for another."""
    return replace(e, value=_OTHER[e.value]) if e.op == "fn" else None


def operation(rng: Random, e: Expr) -> Expr | None:
    """a + b becomes a - b, a b becomes a + b, a / b becomes b / a."""
    if e.op == "add":
        return total(*e.args[:-1], -e.args[-1])
    if e.op == "mul":
        return total(*e.args)
    return e.args[1] / e.args[0] if e.op == "div" else None


def dropped(rng: Random, e: Expr) -> Expr | None:
    """A term or factor less."""
    if e.op not in ("add", "mul"):
        return None
    at = rng.randrange(len(e.args))
    rest = e.args[:at] + e.args[at + 1 :]
    return total(*rest) if e.op == "add" else product(*rest)


def tiny(rng: Random, e: Expr) -> Expr | None:
    """A relative change of 10^-12 in one number."""
    if e.op != "num" or not e.value:
        return None
    return num(
        e.value * (1 + Fraction(1, 10**12)),
        "decimal" if e.value.denominator in (1, 2, 4, 5) else "",
    )


def symbol(rng: Random, e: Expr) -> Expr | None:
    """One symbol for another."""
    return replace(e, value="y" if e.value == "x" else "x") if e.op == "sym" else None


def counted(rng: Random, e: Expr) -> Expr | None:
    """n! becomes (n + 1)!, C(n, k) becomes C(n + 1, k)."""
    if e.op not in ("fact", "binom"):
        return None
    return replace(e, args=(num(e.args[0].value + 1), *e.args[1:]))


CHANGES: dict[str, Change] = {
    change.__name__: change
    for change in (coefficient, sign, exponent, function, operation, dropped, tiny, symbol, counted)
}


def change(rng: Random, expr: Expr) -> tuple[Expr, str]:
    """The expression with one change at a random place, and the change's name."""
    names = list(CHANGES)
    start = rng.randrange(len(names))
    for offset in range(len(names)):
        name = names[(start + offset) % len(names)]
        fitting = [
            (path, new) for path, e in places(expr) if (new := CHANGES[name](rng, e)) is not None
        ]
        if fitting:
            path, new = rng.choice(fitting)
            return put(expr, path, new), name
    return total(expr, num(1)), "plus one"
