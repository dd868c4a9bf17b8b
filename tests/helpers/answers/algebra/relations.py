"""Rows whose answers are equations and inequalities."""

from __future__ import annotations

from fractions import Fraction
from random import Random

from tests.helpers.answers.algebra.grow import chance, number, whole
from tests.helpers.answers.algebra.nodes import Expr, num, product, sym, total, values
from tests.helpers.answers.algebra.printing import spell
from tests.helpers.answers.algebra.rows import Row, row
from tests.helpers.answers.algebra.shapes import again, items, wrong

X, Y, Z = sym("x"), sym("y"), sym("z")
_SIGNS = {
    "=": ("=",),
    "<": ("<", "\\lt "),
    ">": (">", "\\gt "),
    "<=": ("\\le ", "\\leq ", "≤"),
    ">=": ("\\ge ", "\\geq ", "≥"),
}
_FLIP = {"=": "=", "<": ">", ">": "<", "<=": ">=", ">=": "<="}
_WEAKER = {"<": "<=", "<=": "<", ">": ">=", ">=": ">"}
Relation = tuple[list[Expr], str, list[Expr]]


def _times(k: Fraction, terms: list[Expr]) -> list[Expr]:
    """Every term times k, with its coefficient evaluated."""
    out = []
    for t in terms:
        factors = list(t.args) if t.op == "mul" else [t]
        head, rest = (
            (factors[0].value, factors[1:]) if factors[0].op == "num" else (Fraction(1), factors)
        )
        value = head * k
        out.append(-product(*rest) if rest and value == -1 else product(num(value), *rest))
    return out


def _side(rng: Random, terms: list[Expr]) -> str:
    terms = terms[:]
    rng.shuffle(terms)
    return spell(rng, total(*terms)) if terms else "0"


def spelled(rng: Random, relation: Relation) -> str:
    """The relation as it is written."""
    left, sign, right = relation
    gap = rng.choice((" ", ""))
    return f"{_side(rng, left)}{gap}{rng.choice(_SIGNS[sign])}{gap}{_side(rng, right)}"


def moved(rng: Random, relation: Relation) -> tuple[Relation, str]:
    """The same relation scaled, turned round or with terms taken to the other side."""
    left, sign, right = relation
    way = rng.randrange(4)
    if way == 0:
        return (right, _FLIP[sign], left), "turned"
    if way == 1:
        k = Fraction(rng.choice((2, 3, -1, -2, 5))) / rng.choice((1, 1, 2))
        return (_times(k, left), sign if k > 0 else _FLIP[sign], _times(k, right)), "scaled"
    if way == 2:
        return (left + _times(Fraction(-1), right), sign, []), "to one side"
    at = rng.randrange(len(left))
    return (left[:at] + left[at + 1 :], sign, right + _times(Fraction(-1), [left[at]])), "moved"


def _same(a: Relation, b: Relation) -> bool:
    """Whether the two differences of the sides are proportional (positively, for inequalities)."""
    gaps = values([total(*a[0]) - total(*a[2]), total(*b[0]) - total(*b[2])])
    first, second = gaps[0]
    ratio = first / second if second else None
    return ratio is None or all(
        abs(x - ratio * y) <= 1e-9 * (abs(x) + abs(ratio * y)) for x, y in gaps
    )


def _line(rng: Random, names: list[Expr]) -> list[Expr]:
    return [product(number(rng) if chance(rng, 3) else num(whole(rng)), s) for s in names]


def _spoiled(rng: Random, relation: Relation) -> Relation | None:
    left, sign, right = relation
    changed = wrong(rng, left)
    made = (changed, sign, right) if changed else None
    return made if made and not _same(made, relation) else None


def equations(rng: Random) -> list[Row]:
    """Lines, planes, parabolas and circles, up to a factor and the distribution of terms."""
    kind = rng.randrange(4)
    if kind == 0:
        relation: Relation = _line(rng, [X, Y]), "=", [number(rng)]
    elif kind == 1:
        relation = [Y], "=", [*_line(rng, [X**2, X]), num(whole(rng))]
    elif kind == 2:
        relation = _line(rng, [X, Y, Z]), "=", [num(whole(rng))]
    else:
        relation = [X**2, Y**2, *_line(rng, [X, Y])], "=", [num(rng.randint(1, 20))]
    gold, found = spelled(rng, relation), []
    other, name = moved(rng, relation)
    found.append(row(rng, spelled(rng, other), gold, True, "equation", name))
    twice, second = moved(rng, other) if other[0] else (other, "")
    found.append(row(rng, spelled(rng, twice), gold, True, "equation", name, second))
    if kind == 1:
        found.append(row(rng, _side(rng, relation[2]), gold, True, "equation", "right side only"))
    if spoiled := _spoiled(rng, relation):
        moved_too, name = moved(rng, spoiled)
        found.append(row(rng, spelled(rng, moved_too), gold, False, "equation", "changed", name))
    return found


def solutions(rng: Random) -> list[Row]:
    """x = 5 against 5, and labelled values in any order."""
    a, b = items(rng, 2)
    left, right = spell(rng, again(rng, a)), spell(rng, a)
    equal = rng.choice((" = ", "="))
    found = [
        row(rng, f"t{equal}{left}", right, True, "solution"),
        row(rng, left, f"t{equal}{right}", True, "solution"),
        row(rng, f"t{equal}{left}", f"t{equal}{right}", True, "solution"),
        row(rng, f"t{equal}{spell(rng, b)}", right, False, "solution"),
        row(rng, spell(rng, b), f"t{equal}{right}", False, "solution"),
    ]
    gold = f"p{equal}{right}, q{equal}{spell(rng, b)}"
    found.append(
        row(
            rng,
            f"q{equal}{spell(rng, again(rng, b))}, p{equal}{left}",
            gold,
            True,
            "labelled",
            "permuted",
        )
    )
    found.append(
        row(rng, f"p{equal}{spell(rng, b)}, q{equal}{left}", gold, False, "labelled", "swapped")
    )
    return found


def inequalities(rng: Random) -> list[Row]:
    """Inequalities turned, scaled, moved; a wrong direction or strictness is wrong."""
    sign = rng.choice(("<", ">", "<=", ">="))
    names = rng.choice(([X], [X, Y], [X]))
    left = [X] if len(names) == 1 and chance(rng, 2) else _line(rng, names)
    relation: Relation = left, sign, [number(rng)]
    gold, found = spelled(rng, relation), []
    other, name = moved(rng, relation)
    found.append(row(rng, spelled(rng, other), gold, True, "inequality", name))
    turned = other[0], _FLIP[other[1]], other[2]
    found.append(row(rng, spelled(rng, turned), gold, False, "inequality", name, "wrong direction"))
    weaker = other[0], _WEAKER[other[1]], other[2]
    found.append(row(rng, spelled(rng, weaker), gold, False, "inequality", name, "strictness"))
    if spoiled := _spoiled(rng, relation):
        found.append(row(rng, spelled(rng, spoiled), gold, False, "inequality", "changed"))
    return found


def chains(rng: Random) -> list[Row]:
    """a < x <= b, read from either end."""
    low, high = sorted(items(rng, 2, numbers=True), key=lambda e: values([e])[0][0])
    signs = [rng.choice(("<", "<=")) for _ in range(2)]

    def show(a: Expr, first: str, second: str, b: Expr) -> str:
        left = f"{spell(rng, a)} {rng.choice(_SIGNS[first])}"
        return f"{left} x {rng.choice(_SIGNS[second])} {spell(rng, b)}"

    gold = show(low, *signs, high)
    same = show(again(rng, low), *signs, again(rng, high))
    back = show(again(rng, high), _FLIP[signs[1]], _FLIP[signs[0]], again(rng, low))
    weaker = show(low, signs[0], _WEAKER[signs[1]], high)
    further = show(low, *signs, total(again(rng, high), num(1)))
    return [
        row(rng, same, gold, True, "chain"),
        row(rng, back, gold, True, "chain", "turned"),
        row(rng, weaker, gold, False, "chain", "strictness"),
        row(rng, further, gold, False, "chain", "changed"),
    ]


RELATIONS = {f.__name__: f for f in (equations, solutions, inequalities, chains)}
