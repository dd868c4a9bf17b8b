"""Compare the two sides of a link that hold more than arithmetic: roots, functions, letters.

Input: a `Link` and its text. Output: truth and the name of the rule, None if the link is no claim.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction
from functools import lru_cache

from orion.answers.algebra.canonical_form import decide_equality
from orion.answers.algebra.numeric import agree_numerically
from orion.answers.parsing.tree import Node, ParseError
from orion.answers.steps.budget import SYMPY_S, Budget
from orion.answers.steps.claims import TRUE, UNKNOWN
from orion.answers.steps.cues import AMBIGUOUS_FUNCTIONS
from orion.answers.steps.floats import approximate
from orion.answers.steps.letters import judge_letters
from orion.answers.steps.links import Link
from orion.answers.steps.numbers import HOLDS
from orion.answers.steps.rounding import decimals, half_unit
from orion.answers.steps.verdicts import NOT_UNDERSTOOD, Verdict, refuse
from orion.answers.workers import pool

# beyond these sympy may take for ever
MAX_SYMPY_NODES, MAX_SYMPY_NUMBER, MAX_SYMPY_POWER = 80, 10_000, 8
_COMPLEX = re.compile(r"complex|imaginary|real part|\di\b", re.I)
_INDEX = re.compile(r"\bi\s*=|_\{?i\b")
_DEGREES = re.compile(r"°|degree|circ")
_EXPRESSIONS = frozenset(
    ("num", "sym", "const", "add", "mul", "pow", "fn", "fact", "binom", "pct", "deg", "sum", "prod")
)
_CONSTANTS = frozenset(("pi", "e", "i"))


def walk(node: Node) -> Iterator[Node]:
    """All nodes of a tree."""
    stack = [node]
    while stack:
        top = stack.pop()
        yield top
        stack.extend(top.args)


def names_in(node: Node) -> frozenset[str]:
    """The names in a tree."""
    return frozenset(str(top.value) for top in walk(node) if top.kind == "sym")


def is_expression(node: Node) -> bool:
    """Whether a tree is an expression with a value, and no list, set or relation."""
    return all(
        top.kind in _EXPRESSIONS and (top.kind != "const" or top.value in _CONSTANTS)
        for top in walk(node)
    )


def is_ambiguous(node: Node, text: str = "") -> bool:
    """Whether a tree holds what may mean something else: sin 30, log 2, a name e or i.

    An i is the imaginary unit where the text speaks of complex numbers.
    """
    for top in walk(node):
        if top.kind == "const" and top.value in ("e", "i"):
            if top.value == "e" or not is_about_complex_numbers(text):
                return True
            continue
        if top.kind == "fn" and top.value == "abs" and has_imaginary(top):
            return True
        # the base of a logarithm may be given
        based = top.value == "log" and len(top.args) == 2
        if top.kind == "fn" and top.value in AMBIGUOUS_FUNCTIONS and not based:
            return True
    return False


def has_imaginary(node: Node) -> bool:
    """Whether the imaginary unit is in a tree."""
    return any(top.kind == "const" and top.value == "i" for top in walk(node))


@lru_cache(maxsize=32)
def is_about_complex_numbers(text: str) -> bool:
    """Whether i is the imaginary unit in a text: it speaks of it, and i is no index."""
    return _COMPLEX.search(text) is not None and _INDEX.search(text) is None


def judge_trees(link: Link, text: str, budget: Budget) -> Verdict | None:
    """The verdict on a link between expressions that hold more than arithmetic."""
    a, b = link.left.node, link.right.node
    if a is None or b is None or not is_expression(a) or not is_expression(b):
        return NOT_UNDERSTOOD
    names = names_in(a) | names_in(b)
    if link.operator not in ("=", "approx"):
        return None if names else judge_inequality(link, text, a, b)
    if budget.seconds_left() <= 0:
        return UNKNOWN, "deadline"
    equal = same(a, b)
    if names:
        if is_ambiguous(a, text) or is_ambiguous(b, text) or has_open_division(link):
            equal = equal or None
        return judge_letters(link, text, a, b, (names_in(a), names_in(b)), equal)
    if equal:
        return TRUE, "algebra"
    asks_sympy = equal is None and is_small_enough_for_sympy(a, b)
    if asks_sympy and budget.allows_worker() and is_proven_by_sympy(a, b, budget):
        return TRUE, "sympy"
    verdict = judge_values(link, text, a, b, equal)
    if asks_sympy and not budget.allows_worker() and verdict == (UNKNOWN, "undecided"):
        # with more time the same text may get another verdict
        return UNKNOWN, "deadline"
    return verdict


def same(a: Node, b: Node) -> bool | None:
    """Whether two trees are equal; None: not decided."""
    try:
        decided = decide_equality(a, b)
    except ParseError:
        decided = None
    return decided if decided is not None else agree_numerically(a, b)


def is_small_enough_for_sympy(a: Node, b: Node) -> bool:
    """Whether sympy surely ends on both sides."""
    nodes = [*walk(a), *walk(b)]
    return len(nodes) <= MAX_SYMPY_NODES and all(map(_is_small, nodes))


def is_proven_by_sympy(a: Node, b: Node, budget: Budget) -> bool:
    """Whether a worker proves two small expressions equal; a lost worker proves nothing."""
    try:
        return pool.sympy_equal(a, b, SYMPY_S) is True
    except pool.WorkerLostError:
        budget.worker_lost = True
        return False


def _is_small(node: Node) -> bool:
    """Whether a node is cheap for sympy: a small number, a small power, a plain function."""
    if node.kind == "num":
        return abs(node.value) < MAX_SYMPY_NUMBER
    if node.kind == "pow":
        exponent = node.args[1]
        return exponent.kind == "num" and abs(exponent.value) <= MAX_SYMPY_POWER
    return node.kind in ("const", "add", "mul", "fn", "deg")


def judge_values(link: Link, text: str, a: Node, b: Node, equal: bool | None) -> Verdict:
    """The verdict on two numbers that are not proven equal."""
    first, second = approximate(a), approximate(b)
    said = link.operator == "approx"
    if first is not None and second is not None:
        gap = abs(first - second)
        for literal in (link.right.literal, link.left.literal):
            if literal is not None and gap <= float(half_unit(literal, said)) * (1 + 1e-9):
                if decimals(literal) or said:
                    return TRUE, "rounded"
                return UNKNOWN, "whole_number_rounding"
        cut = link.right.literal is not None and decimals(link.right.literal) > 0
        if (
            said
            and cut
            and 0 <= abs(first) - abs(second) < 2 * half_unit(link.right.literal or "", False)
        ):
            return UNKNOWN, "cut_down"
        if _is_near_by_decimals(link, gap, first, said):
            return UNKNOWN, "rounded_inside"
    if equal is None or is_ambiguous(a, text) or is_ambiguous(b, text) or has_open_division(link):
        return UNKNOWN, "undecided"
    angles = [any(top.kind == "const" for top in walk(node)) for node in (a, b)]
    if angles[0] != angles[1] and _DEGREES.search(text, link.start, link.chain_end + 80):
        return UNKNOWN, "angle"
    return refuse(link, text, "algebra")


def _is_near_by_decimals(link: Link, gap: float, size: float, said: bool) -> bool:
    """Whether rounded decimals inside the sides may explain the gap between them."""
    literals = [
        literal
        for side in (link.left, link.right)
        for kind, literal in side.items
        if kind == "n" and "." in literal[:-1]
    ]
    if link.right.literal is not None:
        # the value of an earlier side may have been rounded
        values = [approximate(side.node) for side in link.earlier[-4:] if side.node is not None]
        unit = float(half_unit(link.right.literal, said))
        right = float(Fraction(link.right.literal))
        return any(value is not None and abs(value - right) <= unit for value in values)
    if said or literals:
        return gap <= 0.02 * abs(size)
    return False


def has_open_division(link: Link) -> bool:
    """Whether a product without a sign stands behind a division sign: a / 6 pi."""
    for side in (link.left, link.right):
        kinds = [kind for kind, _ in side.items if kind != "u"]
        for at, kind in enumerate(kinds[:-2]):
            if kind in ("/", "//") and kinds[at + 1] in "nv" and kinds[at + 2] in ("v", "r", "("):
                return True
    return False


def judge_inequality(link: Link, text: str, a: Node, b: Node) -> Verdict:
    """The verdict on an inequality between two numbers."""
    first, second = approximate(a), approximate(b)
    if first is None or second is None:
        return UNKNOWN, "undecided"
    if abs(first - second) <= 1e-9 * max(abs(first), abs(second), 1e-300):
        return UNKNOWN, "undecided"
    if HOLDS[link.operator](Fraction(first), Fraction(second)):
        return TRUE, "inequality"
    if is_ambiguous(a, text) or is_ambiguous(b, text) or has_open_division(link):
        return UNKNOWN, "undecided"
    return refuse(link, text, "inequality")
