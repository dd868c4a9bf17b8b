"""A key that answers share where they state the same value, to count how often each was given.

Input: an extracted answer. Output: a text. Two answers of one key read the same; a comparison of
the two may still find others equal, such as an expression in letters that is written in two ways.
"""

from __future__ import annotations

from functools import lru_cache

from orion.answers.algebra.canonical_form import CanonicalForm
from orion.answers.parsing.read_answer import is_word, read_answer
from orion.answers.parsing.tree import Node, ParseError, print_tree

# what may stand behind a number on one side only: "5 apples" and "5" are one answer
_MARKS = ("unit", "pct", "deg")
# characters of an answer whose key is kept
_MAX_CACHED = 256


def find_group(text: str) -> str:
    """The key of an answer; the same for answers that read the same. No string raises.

    Numbers have the key of their exact value, without unit, percent or degree sign; other
    mathematics that of its tree; what cannot be read that of its text, without case and spacing.
    """
    return _find_cached(text) if len(text) <= _MAX_CACHED else _find_group(text)


def _find_group(text: str) -> str:
    answer = read_answer(text)
    node = answer.node
    while node is not None and node.kind in _MARKS:
        node = node.args[0]
    # "yes" is no product of y, e and s
    if node is None or node.kind == "text" or (is_word(text) and node.kind != "num"):
        return f"text {answer.key or text.strip()}"
    return _find_number(node) or f"tree {print_tree(node)}"


_find_cached = lru_cache(maxsize=16_384)(_find_group)


def _find_number(node: Node) -> str | None:
    """The key of an expression that is a rational number; None for any other."""
    form = CanonicalForm()
    try:
        value = form.as_rational(form.to_ratio(node))
    except (ParseError, ArithmeticError, RecursionError):
        return None
    # hexadecimal, because Python refuses to print very long decimals
    return None if value is None else f"number {value.numerator:x}/{value.denominator:x}"
