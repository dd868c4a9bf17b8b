"""Names that the text has given one number: x = 5, and later 3x + 1 = 16.

Input: links in reading order. Output: whether a link in letters holds for the numbers. That it does
not hold says nothing: it may be an equation that was to be solved, or another case.
"""

from __future__ import annotations

from fractions import Fraction

from orion.answers.steps.arithmetic import Item, NotArithmeticError, evaluate
from orion.answers.steps.links import Link


class Bindings:
    """The numbers of the names so far; a name with two numbers has none."""

    def __init__(self) -> None:
        self.values: dict[str, Fraction | None] = {}

    def take(self, link: Link) -> bool:
        """Takes a link `name = number`; whether it was one."""
        items = link.left.items
        if link.operator != "=" or link.place or len(items) != 1 or items[0][0] != "v":
            return False
        name = items[0][1]
        try:
            value = evaluate(link.right.items)
        except NotArithmeticError:
            return False
        known = self.values.get(name, value)
        self.values[name] = value if known == value else None
        return True

    def holds(self, link: Link) -> bool:
        """Whether a link in letters is true when the numbers stand for the names."""
        if link.operator != "=" or link.trouble or link.left.trouble or link.right.trouble:
            return False
        try:
            left, right = (
                evaluate(tuple(self.substitute(side.items))) for side in (link.left, link.right)
            )
        except NotArithmeticError:
            return False
        return left == right

    def substitute(self, items: tuple[Item, ...]) -> list[Item]:
        """The items with numbers in brackets for names; raises NotArithmeticError without one."""
        found: list[Item] = []
        for kind, text in items:
            if kind != "v":
                found.append((kind, text))
                continue
            value = self.values.get(text)
            if value is None:
                raise NotArithmeticError
            if found and found[-1][0] in ("n", ")"):
                found.append(("**", "*"))
            sign = [("-", "-")] if value < 0 else []
            number = [("n", str(abs(value.numerator))), ("/", "/"), ("n", str(value.denominator))]
            found += [("(", "("), *sign, *number, (")", ")")]
        return found
