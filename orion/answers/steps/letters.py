"""Equalities in letters: identities, and rewritings that hold for no value of the letters.

Input: two trees, the links before them. Output: truth and the name of the rule, None for an
equation to be solved.
"""

from __future__ import annotations

from orion.answers.algebra.canonical_form import CanonicalForm
from orion.answers.parsing.tree import Node, ParseError
from orion.answers.steps.claims import TRUE, UNKNOWN
from orion.answers.steps.cues import GETS
from orion.answers.steps.links import Link
from orion.answers.steps.verdicts import Verdict, refuse

_FUNCTIONS = frozenset("fghpq")
_COMPOUND = frozenset(("add", "mul", "pow"))


def judge_letters(
    link: Link,
    text: str,
    a: Node,
    b: Node,
    names: tuple[frozenset[str], frozenset[str]],
    equal: bool | None,
) -> Verdict | None:
    """The verdict on two expressions in letters; None for an equation."""
    if equal:
        return TRUE, "identity"
    if equal is False and names[0] == names[1] and is_rewriting(link, a, b):
        terms, constant = difference_terms(a, b)
        if terms == 1 and (constant or link.length > 1 or is_in_sentence(link)):
            return refuse(link, text, "rewriting")
    return None if link.length == 1 else (UNKNOWN, "letters")


def is_rewriting(link: Link, a: Node, b: Node) -> bool:
    """Whether both sides are calculations, so that one is meant as another form of the other."""
    if any(
        _is_bound_letter(item, ahead)
        for side in (link.left, link.right)
        for item, ahead in zip(side.items, (*side.items[1:], ("", "")), strict=True)
    ):
        return False
    return (
        (link.length > 1 or not link.in_formula)
        and (not link.left.units or not link.right.units or link.left.units == link.right.units)
        and link.operator == "="
        and not has_lost_superscript(link)
        and a.kind in _COMPOUND
        and b.kind in _COMPOUND
        and (len(link.left.items) > 3 or link.place > 0)
        and not any(kind == "w" for side in (link.left, link.right) for kind, _ in side.items)
    )


def _is_bound_letter(item: tuple[str, str], ahead: tuple[str, str]) -> bool:
    """Whether a letter stands for what the text fixes elsewhere: a function, a point, a root."""
    kind, text = item
    if kind != "v":
        return False
    if text[0] == "\\" or (text.isalpha() and not text.islower()):
        return True
    return text in _FUNCTIONS and ahead[0] == "("


def is_in_sentence(link: Link) -> bool:
    """Whether a word of a sentence stands before a link, so that no equation is set up there."""
    word = link.before.text.lower() if link.before is not None else ""
    return bool(word) and word[0] not in ".,;" and word not in GETS


def has_lost_superscript(link: Link) -> bool:
    """Whether a number may be a square that lost its superscript: 272 beside 27."""
    numbers = {text for side in (link.left, link.right) for kind, text in side.items if kind == "n"}
    return any(text[-1] in "23" and text[:-1] in numbers for text in numbers if len(text) > 1)


def difference_terms(a: Node, b: Node) -> tuple[int, bool]:
    """The terms of the numerator of a - b, and whether it is a constant; 0 if not certain.

    With one term the two sides are equal for no values but 0, so they are no equation to be solved.
    """
    canon = CanonicalForm()
    try:
        left, right = canon.to_ratio(a), canon.to_ratio(b)
        negative = {m: -v for m, v in canon.multiply(right[0], left[1]).items()}
        rest = canon.add(canon.multiply(left[0], right[1]), negative)
    except ParseError:
        return 0, False
    atoms = {atom for monomial in rest for atom, _ in monomial}
    plain = canon.exact and all(atom[0] == "s" for atom in atoms)
    return (len(rest) if plain else 0), not atoms
