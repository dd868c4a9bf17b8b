"""Rows whose answers are lists, sets, tuples, intervals, unions, matrices or plus-minus pairs."""

from __future__ import annotations

import re
from random import Random

from tests.helpers.answers.algebra.grow import (
    chance,
    number,
    polynomial,
    surd,
    transcendental,
    whole,
)
from tests.helpers.answers.algebra.nodes import (
    Expr,
    num,
    product,
    root,
    symbols,
    total,
    truth,
    values,
)
from tests.helpers.answers.algebra.printing import spell
from tests.helpers.answers.algebra.rows import Row, differs, distinct, equals, row

_GROWERS = (number, number, surd, polynomial, transcendental)
INFINITY = ("\\infty", "∞", "+\\infty")


def items(rng: Random, count: int, numbers: bool = False) -> list[Expr]:
    """Expressions whose values differ pairwise."""
    grower = rng.choice((number, surd) if numbers else _GROWERS)
    found: list[Expr] = []
    while len(found) < count:
        new = grower(rng)
        if values([new]) and distinct([*found, new]):
            found.append(new)
    return found


def again(rng: Random, expr: Expr) -> Expr:
    """The expression rewritten without new symbols, or unchanged."""
    made = equals(rng, expr) if chance(rng, 2) else None
    # nobody writes the end of an interval in x as 5 + x - x
    return made[0] if made and symbols(made[0]) <= symbols(expr) else expr


def wrong(rng: Random, exprs: list[Expr]) -> list[Expr] | None:
    """The expressions with one of them changed."""
    at = rng.randrange(len(exprs))
    made = differs(rng, exprs[at])
    return None if made is None else [*exprs[:at], made[0], *exprs[at + 1 :]]


def commas(rng: Random, texts: list[str]) -> str:
    """Items joined by commas; without a space only where no thousands comma can be read."""
    joint = rng.choice((", ", ",", ",\\ ", " , "))
    if joint == "," and any(re.match(r"\d{3}(?!\d)", t) for t in texts):
        joint = ", "
    return joint.join(texts)


def listed(rng: Random, texts: list[str], kind: str) -> str:
    """A list, a set or a tuple."""
    if kind == "tuple":
        return rng.choice(("(%s)", "\\left(%s\\right)", "\\left( %s \\right)")) % commas(rng, texts)
    if kind == "set":
        return rng.choice(("\\{%s\\}", "\\left\\{%s\\right\\}", "\\{ %s \\}")) % commas(rng, texts)
    if len(texts) > 1 and chance(rng, 3):
        last = rng.choice((" and ", "\\text{ and }", ", \\text{ and } "))
        return f"{', '.join(texts[:-1])}{last}{texts[-1]}"
    return commas(rng, texts)


def lists(rng: Random) -> list[Row]:
    """Lists and sets: any order is right; one item changed, missing or too many is wrong."""
    kind = rng.choice(("list", "set"))
    exprs = items(rng, rng.randint(2, 5))

    def show(chosen: list[Expr]) -> str:
        chosen = [again(rng, e) for e in chosen]
        rng.shuffle(chosen)
        return listed(rng, [spell(rng, e) for e in chosen], kind)

    gold = listed(rng, [spell(rng, e) for e in exprs], kind)
    found = [row(rng, show(exprs), gold, True, kind, "permuted")]
    if changed := wrong(rng, exprs):
        found.append(row(rng, show(changed), gold, False, kind, "changed"))
    if len(exprs) > 2:
        found.append(row(rng, show(exprs[1:]), gold, False, kind, "dropped"))
    more = items(rng, 1)[0]
    if distinct([*exprs, more]):
        found.append(row(rng, show([*exprs, more]), gold, False, kind, "added"))
    return found


def tuples(rng: Random) -> list[Row]:
    """Tuples: the order counts."""
    exprs = items(rng, rng.randint(2, 4))

    def show(chosen: list[Expr]) -> str:
        return listed(rng, [spell(rng, again(rng, e)) for e in chosen], "tuple")

    gold = listed(rng, [spell(rng, e) for e in exprs], "tuple")
    turned = exprs[1:] + exprs[:1]
    found = [
        row(rng, show(exprs), gold, True, "tuple"),
        row(rng, show(turned), gold, False, "tuple", "permuted"),
    ]
    if changed := wrong(rng, exprs):
        found.append(row(rng, show(changed), gold, False, "tuple", "changed"))
    if len(exprs) > 2:
        found.append(row(rng, show(exprs[:-1]), gold, False, "tuple", "dropped"))
    return found


def points(rng: Random) -> list[Row]:
    """Lists of points: the points in any order, the coordinates not."""
    exprs = items(rng, 4, numbers=True)
    pairs = [exprs[:2], exprs[2:]]

    def show(chosen: list[list[Expr]]) -> str:
        return commas(
            rng, [listed(rng, [spell(rng, again(rng, e)) for e in p], "tuple") for p in chosen]
        )

    gold = show(pairs)
    crossed = [[exprs[0], exprs[3]], [exprs[2], exprs[1]]]
    return [
        row(rng, show(pairs[::-1]), gold, True, "points", "permuted"),
        row(rng, show([p[::-1] for p in pairs]), gold, False, "points", "coordinates swapped"),
        row(rng, show(crossed), gold, False, "points", "crossed"),
    ]


def matrices(rng: Random) -> list[Row]:
    """Matrices in either bracket; an entry changed or the whole transposed is wrong."""
    rows, columns = rng.randint(1, 3), rng.randint(1, 2)
    if rows * columns == 1:
        rows = 2
    grower = rng.choice((number, surd, lambda r: polynomial(r, 2)))
    cells = [[grower(rng) for _ in range(columns)] for _ in range(rows)]

    def show(chosen: list[list[Expr]]) -> str:
        name = rng.choice(("pmatrix", "bmatrix"))
        cell, line = rng.choice((" & ", "&")), rng.choice((" \\\\ ", "\\\\", " \\\\\n"))
        body = line.join(cell.join(spell(rng, again(rng, e)) for e in r) for r in chosen)
        return (
            f"\\begin{{{name}}}{rng.choice(('', ' '))}{body}{rng.choice(('', ' '))}\\end{{{name}}}"
        )

    gold = show(cells)
    found = [row(rng, show(cells), gold, True, "matrix")]
    scale = num(whole(rng))
    scaled = f"{spell(rng, scale)}{show([[e / scale for e in r] for r in cells])}"
    found.append(row(rng, scaled, gold, True, "matrix", "scaled"))
    at = rng.randrange(rows)
    if changed := wrong(rng, cells[at]):
        found.append(
            row(
                rng,
                show([*cells[:at], changed, *cells[at + 1 :]]),
                gold,
                False,
                "matrix",
                "changed",
            )
        )
    turned = [list(c) for c in zip(*cells, strict=True)]
    if rows != columns or any(
        truth(cells[i][j], cells[j][i]) is False for i in range(rows) for j in range(i)
    ):
        found.append(row(rng, show(turned), gold, False, "matrix", "transposed"))
    return found


def plus_minus(rng: Random) -> list[Row]:
    """a plus-minus b against the list of both values, also over one fraction line."""
    a, b = (
        num(whole(rng)),
        product(num(rng.randint(1, 5)), root(num(rng.choice((2, 3, 5, 6, 7, 10))))),
    )
    below = num(rng.choice((1, 1, 2, 3)))
    sign = rng.choice(("\\pm ", "±", "\\mp ", " \\pm "))
    top = f"{spell(rng, a)}{sign}{spell(rng, b)}"
    if below.value == 1:
        short = rng.choice(("%s", "x = %s")) % top
    else:
        short = rng.choice(
            (f"\\frac{{{top}}}{{{below.value}}}", f"\\dfrac{{{top}}}{{{below.value}}}")
        )
    both = [(a + b) / below, (a - b) / below]
    if chance(rng, 2):
        both.reverse()
    spread = listed(rng, [spell(rng, again(rng, e)) for e in both], "list")
    found = [
        row(rng, spread, short, True, "plus-minus gold"),
        row(rng, short, spread, True, "plus-minus answer"),
        row(rng, spell(rng, both[0]), short, False, "plus-minus gold", "one of two"),
    ]
    if changed := wrong(rng, both):
        long = listed(rng, [spell(rng, e) for e in changed], "list")
        found.append(row(rng, long, short, False, "plus-minus gold", "changed"))
    return found


def _end(rng: Random, end: Expr | None, low: bool) -> str:
    if end is None:
        return "-" + rng.choice(INFINITY[:2]) if low else rng.choice(INFINITY)
    return spell(rng, again(rng, end))


Piece = tuple[Expr | None, Expr | None, str]


def interval(rng: Random, piece: Piece) -> str:
    """One interval; an end that is None is infinite."""
    low, high, kind = piece
    sized = rng.choice((("", ""), ("\\left", "\\right"), ("\\left", "\\right")))
    inner = f"{_end(rng, low, True)}{rng.choice((', ', ','))}{_end(rng, high, False)}"
    return f"{sized[0]}{kind[0]}{inner}{sized[1]}{kind[1]}"


def inequality(rng: Random, piece: Piece) -> str:
    """The same interval as an inequality in x."""
    low, high, kind = piece
    less = {"(": "<", ")": "<"}
    ops = [less.get(k) or rng.choice(("\\le", "\\leq", "≤", "\\leqslant")) for k in kind]
    parts = [f"{_end(rng, low, True)} {ops[0]} "] if low is not None else []
    parts.append("x")
    parts += [f" {ops[1]} {_end(rng, high, False)}"] if high is not None else []
    return "".join(parts)


def _pieces(rng: Random, count: int) -> list[Piece]:
    """Disjoint intervals from left to right; sometimes the outer ends are infinite."""
    ends = sorted(items(rng, 2 * count, numbers=True), key=lambda e: values([e])[0][0])
    found: list[Piece] = []
    for low, high in zip(ends[::2], ends[1::2], strict=True):
        found.append((low, high, rng.choice("([") + rng.choice(")]")))
    if chance(rng, 3):
        found[0] = (None, found[0][1], "(" + found[0][2][1])
    elif chance(rng, 3):
        found[-1] = (found[-1][0], None, found[-1][2][0] + ")")
    return found


def _spoiled(rng: Random, piece: Piece) -> Piece | None:
    """An end opened or closed, or moved a little."""
    low, high, kind = piece
    finite = [k for k, end in ((0, low), (1, high)) if end is not None]
    at = rng.choice(finite)
    if chance(rng, 2):
        other = {"(": "[", "[": "(", ")": "]", "]": ")"}[kind[at]]
        return low, high, other + kind[1] if at == 0 else kind[0] + other
    ends = [low, high]
    # outwards, so that the interval cannot become empty
    ends[at] = total(ends[at], num(-1 if at == 0 else 1))
    return ends[0], ends[1], kind


def intervals(rng: Random) -> list[Row]:
    """One interval or a union: the parts in any order; an end opened, closed or moved is wrong."""
    pieces = _pieces(rng, rng.randint(1, 3))
    union = rng.choice((" \\cup ", "\\cup ", " ∪ "))

    def show(chosen: list[Piece]) -> str:
        chosen = chosen[:]
        rng.shuffle(chosen)
        return union.join(interval(rng, p) for p in chosen)

    gold, name = show(pieces), "interval" if len(pieces) == 1 else "union"
    found = [row(rng, show(pieces), gold, True, name)]
    found.append(row(rng, f"x \\in {show(pieces)}", gold, True, name, "element"))
    stated = rng.choice((" \\text{ or } ", " or ")).join(inequality(rng, p) for p in pieces)
    found.append(row(rng, show(pieces), stated, True, name, "inequality gold"))
    if len(pieces) > 1:
        found.append(row(rng, show(pieces[1:]), gold, False, name, "dropped"))
    at = rng.randrange(len(pieces))
    spoiled = _spoiled(rng, pieces[at])
    # an end that moved outwards may touch the next interval, which the union then hides
    if spoiled and (len(pieces) == 1 or spoiled[2] != pieces[at][2]):
        found.append(
            row(rng, show([*pieces[:at], spoiled, *pieces[at + 1 :]]), gold, False, name, "spoiled")
        )
        found.append(
            row(
                rng,
                show([*pieces[:at], spoiled, *pieces[at + 1 :]]),
                stated,
                False,
                name,
                "spoiled",
                "inequality gold",
            )
        )
    return found


def punctured(rng: Random) -> list[Row]:
    """The reals without one point, in three spellings."""
    a, b = items(rng, 2, numbers=True)

    def without(e: Expr) -> list[str]:
        x = spell(rng, e)
        return [
            f"(-\\infty, {x}) \\cup ({x}, \\infty)",
            f"\\mathbb{{R}} \\setminus \\{{{x}\\}}",
            f"x \\ne {x}",
        ]

    one, other = without(a), without(b)
    left, right = rng.randrange(3), rng.randrange(3)
    # the inequality as an answer to an interval is debatable
    left = right if left == 2 else left
    return [
        row(rng, one[left], one[right], True, "punctured"),
        row(rng, other[left], one[right], False, "punctured"),
    ]


SHAPES = {
    f.__name__: f for f in (lists, tuples, points, matrices, plus_minus, intervals, punctured)
}
