"""Pairs of response and gold with the verdict they must get: expressions, also in sentences."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from random import Random

from tests.helpers.answers.algebra.changes import change
from tests.helpers.answers.algebra.grow import KINDS, chance
from tests.helpers.answers.algebra.nodes import Expr, holds, num, places, truth, values
from tests.helpers.answers.algebra.printing import percent, spell
from tests.helpers.answers.algebra.rewrites import rewrite

_SETTINGS = (
    "\\boxed{%s}",
    "So the answer is $\\boxed{%s}$.",
    "Adding both parts gives\n\\[\n\\boxed{%s}\n\\]",
    "We first find 12, then 7.\n\n**Final Answer**\n\n$\\boxed{%s}$",
    "<think>Perhaps \\boxed{17}? No, that was for $t=2$.</think>\nTherefore \\(\\boxed{ %s }\\).",
    "Thus, the answer is $%s$.",
    "That leaves us here.\nFinal Answer: $%s$",
    "#### %s",
)


@dataclass(frozen=True)
class Row:
    """A response, a gold, whether they are equal, and the steps from one to the other."""

    response: str
    gold: str
    equal: bool
    trail: tuple[str, ...] = ()


def setting(rng: Random, answer: str) -> str:
    """The answer as the last statement of a response.

    An answer of several lines stays in a box; "#### 5!" might as well be an exclamation.
    """
    count = 5 if "\n" in answer else len(_SETTINGS) - 1 if answer.endswith("!") else len(_SETTINGS)
    return rng.choice(_SETTINGS[:count]) % answer


def row(rng: Random, answer: str, gold: str, equal: bool, *trail: str) -> Row:
    """The pair with the answer set into a response."""
    return Row(setting(rng, answer), gold, equal, trail)


def swapped(rng: Random, left: Expr, right: Expr) -> tuple[Expr, Expr]:
    """The two sides, swapped at random unless the left one would be an unevaluated answer."""
    return (right, left) if chance(rng, 2) and not holds(left, "fact", "binom") else (left, right)


def equals(rng: Random, expr: Expr) -> tuple[Expr, tuple[str, ...]] | None:
    """The expression rewritten, None if the oracle cannot tell that the value is kept."""
    other, trail = rewrite(rng, expr, rng.randint(1, 4))
    kept = truth(expr, other)
    # a rewriting that changes the value is a bug of these tests
    assert kept is not False, f"{trail} changed {expr} into {other}"
    return (other, tuple(trail)) if kept else None


def differs(rng: Random, expr: Expr) -> tuple[Expr, tuple[str, ...]] | None:
    """The expression changed and perhaps rewritten, None if the oracle sees no difference."""
    other, name = change(rng, expr)
    trail = [name]
    if chance(rng, 2):
        other, more = rewrite(rng, other, rng.randint(1, 2))
        trail += more
    return (other, tuple(trail)) if truth(expr, other) is False else None


def expressions(rng: Random, kind: str) -> list[Row]:
    """Up to two equal and two unequal pairs that start from one expression of a kind."""
    expr = KINDS[kind](rng)
    found = []
    for equal in (True, False, True, False):
        made = (equals if equal else differs)(rng, expr)
        if made is not None:
            gold, answer = swapped(rng, expr, made[0])
            found.append(row(rng, spell(rng, answer), spell(rng, gold), equal, *made[1]))
    return found


def percentages(rng: Random) -> list[Row]:
    """Percent against percent, fraction and decimal; the number before the sign is right too."""
    value = Fraction(rng.randint(1, 400), rng.choice((1, 2, 4, 5, 10, 20, 40)) * 100)
    dressed = percent(num(value))
    assert dressed is not None
    answer = spell(rng, dressed)
    plain = num(value, "decimal" if chance(rng, 2) else "")
    wrong = num(value + Fraction(rng.choice((1, -1, 10)), 100))
    found = [
        row(rng, answer, spell(rng, plain), True, "percent"),
        row(rng, spell(rng, num(value * 100)), answer, True, "percent"),
        row(rng, answer, answer, True, "percent"),
    ]
    if wrong.value not in (value * 100, value / 100, 0):
        found.append(row(rng, answer, spell(rng, wrong), False, "percent"))
    return found


def remnants(rng: Random) -> list[Row]:
    """A number that merely occurs in the answer is no answer."""
    kind = rng.choice(list(KINDS))
    expr = KINDS[kind](rng) + num(rng.randint(1, 20))
    found = []
    for _, part in places(expr):
        if part.op == "num" and truth(expr, part) is False:
            found.append(row(rng, spell(rng, expr), spell(rng, part), False, "remnant"))
    rng.shuffle(found)
    same = equals(rng, expr)
    return found[:2] + (
        [row(rng, spell(rng, same[0]), spell(rng, expr), True, *same[1])] if same else []
    )


def distinct(exprs: list[Expr]) -> bool:
    """Whether the values differ pairwise, for certain."""
    found = values(exprs)
    if not found:
        return False
    first = found[0]
    return all(
        abs(a - b) > 1e-9 * (abs(a) + abs(b)) for i, a in enumerate(first) for b in first[:i]
    )
